/* format.h - the bytes of the log: batches, the records in them, and the second copy of votes.
 * Private to src/storage/log. The full description: docs/reference/log-format.md.
 *
 *   batch at a multiple of 4 KiB       |header 96|records ...      |zeros to 4 KiB|vote blocks|
 *   checked by one CRC32C                  <------------------------>                 own CRC
 *
 * Every CRC is seeded with cluster, node, store, segment, batch number and offset: bytes of
 * another log, of an earlier life of a recycled segment, or written to a wrong place fail.
 * Little-endian. Pure functions. Thread: any. */
#ifndef HOLON_STORAGE_LOG_FORMAT_H
#define HOLON_STORAGE_LOG_FORMAT_H

#include "base/buffer.h"
#include "base/codec.h"
#include "storage/log/log.h"

enum {
    LOG_BLOCK_SIZE = 4096,
    LOG_FORMAT_VERSION = 1,
    LOG_BATCH_HEADER_SIZE = 96,
    LOG_VOTE_BLOCK_HEADER_SIZE = 40,
    LOG_VOTE_SIZE = 28,
    LOG_VOTES_PER_BLOCK = (LOG_BLOCK_SIZE - LOG_VOTE_BLOCK_HEADER_SIZE) / LOG_VOTE_SIZE,
    LOG_RECORD_HEAD_SIZE = 13,
    LOG_RECORD_DUMP_SIZE = LOG_RECORD_HEAD_SIZE + 6 * 8,
    LOG_RECORD_SIZE_MAX = LOG_RECORD_HEAD_SIZE + 8 + 8 + 1 + 4 + LOG_ENTRY_BODY_MAX,
};

/* "HOLONLOG" and "HOLONVOT" as they stand in the file. */
#define LOG_BATCH_MAGIC 0x474f4c4e4f4c4f48u
#define LOG_VOTE_MAGIC 0x544f564e4f4c4f48u

static inline uint64_t log_round_up(uint64_t size)
{
    return (size + LOG_BLOCK_SIZE - 1) / LOG_BLOCK_SIZE * LOG_BLOCK_SIZE;
}

/* --- records ------------------------------------------------------------------------------ */

enum log_record_type {
    LOG_RECORD_ENTRY = 1,
    LOG_RECORD_TRUNCATE = 2,
    LOG_RECORD_STATE = 3,
    LOG_RECORD_SNAPSHOT = 4,
    LOG_RECORD_REMOVED = 5,
    LOG_RECORD_RELEASE = 6,
    LOG_RECORD_DUMP = 7,
    LOG_RECORD_COPY = 8,
};

struct log_record {
    enum log_record_type type;
    struct group_id group;
    struct replica_id replica;
    struct log_entry entry; /* ENTRY, COPY; the body is borrowed from what was read */
    struct log_state state; /* STATE, DUMP */
    uint64_t index;         /* TRUNCATE: from; SNAPSHOT, RELEASE, DUMP: base */
    uint64_t term;          /* SNAPSHOT, RELEASE, DUMP: of the base */
    uint64_t last_index;    /* DUMP */
};

/* Bytes of the record of an entry (or of its copy) with such a body. */
static inline uint64_t log_entry_record_size(uint64_t body_size)
{
    return (uint64_t)LOG_RECORD_SIZE_MAX - LOG_ENTRY_BODY_MAX + body_size;
}

/* Appends; the buffer must have room. */
void log_record_write(struct buffer *buffer, const struct log_record *record);
/* False: not a record; the reader has failed. */
bool log_record_read(struct reader *reader, struct log_record *ret_record);

/* --- batches ------------------------------------------------------------------------------ */

struct log_identity {
    struct cluster_id cluster;
    store_id_t store;
    node_id_t node;
};

bool log_identity_equal(const struct log_identity *a, const struct log_identity *b);

enum { LOG_BATCH_DUMP = 1 }; /* flags: begins with a dump, as the first of a segment does */

struct log_batch {
    struct log_identity identity;
    uint64_t segment;
    uint64_t number;        /* 1-based, without gaps over all segments */
    uint64_t known_durable; /* the batch known durable when this one was written */
    uint64_t offset;        /* in the segment */
    uint32_t record_bytes;
    uint32_t record_count;
    uint32_t vote_blocks;
    uint32_t flags;
};

/* A vote or term of the batch, written again in a block of its own. */
struct log_vote {
    struct group_id group;
    struct replica_id replica;
    uint64_t term;
    struct replica_id vote;
};

static inline uint64_t log_batch_size(const struct log_batch *batch)
{
    return log_round_up((uint64_t)LOG_BATCH_HEADER_SIZE + batch->record_bytes) +
           (uint64_t)batch->vote_blocks * LOG_BLOCK_SIZE;
}

/* `buffer` holds LOG_BATCH_HEADER_SIZE free bytes and then the records. Pads it, adds the vote
 * blocks and fills in the header; batch->record_bytes and ->vote_blocks are set here. */
void log_batch_seal(struct buffer *buffer, struct log_batch *batch, const struct log_vote *votes,
                    size_t vote_count);

enum log_batch_state {
    LOG_BATCH_VALID,
    LOG_BATCH_ABSENT,  /* nothing of ours: not even the magic number */
    LOG_BATCH_VERSION, /* a batch of a version that we do not know */
    LOG_BATCH_DAMAGED,
};

/* Judges what is at `offset` of a segment whose content is `segment_bytes`. VALID says that it
 * agrees with itself, this segment and this offset; whose log it is (identity) and whether its
 * number is the expected one is the caller's business. *ret_batch is set only when VALID. */
enum log_batch_state log_batch_check(struct bytes segment_bytes, uint64_t offset, uint64_t segment,
                                     struct log_batch *ret_batch);
/* The same for a piece of a segment: `bytes` is what follows `offset`, at least the whole batch
 * if that is to be found valid. */
enum log_batch_state log_batch_judge(struct bytes bytes, uint64_t offset, uint64_t segment,
                                     struct log_batch *ret_batch);
/* How many bytes the batch wants whose first LOG_BATCH_HEADER_SIZE bytes these are; 0: they are
 * no header of a batch in that place. Unchecked: only to know how much to read. */
uint64_t log_batch_wants(struct bytes header, uint64_t offset, uint64_t segment);

/* The records of a valid batch. */
static inline struct bytes log_batch_records(struct bytes segment_bytes,
                                             const struct log_batch *batch)
{
    return bytes_make(segment_bytes.data + batch->offset + LOG_BATCH_HEADER_SIZE,
                      batch->record_bytes);
}

/* Reads the block at `offset` as votes of batch `least` or a later one; votes has
 * LOG_VOTES_PER_BLOCK places. 0: it is no undamaged vote block of one, or not of that log and
 * place. */
size_t log_vote_block_read(struct bytes segment_bytes, uint64_t offset, uint64_t segment,
                           uint64_t least, const struct log_identity *identity,
                           struct log_vote *votes);

/* Seeds the CRC of what belongs to one place in one log. */
uint32_t log_crc_seed(const struct log_identity *identity, uint64_t segment, uint64_t number,
                      uint64_t offset);

#endif
