/* fuzz_relay_frame.c - what a greeted node sends to be passed on: no input passes the bounds, what
 * decodes fits into the frame in which it is passed on, and encodes back to itself. */
#include "base/assert.h"
#include "net/transport.h"
#include "wire/relay_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_relay(struct bytes input, struct buffer *buffer)
{
    struct relay_header header;
    struct relayed_header passed = {.node = 1};
    struct bytes payload;

    if (relay_header_decode(input, &header, &payload)) return;
    buffer_clear(buffer);
    struct writer writer = writer_make(buffer);
    relay_header_encode(&writer, &header);
    write_bytes(&writer, payload);
    ASSERT(!writer.failed && bytes_equal(buffer_bytes(buffer), input));
    buffer_clear(buffer);
    writer = writer_make(buffer);
    passed.kind = header.kind;
    relayed_header_encode(&writer, &passed);
    write_bytes(&writer, payload);
    ASSERT(!writer.failed);
}

static void check_relayed(struct bytes input, struct buffer *buffer)
{
    struct relayed_header header;
    struct bytes payload;

    if (relayed_header_decode(input, &header, &payload)) return;
    ASSERT(payload.size <= TRANSPORT_FRAME_SIZE_MAX);
    buffer_clear(buffer);
    struct writer writer = writer_make(buffer);
    relayed_header_encode(&writer, &header);
    write_bytes(&writer, payload);
    ASSERT(!writer.failed && bytes_equal(buffer_bytes(buffer), input));
}

static void check_way(struct bytes input, struct buffer *buffer)
{
    struct way_frame way;

    if (way_frame_decode(input, &way)) return;
    buffer_clear(buffer);
    struct writer writer = writer_make(buffer);
    way_frame_encode(&writer, &way);
    ASSERT(bytes_equal(buffer_bytes(buffer), input));
}

/* The last byte, times 4 KiB: so many zeros are appended, for sizes about the limits. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer buffer, input;

    if (size == 0) return 0;
    buffer_init(&buffer, TRANSPORT_RELAYED_SIZE_MAX);
    buffer_init(&input, SIZE_MAX / 2);
    struct writer writer = writer_make(&input);
    write_bytes(&writer, bytes_make(data, size - 1));
    static const uint8_t zeros[4096];
    for (int i = 0; i < data[size - 1] + (data[size - 1] == UINT8_MAX); i++)
        write_bytes(&writer, bytes_make(zeros, sizeof(zeros)));
    check_relay(buffer_bytes(&input), &buffer);
    check_relayed(buffer_bytes(&input), &buffer);
    check_way(buffer_bytes(&input), &buffer);
    buffer_free(&buffer);
    buffer_free(&input);
    return 0;
}
