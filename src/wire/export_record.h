/* export_record.h - the records of HOLON.EXPORT, as a partition gives them and a backup keeps them:
 * the keys of a partition at one moment, in the order of slot, database, and the place in the slot.
 *
 *   u8 kind | u8 database | varint size, key | by kind:
 *   1 string   u64 expiry (ms since 1970, 0: none), varint size of the value, varint size, bytes
 *   2 more     varint size, bytes: the next piece of the string before
 *   3 hash     u64 expiry, varint number of fields, varint count, per field varint size, name,
 *              varint size, value
 *   4 more     varint count, fields as above: of the hash before
 *   5 same     nothing was written to the key since the version that was asked for
 *   6 lock     u64 the greatest fencing token that was given for it; key: its name
 *
 * Source: docs/reference/cuts.md. Pure functions. Thread: any. */
#ifndef HOLON_WIRE_EXPORT_RECORD_H
#define HOLON_WIRE_EXPORT_RECORD_H

#include "base/codec.h"

enum export_kind {
    EXPORT_STRING = 1,
    EXPORT_STRING_MORE,
    EXPORT_HASH,
    EXPORT_HASH_MORE,
    EXPORT_SAME,
    EXPORT_LOCK,
    EXPORT_KIND_END,
};

enum {
    EXPORT_DATABASES = 16,
    EXPORT_KEY_SIZE_MAX = 64 << 10,
    EXPORT_STRING_SIZE_MAX = 16 << 20,
    EXPORT_BYTES_DEFAULT = 256 << 10, /* of records in an answer, about */
    EXPORT_BYTES_MAX = 1 << 20,
    /* Beyond EXPORT_BYTES_MAX: one piece, which is a row at most, with keys. */
    EXPORT_PIECE_SIZE_MAX = 512 << 10,
};

struct export_record {
    uint8_t kind; /* enum export_kind */
    uint8_t database;
    struct bytes key;
    uint64_t expiry_ms;
    uint64_t size;        /* of the whole value: bytes of a string, fields of a hash */
    struct bytes piece;   /* the bytes, or fields, that are in this record */
    uint64_t field_count; /* in `piece` */
    uint64_t token;
};

/* `piece` of a hash has its fields as they are in a record. False: no room in the buffer. */
bool export_record_write(struct buffer *out, const struct export_record *record);
/* The next one, borrowed from the input. False: no record of this version. */
bool export_record_read(struct reader *reader, struct export_record *ret_record);
static inline bool export_record_begins(const struct export_record *record)
{
    return record->kind != EXPORT_STRING_MORE && record->kind != EXPORT_HASH_MORE;
}

/* Follows a sequence of records: the pieces of a value come together, and are all there. Zeroed at
 * the start. */
struct export_sequence {
    uint8_t kind;                    /* EXPORT_STRING or EXPORT_HASH: a value is open; 0: none */
    uint64_t left;                   /* of it */
    uint64_t keys[EXPORT_DATABASES]; /* begun so far: strings, hashes, same */
    uint64_t keys_all, same, locks;
    uint64_t token_max;
};
/* NULL: it may come here. Else what is wrong with it. */
const char *export_sequence_add(struct export_sequence *sequence,
                                const struct export_record *record);
static inline bool export_sequence_is_whole(const struct export_sequence *sequence)
{
    return sequence->left == 0;
}

#endif
