#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/peer_mesh_internal.h"

struct peer_mesh_group {
    uint32_t worker_count;
    pthread_mutex_t mutex; /* for what follows; never held while calling out */
    struct peer_mesh *meshes[WORKERS_MAX];
    struct mesh_node_view nodes[NODES_MAX + 1];
    /* Bytes posted to a worker and not yet delivered; bounded by TRANSPORT_PENDING_MAX. */
    _Atomic size_t posted_bytes[WORKERS_MAX];
};

struct peer_mesh_group *peer_mesh_group_create(uint32_t worker_count)
{
    struct peer_mesh_group *group = memory_allocate_zero(sizeof(*group));

    ASSERT(worker_count > 0 && worker_count <= WORKERS_MAX);
    group->worker_count = worker_count;
    pthread_mutex_init(&group->mutex, NULL);
    return group;
}

void peer_mesh_group_destroy(struct peer_mesh_group *group)
{
    if (group == NULL) return;
    for (uint32_t worker = 0; worker < WORKERS_MAX; worker++)
        ASSERT(group->meshes[worker] == NULL);
    pthread_mutex_destroy(&group->mutex);
    memory_free(group);
}

uint32_t group_worker_count(const struct peer_mesh_group *group)
{
    return group->worker_count;
}

void group_join(struct peer_mesh_group *group, struct peer_mesh *mesh)
{
    ASSERT(mesh->worker < group->worker_count);
    pthread_mutex_lock(&group->mutex);
    ASSERT(group->meshes[mesh->worker] == NULL);
    group->meshes[mesh->worker] = mesh;
    pthread_mutex_unlock(&group->mutex);
}

void group_leave(struct peer_mesh_group *group, struct peer_mesh *mesh)
{
    pthread_mutex_lock(&group->mutex);
    ASSERT(group->meshes[mesh->worker] == mesh);
    group->meshes[mesh->worker] = NULL;
    pthread_mutex_unlock(&group->mutex);
}

/* Only the worker's own thread may use the result: it alone removes it. */
static struct peer_mesh *group_own_mesh(struct peer_mesh_group *group, uint32_t worker)
{
    struct peer_mesh *mesh;

    pthread_mutex_lock(&group->mutex);
    mesh = group->meshes[worker];
    pthread_mutex_unlock(&group->mutex);
    return mesh;
}

/* False when that worker has no mesh (any more). */
static bool group_post(struct peer_mesh_group *group, uint32_t worker, struct world_post *post)
{
    bool there;

    pthread_mutex_lock(&group->mutex);
    there = group->meshes[worker] != NULL;
    if (there) world_post(group->meshes[worker]->world, post);
    pthread_mutex_unlock(&group->mutex);
    return there;
}

/* --- news about a node ----------------------------------------------------------------------- */

struct mesh_notice {
    struct world_post post;
    struct peer_mesh_group *group;
    uint32_t worker;
    node_id_t node;
};

static void notice_run(struct world_post *post)
{
    struct mesh_notice *notice = CONTAINER_OF(post, struct mesh_notice, post);
    struct peer_mesh *mesh = group_own_mesh(notice->group, notice->worker);

    if (mesh) mesh_review(mesh, notice->node);
    memory_free(notice);
}

static void notice_dropped(struct world_post *post)
{
    memory_free(CONTAINER_OF(post, struct mesh_notice, post));
}

static void group_notify(struct peer_mesh_group *group, node_id_t node)
{
    for (uint32_t worker = 0; worker < group->worker_count; worker++) {
        struct mesh_notice *notice = memory_allocate_zero(sizeof(*notice));
        *notice = (struct mesh_notice){.post = {.run = notice_run, .dropped = notice_dropped},
                                       .group = group,
                                       .worker = worker,
                                       .node = node};
        if (!group_post(group, worker, &notice->post)) memory_free(notice);
    }
}

struct mesh_node_view group_view(struct peer_mesh_group *group, node_id_t node)
{
    struct mesh_node_view view;

    pthread_mutex_lock(&group->mutex);
    view = group->nodes[node];
    pthread_mutex_unlock(&group->mutex);
    return view;
}

/* With the mutex held. A boot epoch counts starts of one store; epochs of two stores do not
 * compare. A second store under the same id is a twin as long as the first one is connected,
 * afterwards a replaced disk (F09, F12). A node without a store is about to get one: founding
 * gives store and first epoch to a running process. */
static enum status view_check(const struct mesh_node_view *view, const struct peer_hello *hello,
                              bool incoming, char why[REFUSE_TEXT_SIZE_MAX])
{
    bool known = view->store != 0;
    bool same_store = view->store == hello->store;

    if (known && same_store && hello->epoch < view->epoch) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX,
                 "boot epoch %u of node %u is older than %u, which was seen before", hello->epoch,
                 hello->node, view->epoch);
        return STATUS_REFUSED;
    }
    if (known && !same_store && view->incoming > 0) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX,
                 "another process with node id %u (store %016llx) is connected; this one has "
                 "store %016llx: stop one of them",
                 hello->node, (unsigned long long)view->store, (unsigned long long)hello->store);
        return STATUS_REFUSED;
    }
    if (incoming && view->incoming >= PEER_MESH_INCOMING_MAX) {
        snprintf(why, REFUSE_TEXT_SIZE_MAX, "node %u has %u connections already", hello->node,
                 view->incoming);
        return STATUS_REFUSED;
    }
    return STATUS_OK;
}

