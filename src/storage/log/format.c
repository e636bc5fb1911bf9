#include "storage/log/format.h"

#include "base/assert.h"
#include "base/hash.h"

/* Offsets in the header of a batch. */
enum {
    BATCH_MAGIC = 0,
    BATCH_VERSION = 8,
    BATCH_CRC = 12,
    BATCH_SEGMENT = 16, /* the CRC covers from here to the last record */
    BATCH_NUMBER = 24,
    BATCH_KNOWN_DURABLE = 32,
    BATCH_CLUSTER_HIGH = 40,
    BATCH_CLUSTER_LOW = 48,
    BATCH_STORE = 56,
    BATCH_NODE = 64,
    BATCH_RECORD_BYTES = 68,
    BATCH_RECORD_COUNT = 72,
    BATCH_VOTE_BLOCKS = 76,
    BATCH_OFFSET = 80,
    BATCH_FLAGS = 88,
    BATCH_RESERVED = 92,
};
_Static_assert(BATCH_RESERVED + 4 == LOG_BATCH_HEADER_SIZE, "the header is full");

/* Offsets in a vote block. */
enum {
    VOTE_MAGIC = 0,
    VOTE_CRC = 8,
    VOTE_COUNT = 12, /* the CRC covers from here to the end of the block */
    VOTE_SEGMENT = 16,
    VOTE_NUMBER = 24,
    VOTE_OFFSET = 32,
};
_Static_assert(VOTE_OFFSET + 8 == LOG_VOTE_BLOCK_HEADER_SIZE, "the header is full");
_Static_assert(LOG_VOTES_PER_BLOCK == 144, "fixed by the format");

/* --- records ------------------------------------------------------------------------------ */

enum { LOG_ENTRY_HEAD_SIZE = LOG_RECORD_SIZE_MAX - LOG_ENTRY_BODY_MAX };
_Static_assert(LOG_ENTRY_HEAD_SIZE == 34, "as it is written here");

/* Of these there is one for each request: in one piece. */
static void entry_write(struct buffer *buffer, const struct log_record *record)
{
    const struct log_entry *entry = &record->entry;
    size_t size = LOG_ENTRY_HEAD_SIZE + entry->body.size;
    uint8_t *at = buffer_reserve(buffer, size);

    ASSERT(entry->body.size <= LOG_ENTRY_BODY_MAX);
    ASSERT(at != NULL);
    at[0] = (uint8_t)record->type;
    store_u32(at + 1, record->group.value);
    store_u64(at + 5, record->replica.value);
    store_u64(at + 13, entry->index);
    store_u64(at + 21, entry->term);
    at[29] = entry->type;
    store_u32(at + 30, (uint32_t)entry->body.size);
    if (entry->body.size) memcpy(at + LOG_ENTRY_HEAD_SIZE, entry->body.data, entry->body.size);
    buffer_commit(buffer, size);
}

void log_record_write(struct buffer *buffer, const struct log_record *record)
{
    if (record->type == LOG_RECORD_ENTRY || record->type == LOG_RECORD_COPY) {
        entry_write(buffer, record);
        return;
    }
    struct writer writer = writer_make(buffer);
    write_u8(&writer, (uint8_t)record->type);
    write_u32(&writer, record->group.value);
    write_u64(&writer, record->replica.value);
    switch (record->type) {
    case LOG_RECORD_ENTRY: /* above */
    case LOG_RECORD_COPY:
        break;
    case LOG_RECORD_TRUNCATE:
        write_u64(&writer, record->index);
        break;
    case LOG_RECORD_STATE:
        write_u64(&writer, record->state.term);
        write_u64(&writer, record->state.vote.value);
        write_u64(&writer, record->state.commit);
        break;
    case LOG_RECORD_SNAPSHOT:
    case LOG_RECORD_RELEASE:
        write_u64(&writer, record->index);
        write_u64(&writer, record->term);
        break;
    case LOG_RECORD_REMOVED:
        break;
    case LOG_RECORD_DUMP:
        write_u64(&writer, record->state.term);
        write_u64(&writer, record->state.vote.value);
        write_u64(&writer, record->state.commit);
        write_u64(&writer, record->index);
        write_u64(&writer, record->term);
        write_u64(&writer, record->last_index);
        break;
    }
    ASSERT(!writer.failed);
}

