/* row_table_flush.c - dirty rows for the engine, and what becomes of them once they are there. */
#include "partition/row_table_internal.h"

void row_table_dirty_each(const struct row_table *table, void *context,
                          void (*on_row)(void *context, const struct row_found *row))
{
    for (const struct node *leaf = table->tree.first; leaf; leaf = leaf->next) {
        for (uint64_t left = leaf->unclean; left; left &= left - 1) {
            uint32_t slot = (uint32_t)__builtin_ctzll(left);
            const struct row *row = row_applied(leaf_row(leaf, slot));
            if (row == NULL || row->state != ROW_COMMITTED) continue;
            struct row_found found = row_found_make(row);
            on_row(context, &found);
        }
    }
}

/* Cleans the chain at a slot if its applied version is in the engine now. Its bit stays if anything
 * but a clean row is left. *ret_gone: a tombstone that nothing covers. */
static void flushed_slot(struct row_table *table, struct node *leaf, uint32_t slot, uint64_t index,
                         bool *ret_gone)
{
    struct row *newest = leaf_row(leaf, slot);
    struct row *row = row_applied(newest);
    bool cleaned = row && row->state == ROW_COMMITTED && row->version <= index;
    if (cleaned) {
        row_uncount(table, row);
        row->state = ROW_CLEAN;
        row_recount(table, row);
        *ret_gone = row->tombstone && !row->covered;
    }
    if (newest->state == ROW_CLEAN) leaf->unclean &= ~((uint64_t)1 << slot);
}

/* Returns how many rows were looked at; *ret_gone: slots of tombstones that may go. */
static uint32_t flushed_leaf(struct row_table *table, struct node *leaf, uint32_t first,
                             uint64_t index, uint64_t *ret_gone)
{
    uint64_t left = first < TREE_ITEMS ? leaf->unclean & UINT64_MAX << first : 0;
    uint32_t looked = (uint32_t)__builtin_popcountll(left);
    *ret_gone = 0;
    for (; left; left &= left - 1) {
        bool gone = false;
        uint32_t slot = (uint32_t)__builtin_ctzll(left);
        flushed_slot(table, leaf, slot, index, &gone);
        if (gone) *ret_gone |= (uint64_t)1 << slot;
    }
    return looked;
}

/* The leaf may be gone then. */
static void remove_slots(struct row_table *table, struct node *leaf, uint64_t slots)
{
    struct row *rows[TREE_ITEMS];
    uint32_t count = 0;
    for (uint64_t left = slots; left; left &= left - 1)
        rows[count++] = leaf_row(leaf, (uint32_t)__builtin_ctzll(left));
    tree_remove_many(&table->tree, leaf, slots);
    for (uint32_t i = 0; i < count; i++)
        row_free(table, rows[i]);
    table->rows -= count;
}

static struct node *leaf_after(const struct row_table *table, struct bytes after,
                               uint32_t *ret_first)
{
    struct node *leaf = table->tree.first;
    *ret_first = 0;
    if (after.size > 0 && tree_seek(&table->tree, after, &leaf, ret_first)) ++*ret_first;
    return leaf;
}

bool row_table_flushed_step(struct row_table *table, uint64_t index, struct buffer *after,
                            uint32_t work)
{
    uint32_t first, done = 0;
    /* Once: what was read before sees rows that are dirty still, what is read from now on the run.
     */
    if (buffer_size(after) == 0) table->flush_generation++;
    struct node *leaf = leaf_after(table, buffer_bytes(after), &first);
    while (leaf != NULL && done < work) {
        uint64_t gone;
        struct node *next = leaf->next;
        done += 1 + flushed_leaf(table, leaf, first, index, &gone);
        first = 0;
        if (next != NULL && (gone || done >= work)) {
            buffer_clear(after);
            buffer_append(after, row_key(leaf_row(leaf, leaf->count - 1u)));
        }
        if (gone) remove_slots(table, leaf, gone);
        leaf = next == NULL || !gone ? next : leaf_after(table, buffer_bytes(after), &first);
    }
    table->change++;
    return leaf != NULL;
}

void row_table_flushed(struct row_table *table, uint64_t index)
{
    struct buffer after;
    buffer_init(&after, SIZE_MAX / 2);
    row_table_flushed_step(table, index, &after, UINT32_MAX);
    buffer_free(&after);
}
