/* row_table_cut.c - the rows that a flush copies, as of one index, while the table goes on.
 *
 * A walk in key order, in steps. What lies behind it may change as it likes. In front of it a
 * dirty row of the cut that is about to be replaced is given first; the walk passes by what
 * stands there then, as its version is above the cut. Dirty rows never leave the tree otherwise. */
#include "partition/row_table_internal.h"

#include "base/assert.h"

static bool is_of_cut(const struct row_cut *cut, const struct row *row)
{
    return row->state == ROW_COMMITTED && row->version <= cut->index;
}

static void cut_replaced(struct row_cut *cut, const struct row *row)
{
    if (!is_of_cut(cut, row) || bytes_compare(row_key(row), buffer_bytes(&cut->after)) <= 0) return;
    struct row_found found = row_found_make(row);
    cut->on_replaced(cut->context, &found);
}

void row_cuts_replaced(struct row_cut *first, const struct row *row)
{
    for (struct row_cut *cut = first; cut != NULL; cut = cut->next)
        cut_replaced(cut, row);
}

void row_table_cut_begin(struct row_table *table, struct row_cut *cut, uint64_t index)
{
    cut->index = index;
    buffer_init(&cut->after, SIZE_MAX / 2);
    cut->next = table->cuts;
    table->cuts = cut;
}

void row_table_cut_end(struct row_table *table, struct row_cut *cut)
{
    struct row_cut **at = &table->cuts;
    while (*at != cut) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = cut->next;
    buffer_free(&cut->after);
}

static void stop_at(struct row_cut *cut, const struct row *row)
{
    buffer_clear(&cut->after);
    buffer_append(&cut->after, row_key(row));
}

/* True: it is done. */
static bool work_off(uint32_t *work, uint64_t done)
{
    *work -= done < *work ? (uint32_t)done : *work;
    return *work == 0;
}

bool row_table_cut_step(struct row_table *table, struct row_cut *cut, uint32_t *work)
{
    struct bytes after = buffer_bytes(&cut->after);
    struct node *leaf = table->tree.first;
    uint32_t first = 0;
    bool begun = after.size > 0;
    if (begun) first = tree_seek(&table->tree, after, &leaf, &first) ? first + 1 : first;
    for (; leaf; leaf = leaf->next, first = 0) {
        uint64_t left = first < TREE_ITEMS ? leaf->unclean & UINT64_MAX << first : 0;
        for (; left; left &= left - 1) {
            const struct row *newest = leaf_row(leaf, (uint32_t)__builtin_ctzll(left));
            const struct row *row = row_applied((struct row *)(uintptr_t)newest);
            uint64_t done = 1;
            if (row != NULL && is_of_cut(cut, row)) {
                struct row_found found = row_found_make(row);
                cut->on_row(cut->context, &found);
                done += (row->key_size + row->value_size) / ROW_CUT_WORK_BYTES;
            }
            if (!work_off(work, done)) continue;
            stop_at(cut, newest);
            return true;
        }
        if (!work_off(work, 1) || leaf->next == NULL) continue;
        stop_at(cut, leaf_row(leaf, leaf->count - 1u));
        return true;
    }
    return false;
}
