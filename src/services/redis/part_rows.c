#include "services/redis/part_rows.h"

struct gathering_rows {
    struct redis_call *call;
    struct redis_part_rows *rows;
    size_t bytes_max;
};

void redis_part_rows_add(struct redis_call *call, struct redis_part_rows *rows,
                         struct redis_part_row row)
{
    if (rows->count == rows->capacity) {
        uint32_t capacity = rows->capacity ? rows->capacity * 2 : 16;
        struct redis_part_row *more = arena_allocate(call->rows->arena, capacity * sizeof(more[0]));
        if (rows->count) memcpy(more, rows->rows, rows->count * sizeof(more[0]));
        rows->rows = more;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] = row;
    rows->bytes += row.suffix.size + row.value.size + REDIS_PART_OVERHEAD;
}

static bool on_part(void *context, struct bytes key, const struct row_view *row)
{
    struct gathering_rows *gathering = context;
    struct arena *arena = gathering->call->rows->arena;
    struct bytes suffix = bytes_from(key, REDIS_PART_PREFIX_SIZE);
    size_t size = suffix.size + row->value.size + REDIS_PART_OVERHEAD;

    if (gathering->rows->bytes + size > gathering->bytes_max) {
        gathering->rows->too_many = true;
        return false;
    }
    redis_part_rows_add(gathering->call, gathering->rows,
                        (struct redis_part_row){.suffix = arena_copy(arena, suffix),
                                                .value = arena_copy(arena, row->value),
                                                .type = row->header.type});
    return true;
}

enum row_result redis_part_rows_get(struct redis_call *call, struct bytes row_key,
                                    struct redis_part_id id, size_t bytes_max,
                                    struct redis_part_rows *ret_rows)
{
    uint8_t from[REDIS_PART_PREFIX_SIZE], to[REDIS_PART_PREFIX_SIZE];
    struct gathering_rows gathering = {.call = call, .rows = ret_rows, .bytes_max = bytes_max};
    struct redis_part_id next = id;

    *ret_rows = (struct redis_part_rows){0};
    next.number++;
    next.index += next.number == 0;
    redis_part_prefix_store(from, row_key, id);
    redis_part_prefix_store(to, row_key, next);
    return row_scan(call->rows, bytes_make(from, sizeof(from)), bytes_make(to, sizeof(to)),
                    &gathering, on_part);
}

void redis_part_rows_put(struct redis_call *call, struct bytes row_key, struct redis_part_id id,
                         const struct redis_part_rows *rows)
{
    redis_parts_born(call, row_key, id);
    for (uint32_t i = 0; i < rows->count; i++) {
        const struct redis_part_row *row = &rows->rows[i];
        size_t size = REDIS_PART_PREFIX_SIZE + row->suffix.size;
        uint8_t *key = arena_allocate(call->rows->arena, size);

        redis_part_prefix_store(key, row_key, id);
        if (row->suffix.size)
            memcpy(key + REDIS_PART_PREFIX_SIZE, row->suffix.data, row->suffix.size);
        row_put(call->rows, bytes_make(key, size), row->type, 0, 0, row->value);
    }
}
