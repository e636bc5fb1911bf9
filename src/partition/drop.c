/* How the data of a replica goes that was removed by a committed configuration (FAULTS rule 8):
 *
 *   KEEPING   stopped, and still here: a job copies what it had to quarantine (keep.c). After a
 *             crash the log still says that it lives here, and it begins anew
 *   DELETING  that is done: "removed" is logged, and the replica is freed; another may be born.
 *             Once "removed" is durable a job deletes rows and record from the engine as one run
 *
 * Each waits until nothing else of the store that could write its rows is under way; meanwhile the
 * store neither flushes nor takes a snapshot in. Who waits for one of these, or a job that waits
 * for the thread, ends the pace at which it is kept. But while one that failed waits to be tried
 * again, which may be for ever (no space for quarantine), only replicas of its group do without. A
 * crash while deleting leaves rows that nobody opens: a later replica of the group has them moved
 * to quarantine and deleted before anything of its own comes (drop_leftovers()); so with rows of a
 * replica that was lost. */
#include "partition/host_internal.h"
#include "partition/keep.h"

enum {
    DROP_RETRY_US = 5 * 1000 * 1000,
    DROP_PACE = 32 << 20, /* bytes a second to quarantine */
};

struct drop_job {
    struct drop_job *next;
    struct world_job job;
    struct partition_host *host;
    uint32_t store;
    struct group_id group;
    struct replica_id replica; /* 0: not known */
    uint64_t position;         /* of "removed", or of the birth of another, in the log */
    uint64_t retry_at;
    bool running, kept, leftovers, engine_failed;
    uint8_t range_from[2], range_to[2], record_key[REPLICA_RECORD_KEY_SIZE];
    struct buffer later; /* what the engine had not got yet: keep.h */
    enum status status;
    struct error error;
};

/* On the flush thread: touches only the job, the engine and files of quarantine. */
static enum status delete_all(struct drop_job *drop)
{
    struct engine *engine = drop->host->options.engines[drop->store];
    struct bytes key = bytes_make(drop->record_key, sizeof(drop->record_key));
    struct engine_run *run = NULL;
    enum status status = engine_run_open(engine, &run, &drop->error);
    if (status) return status;
    status = engine_run_delete_range(engine, run, bytes_make(drop->range_from, 2),
                                     bytes_make(drop->range_to, 2), &drop->error);
    if (status == STATUS_OK) status = engine_run_delete(engine, run, key, &drop->error);
    if (status == STATUS_OK) return engine_run_ingest(engine, run, &drop->error);
    engine_run_abandon(engine, run);
    return status;
}

static void drop_run(struct world_job *job)
{
    struct drop_job *drop = job->context;
    const struct host_options *options = &drop->host->options;
    struct keep keep = {.world = drop->host->world,
                        .quarantine = options->quarantine,
                        .reserve = options->disk_reserve,
                        .engine = options->engines[drop->store],
                        .group = drop->group,
                        .replica = drop->replica,
                        .from = bytes_make(drop->range_from, 2),
                        .to = bytes_make(drop->range_to, 2),
                        .record_key = bytes_make(drop->record_key, sizeof(drop->record_key)),
                        .later = buffer_bytes(&drop->later),
                        .pace = &drop->host->drop_pace,
                        .given_up = &drop->host->drops_end,
                        .once = drop->leftovers};
    drop->status = STATUS_OK;
    drop->engine_failed = true;
    bool careless = PLANTED(drop->host->world, "removed_not_kept");
    if (drop->kept)
        drop->status = delete_all(drop);
    else if (options->quarantine != NULL && !careless)
        drop->status = keep_replica(&keep, &drop->engine_failed, &drop->error);
}

static void drop_free(struct drop_job *drop)
{
    buffer_free(&drop->later);
    memory_free(drop);
}

static void free_dropped(struct drop_job *drop)
{
    struct partition_host *host = drop->host;
    struct replica *replica = host_replica(host, drop->group);
    drop->kept = true;
    buffer_clear(&drop->later);
    if (replica == NULL || !replica_id_equal(replica->id, drop->replica)) return; /* leftovers */
    ASSERT(replica->halted);
    drop->position = log_append_removed(host->queue, drop->group, drop->replica);
    world_defer(host->world, &host->turn_end);
    flush_replica_gone(replica);
    replica_unlink(replica);
    replica_free(replica);
    if (host->options.events.on_dropped != NULL)
        host->options.events.on_dropped(host->options.context, drop->group);
}

