/* fuzz_log_record - bytes of a disk as batches, vote blocks and records (storage/log/format.h),
 * and as operations on the table of groups. Nothing may be read behind the end, whatever is
 * read must be written as the same bytes, and no order of records breaks the table.
 *
 * The first byte chooses: whether the checksums of the input are made right, so that the fuzzer
 * need not guess them. */
#include <stdint.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "storage/log/group_table.h"

enum { SEGMENT = 1, NUMBER = 1, RECORDS_MAX = 2000 };

static const struct log_identity IDENTITY = {.cluster = {1, 2}, .store = 3, .node = 4};

/* Decodes and applies; in one segment for the first half, in another behind it. */
static void fuzz_records(struct bytes bytes)
{
    struct reader reader = reader_make(bytes);
    struct arena bodies;
    struct log_table table;
    struct log_record record;
    struct buffer again;

    arena_init(&bodies, 0);
    log_table_init(&table, &bodies);
    buffer_init(&again, LOG_RECORD_SIZE_MAX);
    for (size_t i = 0; i < RECORDS_MAX; i++) {
        const uint8_t *start = reader.next;
        uint64_t segment = reader_left(&reader) > bytes.size / 2 ? SEGMENT : SEGMENT + 1;
        if (!log_record_read(&reader, &record)) break;
        buffer_clear(&again);
        log_record_write(&again, &record);
        ASSERT(bytes_equal(buffer_bytes(&again), bytes_make(start, (size_t)(reader.next - start))));
        if (record.type == LOG_RECORD_DUMP) {
            log_table_dump_agrees(&table, &record);
            log_table_load_dump(&table, &record);
        } else {
            log_table_apply(&table, &record, segment);
        }
    }
    struct group_id pinning = {0};
    uint64_t needed = log_table_oldest_needed(&table, SEGMENT + 2, &pinning);
    ASSERT(needed >= SEGMENT && needed <= SEGMENT + 2);

    uint32_t living = 0;
    struct log_group *group;
    for (size_t i = 0; (group = log_table_next(&table, &i)) != NULL; living++) {
        struct log_record dump = log_group_dump(group);
        ASSERT(log_table_dump_agrees(&table, &dump));
        ASSERT(group->last_index >= group->base_index);
        log_group_join_entries(group);
        ASSERT(group->written.count <= group->last_index - group->base_index);
    }
    ASSERT(living == table.living);
    buffer_free(&again);
    log_table_free(&table);
    arena_free(&bodies);
}

/* Makes the block at 0 pass for ours, as far as it claims to be a batch or votes at all. */
static void forge(uint8_t *bytes, size_t size)
{
    if (size < LOG_BATCH_HEADER_SIZE) return;
    store_u64(bytes, LOG_BATCH_MAGIC);
    store_u32(bytes + 8, LOG_FORMAT_VERSION);
    store_u64(bytes + 16, SEGMENT);
    store_u64(bytes + 24, NUMBER);
    store_u64(bytes + 40, IDENTITY.cluster.high);
    store_u64(bytes + 48, IDENTITY.cluster.low);
    store_u64(bytes + 56, IDENTITY.store);
    store_u32(bytes + 64, IDENTITY.node);
    store_u64(bytes + 80, 0);
    uint64_t covered = (uint64_t)LOG_BATCH_HEADER_SIZE - 16 + load_u32(bytes + 68);
    if (16 + covered > size) return;
    uint32_t seed = log_crc_seed(&IDENTITY, SEGMENT, NUMBER, 0);
    store_u32(bytes + 12, crc32c(seed, bytes_make(bytes + 16, (size_t)covered)));
}

static void forge_votes(uint8_t *bytes, size_t size)
{
    if (size < LOG_BLOCK_SIZE) return;
    store_u64(bytes, LOG_VOTE_MAGIC);
    store_u64(bytes + 16, SEGMENT);
    store_u64(bytes + 24, NUMBER);
    store_u64(bytes + 32, 0);
    uint32_t seed = log_crc_seed(&IDENTITY, SEGMENT, NUMBER, 0);
    store_u32(bytes + 8, crc32c(seed, bytes_make(bytes + 12, LOG_BLOCK_SIZE - 12)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    uint8_t mode = data[0] % 4;
    size_t content_size = size - 1;
    uint8_t *content = memory_allocate(content_size);
    if (content_size) memcpy(content, data + 1, content_size);
    struct bytes bytes = bytes_make(content, content_size);

    if (mode == 1) forge(content, content_size);
    if (mode == 2) forge_votes(content, content_size);
    if (mode == 3) {
        fuzz_records(bytes);
    } else {
        struct log_vote votes[LOG_VOTES_PER_BLOCK];
        struct log_batch batch;
        for (uint64_t offset = 0; offset <= bytes.size; offset += LOG_BLOCK_SIZE) {
            if (log_batch_check(bytes, offset, SEGMENT, &batch) == LOG_BATCH_VALID) {
                ASSERT(offset + log_batch_size(&batch) <= bytes.size);
                fuzz_records(log_batch_records(bytes, &batch));
            }
            log_vote_block_read(bytes, offset, SEGMENT, NUMBER, &IDENTITY, votes);
        }
    }
    memory_free(content);
    return 0;
}
