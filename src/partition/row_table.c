#include "partition/row_table_internal.h"

#include "base/assert.h"
#include "base/memory.h"

struct row_table *row_table_make_in(struct slabs *slabs)
{
    struct row_table *table = memory_allocate_lines(sizeof(*table));
    table->slabs = slabs;
    tree_init(&table->tree, slabs);
    map_init(&table->counts);
    table->hot_name = UINT64_MAX; /* no namespace */
    return table;
}

struct row_table *row_table_make(void)
{
    struct row_table *table = row_table_make_in(slabs_make());
    table->own_slabs = true;
    return table;
}

static void free_chain(struct row_table *table, struct row *row)
{
    while (row) {
        struct row *below = row->below;
        row_free(table, row);
        row = below;
    }
}

void row_table_free(struct row_table *table)
{
    if (table == NULL) return;
    ASSERT(table->cuts == NULL);
    for (struct node *leaf = table->tree.first; leaf; leaf = leaf->next) {
        for (uint32_t i = 0; i < leaf->count; i++)
            free_chain(table, leaf_row(leaf, i));
    }
    ASSERT(table->row_bytes == 0 && table->dirty_bytes == 0 && table->clean_bytes == 0);
    tree_free(&table->tree);
    map_free(&table->counts);
    memory_free(table->proposals.rows);
    memory_free(table->drops.items);
    if (table->own_slabs) slabs_free(table->slabs);
    memory_free(table);
}

static void row_fill(struct row *row, const struct row_write *write)
{
    row->version = write->header.version;
    row->expiry = write->header.expiry;
    row->type = write->header.type;
    row->flags = write->header.flags;
    row->tombstone = write->tombstone;
    row->value_size = (uint32_t)write->value.size;
    /* The value may be the row's own. */
    if (write->value.size) memmove(row->data + row->key_size, write->value.data, write->value.size);
}

struct row *row_make(struct row_table *table, struct bytes key, const struct row_write *write,
                     enum row_state state)
{
    /* The value may grow into what rounding adds. */
    size_t size = slabs_size(sizeof(struct row) + key.size + write->value.size);
    struct row *row = slabs_allocate(table->slabs, size);
    row->below = NULL;
    row->capacity = (uint32_t)(size - sizeof(*row));
    row->key_size = (uint32_t)key.size;
    row->state = (uint8_t)state;
    row->covered = false;
    row->hides_engine = false;
    memcpy(row->data, key.data, key.size);
    row_fill(row, write);
    table->row_bytes += row_bytes(row);
    row_recount(table, row);
    return row;
}

void row_free(struct row_table *table, struct row *row)
{
    table->row_bytes -= row_bytes(row);
    row_uncount(table, row);
    slabs_release(table->slabs, row, row_bytes(row));
}

void row_table_unlink(struct row_table *table, struct bytes key)
{
    struct tree_place place;
    tree_find(&table->tree, key, &place);
    tree_remove(&table->tree, &place);
    table->rows--;
    table->change++;
}

/* What an evaluation reads it mostly writes next. */
static void note_met(const struct row_table *constant, struct node *leaf, uint32_t slot)
{
    struct row_table *table = (struct row_table *)(uintptr_t)constant; /* a reader sees no change */
    table->met_change = table->change;
    table->met_leaf = leaf;
    table->met_slot = slot;
}

bool row_table_get(const struct row_table *table, struct bytes key, struct row_found *ret)
{
    struct node *leaf;
    uint32_t slot;
    if (!tree_seek(&table->tree, key, &leaf, &slot)) return false;
    leaf->spared |= (uint64_t)1 << slot;
    note_met(table, leaf, slot);
    *ret = row_found_make(leaf_row(leaf, slot));
    return true;
}

bool row_table_get_committed(const struct row_table *table, struct bytes key, struct row_found *ret)
{
    struct node *leaf;
    uint32_t slot;
    if (!tree_seek(&table->tree, key, &leaf, &slot)) return false;
    const struct row *row = row_applied(leaf_row(leaf, slot));
    if (!row_live(row)) return false;
    *ret = row_found_make(row);
    return true;
}

/* Whether a write of this size may reuse the memory of the row. */
static bool row_fits(const struct row *row, size_t value_size)
{
    size_t need = row->key_size + value_size;
    return need <= row->capacity && row->capacity - need <= 64 + need / 4;
}

