/* gateway_reserve.c - requests whose seq is taken before they are sent, so that others can name it
 * (C1). Until then such a request stands in the ring, where it holds the watermark, and in no other
 * book: nothing is sent for it, nobody is late with its answer, and its patience does not run. */
#include "cluster/gateway_internal.h"

struct gateway_id gateway_identity(const struct gateway *gateway)
{
    return (struct gateway_id){.node = gateway->options.node,
                               .epoch = gateway->options.epoch,
                               .worker = (uint16_t)world_worker(gateway->world)};
}

void gateway_unreserve(struct gateway_request *request)
{
    request->reserved = false;
    request->stream->reserved--;
    request->stream->gateway->reserved--;
}

void gateway_reserved_drop(struct gateway_stream *stream)
{
    for (uint64_t seq = stream->watermark + 1; seq < stream->next_seq; seq++) {
        struct gateway_request *request = *ring_at(stream, seq);
        if (request == NULL) continue;
        *ring_at(stream, seq) = NULL;
        gateway_unreserve(request);
        request->stream = NULL;
    }
}

bool gateway_reserve(struct gateway *gateway, struct gateway_request *request)
{
    struct group_id group = cluster_view_group_of_slot(gateway->options.view, request->slot);
    struct gateway_stream *stream = gateway_stream_of(gateway, group);

    request->stream = NULL;
    request->copy = NULL;
    request->staleness = 0;
    request->stale_id = 0;
    if (gateway->fenced || gateway->closing) return false;
    if (gateway_over_limit(gateway, stream, request)) {
        gateway->statistics.busy++;
        return false;
    }
    gateway_number(stream, request);
    list_init(&request->by_age);
    request->size = 0; /* its body counts once it is there */
    request->reserved = true;
    stream->reserved++;
    gateway->reserved++;
    return true;
}

/* Inside on_reply while the stream is sent again, which may have passed its place already. */
static void send_while_routing(struct gateway_stream *stream, struct gateway_request *request,
                               uint64_t now)
{
    bool routed = stream->target != 0 && stream->target_term != 0;
    if (routed && request->seq < stream->routing_at) route_send(stream, request, now);
}

void gateway_submit_reserved(struct gateway *gateway, struct gateway_request *request)
{
    uint64_t now = world_now(gateway->world); /* after the bytes were read (A3) */
    struct gateway_stream *stream = request->stream;
    uint64_t seq = request->seq;

    ASSERT(request->reserved);
    gateway->statistics.requests++;
    if (gateway->fenced || gateway->closing) {
        gateway_request_finish(request, GATEWAY_UNAVAILABLE, bytes_make(NULL, 0));
        return;
    }
    if (gateway_bytes_are_over(gateway, stream, request->body.size)) {
        gateway->statistics.busy++;
        gateway_request_finish(request, GATEWAY_BUSY, bytes_make(NULL, 0));
        return;
    }
    gateway_unreserve(request);
    request->arrived = now;
    gateway_enlist(stream, request);
    if (stream->routing)
        send_while_routing(stream, request, now);
    else
        gateway_send_new(stream, request, now);
    gateway_keep_body(stream, request, seq);
}

uint64_t gateway_watermark(struct gateway *gateway, uint16_t slot)
{
    struct group_id group = cluster_view_group_of_slot(gateway->options.view, slot);
    return gateway_stream_of(gateway, group)->watermark;
}
