#include "base/assert.h"
#include "net/peer_mesh_internal.h"

static uint64_t retry_delay(struct mesh_peer *peer)
{
    uint64_t delay = PEER_MESH_RETRY_MIN_US;
    uint32_t slow = 0;

    if (peer->attempts > PEER_MESH_RETRY_QUICK_COUNT)
        slow = peer->attempts - PEER_MESH_RETRY_QUICK_COUNT;
    while (slow-- > 0 && delay < PEER_MESH_RETRY_MAX_US)
        delay *= 2;
    if (peer->refused || delay > PEER_MESH_RETRY_MAX_US) delay = PEER_MESH_RETRY_MAX_US;
    /* Spread, so that the nodes that lost the same peer do not come back in step. */
    return delay * 3 / 4 + world_random(peer->mesh->world) % (delay / 2);
}

static void out_wait(struct mesh_peer *peer, uint64_t delay)
{
    peer->state = OUT_WAITING;
    world_timer_start(peer->mesh->world, &peer->timer, delay);
}

/* --- the handshake --------------------------------------------------------------------------- */

static void on_out_connected(void *context, struct stream *stream)
{
    struct mesh_peer *peer = context;

    ASSERT(peer->state == OUT_DIALLING && peer->stream == stream);
    peer->state = OUT_GREETING;
    mesh_hello_append(peer->mesh, stream, peer->node);
}

static enum status out_hello_check(struct mesh_peer *peer, const struct peer_hello *hello,
                                   char why[REFUSE_TEXT_SIZE_MAX])
{
    struct peer_mesh *mesh = peer->mesh;
    enum status status = mesh_hello_check(mesh, hello, why);

    if (status) return status;
    if (hello->node != peer->node) {
        struct error error;
        error_set(&error, STATUS_REFUSED,
                  "the process at %.100s is node %u, but node %u is expected there; check the "
                  "addresses of the members",
                  peer->address, hello->node, peer->node);
        mesh_text_copy(bytes_of(error.text), why);
        return STATUS_REFUSED;
    }
    return group_admit(mesh->group, hello, false, why);
}

static void out_greeted(struct mesh_peer *peer, const struct peer_hello *hello)
{
    struct peer_mesh *mesh = peer->mesh;

    peer->state = OUT_READY;
    peer->attempts = 0;
    peer->refused = false;
    peer->epoch = hello->epoch;
    peer->store = hello->store;
    peer->worker_count = hello->worker_count;
    peer->seed = peer_frame_seed(mesh->cluster, mesh->node, mesh->epoch, peer->node);
    world_timer_stop(mesh->world, &peer->timer);
    mesh->statistics.connects++;
    mesh_peer_report(peer);
}

static void out_on_hello(struct mesh_peer *peer, struct bytes payload)
{
    struct peer_mesh *mesh = peer->mesh;
    char why[REFUSE_TEXT_SIZE_MAX] = "the hello cannot be read";
    struct peer_hello hello;
    enum status status = peer_hello_decode(payload, &hello);

    if (status == STATUS_OK) status = out_hello_check(peer, &hello, why);
    if (status == STATUS_OK) {
        out_greeted(peer, &hello);
        return;
    }
    mesh->statistics.refusals++;
    peer->refused = true;
    mesh_log_refusal(mesh, peer, "refusing the process at its address", why);
    mesh_refuse_append(peer->stream,
                       peer_frame_seed(mesh->cluster, mesh->node, mesh->epoch, peer->node), why);
    stream_close(peer->stream);
}

static void out_on_refuse(struct mesh_peer *peer, struct bytes payload)
{
    char why[REFUSE_TEXT_SIZE_MAX];

    mesh_text_copy(payload, why);
    peer->refused = true;
    peer->mesh->statistics.refusals++;
    mesh_log_refusal(peer->mesh, peer, "it refuses this node", why);
    stream_close(peer->stream);
}

