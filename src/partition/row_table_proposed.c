/* row_table_proposed.c - proposed versions: put on top by evaluation, committed from the
 * oldest on, or reverted from the newest on. */
#include "partition/row_table_internal.h"

#include "base/assert.h"
#include "base/memory.h"

static struct row **proposals_at(const struct proposals *proposals, size_t position)
{
    return &proposals->rows[(proposals->first + position) & (proposals->capacity - 1)];
}

struct row *proposals_oldest(const struct proposals *proposals)
{
    return proposals->count ? *proposals_at(proposals, 0) : NULL;
}

static struct row *proposals_newest(const struct proposals *proposals)
{
    return proposals->count ? *proposals_at(proposals, proposals->count - 1) : NULL;
}

static void proposals_push(struct proposals *proposals, struct row *row)
{
    if (proposals->count == proposals->capacity) {
        size_t capacity = proposals->capacity ? proposals->capacity * 2 : 8;
        struct row **rows = memory_allocate(capacity * sizeof(*rows));
        for (size_t i = 0; i < proposals->count; i++)
            rows[i] = *proposals_at(proposals, i);
        memory_free(proposals->rows);
        proposals->rows = rows;
        proposals->first = 0;
        proposals->capacity = capacity;
    }
    proposals->count++;
    *proposals_at(proposals, proposals->count - 1) = row;
}

struct row *proposals_row(const struct proposals *proposals, size_t position)
{
    return *proposals_at(proposals, position);
}

void proposals_insert(struct proposals *proposals, struct row *row)
{
    proposals_push(proposals, row);
    size_t at = proposals->count - 1;
    for (; at > 0 && (*proposals_at(proposals, at - 1))->version > row->version; at--)
        *proposals_at(proposals, at) = *proposals_at(proposals, at - 1);
    *proposals_at(proposals, at) = row;
}

uint64_t row_table_newest_proposed(const struct row_table *table)
{
    const struct row *newest = proposals_newest(&table->proposals);
    uint64_t index = newest ? newest->version : 0;
    if (table->drops.count == 0) return index;
    uint64_t drop = drops_newest_proposed(&table->drops);
    return drop > index ? drop : index;
}

/* Whether the row found last is that of the key: then it is not looked for again. */
static bool is_met(const struct row_table *table, struct bytes key, struct tree_place *ret_place)
{
    if (table->met_leaf == NULL || table->met_change != table->change) return false;
    if (!bytes_equal(row_key(leaf_row(table->met_leaf, table->met_slot)), key)) return false;
    ret_place->leaf = table->met_leaf;
    ret_place->slot = table->met_slot;
    ret_place->found = true;
    return true;
}

void row_table_propose(struct row_table *table, struct bytes key, const struct row_write *write,
                       unsigned flags)
{
    ASSERT(write->header.version >= row_table_newest_proposed(table));

    struct tree_place place;
    if (!is_met(table, key, &place)) tree_find(&table->tree, key, &place);
    struct row *row = row_make(table, key, write, ROW_PROPOSED);
    struct row *below = NULL;
    if (place.found) {
        below = leaf_row(place.leaf, place.slot);
        ASSERT(below->version <= write->header.version);
        row->below = below;
        row_cover(table, below, true);
        place.leaf->items[place.slot] = row;
        place.leaf->unclean |= (uint64_t)1 << place.slot;
    } else {
        row->hides_engine = write_hides_engine(table, write, flags);
        tree_insert(&table->tree, &place, row);
        table->rows++;
    }
    table->change++;
    row_table_count_change(table, key, row_live_below(row), !write->tombstone);
    proposals_push(&table->proposals, row);
}

void row_table_commit(struct row_table *table, uint64_t index)
{
    struct proposals *proposals = &table->proposals;
    while (proposals->count > 0) {
        struct row *row = proposals_oldest(proposals);
        if (row->version > index) break;
        proposals->first = (proposals->first + 1) & (proposals->capacity - 1);
        proposals->count--;
        table->change++;

        struct row *below = row->below;
        ASSERT(row->state == ROW_PROPOSED);
        ASSERT(below == NULL || (below->state != ROW_PROPOSED && below->below == NULL));
        row->state = ROW_COMMITTED;
        row->below = NULL;
        table->dirty_bytes += row_bytes(row);
        row_written(table, row);
        if (below) {
            row_replaced(table, below);
            row_unwritten(table, below, row->version);
            row_free(table, below);
        } else if (row->tombstone && !row->covered && !row->hides_engine) {
            /* It deleted nothing: neither a row nor one of the engine. Nobody depends on it
             * any more. */
            row_table_unlink(table, row_key(row));
            row_free(table, row);
        }
    }
    if (proposals->count == 0) proposals->first = 0; /* where memory is warm */
    if (table->drops.count) drops_commit(table, index);
}

/* Takes the newest version off its chain. */
static void revert_one(struct row_table *table, struct row *row)
{
    struct tree_place place;
    tree_find(&table->tree, row_key(row), &place);
    ASSERT(place.found && leaf_row(place.leaf, place.slot) == row);

    struct row *below = row->below;
    row_table_count_change(table, row_key(row), row_live(row), row_live_below(row));
    bool gone = below && below->tombstone && below->state == ROW_CLEAN;
    if (below == NULL || gone) {
        tree_remove(&table->tree, &place);
        table->rows--;
        if (below) row_free(table, below);
    } else {
        row_cover(table, below, false);
        place.leaf->items[place.slot] = below;
    }
    row_free(table, row);
}

void row_table_revert(struct row_table *table)
{
    struct proposals *proposals = &table->proposals;
    while (proposals->count > 0) {
        struct row *row = proposals_newest(proposals);
        proposals->count--;
        revert_one(table, row);
    }
    if (table->drops.count) drops_revert(table);
    table->change++;
}
