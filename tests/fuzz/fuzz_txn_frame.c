/* Requests of transactions and their answers: no input may pass the bounds, and what decodes
 * encodes to the same bytes again, but for a longer way to write the number of participants. */
#include <stdlib.h>

#include "base/assert.h"
#include "txn/txn_frame.h"

static void decode_frame(struct bytes input, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    struct txn_frame frame, again;

    if (txn_frame_decode(input, &frame)) return;
    ASSERT(frame.body.size <= input.size && frame.groups.size <= input.size);
    txn_frame_encode(&writer, &frame);
    ASSERT(!writer.failed && buffer_size(buffer) <= input.size);
    ASSERT(txn_frame_decode(buffer_bytes(buffer), &again) == STATUS_OK);
    ASSERT(again.op == frame.op && txn_id_equal(again.id, frame.id));
    ASSERT(bytes_equal(again.body, frame.body) && bytes_equal(again.groups, frame.groups));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct txn_answer answer;
    struct buffer buffer;

    buffer_init(&buffer, SIZE_MAX / 2);
    decode_frame(bytes_make(data, size), &buffer);
    for (enum txn_op op = TXN_PREPARE; op <= TXN_READ; op++)
        if (txn_answer_decode(bytes_make(data, size), op, &answer) == STATUS_OK)
            ASSERT(answer.reply.size < size);
    buffer_free(&buffer);
    return 0;
}
