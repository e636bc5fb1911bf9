#include "partition/txn_record.h"

enum { PREPARED_FORMAT = 1, DECISION_FORMAT = 1, PREPARED_CHORE = 1 };

void txn_id_encode(struct writer *writer, struct txn_id id)
{
    write_u32(writer, id.gateway.node);
    write_u32(writer, id.gateway.epoch);
    write_u16(writer, id.gateway.worker);
    write_u32(writer, id.primary.value);
    write_u64(writer, id.seq);
}

struct txn_id txn_id_decode(struct reader *reader)
{
    struct txn_id id = {0};
    id.gateway.node = read_u32(reader);
    id.gateway.epoch = read_u32(reader);
    id.gateway.worker = read_u16(reader);
    id.primary.value = read_u32(reader);
    id.seq = read_u64(reader);
    return id;
}

void txn_row_key_store(uint8_t at[TXN_ROW_KEY_SIZE], uint16_t slot_first, enum txn_row_kind kind,
                       struct txn_id id)
{
    row_prefix_store(at, slot_first, SERVICE_TXN, kind);
    at += ROW_PREFIX_SIZE;
    store_u32_be(at, id.gateway.node);
    store_u32_be(at + 4, id.gateway.epoch);
    store_u16_be(at + 8, id.gateway.worker);
    store_u32_be(at + 10, id.primary.value);
    store_u64_be(at + 14, id.seq);
}

bool txn_row_key_parse(struct bytes key, enum txn_row_kind *ret_kind, struct txn_id *ret_id)
{
    if (key.size != TXN_ROW_KEY_SIZE || key.data[2] != SERVICE_TXN) return false;
    uint32_t kind = load_u32_be(key.data + 3);
    const uint8_t *at = key.data + ROW_PREFIX_SIZE;
    if (kind != TXN_ROW_PREPARED && kind != TXN_ROW_DECISION) return false;
    *ret_kind = kind;
    *ret_id = (struct txn_id){
        .gateway = {load_u32_be(at), load_u32_be(at + 4), load_u16_be(at + 8)},
        .primary = {load_u32_be(at + 10)},
        .seq = load_u64_be(at + 14),
    };
    return true;
}

void txn_prepared_encode(const struct txn_prepared *prepared, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    write_u8(&writer, PREPARED_FORMAT);
    write_u8(&writer, prepared->service);
    write_u8(&writer, prepared->chore ? PREPARED_CHORE : 0);
    write_i64(&writer, prepared->time);
    write_varint(&writer, prepared->key_count);
    write_bytes(&writer, prepared->keys);
    write_varint(&writer, prepared->range_count);
    write_bytes(&writer, prepared->ranges);
    write_varint(&writer, prepared->namespace_count);
    write_bytes(&writer, prepared->namespaces);
    write_bytes(&writer, prepared->effects);
}

/* Where `count` keys end that begin at the reader. */
static struct bytes read_keys(struct reader *reader, uint64_t count)
{
    const uint8_t *from = reader->next;
    if (count > reader_left(reader)) reader->failed = true; /* each takes a byte at least */
    for (uint64_t i = 0; i < count && !reader->failed; i++)
        read_sized(reader);
    return bytes_make(from, reader->failed ? 0 : (size_t)(reader->next - from));
}

static bool effects_are_sound(struct bytes effects)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    enum status status;
    while ((status = effect_decode(&reader, &effect)) == STATUS_OK) {
    }
    return status == STATUS_NOT_FOUND;
}

enum status txn_prepared_decode(struct bytes value, struct txn_prepared *ret_prepared)
{
    struct reader reader = reader_make(value);
    struct txn_prepared prepared = {0};
    uint8_t format = read_u8(&reader);
    if (!reader.failed && format != PREPARED_FORMAT) return STATUS_VERSION;
    prepared.service = read_u8(&reader);
    uint8_t flags = read_u8(&reader);
    if (flags & ~PREPARED_CHORE) return STATUS_VERSION;
    prepared.chore = flags & PREPARED_CHORE;
    prepared.time = read_i64(&reader);
    prepared.key_count = (uint32_t)read_varint(&reader);
    prepared.keys = read_keys(&reader, prepared.key_count);
    prepared.range_count = (uint32_t)read_varint(&reader);
    prepared.ranges = read_keys(&reader, 2 * (uint64_t)prepared.range_count);
    prepared.namespace_count = (uint32_t)read_varint(&reader);
    prepared.namespaces =
        read_bytes(&reader, (size_t)prepared.namespace_count * TXN_NAMESPACE_SIZE);
    if (reader.failed) return STATUS_CORRUPT;
    prepared.effects = read_bytes(&reader, reader_left(&reader));
    if (!effects_are_sound(prepared.effects)) return STATUS_CORRUPT;
    *ret_prepared = prepared;
    return STATUS_OK;
}

void txn_decision_encode(const struct txn_decision *decision, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    write_u8(&writer, DECISION_FORMAT);
    write_u8(&writer, (uint8_t)decision->outcome);
    write_i64(&writer, decision->time);
    write_varint(&writer, decision->group_count);
    write_bytes(&writer, decision->groups);
}

enum status txn_decision_decode(struct bytes value, struct txn_decision *ret_decision)
{
    struct reader reader = reader_make(value);
    uint8_t format = read_u8(&reader);
    if (!reader.failed && format != DECISION_FORMAT) return STATUS_VERSION;
    uint8_t outcome = read_u8(&reader);
    struct txn_decision decision = {.outcome = outcome, .time = read_i64(&reader)};
    decision.group_count = (uint32_t)read_varint(&reader);
    decision.groups = read_bytes(&reader, (size_t)decision.group_count * sizeof(uint32_t));
    bool known = outcome == TXN_ABORT || outcome == TXN_COMMIT;
    if (reader.failed || reader_left(&reader) > 0 || !known) return STATUS_CORRUPT;
    *ret_decision = decision;
    return STATUS_OK;
}