/* Puts what is written in the place of *link, the applied end of a chain. */
static void replace_applied(struct row_table *table, struct row **link,
                            const struct row_write *write)
{
    struct row *old = *link;
    row_replaced(table, old);
    row_unwritten(table, old, write->header.version);
    if (row_fits(old, write->value.size)) {
        row_uncount(table, old);
        old->state = ROW_COMMITTED;
        row_recount(table, old);
        row_fill(old, write);
        return;
    }
    struct row *row = row_make(table, row_key(old), write, ROW_COMMITTED);
    row->covered = old->covered;
    *link = row;
    row_free(table, old);
}

static void row_table_apply(struct row_table *table, struct bytes key,
                            const struct row_write *write, unsigned flags)
{
    const struct row *oldest = proposals_oldest(&table->proposals);
    ASSERT(oldest == NULL || oldest->version > write->header.version);

    struct tree_place place;
    tree_find(&table->tree, key, &place);
    if (!place.found) {
        if (write->tombstone && !table->incomplete) return; /* nothing to delete */
        struct row *row = row_make(table, key, write, ROW_COMMITTED);
        tree_insert(&table->tree, &place, row);
        row_written(table, row);
        table->rows++;
        table->change++;
        bool live_before = write_hides_engine(table, write, flags);
        row_table_count_change(table, key, live_before, !write->tombstone);
        return;
    }

    struct row **newest = (struct row **)&place.leaf->items[place.slot];
    struct row **link = newest;
    struct row *above = NULL;
    while (*link && (*link)->state == ROW_PROPOSED) {
        above = *link;
        link = &above->below;
    }
    if (*link && (*link)->version > write->header.version) { /* replay */
        table->writes.skipped++;
        return;
    }
    bool nothing_there =
        *link ? (*link)->tombstone && (*link)->state == ROW_CLEAN : !above->hides_engine;
    if (nothing_there && write->tombstone) return;

    table->change++;
    place.leaf->unclean |= (uint64_t)1 << place.slot;
    bool visible = link == newest;
    bool live_before = row_live(*link);
    if (*link) {
        replace_applied(table, link, write);
    } else {
        *link = row_make(table, key, write, ROW_COMMITTED);
        (*link)->covered = true;
        above->hides_engine = false;
    }
    row_written(table, *link);
    if (visible) row_table_count_change(table, row_key(*link), live_before, !write->tombstone);
}

static void row_table_write(struct row_table *table, struct bytes key,
                            const struct row_write *write, unsigned flags)
{
    ASSERT(key.size >= ROW_PREFIX_SIZE && key.size <= ROW_KEY_SIZE_MAX);
    ASSERT(write->value.size <= ROW_VALUE_SIZE_MAX);
    ASSERT(write->header.version > 0);
    if (flags & ROW_WRITE_PROPOSED) {
        row_table_propose(table, key, write, flags);
    } else {
        row_table_apply(table, key, write, flags);
    }
}

void row_table_put(struct row_table *table, struct bytes key, const struct row_header *header,
                   struct bytes value, unsigned flags)
{
    struct row_write write = {.header = *header, .value = value};
    row_table_write(table, key, &write, flags);
}

void row_table_delete(struct row_table *table, struct bytes key, uint64_t index, unsigned flags)
{
    struct row_write write = {.header = {.version = index}, .tombstone = true};
    row_table_write(table, key, &write, flags);
}

void row_table_foresee(const struct row_foreseen *rows, uint32_t count)
{
    struct tree_search searches[ROWS_FORESEEN_MAX];
    ASSERT(count <= ROWS_FORESEEN_MAX);
    for (uint32_t i = 0; i < count; i++)
        searches[i] = (struct tree_search){.tree = &rows[i].table->tree, .key = rows[i].key};
    tree_foresee(searches, count);
}

struct row_writes row_table_writes(const struct row_table *table)
{
    return table->writes;
}

uint64_t row_table_rows(const struct row_table *table)
{
    return table->rows;
}

uint64_t row_table_bytes(const struct row_table *table)
{
    return sizeof(*table) + table->row_bytes + table->tree.bytes +
           table->counts.capacity * sizeof(struct map_slot) +
           table->proposals.capacity * sizeof(struct row *) +
           table->drops.capacity * sizeof(struct drop);
}

uint64_t row_table_dirty_bytes(const struct row_table *table)
{
    return table->dirty_bytes;
}