static void drop_done(struct world_job *job)
{
    struct drop_job *drop = job->context;
    struct partition_host *host = drop->host;
    struct host_store *store = &host->stores[drop->store];
    drop->running = false;
    if (drop->status == STATUS_CLOSED) return; /* after the next start it begins anew */
    if (drop->status) {
        drop->retry_at = world_now(host->world) + DROP_RETRY_US;
        LOG_ERROR(host_logger(host), "partition",
                  "rows of group %u, removed from this node, cannot be moved to quarantine or "
                  "deleted from store %u: %s; trying again",
                  drop->group.value, drop->store, drop->error.text);
        if (drop->engine_failed) store_job_ended(host, drop->store, drop->status, &drop->error);
        return;
    }
    if (!drop->kept) {
        free_dropped(drop);
        return;
    }
    SOMETIMES(host->world, "the rows of a removed replica were deleted");
    store->drops = drop->next;
    drop_free(drop);
}

/* One at a time, in the order of the removals, and never beside a flush, which may have
 * copied rows of the replica before it went. */
void drop_tick(struct partition_host *host)
{
    for (uint32_t i = 0; i < host->options.store_count && !host->stopping; i++) {
        struct drop_job *drop = host->stores[i].drops;
        bool due = drop != NULL && !drop->running && host->stores[i].flush == NULL &&
                   drop->position <= host->durable_position &&
                   world_now(host->world) >= drop->retry_at;
        if (!due) continue;
        drop->running = true;
        world_job_start(host->world, LANE_FLUSH, &drop->job);
    }
}

bool drop_is_running(const struct host_store *store)
{
    return store->drops != NULL && store->drops->running;
}

void drop_set_pace(struct partition_host *host, bool hurry)
{
    host->drop_pace.bytes_per_second = hurry ? 0 : DROP_PACE;
    for (uint32_t i = 0; i < host->options.store_count; i++)
        if (drop_is_running(&host->stores[i])) host->stores[i].drops->job.patient = !hurry;
}

bool drop_goes_first(const struct partition_host *host, uint32_t store)
{
    const struct drop_job *drop = host->stores[store].drops;
    return drop != NULL && (drop->running || world_now(host->world) >= drop->retry_at);
}

bool drop_is_of(const struct replica *replica)
{
    const struct drop_job *drop = replica->host->stores[replica->store].drops;
    while (drop != NULL && drop->group.value != replica->group.value)
        drop = drop->next;
    return drop != NULL;
}

void drops_free(struct host_store *store)
{
    while (store->drops != NULL) {
        struct drop_job *drop = store->drops;
        store->drops = drop->next;
        drop_free(drop);
    }
}

static struct drop_job *drop_push(const struct replica *replica, struct replica_id id,
                                  uint64_t position)
{
    struct drop_job *drop = memory_allocate_zero(sizeof(*drop));
    struct drop_job **at = &replica->host->stores[replica->store].drops;
    drop->job =
        (struct world_job){.run = drop_run, .done = drop_done, .context = drop, .patient = true};
    drop->host = replica->host;
    drop->store = replica->store;
    drop->group = replica->group;
    drop->replica = id;
    drop->position = position;
    replica_row_range(replica, drop->range_from, drop->range_to);
    replica_record_key(replica->group, drop->record_key);
    buffer_init(&drop->later, SIZE_MAX / 2);
    while (*at != NULL)
        at = &(*at)->next;
    *at = drop;
    return drop;
}

static void keep_later(void *context, const struct row_found *row)
{
    struct drop_job *drop = context;
    struct buffer value;
    buffer_init(&value, SIZE_MAX / 2);
    if (!row->tombstone) row_value_encode(&value, &row->header, row->value);
    keep_item(&drop->later, row->tombstone ? KEEP_DELETED : KEEP_LATER, row->key,
              buffer_bytes(&value));
    buffer_free(&value);
}

/* Applied, and not in the engine yet. */
static void copy_later(struct drop_job *drop, const struct replica *replica)
{
    struct buffer record;
    if (replica->applied == replica->flushed) return;
    row_table_dirty_each(replica->table, drop, keep_later);
    buffer_init(&record, SIZE_MAX / 2);
    replica_record_encode(replica, &record);
    keep_item(&drop->later, KEEP_LATER, bytes_make(drop->record_key, sizeof(drop->record_key)),
              buffer_bytes(&record));
    buffer_free(&record);
}

void drop_leftovers(const struct replica *replica, struct replica_id of, uint64_t position)
{
    if (drop_is_of(replica)) return;
    SOMETIMES(replica->host->world, "a replica found rows of an earlier one");
    drop_push(replica, of, position)->leftovers = true;
}

void host_drop_replica(struct partition_host *host, struct group_id group)
{
    struct replica *replica = host_replica(host, group);
    if (replica == NULL) return;
    if (!replica->halted) replica_stop(replica);
    replica->fenced = false; /* it goes: nobody has to see to that any more */
    copy_later(drop_push(replica, replica->id, 0), replica);
}