enum status group_admit(struct peer_mesh_group *group, const struct peer_hello *hello,
                        bool incoming, char why[REFUSE_TEXT_SIZE_MAX])
{
    struct mesh_node_view *view = &group->nodes[hello->node];
    bool changed = false;
    enum status status;

    pthread_mutex_lock(&group->mutex);
    status = view_check(view, hello, incoming, why);
    if (status == STATUS_OK) {
        changed = view->epoch != hello->epoch || view->store != hello->store;
        view->epoch = hello->epoch;
        view->store = hello->store;
        if (incoming) {
            changed |= view->incoming == 0;
            view->incoming++;
        }
    }
    pthread_mutex_unlock(&group->mutex);
    if (changed) group_notify(group, hello->node);
    return status;
}

void group_incoming_gone(struct peer_mesh_group *group, node_id_t node, bool tell)
{
    bool last;

    pthread_mutex_lock(&group->mutex);
    ASSERT(group->nodes[node].incoming > 0);
    group->nodes[node].incoming--;
    last = group->nodes[node].incoming == 0;
    pthread_mutex_unlock(&group->mutex);
    if (last && tell) group_notify(group, node);
}

/* --- frames between workers ------------------------------------------------------------------ */

/* Before each payload in an outbox; in memory only. */
struct outbox_record {
    struct transport_peer from;
    uint32_t size;
    uint8_t kind;
};

/* The outbox of one turn on its way to a sibling. */
struct outbox_post {
    struct world_post post;
    struct peer_mesh_group *group;
    uint32_t worker;
    struct buffer records;
};

void group_send(struct peer_mesh *mesh, uint32_t worker, const struct transport_peer *from,
                uint8_t kind, struct bytes payload)
{
    struct outbox_record record = {.from = *from, .size = (uint32_t)payload.size, .kind = kind};
    struct buffer *outbox = &mesh->outbox[worker];
    size_t posted = atomic_load_explicit(&mesh->group->posted_bytes[worker], memory_order_relaxed);
    uint8_t *room = NULL;

    ASSERT(worker < mesh->worker_count);
    if (posted < TRANSPORT_PENDING_MAX)
        room = buffer_reserve(outbox, sizeof(record) + payload.size);
    if (room == NULL) {
        mesh->statistics.frames_dropped++;
        return;
    }
    memcpy(room, &record, sizeof(record));
    if (payload.size) memcpy(room + sizeof(record), payload.data, payload.size);
    buffer_commit(outbox, sizeof(record) + payload.size);
    mesh->statistics.frames_local++;
    world_defer(mesh->world, &mesh->outbox_deferred);
}

static void records_deliver(struct peer_mesh *mesh, struct bytes records)
{
    struct transport *transport = &mesh->transport;

    while (records.size) {
        struct outbox_record record;
        ASSERT(records.size >= sizeof(record));
        memcpy(&record, records.data, sizeof(record));
        records = bytes_from(records, sizeof(record));
        ASSERT(records.size >= record.size);
        if (transport->events.on_frame)
            transport->events.on_frame(transport->context, &record.from, record.kind,
                                       bytes_make(records.data, record.size));
        records = bytes_from(records, record.size);
    }
}

static void outbox_post_free(struct outbox_post *post)
{
    atomic_fetch_sub_explicit(&post->group->posted_bytes[post->worker], buffer_size(&post->records),
                              memory_order_relaxed);
    buffer_free(&post->records);
    memory_free(post);
}

static void outbox_post_dropped(struct world_post *base)
{
    outbox_post_free(CONTAINER_OF(base, struct outbox_post, post));
}

static void outbox_post_run(struct world_post *base)
{
    struct outbox_post *post = CONTAINER_OF(base, struct outbox_post, post);
    struct peer_mesh *mesh = group_own_mesh(post->group, post->worker);

    if (mesh) records_deliver(mesh, buffer_bytes(&post->records));
    outbox_post_free(post);
}

static void outbox_post_send(struct peer_mesh *mesh, uint32_t worker, struct buffer *records)
{
    struct outbox_post *post = memory_allocate_zero(sizeof(*post));

    post->post.run = outbox_post_run;
    post->post.dropped = outbox_post_dropped;
    post->group = mesh->group;
    post->worker = worker;
    post->records = *records;
    atomic_fetch_add_explicit(&mesh->group->posted_bytes[worker], buffer_size(records),
                              memory_order_relaxed);
    if (!group_post(mesh->group, worker, &post->post)) outbox_post_free(post);
}

void group_outbox_flush(struct world_deferred *deferred)
{
    struct peer_mesh *mesh = deferred->context;

    for (uint32_t worker = 0; worker < mesh->worker_count; worker++) {
        struct buffer records = mesh->outbox[worker];
        if (buffer_size(&records) == 0) continue;
        buffer_init(&mesh->outbox[worker], TRANSPORT_PENDING_MAX);
        if (worker != mesh->worker) {
            outbox_post_send(mesh, worker, &records);
            continue;
        }
        /* What the receiver sends to itself meanwhile goes into the new outbox. */
        records_deliver(mesh, buffer_bytes(&records));
        buffer_free(&records);
    }
}
