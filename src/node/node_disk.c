/* Free space of the data directory: looked at by a job, because a disk that stalls must not stall
 * a loop, and told to every worker's host when it falls below --disk-reserve, or is back above it
 * (by an eighth, so that it does not flap). The reserve is for votes, terms, deletes and what
 * compaction needs; the log has, besides, the rest of its segment, preallocated.
 *
 * Others may take that space, too, to the last byte. A node that runs goes on then, but a start has
 * to write: its boot epoch, RocksDB's files. For that there is DIR/reserve, a file of zeros that a
 * start removes when the disk is full (F27). It is made once there is space; after a start that
 * needed it, at once, of what that has left over, or a second such start would fail. */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

enum { RESERVE_ATTEMPTS = 4 }; /* to make DIR/reserve, while others take what was found */

struct disk_news {
    bool low;
    char text[DISK_TEXT_SIZE];
};

/* --- DIR/reserve -------------------------------------------------------------------------- */

uint64_t node_reserve_size(const struct node *node)
{
    return NODE_RESERVE_BASE + (uint64_t)node->identity.stores * NODE_RESERVE_STORE;
}

static uint64_t reserve_measure(struct node *node)
{
    char path[PATH_SIZE_MAX];
    struct file *file = NULL;
    uint64_t size = 0;

    path_join(path, node->options.data, "reserve");
    if (file_open(node->world, path, FILE_READ, &file, NULL) == STATUS_OK)
        file_size(file, &size, NULL);
    file_close(file);
    return size;
}

/* Until the name is durably gone a file system may not give its space to others. */
static enum status reserve_remove(struct node *node, struct error *error)
{
    char path[PATH_SIZE_MAX];

    path_join(path, node->options.data, "reserve");
    enum status status = world_remove(node->world, path, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    return status ? status : world_sync_dir(node->world, node->options.data, error);
}

/* A file of that name in a directory of somebody else is not ours (F32). */
static bool directory_has(struct node *node, const char *name)
{
    char path[PATH_SIZE_MAX];
    struct file *file = NULL;

    path_join(path, node->options.data, name);
    enum status status = file_open(node->world, path, FILE_READ, &file, NULL);
    file_close(file);
    return status == STATUS_OK;
}

enum status node_reserve_use(struct node *node, struct error *error)
{
    uint64_t enough = NODE_RESERVE_BASE + (uint64_t)STORES_MAX * NODE_RESERVE_STORE, free = 0;
    uint64_t size = reserve_measure(node);

