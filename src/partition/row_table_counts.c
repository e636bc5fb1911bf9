/* row_table_counts.c - live rows per (service, namespace). The counts include what is proposed;
 * as of what is applied they are worked out when somebody asks. */
#include "partition/row_table_internal.h"

#include "base/assert.h"

static uint64_t count_of(const struct row_table *table, uint64_t name)
{
    return name == table->hot_name ? table->hot_count : (uintptr_t)map_get(&table->counts, name);
}

/* Nearly all rows of a table are of one namespace: its count is not looked up at each insert. */
static void make_hot(struct row_table *table, uint64_t name)
{
    if (table->hot_count > 0)
        map_put(&table->counts, table->hot_name, (void *)(uintptr_t)table->hot_count);
    table->hot_count = (uintptr_t)map_remove(&table->counts, name);
    table->hot_name = name;
}

void row_table_count_add(struct row_table *table, uint64_t name, int64_t change)
{
    if (name != table->hot_name) make_hot(table, name);
    ASSERT(change >= 0 || table->hot_count >= (uint64_t)-change);
    table->hot_count += (uint64_t)change;
}

void row_table_count_change(struct row_table *table, struct bytes key, bool before, bool now)
{
    if (before != now) row_table_count_add(table, name_of(key), now ? 1 : -1);
}

uint64_t row_table_count(const struct row_table *table, uint8_t service, uint32_t namespace)
{
    return count_of(table, (uint64_t)service << 32 | namespace);
}

void row_table_count_load(struct row_table *table, uint8_t service, uint32_t namespace,
                          uint64_t rows)
{
    uint64_t name = (uint64_t)service << 32 | namespace;
    row_table_count_add(table, name, (int64_t)(rows - count_of(table, name)));
}

/* name -> what to add to its count to take away what proposals did; the numbers as pointers. */
static void undo_add(struct map *undo, uint64_t name, int64_t change)
{
    int64_t sum = (int64_t)(intptr_t)map_get(undo, name) + change;
    if (sum) {
        map_put(undo, name, (void *)(intptr_t)sum);
    } else {
        map_remove(undo, name);
    }
}

static void undo_make(const struct row_table *table, struct map *undo)
{
    map_init(undo);
    for (size_t i = 0; i < table->proposals.count; i++) {
        const struct row *row = proposals_row(&table->proposals, i);
        int change = row_live_below(row) - row_live(row);
        if (change) undo_add(undo, name_of(row_key(row)), change);
    }
    for (size_t i = 0; i < table->drops.count; i++) {
        const struct drop *drop = &table->drops.items[i];
        if (drop->proposed) undo_add(undo, drop->name, (int64_t)drop->hidden);
    }
}

void row_table_counts_each(const struct row_table *table, void *context,
                           void (*on_count)(void *context, uint8_t service, uint32_t namespace,
                                            uint64_t rows))
{
    struct map undo;
    undo_make(table, &undo);
    uint64_t name;
    void *value;
    uint64_t hot = table->hot_count + (uintptr_t)map_get(&undo, table->hot_name);
    if (hot) on_count(context, (uint8_t)(table->hot_name >> 32), (uint32_t)table->hot_name, hot);
    for (size_t i = 0; map_next(&table->counts, &i, &name, &value);) {
        uint64_t rows = (uintptr_t)value + (uintptr_t)map_get(&undo, name);
        if (rows) on_count(context, (uint8_t)(name >> 32), (uint32_t)name, rows);
    }
    for (size_t i = 0; map_next(&undo, &i, &name, &value);) {
        if (name == table->hot_name || map_get(&table->counts, name)) continue;
        on_count(context, (uint8_t)(name >> 32), (uint32_t)name, (uintptr_t)value);
    }
    map_free(&undo);
}
