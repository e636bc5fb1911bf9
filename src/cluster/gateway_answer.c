/* gateway_answer.c - what leaders say: replies resolve requests, NACKs end routes. */
#include "cluster/gateway_internal.h"

/* --- answers --- */

static struct gateway_request *find_request(struct gateway_stream *stream, uint64_t seq)
{
    bool open = seq > stream->watermark && seq < stream->next_seq;
    struct gateway_request *request = open ? *ring_at(stream, seq) : NULL;
    return request != NULL && !request->reserved ? request : NULL;
}

static void take_reply(struct gateway_stream *stream, uint64_t seq, uint8_t outcome,
                       struct bytes bytes)
{
    struct gateway_request *request = find_request(stream, seq);
    if (request == NULL) return;
    stream->retry_delay = RETRY_FIRST_US;
    switch (outcome) {
    case OUTCOME_REPLY:
        gateway_request_finish(request, GATEWAY_REPLY, bytes);
        return;
    case OUTCOME_BUSY:
        stream->gateway->statistics.busy++;
        gateway_request_finish(request, GATEWAY_BUSY, bytes);
        return;
    case OUTCOME_NO_SPACE:
        gateway_request_finish(request, GATEWAY_NO_SPACE, bytes);
        return;
    case OUTCOME_TOO_BIG:
        gateway_request_finish(request, GATEWAY_TOO_BIG, bytes);
        return;
    default: /* OUTCOME_STALE: only for seqs given up before, which are not found here */
        gateway_request_finish(request, GATEWAY_UNKNOWN, bytes);
        return;
    }
}

/* False: a limit was reached. */
static bool partial_append(struct gateway *gateway, struct gateway_request *request,
                           struct bytes part)
{
    if (gateway->partial_bytes + part.size > gateway->options.partial_bytes_max) return false;
    if (request->partial == NULL) {
        request->partial = memory_allocate(sizeof(*request->partial));
        buffer_init(request->partial, PARTIAL_SIZE_MAX);
        gateway->partial_count++;
        request->stream->partials++;
    }
    if (buffer_append(request->partial, part)) return false;
    gateway->partial_bytes += part.size;
    request->stream->part_at = world_now(gateway->world);
    return true;
}

/* Says how far a reply in parts came. */
static void acknowledge_part(struct gateway_stream *stream, const struct transport_peer *from,
                             const struct gateway_request *request)
{
    struct gateway *gateway = stream->gateway;
    struct part_ack ack = {.group = stream->group,
                           .route = stream->route,
                           .seq = request->seq,
                           .bytes = buffer_size(request->partial)};
    buffer_clear(&gateway->ack);
    struct writer writer = writer_make(&gateway->ack);
    part_ack_encode(&writer, &ack);
    relay_send(gateway->options.relay, gateway->options.transport, from->node, from->worker,
               PEER_FRAME_REPLY_ACKS, buffer_bytes(&gateway->ack));
}

/* A reply, or a part of one. */
static void take_item(struct gateway_stream *stream, const struct transport_peer *from,
                      const struct reply_item *item)
{
    struct gateway *gateway = stream->gateway;
    struct gateway_request *request = find_request(stream, item->seq);
    if (request == NULL) return;
    bool last = item->outcome == OUTCOME_REPLY && request->partial != NULL;
    if (item->outcome != OUTCOME_PART && !last) {
        take_reply(stream, item->seq, item->outcome, item->bytes);
        return;
    }
    if (!partial_append(gateway, request, item->bytes)) {
        SOMETIMES(gateway->world, "a reply in parts was too much");
        gateway->statistics.busy++;
        gateway->statistics.partial_refused++;
        gateway_request_finish(request, request->write ? GATEWAY_TOO_BIG : GATEWAY_BUSY,
                               bytes_make(NULL, 0));
        return;
    }
    acknowledge_part(stream, from, request);
    if (last) take_reply(stream, item->seq, item->outcome, bytes_make(NULL, 0));
}

