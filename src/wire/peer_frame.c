#include "wire/peer_frame.h"

#include "base/assert.h"
#include "base/hash.h"

enum {
    SIZE_FIELD_AT = 0,
    SIZE_FIELD_SIZE = 4,
    SIZE_CHECK_AT = 4,
    PREFIX_SIZE = 8, /* so much tells how long the frame is */
    CRC_FIELD_AT = 8,
    CHECKED_AT = 12, /* the size counts, and the CRC covers, all from here */
    VERSION_FIELD_AT = 12,
    KIND_FIELD_AT = 13,
    WORKER_FIELD_AT = 14,
    CHECKED_SIZE_MIN = PEER_FRAME_HEADER_SIZE - CHECKED_AT,
    SEED_INPUT_SIZE = 16 + 4 + 4 + 4,
};

uint32_t peer_frame_seed(struct cluster_id cluster, node_id_t from, boot_epoch_t epoch,
                         node_id_t to)
{
    uint8_t input[SEED_INPUT_SIZE];

    store_u64(input, cluster.high);
    store_u64(input + 8, cluster.low);
    store_u32(input + 16, from);
    store_u32(input + 20, epoch);
    store_u32(input + 24, to);
    return crc32c(0, bytes_make(input, sizeof(input)));
}

static uint32_t size_check(uint32_t seed, const uint8_t *frame)
{
    return crc32c(seed, bytes_make(frame + SIZE_FIELD_AT, SIZE_FIELD_SIZE));
}

enum status peer_frame_append(struct buffer *buffer, uint32_t seed, uint8_t kind, uint16_t worker,
                              struct bytes payload)
{
    uint8_t *frame;

    ASSERT(payload.size <= UINT32_MAX - CHECKED_SIZE_MIN);
    frame = buffer_reserve(buffer, PEER_FRAME_HEADER_SIZE + payload.size);
    if (frame == NULL) return STATUS_FULL;
    store_u32(frame + SIZE_FIELD_AT, (uint32_t)(CHECKED_SIZE_MIN + payload.size));
    store_u32(frame + SIZE_CHECK_AT, size_check(seed, frame));
    frame[VERSION_FIELD_AT] = PEER_FRAME_VERSION;
    frame[KIND_FIELD_AT] = kind;
    store_u16(frame + WORKER_FIELD_AT, worker);
    if (payload.size) memcpy(frame + PEER_FRAME_HEADER_SIZE, payload.data, payload.size);
    store_u32(frame + CRC_FIELD_AT,
              crc32c(seed, bytes_make(frame + CHECKED_AT, CHECKED_SIZE_MIN + payload.size)));
    buffer_commit(buffer, PEER_FRAME_HEADER_SIZE + payload.size);
    return STATUS_OK;
}

enum status peer_frame_parse(struct bytes input, uint32_t seed, size_t payload_max,
                             struct peer_frame *ret_frame, size_t *ret_size)
{
    size_t checked_size;

    if (input.size < PREFIX_SIZE) return STATUS_NOT_FOUND;
    /* The size by itself, before its bytes are awaited: one that grew on its way would swallow
     * the good frames behind it, which to everybody above looks like a silent peer. */
    if (size_check(seed, input.data) != load_u32(input.data + SIZE_CHECK_AT)) return STATUS_CORRUPT;
    checked_size = load_u32(input.data + SIZE_FIELD_AT);
    if (checked_size < CHECKED_SIZE_MIN) return STATUS_CORRUPT;
    /* Before waiting for that many bytes: the length is the peer's word. */
    if (checked_size - CHECKED_SIZE_MIN > payload_max) return STATUS_TOO_LARGE;
    if (input.size < CHECKED_AT + checked_size) return STATUS_NOT_FOUND;
    if (crc32c(seed, bytes_make(input.data + CHECKED_AT, checked_size)) !=
        load_u32(input.data + CRC_FIELD_AT))
        return STATUS_CORRUPT;
    if (input.data[VERSION_FIELD_AT] != PEER_FRAME_VERSION) return STATUS_VERSION;

    *ret_frame = (struct peer_frame){
        .kind = input.data[KIND_FIELD_AT],
        .worker = load_u16(input.data + WORKER_FIELD_AT),
        .payload = bytes_make(input.data + PEER_FRAME_HEADER_SIZE, checked_size - CHECKED_SIZE_MIN),
    };
    *ret_size = CHECKED_AT + checked_size;
    return STATUS_OK;
}

/* Hello: u16 version | u64 cluster high | u64 cluster low | u32 node | u32 to_node | u32 epoch |
 * u64 store | u16 worker | u16 worker_count | varint size, name. */
void peer_hello_encode(const struct peer_hello *hello, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    size_t name_size = strnlen(hello->name, PEER_NAME_SIZE_MAX);

    ASSERT(name_size < PEER_NAME_SIZE_MAX);
    write_u16(&writer, hello->version);
    write_u64(&writer, hello->cluster.high);
    write_u64(&writer, hello->cluster.low);
    write_u32(&writer, hello->node);
    write_u32(&writer, hello->to_node);
    write_u32(&writer, hello->epoch);
    write_u64(&writer, hello->store);
    write_u16(&writer, hello->worker);
    write_u16(&writer, hello->worker_count);
    write_sized(&writer, bytes_make(hello->name, name_size));
    ASSERT(!writer.failed); /* the caller's buffer is large enough */
}

/* Bytes after the name are left to later versions. */
enum status peer_hello_decode(struct bytes payload, struct peer_hello *ret_hello)
{
    struct reader reader = reader_make(payload);
    struct peer_hello hello = {0};
    struct bytes name;

    hello.version = read_u16(&reader);
    hello.cluster.high = read_u64(&reader);
    hello.cluster.low = read_u64(&reader);
    hello.node = read_u32(&reader);
    hello.to_node = read_u32(&reader);
    hello.epoch = read_u32(&reader);
    hello.store = read_u64(&reader);
    hello.worker = read_u16(&reader);
    hello.worker_count = read_u16(&reader);
    name = read_sized(&reader);
    if (reader.failed) return STATUS_CORRUPT;
    if (name.size >= PEER_NAME_SIZE_MAX) return STATUS_TOO_LARGE;
    if (hello.node == 0 || hello.node > NODES_MAX || hello.to_node > NODES_MAX)
        return STATUS_INVALID;
    if (hello.worker_count == 0 || hello.worker_count > WORKERS_MAX ||
        hello.worker >= hello.worker_count)
        return STATUS_INVALID;
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] < 0x21 || name.data[i] > 0x7e) return STATUS_INVALID; /* goes to logs */
    if (name.size) memcpy(hello.name, name.data, name.size);
    *ret_hello = hello;
    return STATUS_OK;
}
