/* What this worker may hold in memory, and what happens as it fills up (WHY 9).
 *
 *   share of the worker: --memory / workers, less an eighth for the engines' block caches
 *   counted: row tables, log entries, copies being flushed, requests and replies that wait,
 *   snapshots that are received, dedup windows; buffers of clients and of the gateway up to half of
 *   the share: whoever does not read must not stop all writes
 *
 *   at 7/8 of the share   clean rows are evicted, a few milliseconds at a time
 *   dirty rows            a store is flushed early: at a quarter of the share over all stores
 *   dirty over 1/2, or all counted over the share and nothing to evict
 *                         writes are answered BUSY before they are evaluated, until there is room
 *   many files in L0      the same: compaction must keep up with flushes
 *
 * Tables of the meta group are never evicted; nor is what no flush has taken, so that leftovers of
 * an earlier replica in the engine (drop.c) are never read. */
#include "partition/host_internal.h"

enum {
    ENTRIES_BYTES_MIN = 64 << 10,
    EVICT_CALLS_MAX = 4, /* of under 2 ms, in one go */
    EVICT_AGAIN_US = 10 * 1000,
    LEVEL0_FILES_SLOW = 24, /* from here on a store is flushed at four times the size */
    LEVEL0_FILES_MAX = 60,  /* from here on writes wait */
};

static uint64_t share_of(const struct partition_host *host)
{
    return host->options.memory_bytes - host->options.memory_bytes / 8;
}

static uint64_t flush_copy_bytes(const struct partition_host *host)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < host->options.store_count; i++)
        bytes += flush_copied_bytes(&host->stores[i]);
    return bytes;
}

void memory_measure(struct partition_host *host)
{
    struct memory_use use = {.writes_refused = host->memory.writes_refused,
                             .evict_next = host->memory.evict_next,
                             .level0_files = host->memory.level0_files};
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        const struct replica *replica = host->replicas[i];
        if (replica == NULL) continue;
        use.tables += row_table_bytes(replica->table);
        use.clean += row_table_clean_bytes(replica->table);
        use.dirty += row_table_dirty_bytes(replica->table);
        use.entries += replica->entries_bytes;
        use.waiting += replica->held_bytes + snapshot_receive_bytes(replica);
        use.copies += snapshot_send_bytes(replica) + cut_bytes(replica);
        use.waiting += replica->read_wait_bytes - replica->read_wait_big_bytes;
        use.windows += dedup_bytes(replica->dedup);
        use.incomplete += !row_table_complete(replica->table);
    }
    use.waiting += host->cold.parked_bytes + cold_job_bytes(host) + host->big_bytes;
    if (host->options.buffer_bytes) use.buffers = host->options.buffer_bytes(host->options.context);
    use.copies += flush_copy_bytes(host);
    host->memory = use;
}

static uint64_t used(const struct partition_host *host)
{
    const struct memory_use *use = &host->memory;
    uint64_t half = share_of(host) / 2;
    uint64_t buffers = use->buffers < half ? use->buffers : half;
    return use->tables + use->entries + use->waiting + use->copies + use->windows + buffers;
}

bool memory_may_evict(const struct replica *replica)
{
    return replica->group.value != GROUP_META && !replica->halted;
}

/* Round and round over the replicas. */
static void evict(struct partition_host *host, uint64_t bytes)
{
    uint32_t calls = 0;
    for (uint32_t i = 0; i < host->replicas_capacity && calls < EVICT_CALLS_MAX && bytes > 0; i++) {
        uint32_t at = host->memory.evict_next++ % host->replicas_capacity;
        struct replica *replica = host->replicas[at];
        if (replica == NULL || !memory_may_evict(replica)) continue;
        uint64_t clean = row_table_clean_bytes(replica->table);
        if (clean == 0) continue;
        /* Its part of what there is, so that no partition pays for all. */
        uint64_t part = (uint64_t)((double)bytes * (double)clean / (double)host->memory.clean) + 1;
        uint64_t freed = row_table_evict(replica->table, part);
        host->statistics.evicted_bytes += freed;
        bytes -= freed < bytes ? freed : bytes;
        calls += freed > 0;
    }
}

