/* One numbered stream of requests per partition (B2), one active route each (B5).
 *
 *   submit -> seq -> sent on the route (leader, its term, route number, position)
 *   NACK, timeout, broken link -> a new route: all that is unresolved again, in order
 *   reply on the present route -> resolved, once
 *   patience over -> UNKNOWN or UNAVAILABLE (B7); the seq is below the watermark from then on
 *
 * A reply of an older route is never taken: what it answers was asked again. */
#include "cluster/gateway_internal.h"

struct gateway_stream *gateway_stream_make(struct gateway *gateway, struct group_id group)
{
    ASSERT(group.value < PARTITIONS_MAX + GROUP_DATA_FIRST);
    if (group.value >= gateway->stream_capacity) {
        uint32_t capacity = group.value + 64;
        gateway->streams = memory_resize(gateway->streams, capacity * sizeof(void *));
        memset(gateway->streams + gateway->stream_capacity, 0,
               (capacity - gateway->stream_capacity) * sizeof(void *));
        gateway->stream_capacity = capacity;
    }
    ASSERT(gateway->streams[group.value] == NULL);
    struct gateway_stream *stream = memory_allocate_lines(sizeof(*stream));
    stream->gateway = gateway;
    stream->group = group;
    stream->next_seq = 1;
    /* So that no reply to an earlier life of this node can pass for one to this. */
    stream->route = (uint64_t)gateway->options.epoch << 32;
    stream->retry_delay = RETRY_FIRST_US;
    stream->timeout = ROUTE_TIMEOUT_US;
    gateway->streams[group.value] = stream;
    return stream;
}

static void ring_make_room(struct gateway_stream *stream)
{
    uint64_t span = stream->next_seq - stream->watermark; /* seqs watermark+1 .. next_seq */
    if (span < stream->capacity) return;
    uint32_t capacity = stream->capacity == 0 ? 4 : stream->capacity * 2;
    struct gateway_request **ring = memory_allocate_zero(capacity * sizeof(*ring));
    for (uint64_t seq = stream->watermark + 1; seq < stream->next_seq; seq++) {
        ring[seq & (capacity - 1)] = *ring_at(stream, seq);
    }
    memory_free(stream->ring);
    stream->ring = ring;
    stream->capacity = capacity;
}

static void watermark_advance(struct gateway_stream *stream)
{
    while (stream->watermark + 1 < stream->next_seq &&
           *ring_at(stream, stream->watermark + 1) == NULL) {
        stream->watermark++;
    }
}

void gateway_partial_drop(struct gateway *gateway, struct gateway_request *request)
{
    if (request->partial == NULL) return;
    gateway->partial_bytes -= buffer_size(request->partial);
    gateway->partial_count--;
    request->stream->partials--;
    buffer_free(request->partial);
    memory_free(request->partial);
    request->partial = NULL;
}

/* Takes the request out of all books; its seq is resolved from now on. */
static void request_remove(struct gateway_request *request)
{
    struct gateway_stream *stream = request->stream;
    struct gateway *gateway = stream->gateway;
    ASSERT(*ring_at(stream, request->seq) == request);
    *ring_at(stream, request->seq) = NULL;
    if (request->reserved) {
        gateway_unreserve(request);
    } else {
        stream->open--;
        gateway->open--;
    }
    gateway->open_bytes -= request->size;
    stream->open_bytes -= request->size;
    list_remove(&request->by_age);
    gateway_partial_drop(gateway, request);
    watermark_advance(stream);
    memory_free(request->copy);
    request->copy = NULL;
    request->stream = NULL;
}

void gateway_request_finish(struct gateway_request *request, enum gateway_outcome outcome,
                            struct bytes reply)
{
    struct gateway *gateway = request->stream->gateway;
    struct buffer *whole = outcome == GATEWAY_REPLY ? request->partial : NULL;

    if (whole != NULL) {
        request->partial = NULL; /* it is needed until the callback is done */
        gateway->partial_bytes -= buffer_size(whole);
        gateway->partial_count--;
        request->stream->partials--;
        reply = buffer_bytes(whole);
    }
    request_remove(request);
    request->on_reply(request, outcome, reply);
    if (whole == NULL) return;
    buffer_free(whole);
    memory_free(whole);
}

/* --- patience and silence --- */

