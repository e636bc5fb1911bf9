#include "sim/sim_locks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_resp.h"

enum {
    INPUT_SIZE_MAX = 1 << 20,
    RECONNECT_MIN_US = 2000,
    RECONNECT_MAX_US = 200 * 1000,
    PAUSE_MIN_US = 500,
    PAUSE_MAX_US = 50 * 1000,
    CLOSE_US = 5000, /* how close to the end of its time a holder may write */
    SERVED_KEPT = 64,
    ORDER_US = 500 * 1000, /* whoever came so much later was behind in the queue */
    SHOWN_MAX = 120,
};

enum phase { IDLE, LOCKING, HOLDING, WRITING, RELEASING };

struct served {
    uint64_t began, token;
};

struct lock {
    uint64_t token_max;    /* of those told */
    uint64_t accepted_max; /* of writes acknowledged */
    struct served served[SERVED_KEPT];
    uint32_t served_count;
};

struct client {
    struct sim_locks *locks;
    uint32_t number;
    bool connecting;
    struct stream *stream;
    struct buffer input;
    struct world_timer next, give_up;
    enum phase phase;
    uint32_t lock;
    bool waits, multi, queue_failed;
    uint64_t ttl, began, token;
    uint64_t floor; /* LOCKING: token_max, WRITING: accepted_max, when it was asked */
    uint32_t replies_due, replies_taken;
};

struct sim_locks {
    struct sim *sim;
    struct sim_locks_options options;
    struct sim_machine machine;
    struct sim_process *process;
    char addresses[64][64];
    uint32_t address_count;
    struct client *all[SIM_LOCK_CLIENTS_MAX];
    struct lock lock[SIM_LOCKS_MAX];
    bool running;
    struct sim_locks_counts counts;
};

static struct world *world_of(struct sim_locks *locks)
{
    return sim_process_world(locks->process, 0);
}

static uint64_t draw(struct sim_locks *locks, uint64_t bound)
{
    return sim_below(locks->sim, SIM_RANDOM_WORKLOAD, bound);
}

static void next_in(struct client *client, uint64_t least, uint64_t most)
{
    struct sim_locks *locks = client->locks;

    world_timer_start(world_of(locks), &client->next,
                      sim_log_uniform(locks->sim, SIM_RANDOM_WORKLOAD, least, most));
}

static void end(struct client *client)
{
    client->phase = IDLE;
    world_timer_stop(world_of(client->locks), &client->give_up);
    if (client->locks->running) next_in(client, PAUSE_MIN_US, PAUSE_MAX_US);
}

/* --- sending --------------------------------------------------------------------------------- */

static void number(struct buffer *output, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    sim_resp_text(output, text);
}

static void named(struct buffer *output, const char *what, uint32_t lock)
{
    char text[32];

    snprintf(text, sizeof(text), "%s:%u", what, lock);
    sim_resp_text(output, text);
}

static void sent(struct client *client, enum phase phase, uint32_t replies, uint64_t patience)
{
    struct sim_locks *locks = client->locks;

    client->phase = phase;
    client->replies_due = replies;
    client->replies_taken = 0;
    client->queue_failed = false;
    stream_flush(client->stream);
    world_timer_start(world_of(locks), &client->give_up, locks->options.give_up + patience);
}

static void send_lock(struct client *client)
{
    struct sim_locks *locks = client->locks;
    struct buffer *output = stream_output(client->stream);
    uint64_t wait = draw(locks, 8) == 0 ? 0 : 1 + draw(locks, locks->options.wait_max) / 1000;

    client->lock = (uint32_t)draw(locks, locks->options.locks);
    client->waits = draw(locks, 4) > 0;
    client->ttl =
        locks->options.ttl_min + draw(locks, locks->options.ttl_max - locks->options.ttl_min);
    client->began = locks->sim->now;
    client->floor = locks->lock[client->lock].token_max;
    sim_resp_array(output, client->waits ? 5 : 3);
    sim_resp_text(output, "HOLON.LOCK");
    named(output, "lock", client->lock);
    number(output, client->ttl / 1000);
    if (client->waits) {
        sim_resp_text(output, "WAIT");
        number(output, wait);
    }
    uint64_t patience = client->waits ? locks->options.wait_max * 4 : 0;
    sent(client, LOCKING, 1, patience);
    /* Some do not wait for the end of it. */
    if (client->waits && draw(locks, 12) == 0)
        world_timer_start(world_of(locks), &client->give_up, draw(locks, patience / 4));
}

