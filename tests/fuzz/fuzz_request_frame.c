/* Requests and replies between nodes: no input may pass the bounds, and whatever decodes
 * encodes to the same bytes again. */
#include <stdlib.h>

#include "base/assert.h"
#include "wire/request_frame.h"

static void decode_requests(struct bytes input, struct buffer *buffer)
{
    struct reader reader = reader_make(input);
    struct request_section section;
    struct writer writer = writer_make(buffer);
    while (request_section_decode(&reader, &section) == STATUS_OK) {
        request_section_encode(&writer, &section);
        for (uint32_t i = 0; i < section.count; i++) {
            struct request_item item;
            if (request_item_decode(&reader, &item)) return;
            ASSERT(item.body.size <= input.size);
            request_item_encode(&writer, &item);
        }
    }
}

static void decode_replies(struct bytes input, struct buffer *buffer)
{
    struct reader reader = reader_make(input);
    struct reply_section section;
    struct writer writer = writer_make(buffer);
    while (reply_section_decode(&reader, &section) == STATUS_OK) {
        reply_section_encode(&writer, &section);
        for (uint32_t i = 0; section.code == REPLY_CODE_REPLIES && i < section.count; i++) {
            struct reply_item item;
            if (reply_item_decode(&reader, &item)) return;
            ASSERT(item.bytes.size <= input.size);
            reply_item_encode(&writer, &item);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX / 2);
    decode_requests(bytes_make(data, size), &buffer);
    buffer_clear(&buffer);
    decode_replies(bytes_make(data, size), &buffer);
    buffer_free(&buffer);
    return 0;
}
