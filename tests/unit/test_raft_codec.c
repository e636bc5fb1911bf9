/* test_raft_codec.c - messages and configurations on the wire: identity, and every cut or
 * damaged input ends in an error, never in a crash or a large allocation. */
#include "test_raft_harness.h"

static struct raft_message sample(struct raft_entry **entries)
{
    entries[0] = entry_of(42);
    entries[0]->index = 8;
    entries[0]->term = 3;
    entries[1] = raft_entry_make(NULL, RAFT_ENTRY_NOOP, 0);
    entries[1]->index = 9;
    entries[1]->term = 5;
    return (struct raft_message){.type = RAFT_APPEND,
                                 .group = {7},
                                 .from = {11},
                                 .to = {12},
                                 .from_node = 1,
                                 .to_node = 2,
                                 .term = 5,
                                 .index = 7,
                                 .log_term = 3,
                                 .commit = 6,
                                 .everywhere = 1ull << 40,
                                 .hint_index = 300,
                                 .hint_term = 2,
                                 .promise = 1u << 20,
                                 .reject = true,
                                 .transfer = true,
                                 .entries = entries,
                                 .entry_count = 2};
}

static struct bytes encode_sample(struct buffer *buffer)
{
    struct raft_entry *entries[2];
    struct raft_message message = sample(entries);
    buffer_init(buffer, 1 << 20);
    assert_int_equal(raft_message_encode(&message, buffer), STATUS_OK);
    memory_free(entries[0]);
    memory_free(entries[1]);
    return buffer_bytes(buffer);
}

static void test_a_message_survives_the_wire(void **state)
{
    (void)state;
    struct buffer buffer;
    struct reader reader = reader_make(encode_sample(&buffer));
    struct raft_message got;
    assert_int_equal(raft_message_decode(&reader, NULL, &got), STATUS_OK);
    assert_int_equal(reader_left(&reader), 0);
    assert_int_equal(got.type, RAFT_APPEND);
    assert_int_equal(got.group.value, 7);
    assert_int_equal(got.from.value, 11);
    assert_int_equal(got.to.value, 12);
    assert_int_equal(got.term, 5);
    assert_int_equal(got.index, 7);
    assert_int_equal(got.log_term, 3);
    assert_int_equal(got.commit, 6);
    assert_true(got.everywhere == 1ull << 40);
    assert_int_equal(got.hint_index, 300);
    assert_int_equal(got.hint_term, 2);
    assert_int_equal(got.promise, 1u << 20);
    assert_true(got.reject && got.transfer);
    assert_int_equal(got.entry_count, 2);
    assert_int_equal(got.entries[0]->index, 8);
    assert_int_equal(got.entries[0]->size, 8);
    assert_int_equal(got.entries[1]->index, 9);
    assert_int_equal(got.entries[1]->type, RAFT_ENTRY_NOOP);
    raft_message_clear(&got);
    buffer_free(&buffer);
}

/* Far beyond what is ever reached: whoever adds to them does not wrap around. */
static void test_numbers_that_are_too_large_are_refused(void **state)
{
    (void)state;
    for (int field = 0; field < 4; field++) {
        for (int more = 0; more < 2; more++) {
            struct raft_message message = {.type = RAFT_APPEND, .from = {1}, .to = {2}}, got;
            uint64_t *fields[] = {&message.term, &message.index, &message.hint_index,
                                  &message.everywhere};
            struct buffer buffer;
            message.term = 1;
            *fields[field] = (1ull << 60) + (uint64_t)more;
            buffer_init(&buffer, 1 << 10);
            assert_int_equal(raft_message_encode(&message, &buffer), STATUS_OK);
            struct reader reader = reader_make(buffer_bytes(&buffer));
            assert_int_equal(raft_message_decode(&reader, NULL, &got),
                             more ? STATUS_CORRUPT : STATUS_OK);
            buffer_free(&buffer);
        }
    }
}

static void test_every_cut_is_an_error(void **state)
{
    (void)state;
    struct buffer buffer;
    struct bytes whole = encode_sample(&buffer);
    for (size_t size = 0; size < whole.size; size++) {
        uint8_t *exact = memory_allocate(size); /* so that the sanitizer sees an overrun */
        memcpy(exact, whole.data, size);
        struct reader reader = reader_make(bytes_make(exact, size));
        struct raft_message got;
        assert_int_equal(raft_message_decode(&reader, NULL, &got), STATUS_CORRUPT);
        memory_free(exact);
    }
    buffer_free(&buffer);
}

static void test_damage_is_an_error_or_another_sound_message(void **state)
{
    (void)state;
    struct buffer buffer;
    struct bytes whole = encode_sample(&buffer);
    uint8_t *copy = memory_allocate(whole.size);
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        memcpy(copy, whole.data, whole.size);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct reader reader = reader_make(bytes_make(copy, whole.size));
        struct raft_message got;
        if (raft_message_decode(&reader, NULL, &got)) continue;
        assert_true(got.term != 0 || got.reject);
        assert_true(got.log_term <= got.term);
        raft_message_clear(&got);
    }
    memory_free(copy);
    buffer_free(&buffer);
}

static void test_a_full_buffer_is_left_as_it_was(void **state)
{
    (void)state;
    struct raft_entry *entries[2];
    struct raft_message message = sample(entries);
    struct buffer buffer;
    size_t size = encode_sample(&buffer).size;
    buffer_free(&buffer);
    for (size_t limit = 3; limit < 3 + size; limit++) {
        buffer_init(&buffer, limit);
        buffer_append(&buffer, bytes_of("abc"));
        assert_int_equal(raft_message_encode(&message, &buffer), STATUS_FULL);
        assert_true(bytes_equal(buffer_bytes(&buffer), bytes_of("abc")));
        buffer_free(&buffer);
    }
    memory_free(entries[0]);
    memory_free(entries[1]);
}

static void test_a_configuration_survives_the_wire(void **state)
{
    (void)state;
    struct raft_config config = config_of(3, 2), got;
    struct buffer buffer;
    config.index = 900;
    config.outgoing_count = 1;
    config.outgoing[0] = (struct raft_member){.replica = {UINT64_MAX}, .node = 9};
    buffer_init(&buffer, 4096);
    raft_config_encode(&config, &buffer);
    struct bytes whole = buffer_bytes(&buffer);
    assert_int_equal(raft_config_decode(whole, &got), STATUS_OK);
    assert_memory_equal(&got, &config, sizeof(got));
    for (size_t size = 0; size < whole.size; size++)
        assert_int_not_equal(raft_config_decode(bytes_make(whole.data, size), &got), STATUS_OK);
    buffer_free(&buffer);
}

static void test_a_configuration_with_a_doubled_member_is_refused(void **state)
{
    (void)state;
    struct raft_config config = config_of(3, 0), got;
    struct buffer buffer;
    config.incoming[2] = config.incoming[0];
    buffer_init(&buffer, 4096);
    raft_config_encode(&config, &buffer);
    assert_int_equal(raft_config_decode(buffer_bytes(&buffer), &got), STATUS_CORRUPT);
    buffer_free(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_message_survives_the_wire),
        cmocka_unit_test(test_numbers_that_are_too_large_are_refused),
        cmocka_unit_test(test_every_cut_is_an_error),
        cmocka_unit_test(test_damage_is_an_error_or_another_sound_message),
        cmocka_unit_test(test_a_full_buffer_is_left_as_it_was),
        cmocka_unit_test(test_a_configuration_survives_the_wire),
        cmocka_unit_test(test_a_configuration_with_a_doubled_member_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