/* The acceptor says hello or refuse, and nothing else. */
static void on_out_data(void *context, struct stream *stream, struct bytes data)
{
    struct mesh_peer *peer = context;
    struct peer_frame frame;
    size_t used = 0;
    enum status status = buffer_append(&peer->input, data);

    ASSERT(peer->stream == stream);
    if (status == STATUS_OK)
        status =
            peer_frame_parse(buffer_bytes(&peer->input), 0, MESH_HELLO_PAYLOAD_MAX, &frame, &used);
    if (status == STATUS_NOT_FOUND) return;
    if (status == STATUS_OK && frame.kind == PEER_FRAME_HELLO && peer->state == OUT_GREETING) {
        out_on_hello(peer, frame.payload);
    } else if (status == STATUS_OK && frame.kind == PEER_FRAME_REFUSE) {
        out_on_refuse(peer, frame.payload);
    } else {
        peer->mesh->statistics.input_errors++;
        mesh_log_refusal(peer->mesh, peer, "broken input from it", status_text(status));
        stream_abort(stream);
        used = buffer_size(&peer->input);
    }
    buffer_consume(&peer->input, used);
}

/* --- life ------------------------------------------------------------------------------------ */

static void on_out_closed(void *context, struct stream *stream, enum status reason)
{
    struct mesh_peer *peer = context;
    bool was_ready = peer->state == OUT_READY;

    ASSERT(peer->stream == stream);
    peer->stream = NULL;
    buffer_release(&peer->input);
    if (was_ready) {
        peer->mesh->statistics.disconnects++;
        LOG_INFO(world_logger(peer->mesh->world), "net", "lost the connection node=%u name=%s: %s",
                 peer->node, peer->name, status_text(reason));
    }
    if (peer->gone)
        peer->state = OUT_WAITING; /* to be hurried */
    else
        out_wait(peer, retry_delay(peer));
    mesh_peer_report(peer);
}

static const struct stream_events out_events = {
    .on_data = on_out_data,
    .on_connected = on_out_connected,
    .on_closed = on_out_closed,
};

static void out_dial(struct mesh_peer *peer)
{
    struct world *world = peer->mesh->world;

    ASSERT(peer->stream == NULL);
    peer->state = OUT_DIALLING;
    peer->attempts++;
    buffer_init(&peer->input, PEER_MESH_STRANGER_INPUT_MAX);
    peer->stream = world_connect(world, peer->address, &out_events, peer);
    stream_set_output_max(peer->stream, TRANSPORT_PENDING_MAX);
    world_timer_start(world, &peer->timer, PEER_MESH_HANDSHAKE_US);
}

static void on_out_timer(struct world_timer *timer)
{
    struct mesh_peer *peer = timer->context;

    if (peer->state == OUT_WAITING)
        out_dial(peer);
    else if (peer->stream)
        stream_abort(peer->stream); /* no hello in time; closing it starts the next attempt */
}

void mesh_out_start(struct mesh_peer *peer)
{
    peer->timer.fire = on_out_timer;
    peer->timer.context = peer;
    out_wait(peer, 0);
}

void mesh_out_hurry(struct mesh_peer *peer)
{
    if (peer->state == OUT_WAITING && !peer->refused) out_wait(peer, 0);
}

void mesh_out_redial(struct mesh_peer *peer)
{
    peer->attempts = 0;
    peer->refused = false;
    if (peer->stream)
        stream_abort(peer->stream);
    else
        out_wait(peer, 0);
}

void mesh_out_forget(struct mesh_peer *peer)
{
    peer->gone = true;
    if (peer->state == OUT_WAITING) world_timer_stop(peer->mesh->world, &peer->timer);
}

void mesh_out_drop(struct mesh_peer *peer)
{
    world_timer_stop(peer->mesh->world, &peer->timer);
    if (peer->stream) {
        stream_set_events(peer->stream, &mesh_no_events, NULL);
        stream_abort(peer->stream);
    }
    peer->stream = NULL;
    buffer_free(&peer->input);
}
