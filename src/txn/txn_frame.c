#include "txn/txn_frame.h"

#include "base/assert.h"

enum { FRAME_FORMAT = 1 };
enum { SERVICE_SEVERAL = 0x80, SERVICE_WAITS = 0x40, SERVICE_FLAGS = 0xc0 }; /* of the service */

static bool has_piece(enum txn_op op)
{
    return op == TXN_PREPARE || op == TXN_DECIDE || op == TXN_READ;
}

static uint8_t service_byte(const struct txn_frame *frame)
{
    ASSERT((frame->service & SERVICE_FLAGS) == 0);
    return (uint8_t)(frame->service | (frame->several ? SERVICE_SEVERAL : 0) |
                     (frame->waits ? SERVICE_WAITS : 0));
}

static void read_service(struct reader *reader, struct txn_frame *frame)
{
    uint8_t byte = read_u8(reader);

    frame->service = byte & (uint8_t)~SERVICE_FLAGS;
    frame->several = (byte & SERVICE_SEVERAL) != 0;
    frame->waits = (byte & SERVICE_WAITS) != 0;
    if (frame->waits && frame->op != TXN_PREPARE) reader->failed = true;
}

bool txn_bodies_next(struct bytes *rest, struct bytes *ret_body)
{
    struct reader reader = reader_make(*rest);
    struct bytes body = read_bytes(&reader, read_u32(&reader));

    if (reader.failed) return false;
    *rest = bytes_make(reader.next, reader_left(&reader));
    *ret_body = body;
    return true;
}

void txn_frame_encode(struct writer *writer, const struct txn_frame *frame)
{
    write_u8(writer, FRAME_FORMAT);
    write_u8(writer, (uint8_t)frame->op);
    txn_id_encode(writer, frame->id);
    if (has_piece(frame->op)) write_u8(writer, service_byte(frame));
    if (frame->op == TXN_RESOLVE) write_u8(writer, (uint8_t)frame->outcome);
    if (frame->op == TXN_QUERY) write_u8(writer, frame->may_abort);
    if (frame->op == TXN_FORGET) write_u32(writer, frame->epoch);
    if (frame->op == TXN_DECIDE) {
        write_varint(writer, frame->group_count);
        write_bytes(writer, frame->groups);
    }
    if (has_piece(frame->op)) write_bytes(writer, frame->body);
}

static void read_groups(struct reader *reader, struct txn_frame *frame)
{
    uint64_t count = read_varint(reader);
    if (count > TXN_GROUPS_MAX) {
        reader->failed = true;
        return;
    }
    frame->group_count = (uint32_t)count;
    frame->groups = read_bytes(reader, count * sizeof(uint32_t));
}

static uint8_t read_choice(struct reader *reader, uint8_t last)
{
    uint8_t value = read_u8(reader);
    if (value > last) reader->failed = true;
    return value;
}

enum status txn_frame_decode(struct bytes bytes, struct txn_frame *ret_frame)
{
    struct reader reader = reader_make(bytes);
    struct txn_frame frame = {0};
    uint8_t format = read_u8(&reader);
    uint8_t op = read_u8(&reader);

    if (reader.failed) return STATUS_CORRUPT;
    if (format != FRAME_FORMAT || op < TXN_PREPARE || op > TXN_READ) return STATUS_VERSION;
    frame.op = op;
    frame.id = txn_id_decode(&reader);
    if (has_piece(frame.op)) read_service(&reader, &frame);
    if (frame.op == TXN_RESOLVE) frame.outcome = read_choice(&reader, TXN_COMMIT);
    if (frame.op == TXN_QUERY) frame.may_abort = read_choice(&reader, 1);
    if (frame.op == TXN_FORGET) frame.epoch = read_u32(&reader);
    if (frame.op == TXN_DECIDE) read_groups(&reader, &frame);
    if (has_piece(frame.op)) frame.body = read_bytes(&reader, reader_left(&reader));
    if (reader.failed || reader_left(&reader) > 0) return STATUS_CORRUPT;
    *ret_frame = frame;
    return STATUS_OK;
}

enum status txn_answer_decode(struct bytes bytes, enum txn_op op, struct txn_answer *ret_answer)
{
    struct reader reader = reader_make(bytes);
    struct txn_answer answer = {0};
    uint8_t status = read_u8(&reader);

    if (reader.failed) return STATUS_CORRUPT;
    if (status > TXN_STATUS_WRITES) return STATUS_VERSION;
    answer.status = status;
    if (op == TXN_READ) {
        answer.digest[0] = read_u64(&reader);
        answer.digest[1] = read_u64(&reader);
    }
    if (reader.failed) return STATUS_CORRUPT;
    answer.reply = read_bytes(&reader, reader_left(&reader));
    *ret_answer = answer;
    return STATUS_OK;
}
