#include "services/redis/hash_row.h"

#include "base/hash.h"

enum { INDEX_FROM = 16, SIZE_SIZE_MAX = 5 };

uint64_t hash_row_read_count(struct reader *reader)
{
    return reader_left(reader) ? read_varint(reader) : 0;
}

bool hash_row_read_field(struct reader *reader, struct hash_field *ret_field)
{
    ret_field->name = read_sized(reader);
    ret_field->value = read_sized(reader);
    ret_field->removed = false;
    return !reader->failed;
}

/* The position of the name in the index, or of the free place for it. */
static uint32_t index_find(const struct hash_row *row, struct bytes name)
{
    uint32_t at = (uint32_t)hash64(0, name) & (row->index_size - 1);

    while (row->index[at] && !bytes_equal(row->fields[row->index[at] - 1].name, name))
        at = (at + 1) & (row->index_size - 1);
    return at;
}

static void index_build(struct hash_row *row)
{
    row->index_size = INDEX_FROM;
    while (row->index_size < row->capacity * 2)
        row->index_size *= 2;
    row->index = arena_allocate(row->arena, row->index_size * sizeof(row->index[0]));
    memset(row->index, 0, row->index_size * sizeof(row->index[0]));
    for (uint32_t i = 0; i < row->count; i++)
        row->index[index_find(row, row->fields[i].name)] = i + 1;
}

bool hash_row_load(struct hash_row *row, struct arena *arena, struct bytes value, uint32_t more)
{
    struct reader reader = reader_make(value);
    uint64_t count = hash_row_read_count(&reader);

    *row = (struct hash_row){.arena = arena};
    if (reader.failed || count > reader_left(&reader)) return false;
    row->capacity = (uint32_t)count + more;
    row->fields = arena_allocate(arena, row->capacity * sizeof(row->fields[0]));
    for (; row->count < count; row->count++) {
        if (!hash_row_read_field(&reader, &row->fields[row->count])) return false;
    }
    bool many = row->capacity > INDEX_FROM && more > 1;
    if (many) index_build(row);
    return true;
}

struct hash_field *hash_row_find(struct hash_row *row, struct bytes name)
{
    if (row->index) {
        uint32_t position = row->index[index_find(row, name)];
        struct hash_field *field = position ? &row->fields[position - 1] : NULL;
        return field && !field->removed ? field : NULL;
    }
    for (uint32_t i = 0; i < row->count; i++) {
        struct hash_field *field = &row->fields[i];
        if (!field->removed && bytes_equal(field->name, name)) return field;
    }
    return NULL;
}

/* Fields are either put or removed within one command: a removed one does not come back. */
bool hash_row_put(struct hash_row *row, struct bytes name, struct bytes value)
{
    struct hash_field *field = hash_row_find(row, name);

    if (field) {
        field->value = value;
        return false;
    }
    if (row->index) row->index[index_find(row, name)] = row->count + 1;
    row->fields[row->count++] = (struct hash_field){.name = name, .value = value};
    return true;
}

void hash_row_remove(struct hash_row *row, struct hash_field *field)
{
    field->removed = true;
    row->removed++;
}

size_t hash_row_size(const struct hash_row *row)
{
    size_t size = SIZE_SIZE_MAX;

    for (uint32_t i = 0; i < row->count; i++) {
        const struct hash_field *field = &row->fields[i];
        if (!field->removed) size += 2 * SIZE_SIZE_MAX + field->name.size + field->value.size;
    }
    return size;
}

static uint8_t *store_sized(uint8_t *at, struct bytes bytes)
{
    at = store_varint(at, bytes.size);
    if (bytes.size) memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

struct bytes hash_row_encode(const struct hash_row *row)
{
    uint8_t *room = arena_allocate(row->arena, hash_row_size(row));
    uint8_t *at = store_varint(room, hash_row_live(row));

    for (uint32_t i = 0; i < row->count; i++) {
        const struct hash_field *field = &row->fields[i];
        if (field->removed) continue;
        at = store_sized(at, field->name);
        at = store_sized(at, field->value);
    }
    return bytes_make(room, (size_t)(at - room));
}
