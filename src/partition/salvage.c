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
    return error_set(error, status,
                     status == STATUS_VERSION
                         ? "the record of group %u is of a format that this version does not know: "
                           "use the version that wrote it"
                         : "the record of group %u is damaged",
                     group.value);
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

static void write_block(struct writer *writer, struct bytes bytes)
{
    write_u32(writer, (uint32_t)bytes.size);
    write_bytes(writer, bytes);
}

/* As `old`, whose decoded form is `record`, but of another id and alone. */
static void encode_renamed(struct bytes old, const struct replica_record *record,
                           const struct salvage_rename *rename, struct buffer *ret_fresh)
{
    struct raft_config alone = {.incoming_count = 1};
    struct buffer config;

    alone.incoming[0] = (struct raft_member){.replica = rename->to, .node = rename->node};
    buffer_init(&config, SIZE_MAX / 2);
    raft_config_encode(&alone, &config);
    struct writer writer = writer_make(ret_fresh);
    write_u8(&writer, old.data[0]); /* the format, as it is, and so all that belongs to it */
    write_u64(&writer, rename->to.value);
    write_u64(&writer, record->applied);
    write_u64(&writer, record->term);
    write_i64(&writer, record->entry_time);
    write_block(&writer, buffer_bytes(&config));
    write_block(&writer, record->dedup);
    if (record->counted) {
        write_u32(&writer, (uint32_t)(record->counts.size / RECORD_NAME_SIZE));
        write_bytes(&writer, record->counts);
        write_u32(&writer, (uint32_t)(record->drops.size / RECORD_NAME_SIZE));
        write_bytes(&writer, record->drops);
    }
    ASSERT(!writer.failed);
    buffer_free(&config);
}

/* What cannot be read is left as it is: only a whole record of another replica is deleted. */
static enum status rename_one(struct engine *engine, struct engine_run *run,
                              const struct salvage_rename *rename, struct error *error)
{
    struct replica_record record;
    struct buffer old, fresh;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    buffer_init(&old, SIZE_MAX / 2);
    buffer_init(&fresh, SIZE_MAX / 2);
    replica_record_key(rename->group, key);
    struct bytes key_bytes = bytes_make(key, sizeof(key));
    enum status status = read_bytes_of(engine, rename->group, &old, &record, error);
    bool there = status == STATUS_OK;
    if (status == STATUS_NOT_FOUND) status = STATUS_OK; /* nothing to do */
    if (there && replica_id_equal(record.replica, rename->from)) {
        encode_renamed(buffer_bytes(&old), &record, rename, &fresh);
        struct replica_record check;
        ASSERT(replica_record_decode(buffer_bytes(&fresh), &check) == STATUS_OK);
        status = engine_run_put(engine, run, key_bytes, buffer_bytes(&fresh), error);
    } else if (there && !replica_id_equal(record.replica, rename->to)) {
        status = engine_run_delete(engine, run, key_bytes, error);
    } /* else it was renamed before a crash */
    buffer_free(&old);
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
