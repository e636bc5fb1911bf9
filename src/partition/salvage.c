#include "partition/salvage.h"

#include "partition/host_internal.h"

static void copy_value(void *context, struct bytes value)
{
    buffer_append(context, value);
}

static enum status read_bytes_of(struct engine *engine, struct group_id group,
                                 struct buffer *buffer, struct replica_record *ret_record,
                                 struct error *error)
{
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key(group, key);
    enum status status =
        engine_get(engine, bytes_make(key, sizeof(key)), buffer, copy_value, error);
    if (status) return status;
    status = replica_record_decode(buffer_bytes(buffer), ret_record);
    if (status == STATUS_OK) return status;
    return error_set(error, STATUS_CORRUPT, "the record of group %u is damaged", group.value);
}

enum status salvage_record_read(struct engine *engine, struct group_id group,
                                struct salvage_record *ret_record, struct error *error)
{
    struct replica_record record;
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX / 2);
    enum status status = read_bytes_of(engine, group, &buffer, &record, error);
    if (status == STATUS_OK) {
        *ret_record = (struct salvage_record){
            .replica = record.replica, .applied = record.applied, .term = record.term};
    }
    buffer_free(&buffer);
    return status;
}

static enum status rename_one(struct engine *engine, struct engine_run *run,
                              const struct salvage_rename *rename, struct error *error)
{
    struct replica_record record;
    struct buffer old, config, fresh;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    buffer_init(&old, SIZE_MAX / 2);
    buffer_init(&config, SIZE_MAX / 2);
    buffer_init(&fresh, SIZE_MAX / 2);
    replica_record_key(rename->group, key);
    struct bytes key_bytes = bytes_make(key, sizeof(key));
    enum status status = read_bytes_of(engine, rename->group, &old, &record, error);
    bool renamed = status == STATUS_OK && replica_id_equal(record.replica, rename->to);
    bool meant = status == STATUS_OK && replica_id_equal(record.replica, rename->from);
    if (status == STATUS_NOT_FOUND || renamed) {
        status = STATUS_OK; /* nothing to do */
    } else if (!meant) {
        status = engine_run_delete(engine, run, key_bytes, error);
    } else {
        struct raft_config alone = {.incoming_count = 1};
        alone.incoming[0] = (struct raft_member){.replica = rename->to, .node = rename->node};
        raft_config_encode(&alone, &config);
        struct writer writer = writer_make(&fresh);
        write_u8(&writer, buffer_bytes(&old).data[0]); /* the format, as it is */
        write_u64(&writer, rename->to.value);
        write_u64(&writer, record.applied);
        write_u64(&writer, record.term);
        write_i64(&writer, record.entry_time);
        write_u32(&writer, (uint32_t)buffer_size(&config));
        write_bytes(&writer, buffer_bytes(&config));
        write_u32(&writer, (uint32_t)record.dedup.size);
        write_bytes(&writer, record.dedup);
        ASSERT(!writer.failed);
        status = engine_run_put(engine, run, key_bytes, buffer_bytes(&fresh), error);
    }
    buffer_free(&old);
    buffer_free(&config);
    buffer_free(&fresh);
    return status;
}

enum status salvage_records_rename(struct engine *engine, const struct salvage_rename *renames,
                                   size_t count, struct error *error)
{
    struct engine_run *run = NULL;
    enum status status = engine_run_open(engine, &run, error);
    if (status) return status;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        ASSERT(i == 0 || renames[i].group.value > renames[i - 1].group.value);
        status = rename_one(engine, run, &renames[i], error);
    }
    if (status == STATUS_OK) return engine_run_ingest(engine, run, error);
    engine_run_abandon(engine, run);
    return status;
}
