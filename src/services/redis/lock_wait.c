#include "services/redis/lock_wait.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/parse.h"
#include "services/redis/lock.h"

enum { ERROR_SIZE_MAX = 1024, NUMBER_SIZE_MAX = 24 };

#define NEVER (UINT64_MAX / 2)

enum lock_step {
    STEP_TRY,
    STEP_LEAVE, /* the ticket is given back, */
    STEP_UNLOCK /* or the lock that nobody wants any more */
};

struct lock_wait {
    struct gateway_request request;
    struct redis_service *service;
    struct connection *connection; /* NULL: it is gone; then it is in service->locks_left */
    struct list link;
    enum lock_step step;
    bool open, answered, silent;
    uint8_t database;
    uint32_t permits, ttl_ms;
    uint64_t ticket;   /* 0: it has none yet */
    uint64_t token;    /* 0: it does not hold the lock */
    uint64_t deadline; /* boot clock */
    uint64_t started;
    struct buffer error; /* RESP; empty: none */
    struct bytes name;
};

/* --- what all commands of locks need -----------------------------------------------------------
 */

bool lock_is_ready(const struct redis_service *service)
{
    return service->options.txn != NULL && service_has_view(service) &&
           service->options.view->cluster_version >= VIEW_VERSION_LOCK;
}

void lock_format_unready(const struct redis_service *service, char *text, size_t size)
{
    if (!service_has_view(service))
        snprintf(
            text, size,
            "UNAVAILABLE the cluster is being formed; the command was not executed, try again");
    else
        snprintf(text, size,
                 "ERR locks need all nodes to know them, but the cluster still runs at version %u; "
                 "finish the upgrade (holon upgrade finalize). Nothing was changed",
                 (unsigned)service->options.view->cluster_version);
}

bool lock_parse_slot(struct connection *connection, struct bytes text, uint16_t *ret_slot)
{
    int64_t slot;

    if (!parse_i64(text, &slot) || slot < 0 || slot >= SLOT_COUNT) {
        connection_reply_error(connection, "ERR Invalid or out of range slot");
        return false;
    }
    *ret_slot = (uint16_t)slot;
    return true;
}

bool lock_waits(const struct redis_command *command, const struct bytes *arguments, uint32_t count)
{
    struct lock_request request;
    const char *wrong;
    bool takes = command->id == REDIS_HOLON_LOCK || command->id == REDIS_HOLON_SEMAPHORE;

    return takes && lock_request_parse(command, arguments, count, &request, &wrong) &&
           request.waits;
}

/* --- requests ----------------------------------------------------------------------------------
 */

static void note_error(struct lock_wait *wait, const char *text)
{
    struct resp_writer out = resp_writer_make(&wait->error, false);

    buffer_clear(&wait->error);
    resp_write_error(&out, text);
}

/* [token, ticket] */
static void take_attempt(struct lock_wait *wait, struct bytes reply)
{
    struct bytes rest = reply;
    int64_t token, ticket;
    uint64_t count;

    if (resp_is_error(reply)) {
        buffer_append(&wait->error, reply);
        return;
    }
    bool sound = resp_read_array(&rest, &count) && count == 2 && resp_read_integer(&rest, &token) &&
                 resp_read_integer(&rest, &ticket) && token >= 0 && ticket >= 0;
    if (!sound) {
        note_error(wait,
                   "ERR another node gave an answer that this node does not understand; it is "
                   "not known whether the lock was taken");
        return;
    }
    wait->token = (uint64_t)token;
    wait->ticket = (uint64_t)ticket;
}

/* What a read that took the lock is said to be is not enough: it may have. */
static void take_failure(struct lock_wait *wait, enum gateway_outcome outcome, struct bytes text)
{
    struct resp_writer out = resp_writer_make(&wait->error, false);

    outcome_count(wait->service, outcome);
    if (outcome == GATEWAY_UNAVAILABLE || outcome == GATEWAY_UNKNOWN) {
        note_error(wait, "UNKNOWN outcome: no quorum of the lock's partition answered within the "
                         "patience; if the lock was taken, it ends with its TTL");
        return;
    }
    outcome_write(wait->service, &out, outcome, &wait->request, text);
}

