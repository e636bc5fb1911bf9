#include "partition/effects.h"

#include "base/assert.h"

enum { PUT_FIELDS_SIZE = 10, DROP_SIZE = 6, FENCE_SIZE = 9, CUT_SIZE = 18 };

bool entry_header_encode(const struct entry_header *header, struct buffer *buffer)
{
    ASSERT(header->outcome.size <= OUTCOME_SIZE_MAX);
    uint8_t *at = buffer_reserve(buffer, ENTRY_HEADER_SIZE + header->outcome.size);
    if (at == NULL) return false;
    at[0] = header->format ? header->format : ENTRY_FORMAT;
    at[1] = header->flags;
    store_u32(at + 2, header->gateway.node);
    store_u32(at + 6, header->gateway.epoch);
    store_u16(at + 10, header->gateway.worker);
    store_u64(at + 12, header->seq);
    store_u16(at + 20, header->attempt);
    store_u16(at + 22, header->watermark_distance);
    store_u64(at + 24, (uint64_t)header->entry_time);
    store_u64(at + 32, (uint64_t)header->commit_time);
    store_u32(at + 40, (uint32_t)header->outcome.size);
    if (header->outcome.size)
        memcpy(at + ENTRY_HEADER_SIZE, header->outcome.data, header->outcome.size);
    buffer_commit(buffer, ENTRY_HEADER_SIZE + header->outcome.size);
    return true;
}

bool entry_is_patient(struct bytes body)
{
    return body.size > 1 && (body.data[1] & ENTRY_PATIENT) != 0;
}

enum status entry_header_decode(struct reader *reader, struct entry_header *ret_header)
{
    if (reader->failed || reader_left(reader) == 0) return STATUS_CORRUPT;
    uint8_t format = reader->next[0];
    if (format != ENTRY_FORMAT && format != ENTRY_FORMAT_TXN) return STATUS_VERSION;
    if (reader_left(reader) < ENTRY_HEADER_SIZE) return STATUS_CORRUPT;

    const uint8_t *at = read_bytes(reader, ENTRY_HEADER_SIZE).data;
    struct bytes outcome = read_bytes(reader, load_u32(at + 40));
    if (reader->failed || outcome.size > OUTCOME_SIZE_MAX) return STATUS_CORRUPT;
    *ret_header = (struct entry_header){
        .format = format,
        .flags = at[1],
        .gateway = {.node = load_u32(at + 2),
                    .epoch = load_u32(at + 6),
                    .worker = load_u16(at + 10)},
        .seq = load_u64(at + 12),
        .attempt = load_u16(at + 20),
        .watermark_distance = load_u16(at + 22),
        .entry_time = (int64_t)load_u64(at + 24),
        .commit_time = (int64_t)load_u64(at + 32),
        .outcome = outcome,
    };
    return STATUS_OK;
}

static size_t sized_size(struct bytes bytes)
{
    size_t size = 1 + bytes.size;
    for (size_t left = bytes.size; left >= 0x80; left >>= 7)
        size++;
    return size;
}