static void give_up(struct gateway_request *request)
{
    struct gateway *gateway = request->stream->gateway;
    bool unknown = request->write && request->sent_ever;
    if (unknown) {
        gateway->statistics.unknown++;
        SOMETIMES(gateway->world, "an outcome stayed unknown");
    } else {
        gateway->statistics.unavailable++;
    }
    gateway_request_finish(request, unknown ? GATEWAY_UNKNOWN : GATEWAY_UNAVAILABLE,
                           bytes_make(NULL, 0));
}

static void drop_idle_streams(struct gateway *gateway)
{
    struct gateway_stream **at = &gateway->active;
    while (*at != NULL) {
        struct gateway_stream *stream = *at;
        if (stream->open > 0) {
            at = &stream->next_active;
            continue;
        }
        *at = stream->next_active;
        stream->active = false;
        stream->retry_at = 0;
    }
}

/* A leader that is slow because it has much to do is not asked again: that would be more to do. */
static bool is_silent(const struct gateway_stream *stream, uint64_t now)
{
    uint64_t usual = ROUTE_TIMEOUT_LATENCIES * stream->gateway->latency;
    uint64_t timeout = stream->timeout > usual ? stream->timeout : usual;
    uint64_t heard = stream->gateway->node_heard[stream->target];

    if (now - heard < ROUTE_TIMEOUT_US && timeout < ROUTE_TIMEOUT_LIVES_US)
        timeout = ROUTE_TIMEOUT_LIVES_US;
    if (timeout > ROUTE_TIMEOUT_LAST_US) timeout = ROUTE_TIMEOUT_LAST_US;
    return stream->target != 0 && !stream->target_local && now - stream->heard_at > timeout;
}

/* Whatever else the route answers: what was under way of that reply, or acknowledged it, is lost,
 * and who sends it waits as this one does. */
static bool parts_stopped(const struct gateway_stream *stream, uint64_t now)
{
    return stream->target != 0 && stream->partials > 0 && now - stream->part_at > PART_TIMEOUT_US;
}

/* Of the worker that is asked: others of its node have connections of their own. */
static bool may_be_cut_off(const struct gateway_stream *stream, uint64_t now)
{
    return stream->target != 0 && !stream->target_local &&
           now - stream->heard_at > ROUTE_TIMEOUT_US;
}

static void on_sweep(struct world_timer *timer)
{
    struct gateway *gateway = timer->context;
    uint64_t now = world_now(gateway->world);
    gateway->sweep_runs = false;
    while (!list_empty(&gateway->by_age)) {
        struct gateway_request *oldest =
            CONTAINER_OF(gateway->by_age.next, struct gateway_request, by_age);
        if (now - oldest->arrived < gateway->options.patience) break;
        give_up(oldest);
    }
    drop_idle_streams(gateway);
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        if (may_be_cut_off(stream, now)) gateway_seek_way(gateway, stream->target);
        bool over = is_silent(stream, now) || parts_stopped(stream, now);
        if (stream->retry_at != 0 || !over) continue;
        SOMETIMES(gateway->world, "a route timed out");
        stream->timeout *= 2;
        if (stream->timeout > ROUTE_TIMEOUT_LAST_US) stream->timeout = ROUTE_TIMEOUT_LAST_US;
        route_begin(stream, now);
    }
    if (gateway->open > 0) {
        gateway->sweep_runs = true;
        world_timer_start(gateway->world, timer, SWEEP_US);
    }
}

/* --- submit --- */

static void refuse(struct gateway_request *request, enum gateway_outcome outcome)
{
    request->stream = NULL;
    memory_free(request->copy);
    request->copy = NULL;
    request->on_reply(request, outcome, bytes_make(NULL, 0));
}

static inline bool over_limit(const struct gateway *gateway, const struct gateway_stream *stream,
                              const struct gateway_request *request)
{
    /* One that waits for its rows holds the watermark while others go on: the spread may be larger
     * than what is open, within what an entry's watermark distance can say. */
    return stream->open + stream->reserved >= gateway->options.inflight_max ||
           stream->next_seq - stream->watermark > SEQ_SPREAD_MAX ||
           gateway_bytes_are_over(gateway, stream, request->body.size);
}

/* Nearly always the youngest; not if it has waited for a replica of this node before. */
static void enlist_by_age(struct gateway *gateway, struct gateway_request *request)
{
    struct list *at = &gateway->by_age;
    while (at->previous != &gateway->by_age &&
           CONTAINER_OF(at->previous, struct gateway_request, by_age)->arrived > request->arrived)
        at = at->previous;
    list_insert_before(at, &request->by_age);
}

