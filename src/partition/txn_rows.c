#include "partition/txn_rows.h"

#include "base/assert.h"
#include "base/list.h"
#include "base/memory.h"

struct txn_row {
    uint8_t key[TXN_ROW_KEY_SIZE];
    uint64_t put,
        deleted; /* index of the first entry that puts it; of that which deletes it, or 0 */
    struct list deletion;
};

/* Pointers are moved, not keys: most ids come with rising numbers, from few gateways. */
struct txn_rows {
    struct txn_row **items; /* in the order of keys */
    uint32_t count, capacity;
    struct list deletions; /* in the order of their indexes */
};

struct txn_rows *txn_rows_make(void)
{
    struct txn_rows *rows = memory_allocate_zero(sizeof(*rows));
    list_init(&rows->deletions);
    return rows;
}

void txn_rows_free(struct txn_rows *rows)
{
    if (rows == NULL) return;
    for (uint32_t i = 0; i < rows->count; i++)
        memory_free(rows->items[i]);
    memory_free(rows->items);
    memory_free(rows);
}

uint32_t txn_rows_count(const struct txn_rows *rows)
{
    return rows == NULL ? 0 : rows->count;
}

/* Where the key is, or would be. */
static bool find(const struct txn_rows *rows, const uint8_t *key, uint32_t *ret_at)
{
    uint32_t from = 0, to = rows->count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        int order = memcmp(rows->items[middle]->key, key, TXN_ROW_KEY_SIZE);
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    *ret_at = from;
    return from < rows->count && memcmp(rows->items[from]->key, key, TXN_ROW_KEY_SIZE) == 0;
}

static void insert(struct txn_rows *rows, uint32_t at, struct txn_row *row)
{
    if (rows->count == rows->capacity) {
        rows->capacity = rows->capacity > 0 ? 2 * rows->capacity : 8;
        rows->items = memory_resize(rows->items, rows->capacity * sizeof(struct txn_row *));
    }
    struct txn_row **place = &rows->items[at];
    memmove(place + 1, place, (rows->count - at) * sizeof(struct txn_row *));
    *place = row;
    rows->count++;
}

void txn_rows_put(struct txn_rows *rows, struct bytes key, uint64_t index)
{
    uint32_t at;
    ASSERT(key.size == TXN_ROW_KEY_SIZE);
    if (find(rows, key.data, &at)) return; /* there is a version of it from its first entry on */
    struct txn_row *row = memory_allocate_zero(sizeof(*row));
    memcpy(row->key, key.data, sizeof(row->key));
    row->put = index;
    list_init(&row->deletion);
    insert(rows, at, row);
}

void txn_rows_delete(struct txn_rows *rows, struct bytes key, uint64_t index)
{
    uint32_t at;
    ASSERT(key.size == TXN_ROW_KEY_SIZE && index > 0);
    if (!find(rows, key.data, &at) || rows->items[at]->deleted > 0) return;
    struct txn_row *row = rows->items[at];
    row->deleted = index;
    list_insert_before(&rows->deletions, &row->deletion);
}

static void forget(struct txn_rows *rows, struct txn_row *row)
{
    uint32_t at;
    bool found = find(rows, row->key, &at);
    ASSERT(found && rows->items[at] == row);
    struct txn_row **place = &rows->items[at];
    rows->count--;
    memmove(place, place + 1, (rows->count - at) * sizeof(struct txn_row *));
    list_remove(&row->deletion);
    memory_free(row);
}

void txn_rows_applied(struct txn_rows *rows, uint64_t index)
{
    while (!list_empty(&rows->deletions)) {
        struct txn_row *row = CONTAINER_OF(rows->deletions.next, struct txn_row, deletion);
        if (row->deleted > index) break;
        forget(rows, row);
    }
}

uint32_t txn_rows_each(const struct txn_rows *rows, uint64_t index, void *context,
                       void (*on_key)(void *context, struct bytes key))
{
    uint32_t count = txn_rows_count(rows);
    for (uint32_t i = 0; i < count; i++) {
        const struct txn_row *row = rows->items[i];
        bool committed = row->put <= index && (row->deleted == 0 || row->deleted > index);
        if (committed) on_key(context, bytes_make(row->key, sizeof(row->key)));
    }
    return count;
}
