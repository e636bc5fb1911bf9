#include "wire/request_frame.h"

#include "base/assert.h"

enum { REQUEST_FLAG_WRITE = 1, REQUEST_FLAG_ORDERED = 2, REQUEST_FLAG_GROWS = 4 };

void request_section_encode(struct writer *writer, const struct request_section *section)
{
    write_u32(writer, section->group.value);
    write_u64(writer, section->term);
    write_u64(writer, section->route);
    write_u64(writer, section->watermark);
    write_u32(writer, section->position);
    write_u32(writer, section->patience_ms);
    write_u16(writer, section->count);
}

enum status request_section_decode(struct reader *reader, struct request_section *ret)
{
    if (reader_left(reader) == 0) return STATUS_NOT_FOUND;
    struct request_section section = {
        .group = {read_u32(reader)},
        .term = read_u64(reader),
        .route = read_u64(reader),
        .watermark = read_u64(reader),
        .position = read_u32(reader),
        .patience_ms = read_u32(reader),
        .count = read_u16(reader),
    };
    if (reader->failed || section.count == 0 || section.count > REQUEST_FRAME_COUNT_MAX) {
        return STATUS_CORRUPT;
    }
    *ret = section;
    return STATUS_OK;
}

void request_item_encode(struct writer *writer, const struct request_item *item)
{
    write_varint(writer, item->seq);
    write_u8(writer, item->service);
    write_u8(writer, (item->write ? REQUEST_FLAG_WRITE : 0) |
                         (item->ordered ? REQUEST_FLAG_ORDERED : 0) |
                         (item->grows ? REQUEST_FLAG_GROWS : 0));
    write_u16(writer, item->client);
    write_u16(writer, item->slot);
    write_sized(writer, item->body);
}

enum status request_item_decode(struct reader *reader, struct request_item *ret)
{
    struct request_item item = {.seq = read_varint(reader), .service = read_u8(reader)};
    uint8_t flags = read_u8(reader);
    item.write = (flags & REQUEST_FLAG_WRITE) != 0;
    item.ordered = (flags & REQUEST_FLAG_ORDERED) != 0;
    item.client = read_u16(reader);
    item.grows = (flags & REQUEST_FLAG_GROWS) != 0;
    item.slot = read_u16(reader);
    item.body = read_sized(reader);
    if (reader->failed || item.seq == 0 ||
        (flags & ~(REQUEST_FLAG_WRITE | REQUEST_FLAG_ORDERED | REQUEST_FLAG_GROWS)) != 0) {
        return STATUS_CORRUPT;
    }
    *ret = item;
    return STATUS_OK;
}

void reply_section_encode(struct writer *writer, const struct reply_section *section)
{
    write_u32(writer, section->group.value);
    write_u64(writer, section->term);
    write_u64(writer, section->route);
    write_u8(writer, section->code);
    if (section->code == REPLY_CODE_REPLIES) {
        write_u32(writer, section->number);
        write_u16(writer, section->count);
    } else {
        write_u32(writer, section->leader);
        write_u64(writer, section->leader_term);
    }
}

enum status reply_section_decode(struct reader *reader, struct reply_section *ret)
{
    if (reader_left(reader) == 0) return STATUS_NOT_FOUND;
    struct reply_section section = {
        .group = {read_u32(reader)},
        .term = read_u64(reader),
        .route = read_u64(reader),
        .code = read_u8(reader),
    };
    if (section.code == REPLY_CODE_REPLIES) {
        section.number = read_u32(reader);
        section.count = read_u16(reader);
    } else {
        section.leader = read_u32(reader);
        section.leader_term = read_u64(reader);
    }
    if (reader->failed || section.code > NACK_BUSY) return STATUS_CORRUPT;
    *ret = section;
    return STATUS_OK;
}

void reply_item_encode(struct writer *writer, const struct reply_item *item)
{
    ASSERT(item->seq != 0);
    write_varint(writer, item->seq);
    write_u8(writer, item->outcome);
    write_sized(writer, item->bytes);
}

enum status reply_item_decode(struct reader *reader, struct reply_item *ret)
{
    struct reply_item item = {.seq = read_varint(reader), .outcome = read_u8(reader)};
    item.bytes = read_sized(reader);
    if (reader->failed || item.seq == 0 || item.outcome > OUTCOME_PART) return STATUS_CORRUPT;
    *ret = item;
    return STATUS_OK;
}

void part_ack_encode(struct writer *writer, const struct part_ack *ack)
{
    write_u32(writer, ack->group.value);
    write_u64(writer, ack->route);
    write_varint(writer, ack->seq);
    write_varint(writer, ack->bytes);
}

enum status part_ack_decode(struct reader *reader, struct part_ack *ret)
{
    if (reader_left(reader) == 0) return STATUS_NOT_FOUND;
    struct part_ack ack = {.group = {read_u32(reader)},
                           .route = read_u64(reader),
                           .seq = read_varint(reader),
                           .bytes = read_varint(reader)};
    if (reader->failed || ack.seq == 0) return STATUS_CORRUPT;
    *ret = ack;
    return STATUS_OK;
}