static inline void number(struct gateway_stream *stream, struct gateway_request *request)
{
    ring_make_room(stream);
    request->stream = stream;
    request->seq = stream->next_seq++;
    request->reserved = false;
    request->sent_ever = false;
    request->resent = false;
    request->partial = NULL;
    *ring_at(stream, request->seq) = request;
}

static inline void enlist(struct gateway_stream *stream, struct gateway_request *request)
{
    struct gateway *gateway = stream->gateway;
    request->size = (uint32_t)request->body.size;
    stream->open++;
    gateway->open++;
    gateway->open_bytes += request->size;
    stream->open_bytes += request->size;
    enlist_by_age(gateway, request);
    if (gateway->resends_saved < (uint64_t)RESENDS_SAVED_MAX * RESEND_SHARE)
        gateway->resends_saved++;
    if (!stream->active) {
        stream->active = true;
        stream->retry_at = 0; /* only active streams are retried */
        stream->next_active = gateway->active;
        gateway->active = stream;
    }
    if (!gateway->sweep_runs) {
        gateway->sweep_runs = true;
        world_timer_start(gateway->world, &gateway->sweep_timer, SWEEP_US);
    }
}

static inline void send_new(struct gateway_stream *stream, struct gateway_request *request,
                            uint64_t now)
{
    if (!route_is_good(stream)) {
        if (stream->retry_at == 0) route_begin(stream, now);
    } else {
        if (stream->open == 1) stream->heard_at = now; /* silence counts from here */
        route_send(stream, request, now);
    }
}

/* For gateway_reserve.c; a request that is not reserved does all of it without a call. */
bool gateway_over_limit(const struct gateway *gateway, const struct gateway_stream *stream,
                        const struct gateway_request *request)
{
    return over_limit(gateway, stream, request);
}

void gateway_number(struct gateway_stream *stream, struct gateway_request *request)
{
    number(stream, request);
}

void gateway_enlist(struct gateway_stream *stream, struct gateway_request *request)
{
    enlist(stream, request);
}

void gateway_send_new(struct gateway_stream *stream, struct gateway_request *request, uint64_t now)
{
    send_new(stream, request, now);
}

void gateway_submit_to_leader(struct gateway *gateway, struct gateway_request *request)
{
    uint64_t now = world_now(gateway->world); /* after the bytes were read (A3) */
    struct group_id group = cluster_view_group_of_slot(gateway->options.view, request->slot);
    struct gateway_stream *stream = gateway_stream_of(gateway, group);
    if (gateway->fenced || gateway->closing) {
        refuse(request, GATEWAY_UNAVAILABLE);
        return;
    }
    if (over_limit(gateway, stream, request)) {
        gateway->statistics.busy++;
        refuse(request, GATEWAY_BUSY);
        return;
    }
    if (request->arrived == 0) request->arrived = now;
    number(stream, request);
    enlist(stream, request);
    uint64_t seq = request->seq;
    /* Inside on_reply while the stream is sent again: what was there before goes first. */
    if (!stream->routing) send_new(stream, request, now);
    gateway_keep_body(stream, request, seq);
}

void gateway_submit(struct gateway *gateway, struct gateway_request *request)
{
    gateway->statistics.requests++;
    request->arrived = 0;
    request->copy = NULL;
    request->staleness = 0;
    request->stale_id = 0;
    if (request->stale_ms > 0 && stale_submit(gateway, request)) return;
    gateway_submit_to_leader(gateway, request);
}

void gateway_forget(struct gateway *gateway, struct gateway_request *request)
{
    if (request->stale_id != 0)
        stale_forget(gateway, request);
    else if (request->stream != NULL)
        request_remove(request);
}

/* --- news --- */

void gateway_peer_down(struct gateway *gateway, node_id_t node)
{
    uint64_t now = world_now(gateway->world);
    struct cluster_view *view = gateway->options.view;
    for (uint32_t i = 0; i < view->group_count; i++) {
        const struct view_group *group = &view->groups[i];
        if (group->leader == node)
            cluster_view_set_leader(view, (struct group_id){i}, 0, group->leader_term, now);
    }
    /* Those without requests, too: the next one must not go to who was the leader once. */
    for (uint32_t i = 0; i < gateway->stream_capacity; i++) {
        struct gateway_stream *stream = gateway->streams[i];
        if (stream == NULL || stream->target != node) continue;
        if (stream->open > 0)
            route_retry(stream, RETRY_FIRST_US, now);
        else
            route_end(stream);
    }
}