static void record_state_read(struct reader *reader, struct log_state *state)
{
    state->term = read_u64(reader);
    state->vote.value = read_u64(reader);
    state->commit = read_u64(reader);
}

bool log_record_read(struct reader *reader, struct log_record *ret_record)
{
    struct log_record record = {0};

    record.type = (enum log_record_type)read_u8(reader);
    record.group.value = read_u32(reader);
    record.replica.value = read_u64(reader);
    switch (record.type) {
    case LOG_RECORD_ENTRY:
    case LOG_RECORD_COPY:
        record.entry.index = read_u64(reader);
        record.entry.term = read_u64(reader);
        record.entry.type = read_u8(reader);
        record.entry.body = read_bytes(reader, read_u32(reader));
        break;
    case LOG_RECORD_TRUNCATE:
        record.index = read_u64(reader);
        break;
    case LOG_RECORD_STATE:
        record_state_read(reader, &record.state);
        break;
    case LOG_RECORD_SNAPSHOT:
    case LOG_RECORD_RELEASE:
        record.index = read_u64(reader);
        record.term = read_u64(reader);
        break;
    case LOG_RECORD_REMOVED:
        break;
    case LOG_RECORD_DUMP:
        record_state_read(reader, &record.state);
        record.index = read_u64(reader);
        record.term = read_u64(reader);
        record.last_index = read_u64(reader);
        break;
    default:
        reader->failed = true;
    }
    if (reader->failed || record.replica.value == 0 ||
        record.entry.body.size > LOG_ENTRY_BODY_MAX) {
        reader->failed = true;
        return false;
    }
    *ret_record = record;
    return true;
}

/* --- checksums ---------------------------------------------------------------------------- */

bool log_identity_equal(const struct log_identity *a, const struct log_identity *b)
{
    return cluster_id_equal(a->cluster, b->cluster) && a->store == b->store && a->node == b->node;
}

uint32_t log_crc_seed(const struct log_identity *identity, uint64_t segment, uint64_t number,
                      uint64_t offset)
{
    uint8_t place[56];

    store_u64(place, identity->cluster.high);
    store_u64(place + 8, identity->cluster.low);
    store_u64(place + 16, identity->store);
    store_u64(place + 24, identity->node);
    store_u64(place + 32, segment);
    store_u64(place + 40, number);
    store_u64(place + 48, offset);
    return crc32c(0, bytes_make(place, sizeof(place)));
}

static uint32_t batch_crc(const uint8_t *at, const struct log_batch *batch)
{
    uint32_t seed = log_crc_seed(&batch->identity, batch->segment, batch->number, batch->offset);
    size_t size = (size_t)LOG_BATCH_HEADER_SIZE - BATCH_SEGMENT + batch->record_bytes;
    return crc32c(seed, bytes_make(at + BATCH_SEGMENT, size));
}

static uint32_t vote_block_crc(const uint8_t *at, const struct log_identity *identity,
                               uint64_t segment, uint64_t number, uint64_t offset)
{
    uint32_t seed = log_crc_seed(identity, segment, number, offset);
    return crc32c(seed, bytes_make(at + VOTE_COUNT, LOG_BLOCK_SIZE - VOTE_COUNT));
}

/* --- writing a batch ---------------------------------------------------------------------- */

static uint8_t *append_zeros(struct buffer *buffer, size_t size)
{
    uint8_t *at = buffer_reserve(buffer, size);
    ASSERT(at != NULL);
    memset(at, 0, size);
    buffer_commit(buffer, size);
    return at;
}

