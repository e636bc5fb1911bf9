/* Beats of nodes, questions whether groups may rest and answers, by the first byte: no input may
 * pass the bounds, and whatever decodes encodes to the same again. */
#include <stdlib.h>

#include "base/assert.h"
#include "partition/rest_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool beat_again(struct bytes frame, struct buffer *buffer)
{
    struct rest_beat beat;
    if (rest_beat_decode(frame, &beat)) return false;
    rest_beat_encode(&beat, buffer);
    return true;
}

static bool ask_again(struct bytes frame, struct buffer *buffer)
{
    uint64_t generation;
    struct reader entries;
    struct rest_ask_entry entry;
    if (rest_ask_decode(frame, &generation, &entries)) return false;
    rest_ask_begin(buffer, generation);
    while (rest_ask_next(&entries, &entry))
        rest_ask_add(buffer, &entry);
    return true;
}

static bool ack_again(struct bytes frame, struct buffer *buffer)
{
    struct rest_ack ack;
    if (rest_ack_decode(frame, &ack)) return false;
    rest_ack_encode(&ack, buffer);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool (*const again[])(struct bytes, struct buffer *) = {beat_again, ask_again,
                                                                   ack_again};
    if (size == 0) return 0;
    struct bytes frame = bytes_make(data + 1, size - 1);
    struct buffer buffer;
    buffer_init(&buffer, size + 64);
    if (again[data[0] % 3](frame, &buffer)) {
        ASSERT(buffer_size(&buffer) == frame.size);
        ASSERT(memcmp(buffer_bytes(&buffer).data, frame.data, frame.size) == 0);
    }
    buffer_free(&buffer);
    return 0;
}
