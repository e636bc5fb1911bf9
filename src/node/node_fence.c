/* Replicas of this node that differed from their peers (partition/verify.h), and how each comes
 * back: halted, for ever; then DIR/fenced says so to later starts, which leave it out; then meta is
 * asked for a new id, as for a replica that was lost (node_stores.c), once its group has had a
 * leader without it; when the table names that one, what the old one had goes to the quarantine and
 * from the store (partition/drop.c), and the new one is filled by its peers.
 *
 * DIR/fenced: a sealed file "HOLONFN1": u8 count | each: u32 group | u64 replica | i64 found (us
 * since 1970) | sized text. An entry goes once a successor votes, or when the table gives this node
 * no replica of the group any more. */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

enum { FENCE_RETRY_US = 10 * 1000 * 1000, FENCE_BODY_MAX = 64 << 10 };

static const char fence_magic[] = "HOLONFN1";

static void fence_path(const struct node *node, char ret_path[PATH_SIZE_MAX])
{
    path_join(ret_path, node->options.data, "fenced");
}

/* --- the file ----------------------------------------------------------------------------- */

static void fence_encode(const struct node_fence *fence, struct buffer *body)
{
    struct writer writer = writer_make(body);
    uint32_t kept = 0;

    for (uint32_t i = 0; i < fence->count; i++)
        kept += fence->replicas[i].replaced_at == 0;
    write_u8(&writer, (uint8_t)kept);
    for (uint32_t i = 0; i < fence->count; i++) {
        const struct fenced_replica *fenced = &fence->replicas[i];
        if (fenced->replaced_at != 0) continue;
        write_u32(&writer, fenced->group.value);
        write_u64(&writer, fenced->replica.value);
        write_i64(&writer, fenced->found);
        write_sized(&writer, bytes_of(fenced->what));
    }
    ASSERT(!writer.failed);
}

static bool fence_decode(struct bytes body, struct node_fence *fence)
{
    struct reader reader = reader_make(body);
    uint8_t count = read_u8(&reader);

    for (uint32_t i = 0; i < count && i < FENCES_MAX && !reader.failed; i++) {
        struct fenced_replica *fenced = &fence->replicas[i];
        fenced->group.value = read_u32(&reader);
        fenced->replica.value = read_u64(&reader);
        fenced->found = read_i64(&reader);
        struct bytes what = read_sized(&reader);
        if (reader.failed || what.size >= sizeof(fenced->what)) return false;
        memcpy(fenced->what, what.data, what.size);
        fenced->what[what.size] = '\0';
        fenced->durable = true;
        fence->count++;
    }
    return !reader.failed && reader_left(&reader) == 0;
}

void node_fence_load(struct node *node)
{
    struct node_fence *fence = &node->fence;
    char path[PATH_SIZE_MAX];
    struct buffer body;
    struct error error;

    fence_path(node, path);
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(node->world, path, fence_magic, &body, &error);
    bool sound = status == STATUS_OK && fence_decode(buffer_bytes(&body), fence);
    buffer_free(&body);
    if (!sound && status != STATUS_NOT_FOUND) {
        fence->count = 0;
        LOG_ERROR(node_logger(node), "repair",
                  "%s cannot be read: which replicas differed from their peers is not known, and "
                  "they are compared again",
                  path);
    }
}

static void save_start(struct node *node);

static void save_run(struct world_job *job)
{
    struct node *node = job->context;
    struct node_fence *fence = &node->fence;
    char path[PATH_SIZE_MAX];

    fence_path(node, path);
    fence->status = sealed_file_write(node->world, path, fence_magic, buffer_bytes(&fence->body),
                                      &fence->error);
}

static void save_again(struct world_timer *timer)
{
    save_start(timer->context);
}

static void worker_give_up(struct node_worker *worker, void *argument)
{
    const struct fenced_replica *fenced = argument;

    if (worker->host != NULL && !worker->closing)
        worker_lost_replica(worker, fenced->group.value, fenced->replica);
    memory_free(argument);
}

/* A later start knows that it is out: now it may be replaced. */
static void give_up(struct node *node, const struct fenced_replica *fenced)
{
    uint32_t owner =
        group_worker(fenced->group, node->identity.stores, node->platform.worker_count);
    struct fenced_replica *copy = memory_allocate(sizeof(*copy));

    *copy = *fenced;
    node_call_with(&node->workers[0], &node->workers[owner], worker_give_up, copy, memory_free);
}

static void save_done(struct world_job *job)
{
    struct node *node = job->context;
    struct node_fence *fence = &node->fence;

    fence->busy = false;
    if (fence->status) {
        LOG_ERROR(node_logger(node), "repair",
                  "a replica that differs cannot be marked so, and is not given up yet: %s",
                  fence->error.text);
        fence->again = false;
        if (node->state == NODE_RUNNING)
            world_timer_start(node->world, &fence->retry, FENCE_RETRY_US);
        return;
    }
    for (uint32_t i = 0; i < fence->taken; i++)
        if (!fence->replicas[i].durable) {
            fence->replicas[i].durable = true;
            give_up(node, &fence->replicas[i]);
        }
    if (fence->again) save_start(node);
}

