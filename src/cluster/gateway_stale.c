/* gateway_stale.c - reads that a replica of this node may answer (partition/stale.h). They have no
 * place in the numbered streams: they change nothing, and may be asked again at will.
 *
 *   submit -> replica of this worker: answered at once, or waits
 *          -> of another worker of this node: asked by a frame
 *          -> no replica here, or it leads, or cannot answer by itself: as any other read
 *
 * What waits (for a fresher stamp, gateway_fresh.c, or for what is in flight) looks again in a
 * while: of each group the first one only; once that is answered, all others. When patience is
 * over it ends with GATEWAY_STALE. */
#include "cluster/gateway_internal.h"
#include "partition/stale.h"

static void poll_fire(struct world_timer *timer);

struct gateway_stale *gateway_stale_of(struct gateway *gateway)
{
    struct gateway_stale *stale = gateway->stale;
    if (stale != NULL) return stale;
    stale = gateway->stale = memory_allocate_zero(sizeof(*stale));
    list_init(&stale->waiting);
    list_init(&stale->polling);
    list_init(&stale->questions);
    map_init(&stale->by_id);
    stale->worker_count = transport_worker_count(gateway->options.transport, gateway->options.node);
    stale->asks = memory_allocate_zero(stale->worker_count * sizeof(*stale->asks));
    stale->answers = memory_allocate_zero(stale->worker_count * sizeof(*stale->answers));
    for (uint32_t i = 0; i < stale->worker_count; i++) {
        buffer_init(&stale->asks[i], TRANSPORT_FRAME_SIZE_MAX);
        buffer_init(&stale->answers[i], TRANSPORT_FRAME_SIZE_MAX);
    }
    stale->polled =
        memory_allocate_zero((PARTITIONS_MAX + GROUP_DATA_FIRST) * sizeof(*stale->polled));
    stale->poll_timer = (struct world_timer){.fire = poll_fire, .context = gateway};
    stale->fresh_timer = (struct world_timer){.fire = fresh_timer_fire, .context = gateway};
    return stale;
}

/* --- frames out --- */

static void frame_send(struct gateway *gateway, uint32_t worker, uint8_t kind,
                       struct buffer *buffer)
{
    if (buffer_size(buffer) == 0) return;
    transport_send(gateway->options.transport, gateway->options.node, worker, kind,
                   buffer_bytes(buffer));
    buffer_clear(buffer);
}

void stale_turn_end(struct gateway *gateway)
{
    struct gateway_stale *stale = gateway->stale;
    for (uint32_t i = 0; i < stale->worker_count; i++) {
        frame_send(gateway, i, PEER_FRAME_STALE_ASKS, &stale->asks[i]);
        frame_send(gateway, i, PEER_FRAME_STALE_ANSWERS, &stale->answers[i]);
    }
}

struct buffer *stale_asks_to(struct gateway *gateway, uint32_t worker)
{
    struct gateway_stale *stale = gateway->stale;
    struct buffer *buffer = &stale->asks[worker];
    struct writer writer = writer_make(buffer);
    if (buffer_size(buffer) > OUT_FLUSH_BYTES)
        frame_send(gateway, worker, PEER_FRAME_STALE_ASKS, buffer);
    if (buffer_size(buffer) == 0) write_u8(&writer, fresh_pace_joined(stale));
    world_defer(gateway->world, &gateway->turn_end);
    return buffer;
}

static void answer_send(struct gateway *gateway, uint32_t worker, const struct stale_answer *answer)
{
    struct buffer *buffer = &gateway->stale->answers[worker];
    struct writer writer = writer_make(buffer);
    if (buffer_size(buffer) + answer->bytes.size > OUT_FLUSH_BYTES)
        frame_send(gateway, worker, PEER_FRAME_STALE_ANSWERS, buffer);
    stale_answer_encode(&writer, answer);
    ASSERT(!writer.failed);
    world_defer(gateway->world, &gateway->turn_end);
}

/* --- books --- */

static struct group_id group_of(const struct gateway *gateway,
                                const struct gateway_request *request)
{
    return cluster_view_group_of_slot(gateway->options.view, request->slot);
}

