#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/admission.h"
#include "net/peer_mesh_internal.h"

enum {
    /* A frame that is not complete yet, and one more piece of input. */
    INPUT_MAX = 4 * TRANSPORT_FRAME_SIZE_MAX,
    INPUT_KEEP_MAX = 256 << 10,
};

/* --- the handshake --------------------------------------------------------------------------- */

static enum status in_hello_check(struct mesh_incoming *incoming, const struct peer_hello *hello,
                                  char why[REFUSE_TEXT_SIZE_MAX])
{
    struct peer_mesh *mesh = incoming->mesh;
    enum status status = mesh_hello_check(mesh, hello, why);

    if (status) return status;
    if (mesh->peers[hello->node] == NULL) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX,
                 "node %u (%s) is not in the member list of node %u; give all nodes the same list",
                 hello->node, hello->name, mesh->node);
        return STATUS_REFUSED;
    }
    return group_admit(mesh->group, hello, true, why);
}

static void in_greeted(struct mesh_incoming *incoming, const struct peer_hello *hello)
{
    struct peer_mesh *mesh = incoming->mesh;
    struct mesh_peer *peer = mesh->peers[hello->node];

    incoming->greeted = true;
    incoming->from = (struct transport_peer){
        .node = hello->node, .epoch = hello->epoch, .store = hello->store, .worker = hello->worker};
    incoming->seed = peer_frame_seed(hello->cluster, hello->node, hello->epoch, mesh->node);
    incoming->input.size_max = INPUT_MAX;
    world_timer_stop(mesh->world, &incoming->timer);
    mesh->strangers--;
    mesh_hello_append(mesh, incoming->stream, hello->node);
    peer->worker_count = hello->worker_count;
    mesh_out_hurry(peer); /* it lives: do not wait out the back-off */
}

static void in_finish(struct mesh_incoming *incoming)
{
    incoming->finished = true;
    stream_close(incoming->stream);
}

static void in_on_hello(struct mesh_incoming *incoming, struct bytes payload)
{
    struct peer_mesh *mesh = incoming->mesh;
    char why[REFUSE_TEXT_SIZE_MAX] = "the hello cannot be read";
    struct peer_hello hello = {0};
    enum status status = peer_hello_decode(payload, &hello);

    if (status == STATUS_OK) status = in_hello_check(incoming, &hello, why);
    if (status == STATUS_OK) {
        in_greeted(incoming, &hello);
        return;
    }
    mesh->statistics.refusals++;
    mesh_log_refusal(mesh, mesh->peers[hello.node], "refusing a connection", why);
    mesh_refuse_append(incoming->stream, 0, why);
    in_finish(incoming);
}

/* --- frames ---------------------------------------------------------------------------------- */

static void in_deliver(struct mesh_incoming *incoming, const struct peer_frame *frame)
{
    struct peer_mesh *mesh = incoming->mesh;
    struct transport *transport = &mesh->transport;

    mesh->statistics.frames_received++;
    bool here = frame->worker == mesh->worker || frame->worker == TRANSPORT_ANY_WORKER;
    if (!here && frame->worker >= mesh->worker_count)
        mesh->statistics.frames_dropped++;
    else if (!here)
        group_send(mesh, frame->worker, &incoming->from, frame->kind, frame->payload);
    else if (transport->events.on_frame)
        transport->events.on_frame(transport->context, &incoming->from, frame->kind,
                                   frame->payload);
}

static enum status in_on_stranger(struct mesh_incoming *incoming, const struct peer_frame *frame)
{
    struct peer_mesh *mesh = incoming->mesh;
    const struct transport_events *events = &mesh->transport.events;

    if (events->on_stranger == NULL) return STATUS_INVALID;
    incoming->ticket = ++mesh->tickets;
    world_timer_start(mesh->world, &incoming->timer, PEER_MESH_ANSWER_US);
    events->on_stranger(mesh->transport.context, incoming->ticket, frame->kind, frame->payload);
    return STATUS_OK;
}

static enum status in_on_frame(struct mesh_incoming *incoming, const struct peer_frame *frame)
{
    char why[REFUSE_TEXT_SIZE_MAX];