static void send_write(struct client *client)
{
    struct sim_locks *locks = client->locks;
    struct buffer *output = stream_output(client->stream);

    client->multi = draw(locks, 2) == 0;
    client->floor = locks->lock[client->lock].accepted_max;
    sim_resp_array(output, 3);
    sim_resp_text(output, "HOLON.GUARD");
    named(output, "lock", client->lock);
    number(output, client->token);
    if (client->multi) {
        sim_resp_array(output, 1);
        sim_resp_text(output, "MULTI");
    }
    sim_resp_array(output, 3);
    sim_resp_text(output, "GETSET");
    named(output, "guarded", client->lock);
    number(output, client->token);
    if (client->multi) {
        sim_resp_array(output, 2);
        sim_resp_text(output, "INCR");
        named(output, "written", client->lock);
        sim_resp_array(output, 1);
        sim_resp_text(output, "EXEC");
    }
    sent(client, WRITING, client->multi ? 5 : 2, 0);
}

static void send_unlock(struct client *client)
{
    struct buffer *output = stream_output(client->stream);

    sim_resp_array(output, 3);
    sim_resp_text(output, "HOLON.UNLOCK");
    named(output, "lock", client->lock);
    number(output, client->token);
    sent(client, RELEASING, 1, 0);
}

/* --- replies --------------------------------------------------------------------------------- */

static void unexpected(struct client *client, const struct sim_reply *reply)
{
    sim_violation(client->locks->sim, "locks: client %u got a reply of kind %d: %.*s",
                  client->number, (int)reply->kind,
                  (int)(reply->text.size < SHOWN_MAX ? reply->text.size : SHOWN_MAX),
                  (const char *)reply->text.data);
}

static bool starts_with(struct bytes text, const char *word)
{
    return bytes_starts_with(text, bytes_of(word));
}

static bool is_failure(const struct sim_reply *reply)
{
    return reply->kind == SIM_REPLY_ERROR &&
           (sim_resp_is_refusal(reply->text) || starts_with(reply->text, "UNKNOWN"));
}

/* L-4 */
static void check_order(struct client *client)
{
    struct lock *lock = &client->locks->lock[client->lock];
    uint32_t count = lock->served_count < SERVED_KEPT ? lock->served_count : SERVED_KEPT;

    if (client->locks->options.judge_order && client->waits)
        for (uint32_t i = 0; i < count; i++) {
            const struct served *other = &lock->served[i];
            if (other->began > client->began + ORDER_US && other->token < client->token)
                sim_violation(client->locks->sim,
                              "L-4: client %u waited for lock %u from %" PRIu64
                              " us on and got it behind one that came at %" PRIu64 " us",
                              client->number, client->lock, client->began, other->began);
        }
    lock->served[lock->served_count++ % SERVED_KEPT] =
        (struct served){.began = client->began, .token = client->token};
}

/* About as long as it may hold the lock, and about half of them too long. */
static void think(struct client *client)
{
    struct sim_locks *locks = client->locks;
    uint64_t ttl = client->ttl;

    switch (draw(locks, 8)) {
    case 0:
    case 1:
    case 2:
        world_timer_start(world_of(locks), &client->next, draw(locks, ttl));
        return;
    case 3:
        world_timer_start(world_of(locks), &client->next, ttl + draw(locks, 2 * ttl));
        return;
    default:
        world_timer_start(world_of(locks), &client->next, ttl - CLOSE_US + draw(locks, CLOSE_US));
    }
}

