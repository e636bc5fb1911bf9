/* flush_run.c - the copied rows of a store as one sorted run, with the replicas' records. */
#include <stdlib.h>

#include "partition/flush.h"

static enum status write_row(struct flush_job *flush, struct engine *engine, struct engine_run *run,
                             const struct copied_row *row)
{
    if (row->tombstone) return engine_run_delete(engine, run, row->key, &flush->error);
    return engine_run_put(engine, run, row->key, row->value, &flush->error);
}

static enum status write_rows(struct flush_job *flush, struct engine *engine,
                              struct engine_run *run)
{
    struct copied_rows copies;
    enum status status = STATUS_OK;
    copied_rows_begin(&copies, buffer_bytes(&flush->rows), buffer_bytes(&flush->replaced));
    for (const struct copied_row *row = copied_rows_next(&copies);
         row != NULL && status == STATUS_OK; row = copied_rows_next(&copies)) {
        status = write_row(flush, engine, run, row);
        copied_rows_advance(&copies);
    }
    copied_rows_end(&copies);
    return status;
}

struct record_at {
    uint32_t group;
    struct bytes record;
};

static int compare_records(const void *a, const void *b)
{
    const struct record_at *left = a, *right = b;
    return (left->group > right->group) - (left->group < right->group);
}

static enum status write_records(struct flush_job *flush, struct engine *engine,
                                 struct engine_run *run)
{
    struct record_at *records = memory_allocate((flush->part_count + 1) * sizeof(*records));
    struct reader reader = reader_make(buffer_bytes(&flush->records));
    enum status status = STATUS_OK;
    for (size_t i = 0; i < flush->part_count; i++) {
        records[i].group = read_u32(&reader);
        records[i].record = read_bytes(&reader, read_u32(&reader));
    }
    ASSERT(!reader.failed && reader_left(&reader) == 0);
    qsort(records, flush->part_count, sizeof(*records), compare_records);
    for (size_t i = 0; i < flush->part_count && status == STATUS_OK; i++) {
        uint8_t key[REPLICA_RECORD_KEY_SIZE];
        replica_record_key((struct group_id){records[i].group}, key);
        status = engine_run_put(engine, run, bytes_make(key, sizeof(key)), records[i].record,
                                &flush->error);
    }
    memory_free(records);
    return status;
}

static void write_run(struct flush_job *flush)
{
    struct engine *engine = flush->host->options.engines[flush->store];
    struct engine_run *run = NULL;
    if (MAYBE(flush->host->world, FLUSH_WITHOUT_SPACE)) {
        flush->status = error_set(&flush->error, STATUS_NO_SPACE, "no space is left for a run");
        return;
    }
    flush->status = engine_run_open(engine, &run, &flush->error);
    if (flush->status) return;
    engine_run_pace(engine, run, &flush->host->flush_pace);
    flush->status = write_rows(flush, engine, run);
    if (flush->status == STATUS_OK) flush->status = write_records(flush, engine, run);
    if (flush->status) {
        engine_run_abandon(engine, run);
        return;
    }
    flush->status = engine_run_ingest(engine, run, &flush->error);
}

void flush_run(struct world_job *job)
{
    struct flush_job *flush = job->context;
    write_run(flush);
    buffer_release(&flush->rows); /* here, for it may take milliseconds */
    buffer_release(&flush->replaced);
}