void gateway_way_found(struct gateway *gateway, node_id_t node)
{
    uint64_t now = world_now(gateway->world);

    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        bool waits = stream->target == 0 || stream->target == node;
        if (waits && stream->open > 0) route_retry(stream, 0, now);
    }
}

void gateway_leader_changed(struct gateway *gateway, struct group_id group)
{
    if (group.value >= gateway->stream_capacity) return;
    struct gateway_stream *stream = gateway->streams[group.value];
    if (stream == NULL) return;
    const struct view_group *known = &gateway->options.view->groups[group.value];
    bool same = stream->target == known->leader && stream->target_term == known->leader_term;
    if (same || known->leader == 0) return;
    if (stream->open > 0)
        route_retry(stream, 0, world_now(gateway->world));
    else
        route_end(stream);
}

void gateway_view_changed(struct gateway *gateway)
{
    uint64_t now = world_now(gateway->world);
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        if (stream->target == 0 && stream->open > 0) route_retry(stream, 0, now);
    }
}

uint64_t gateway_inflight_bytes(const struct gateway *gateway)
{
    return gateway->open_bytes;
}

uint32_t gateway_pending(const struct gateway *gateway)
{
    return gateway->open + gateway->reserved +
           (gateway->stale != NULL ? gateway->stale->waiting_count : 0);
}

bool gateway_is_fenced(const struct gateway *gateway)
{
    return gateway->fenced;
}

void gateway_statistics(const struct gateway *gateway, struct gateway_statistics *ret)
{
    *ret = gateway->statistics;
    ret->inflight_bytes = gateway->open_bytes;
    ret->partial_replies = gateway->partial_count;
    ret->partial_bytes = gateway->partial_bytes;
    ret->stale_waiting = gateway->stale != NULL ? gateway->stale->waiting_count : 0;
}

struct gateway *gateway_open(const struct gateway_options *options)
{
    struct gateway *gateway = memory_allocate_zero(sizeof(*gateway));
    gateway->options = *options;
    gateway->world = options->world;
    gateway->patience_ms = (uint32_t)((options->patience + 999) / 1000);
    if (gateway->options.inflight_max == 0) gateway->options.inflight_max = INFLIGHT_MAX_DEFAULT;
    if (gateway->options.stream_bytes_max == 0)
        gateway->options.stream_bytes_max = STREAM_BYTES_MAX_DEFAULT;
    gateway->resends_saved = (uint64_t)RESENDS_SAVED_MAX * RESEND_SHARE;
    gateway->resends_filled_at = world_now(gateway->world);
    ASSERT(gateway->options.inflight_max < UINT16_MAX && options->store_count > 0);
    if (gateway->options.partial_bytes_max == 0)
        gateway->options.partial_bytes_max = PARTIAL_BYTES_MAX_DEFAULT;
    buffer_init(&gateway->ack, PART_ACK_SIZE_MAX);
    map_init(&gateway->outs);
    list_init(&gateway->by_age);
    gateway->turn_end = (struct world_deferred){.run = gateway_on_turn_end, .context = gateway};
    gateway->sweep_timer = (struct world_timer){.fire = on_sweep, .context = gateway};
    gateway->retry_timer = (struct world_timer){.fire = gateway_on_retry_timer, .context = gateway};
    struct host_gateway local = {
        .context = gateway, .on_reply = gateway_on_local_reply, .on_nack = gateway_on_local_nack};
    host_set_gateway(options->host, &local);
    return gateway;
}

void gateway_close(struct gateway *gateway)
{
    if (gateway == NULL) return;
    gateway->closing = true;
    struct host_gateway none = {0};
    host_set_gateway(gateway->options.host, &none);
    while (!list_empty(&gateway->by_age)) {
        give_up(CONTAINER_OF(gateway->by_age.next, struct gateway_request, by_age));
    }
    stale_close(gateway);
    world_timer_stop(gateway->world, &gateway->sweep_timer);
    world_timer_stop(gateway->world, &gateway->retry_timer);
    while (gateway->out_list != NULL) {
        struct gateway_out *out = gateway->out_list;
        gateway->out_list = out->next;
        buffer_free(&out->buffer);
        memory_free(out);
    }
    map_free(&gateway->outs);
    buffer_free(&gateway->ack);
    for (uint32_t i = 0; i < gateway->stream_capacity; i++) {
        if (gateway->streams[i] == NULL) continue;
        gateway_reserved_drop(gateway->streams[i]);
        memory_free(gateway->streams[i]->ring);
        memory_free(gateway->streams[i]);
    }
    memory_free(gateway->streams);
    memory_free(gateway);
}
