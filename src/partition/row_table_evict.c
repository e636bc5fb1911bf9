/* row_table_evict.c - tables that do not hold all rows of the engine: what is loaded from it, and
 * what is dropped again to stay within a budget. */
#include "partition/row_table_internal.h"

#include "base/assert.h"

bool row_table_complete(const struct row_table *table)
{
    return !table->incomplete;
}

void row_table_set_incomplete(struct row_table *table)
{
    table->incomplete = true;
}

void row_table_set_complete(struct row_table *table)
{
    table->incomplete = false;
}

uint64_t row_table_flush_generation(const struct row_table *table)
{
    return table->flush_generation;
}

uint64_t row_table_evictions(const struct row_table *table)
{
    return table->evictions;
}

uint64_t row_table_clean_bytes(const struct row_table *table)
{
    return table->clean_bytes;
}

static void insert_clean(struct row_table *table, struct tree_place *place, struct row *row)
{
    tree_insert(&table->tree, place, row);
    uint64_t bit = (uint64_t)1 << place->slot;
    place->leaf->unclean &= ~bit;
    if (table->incomplete) place->leaf->spared |= bit; /* on demand: it is about to be read */
    table->rows++;
    table->change++;
}

static void insert_absent(struct row_table *table, struct tree_place *place, struct bytes key)
{
    struct row_write absent = {.tombstone = true};
    insert_clean(table, place, row_make(table, key, &absent, ROW_CLEAN));
}

/* Under a drop that is only proposed: as if the row had been here when it came. Who reads the
 * absence depends on the drop (A2). */
static void insert_under_drop(struct row_table *table, struct tree_place *place, struct drop *drop,
                              struct row *row)
{
    struct row_write deletion = {.header.version = drop->index, .tombstone = true};
    struct row *tombstone = row_make(table, row_key(row), &deletion, ROW_PROPOSED);
    tombstone->below = row;
    row_cover(table, row, true);
    tree_insert(&table->tree, place, tombstone);
    proposals_insert(&table->proposals, tombstone);
    ASSERT(drop->hidden > 0);
    drop->hidden--;
    table->rows++;
    table->change++;
}

/* Under a proposal that was made over it: it shows again after a revert. */
static void load_below(struct row_table *table, struct row *newest, struct bytes key,
                       const struct row_write *write)
{
    while (newest->below)
        newest = newest->below;
    if (newest->state != ROW_PROPOSED || !newest->hides_engine) return;
    newest->below = row_make(table, key, write, ROW_CLEAN);
    newest->hides_engine = false;
    row_cover(table, newest->below, true);
    table->change++;
}

bool row_table_load(struct row_table *table, struct bytes key, const struct row_header *header,
                    struct bytes value)
{
    struct row_write write = {.header = *header, .value = value};
    struct drop *drop = drops_find(&table->drops, key, header->version);
    bool gone = drop && !drop->proposed;
    struct tree_place place;
    tree_find(&table->tree, key, &place);
    if (place.found) {
        if (!gone) load_below(table, leaf_row(place.leaf, place.slot), key, &write);
        return false;
    }
    if (gone) {
        insert_absent(table, &place, key);
        return false;
    }
    struct row *row = row_make(table, key, &write, ROW_CLEAN);
    if (drop) {
        insert_under_drop(table, &place, drop, row);
        return false;
    }
    insert_clean(table, &place, row);
    if (!table->incomplete) row_table_count_change(table, key, false, true);
    return true;
}

void row_table_load_absent(struct row_table *table, struct bytes key)
{
    struct tree_place place;
    tree_find(&table->tree, key, &place);
    if (!place.found) insert_absent(table, &place, key);
}

/* Drops rows of a leaf until `bytes` are freed. */
static uint64_t evict_leaf(struct row_table *table, struct node *leaf, uint64_t bytes)
{
    uint64_t all = leaf->count == 64 ? UINT64_MAX : ((uint64_t)1 << leaf->count) - 1;
    uint64_t clean = all & ~leaf->unclean;
    for (uint64_t left = clean & ~leaf->spared; left; left &= left - 1)
        __builtin_prefetch(leaf_row(leaf, (uint32_t)__builtin_ctzll(left)));

    struct row *gone[TREE_ITEMS];
    uint32_t count = 0;
    uint64_t slots = 0, freed = 0;
    for (uint64_t left = clean; left && freed < bytes; left &= left - 1) {
        uint64_t bit = left & -left;
        if (leaf->spared & bit) {
            leaf->spared &= ~bit;
            continue;
        }
        struct row *row = leaf_row(leaf, (uint32_t)__builtin_ctzll(left));
        ASSERT(row->state == ROW_CLEAN && row->below == NULL);
        slots |= bit;
        freed += row_bytes(row);
        gone[count++] = row;
    }
    if (count == 0) return 0;
    tree_remove_many(&table->tree, leaf, slots);
    for (uint32_t i = 0; i < count; i++)
        row_free(table, gone[i]);
    table->rows -= count;
    return freed;
}

uint64_t row_table_evict(struct row_table *table, uint64_t bytes)
{
    struct tree *tree = &table->tree;
    uint64_t freed = 0, looked = 0, leaves = tree->leaves;
    for (; leaves > 0 && freed < bytes && looked < ROW_TABLE_EVICT_ROWS_MAX; leaves--) {
        struct node *leaf = tree->hand ? tree->hand : tree->first;
        tree->hand = leaf->next;
        looked += leaf->count;
        freed += evict_leaf(table, leaf, bytes - freed);
    }
    if (freed == 0) return 0;
    table->incomplete = true;
    table->evictions++;
    table->change++;
    return freed;
}
