/* export_walk.h - the keys of a partition as records (wire/export_record.h), piece by piece.
 *
 * Order: slot, then database (not namespace: FLUSHDB and SWAPDB change that, and whoever merges two
 * exports counts on one order), then place of the key; at last the locks of the slot. A cursor is a
 * place in it, or within a value that does not fit one answer:
 *
 *   u8 format (1) | u8 stage | u16 slot | u8 value (0 none, 1 string, 2 hash) | u8 its head was
 * given | varint size, rest of the row's key | value: u64 expiry, id: u64, u16, u64 size, u32 chunk
 *   size, u64 offset, varint size, rest of the field's key | u64 check
 *
 * The check is keyed with the cluster's secret: nobody goes on where no answer ended.
 * Part of an evaluation; restartable like all of it. */
#ifndef HOLON_SERVICES_REDIS_EXPORT_WALK_H
#define HOLON_SERVICES_REDIS_EXPORT_WALK_H

#include "services/redis/parts.h"
#include "wire/export_record.h"

enum {
    EXPORT_STAGE_LOCKS = EXPORT_DATABASES, /* stages before: databases */
    EXPORT_STAGES,
    /* Looked at for one answer, whatever it holds: within the budget of an evaluation. */
    EXPORT_ROWS_MAX = 16384,
    EXPORT_ROW_BYTES_MAX = 8 << 20,
    EXPORT_CURSOR_SIZE_MAX = 2 * EXPORT_KEY_SIZE_MAX + 256,
};

/* A value of several rows, in the middle of which an answer may end. */
struct export_value {
    uint8_t type; /* enum redis_row_type; 0: none */
    bool begun;   /* its first record was given */
    bool over;    /* all of it was */
    uint64_t expiry_ms;
    struct redis_parts parts;
    uint64_t offset;    /* string: bytes that were given */
    struct bytes field; /* hash: key behind the id, of the next field or in front of it */
};

struct export_walk {
    struct redis_call *call;
    uint32_t namespaces[EXPORT_DATABASES];
    uint64_t since[EXPORT_DATABASES]; /* 0: all is given whole */
    size_t bytes_max;
    struct buffer *out;
    /* Where it is: */
    uint16_t slot;
    uint8_t stage;
    struct bytes suffix; /* of the key of the next row, or in front of it; or of the open value */
    struct export_value value;
    bool full, damaged;
    /* Private: */
    uint32_t rows, scans;
    uint64_t floor; /* of tokens */
    bool has_floor;
    size_t row_bytes;
    struct bytes gap_from, gap_to; /* no rows between */
    struct buffer *piece;          /* scratch */
    uint64_t piece_count;
};

/* From its place on until it is full or behind the last slot. ROW_STOP: return redis_stop(). */
enum row_result export_walk_on(struct export_walk *walk);
static inline bool export_walk_is_over(const struct export_walk *walk)
{
    return walk->slot > walk->call->rows->slot_last;
}

bool export_cursor_write(const struct export_walk *walk, struct buffer *out);
/* False: it was not given by this partition. An empty one is the beginning. */
bool export_cursor_read(struct export_walk *walk, struct bytes cursor);

/* export_value.c: the open value, until it is over or the walk is full. */
enum row_result export_value_on(struct export_walk *walk);
/* May more be given, or is this enough for one answer? */
bool export_walk_has_room(const struct export_walk *walk);
/* What rows of the stage begin with: [slot][service][namespace], or [slot][service] for locks. */
struct bytes export_stage_prefix(const struct export_walk *walk, uint8_t at[ROW_PREFIX_SIZE]);

#endif
