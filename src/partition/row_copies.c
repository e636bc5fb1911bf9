#include "partition/row_copies.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "partition/host_internal.h"

void copied_row_write(struct buffer *rows, const struct row_found *row)
{
    struct writer writer = writer_make(rows);

    write_u8(&writer, row->tombstone);
    write_u32(&writer, (uint32_t)row->key.size);
    write_bytes(&writer, row->key);
    write_u32(&writer, row->tombstone ? 0 : (uint32_t)(ROW_HEADER_SIZE + row->value.size));
    if (!row->tombstone) row_value_encode(rows, &row->header, row->value);
}

static bool read_row(struct reader *reader, struct copied_row *ret)
{
    if (reader_left(reader) == 0) return false;
    ret->tombstone = read_u8(reader) != 0;
    ret->key = read_bytes(reader, read_u32(reader));
    ret->value = read_bytes(reader, read_u32(reader));
    ASSERT(!reader->failed);
    return true;
}

static int compare_rows(const void *a, const void *b)
{
    const struct copied_row *left = a, *right = b;

    return bytes_compare(left->key, right->key);
}

static struct copied_row *sorted(struct bytes rows, size_t *ret_count)
{
    struct reader reader = reader_make(rows);
    struct copied_row row, *all;
    size_t count = 0;

    while (read_row(&reader, &row))
        count++;
    all = memory_allocate((count + 1) * sizeof(*all));
    reader = reader_make(rows);
    for (size_t i = 0; i < count; i++)
        read_row(&reader, &all[i]);
    qsort(all, count, sizeof(*all), compare_rows);
    *ret_count = count;
    return all;
}

void copied_rows_begin(struct copied_rows *copies, struct bytes rows, struct bytes replaced)
{
    *copies = (struct copied_rows){.rows = reader_make(rows)};
    copies->replaced = sorted(replaced, &copies->replaced_count);
    copies->has_next = read_row(&copies->rows, &copies->next);
}

/* No key is in both. */
static bool replaced_is_first(const struct copied_rows *copies)
{
    if (copies->at == copies->replaced_count) return false;
    return !copies->has_next || compare_rows(&copies->replaced[copies->at], &copies->next) < 0;
}

const struct copied_row *copied_rows_next(const struct copied_rows *copies)
{
    if (replaced_is_first(copies)) return &copies->replaced[copies->at];
    return copies->has_next ? &copies->next : NULL;
}

void copied_rows_advance(struct copied_rows *copies)
{
    if (replaced_is_first(copies))
        copies->at++;
    else
        copies->has_next = read_row(&copies->rows, &copies->next);
}

void copied_rows_end(struct copied_rows *copies)
{
    memory_free(copies->replaced);
    copies->replaced = NULL;
}