    if (!incoming->greeted) {
        if (incoming->ticket != 0) return STATUS_INVALID;
        if (frame->kind == PEER_FRAME_JOIN) return in_on_stranger(incoming, frame);
        if (frame->kind != PEER_FRAME_HELLO) return STATUS_INVALID;
        in_on_hello(incoming, frame->payload);
        return STATUS_OK;
    }
    if (frame->kind == PEER_FRAME_HELLO) return STATUS_INVALID;
    if (frame->kind == PEER_FRAME_REFUSE) {
        mesh_text_copy(frame->payload, why);
        incoming->mesh->statistics.refusals++;
        mesh_log_refusal(incoming->mesh, incoming->mesh->peers[incoming->from.node],
                         "it refuses this node", why);
        in_finish(incoming);
        return STATUS_OK;
    }
    in_deliver(incoming, frame);
    return STATUS_OK;
}

/* Takes all whole frames from the front of `input`. STATUS_NOT_FOUND: the rest is incomplete. */
static enum status in_parse(struct mesh_incoming *incoming, struct bytes input, size_t *ret_used)
{
    enum status status = STATUS_OK;

    *ret_used = 0;
    while (status == STATUS_OK && !incoming->finished) {
        struct peer_frame frame;
        size_t used = 0;
        size_t payload_max =
            incoming->greeted ? TRANSPORT_RELAYED_SIZE_MAX : TRANSPORT_STRANGER_SIZE_MAX;
        status =
            peer_frame_parse(bytes_from(input, *ret_used), incoming->greeted ? incoming->seed : 0,
                             payload_max, &frame, &used);
        if (status == STATUS_OK) status = in_on_frame(incoming, &frame);
        *ret_used += used;
    }
    return status;
}

static void on_in_data(void *context, struct stream *stream, struct bytes data)
{
    struct mesh_incoming *incoming = context;
    struct peer_mesh *mesh = incoming->mesh;
    struct buffer *held = &incoming->input;
    enum status status = STATUS_OK;
    size_t used = 0;

    if (incoming->finished) return;
    mesh->statistics.bytes_received += data.size;
    if (buffer_size(held) == 0) {
        /* The usual case: whole frames, read where they are. */
        status = in_parse(incoming, data, &used);
        if (status == STATUS_NOT_FOUND && buffer_append(held, bytes_from(data, used)))
            status = STATUS_TOO_LARGE;
    } else if (buffer_append(held, data) == STATUS_OK) {
        status = in_parse(incoming, buffer_bytes(held), &used);
        buffer_consume(held, used);
        if (buffer_size(held) == 0 && held->capacity > INPUT_KEEP_MAX) buffer_release(held);
    } else {
        status = STATUS_TOO_LARGE;
    }
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) return;

    mesh->statistics.input_errors++;
    mesh_log_refusal(mesh, incoming->greeted ? mesh->peers[incoming->from.node] : NULL,
                     "broken input, closing the connection", status_text(status));
    incoming->finished = true;
    stream_abort(stream);
}

/* --- life ------------------------------------------------------------------------------------ */

static void in_free(struct mesh_incoming *incoming)
{
    struct peer_mesh *mesh = incoming->mesh;

    world_timer_stop(mesh->world, &incoming->timer);
    list_remove(&incoming->link);
    buffer_free(&incoming->input);
    if (!incoming->greeted) mesh->strangers--;
    memory_free(incoming);
}

static void on_in_closed(void *context, struct stream *stream, enum status reason)
{
    struct mesh_incoming *incoming = context;

    (void)reason;
    ASSERT(incoming->stream == stream);
    if (incoming->greeted) group_incoming_gone(incoming->mesh->group, incoming->from.node, true);
    in_free(incoming);
}

static const struct stream_events in_events = {
    .on_data = on_in_data,
    .on_closed = on_in_closed,
};

static void on_in_timer(struct world_timer *timer)
{
    struct mesh_incoming *incoming = timer->context;

    incoming->mesh->statistics.strangers_dropped++;
    incoming->finished = true;
    stream_abort(incoming->stream);
}

