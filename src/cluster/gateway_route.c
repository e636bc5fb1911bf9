/* gateway_route.c - the way to the leader of a partition. One route at a time for each stream (B5):
 * when it fails, everything unresolved goes over the next one, in order. */
#include "cluster/gateway_internal.h"

/* --- sending --- */

static struct gateway_out *out_for(struct gateway *gateway, node_id_t node, uint32_t worker)
{
    uint64_t key = ((uint64_t)node << 16) | worker;
    struct gateway_out *out = map_get(&gateway->outs, key);
    if (out != NULL) return out;
    out = memory_allocate_zero(sizeof(*out));
    out->node = node;
    out->worker = worker;
    buffer_init(&out->buffer, TRANSPORT_FRAME_SIZE_MAX);
    out->next = gateway->out_list;
    gateway->out_list = out;
    map_put(&gateway->outs, key, out);
    return out;
}

static void out_send(struct gateway *gateway, struct gateway_out *out)
{
    out->section_open = false;
    if (buffer_size(&out->buffer) == 0) return;
    relay_send(gateway->options.relay, gateway->options.transport, out->node, out->worker,
               PEER_FRAME_REQUESTS, buffer_bytes(&out->buffer));
    buffer_clear(&out->buffer);
}

void gateway_on_turn_end(struct world_deferred *deferred)
{
    struct gateway *gateway = deferred->context;
    for (struct gateway_out *out = gateway->out_list; out != NULL; out = out->next) {
        out_send(gateway, out);
    }
    if (gateway->stale != NULL) stale_turn_end(gateway);
}

static uint32_t remote_worker(struct gateway *gateway, node_id_t node, struct group_id group)
{
    bool detour = relay_is_detour(gateway->options.relay, node);
    uint32_t workers = detour ? relay_worker_count(gateway->options.relay, node)
                              : transport_worker_count(gateway->options.transport, node);
    gateway->statistics.relayed += detour;
    return group_worker(group, gateway->options.store_count, workers);
}

static uint32_t patience_left_ms(const struct gateway *gateway,
                                 const struct gateway_request *request, uint64_t now)
{
    if (request->arrived == now) return gateway->patience_ms; /* as usual */
    uint64_t end = request->arrived + gateway->options.patience;
    return end > now ? (uint32_t)((end - now + 999) / 1000) : 1;
}

static void send_remote(struct gateway_stream *stream, struct gateway_request *request,
                        uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    uint32_t worker = remote_worker(gateway, stream->target, stream->group);
    struct gateway_out *out = out_for(gateway, stream->target, worker);
    if (buffer_size(&out->buffer) + request->size > OUT_FLUSH_BYTES) out_send(gateway, out);
    struct writer writer = writer_make(&out->buffer);
    uint8_t *count_at = out->section_open ? out->buffer.memory + out->count_at : NULL;
    bool same = out->section_open && out->section_group.value == stream->group.value &&
                out->section_route == stream->route && load_u16(count_at) < REQUEST_FRAME_COUNT_MAX;
    if (!same) {
        struct request_section section = {
            .group = stream->group,
            .term = stream->target_term,
            .route = stream->route,
            .watermark = stream->watermark,
            .position = stream->position,
        };
        request_section_encode(&writer, &section);
        out->section_open = true;
        out->section_group = stream->group;
        out->section_route = stream->route;
        out->count_at = out->buffer.end - 2;
    }
    const uint8_t *body = request->copy != NULL ? request->copy : request->body.data;
    struct request_item item = {.seq = request->seq,
                                .service = request->service,
                                .write = request->write,
                                .ordered = request->ordered,
                                .client = request->client,
                                .grows = request->grows,
                                .slot = request->slot,
                                .body = bytes_make(body, request->size)};
    request_item_encode(&writer, &item);
    ASSERT(!writer.failed);
    count_at = out->buffer.memory + out->count_at;
    /* Of the youngest in the section: when that is over, nobody waits for any of it. */
    store_u32(count_at - sizeof(uint32_t), patience_left_ms(gateway, request, now));
    store_u16(count_at, (uint16_t)(load_u16(count_at) + 1));
    stream->position++;
    request->sent_ever |= stream->target_term != 0; /* a guess is refused by everybody */
    gateway->statistics.forwarded++;
    world_defer(gateway->world, &gateway->turn_end);
}

