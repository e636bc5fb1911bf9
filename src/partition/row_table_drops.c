/* row_table_drops.c - drops of a namespace: the rows that are here, and the mark that hides those
 * which only the engine has. */
#include "partition/row_table_internal.h"

#include "base/assert.h"
#include "base/memory.h"

struct drop *drops_find(const struct drops *drops, struct bytes key, uint64_t version)
{
    for (size_t i = 0; i < drops->count; i++) {
        struct drop *drop = &drops->items[i];
        if (drop->name == name_of(key) && version <= drop->index) return drop;
    }
    return NULL;
}

uint64_t drops_newest_proposed(const struct drops *drops)
{
    for (size_t i = drops->count; i-- > 0;) {
        if (drops->items[i].proposed) return drops->items[i].index;
    }
    return 0;
}

static void drops_remove(struct drops *drops, size_t position)
{
    drops->count--;
    memmove(drops->items + position, drops->items + position + 1,
            (drops->count - position) * sizeof(struct drop));
}

/* Committed ones first, one of a name; then the proposed ones, as they came. */
static void drops_add(struct drops *drops, const struct drop *drop)
{
    size_t at = 0;
    for (; at < drops->count && (drop->proposed || !drops->items[at].proposed); at++) {
        struct drop *there = &drops->items[at];
        if (drop->proposed || there->name != drop->name) continue;
        if (drop->index > there->index) there->index = drop->index;
        return;
    }
    if (drops->count == drops->capacity) {
        drops->capacity = drops->capacity ? drops->capacity * 2 : 8;
        drops->items = memory_resize(drops->items, drops->capacity * sizeof(struct drop));
    }
    memmove(drops->items + at + 1, drops->items + at, (drops->count - at) * sizeof(struct drop));
    drops->items[at] = *drop;
    drops->count++;
}

void drops_commit(struct row_table *table, uint64_t index)
{
    struct drops *drops = &table->drops;
    for (size_t i = 0; i < drops->count;) {
        struct drop drop = drops->items[i];
        if (!drop.proposed || drop.index > index) {
            i++;
            continue;
        }
        drops_remove(drops, i);
        drop.proposed = false;
        size_t before = drops->count;
        drops_add(drops, &drop);
        i += drops->count - before; /* it went in front */
    }
}

void drops_revert(struct row_table *table)
{
    struct drops *drops = &table->drops;
    while (drops->count > 0 && drops->items[drops->count - 1].proposed) {
        const struct drop *drop = &drops->items[--drops->count];
        row_table_count_add(table, drop->name, (int64_t)drop->hidden);
    }
}

static void drop_rows(struct row_table *table, uint8_t service, uint32_t namespace, uint64_t index,
                      unsigned flags)
{
    uint8_t first[ROW_PREFIX_SIZE];
    uint32_t slot_number = 0;
    while (slot_number <= UINT16_MAX) {
        row_prefix_store(first, (uint16_t)slot_number, service, namespace);
        struct node *leaf;
        uint32_t slot;
        tree_seek(&table->tree, bytes_make(first, sizeof(first)), &leaf, &slot);
        if (slot == leaf->count) {
            leaf = leaf->next;
            slot = 0;
        }
        if (leaf == NULL || leaf->count == 0) return;

        uint32_t slot_found = load_u16_be(row_key(leaf_row(leaf, slot)).data);
        bool ours = memcmp(row_key(leaf_row(leaf, slot)).data, first, sizeof(first)) == 0;
        /* Tombstones take the places of rows: the leaves stay as they are meanwhile. */
        while (ours) {
            struct row *row = leaf_row(leaf, slot);
            if (row_live(row)) row_table_delete(table, row_key(row), index, flags);
            if (++slot == leaf->count) {
                leaf = leaf->next;
                slot = 0;
            }
            ours = leaf && memcmp(row_key(leaf_row(leaf, slot)).data, first, sizeof(first)) == 0;
        }
        slot_number = slot_found > slot_number ? slot_found : slot_number + 1;
    }
}

void row_table_drop(struct row_table *table, uint8_t service, uint32_t namespace, uint64_t index,
                    unsigned flags)
{
    drop_rows(table, service, namespace, index, flags);
    uint64_t hidden = row_table_count(table, service, namespace);
    ASSERT(hidden == 0 || table->incomplete);
    if (hidden == 0) return;
    struct drop drop = {.name = (uint64_t)service << 32 | namespace,
                        .index = index,
                        .hidden = hidden,
                        .proposed = flags & ROW_WRITE_PROPOSED};
    row_table_count_add(table, drop.name, -(int64_t)hidden);
    drops_add(&table->drops, &drop);
    table->change++;
}

bool row_table_hides(const struct row_table *table, struct bytes key, uint64_t version)
{
    const struct drop *drop = drops_find(&table->drops, key, version);
    if (drop && !drop->proposed) return true;
    struct node *leaf;
    uint32_t slot;
    return tree_seek(&table->tree, key, &leaf, &slot) && row_applied(leaf_row(leaf, slot)) != NULL;
}

void row_table_drops_each(const struct row_table *table, void *context,
                          void (*on_drop)(void *context, uint8_t service, uint32_t namespace,
                                          uint64_t index))
{
    for (size_t i = 0; i < table->drops.count; i++) {
        const struct drop *drop = &table->drops.items[i];
        if (drop->proposed) return;
        on_drop(context, (uint8_t)(drop->name >> 32), (uint32_t)drop->name, drop->index);
    }
}

void row_table_drop_load(struct row_table *table, uint8_t service, uint32_t namespace,
                         uint64_t index)
{
    struct drop drop = {.name = (uint64_t)service << 32 | namespace, .index = index};
    drops_add(&table->drops, &drop);
}

void row_table_drop_forget(struct row_table *table, uint8_t service, uint32_t namespace,
                           uint64_t index)
{
    uint64_t name = (uint64_t)service << 32 | namespace;
    struct drops *drops = &table->drops;
    for (size_t i = 0; i < drops->count; i++) {
        const struct drop *drop = &drops->items[i];
        if (drop->proposed || drop->name != name || drop->index > index) continue;
        drops_remove(drops, i);
        table->flush_generation++; /* a row read before the pass must not come in now */
        return;
    }
}
