#include "cli/backup_reuse.h"

#include <openssl/crypto.h>

#include "base/memory.h"

enum { ENCODED_MAX = BACKUP_REPLY_MAX + EXPORT_KEY_SIZE_MAX };

enum status backup_reuse_open(struct backup_reuse *reuse, const struct backup_run *run,
                              uint32_t number, struct error *error)
{
    struct backup_chain *chain = memory_allocate_zero(sizeof(*chain));
    struct backup_whole *whole = &chain->items[0];

    *reuse = (struct backup_reuse){.chain = chain};
    buffer_init(&reuse->encoded, ENCODED_MAX);
    chain->count = 1;
    whole->place = run->place;
    whole->place.single = false;
    whole->header = run->header;
    whole->key = run->key;
    whole->manifest.parts = run->manifest.earlier; /* borrowed */
    whole->manifest.part_count = run->manifest.part_count;
    return backup_source_open_alone(chain, number, &reuse->old, error);
}

void backup_reuse_close(struct backup_reuse *reuse)
{
    backup_source_close(reuse->old);
    buffer_free(&reuse->encoded);
    if (reuse->chain) OPENSSL_cleanse(reuse->chain, sizeof(*reuse->chain)); /* has the key */
    memory_free(reuse->chain);
    *reuse = (struct backup_reuse){0};
}

static enum status write(struct backup_reuse *reuse, const struct export_record *record,
                         struct backup_writer *writer, struct error *error)
{
    const char *wrong = export_sequence_add(&reuse->out, record);

    if (wrong) return error_set(error, STATUS_CORRUPT, "%s", wrong);
    buffer_clear(&reuse->encoded);
    if (!export_record_write(&reuse->encoded, record))
        return error_set(error, STATUS_CORRUPT, "a record is too large");
    return backup_writer_add(writer, buffer_bytes(&reuse->encoded), error);
}

static enum status old_next(struct backup_reuse *reuse, struct export_record *ret_record,
                            struct error *error)
{
    enum status status = STATUS_OK;

    if (reuse->has_ahead)
        *ret_record = reuse->ahead;
    else
        status = backup_source_next(reuse->old, ret_record, error);
    reuse->has_ahead = false;
    return status;
}

/* The old value, with all its pieces; what lies before it was deleted or written since. */
static enum status copy_old(struct backup_reuse *reuse, const struct export_record *record,
                            struct backup_writer *writer, struct error *error)
{
    struct export_record old;
    enum status status;
    bool found = false;

    while (!found) {
        status = old_next(reuse, &old, error);
        if (status == STATUS_NOT_FOUND)
            return error_set(error, STATUS_CORRUPT, "an old part lacks a key");
        if (status) return status;
        found = export_record_begins(&old) && old.kind != EXPORT_LOCK &&
                old.database == record->database && bytes_equal(old.key, record->key);
    }
    status = write(reuse, &old, writer, error);
    while (status == STATUS_OK) {
        status = old_next(reuse, &old, error);
        if (status) break;
        if (export_record_begins(&old)) {
            reuse->ahead = old;
            reuse->has_ahead = true;
            break;
        }
        status = write(reuse, &old, writer, error);
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status backup_reuse_add(struct backup_reuse *reuse, const struct export_record *record,
                             struct backup_writer *writer, struct error *error)
{
    if (record->kind == EXPORT_SAME) return copy_old(reuse, record, writer, error);
    return write(reuse, record, writer, error);
}

enum status backup_reuse_end(struct backup_reuse *reuse, struct error *error)
{
    struct export_record old;
    enum status status = STATUS_OK;

    while (status == STATUS_OK)
        status = old_next(reuse, &old, error);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