static uint32_t worker_of(const struct gateway *gateway, struct group_id group)
{
    return group_worker(group, gateway->options.store_count, gateway->stale->worker_count);
}

static void poll_soon(struct gateway *gateway)
{
    struct gateway_stale *stale = gateway->stale;
    stale->poll_delay = STALE_POLL_FIRST_US;
    world_timer_start(gateway->world, &stale->poll_timer, stale->poll_delay);
}

static void wait_begin(struct gateway *gateway, struct gateway_request *request)
{
    struct gateway_stale *stale = gateway->stale;
    request->stale_id = ++stale->next_id;
    request->stale_asked = false;
    request->stale_waited = false;
    request->stale_as_of = 0;
    request->stream = NULL;
    request->size = (uint32_t)request->body.size;
    gateway->open_bytes += request->size;
    stale->waiting_count++;
    list_insert_before(&stale->waiting, &request->by_age);
    map_put(&stale->by_id, request->stale_id, request);
    if (stale->waiting_count == 1) poll_soon(gateway);
}

static void note_waited(struct gateway *gateway, struct gateway_request *request)
{
    if (request->stale_waited) return;
    SOMETIMES(gateway->world, "a stale read waited");
    request->stale_waited = true;
    gateway->statistics.stale_waited++;
}

/* Out of all books; its copy stays. */
static void wait_end(struct gateway *gateway, struct gateway_request *request)
{
    struct gateway_stale *stale = gateway->stale;
    map_remove(&stale->by_id, request->stale_id);
    request->stale_id = 0;
    gateway->open_bytes -= request->size;
    stale->waiting_count--;
    list_remove(&request->by_age);
}

static void free_copy(struct gateway_request *request)
{
    memory_free(request->copy);
    request->copy = NULL;
}

void stale_forget(struct gateway *gateway, struct gateway_request *request)
{
    wait_end(gateway, request);
    free_copy(request);
}

static void set_staleness(struct gateway *gateway, struct gateway_request *request, uint64_t as_of)
{
    request->staleness = as_of == 0 ? UINT64_MAX : world_now(gateway->world) - as_of;
}

static void finish(struct gateway *gateway, struct gateway_request *request,
                   enum gateway_outcome outcome, uint64_t as_of, struct bytes reply)
{
    if (request->stale_id != 0) {
        wait_end(gateway, request);
        if (outcome == GATEWAY_REPLY) gateway->stale->poll_all = true;
    }
    free_copy(request);
    set_staleness(gateway, request, as_of);
    gateway->statistics.stale_reads += outcome == GATEWAY_REPLY;
    request->on_reply(request, outcome, reply);
}

static void to_leader(struct gateway *gateway, struct gateway_request *request)
{
    wait_end(gateway, request);
    gateway->statistics.stale_to_leader++;
    gateway_submit_to_leader(gateway, request);
}

/* --- asking --- */

struct answer_here {
    struct gateway *gateway;
    struct gateway_request *request;
};

static void on_answer_here(void *context, uint64_t as_of, struct bytes reply)
{
    struct answer_here *here = context;
    finish(here->gateway, here->request, GATEWAY_REPLY, as_of, reply);
}

static struct stale_ask ask_of(const struct gateway_request *request)
{
    const uint8_t *body = request->copy != NULL ? request->copy : request->body.data;
    return (struct stale_ask){.id = request->stale_id,
                              .bound = (uint64_t)request->stale_ms * 1000,
                              .not_before = request->stale_not_before,
                              .service = request->service,
                              .slot = request->slot,
                              .body = bytes_make(body, request->body.size)};
}

/* STALE_ANSWERED: it may be another one by now. */
static enum stale_code ask_here(struct gateway *gateway, struct gateway_request *request,
                                struct group_id group, uint64_t *ret_as_of)
{
    struct stale_ask ask = ask_of(request);
    struct answer_here here = {.gateway = gateway, .request = request};
    return stale_read(gateway->options.host, group, &ask, &here, on_answer_here, ret_as_of);
}

static void ask_other(struct gateway *gateway, struct gateway_request *request, uint32_t worker,
                      uint64_t now)
{
    struct stale_ask ask = ask_of(request);
    struct writer writer = writer_make(stale_asks_to(gateway, worker));
    stale_ask_encode(&writer, &ask);
    ASSERT(!writer.failed);
    request->stale_asked = true;
    request->stale_asked_at = now;
}

