/* row_table_internal.h - what row_table*.c share: the table itself and its accounting.
 *
 * The versions of one key are a chain; the tree holds the newest:
 *
 *   proposed 12 -> proposed 11 -> committed 7        (below: what is hidden)
 *
 * At most one version of a chain is committed or clean, and it is the last. Proposals are
 * also in a queue in the order of their indexes: commit takes them from its front, revert
 * from its back. Applied writes come only for indexes below every proposal (rule A1: a leader
 * has applied all that it did not propose itself). */
#ifndef HOLON_PARTITION_ROW_TABLE_INTERNAL_H
#define HOLON_PARTITION_ROW_TABLE_INTERNAL_H

#include "base/map.h"
#include "partition/row_table_tree.h"

struct proposals {
    struct row **rows; /* a ring */
    size_t first;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
};

struct row_table {
    struct tree tree;
    uint64_t rows; /* keys in the tree */
    uint64_t row_bytes;
    uint64_t dirty_bytes; /* of committed rows, covered ones included */
    uint64_t change;      /* of anything; a cursor must not outlive one */
    struct map counts;    /* (service, namespace) -> live rows, as a pointer */
    struct proposals proposals;
};

static inline uint64_t row_bytes(const struct row *row)
{
    return sizeof(*row) + row->capacity;
}

/* The applied version of a chain, or NULL. */
static inline struct row *row_applied(struct row *row)
{
    while (row && row->state == ROW_PROPOSED)
        row = row->below;
    return row;
}

static inline struct row_found row_found_make(const struct row *row)
{
    return (struct row_found){
        .header = {.version = row->version,
                   .expiry = row->expiry,
                   .type = row->type,
                   .flags = row->flags},
        .key = row_key(row),
        .value = bytes_make(row->data + row->key_size, row->value_size),
        .tombstone = row->tombstone,
        .state = row->state,
    };
}

static inline bool row_live(const struct row *row)
{
    return row && !row->tombstone;
}

/* What is written: a header and a value, or a tombstone at an index. */
struct row_write {
    struct row_header header;
    struct bytes value;
    bool tombstone;
};

struct row *row_make(struct row_table *table, struct bytes key, const struct row_write *write,
                     enum row_state state);
void row_free(struct row_table *table, struct row *row);
/* The number of live rows of the key's namespace goes from `before` to `now`. */
void row_table_count_change(struct row_table *table, struct bytes key, bool before, bool now);
/* Takes the chain of a key out of the tree; the rows are the caller's. */
void row_table_unlink(struct row_table *table, struct bytes key);

void row_table_propose(struct row_table *table, struct bytes key, const struct row_write *write);
struct row *proposals_oldest(const struct proposals *proposals); /* or NULL */

#endif