/* The stranger that came first (of `host`, unless NULL) goes, whatever it was about to say. */
static void in_drop_stranger(struct peer_mesh *mesh, const struct bytes *host)
{
    for (struct list *link = mesh->incoming.next; link != &mesh->incoming; link = link->next) {
        struct mesh_incoming *incoming = CONTAINER_OF(link, struct mesh_incoming, link);
        const char *address = stream_peer_address(incoming->stream);
        if (incoming->greeted || (host && !bytes_equal(admission_host(address), *host))) continue;
        mesh_log_refusal(mesh, NULL, "closing a connection",
                         "too many connections that have not said who they are");
        mesh->statistics.strangers_dropped++;
        stream_set_events(incoming->stream, &mesh_no_events, NULL);
        stream_abort(incoming->stream);
        in_free(incoming);
        return;
    }
}

static uint32_t in_count_strangers(const struct peer_mesh *mesh, struct bytes host)
{
    uint32_t count = 0;

    for (struct list *link = mesh->incoming.next; link != &mesh->incoming; link = link->next) {
        struct mesh_incoming *incoming = CONTAINER_OF(link, struct mesh_incoming, link);
        const char *address = stream_peer_address(incoming->stream);
        count += !incoming->greeted && bytes_equal(admission_host(address), host);
    }
    return count;
}

void mesh_in_accept(void *context, struct stream *stream)
{
    struct peer_mesh *mesh = context;
    struct bytes host = admission_host(stream_peer_address(stream));
    struct mesh_incoming *incoming;

    if (in_count_strangers(mesh, host) >= PEER_MESH_ADDRESS_STRANGERS_MAX)
        in_drop_stranger(mesh, &host);
    else if (mesh->strangers >= PEER_MESH_STRANGERS_MAX)
        in_drop_stranger(mesh, NULL);
    incoming = memory_allocate_zero(sizeof(*incoming));
    incoming->mesh = mesh;
    incoming->stream = stream;
    incoming->timer = (struct world_timer){.fire = on_in_timer, .context = incoming};
    buffer_init(&incoming->input, PEER_MESH_STRANGER_INPUT_MAX);
    list_insert_before(&mesh->incoming, &incoming->link);
    mesh->strangers++;
    stream_set_events(stream, &in_events, incoming);
    world_timer_start(mesh->world, &incoming->timer, PEER_MESH_HANDSHAKE_US);
}

void mesh_in_close(struct peer_mesh *mesh, node_id_t node, store_id_t store, boot_epoch_t epoch)
{
    for (struct list *link = mesh->incoming.next; link != &mesh->incoming; link = link->next) {
        struct mesh_incoming *incoming = CONTAINER_OF(link, struct mesh_incoming, link);
        bool other = incoming->from.store != store || incoming->from.epoch != epoch;
        if (node != 0 && (incoming->from.node != node || !other)) continue;
        incoming->finished = true;
        stream_abort(incoming->stream);
    }
}

void mesh_in_answer(struct peer_mesh *mesh, uint64_t ticket, uint8_t kind, struct bytes payload)
{
    for (struct list *link = mesh->incoming.next; link != &mesh->incoming; link = link->next) {
        struct mesh_incoming *incoming = CONTAINER_OF(link, struct mesh_incoming, link);
        if (incoming->ticket != ticket || incoming->greeted || incoming->finished) continue;
        (void)peer_frame_append(stream_output(incoming->stream), 0, kind, 0, payload);
        in_finish(incoming);
        return;
    }
}

void mesh_in_drop_all(struct peer_mesh *mesh)
{
    while (!list_empty(&mesh->incoming)) {
        struct mesh_incoming *incoming =
            CONTAINER_OF(mesh->incoming.next, struct mesh_incoming, link);
        stream_set_events(incoming->stream, &mesh_no_events, NULL);
        stream_abort(incoming->stream);
        if (incoming->greeted) group_incoming_gone(mesh->group, incoming->from.node, false);
        in_free(incoming);
    }
}
