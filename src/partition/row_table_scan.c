/* row_table_scan.c - walks in key order: cursors, committed rows, the hash of all. */
#include "partition/row_table_internal.h"

#include "base/assert.h"
#include "base/hash.h"

enum { PREFETCH_ROWS = 8 }; /* two lines each: more than a core can wait for at once only queue */

/* Rows lie anywhere in memory: ask for those to come while the present one is read. */
static inline void prefetch(const struct node *leaf, uint32_t slot)
{
    uint32_t ahead = slot + PREFETCH_ROWS;
    if (slot == 0 && leaf->next) {
        __builtin_prefetch(leaf->next);
        for (uint32_t i = 0; i < TREE_ITEMS; i += 64 / sizeof(void *))
            __builtin_prefetch(&leaf->next->items[i]);
    }
    if (ahead >= leaf->count) {
        ahead -= leaf->count;
        leaf = leaf->next;
        if (leaf == NULL || ahead >= leaf->count) return;
    }
    const uint8_t *row = leaf->items[ahead];
    __builtin_prefetch(row);
    __builtin_prefetch(row + 64);
}

void row_cursor_seek(struct row_cursor *cursor, const struct row_table *table, struct bytes from)
{
    struct node *leaf;
    uint32_t slot;
    tree_seek(&table->tree, from, &leaf, &slot);
    *cursor =
        (struct row_cursor){.table = table, .leaf = leaf, .slot = slot, .change = table->change};
}

void row_cursor_seek_after(struct row_cursor *cursor, const struct row_table *table,
                           struct bytes after)
{
    row_cursor_seek(cursor, table, after);
    const struct node *leaf = cursor->leaf;
    bool at_key =
        cursor->slot < leaf->count && bytes_equal(row_key(leaf_row(leaf, cursor->slot)), after);
    if (at_key) cursor->slot++;
}

bool row_cursor_next(struct row_cursor *cursor, struct bytes to, struct row_found *ret)
{
    ASSERT(cursor->change == cursor->table->change);
    const struct node *leaf = cursor->leaf;
    while (leaf && cursor->slot >= leaf->count) {
        leaf = leaf->next;
        cursor->slot = 0;
    }
    cursor->leaf = (void *)(uintptr_t)leaf;
    if (leaf == NULL) return false;
    const struct row *row = leaf_row(leaf, cursor->slot);
    prefetch(leaf, cursor->slot);
    if (to.size > 0 && bytes_compare(row_key(row), to) >= 0) return false;
    cursor->slot++;
    *ret = row_found_make(row);
    return true;
}

/* Rows as applied, from where the cursor stands; `live`: without tombstones. */
static inline void applied_each(const struct row_cursor *cursor, struct bytes to, bool live,
                                void *context,
                                bool (*on_row)(void *context, const struct row_found *row))
{
    const struct node *leaf = cursor->leaf;
    uint32_t slot = cursor->slot;
    for (; leaf; leaf = leaf->next, slot = 0) {
        for (; slot < leaf->count; slot++) {
            prefetch(leaf, slot);
            struct row *newest = leaf_row(leaf, slot);
            const struct row *row = row_applied(newest);
            if (to.size > 0 && bytes_compare(row_key(newest), to) >= 0) return;
            if (live ? !row_live(row) : row == NULL) continue;
            struct row_found found = row_found_make(row);
            if (!on_row(context, &found)) return;
        }
    }
}

void row_table_committed_each(const struct row_table *table, struct bytes after, void *context,
                              bool (*on_row)(void *context, const struct row_found *row))
{
    struct row_cursor cursor;
    row_cursor_seek_after(&cursor, table, after);
    applied_each(&cursor, bytes_make(NULL, 0), true, context, on_row);
}

void row_table_applied_each(const struct row_table *table, struct bytes from, struct bytes to,
                            void *context,
                            bool (*on_row)(void *context, const struct row_found *row))
{
    struct row_cursor cursor;
    row_cursor_seek(&cursor, table, from);
    applied_each(&cursor, to, false, context, on_row);
}

uint64_t row_hash(struct bytes key, const struct row_header *header, struct bytes value)
{
    uint64_t fields[4] = {header->version, header->expiry,
                          (uint64_t)header->type << 8 | header->flags, key.size};
    uint64_t hash = hash64(0, bytes_make(fields, sizeof(fields)));
    hash = hash64(hash, key);
    return hash64(hash, value);
}

static bool hash_row(void *context, const struct row_found *row)
{
    uint64_t *sum = context;
    *sum += row_hash(row->key, &row->header, row->value);
    return true;
}

uint64_t row_table_hash(const struct row_table *table)
{
    uint64_t hash = 0;
    row_table_committed_each(table, bytes_make(NULL, 0), &hash, hash_row);
    return hash;
}