static void save_start(struct node *node)
{
    struct node_fence *fence = &node->fence;

    fence->again = fence->busy;
    if (fence->busy || node->state >= NODE_STOPPING) return;
    world_timer_stop(node->world, &fence->retry);
    fence->retry = (struct world_timer){.fire = save_again, .context = node};
    fence->busy = true;
    fence->taken = fence->count;
    buffer_free(&fence->body);
    buffer_init(&fence->body, FENCE_BODY_MAX);
    fence_encode(fence, &fence->body);
    fence->job = (struct world_job){.run = save_run, .done = save_done, .context = node};
    world_job_start(node->world, LANE_READ, &fence->job);
}

/* --- what workers find -------------------------------------------------------------------- */

struct fence_note {
    struct group_id group;
    struct replica_id replica;
    char what[FENCE_TEXT_MAX];
};

/* One that was replaced long ago makes room; not while `taken` counts by position. */
static bool make_room(struct node_fence *fence)
{
    if (fence->count < FENCES_MAX) return true;
    for (uint32_t i = 0; i < fence->count && !fence->busy; i++) {
        if (fence->replicas[i].replaced_at == 0) continue;
        fence->count--;
        memmove(&fence->replicas[i], &fence->replicas[i + 1],
                (fence->count - i) * sizeof(fence->replicas[0]));
        return true;
    }
    return false;
}

static void node_note_fenced(struct node_worker *zero, void *argument)
{
    struct fence_note *note = argument;
    struct node *node = zero->node;
    struct node_fence *fence = &node->fence;

    if (make_room(fence)) {
        struct fenced_replica *fenced = &fence->replicas[fence->count++];
        *fenced = (struct fenced_replica){
            .group = note->group, .replica = note->replica, .found = world_wall_time(node->world)};
        memcpy(fenced->what, note->what, sizeof(fenced->what));
        save_start(node);
    } else {
        LOG_ERROR(node_logger(node), "repair",
                  "%u replicas differ from their peers: look at memory and disk of this machine; "
                  "replica %llu of group %u stays halted until the next start",
                  FENCES_MAX, (unsigned long long)note->replica.value, note->group.value);
    }
    memory_free(note);
    if (node->ready) node_watch_again(node);
}

static struct fence_note *note_make(struct group_id group, struct replica_id replica,
                                    const char *what)
{
    struct fence_note *note = memory_allocate_zero(sizeof(*note));

    note->group = group;
    note->replica = replica;
    snprintf(note->what, sizeof(note->what), "%s", what);
    return note;
}

void worker_on_replica_fenced(void *context, struct group_id group, struct replica_id replica,
                              const char *what)
{
    struct node_worker *worker = context;

    node_call_with(worker, &worker->node->workers[0], node_note_fenced,
                   note_make(group, replica, what), memory_free);
}

static void node_note_disputed(struct node_worker *zero, void *argument)
{
    struct fence_note *note = argument;
    struct node_fence *fence = &zero->node->fence;

    fence->disputed = note->group;
    fence->disputed_at = world_now(zero->node->world);
    memcpy(fence->disputed_what, note->what, sizeof(fence->disputed_what));
    memory_free(note);
}

void worker_on_disputed(void *context, struct group_id group, const char *what)
{
    struct node_worker *worker = context;

    node_call_with(worker, &worker->node->workers[0], node_note_disputed,
                   note_make(group, (struct replica_id){0}, what), memory_free);
}

void node_fence_replaced(struct node *node, uint32_t group, struct replica_id by)
{
    bool changed = false;

    for (uint32_t i = 0; i < node->fence.count; i++) {
        struct fenced_replica *fenced = &node->fence.replicas[i];
        bool later = by.value == 0 || by.value > fenced->replica.value;
        if (fenced->group.value != group || fenced->replaced_at != 0 || !later) continue;
        fenced->replaced_at = world_now(node->world);
        changed = true;
        if (by.value != 0) SOMETIMES(node->world, "a replica that differed was born anew");
    }
    if (changed) save_start(node);
}

/* What the table says of them, and whether successors vote, is found out as of others that are
 * lost. */
void node_fence_start(struct node *node)
{
    for (uint32_t i = 0; i < node->fence.count; i++)
        give_up(node, &node->fence.replicas[i]);
}

/* --- questions ---------------------------------------------------------------------------- */

bool node_fence_has(const struct node *node, uint32_t group, struct replica_id replica)
{
    for (uint32_t i = 0; i < node->fence.count; i++)
        if (node->fence.replicas[i].group.value == group &&
            replica_id_equal(node->fence.replicas[i].replica, replica))
            return true;
    return false;
}

uint32_t node_fence_pending(const struct node *node)
{
    uint32_t pending = 0;

    for (uint32_t i = 0; i < node->fence.count; i++)
        pending += node->fence.replicas[i].replaced_at == 0;
    return pending;
}

void node_fence_free(struct node *node)
{
    world_timer_stop(node->world, &node->fence.retry);
    buffer_free(&node->fence.body);
}
