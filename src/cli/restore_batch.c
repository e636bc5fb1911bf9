#include "cli/restore_batch.h"

#include <stdio.h>

#include "cli/restore_run.h"

enum {
    NUMBER_SIZE = 24,
    HSET_ARGUMENTS_MAX = 2 + 2 * RESTORE_FIELDS,
    /* A cluster stores 283 KiB at once. That is enough for what came from one; but as long as a
     * hash is small, in one row, its other fields (10 KiB so) are written again with the new. */
    NEARLY_ALL = 256 << 10,
    MORE_THAN_A_ROW = 8 << 10, /* then a hash has a row for each field */
};

void restore_batch_init(struct restore_batch *batch, bool replaces)
{
    *batch = (struct restore_batch){.replaces = replaces, .database = -1};
    buffer_init(&batch->commands, RESTORE_COMMANDS_BYTES_MAX);
    buffer_init(&batch->value, EXPORT_STRING_SIZE_MAX);
    buffer_init(&batch->key, EXPORT_KEY_SIZE_MAX);
}

void restore_batch_free(struct restore_batch *batch)
{
    buffer_free(&batch->commands);
    buffer_free(&batch->value);
    buffer_free(&batch->key);
}

void restore_batch_clear(struct restore_batch *batch)
{
    buffer_clear(&batch->commands);
    batch->count = 0;
    batch->keys = 0;
    memset(batch->expiring, 0, sizeof(batch->expiring));
    batch->database = -1;
}

static void append(struct restore_batch *batch, const struct bytes *arguments, size_t count)
{
    batch->too_large |= !link_append(&batch->commands, arguments, count);
    batch->count++;
}

static void select_database(struct restore_batch *batch, uint8_t database)
{
    char text[NUMBER_SIZE];

    if (batch->database == database) return;
    snprintf(text, sizeof(text), "%u", database);
    struct bytes arguments[] = {bytes_of("SELECT"), bytes_of(text)};
    append(batch, arguments, 2);
    batch->database = database;
}

static void count_key(struct restore_batch *batch)
{
    batch->keys++;
    batch->expiring[batch->open.database] += batch->open.expiry_ms != 0;
}

/* --- strings -------------------------------------------------------------------------------- */

static void end_string(struct restore_batch *batch)
{
    char text[NUMBER_SIZE];
    struct bytes arguments[] = {bytes_of("SET"), buffer_bytes(&batch->key),
                                buffer_bytes(&batch->value), bytes_of("PXAT"), bytes_of("")};

    select_database(batch, batch->open.database);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)batch->open.expiry_ms);
    arguments[4] = bytes_of(text);
    append(batch, arguments, batch->open.expiry_ms ? 5 : 3);
    count_key(batch);
}

static void add_bytes(struct restore_batch *batch, struct bytes piece)
{
    buffer_append(&batch->value, piece);
    batch->left -= piece.size;
    if (batch->left == 0) end_string(batch);
}

/* --- hashes --------------------------------------------------------------------------------- */

static void begin_hash(struct restore_batch *batch)
{
    struct bytes arguments[] = {bytes_of("DEL"), buffer_bytes(&batch->key)};

    select_database(batch, batch->open.database);
    if (batch->replaces) append(batch, arguments, 2);
}

static void end_hash(struct restore_batch *batch)
{
    char text[NUMBER_SIZE];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)batch->open.expiry_ms);
    struct bytes arguments[] = {bytes_of("PEXPIREAT"), buffer_bytes(&batch->key), bytes_of(text)};
    select_database(batch, batch->open.database);
    if (batch->open.expiry_ms) append(batch, arguments, 3);
    count_key(batch);
}

/* A field of which a small hash has no room is begun first, and written again as a whole. */
static void append_fields(struct restore_batch *batch, struct bytes *arguments, size_t count)
{
    struct bytes value = arguments[3];
    size_t size = arguments[1].size + arguments[2].size + value.size;

    if (count == 4 && size > NEARLY_ALL && value.size > MORE_THAN_A_ROW) {
        arguments[3] = bytes_make(value.data, MORE_THAN_A_ROW);
        append(batch, arguments, count);
        arguments[3] = value;
    }
    append(batch, arguments, count);
}

static void add_fields(struct restore_batch *batch, const struct export_record *record)
{
    struct bytes arguments[HSET_ARGUMENTS_MAX] = {bytes_of("HSET"), buffer_bytes(&batch->key)};
    struct reader reader = reader_make(record->piece);
    size_t count = 2, bytes = 0;

    select_database(batch, batch->open.database);
    for (uint64_t left = record->field_count; left; left--) {
        struct bytes name = read_sized(&reader), value = read_sized(&reader);
        size_t size = name.size + value.size;
        bool full = count == HSET_ARGUMENTS_MAX || bytes + size > RESTORE_FIELDS_BYTES;
        if (count > 2 && full) {
            append_fields(batch, arguments, count);
            count = 2;
            bytes = 0;
        }
        arguments[count++] = name;
        arguments[count++] = value;
        bytes += size;
    }
    if (count > 2) append_fields(batch, arguments, count);
    batch->left -= record->field_count;
    if (batch->left == 0) end_hash(batch);
}

/* --- records -------------------------------------------------------------------------------- */

/* A command is made whole, so there must be room for the largest that the record may become. */
static bool has_room(const struct restore_batch *batch, const struct export_record *record)
{
    size_t size = buffer_size(&batch->commands);

    if (batch->count == 0) return true;
    if (size >= RESTORE_BATCH_BYTES || batch->count >= RESTORE_BATCH_COMMANDS) return false;
    bool string = record->kind == EXPORT_STRING || record->kind == EXPORT_STRING_MORE;
    return !string ||
           size + buffer_size(&batch->value) + record->piece.size < RESTORE_BATCH_BYTES_MAX;
}

static void open_value(struct restore_batch *batch, const struct export_record *record)
{
    batch->open = *record;
    batch->left = record->size;
    buffer_clear(&batch->value);
    buffer_clear(&batch->key);
    buffer_append(&batch->key, record->key);
}

bool restore_batch_add(struct restore_batch *batch, const struct export_record *record)
{
    if (record->kind == EXPORT_LOCK || record->kind == EXPORT_SAME) return true;
    if (!has_room(batch, record)) return false;
    if (export_record_begins(record)) open_value(batch, record);
    if (record->kind == EXPORT_STRING || record->kind == EXPORT_STRING_MORE) {
        add_bytes(batch, record->piece);
        return true;
    }
    if (record->kind == EXPORT_HASH) begin_hash(batch);
    add_fields(batch, record);
    return true;
}
