/* Rows that a drop of their namespace hides leave the engine (DESIGN.md 2: drop begins a bounded
 * collection). One job of a worker at a time, COLLECT_ROWS rows and COLLECT_SEEKS slots each, one
 * a slow tick: so it is limited in rate, and flushes come in between. Jobs run on LANE_FLUSH,
 * where nothing else of this worker writes: what a job reads is what it deletes.
 *
 * When a pass over all slots has found nothing more, the drop is forgotten; the record of the
 * next flush is without it. What a read found before that must not be loaded afterwards:
 * replica->cold_generation rises. */
#include "partition/host_internal.h"

enum { COLLECT_ROWS = 4096, COLLECT_SEEKS = 1024 };

struct collect_job {
    struct world_job job;
    struct partition_host *host;
    struct group_id group;
    struct replica_id replica;
    uint64_t generation;
    uint32_t store;
    bool running;
    uint8_t service;
    uint32_t namespace;
    uint64_t index;
    uint16_t slot_first, slot_last;
    uint32_t slot; /* to go on with */
    uint32_t deleted;
    struct buffer keys; /* u32 size, key */
    enum status status;
    struct error error;
};

/* --- on the flush thread: touches only the job and the engine --- */

/* False: enough for one job. */
static bool gather_slot(struct collect_job *collect, struct engine *engine,
                        struct engine_iterator *iterator)
{
    uint8_t prefix[ROW_PREFIX_SIZE];
    struct bytes key, stored, value;
    struct row_header header;
    struct writer writer = writer_make(&collect->keys);
    row_prefix_store(prefix, (uint16_t)collect->slot, collect->service, collect->namespace);
    engine_iterator_seek(engine, iterator, bytes_make(prefix, sizeof(prefix)));
    while (engine_iterator_next(engine, iterator, &key, &stored)) {
        bool ours = key.size >= sizeof(prefix) && memcmp(key.data, prefix, sizeof(prefix)) == 0;
        if (!ours) return true;
        if (row_value_decode(stored, &header, &value) || header.version > collect->index) continue;
        if (collect->deleted == COLLECT_ROWS) return false;
        write_u32(&writer, (uint32_t)key.size);
        write_bytes(&writer, key);
        collect->deleted++;
    }
    return true;
}

static enum status gather(struct collect_job *collect, struct engine *engine)
{
    uint8_t from[2], to[2];
    store_u16_be(from, collect->slot_first);
    store_u16_be(to, (uint16_t)(collect->slot_last + 1));
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(from, 2), bytes_make(to, 2));
    for (uint32_t seeks = 0; seeks < COLLECT_SEEKS && collect->slot <= collect->slot_last;
         seeks++) {
        if (!gather_slot(collect, engine, iterator)) break;
        collect->slot++;
    }
    return engine_iterator_close(engine, iterator, &collect->error);
}

static enum status delete_gathered(struct collect_job *collect, struct engine *engine)
{
    struct reader reader = reader_make(buffer_bytes(&collect->keys));
    struct engine_run *run = NULL;
    enum status status = engine_run_open(engine, &run, &collect->error);
    if (status) return status;
    while (reader_left(&reader) > 0 && status == STATUS_OK) {
        struct bytes key = read_bytes(&reader, read_u32(&reader));
        status = engine_run_delete(engine, run, key, &collect->error);
    }
    if (status) {
        engine_run_abandon(engine, run);
        return status;
    }
    return engine_run_ingest(engine, run, &collect->error);
}

static void collect_run(struct world_job *job)
{
    struct collect_job *collect = job->context;
    struct engine *engine = collect->host->options.engines[collect->store];
    uint32_t slot = collect->slot;
    buffer_clear(&collect->keys);
    collect->deleted = 0;
    collect->status = gather(collect, engine);
    if (collect->status == STATUS_OK && collect->deleted > 0)
        collect->status = delete_gathered(collect, engine);
    if (collect->status) collect->slot = slot;
}

/* --- on the loop --- */

static void collect_free(struct partition_host *host)
{
    if (host->collect == NULL) return;
    buffer_free(&host->collect->keys);
    memory_free(host->collect);
    host->collect = NULL;
}

static struct replica *collect_replica(const struct collect_job *collect)
{
    struct replica *replica = host_replica(collect->host, collect->group);
    bool same = replica != NULL && !replica->halted && replica->receive == NULL &&
                replica_id_equal(replica->id, collect->replica) &&
                replica->generation == collect->generation;
    return same ? replica : NULL;
}

static void collect_done(struct world_job *job)
{
    struct collect_job *collect = job->context;
    struct partition_host *host = collect->host;
    struct replica *replica = collect_replica(collect);
    collect->running = false;
    host->statistics.collected_rows += collect->deleted;
    if (collect->status)
        LOG_ERROR(host_logger(host), "partition",
                  "dropped rows of group %u cannot be deleted: %s; trying again",
                  collect->group.value, collect->error.text);
    store_job_ended(host, collect->store, collect->status, &collect->error);
    if (replica == NULL) {
        collect_free(host);
        return;
    }
    if (collect->slot <= collect->slot_last) return; /* goes on with the next tick */
    row_table_drop_forget(replica->table, collect->service, collect->namespace, collect->index);
    replica->cold_generation++;
    collect_free(host);
}

static void take_drop(void *context, uint8_t service, uint32_t namespace, uint64_t index)
{
    struct collect_job *collect = context;
    collect->service = service;
    collect->namespace = namespace;
    collect->index = index;
}

/* A replica whose engine has rows that a drop hides. */
static bool collect_begin(struct partition_host *host)
{
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted || replica->receive != NULL) continue;
        if (cut_holds_flush(replica)) continue; /* what later drops hide is still to be seen */
        struct collect_job found = {.index = 0};
        row_table_drops_each(replica->table, &found, take_drop);
        if (found.index == 0) continue;
        if (found.index > replica->flushed) { /* first the drop has to be on record */
            if (host->stores[replica->store].flush == NULL) flush_store(host, replica->store);
            continue;
        }
        struct collect_job *collect = memory_allocate_zero(sizeof(*collect));
        *collect = found;
        collect->job =
            (struct world_job){.run = collect_run, .done = collect_done, .context = collect};
        collect->host = host;
        collect->group = replica->group;
        collect->replica = replica->id;
        collect->generation = replica->generation;
        collect->store = replica->store;
        collect->slot_first = replica->slot_first;
        collect->slot_last = replica->slot_last;
        collect->slot = replica->slot_first;
        buffer_init(&collect->keys, SIZE_MAX / 2);
        host->collect = collect;
        return true;
    }
    return false;
}

void collect_tick(struct partition_host *host)
{
    if (host->stopping) return;
    if (host->collect == NULL && !collect_begin(host)) return;
    if (host->collect->running) return;
    if (collect_replica(host->collect) == NULL) {
        collect_free(host);
        return;
    }
    if (drop_goes_first(host, host->collect->store)) return;
    host->collect->running = true;
    world_job_start(host->world, LANE_FLUSH, &host->collect->job);
}

bool collect_is_idle(const struct partition_host *host)
{
    return host->collect == NULL || !host->collect->running;
}

void collect_close(struct partition_host *host)
{
    collect_free(host);
}
