/* Entry bodies as a damaged or hostile log could give them: decoding stays in bounds, what it
 * accepts encodes to the same meaning again, and applying it keeps the table sound. */
#include "partition/effects.h"

#include "base/assert.h"

static void encode_again(const struct effect *effect, struct buffer *buffer)
{
    switch (effect->kind) {
    case EFFECT_PUT:
        ASSERT(effect_put_encode(buffer, effect->key, &effect->header, effect->value));
        break;
    case EFFECT_INSERT:
        ASSERT(effect_insert_encode(buffer, effect->key, &effect->header, effect->value));
        break;
    case EFFECT_DELETE:
        ASSERT(effect_delete_encode(buffer, effect->key));
        break;
    case EFFECT_ADD:
        ASSERT(effect_add_encode(buffer, effect->key, effect->delta));
        break;
    case EFFECT_DROP:
        ASSERT(effect_drop_encode(buffer, effect->service, effect->namespace));
        break;
    case EFFECT_CUT:
        ASSERT(effect_cut_encode(buffer, effect->takes, effect->cut, effect->lifetime));
        break;
    default:
        ASSERT(effect_fence_encode(buffer, effect->node, effect->epoch));
        break;
    }
}

static void apply_all(struct bytes effects, struct row_table *table, bool proposed)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    uint64_t index = 1;
    while (effect_decode(&reader, &effect) == STATUS_OK) {
        effect_apply(&effect, index, proposed, table);
        index++;
    }
    if (proposed) row_table_commit(table, index / 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader reader = reader_make(bytes_make(data, size));
    struct entry_header header;
    struct buffer buffer;
    buffer_init(&buffer, 2 * size + ENTRY_HEADER_SIZE);
    if (entry_header_decode(&reader, &header) != STATUS_OK) {
        reader = reader_make(bytes_make(data, size)); /* perhaps effects alone */
    } else {
        ASSERT(entry_header_encode(&header, &buffer));
        ASSERT(bytes_equal(buffer_bytes(&buffer), bytes_make(data, size - reader_left(&reader))));
    }

    struct bytes effects = bytes_make(reader.next, reader_left(&reader));
    buffer_clear(&buffer);
    struct effect effect;
    while (effect_decode(&reader, &effect) == STATUS_OK)
        encode_again(&effect, &buffer);
    /* A canonical encoding: the same bytes, as varints have one form. */
    ASSERT(bytes_starts_with(effects, buffer_bytes(&buffer)));

    struct row_table *applied = row_table_make();
    struct row_table *proposed = row_table_make();
    apply_all(effects, applied, false);
    apply_all(effects, proposed, true);
    row_table_commit(proposed, UINT64_MAX);
    ASSERT(row_table_hash(applied) == row_table_hash(proposed));
    row_table_free(applied);
    row_table_free(proposed);
    buffer_free(&buffer);
    return 0;
}