/* May answer, or NACK, before it returns. */
static void send_local(struct gateway_stream *stream, struct gateway_request *request, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    const uint8_t *body = request->copy != NULL ? request->copy : request->body.data;
    struct host_request local = {
        .gateway = {.node = gateway->options.node,
                    .epoch = gateway->options.epoch,
                    .worker = (uint16_t)world_worker(gateway->world)},
        .route = stream->route,
        .position = stream->position++,
        .term = stream->target_term,
        .watermark = stream->watermark,
        .patience_ms = patience_left_ms(gateway, request, now),
        .seq = request->seq,
        .write = request->write,
        .ordered = request->ordered,
        .client = request->client,
        .grows = request->grows,
        .service = request->service,
        .slot = request->slot,
        .body = bytes_make(body, request->size),
    };
    request->sent_ever = true;
    gateway->statistics.local++;
    if (!host_request_local(gateway->options.host, stream->group, &local, now)) {
        route_retry(stream, RETRY_FIRST_US, now);
    }
}

void route_send(struct gateway_stream *stream, struct gateway_request *request, uint64_t now)
{
    if (!PLANTED(stream->gateway->world, "partial_reply_kept"))
        gateway_partial_drop(stream->gateway, request);
    if (stream->target_local)
        send_local(stream, request, now);
    else
        send_remote(stream, request, now);
}

void gateway_request_copy(struct gateway_request *request)
{
    if (request->body_stays || request->copy != NULL || request->size == 0) return;
    request->copy = memory_allocate(request->size);
    memcpy(request->copy, request->body.data, request->size);
}

/* --- routes --- */

void route_end(struct gateway_stream *stream)
{
    stream->target = 0;
}

static void retry_timer_arm(struct gateway *gateway, uint64_t at, uint64_t now)
{
    if (gateway->retry_timer_at != 0 && gateway->retry_timer_at <= at) return;
    gateway->retry_timer_at = at;
    world_timer_start(gateway->world, &gateway->retry_timer, at > now ? at - now : 0);
}

void route_retry(struct gateway_stream *stream, uint64_t delay, uint64_t now)
{
    route_end(stream);
    stream->retry_at = now + delay;
    retry_timer_arm(stream->gateway, stream->retry_at, now);
}

void route_retry_backed_off(struct gateway_stream *stream, uint64_t now)
{
    uint64_t delay = stream->retry_delay;
    stream->retry_delay = delay * 2 < RETRY_LAST_US ? delay * 2 : RETRY_LAST_US;
    route_retry(stream, delay, now);
}

void gateway_seek_way(struct gateway *gateway, node_id_t node)
{
    const struct cluster_view *view = gateway->options.view;
    bool can = gateway->options.relay != NULL && view->cluster_version >= VIEW_VERSION_RELAY;

    if (can) relay_seek(gateway->options.relay, node);
}

bool gateway_reaches(struct gateway *gateway, node_id_t node)
{
    if (transport_is_up(gateway->options.transport, node)) return true;
    if (relay_is_detour(gateway->options.relay, node)) return true;
    gateway_seek_way(gateway, node);
    return false;
}

/* The leader by what is known, else any replica that is reached, in turn: its NACK has a hint. */
static bool choose_target(struct gateway_stream *stream)
{
    struct gateway *gateway = stream->gateway;
    const struct cluster_view *view = gateway->options.view;
    uint64_t led = host_leads(gateway->options.host, stream->group);
    stream->target_local = led != 0;
    if (led != 0) {
        stream->target = gateway->options.node;
        stream->target_term = led;
        return true;
    }
    if (stream->group.value >= view->group_count) return false;
    const struct view_group *group = &view->groups[stream->group.value];
    bool known = group->leader != 0 && (group->leader == gateway->options.node ||
                                        gateway_reaches(gateway, group->leader));
    if (known) {
        stream->target = group->leader;
        stream->target_term = group->leader_term;
        return true;
    }
    for (uint32_t i = 0; i < group->replica_count; i++) {
        node_id_t node = group->replicas[stream->probe++ % group->replica_count].node;
        if (node == gateway->options.node) continue;
        if (!gateway_reaches(gateway, node)) continue;
        stream->target = node;
        stream->target_term = 0;
        return true;
    }
    return false;
}

