#include "partition/cut_frame.h"

static bool has_time(uint8_t op)
{
    return op == CUT_FREEZE || op == CUT_CLAIM;
}

static bool has_txns(uint8_t op)
{
    return op == CUT_OUTCOMES || op == CUT_READ;
}

void cut_request_encode(struct writer *writer, const struct cut_request *request)
{
    write_u8(writer, CUT_FORMAT);
    write_u8(writer, request->op);
    write_u64(writer, request->cut);
    if (has_time(request->op)) write_u32(writer, request->freeze_ms);
    if (request->op == CUT_TAKE) {
        write_u64(writer, request->freeze);
        write_i64(writer, request->lifetime);
    }
    if (has_txns(request->op)) {
        write_varint(writer, request->txn_count);
        write_bytes(writer, request->txns);
    }
    if (request->op == CUT_READ) {
        write_u8(writer, request->service);
        write_bytes(writer, request->body);
    }
}

static struct bytes read_txns(struct reader *reader, uint32_t *ret_count)
{
    uint64_t count = read_varint(reader);
    if (count > CUT_TXNS_MAX) {
        reader->failed = true;
        return bytes_make(NULL, 0);
    }
    *ret_count = (uint32_t)count;
    return read_bytes(reader, count * TXN_ID_SIZE);
}

static bool makes_sense(const struct cut_request *request)
{
    if (request->cut == 0) return false;
    if (has_time(request->op)) return request->freeze_ms <= CUT_FREEZE_MS_MAX;
    if (request->op == CUT_TAKE) return request->lifetime > 0;
    /* A cut of a cut there is not: nothing here asks itself. */
    return request->op != CUT_READ || request->service != SERVICE_CUT;
}

bool cut_request_decode(struct bytes body, struct cut_request *ret)
{
    struct reader reader = reader_make(body);
    struct cut_request request = {0};
    uint8_t format = read_u8(&reader);

    request.op = read_u8(&reader);
    request.cut = read_u64(&reader);
    if (reader.failed || format != CUT_FORMAT) return false;
    if (request.op < CUT_FREEZE || request.op > CUT_CLAIM) return false;
    if (has_time(request.op)) request.freeze_ms = read_u32(&reader);
    if (request.op == CUT_TAKE) {
        request.freeze = read_u64(&reader);
        request.lifetime = read_i64(&reader);
    }
    if (has_txns(request.op)) request.txns = read_txns(&reader, &request.txn_count);
    if (request.op == CUT_READ) {
        request.service = read_u8(&reader);
        request.body = read_bytes(&reader, reader_left(&reader));
    }
    if (reader.failed || reader_left(&reader) > 0 || !makes_sense(&request)) return false;
    *ret = request;
    return true;
}

bool cut_txn_next(struct bytes *txns, struct txn_id *ret)
{
    struct reader reader = reader_make(*txns);
    struct txn_id id = txn_id_decode(&reader);

    if (reader.failed) return false;
    *txns = bytes_make(reader.next, reader_left(&reader));
    *ret = id;
    return true;
}

void cut_txn_encode(struct writer *writer, struct txn_id id)
{
    txn_id_encode(writer, id);
}

void cut_state_encode(struct writer *writer, const struct cut_state *state)
{
    write_u64(writer, state->index);
    write_i64(writer, state->time);
    write_varint(writer, state->txn_count);
    write_bytes(writer, state->txns);
}

bool cut_state_decode(struct bytes rest, struct cut_state *ret)
{
    struct reader reader = reader_make(rest);
    struct cut_state state = {.index = read_u64(&reader)};

    state.time = read_i64(&reader);
    state.txns = read_txns(&reader, &state.txn_count);
    if (reader.failed || reader_left(&reader) > 0) return false;
    *ret = state;
    return true;
}

bool cut_reply_read(struct bytes reply, enum cut_status *ret_status, struct bytes *ret_rest)
{
    if (reply.size == 0) return false;
    *ret_status = reply.data[0];
    *ret_rest = bytes_make(reply.data + 1, reply.size - 1);
    return true;
}