static void take_lock(struct client *client, const struct sim_reply *reply)
{
    struct sim_locks *locks = client->locks;
    struct lock *lock = &locks->lock[client->lock];

    if (reply->kind != SIM_REPLY_INTEGER) {
        if (reply->kind != SIM_REPLY_NIL && !is_failure(reply)) unexpected(client, reply);
        end(client);
        return;
    }
    client->token = (uint64_t)reply->integer;
    if (client->token <= client->floor)
        sim_violation(locks->sim,
                      "L-3: client %u got token %" PRIu64 " of lock %u, but %" PRIu64
                      " was told before it asked",
                      client->number, client->token, client->lock, client->floor);
    if (client->token > lock->token_max) lock->token_max = client->token;
    check_order(client);
    locks->counts.taken++;
    client->phase = HOLDING;
    world_timer_stop(world_of(locks), &client->give_up);
    think(client);
}

static uint64_t number_of(struct bytes text)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text.size; i++)
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    return value;
}

static void accepted(struct client *client, uint64_t before)
{
    struct sim_locks *locks = client->locks;
    struct lock *lock = &locks->lock[client->lock];

    if (before >= client->token)
        sim_violation(locks->sim,
                      "L-1: a write of client %u under token %" PRIu64
                      " of lock %u was accepted behind one under %" PRIu64,
                      client->number, client->token, client->lock, before);
    if (before < client->floor)
        sim_violation(locks->sim,
                      "L-2: a write under token %" PRIu64
                      " of lock %u was acknowledged, and a later "
                      "one finds %" PRIu64,
                      client->floor, client->lock, before);
    if (client->token > lock->accepted_max) lock->accepted_max = client->token;
    locks->counts.accepted++;
}

/* The value that GETSET found, of the first element of EXEC's array or as the reply. */
static bool read_before(const struct client *client, const struct sim_reply *reply,
                        struct bytes whole, uint64_t *ret_before)
{
    struct sim_reply element = *reply;
    size_t at = 0, size;

    if (client->multi) {
        if (reply->kind != SIM_REPLY_OTHER) return false;
        while (whole.data[at] != '\n')
            at++;
        if (sim_resp_parse(bytes_from(whole, at + 1), &element, &size) != 1) return false;
    }
    *ret_before = element.kind == SIM_REPLY_BULK ? number_of(element.text) : 0;
    return element.kind == SIM_REPLY_BULK || element.kind == SIM_REPLY_NIL;
}

static void take_written(struct client *client, const struct sim_reply *reply, struct bytes whole)
{
    struct sim_locks *locks = client->locks;
    uint64_t before;

    if (reply->kind == SIM_REPLY_ERROR) {
        bool lost = starts_with(reply->text, "LOCKLOST");
        bool aborted = starts_with(reply->text, "EXECABORT") && client->queue_failed;
        locks->counts.lost += lost;
        if (!lost && !aborted && !is_failure(reply)) unexpected(client, reply);
    } else if (read_before(client, reply, whole, &before)) {
        accepted(client, before);
    } else {
        unexpected(client, reply);
    }
    if (draw(locks, 5) > 0)
        send_unlock(client);
    else
        end(client);
}

static void take_reply(struct client *client, const struct sim_reply *reply, struct bytes whole)
{
    bool last = ++client->replies_taken == client->replies_due;

    if (client->phase == LOCKING) {
        take_lock(client, reply);
    } else if (client->phase == WRITING && last) {
        take_written(client, reply, whole);
    } else if (client->phase == WRITING) {
        client->queue_failed |= is_failure(reply);
        if (reply->kind != SIM_REPLY_STATUS && !is_failure(reply)) unexpected(client, reply);
    } else {
        if (reply->kind != SIM_REPLY_INTEGER && !is_failure(reply)) unexpected(client, reply);
        end(client);
    }
}

static bool take_replies(struct client *client)
{
    struct sim_reply reply;
    size_t size;

    for (;;) {
        struct bytes input = buffer_bytes(&client->input);
        int found = sim_resp_parse(input, &reply, &size);
        if (found == 0) return true;
        if (found < 0 || client->phase == IDLE || client->phase == HOLDING) {
            sim_violation(client->locks->sim, "locks: client %u got what it did not ask for",
                          client->number);
            return false;
        }
        take_reply(client, &reply, bytes_make(input.data, size));
        buffer_consume(&client->input, size);
        if (client->locks->sim->failed) return false;
    }
}

