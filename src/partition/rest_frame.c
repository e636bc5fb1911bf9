#include "partition/rest_frame.h"

#include "base/assert.h"

enum { ENTRY_SIZE = 28 };

/* Sums and differences of what is below do not overflow. */
#define NUMBER_MAX ((uint64_t)1 << 60)

void rest_beat_encode(const struct rest_beat *beat, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    write_u64(&writer, beat->sent_at);
    write_i64(&writer, beat->wall);
    write_u64(&writer, beat->generation);
    write_u32(&writer, beat->withdrawals);
    ASSERT(!writer.failed);
}

enum status rest_beat_decode(struct bytes payload, struct rest_beat *ret_beat)
{
    struct reader reader = reader_make(payload);
    struct rest_beat beat = {.sent_at = read_u64(&reader),
                             .wall = read_i64(&reader),
                             .generation = read_u64(&reader),
                             .withdrawals = read_u32(&reader)};
    bool sane = !reader.failed && reader_left(&reader) == 0 && beat.sent_at <= NUMBER_MAX &&
                beat.generation <= NUMBER_MAX && beat.wall <= (int64_t)NUMBER_MAX &&
                beat.wall >= -(int64_t)NUMBER_MAX;
    if (!sane) return STATUS_INVALID;
    *ret_beat = beat;
    return STATUS_OK;
}

void rest_ask_begin(struct buffer *buffer, uint64_t generation)
{
    struct writer writer = writer_make(buffer);
    ASSERT(generation != 0 && generation <= NUMBER_MAX);
    write_u64(&writer, generation);
    ASSERT(!writer.failed);
}

void rest_ask_add(struct buffer *buffer, const struct rest_ask_entry *entry)
{
    struct writer writer = writer_make(buffer);
    write_u32(&writer, entry->group.value);
    write_u64(&writer, entry->from.value);
    write_u64(&writer, entry->to.value);
    write_u64(&writer, entry->term);
    ASSERT(!writer.failed);
}

enum status rest_ask_decode(struct bytes payload, uint64_t *ret_generation,
                            struct reader *ret_entries)
{
    struct reader reader = reader_make(payload);
    uint64_t generation = read_u64(&reader);
    bool sane = !reader.failed && generation != 0 && generation <= NUMBER_MAX &&
                reader_left(&reader) >= ENTRY_SIZE && reader_left(&reader) % ENTRY_SIZE == 0;
    if (!sane) return STATUS_INVALID;
    *ret_generation = generation;
    *ret_entries = reader;
    return STATUS_OK;
}

bool rest_ask_next(struct reader *entries, struct rest_ask_entry *ret_entry)
{
    if (reader_left(entries) < ENTRY_SIZE) return false;
    *ret_entry = (struct rest_ask_entry){.group = {read_u32(entries)},
                                         .from = {read_u64(entries)},
                                         .to = {read_u64(entries)},
                                         .term = read_u64(entries)};
    return true;
}

void rest_ack_encode(const struct rest_ack *ack, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    write_u64(&writer, ack->generation);
    write_u32(&writer, ack->groups);
    write_u32(&writer, ack->withdrawals);
    ASSERT(!writer.failed);
}

enum status rest_ack_decode(struct bytes payload, struct rest_ack *ret_ack)
{
    struct reader reader = reader_make(payload);
    struct rest_ack ack = {.generation = read_u64(&reader),
                           .groups = read_u32(&reader),
                           .withdrawals = read_u32(&reader)};
    if (reader.failed || reader_left(&reader) > 0) return STATUS_INVALID;
    *ret_ack = ack;
    return STATUS_OK;
}