static void take_nack(struct gateway_stream *stream, uint8_t code, node_id_t leader,
                      uint64_t leader_term, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    struct cluster_view *view = gateway->options.view;
    if (code == NACK_FENCED) {
        bool told = gateway->fenced;
        gateway->fenced = true;
        route_end(stream);
        if (!told && gateway->options.on_fenced != NULL) {
            gateway->options.on_fenced(gateway->options.context);
        }
        return;
    }
    if (stream->open == 0) { /* a late one: nothing to send again, the next request routes */
        route_end(stream);
        return;
    }
    bool news = false;
    if (stream->group.value < view->group_count && leader != 0) {
        bool stale = leader_term < view->groups[stream->group.value].leader_term;
        if (!stale) cluster_view_set_leader(view, stream->group, leader, leader_term, now);
        /* Only somebody else to ask, whom we can ask, is worth asking at once: a follower that
         * hears a leader which we do not hear names it again and again. */
        bool other = leader != stream->target || leader_term != stream->target_term;
        news = !stale && other &&
               (leader == gateway->options.node || gateway_reaches(gateway, leader));
    } else if (stream->group.value < view->group_count && code == NACK_NOT_LEADER) {
        const struct view_group *group = &view->groups[stream->group.value];
        if (group->leader == stream->target)
            cluster_view_set_leader(view, stream->group, 0, group->leader_term, now);
    }
    if (news && (code == NACK_NOT_LEADER || code == NACK_WRONG_TERM)) {
        route_retry(stream, 0, now);
    } else {
        route_retry_backed_off(stream, now);
    }
}

void gateway_on_local_reply(void *context, struct group_id group, uint64_t route, uint64_t seq,
                            uint8_t outcome, struct bytes bytes)
{
    struct gateway *gateway = context;
    struct gateway_stream *stream = gateway_stream_of(gateway, group);
    if (stream->route == route) take_reply(stream, seq, outcome, bytes);
}

void gateway_on_local_nack(void *context, struct group_id group, uint64_t route, uint8_t code,
                           node_id_t leader, uint64_t leader_term)
{
    struct gateway *gateway = context;
    struct gateway_stream *stream = gateway_stream_of(gateway, group);
    if (stream->route != route || stream->target == 0) return;
    take_nack(stream, code, leader, leader_term, world_now(gateway->world));
}

/* Of requests that were sent once: the others tell nothing about how long an answer takes. */
static void note_latency(struct gateway_stream *stream, uint64_t seq, uint64_t now)
{
    const struct gateway_request *request = find_request(stream, seq);
    struct gateway *gateway = stream->gateway;

    if (request == NULL || request->resent) return;
    uint64_t taken = now - request->arrived;
    gateway->latency -= gateway->latency / LATENCY_DECAY;
    if (taken > gateway->latency) gateway->latency = taken;
}

static bool take_section(struct gateway *gateway, const struct transport_peer *from,
                         const struct reply_section *section, struct reader *reader, uint64_t now)
{
    if (section->group.value >= PARTITIONS_MAX + GROUP_DATA_FIRST) return false;
    struct gateway_stream *stream = gateway_stream_of(gateway, section->group);
    bool current = stream->route == section->route && stream->target == from->node;
    if (current) {
        stream->heard_at = now;
        stream->timeout = ROUTE_TIMEOUT_US;
        stream->retry_at = 0; /* not silent, as it was taken to be */
    }
    if (section->code != REPLY_CODE_REPLIES) {
        if (current) {
            take_nack(stream, section->code, section->leader, section->leader_term, now);
        }
        return true;
    }
    /* Replies of a route are taken in the order they were given, without a gap: one that was
     * lost is asked again, and so must be all behind it. */
    bool gap = current && section->number > stream->replies;
    for (uint32_t i = 0; i < section->count; i++) {
        struct reply_item item;
        if (reply_item_decode(reader, &item)) return false;
        current = stream->route == section->route && stream->target == from->node;
        if (!current || gap || section->number + i < stream->replies) continue;
        stream->replies++;
        note_latency(stream, item.seq, now);
        take_item(stream, from, &item);
    }
    if (gap) {
        SOMETIMES(gateway->world, "a gap in the replies of a route");
        route_retry(stream, 0, now);
    }
    return true;
}

void gateway_on_frame(struct gateway *gateway, const struct transport_peer *from,
                      struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct reply_section section;
    uint64_t now = world_now(gateway->world);
    if (from->node <= NODES_MAX) gateway->node_heard[from->node] = now;
    while (reply_section_decode(&reader, &section) == STATUS_OK) {
        if (!take_section(gateway, from, &section, &reader, now)) return;
    }
}