/* --- connections ----------------------------------------------------------------------------- */

static void on_connected(void *context, struct stream *stream)
{
    struct client *client = context;

    (void)stream;
    client->connecting = false;
    end(client);
}

static void on_data(void *context, struct stream *stream, struct bytes data)
{
    struct client *client = context;

    if (buffer_append(&client->input, data) != STATUS_OK || !take_replies(client))
        stream_abort(stream);
}

static void on_closed(void *context, struct stream *stream, enum status reason)
{
    struct client *client = context;

    (void)stream;
    (void)reason;
    client->stream = NULL;
    client->connecting = false;
    buffer_clear(&client->input);
    client->phase = IDLE;
    world_timer_stop(world_of(client->locks), &client->give_up);
    world_timer_stop(world_of(client->locks), &client->next);
    if (client->locks->running) next_in(client, RECONNECT_MIN_US, RECONNECT_MAX_US);
}

static const struct stream_events client_events = {
    .on_data = on_data, .on_connected = on_connected, .on_closed = on_closed};

static void connect_client(struct client *client)
{
    struct sim_locks *locks = client->locks;
    uint64_t node = draw(locks, locks->address_count);

    client->connecting = true;
    client->stream = world_connect(world_of(locks), locks->addresses[node], &client_events, client);
}

static void on_next(struct world_timer *timer)
{
    struct client *client = timer->context;

    if (client->stream == NULL)
        connect_client(client);
    else if (client->phase == HOLDING)
        send_write(client);
    else if (!client->connecting && client->phase == IDLE && client->locks->running)
        send_lock(client);
}

static void on_give_up(struct world_timer *timer)
{
    struct client *client = timer->context;

    if (client->stream) stream_abort(client->stream);
}

/* --- life ------------------------------------------------------------------------------------ */

struct sim_locks *sim_locks_make(struct sim *sim, const struct sim_locks_options *options,
                                 const char (*addresses)[64], uint32_t address_count)
{
    struct sim_locks *locks = memory_allocate_zero(sizeof(*locks));

    ASSERT(options->clients <= SIM_LOCK_CLIENTS_MAX && options->locks <= SIM_LOCKS_MAX);
    ASSERT(address_count <= 64 && options->ttl_min > CLOSE_US);
    locks->sim = sim;
    locks->options = *options;
    locks->address_count = address_count;
    memcpy(locks->addresses, addresses, address_count * sizeof(*addresses));
    sim_machine_init(&locks->machine, sim, 0);
    locks->process = sim_process_make(&locks->machine, 1, NULL, NULL);
    locks->machine.process = locks->process;
    for (uint32_t i = 0; i < options->clients; i++) {
        struct client *client = memory_allocate_zero(sizeof(*client));
        client->locks = locks;
        client->number = i;
        client->next = (struct world_timer){.fire = on_next, .context = client};
        client->give_up = (struct world_timer){.fire = on_give_up, .context = client};
        buffer_init(&client->input, INPUT_SIZE_MAX);
        locks->all[i] = client;
    }
    return locks;
}

void sim_locks_free(struct sim_locks *locks)
{
    if (locks == NULL) return;
    sim_process_end(locks->process, SIM_END_QUIET);
    for (uint32_t i = 0; i < locks->options.clients; i++) {
        buffer_free(&locks->all[i]->input);
        memory_free(locks->all[i]);
    }
    memory_free(locks);
}

static void start_all(void *context)
{
    struct sim_locks *locks = context;

    for (uint32_t i = 0; i < locks->options.clients; i++)
        connect_client(locks->all[i]);
}

void sim_locks_start(struct sim_locks *locks)
{
    locks->running = true;
    sim_world_call(&locks->process->worlds[0], 0, start_all, locks);
}

void sim_locks_stop(struct sim_locks *locks)
{
    locks->running = false;
}

bool sim_locks_idle(const struct sim_locks *locks)
{
    for (uint32_t i = 0; i < locks->options.clients; i++)
        if (locks->all[i]->phase != IDLE) return false;
    return true;
}

struct sim_locks_counts sim_locks_counts(const struct sim_locks *locks)
{
    return locks->counts;
}