    if (size == 0 || size > enough || PLANTED(node->world, "reserve_unused")) return STATUS_OK;
    if (!directory_has(node, "identity") && !directory_has(node, "founding")) return STATUS_OK;
    if (world_free_space(node->world, node->options.data, &free, NULL)) return STATUS_OK;
    if (free >= enough) return STATUS_OK;
    LOG_WARN(node_logger(node), "node",
             "%llu KiB left in %s: this start takes the %llu KiB of %s/reserve",
             (unsigned long long)free >> 10, node->options.data, (unsigned long long)size >> 10,
             node->options.data);
    SOMETIMES(node->world, "a start on a full disk took the reserve");
    return reserve_remove(node, error);
}

void node_reserve_drop(struct node *node)
{
    if (node->lock == NULL || reserve_measure(node) == 0) return;
    if (reserve_remove(node, NULL) == STATUS_OK)
        LOG_WARN(node_logger(node), "node",
                 "%s/reserve was removed, so that the next start finds space", node->options.data);
}

/* Of what it may be made of. The first look after a start leaves an eighth to the node itself. */
static uint64_t reserve_wanted(const struct node *node)
{
    const struct disk_watch *watch = &node->disk;
    uint64_t whole = node_reserve_size(node), limit = node->options.disk_reserve;

    if (watch->reserve >= whole) return 0;
    if (watch->found >= limit + limit / 8 + whole) return whole;
    uint64_t most = watch->reserve + watch->found - watch->found / 8;
    return watch->looked ? 0 : most < whole ? most : whole;
}

static bool reserve_allocate(struct node *node, uint64_t size)
{
    char path[PATH_SIZE_MAX];
    struct file *file = NULL;

    path_join(path, node->options.data, "reserve");
    if (file_open(node->world, path, FILE_WRITE | FILE_CREATE, &file, NULL)) return false;
    bool made = file_allocate(file, size, NULL) == STATUS_OK;
    if (!made) file_truncate(file, node->disk.reserve, NULL); /* later there may be more */
    file_close(file);
    return made;
}

/* Nothing relies on it: it is not synced, and a power loss that takes it lets it be made again.
 * Others, who start on the same disk at the same time, may take what was found before it is ours:
 * then it is made of what they leave. */
static void reserve_make(struct node *node)
{
    struct disk_watch *watch = &node->disk;

    for (int i = 0; i < RESERVE_ATTEMPTS; i++) {
        uint64_t wanted = reserve_wanted(node);
        if (wanted <= watch->reserve) break;
        if (reserve_allocate(node, wanted)) {
            watch->reserve = wanted;
            break;
        }
        if (world_free_space(node->world, node->options.data, &watch->found, NULL)) break;
    }
    watch->looked = true;
}

/* --- the watch ---------------------------------------------------------------------------- */

static void disk_run(struct world_job *job)
{
    struct node *node = job->context;
    struct disk_watch *watch = &node->disk;

    watch->status = world_free_space(node->world, node->options.data, &watch->found, &watch->error);
    watch->reserve = reserve_measure(node); /* somebody may have removed it */
    if (watch->status == STATUS_OK) reserve_make(node);
}

static void worker_take_disk(struct node_worker *worker, void *argument)
{
    struct disk_news *news = argument;

    if (worker->host != NULL) host_set_disk(worker->host, news->low, news->text);
    memory_free(news);
}

static void disk_tell(struct node *node)
{
    const struct disk_watch *watch = &node->disk;
    unsigned long long free_mib = watch->free >> 20;
    unsigned long long reserve_mib = node->options.disk_reserve >> 20;

    for (uint32_t i = 0; i < node->platform.worker_count; i++) {
        struct disk_news *news = memory_allocate_zero(sizeof(*news));
        news->low = watch->low;
        snprintf(news->text, sizeof(news->text),
                 "node %.32s has %llu MiB left in %.100s, --disk-reserve is %llu MiB",
                 node->identity.name, free_mib, node->options.data, reserve_mib);
        node_call_with(&node->workers[0], &node->workers[i], worker_take_disk, news, memory_free);
    }
    if (watch->low)
        LOG_WARN(node_logger(node), "node",
                 "%llu MiB left in %s, below --disk-reserve %llu MiB: requests that add data are "
                 "refused until there is more",
                 free_mib, node->options.data, reserve_mib);
    else
        LOG_INFO(node_logger(node), "node", "%llu MiB left in %s: requests are taken again",
                 free_mib, node->options.data);
}

/* A node at rest is not woken each second: nothing grows, and what is left lasts until the next
 * look. */
static uint64_t next_look(struct disk_watch *watch, uint64_t logged, uint64_t reserve)
{
    uint64_t seconds = NODE_DISK_IDLE_US / 1000000;
    uint64_t lasts = reserve + seconds * NODE_DISK_IDLE_RATE;

    watch->idle = logged == watch->logged && watch->status == STATUS_OK && watch->found >= lasts;
    watch->logged = logged;
    return watch->idle ? NODE_DISK_IDLE_US : NODE_DISK_WATCH_US;
}

static void disk_done(struct world_job *job)
{
    struct node *node = job->context;
    struct disk_watch *watch = &node->disk;
    struct log_statistics statistics;

    watch->busy = false;
    watch->reserve_told = watch->reserve;
    if (node->state != NODE_RUNNING) return;
    uint64_t reserve = node->options.disk_reserve;
    log_statistics(node->log, &statistics);
    world_timer_start(node->world, &watch->timer, next_look(watch, statistics.bytes, reserve));
    if (watch->status) return; /* what is known stays; the log meets the disk's errors itself */
    uint64_t limit = watch->low ? reserve + reserve / 8 : reserve;
    bool low = watch->found < limit || statistics.no_space;
    bool changed = low != watch->low;
    watch->free = watch->found;
    watch->low = low;
    engine_gate_hurry(node->merge_gate, low); /* merges give space back */
    if (!changed) return;
    if (low) SOMETIMES(node->world, "a disk fell below its reserve");
    disk_tell(node);
}

static void disk_timer_fired(struct world_timer *timer)
{
    struct node *node = timer->context;
    struct disk_watch *watch = &node->disk;

    if (node->state != NODE_RUNNING || watch->busy) return;
    watch->busy = true;
    watch->job = (struct world_job){.run = disk_run, .done = disk_done, .context = node};
    world_job_start(node->world, LANE_READ, &watch->job);
}

void node_disk_start(struct node *node)
{
    node->disk.timer = (struct world_timer){.fire = disk_timer_fired, .context = node};
    disk_timer_fired(&node->disk.timer);
}
