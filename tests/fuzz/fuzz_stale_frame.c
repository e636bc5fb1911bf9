/* Stale reads between workers: no input may pass the bounds, and whatever decodes encodes to
 * something that decodes to the same. */
#include "base/assert.h"
#include "wire/stale_frame.h"

static void decode_asks(struct bytes input, struct buffer *buffer)
{
    struct reader reader = reader_make(input);
    struct stale_ask ask, again;
    while (stale_ask_decode(&reader, &ask) == STATUS_OK) {
        ASSERT(ask.body.size <= input.size);
        buffer_clear(buffer);
        struct writer writer = writer_make(buffer);
        stale_ask_encode(&writer, &ask);
        struct reader second = reader_make(buffer_bytes(buffer));
        ASSERT(stale_ask_decode(&second, &again) == STATUS_OK && reader_left(&second) == 0);
        ASSERT(again.id == ask.id && again.slot == ask.slot && again.bound == ask.bound);
        ASSERT(bytes_equal(again.body, ask.body));
    }
}

static void decode_answers(struct bytes input, struct buffer *buffer)
{
    struct reader reader = reader_make(input);
    struct stale_answer answer, again;
    while (stale_answer_decode(&reader, &answer) == STATUS_OK) {
        ASSERT(answer.bytes.size <= input.size);
        buffer_clear(buffer);
        struct writer writer = writer_make(buffer);
        stale_answer_encode(&writer, &answer);
        struct reader second = reader_make(buffer_bytes(buffer));
        ASSERT(stale_answer_decode(&second, &again) == STATUS_OK && reader_left(&second) == 0);
        ASSERT(again.id == answer.id && again.code == answer.code && again.as_of == answer.as_of);
        ASSERT(bytes_equal(again.bytes, answer.bytes));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX / 2);
    decode_asks(bytes_make(data, size), &buffer);
    decode_answers(bytes_make(data, size), &buffer);
    buffer_free(&buffer);
    return 0;
}
