/* row_copies.h - rows that a cut of a table gave (row_table.h), until a job has read them.
 *
 * Each row: u8 tombstone | u32 key size | key | u32 size | stored value (none of a tombstone). */
#ifndef HOLON_PARTITION_ROW_COPIES_H
#define HOLON_PARTITION_ROW_COPIES_H

#include "base/buffer.h"
#include "partition/row_table.h"

struct copied_row {
    bool tombstone;
    struct bytes key, value; /* `value` as the engine stores it */
};

void copied_row_write(struct buffer *rows, const struct row_found *row);

/* All of them in the order of their keys. The buffers stay as they are meanwhile. */
struct copied_rows {
    struct reader rows;          /* in key order already */
    struct copied_row *replaced; /* those that came in no order; they are in no other place */
    size_t replaced_count, at;
    struct copied_row next;
    bool has_next;
};
void copied_rows_begin(struct copied_rows *copies, struct bytes rows, struct bytes replaced);
/* The next one, which stays until copied_rows_advance(); NULL: all were given. */
const struct copied_row *copied_rows_next(const struct copied_rows *copies);
void copied_rows_advance(struct copied_rows *copies);
void copied_rows_end(struct copied_rows *copies); /* zeroed is fine */

#endif
