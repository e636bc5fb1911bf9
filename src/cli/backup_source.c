#include "cli/backup_source.h"

#include <stdio.h>

#include "base/memory.h"

struct backup_source {
    const struct backup_part *part;
    struct backup_reader file;
    struct reader records; /* of the block at hand */
    struct export_sequence sequence;
    struct export_record ahead; /* read and not given yet */
    bool has_ahead;
    struct backup_source *base; /* or NULL */
    bool copying;               /* the pieces of a value of the base follow */
    bool alone;
};

static enum status open_file(struct backup_source *source, const struct backup_whole *whole,
                             uint32_t index, struct error *error)
{
    const struct backup_header *header = &source->file.header;
    const struct backup_part *part = source->part;
    char path[PLACE_FILE_SIZE];

    if (whole->place.single)
        snprintf(path, sizeof(path), "%s", whole->place.path);
    else
        backup_place_part(&whole->place, index, path);
    enum status status = backup_reader_open(
        &source->file, path, part->file_offset * whole->place.single, part->file_bytes, error);
    if (status) return status;
    bool right = header->kind == BACKUP_PART && header->partition == index &&
                 memcmp(header->id, whole->header.id, BACKUP_ID_SIZE) == 0 &&
                 memcmp(header->salt, whole->header.salt, BACKUP_SALT_SIZE) == 0 &&
                 header->encryption == whole->header.encryption;
    if (!right)
        return backup_reader_wrong(&source->file, "this is a part of another backup", error);
    backup_reader_begin(&source->file, &whole->key);
    return STATUS_OK;
}

enum status backup_source_open(const struct backup_chain *chain, uint32_t level, uint32_t index,
                               struct backup_source **ret_source, struct error *error)
{
    const struct backup_whole *whole = &chain->items[level];
    struct backup_source *source = memory_allocate_zero(sizeof(*source));

    source->part = &whole->manifest.parts[index];
    source->file.fd = -1;
    enum status status = open_file(source, whole, index, error);
    if (status == STATUS_OK && source->part->since)
        status = backup_source_open(chain, level + 1, index, &source->base, error);
    if (status)
        backup_source_close(source);
    else
        *ret_source = source;
    return status;
}

enum status backup_source_open_alone(const struct backup_chain *chain, uint32_t index,
                                     struct backup_source **ret_source, struct error *error)
{
    struct backup_source *source = memory_allocate_zero(sizeof(*source));

    source->part = &chain->items[0].manifest.parts[index];
    source->file.fd = -1;
    source->alone = true;
    enum status status = open_file(source, &chain->items[0], index, error);
    if (status)
        backup_source_close(source);
    else
        *ret_source = source;
    return status;
}

void backup_source_close(struct backup_source *source)
{
    if (source == NULL) return;
    backup_source_close(source->base);
    backup_reader_close(&source->file);
    memory_free(source);
}

/* --- own records ---------------------------------------------------------------------------- */

/* At the end of the file. */
static enum status check_end(const struct backup_source *source, struct error *error)
{
    const struct backup_part *part = source->part;
    const struct export_sequence *found = &source->sequence;
    struct hash128 sum = backup_codec_sum(source->file.codec);
    bool counts = found->keys_all == part->keys_all && found->same == part->same &&
                  found->locks == part->locks && found->token_max == part->token_max &&
                  memcmp(found->keys, part->keys, sizeof(found->keys)) == 0;

    if (!export_sequence_is_whole(found))
        return backup_reader_wrong(&source->file, "the last value is not whole", error);
    if (sum.low != part->sum.low || sum.high != part->sum.high)
        return backup_reader_wrong(&source->file,
                                   "the file is not the one of the manifest: their "
                                   "sums differ",
                                   error);
    if (!counts)
        return backup_reader_wrong(&source->file, "it holds other keys than the manifest says",
                                   error);
    return STATUS_NOT_FOUND;
}

static enum status own_next(struct backup_source *source, struct export_record *ret_record,
                            struct error *error)
{
    while (reader_left(&source->records) == 0) {
        struct bytes plain;
        enum status status = backup_reader_next(&source->file, &plain, error);
        if (status == STATUS_NOT_FOUND) return check_end(source, error);
        if (status) return status;
        source->records = reader_make(plain);
    }
    if (!export_record_read(&source->records, ret_record))
        return backup_reader_wrong(&source->file,
                                   "the block before holds something that is no "
                                   "record of this version",
                                   error);
    const char *wrong = export_sequence_add(&source->sequence, ret_record);
    return wrong ? backup_reader_wrong(&source->file, wrong, error) : STATUS_OK;
}

/* --- those of the base ----------------------------------------------------------------------- */

static enum status peek(struct backup_source *source, struct export_record *ret_record,
                        struct error *error)
{
    if (!source->has_ahead) {
        enum status status = backup_source_next(source, &source->ahead, error);
        if (status) return status;
        source->has_ahead = true;
    }
    *ret_record = source->ahead;
    return STATUS_OK;
}

/* The next piece of the value that is copied, if there is one. */
static bool copy_on(struct backup_source *source, struct export_record *ret_record,
                    enum status *ret_status, struct error *error)
{
    *ret_status = peek(source->base, ret_record, error);
    if (*ret_status == STATUS_OK && !export_record_begins(ret_record)) {
        source->base->has_ahead = false;
        return true;
    }
    source->copying = false;
    if (*ret_status == STATUS_NOT_FOUND) *ret_status = STATUS_OK;
    return *ret_status != STATUS_OK;
}

/* What was deleted or written since is passed over. */
static enum status find_in_base(struct backup_source *source, struct export_record *record,
                                struct error *error)
{
    struct export_record found;
    uint8_t database = record->database;
    struct buffer key; /* the record ends with the next block, but blocks of the base are others */
    enum status status = STATUS_INVALID;

    if (source->base == NULL)
        return backup_reader_wrong(&source->file,
                                   "a key is said to be in the base, and there is "
                                   "none",
                                   error);
    buffer_init(&key, EXPORT_KEY_SIZE_MAX);
    buffer_append(&key, record->key);
    for (;;) {
        status = peek(source->base, &found, error);
        if (status) break;
        source->base->has_ahead = false;
        if (found.database != database || !bytes_equal(found.key, buffer_bytes(&key))) continue;
        if (found.kind == EXPORT_STRING || found.kind == EXPORT_HASH) break;
    }
    buffer_free(&key);
    if (status == STATUS_NOT_FOUND)
        return backup_reader_wrong(&source->file, "a key is said to be in the base, and is not",
                                   error);
    if (status) return status;
    source->copying = true;
    *record = found;
    return STATUS_OK;
}

/* What of the base comes behind: its end is checked, too. */
static enum status finish_base(struct backup_source *source, struct error *error)
{
    struct export_record passed;
    enum status status = STATUS_OK;

    if (source->base == NULL) return STATUS_NOT_FOUND;
    while (status == STATUS_OK) {
        status = peek(source->base, &passed, error);
        source->base->has_ahead = false;
    }
    return status;
}

enum status backup_source_next(struct backup_source *source, struct export_record *ret_record,
                               struct error *error)
{
    enum status status;

    if (source->copying && copy_on(source, ret_record, &status, error)) return status;
    status = own_next(source, ret_record, error);
    if (status == STATUS_NOT_FOUND) return finish_base(source, error);
    if (status) return status;
    bool in_base = ret_record->kind == EXPORT_SAME && !source->alone;
    return in_base ? find_in_base(source, ret_record, error) : STATUS_OK;
}
