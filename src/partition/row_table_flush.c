/* row_table_flush.c - dirty rows for the engine, and what becomes of them once they are there. */
#include "partition/row_table_internal.h"

#include "base/assert.h"
#include "base/memory.h"

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

struct row_list {
    struct row **rows;
    size_t count;
    size_t capacity;
};

static void row_list_push(struct row_list *list, struct row *row)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? list->capacity * 2 : 64;
        list->rows = memory_resize(list->rows, list->capacity * sizeof(struct row *));
    }
    list->rows[list->count++] = row;
}

/* Cleans the chain at a slot if its applied version is in the engine now; returns whether it was.
 * Its bit stays if anything but a clean row is left; a tombstone that nothing covers goes to
 * `gone`. */
static bool flushed_slot(struct row_table *table, struct node *leaf, uint32_t slot, uint64_t index,
                         struct row_list *gone)
{
    struct row *newest = leaf_row(leaf, slot);
    struct row *row = row_applied(newest);
    bool cleaned = row && row->state == ROW_COMMITTED && row->version <= index;
    if (cleaned) {
        row_uncount(table, row);
        row->state = ROW_CLEAN;
        row_recount(table, row);
        if (row->tombstone && !row->covered) row_list_push(gone, row);
    }
    if (newest->state == ROW_CLEAN) leaf->unclean &= ~((uint64_t)1 << slot);
    return cleaned;
}

void row_table_flushed(struct row_table *table, uint64_t index)
{
    struct row_list gone = {0};
    bool cleaned = false;
    for (struct node *leaf = table->tree.first; leaf; leaf = leaf->next) {
        for (uint64_t left = leaf->unclean; left; left &= left - 1)
            cleaned |= flushed_slot(table, leaf, (uint32_t)__builtin_ctzll(left), index, &gone);
    }
    for (size_t i = 0; i < gone.count; i++) {
        row_table_unlink(table, row_key(gone.rows[i]));
        row_free(table, gone.rows[i]);
    }
    memory_free(gone.rows);
    table->flush_generation += cleaned;
    table->change++;
}