static void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply)
{
    struct lock_wait *wait = CONTAINER_OF(request, struct lock_wait, request);
    struct redis_service *service = wait->service;

    wait->open = false;
    wait->answered = true;
    if (wait->step == STEP_TRY && outcome == GATEWAY_REPLY)
        take_attempt(wait, reply);
    else if (wait->step == STEP_TRY)
        take_failure(wait, outcome, reply);
    /* Nothing is submitted inside callbacks. */
    if (wait->connection)
        connection_wake(wait->connection);
    else
        world_timer_start(service->options.world, &service->lock_timer, 0);
}

static struct bytes number_text(uint64_t number, char *text)
{
    return bytes_make(text,
                      (size_t)snprintf(text, NUMBER_SIZE_MAX, "%llu", (unsigned long long)number));
}

static void submit(struct lock_wait *wait, uint16_t command_id, struct bytes *arguments,
                   uint32_t count)
{
    struct redis_service *service = wait->service;
    const struct redis_command *command = redis_command_by_id(command_id);

    arguments[0] = wait->name;
    bool fits = body_make(service, command, false, wait->database, arguments, count);
    ASSERT(fits); /* a name that was checked, and numbers */
    wait->open = true;
    wait->answered = false;
    wait->request = (struct gateway_request){
        .service = SERVICE_REDIS,
        .slot = key_slot(wait->name),
        .write = command_id != REDIS_LOCKTRY || wait->ticket == 0,
        .grows = command_id == REDIS_LOCKTRY,
        .client = wait->connection ? (uint16_t)wait->connection->id : wait->request.client,
        .body = buffer_bytes(&service->body),
        .on_reply = on_reply};
    gateway_submit(service->options.gateway, &wait->request);
}

static void submit_attempt(struct lock_wait *wait, uint64_t left_us)
{
    char permits[NUMBER_SIZE_MAX], ttl[NUMBER_SIZE_MAX], ticket[NUMBER_SIZE_MAX],
        time[NUMBER_SIZE_MAX];
    uint64_t left_ms = (left_us + 999) / 1000;
    uint64_t wait_ms = left_ms < LOCK_ATTEMPT_MS ? left_ms : LOCK_ATTEMPT_MS;
    struct bytes arguments[] = {wait->name, number_text(wait->permits, permits),
                                number_text(wait->ttl_ms, ttl), number_text(wait->ticket, ticket),
                                number_text(wait_ms, time)};

    submit(wait, REDIS_LOCKTRY, arguments, ARRAY_COUNT(arguments));
}

/* Gives back what it has. False: it has nothing. */
static bool submit_giving_back(struct lock_wait *wait)
{
    char number[NUMBER_SIZE_MAX];
    struct bytes arguments[] = {wait->name, bytes_make(NULL, 0)};

    if (wait->step != STEP_TRY || (wait->token == 0 && wait->ticket == 0)) return false;
    wait->step = wait->token ? STEP_UNLOCK : STEP_LEAVE;
    arguments[1] = number_text(wait->token ? wait->token : wait->ticket, number);
    submit(wait, wait->step == STEP_UNLOCK ? REDIS_HOLON_UNLOCK : REDIS_LOCKLEAVE, arguments, 2);
    return true;
}

/* --- life --------------------------------------------------------------------------------------
 */

static void wait_free(struct lock_wait *wait)
{
    if (wait->open) gateway_forget(wait->service->options.gateway, &wait->request);
    if (!list_empty(&wait->link)) wait->service->locks_left_count--;
    list_remove(&wait->link);
    buffer_free(&wait->error);
    memory_free((void *)wait->name.data);
    memory_free(wait);
}

/* From now on it belongs to the service. */
static void leave(struct lock_wait *wait)
{
    struct redis_service *service = wait->service;

    wait->request.client = (uint16_t)wait->connection->id;
    wait->connection->locks = NULL;
    wait->connection = NULL;
    if (service->locks_left_count >= LOCKS_LEFT_MAX) {
        wait_free(wait);
        return;
    }
    service->locks_left_count++;
    list_insert_before(&service->locks_left, &wait->link);
    if (!wait->open) world_timer_start(service->options.world, &service->lock_timer, 0);
}

