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

#include "base/hash.h"
#include "base/map.h"
#include "partition/row_table_tree.h"

struct proposals {
    struct row **rows; /* a ring */
    size_t first;
    size_t count;
    size_t capacity; /* a power of two, or 0 */
};

/* A drop that came while the table did not hold all rows: it hides those of the engine. */
struct drop {
    uint64_t name; /* service << 32 | namespace */
    uint64_t index;
    uint64_t hidden; /* proposed: live rows that were counted and that the table did not hold */
    bool proposed;
};

struct drops { /* few; of the proposed ones indexes rise */
    struct drop *items;
    size_t count;
    size_t capacity;
};

struct row_table {
    struct tree tree;
    struct slabs *slabs;

    uint64_t rows; /* keys in the tree */
    uint64_t row_bytes;
    uint64_t dirty_bytes; /* of committed rows, covered ones included */
    uint64_t clean_bytes; /* of clean rows that nothing covers */
    uint64_t change;      /* of anything; a cursor must not outlive one */
    uint64_t met_change;  /* the row that was found last, while nothing has changed since */
    struct node *met_leaf;
    uint32_t met_slot;
    uint64_t hot_name; /* the name that changed last: its count is here, not in the map */
    uint64_t hot_count;
    bool incomplete;
    bool own_slabs;

    struct proposals proposals;
    struct drops drops;
    struct map counts; /* (service, namespace) -> live rows, as a pointer */
    uint64_t flush_generation;
    uint64_t evictions;
    struct row_writes writes;
    struct row_cut *cuts; /* under way */
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

/* A row changes its state, or whether it is covered, between these two. */
static inline void row_uncount(struct row_table *table, const struct row *row)
{
    if (row->state == ROW_COMMITTED) table->dirty_bytes -= row_bytes(row);
    if (row->state == ROW_CLEAN && !row->covered) table->clean_bytes -= row_bytes(row);
}
static inline void row_recount(struct row_table *table, const struct row *row)
{
    if (row->state == ROW_COMMITTED) table->dirty_bytes += row_bytes(row);
    if (row->state == ROW_CLEAN && !row->covered) table->clean_bytes += row_bytes(row);
}
static inline void row_cover(struct row_table *table, struct row *row, bool covered)
{
    row_uncount(table, row);
    row->covered = covered;
    row_recount(table, row);
}

static inline uint64_t name_of(struct bytes key)
{
    return (uint64_t)key.data[2] << 32 | load_u32_be(key.data + 3);
}

/* Whether this write of a key that the table does not have comes over a live row. */
static inline bool write_hides_engine(const struct row_table *table, const struct row_write *write,
                                      unsigned flags)
{
    return table->incomplete && (write->tombstone || !(flags & ROW_WRITE_INSERTS));
}
/* Whether what is under a proposed version is live. */
static inline bool row_live_below(const struct row *row)
{
    return row->below ? row_live(row->below) : row->hides_engine;
}

void row_table_count_add(struct row_table *table, uint64_t name, int64_t change);
/* The number of live rows of the key's namespace goes from `before` to `now`. */
void row_table_count_change(struct row_table *table, struct bytes key, bool before, bool now);
/* row_table_cut.c: an applied row is about to be changed, replaced or freed. */
void row_cuts_replaced(struct row_cut *first, const struct row *row);
static inline void row_replaced(const struct row_table *table, const struct row *row)
{
    if (table->cuts != NULL) row_cuts_replaced(table->cuts, row);
}

/* A live row took its place as applied; or one of that version goes again, with the same entry. */
static inline uint64_t row_write_hash(const struct row *row)
{
    uint64_t fields = row->expiry * 0x9e3779b97f4a7c15u + ((uint64_t)row->type << 8 | row->flags);
    return hash64(row->version * 0xbf58476d1ce4e5b9u ^ fields,
                  bytes_make(row->data, row->key_size + (size_t)row->value_size));
}
static inline void row_written(struct row_table *table, const struct row *row)
{
    if (!row->tombstone) table->writes.sum += row_write_hash(row);
}
static inline void row_unwritten(struct row_table *table, const struct row *row, uint64_t version)
{
    if (row->version == version && !row->tombstone && row->state == ROW_COMMITTED)
        table->writes.sum -= row_write_hash(row);
}

/* Takes the chain of a key out of the tree; the rows are the caller's. */
void row_table_unlink(struct row_table *table, struct bytes key);

void row_table_propose(struct row_table *table, struct bytes key, const struct row_write *write,
                       unsigned flags);
struct row *proposals_oldest(const struct proposals *proposals); /* or NULL */
/* By the position, 0: the oldest. */
struct row *proposals_row(const struct proposals *proposals, size_t position);
/* Behind those of its index; O(proposals of later entries). */
void proposals_insert(struct proposals *proposals, struct row *row);

/* row_table_drops.c */
void drops_commit(struct row_table *table, uint64_t index);
void drops_revert(struct row_table *table);
uint64_t drops_newest_proposed(const struct drops *drops); /* index, or 0 */
/* The drop that hides a row of this version in the engine, or NULL: the oldest. */
struct drop *drops_find(const struct drops *drops, struct bytes key, uint64_t version);

#endif