static void refuse_or_not(struct partition_host *host)
{
    struct memory_use *use = &host->memory;
    uint64_t share = share_of(host);
    bool full = use->dirty > share / 2 || (used(host) > share && use->clean < share / 16) ||
                use->level0_files > LEVEL0_FILES_MAX;
    bool room = use->dirty < share * 3 / 8 && used(host) < share &&
                use->level0_files < LEVEL0_FILES_MAX * 3 / 4;
    if (full && !use->writes_refused) {
        SOMETIMES(host->world, "writes were refused for want of memory");
        LOG_WARN(host_logger(host), "partition",
                 "writes are refused: memory=%llu of %llu dirty=%llu files in level 0=%llu",
                 (unsigned long long)used(host), (unsigned long long)share,
                 (unsigned long long)use->dirty, (unsigned long long)use->level0_files);
    }
    use->writes_refused = full || (use->writes_refused && !room);
}

/* Of the store that has most. Compaction lowers it without a flush of ours. */
static void level0_measure(struct partition_host *host)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < host->options.store_count; i++) {
        if (list_empty(&host->stores[i].replicas)) continue;
        uint64_t files = engine_level0_files(host->options.engines[i]);
        if (files > most) most = files;
    }
    host->memory.level0_files = most;
}

void memory_tick(struct partition_host *host)
{
    memory_measure(host);
    if (host->memory.level0_files > LEVEL0_FILES_SLOW) level0_measure(host);
    uint64_t share = share_of(host);
    if (share == 0) return;
    uint64_t limit = share - share / 8;
    if (used(host) > limit && host->memory.clean > 0) evict(host, used(host) - limit);
    refuse_or_not(host);
    if (used(host) > limit || host->memory.writes_refused)
        world_timer_start(host->world, &host->memory_timer, EVICT_AGAIN_US);
}

static void on_timer(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    memory_tick(host);
    flush_tick(host);
}

void memory_open(struct partition_host *host)
{
    host->memory_timer = (struct world_timer){.fire = on_timer, .context = host};
}

void memory_flushed(struct partition_host *host)
{
    level0_measure(host);
}

bool memory_allows_loading(const struct partition_host *host, const struct replica *replica)
{
    uint64_t share = share_of(host);
    if (share == 0) return true;
    return host->memory.tables + row_table_bytes(replica->table) < share - share / 4;
}

const char *memory_refuses_writes(const struct partition_host *host)
{
    if (!host->memory.writes_refused) return NULL;
    return "BUSY memory of this partition's node is full of rows that are not on disk yet; the "
           "command was not executed, try again";
}

bool memory_is_short(const struct partition_host *host)
{
    uint64_t share = share_of(host);
    return host->memory.writes_refused || (share != 0 && host->memory.dirty > share / 4);
}

uint64_t memory_flush_bytes(const struct partition_host *host)
{
    uint64_t bytes = host->options.flush_bytes;
    uint32_t workers = host->options.worker_count;
    uint32_t stores = (host->options.store_count + workers - 1) / workers; /* of this worker */
    uint64_t part = share_of(host) / 4 / stores;
    if (part != 0 && part < bytes) bytes = part;
    if (host->memory.writes_refused) return bytes / 8 + 1;
    return host->memory.level0_files > LEVEL0_FILES_SLOW ? bytes * 4 : bytes;
}

uint64_t memory_entries_bytes_max(const struct partition_host *host)
{
    uint64_t bytes = host->options.entries_bytes_max;
    uint64_t part = share_of(host) / 8 / (host->replica_count + 1);
    if (part == 0 || part >= bytes) return bytes;
    return part < ENTRIES_BYTES_MIN && bytes > ENTRIES_BYTES_MIN ? ENTRIES_BYTES_MIN : part;
}