static void on_lock_timer(struct world_timer *timer)
{
    struct redis_service *service = timer->context;
    struct list *link = service->locks_left.next;

    while (link != &service->locks_left) {
        struct lock_wait *wait = CONTAINER_OF(link, struct lock_wait, link);
        link = link->next;
        if (!wait->open && !submit_giving_back(wait)) wait_free(wait);
    }
}

void lock_wait_open(struct redis_service *service)
{
    list_init(&service->locks_left);
    service->lock_timer = (struct world_timer){.fire = on_lock_timer, .context = service};
}

void lock_wait_close(struct redis_service *service)
{
    world_timer_stop(service->options.world, &service->lock_timer);
    while (!list_empty(&service->locks_left))
        wait_free(CONTAINER_OF(service->locks_left.next, struct lock_wait, link));
}

/* --- the command -------------------------------------------------------------------------------
 */

static void answer(struct lock_wait *wait)
{
    struct connection *connection = wait->connection;
    struct redis_service *service = wait->service;
    enum reply_mode mode = connection->reply_mode;
    struct local_reply reply;

    histogram_record(&service->write_latency, world_now(service->options.world) - wait->started);
    connection->reply_mode = wait->silent ? REPLY_OFF : REPLY_ON;
    local_reply_begin(connection, &reply);
    if (buffer_size(&wait->error) > 0)
        resp_write_raw(&reply.out, buffer_bytes(&wait->error));
    else if (wait->token)
        resp_write_integer(&reply.out, (int64_t)wait->token);
    else
        resp_write_null(&reply.out);
    local_reply_end(&reply);
    connection->reply_mode = mode;
}

static void finish(struct lock_wait *wait)
{
    answer(wait);
    wait->connection->locks = NULL;
    wait_free(wait);
}

static uint64_t time_left(const struct lock_wait *wait)
{
    uint64_t now = world_now(wait->service->options.world);

    return wait->deadline > now ? wait->deadline - now : 0;
}

void lock_wait_start(struct connection *connection, const struct redis_command *command,
                     const struct bytes *arguments, uint32_t count)
{
    struct redis_service *service = connection->service;
    struct lock_wait *wait = memory_allocate_zero(sizeof(*wait));
    uint8_t *name = memory_allocate(arguments[1].size);
    struct lock_request request;
    const char *wrong;

    ASSERT(list_empty(&connection->slots) && connection->locks == NULL);
    bool right = lock_request_parse(command, arguments, count, &request, &wrong);
    ASSERT(right); /* lock_waits() has looked */
    memcpy(name, arguments[1].data, arguments[1].size);
    *wait = (struct lock_wait){
        .service = service,
        .connection = connection,
        .silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP,
        .database = connection->database,
        .permits = request.permits,
        .ttl_ms = request.ttl_ms,
        .started = service->now,
        .deadline = request.wait_ms ? service->now + (uint64_t)request.wait_ms * 1000 : NEVER,
        .name = bytes_make(name, arguments[1].size)};
    list_init(&wait->link);
    buffer_init(&wait->error, ERROR_SIZE_MAX);
    connection->locks = wait;
    connection->waits_for = WAIT_LOCK;
    service->statistics.writes++;
    submit_attempt(wait, time_left(wait));
}

void lock_wait_continue(struct connection *connection)
{
    struct lock_wait *wait = connection->locks;
    uint64_t left = time_left(wait);

    if (wait->open || !wait->answered) return;
    bool ends = wait->token || buffer_size(&wait->error) > 0 || wait->step == STEP_LEAVE;
    if (!ends && left > 0) {
        submit_attempt(wait, left);
        return;
    }
    bool failed = buffer_size(&wait->error) > 0 && wait->token == 0;
    if (failed) { /* the ticket is given back behind the answer */
        answer(wait);
        leave(wait);
    } else if (wait->token || wait->step == STEP_LEAVE || !submit_giving_back(wait)) {
        finish(wait);
    }
}

void lock_wait_cancel(struct connection *connection)
{
    if (connection->locks) leave(connection->locks);
}

void lock_wait_give_up(struct connection *connection)
{
    struct lock_wait *wait = connection->locks;

    if (wait == NULL) return;
    if (wait->token) {
        finish(wait);
        return;
    }
    note_error(wait, "UNAVAILABLE this node is stopping; the lock was not taken, ask another node");
    answer(wait);
    buffer_clear(&wait->error);
    leave(wait);
}