/* varint size and the bytes, as write_sized() does it; returns where they end. */
static uint8_t *store_sized(uint8_t *at, struct bytes bytes)
{
    size_t left = bytes.size;
    for (; left >= 0x80; left >>= 7)
        *at++ = (uint8_t)(left | 0x80);
    *at++ = (uint8_t)left;
    if (bytes.size) memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

/* Appends kind and key; returns where `more` bytes are to be stored, or NULL: no room. */
static uint8_t *append_keyed(struct buffer *buffer, enum effect_kind kind, struct bytes key,
                             size_t more)
{
    ASSERT(key.size >= ROW_PREFIX_SIZE && key.size <= ROW_KEY_SIZE_MAX);
    size_t size = 1 + sized_size(key) + more;
    uint8_t *at = buffer_reserve(buffer, size);
    if (at == NULL) return NULL;
    buffer_commit(buffer, size);
    *at++ = (uint8_t)kind;
    return store_sized(at, key);
}

static bool append_put(struct buffer *buffer, enum effect_kind kind, struct bytes key,
                       const struct row_header *header, struct bytes value)
{
    ASSERT(value.size <= ROW_VALUE_SIZE_MAX);
    uint8_t *at = append_keyed(buffer, kind, key, PUT_FIELDS_SIZE + sized_size(value));
    if (at == NULL) return false;
    at[0] = header->type;
    at[1] = header->flags;
    store_u64(at + 2, header->expiry);
    store_sized(at + PUT_FIELDS_SIZE, value);
    return true;
}

size_t effect_size_behind_key(struct bytes value)
{
    return PUT_FIELDS_SIZE + sized_size(value);
}

bool effect_put_encode(struct buffer *buffer, struct bytes key, const struct row_header *header,
                       struct bytes value)
{
    return append_put(buffer, EFFECT_PUT, key, header, value);
}

bool effect_insert_encode(struct buffer *buffer, struct bytes key, const struct row_header *header,
                          struct bytes value)
{
    return append_put(buffer, EFFECT_INSERT, key, header, value);
}

bool effect_delete_encode(struct buffer *buffer, struct bytes key)
{
    return append_keyed(buffer, EFFECT_DELETE, key, 0) != NULL;
}

bool effect_add_encode(struct buffer *buffer, struct bytes key, int64_t delta)
{
    uint8_t *at = append_keyed(buffer, EFFECT_ADD, key, sizeof(delta));
    if (at == NULL) return false;
    store_u64(at, (uint64_t)delta);
    return true;
}

bool effect_drop_encode(struct buffer *buffer, uint8_t service, uint32_t namespace)
{
    uint8_t *at = buffer_reserve(buffer, DROP_SIZE);
    if (at == NULL) return false;
    at[0] = EFFECT_DROP;
    at[1] = service;
    store_u32(at + 2, namespace);
    buffer_commit(buffer, DROP_SIZE);
    return true;
}

bool effect_fence_encode(struct buffer *buffer, node_id_t node, boot_epoch_t epoch)
{
    uint8_t *at = buffer_reserve(buffer, FENCE_SIZE);
    if (at == NULL) return false;
    at[0] = EFFECT_FENCE;
    store_u32(at + 1, node);
    store_u32(at + 5, epoch);
    buffer_commit(buffer, FENCE_SIZE);
    return true;
}

bool effect_cut_encode(struct buffer *buffer, bool takes, uint64_t cut, int64_t lifetime)
{
    uint8_t *at = buffer_reserve(buffer, CUT_SIZE);
    if (at == NULL) return false;
    at[0] = EFFECT_CUT;
    at[1] = takes;
    store_u64(at + 2, cut);
    store_u64(at + 10, (uint64_t)lifetime);
    buffer_commit(buffer, CUT_SIZE);
    return true;
}

/* Of an effect on a cut. */
static bool read_cut(struct reader *reader, struct effect *effect)
{
    uint8_t takes = read_u8(reader);
    effect->takes = takes == 1;
    effect->cut = read_u64(reader);
    effect->lifetime = read_i64(reader);
    return takes <= 1;
}

enum status effect_decode(struct reader *reader, struct effect *ret_effect)
{
    if (reader->failed) return STATUS_CORRUPT;
    if (reader_left(reader) == 0) return STATUS_NOT_FOUND;

    struct effect effect = {.kind = read_u8(reader)};
    bool keyed = false;
    switch (effect.kind) {
    case EFFECT_PUT:
    case EFFECT_INSERT:
        keyed = true;
        effect.key = read_sized(reader);
        effect.header.type = read_u8(reader);
        effect.header.flags = read_u8(reader);
        effect.header.expiry = read_u64(reader);
        effect.value = read_sized(reader);
        break;
    case EFFECT_DELETE:
        keyed = true;
        effect.key = read_sized(reader);
        break;
    case EFFECT_ADD:
        keyed = true;
        effect.key = read_sized(reader);
        effect.delta = read_i64(reader);
        break;
    case EFFECT_DROP:
        effect.service = read_u8(reader);
        effect.namespace = read_u32(reader);
        break;
    case EFFECT_FENCE:
        effect.node = read_u32(reader);
        effect.epoch = read_u32(reader);
        break;
    case EFFECT_CUT:
        if (!read_cut(reader, &effect)) return STATUS_CORRUPT;
        break;
    default:
        return STATUS_VERSION;
    }
    bool key_fits = effect.key.size >= ROW_PREFIX_SIZE && effect.key.size <= ROW_KEY_SIZE_MAX;
    bool value_fits = effect.value.size <= ROW_VALUE_SIZE_MAX;
    if (reader->failed || (keyed && !key_fits) || !value_fits) return STATUS_CORRUPT;
    *ret_effect = effect;
    return STATUS_OK;
}

int64_t effect_add_base(struct bytes value)
{
    return value.size == 8 ? (int64_t)load_u64(value.data) : 0;
}

static void apply_add(const struct effect *effect, uint64_t index, bool proposed,
                      struct row_table *table)
{
    struct row_header header = {.type = 1};
    int64_t base = 0;
    struct row_found found;
    bool there = proposed ? row_table_get(table, effect->key, &found) && !found.tombstone
                          : row_table_get_committed(table, effect->key, &found);
    if (there) {
        header = found.header;
        base = effect_add_base(found.value);
    }
    header.version = index;
    uint8_t sum[8];
    store_u64(sum, (uint64_t)base + (uint64_t)effect->delta);
    unsigned flags = (proposed ? ROW_WRITE_PROPOSED : 0) | (there ? 0 : ROW_WRITE_INSERTS);
    row_table_put(table, effect->key, &header, bytes_make(sum, sizeof(sum)), flags);
}

void effect_apply(const struct effect *effect, uint64_t index, bool proposed,
                  struct row_table *table)
{
    struct row_header header = effect->header;
    header.version = index;
    unsigned flags = proposed ? ROW_WRITE_PROPOSED : 0;
    switch (effect->kind) {
    case EFFECT_PUT:
        row_table_put(table, effect->key, &header, effect->value, flags);
        break;
    case EFFECT_INSERT:
        row_table_put(table, effect->key, &header, effect->value, flags | ROW_WRITE_INSERTS);
        break;
    case EFFECT_DELETE:
        row_table_delete(table, effect->key, index, flags);
        break;
    case EFFECT_ADD:
        apply_add(effect, index, proposed, table);
        break;
    case EFFECT_DROP:
        row_table_drop(table, effect->service, effect->namespace, index, flags);
        break;
    default:
        ASSERT(effect->kind == EFFECT_FENCE || effect->kind == EFFECT_CUT);
        break;
    }
}
