#include "wire/relay_frame.h"

#include "wire/peer_frame.h"

static bool may_be_inside(uint8_t kind)
{
    return kind == PEER_FRAME_REQUESTS || kind == PEER_FRAME_REPLIES ||
           kind == PEER_FRAME_REPLY_ACKS || kind == PEER_FRAME_WAY || kind == PEER_FRAME_STATUS;
}

static bool is_node(node_id_t node)
{
    return node > 0 && node <= NODES_MAX;
}

void relay_header_encode(struct writer *writer, const struct relay_header *header)
{
    write_u32(writer, header->node);
    write_u16(writer, header->worker);
    write_u8(writer, header->kind);
}

void relayed_header_encode(struct writer *writer, const struct relayed_header *header)
{
    write_u32(writer, header->node);
    write_u32(writer, header->epoch);
    write_u64(writer, header->store);
    write_u16(writer, header->worker);
    write_u8(writer, header->kind);
}

void way_frame_encode(struct writer *writer, const struct way_frame *way)
{
    write_u8(writer, way->answers);
    write_u64(writer, way->number);
    write_u16(writer, way->workers);
}

enum status relay_header_decode(struct bytes frame, struct relay_header *ret,
                                struct bytes *ret_payload)
{
    struct reader reader = reader_make(frame);
    struct relay_header header = {.node = read_u32(&reader)};

    header.worker = read_u16(&reader);
    header.kind = read_u8(&reader);
    bool sane = is_node(header.node) && may_be_inside(header.kind) &&
                reader_left(&reader) <= RELAY_INSIDE_SIZE_MAX;
    if (reader.failed || !sane) return STATUS_CORRUPT;
    *ret = header;
    *ret_payload = bytes_make(reader.next, reader_left(&reader));
    return STATUS_OK;
}

enum status relayed_header_decode(struct bytes frame, struct relayed_header *ret,
                                  struct bytes *ret_payload)
{
    struct reader reader = reader_make(frame);
    struct relayed_header header = {.node = read_u32(&reader)};

    header.epoch = read_u32(&reader);
    header.store = read_u64(&reader);
    header.worker = read_u16(&reader);
    header.kind = read_u8(&reader);
    bool sane = is_node(header.node) && header.worker < WORKERS_MAX && may_be_inside(header.kind) &&
                reader_left(&reader) <= RELAY_INSIDE_SIZE_MAX;
    if (reader.failed || !sane) return STATUS_CORRUPT;
    *ret = header;
    *ret_payload = bytes_make(reader.next, reader_left(&reader));
    return STATUS_OK;
}

enum status way_frame_decode(struct bytes frame, struct way_frame *ret)
{
    struct reader reader = reader_make(frame);
    uint8_t what = read_u8(&reader);
    struct way_frame way = {.answers = what == 1, .number = read_u64(&reader)};

    way.workers = read_u16(&reader);
    bool sane = what <= 1 && way.workers > 0 && way.workers <= WORKERS_MAX;
    if (reader.failed || reader_left(&reader) > 0 || !sane) return STATUS_CORRUPT;
    *ret = way;
    return STATUS_OK;
}
