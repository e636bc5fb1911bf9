/* Free space of the data directory: looked at by a job, because a disk that stalls must not stall
 * a loop, and told to every worker's host when it falls below --disk-reserve, or is back above it
 * (by an eighth, so that it does not flap). The reserve is for votes, terms, deletes and what
 * compaction needs; the log has, besides, the rest of its segment, preallocated. */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

struct disk_news {
    bool low;
    char text[DISK_TEXT_SIZE];
};

static void disk_run(struct world_job *job)
{
    struct node *node = job->context;
    struct disk_watch *watch = &node->disk;

    watch->status = world_free_space(node->world, node->options.data, &watch->found, &watch->error);
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

static void disk_done(struct world_job *job)
{
    struct node *node = job->context;
    struct disk_watch *watch = &node->disk;
    struct log_statistics statistics;

    watch->busy = false;
    if (node->state != NODE_RUNNING) return;
    world_timer_start(node->world, &watch->timer, NODE_DISK_WATCH_US);
    if (watch->status) return; /* what is known stays; the log meets the disk's errors itself */
    log_statistics(node->log, &statistics);
    uint64_t reserve = node->options.disk_reserve;
    uint64_t limit = watch->low ? reserve + reserve / 8 : reserve;
    bool low = watch->found < limit || statistics.no_space;
    bool changed = low != watch->low;
    watch->free = watch->found;
    watch->low = low;
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
