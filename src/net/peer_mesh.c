#include "net/peer_mesh.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/peer_mesh_internal.h"

const struct stream_events mesh_no_events = {0};

static struct peer_mesh *mesh_of(struct transport *transport)
{
    return (struct peer_mesh *)transport;
}

/* --- hello and refuse ------------------------------------------------------------------------ */

void mesh_hello_append(struct peer_mesh *mesh, struct stream *stream, node_id_t to)
{
    struct peer_hello hello = {
        .version = PEER_FRAME_VERSION,
        .cluster = mesh->cluster,
        .node = mesh->node,
        .to_node = to,
        .epoch = mesh->epoch,
        .store = mesh->store,
        .worker = (uint16_t)mesh->worker,
        .worker_count = (uint16_t)mesh->worker_count,
    };
    struct buffer payload;

    snprintf(hello.name, sizeof(hello.name), "%s", mesh->name);
    buffer_init(&payload, MESH_HELLO_PAYLOAD_MAX);
    peer_hello_encode(&hello, &payload);
    /* A new connection has room; if not, the handshake times out. */
    (void)peer_frame_append(stream_output(stream), 0, PEER_FRAME_HELLO, 0, buffer_bytes(&payload));
    buffer_free(&payload);
    stream_flush(stream);
}

void mesh_refuse_append(struct stream *stream, uint32_t seed, const char *why)
{
    (void)peer_frame_append(stream_output(stream), seed, PEER_FRAME_REFUSE, 0, bytes_of(why));
    stream_flush(stream);
}

static bool cluster_id_is_none(struct cluster_id cluster)
{
    return cluster.high == 0 && cluster.low == 0;
}

static enum status hello_check_cluster(struct peer_mesh *mesh, const struct peer_hello *hello,
                                       char why[REFUSE_TEXT_SIZE_MAX])
{
    bool one_has_none = cluster_id_is_none(mesh->cluster) || cluster_id_is_none(hello->cluster);

    if (one_has_none || cluster_id_equal(mesh->cluster, hello->cluster)) return STATUS_OK;
    snprintf(why, REFUSE_TEXT_SIZE_MAX,
             "node %u belongs to cluster %016llx%016llx, node %u to cluster %016llx%016llx; check "
             "addresses and data directories",
             hello->node, (unsigned long long)hello->cluster.high,
             (unsigned long long)hello->cluster.low, mesh->node,
             (unsigned long long)mesh->cluster.high, (unsigned long long)mesh->cluster.low);
    return STATUS_REFUSED;
}

enum status mesh_hello_check(struct peer_mesh *mesh, const struct peer_hello *hello,
                             char why[REFUSE_TEXT_SIZE_MAX])
{
    struct mesh_peer *peer = mesh->peers[hello->node];

    if (hello->version != PEER_FRAME_VERSION) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX, "peer protocol version %u is not known, only %u",
                 hello->version, PEER_FRAME_VERSION);
        return STATUS_VERSION;
    }
    if (hello_check_cluster(mesh, hello, why)) return STATUS_REFUSED;
    if (hello->to_node != mesh->node) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX,
                 "node %u (%s) wants node %u, but this is node %u (%s); check the addresses of "
                 "the members",
                 hello->node, hello->name, hello->to_node, mesh->node, mesh->name);
        return STATUS_REFUSED;
    }
    if (hello->node == mesh->node) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX, "two processes have the node id %u: stop one of them",
                 mesh->node);
        return STATUS_REFUSED;
    }
    if (peer && peer->name[0] && strcmp(peer->name, hello->name) != 0) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX,
                 "node %u is named %s, but %s in the member list of node %u; give all nodes the "
                 "same list",
                 hello->node, hello->name, peer->name, mesh->node);
        return STATUS_REFUSED;
    }
    return STATUS_OK;
}