static void vote_block_append(struct buffer *buffer, const struct log_batch *batch,
                              const struct log_vote *votes, size_t count)
{
    uint64_t offset = batch->offset + buffer_size(buffer);
    uint8_t *at = append_zeros(buffer, LOG_BLOCK_SIZE);

    ASSERT(count <= LOG_VOTES_PER_BLOCK);
    store_u64(at + VOTE_MAGIC, LOG_VOTE_MAGIC);
    store_u32(at + VOTE_COUNT, (uint32_t)count);
    store_u64(at + VOTE_SEGMENT, batch->segment);
    store_u64(at + VOTE_NUMBER, batch->number);
    store_u64(at + VOTE_OFFSET, offset);
    for (size_t i = 0; i < count; i++) {
        uint8_t *vote = at + LOG_VOTE_BLOCK_HEADER_SIZE + i * LOG_VOTE_SIZE;
        store_u32(vote, votes[i].group.value);
        store_u64(vote + 4, votes[i].replica.value);
        store_u64(vote + 12, votes[i].term);
        store_u64(vote + 20, votes[i].vote.value);
    }
    store_u32(at + VOTE_CRC,
              vote_block_crc(at, &batch->identity, batch->segment, batch->number, offset));
}

void log_batch_seal(struct buffer *buffer, struct log_batch *batch, const struct log_vote *votes,
                    size_t vote_count)
{
    size_t size = buffer_size(buffer);

    ASSERT(size >= LOG_BATCH_HEADER_SIZE);
    ASSERT(batch->offset % LOG_BLOCK_SIZE == 0);
    batch->record_bytes = (uint32_t)(size - LOG_BATCH_HEADER_SIZE);
    batch->vote_blocks = (uint32_t)((vote_count + LOG_VOTES_PER_BLOCK - 1) / LOG_VOTES_PER_BLOCK);

    append_zeros(buffer, (size_t)log_round_up(size) - size);
    for (size_t i = 0; i < vote_count; i += LOG_VOTES_PER_BLOCK) {
        size_t left = vote_count - i;
        vote_block_append(buffer, batch, votes + i,
                          left < LOG_VOTES_PER_BLOCK ? left : LOG_VOTES_PER_BLOCK);
    }
    ASSERT(buffer_size(buffer) == log_batch_size(batch));

    uint8_t *at = buffer->memory + buffer->start;
    store_u64(at + BATCH_MAGIC, LOG_BATCH_MAGIC);
    store_u32(at + BATCH_VERSION, LOG_FORMAT_VERSION);
    store_u64(at + BATCH_SEGMENT, batch->segment);
    store_u64(at + BATCH_NUMBER, batch->number);
    store_u64(at + BATCH_KNOWN_DURABLE, batch->known_durable);
    store_u64(at + BATCH_CLUSTER_HIGH, batch->identity.cluster.high);
    store_u64(at + BATCH_CLUSTER_LOW, batch->identity.cluster.low);
    store_u64(at + BATCH_STORE, batch->identity.store);
    store_u32(at + BATCH_NODE, batch->identity.node);
    store_u32(at + BATCH_RECORD_BYTES, batch->record_bytes);
    store_u32(at + BATCH_RECORD_COUNT, batch->record_count);
    store_u32(at + BATCH_VOTE_BLOCKS, batch->vote_blocks);
    store_u64(at + BATCH_OFFSET, batch->offset);
    store_u32(at + BATCH_FLAGS, batch->flags);
    store_u32(at + BATCH_RESERVED, 0);
    store_u32(at + BATCH_CRC, batch_crc(at, batch));
}

/* --- reading a batch ---------------------------------------------------------------------- */

enum log_batch_state log_batch_check(struct bytes segment_bytes, uint64_t offset, uint64_t segment,
                                     struct log_batch *ret_batch)
{
    if (offset > segment_bytes.size) return LOG_BATCH_ABSENT;
    return log_batch_judge(bytes_from(segment_bytes, (size_t)offset), offset, segment, ret_batch);
}

