/* Records and batches as bytes: docs/reference/log-format.md. */
#include "storage/log/format.h"
#include "unit.h"

static const struct log_identity IDENTITY = {.cluster = {1, 2}, .store = 3, .node = 4};

static struct log_record record_of(enum log_record_type type)
{
    struct log_record record = {.type = type, .group = {5}, .replica = {6}};

    switch (type) {
    case LOG_RECORD_ENTRY:
    case LOG_RECORD_COPY:
        record.entry =
            (struct log_entry){.index = 7, .term = 8, .type = 9, .body = bytes_of("body")};
        break;
    case LOG_RECORD_DUMP:
        record.last_index = 15;
        record.index = 13;
        record.term = 14;
        /* fall through */
    case LOG_RECORD_STATE:
        record.state = (struct log_state){.term = 10, .vote = {11}, .commit = 12};
        break;
    case LOG_RECORD_SNAPSHOT:
    case LOG_RECORD_RELEASE:
        record.term = 17;
        /* fall through */
    case LOG_RECORD_TRUNCATE:
        record.index = 16;
        break;
    case LOG_RECORD_REMOVED:
        break;
    }
    return record;
}

static void test_every_record_is_read_as_it_was_written_and_never_cut_short(void **state)
{
    (void)state;
    for (int type = LOG_RECORD_ENTRY; type <= LOG_RECORD_COPY; type++) {
        struct log_record record = record_of((enum log_record_type)type), read;
        struct buffer buffer;
        buffer_init(&buffer, 4096);
        log_record_write(&buffer, &record);
        struct bytes bytes = buffer_bytes(&buffer);

        struct reader reader = reader_make(bytes);
        assert_true(log_record_read(&reader, &read));
        assert_int_equal(reader_left(&reader), 0);
        assert_int_equal(read.type, record.type);
        assert_int_equal(read.group.value, 5);
        assert_int_equal(read.replica.value, 6);
        assert_int_equal(read.entry.index, record.entry.index);
        assert_int_equal(read.entry.term, record.entry.term);
        assert_int_equal(read.entry.type, record.entry.type);
        assert_true(bytes_equal(read.entry.body, record.entry.body));
        assert_memory_equal(&read.state, &record.state, sizeof(read.state));
        assert_int_equal(read.index, record.index);
        assert_int_equal(read.term, record.term);
        assert_int_equal(read.last_index, record.last_index);
        for (size_t size = 0; size < bytes.size; size++) {
            reader = reader_make(bytes_make(bytes.data, size));
            assert_false(log_record_read(&reader, &read));
        }
        buffer_free(&buffer);
    }
}

static void test_unknown_types_and_huge_lengths_are_no_records(void **state)
{
    uint8_t bytes[64] = {0};
    struct log_record record;

    (void)state;
    bytes[5] = 1; /* replica 1 */
    for (int type = 0; type < 256; type++) {
        if (type >= LOG_RECORD_ENTRY && type <= LOG_RECORD_COPY) continue;
        bytes[0] = (uint8_t)type;
        struct reader reader = reader_make(bytes_make(bytes, sizeof(bytes)));
        assert_false(log_record_read(&reader, &record));
    }
    bytes[0] = LOG_RECORD_ENTRY;
    memset(bytes + 30, 0xff, 4); /* the size of the body */
    struct reader reader = reader_make(bytes_make(bytes, sizeof(bytes)));
    assert_false(log_record_read(&reader, &record));
}

/* A batch at offset 4096 of segment 1, number 9, with one record and `vote_count` votes. */
static struct log_batch batch_make(struct buffer *buffer, size_t vote_count)
{
    struct log_batch batch = {.identity = IDENTITY,
                              .segment = 1,
                              .number = 9,
                              .known_durable = 8,
                              .offset = 4096,
                              .record_count = 1};
    struct log_record record = record_of(LOG_RECORD_ENTRY);
    struct log_vote votes[200];

    for (size_t i = 0; i < vote_count; i++)
        votes[i] =
            (struct log_vote){.group = {(uint32_t)i}, .replica = {6}, .term = 100 + i, .vote = {7}};
    buffer_init(buffer, 64 * 1024);
    memset(buffer_reserve(buffer, LOG_BATCH_HEADER_SIZE), 0, LOG_BATCH_HEADER_SIZE);
    buffer_commit(buffer, LOG_BATCH_HEADER_SIZE);
    log_record_write(buffer, &record);
    log_batch_seal(buffer, &batch, votes, vote_count);
    return batch;
}