/* --- the retry budget --- */

static void budget_fill(struct gateway *gateway, uint64_t now)
{
    uint64_t most = (uint64_t)RESENDS_SAVED_MAX * RESEND_SHARE;
    uint64_t passed = now - gateway->resends_filled_at;
    uint64_t more = passed * RESENDS_PER_SECOND * RESEND_SHARE / 1000000;
    if (more == 0) return;
    gateway->resends_filled_at = now;
    gateway->resends_saved =
        gateway->resends_saved + more > most ? most : gateway->resends_saved + more;
}

/* Requests of the stream that were sent twice already. */
static uint64_t count_resent(const struct gateway_stream *stream)
{
    uint64_t count = 0;
    for (uint64_t seq = stream->watermark + 1; seq < stream->next_seq; seq++) {
        const struct gateway_request *request = *ring_at((struct gateway_stream *)stream, seq);
        count += request != NULL && request->resent;
    }
    return count;
}

/* May everything unresolved be sent again? What costs more than can be saved up waits until the
 * budget is full. */
static bool budget_take(struct gateway_stream *stream, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    uint64_t most = (uint64_t)RESENDS_SAVED_MAX * RESEND_SHARE;
    uint64_t cost = count_resent(stream) * RESEND_SHARE;
    budget_fill(gateway, now);
    if (cost > most) cost = most;
    if (cost > gateway->resends_saved) return false;
    gateway->resends_saved -= cost;
    return true;
}

/* Everything unresolved, in order; also what the answers meanwhile bring to be submitted. */
static void send_open(struct gateway_stream *stream, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    uint64_t route = stream->route;
    for (uint64_t seq = stream->watermark + 1; seq < stream->next_seq; seq++) {
        struct gateway_request *request = seq > stream->watermark ? *ring_at(stream, seq) : NULL;
        if (request == NULL || request->reserved) continue;
        stream->routing_at = seq;
        gateway_request_copy(request);
        if (request->sent_ever) {
            gateway->statistics.resent++;
            request->resent = true;
        }
        route_send(stream, request, now);
        /* A NACK may have ended the route. To find the leader, one request is enough. */
        if (stream->route != route || stream->target == 0 || stream->target_term == 0) return;
    }
}

/* The route there is, if there is one, stays, and its answers are taken: it may only be slow. */
static void route_begin_later(struct gateway_stream *stream, const struct gateway_stream *before,
                              uint64_t now)
{
    stream->target = before->target;
    stream->target_term = before->target_term;
    stream->target_local = before->target_local;
    stream->gateway->statistics.resends_delayed++;
    stream->retry_at = now + RETRY_LAST_US;
    retry_timer_arm(stream->gateway, stream->retry_at, now);
}

void route_begin(struct gateway_stream *stream, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    const struct gateway_stream before = *stream;
    stream->retry_at = 0;
    if (stream->open == 0 || gateway->fenced) {
        route_end(stream);
        return;
    }
    if (!choose_target(stream)) {
        route_retry_backed_off(stream, now);
        return;
    }
    bool guess = stream->target_term == 0; /* one request, to hear who leads */
    if (!guess && !budget_take(stream, now)) {
        route_begin_later(stream, &before, now);
        return;
    }
    stream->route++;
    stream->position = 0;
    stream->replies = 0;
    stream->heard_at = now;
    stream->routing = true;
    send_open(stream, now);
    stream->routing = false;
}

bool route_is_good(const struct gateway_stream *stream)
{
    if (stream->target == 0) return false;
    if (!stream->target_local) return true;
    return host_leads(stream->gateway->options.host, stream->group) == stream->target_term;
}

void gateway_on_retry_timer(struct world_timer *timer)
{
    struct gateway *gateway = timer->context;
    uint64_t now = world_now(gateway->world);
    uint64_t next = 0;
    gateway->retry_timer_at = 0;
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        if (stream->retry_at == 0) continue;
        if (stream->retry_at <= now) route_begin(stream, now);
        bool sooner = stream->retry_at != 0 && (next == 0 || stream->retry_at < next);
        if (sooner) next = stream->retry_at;
    }
    if (next != 0) retry_timer_arm(gateway, next, now);
}