/* One that waits asks (again). */
static void ask(struct gateway *gateway, struct gateway_request *request, uint64_t now)
{
    struct group_id group = group_of(gateway, request);
    uint32_t worker = worker_of(gateway, group);
    if (worker != world_worker(gateway->world)) {
        bool open = request->stale_asked && now - request->stale_asked_at < STALE_ANSWER_WAIT_US;
        if (!open) ask_other(gateway, request, worker, now);
        return;
    }
    uint64_t as_of = 0;
    enum stale_code code = ask_here(gateway, request, group, &as_of);
    if (code == STALE_TO_LEADER) to_leader(gateway, request);
    if (code == STALE_WAITS) request->stale_as_of = as_of;
}

/* --- looking again --- */

static void give_up(struct gateway *gateway, struct gateway_request *request)
{
    SOMETIMES(gateway->world, "a stale read was refused");
    gateway->statistics.stale_refused++;
    finish(gateway, request, GATEWAY_STALE, request->stale_as_of, bytes_make(NULL, 0));
}

/* The first of its group in this look, or all may try. */
static bool may_ask(struct gateway *gateway, const struct gateway_request *request, bool all)
{
    struct gateway_stale *stale = gateway->stale;
    uint64_t *polled = &stale->polled[group_of(gateway, request).value];
    bool first = *polled != stale->poll_number;
    *polled = stale->poll_number;
    return first || all;
}

/* Each is taken over to `waiting` before anything is called that may change the lists. */
static void poll_fire(struct world_timer *timer)
{
    struct gateway *gateway = timer->context;
    struct gateway_stale *stale = gateway->stale;
    uint64_t now = world_now(gateway->world);
    bool all = stale->poll_all;
    stale->poll_all = false;
    stale->poll_number++;
    while (!list_empty(&stale->waiting)) {
        struct list *link = stale->waiting.next;
        list_remove(link);
        list_insert_before(&stale->polling, link);
    }
    while (!list_empty(&stale->polling)) {
        struct list *link = stale->polling.next;
        struct gateway_request *request = CONTAINER_OF(link, struct gateway_request, by_age);
        list_remove(link);
        list_insert_before(&stale->waiting, link);
        if (now - request->arrived >= gateway->options.patience)
            give_up(gateway, request);
        else if (may_ask(gateway, request, all))
            ask(gateway, request, now);
    }
    if (stale->waiting_count == 0) return;
    stale->poll_delay *= 2;
    if (stale->poll_delay > STALE_POLL_LAST_US) stale->poll_delay = STALE_POLL_LAST_US;
    if (stale->poll_all) stale->poll_delay = 0;
    world_timer_start(gateway->world, &stale->poll_timer, stale->poll_delay);
    if (stale->poll_delay == 0) stale->poll_delay = STALE_POLL_FIRST_US;
}

/* --- submit --- */

static bool view_has_replica_here(const struct gateway *gateway, struct group_id group)
{
    const struct cluster_view *view = gateway->options.view;
    if (group.value >= view->group_count) return false;
    for (uint32_t i = 0; i < view->groups[group.value].replica_count; i++) {
        if (view->groups[group.value].replicas[i].node == gateway->options.node) return true;
    }
    return false;
}

static bool is_full(const struct gateway *gateway, const struct gateway_request *request)
{
    return gateway->stale->waiting_count >= gateway->options.inflight_max ||
           gateway->open_bytes + request->body.size > gateway->options.inflight_bytes_max;
}

static bool submit_here(struct gateway *gateway, struct gateway_request *request,
                        struct group_id group)
{
    uint64_t as_of = 0;
    enum stale_code code = ask_here(gateway, request, group, &as_of);
    if (code == STALE_ANSWERED) return true;
    if (code == STALE_TO_LEADER || is_full(gateway, request)) return false;
    wait_begin(gateway, request);
    note_waited(gateway, request);
    request->stale_as_of = as_of;
    return true;
}