/* What a segment of 32 KiB looks like with the batch at `offset`. */
static struct bytes segment_of(uint8_t segment[32768], const struct buffer *batch, size_t offset)
{
    struct bytes bytes = buffer_bytes(batch);

    memset(segment, 0, 32768);
    memcpy(segment + offset, bytes.data, bytes.size);
    return bytes_make(segment, 32768);
}

static void test_a_batch_is_valid_in_its_place_alone(void **state)
{
    uint8_t segment[32768];
    struct buffer buffer;
    struct log_batch batch, read;

    (void)state;
    batch = batch_make(&buffer, 0);
    struct bytes bytes = segment_of(segment, &buffer, 4096);
    assert_int_equal(log_batch_check(bytes, 4096, 1, &read), LOG_BATCH_VALID);
    assert_int_equal(read.number, 9);
    assert_int_equal(read.known_durable, 8);
    assert_int_equal(read.record_count, 1);
    assert_int_equal(log_batch_size(&read), 4096);
    assert_int_equal(log_batch_size(&batch), 4096);
    assert_true(log_identity_equal(&read.identity, &IDENTITY));

    assert_int_equal(log_batch_check(bytes, 4096, 2, &read), LOG_BATCH_ABSENT);
    assert_int_equal(log_batch_check(bytes, 0, 1, &read), LOG_BATCH_ABSENT);
    assert_int_equal(log_batch_check(bytes, 32768, 1, &read), LOG_BATCH_ABSENT);
    bytes = segment_of(segment, &buffer, 8192);
    assert_int_equal(log_batch_check(bytes, 8192, 1, &read), LOG_BATCH_DAMAGED);
    buffer_free(&buffer);
}

static void test_every_byte_that_counts_is_checked(void **state)
{
    uint8_t segment[32768];
    struct buffer buffer;
    struct log_batch read;

    (void)state;
    struct log_batch batch = batch_make(&buffer, 0);
    struct bytes bytes = segment_of(segment, &buffer, 4096);
    size_t size = LOG_BATCH_HEADER_SIZE + batch.record_bytes;
    for (size_t bit = 0; bit < size * 8; bit++) {
        segment[4096 + bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(log_batch_check(bytes, 4096, 1, &read), LOG_BATCH_VALID);
        segment[4096 + bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(log_batch_check(bytes, 4096, 1, &read), LOG_BATCH_VALID);
    buffer_free(&buffer);
}

static void test_votes_have_blocks_of_their_own(void **state)
{
    uint8_t segment[32768];
    struct buffer buffer;
    struct log_vote votes[LOG_VOTES_PER_BLOCK];

    (void)state;
    struct log_batch batch = batch_make(&buffer, 150);
    struct bytes bytes = segment_of(segment, &buffer, 4096);
    assert_int_equal(batch.vote_blocks, 2);
    assert_int_equal(log_batch_size(&batch), 3 * 4096);
    memset(segment + 4096, 0, 4096); /* the batch itself is lost */
    assert_int_equal(log_vote_block_read(bytes, 8192, 1, 9, &IDENTITY, votes), 144);
    assert_int_equal(votes[143].group.value, 143);
    assert_int_equal(votes[143].replica.value, 6);
    assert_int_equal(votes[143].term, 243);
    assert_int_equal(votes[143].vote.value, 7);
    assert_int_equal(log_vote_block_read(bytes, 12288, 1, 9, &IDENTITY, votes), 6);
    assert_int_equal(votes[5].group.value, 149);

    struct log_identity other = IDENTITY;
    other.store++;
    assert_int_equal(log_vote_block_read(bytes, 8192, 1, 9, &other, votes), 0);
    assert_int_equal(log_vote_block_read(bytes, 8192, 1, 8, &IDENTITY, votes), 144);
    assert_int_equal(log_vote_block_read(bytes, 8192, 1, 10, &IDENTITY, votes), 0);
    assert_int_equal(log_vote_block_read(bytes, 8192, 2, 9, &IDENTITY, votes), 0);
    assert_int_equal(log_vote_block_read(bytes, 4096, 1, 9, &IDENTITY, votes), 0);
    segment[8192 + 4000] ^= 1;
    assert_int_equal(log_vote_block_read(bytes, 8192, 1, 9, &IDENTITY, votes), 0);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_record_is_read_as_it_was_written_and_never_cut_short),
        cmocka_unit_test(test_unknown_types_and_huge_lengths_are_no_records),
        cmocka_unit_test(test_a_batch_is_valid_in_its_place_alone),
        cmocka_unit_test(test_every_byte_that_counts_is_checked),
        cmocka_unit_test(test_votes_have_blocks_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
