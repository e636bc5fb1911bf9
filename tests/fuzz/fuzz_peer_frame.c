/* fuzz_peer_frame.c - what comes from another node, before it is known to be one: no input makes
 * the frame and hello parsers read outside of it, and what they accept encodes back to itself.
 *
 * The first byte says whether the checksums of the first frame are made right: without that, the
 * fuzzer would spend its time on guessing them. */
#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "wire/peer_frame.h"

enum { FRAME_PAYLOAD_MAX = 4096, SEED = 12345, FIX_CRC = 1, SIZE_MAX_TRIED = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hello(struct bytes payload)
{
    struct peer_hello hello, again;
    struct buffer buffer;

    if (peer_hello_decode(payload, &hello)) return;
    ASSERT(memchr(hello.name, 0, sizeof(hello.name)) != NULL);
    ASSERT(hello.node > 0 && hello.node <= NODES_MAX && hello.worker < hello.worker_count);
    buffer_init(&buffer, FRAME_PAYLOAD_MAX);
    peer_hello_encode(&hello, &buffer);
    ASSERT(peer_hello_decode(buffer_bytes(&buffer), &again) == STATUS_OK);
    ASSERT(strcmp(hello.name, again.name) == 0 && hello.store == again.store);
    buffer_free(&buffer);
}

static void check_frames(struct bytes input)
{
    struct peer_frame frame;
    size_t used = 0;

    while (peer_frame_parse(input, SEED, FRAME_PAYLOAD_MAX, &frame, &used) == STATUS_OK) {
        struct buffer buffer;
        ASSERT(used >= PEER_FRAME_HEADER_SIZE && used <= input.size);
        ASSERT(frame.payload.size == used - PEER_FRAME_HEADER_SIZE);
        buffer_init(&buffer, used);
        ASSERT(peer_frame_append(&buffer, SEED, frame.kind, frame.worker, frame.payload) ==
               STATUS_OK);
        ASSERT(bytes_equal(buffer_bytes(&buffer), bytes_make(input.data, used)));
        buffer_free(&buffer);
        check_hello(frame.payload);
        input = bytes_from(input, used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size == 0 || size > SIZE_MAX_TRIED) return 0;
    check_hello(bytes_make(data + 1, size - 1));
    copy = memory_allocate(size - 1); /* exact, so that one byte too far is seen */
    if (size > 1) memcpy(copy, data + 1, size - 1);
    if ((data[0] & FIX_CRC) && size - 1 >= PEER_FRAME_HEADER_SIZE) {
        size_t checked = load_u32(copy);
        store_u32(copy + 4, crc32c(SEED, bytes_make(copy, 4)));
        if (checked <= size - 1 - 12)
            store_u32(copy + 8, crc32c(SEED, bytes_make(copy + 12, checked)));
    }
    check_frames(bytes_make(copy, size - 1));
    memory_free(copy);
    return 0;
}