bool stale_submit(struct gateway *gateway, struct gateway_request *request)
{
    struct group_id group = group_of(gateway, request);
    if (gateway->fenced || gateway->closing || group.value < GROUP_DATA_FIRST) return false;
    ASSERT(!request->write);
    gateway_stale_of(gateway);
    request->arrived = world_now(gateway->world);
    bool taken = false;
    if (worker_of(gateway, group) == world_worker(gateway->world)) {
        taken = submit_here(gateway, request, group);
    } else if (view_has_replica_here(gateway, group) && !is_full(gateway, request)) {
        wait_begin(gateway, request);
        ask_other(gateway, request, worker_of(gateway, group), request->arrived);
        taken = true;
    }
    if (!taken) gateway->statistics.stale_to_leader++;
    if (taken && request->stale_id != 0) gateway_request_copy(request);
    return taken;
}

/* --- the other worker --- */

struct answer_to {
    struct gateway *gateway;
    uint32_t worker;
    struct stale_answer answer;
};

static void on_answer_to(void *context, uint64_t as_of, struct bytes reply)
{
    struct answer_to *to = context;
    bool small = reply.size <= STALE_REPLY_BYTES_MAX;
    to->answer.code = small ? STALE_ANSWERED : STALE_TO_LEADER;
    to->answer.as_of = as_of;
    if (small) to->answer.bytes = reply;
    answer_send(to->gateway, to->worker, &to->answer);
}

static void take_ask(struct gateway *gateway, uint32_t worker, const struct stale_ask *ask)
{
    struct group_id group = cluster_view_group_of_slot(gateway->options.view, ask->slot);
    struct answer_to to = {.gateway = gateway, .worker = worker, .answer = {.id = ask->id}};
    uint64_t as_of = 0;
    enum stale_code code = stale_read(gateway->options.host, group, ask, &to, on_answer_to, &as_of);
    if (code == STALE_ANSWERED) return;
    to.answer.code = (uint8_t)code;
    to.answer.as_of = as_of;
    answer_send(gateway, worker, &to.answer);
}

static void take_answer(struct gateway *gateway, const struct stale_answer *answer)
{
    struct gateway_request *request = map_get(&gateway->stale->by_id, answer->id);
    if (request == NULL) return;
    request->stale_asked = false;
    switch ((enum stale_code)answer->code) {
    case STALE_ANSWERED:
        finish(gateway, request, GATEWAY_REPLY, answer->as_of, answer->bytes);
        break;
    case STALE_TO_LEADER:
        to_leader(gateway, request);
        break;
    default:
        note_waited(gateway, request);
        request->stale_as_of = answer->as_of;
        break;
    }
}

void gateway_on_stale_frame(struct gateway *gateway, const struct transport_peer *from,
                            uint8_t kind, struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct gateway_stale *stale = gateway_stale_of(gateway);
    struct stale_answer answer;
    struct stale_ask ask;
    /* Times are of the boot clock of this machine: nobody else is to ask. */
    if (from->node != gateway->options.node || from->worker >= stale->worker_count) return;
    if (kind == PEER_FRAME_STALE_ANSWERS) {
        while (stale_answer_decode(&reader, &answer) == STATUS_OK)
            take_answer(gateway, &answer);
        if (stale->poll_all && stale->waiting_count > 0) poll_soon(gateway);
        return;
    }
    fresh_wished(gateway, read_u8(&reader));
    while (stale_ask_decode(&reader, &ask) == STATUS_OK)
        take_ask(gateway, from->worker, &ask);
}

void stale_close(struct gateway *gateway)
{
    struct gateway_stale *stale = gateway->stale;
    if (stale == NULL) return;
    world_timer_stop(gateway->world, &stale->poll_timer);
    world_timer_stop(gateway->world, &stale->fresh_timer);
    while (!list_empty(&stale->waiting))
        finish(gateway, CONTAINER_OF(stale->waiting.next, struct gateway_request, by_age),
               GATEWAY_UNAVAILABLE, 0, bytes_make(NULL, 0));
    for (uint32_t i = 0; i < stale->worker_count; i++) {
        buffer_free(&stale->asks[i]);
        buffer_free(&stale->answers[i]);
    }
    memory_free(stale->asks);
    memory_free(stale->answers);
    memory_free(stale->polled);
    map_free(&stale->by_id);
    memory_free(stale);
    gateway->stale = NULL;
}
