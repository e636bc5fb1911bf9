/* Requests about cuts and their replies: no input may pass the bounds, and what decodes encodes to
 * the same bytes again. */
#include "base/assert.h"
#include "partition/cut_frame.h"

static void walk(struct bytes txns, uint32_t count)
{
    struct txn_id id;
    uint32_t found = 0;

    while (cut_txn_next(&txns, &id))
        found++;
    ASSERT(found == count && txns.size == 0);
}

static void decode_request(struct bytes input, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    struct cut_request request;

    if (!cut_request_decode(input, &request)) return;
    ASSERT(request.body.size < input.size);
    walk(request.txns, request.txn_count);
    cut_request_encode(&writer, &request);
    ASSERT(!writer.failed && bytes_equal(buffer_bytes(buffer), input));
}

static void decode_state(struct bytes input, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    struct cut_state state;
    enum cut_status status;
    struct bytes rest;

    if (!cut_reply_read(input, &status, &rest)) return;
    ASSERT(rest.size + 1 == input.size);
    if (!cut_state_decode(rest, &state)) return;
    walk(state.txns, state.txn_count);
    cut_state_encode(&writer, &state);
    ASSERT(!writer.failed && bytes_equal(buffer_bytes(buffer), rest));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer buffer;

    buffer_init(&buffer, SIZE_MAX / 2);
    decode_request(bytes_make(data, size), &buffer);
    buffer_clear(&buffer);
    decode_state(bytes_make(data, size), &buffer);
    buffer_free(&buffer);
    return 0;
}