void mesh_text_copy(struct bytes text, char copy[REFUSE_TEXT_SIZE_MAX])
{
    size_t size = text.size < REFUSE_TEXT_SIZE_MAX ? text.size : REFUSE_TEXT_SIZE_MAX - 1;

    for (size_t i = 0; i < size; i++)
        copy[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? (char)text.data[i] : '?';
    copy[size] = 0;
}

void mesh_log_refusal(struct peer_mesh *mesh, struct mesh_peer *peer, const char *what,
                      const char *why)
{
    uint64_t *log_at = peer ? &peer->log_at : &mesh->stranger_log_at;
    uint64_t now = world_now(mesh->world);

    if (*log_at != 0 && now - *log_at < PEER_MESH_LOG_INTERVAL_US) return;
    *log_at = now;
    if (peer)
        LOG_WARN(world_logger(mesh->world), "net", "%s node=%u name=%s: %s", what, peer->node,
                 peer->name, why);
    else
        LOG_WARN(world_logger(mesh->world), "net", "%s: %s", what, why);
}

/* --- up and down ----------------------------------------------------------------------------- */

void mesh_peer_report(struct mesh_peer *peer)
{
    struct transport *transport = &peer->mesh->transport;
    bool up = peer->state == OUT_READY && !peer->incoming_lost;
    void (*report)(void *, node_id_t) =
        up ? transport->events.on_peer_up : transport->events.on_peer_down;

    if (up == peer->up) return;
    peer->up = up;
    if (report) report(transport->context, peer->node);
}

void mesh_review(struct peer_mesh *mesh, node_id_t node)
{
    struct mesh_peer *peer = mesh->peers[node];
    struct mesh_node_view view = group_view(mesh->group, node);
    bool replaced;

    if (peer == NULL) return;
    mesh_in_close(mesh, node, view.store, view.epoch);
    replaced = peer->state == OUT_READY && (peer->store != view.store || peer->epoch != view.epoch);
    if (replaced) mesh_out_redial(peer);
    if (view.incoming > 0) {
        peer->incoming_seen = true;
        peer->incoming_lost = false;
        mesh_out_hurry(peer);
    } else if (peer->incoming_seen) {
        peer->incoming_lost = true;
    }
    mesh_peer_report(peer);
}

/* --- sending --------------------------------------------------------------------------------- */

static void mesh_send(struct transport *transport, node_id_t node, uint32_t worker, uint8_t kind,
                      struct bytes payload)
{
    struct peer_mesh *mesh = mesh_of(transport);
    struct mesh_peer *peer;

    ASSERT(payload.size <= TRANSPORT_RELAYED_SIZE_MAX);
    ASSERT(node <= NODES_MAX);
    if (node == mesh->node) {
        struct transport_peer self = {
            .node = mesh->node, .epoch = mesh->epoch, .store = mesh->store, .worker = mesh->worker};
        ASSERT(worker < mesh->worker_count);
        group_send(mesh, worker, &self, kind, payload);
        return;
    }
    peer = mesh->peers[node];
    if (peer == NULL || peer->state != OUT_READY ||
        peer_frame_append(stream_output(peer->stream), peer->seed, kind, (uint16_t)worker,
                          payload)) {
        mesh->statistics.frames_dropped++;
        return;
    }
    stream_flush(peer->stream);
    mesh->statistics.frames_sent++;
    mesh->statistics.bytes_sent += PEER_FRAME_HEADER_SIZE + payload.size;
}

static uint32_t mesh_worker_count(struct transport *transport, node_id_t node)
{
    struct peer_mesh *mesh = mesh_of(transport);

    ASSERT(node <= NODES_MAX);
    if (node == mesh->node) return mesh->worker_count;
    return mesh->peers[node] ? mesh->peers[node]->worker_count : 1;
}

static bool mesh_is_up(struct transport *transport, node_id_t node)
{
    struct peer_mesh *mesh = mesh_of(transport);

    ASSERT(node <= NODES_MAX);
    return node == mesh->node || (mesh->peers[node] && mesh->peers[node]->up);
}

static size_t mesh_pending(struct transport *transport, node_id_t node)
{
    struct peer_mesh *mesh = mesh_of(transport);
    bool ready = mesh->peers[node] != NULL && mesh->peers[node]->state == OUT_READY;

    return ready ? buffer_size(stream_output(mesh->peers[node]->stream)) : 0;
}

static void mesh_answer(struct transport *transport, uint64_t ticket, uint8_t kind,
                        struct bytes payload)
{
    ASSERT(payload.size <= TRANSPORT_FRAME_SIZE_MAX);
    mesh_in_answer(mesh_of(transport), ticket, kind, payload);
}

static const struct transport_table mesh_table = {
    .send = mesh_send,
    .worker_count = mesh_worker_count,
    .is_up = mesh_is_up,
    .pending = mesh_pending,
    .answer = mesh_answer,
};

/* --- life ------------------------------------------------------------------------------------ */

/* Copies a name as peer_hello_decode() on the other side will take it. */
static enum status name_copy(const char *name, char copy[PEER_NAME_SIZE_MAX], struct error *error)
{
    size_t size = name ? strlen(name) : 0;
    bool printable = true;

    for (size_t i = 0; i < size; i++)
        printable = printable && name[i] > 0x20 && name[i] < 0x7f;
    if (size >= PEER_NAME_SIZE_MAX || !printable)
        return error_set(error, STATUS_INVALID,
                         "'%.100s' is no node name; use up to %d printable characters without "
                         "spaces",
                         name, PEER_NAME_SIZE_MAX - 1);
    if (size) memcpy(copy, name, size);
    copy[size] = 0;
    return STATUS_OK;
}

enum status peer_mesh_set_peer(struct peer_mesh *mesh, const struct peer_mesh_peer *options,
                               struct error *error)
{
    struct mesh_peer *peer;
    char name[PEER_NAME_SIZE_MAX];
    enum status status = name_copy(options->name, name, error);

    if (status) return status;
    if (options->node == 0 || options->node > NODES_MAX)
        return error_set(error, STATUS_INVALID, "node id %u is outside of 1 to %d", options->node,
                         NODES_MAX);
    if (strlen(options->address) >= PEER_MESH_ADDRESS_SIZE_MAX)
        return error_set(error, STATUS_INVALID, "the address of node %u is too long",
                         options->node);
    if (options->node == mesh->node) return STATUS_OK;

    peer = mesh->peers[options->node];
    if (peer == NULL) {
        peer = memory_allocate_zero(sizeof(*peer));
        peer->mesh = mesh;
        peer->node = options->node;
        peer->worker_count = 1;
        mesh->peers[options->node] = peer;
        snprintf(peer->address, sizeof(peer->address), "%s", options->address);
        mesh_out_start(peer);
    }
    snprintf(peer->name, sizeof(peer->name), "%s", name);
    snprintf(peer->address, sizeof(peer->address), "%s", options->address);
    return STATUS_OK;
}

void peer_mesh_forget_peer(struct peer_mesh *mesh, node_id_t node)
{
    ASSERT(node <= NODES_MAX);
    if (mesh->peers[node] != NULL) mesh_out_forget(mesh->peers[node]);
}

static struct peer_mesh *mesh_make(const struct peer_mesh_options *options)
{
    struct peer_mesh *mesh = memory_allocate_zero(sizeof(*mesh));

    ASSERT(options->node > 0 && options->node <= NODES_MAX);
    mesh->transport.table = &mesh_table;
    mesh->transport.events = options->events;
    mesh->transport.context = options->context;
    mesh->world = options->world;
    mesh->group = options->group;
    mesh->cluster = options->cluster;
    mesh->node = options->node;
    mesh->epoch = options->epoch;
    mesh->store = options->store;
    mesh->worker = world_worker(options->world);
    mesh->worker_count = group_worker_count(options->group);
    mesh->outbox_deferred = (struct world_deferred){.run = group_outbox_flush, .context = mesh};
    list_init(&mesh->incoming);
    for (uint32_t worker = 0; worker < mesh->worker_count; worker++)
        buffer_init(&mesh->outbox[worker], TRANSPORT_PENDING_MAX);
    group_join(options->group, mesh);
    return mesh;
}

enum status peer_mesh_create(const struct peer_mesh_options *options, struct peer_mesh **ret_mesh,
                             struct error *error)
{
    struct peer_mesh *mesh = mesh_make(options);
    enum status status = name_copy(options->name, mesh->name, error);

    for (size_t i = 0; i < options->peer_count && status == STATUS_OK; i++)
        status = peer_mesh_set_peer(mesh, &options->peers[i], error);
    if (status == STATUS_OK)
        status = world_listen(mesh->world, options->listen_address, mesh, mesh_in_accept,
                              &mesh->listener, error);
    if (status) {
        peer_mesh_destroy(mesh);
        return status;
    }
    *ret_mesh = mesh;
    return STATUS_OK;
}

void peer_mesh_destroy(struct peer_mesh *mesh)
{
    if (mesh == NULL) return;
    ASSERT(!mesh->outbox_deferred.queued); /* world_real_drain() was forgotten */
    group_leave(mesh->group, mesh);
    if (mesh->listener) listener_close(mesh->listener);
    mesh_in_drop_all(mesh);
    for (node_id_t node = 1; node <= NODES_MAX; node++) {
        if (mesh->peers[node] == NULL) continue;
        mesh_out_drop(mesh->peers[node]);
        memory_free(mesh->peers[node]);
    }
    for (uint32_t worker = 0; worker < mesh->worker_count; worker++)
        buffer_free(&mesh->outbox[worker]);
    memory_free(mesh);
}

void peer_mesh_abandon(struct peer_mesh *mesh)
{
    if (mesh == NULL) return;
    mesh->outbox_deferred.queued = false;
    peer_mesh_destroy(mesh);
}

struct transport *peer_mesh_transport(struct peer_mesh *mesh)
{
    return &mesh->transport;
}

uint16_t peer_mesh_port(struct peer_mesh *mesh)
{
    return listener_port(mesh->listener);
}

void peer_mesh_set_identity(struct peer_mesh *mesh, struct cluster_id cluster, boot_epoch_t epoch,
                            store_id_t store)
{
    bool same =
        cluster_id_equal(mesh->cluster, cluster) && mesh->epoch == epoch && mesh->store == store;

    if (same) return;
    mesh->cluster = cluster;
    mesh->epoch = epoch;
    mesh->store = store;
    mesh_in_close(mesh, 0, 0, 0);
    for (node_id_t node = 1; node <= NODES_MAX; node++)
        if (mesh->peers[node]) mesh_out_redial(mesh->peers[node]);
}

const struct peer_mesh_statistics *peer_mesh_statistics(const struct peer_mesh *mesh)
{
    return &mesh->statistics;
}