enum log_batch_state log_batch_judge(struct bytes bytes, uint64_t offset, uint64_t segment,
                                     struct log_batch *ret_batch)
{
    ASSERT(offset % LOG_BLOCK_SIZE == 0);
    if (bytes.size < LOG_BATCH_HEADER_SIZE) return LOG_BATCH_ABSENT;

    const uint8_t *at = bytes.data;
    if (load_u64(at + BATCH_MAGIC) != LOG_BATCH_MAGIC) return LOG_BATCH_ABSENT;
    if (load_u64(at + BATCH_SEGMENT) != segment) return LOG_BATCH_ABSENT; /* its earlier life */
    if (load_u32(at + BATCH_VERSION) != LOG_FORMAT_VERSION) return LOG_BATCH_VERSION;

    struct log_batch batch = {
        .identity = {.cluster = {.high = load_u64(at + BATCH_CLUSTER_HIGH),
                                 .low = load_u64(at + BATCH_CLUSTER_LOW)},
                     .store = load_u64(at + BATCH_STORE),
                     .node = load_u32(at + BATCH_NODE)},
        .segment = segment,
        .number = load_u64(at + BATCH_NUMBER),
        .known_durable = load_u64(at + BATCH_KNOWN_DURABLE),
        .offset = load_u64(at + BATCH_OFFSET),
        .record_bytes = load_u32(at + BATCH_RECORD_BYTES),
        .record_count = load_u32(at + BATCH_RECORD_COUNT),
        .vote_blocks = load_u32(at + BATCH_VOTE_BLOCKS),
        .flags = load_u32(at + BATCH_FLAGS),
    };
    if (batch.offset != offset) return LOG_BATCH_DAMAGED;
    if (log_batch_size(&batch) > bytes.size) return LOG_BATCH_DAMAGED;
    if (batch_crc(at, &batch) != load_u32(at + BATCH_CRC)) return LOG_BATCH_DAMAGED;
    *ret_batch = batch;
    return LOG_BATCH_VALID;
}

uint64_t log_batch_wants(struct bytes header, uint64_t offset, uint64_t segment)
{
    const uint8_t *at = header.data;

    if (header.size < LOG_BATCH_HEADER_SIZE || load_u64(at + BATCH_MAGIC) != LOG_BATCH_MAGIC ||
        load_u64(at + BATCH_SEGMENT) != segment || load_u64(at + BATCH_OFFSET) != offset)
        return 0;
    return log_batch_size(&(struct log_batch){.record_bytes = load_u32(at + BATCH_RECORD_BYTES),
                                              .vote_blocks = load_u32(at + BATCH_VOTE_BLOCKS)});
}

size_t log_vote_block_read(struct bytes segment_bytes, uint64_t offset, uint64_t segment,
                           uint64_t least, const struct log_identity *identity,
                           struct log_vote *votes)
{
    ASSERT(offset % LOG_BLOCK_SIZE == 0);
    if (offset > segment_bytes.size || segment_bytes.size - offset < LOG_BLOCK_SIZE) return 0;

    const uint8_t *at = segment_bytes.data + offset;
    if (load_u64(at + VOTE_MAGIC) != LOG_VOTE_MAGIC) return 0;
    if (load_u64(at + VOTE_SEGMENT) != segment) return 0;
    uint64_t number = load_u64(at + VOTE_NUMBER);
    if (number < least) return 0;
    if (load_u64(at + VOTE_OFFSET) != offset) return 0;
    if (load_u32(at + VOTE_CRC) != vote_block_crc(at, identity, segment, number, offset)) return 0;

    size_t count = load_u32(at + VOTE_COUNT);
    if (count > LOG_VOTES_PER_BLOCK) return 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *vote = at + LOG_VOTE_BLOCK_HEADER_SIZE + i * LOG_VOTE_SIZE;
        votes[i] = (struct log_vote){.group = {load_u32(vote)},
                                     .replica = {load_u64(vote + 4)},
                                     .term = load_u64(vote + 12),
                                     .vote = {load_u64(vote + 20)}};
    }
    return count;
}
