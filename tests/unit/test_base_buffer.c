#include "unit.h"

#include "base/arena.h"
#include "base/buffer.h"
#include "base/random.h"

static void test_content_never_exceeds_size_max(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 5);

    assert_int_equal(buffer_append(&buffer, bytes_of("abc")), STATUS_OK);
    assert_int_equal(buffer_append(&buffer, bytes_of("def")), STATUS_FULL);
    assert_true(bytes_equal(buffer_bytes(&buffer), bytes_of("abc")));
    assert_int_equal(buffer_append(&buffer, bytes_of("de")), STATUS_OK);
    assert_null(buffer_reserve(&buffer, 1));
    assert_null(buffer_reserve(&buffer, SIZE_MAX));

    buffer_consume(&buffer, 2); /* what left makes room */
    assert_int_equal(buffer_append(&buffer, bytes_of("fg")), STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&buffer), bytes_of("cdefg")));
    buffer_free(&buffer);
}

static void test_format_fills_the_buffer_to_the_last_byte(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 6);

    assert_int_equal(buffer_append_format(&buffer, "%d-%s", 42, "abc"), STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&buffer), bytes_of("42-abc")));
    assert_int_equal(buffer_append_format(&buffer, "%d", 1), STATUS_FULL);
    assert_int_equal(buffer_append_format(&buffer, "%s", ""), STATUS_OK);
    assert_int_equal(buffer.size_max, 6);
    assert_int_equal(buffer_size(&buffer), 6);
    buffer_free(&buffer);
}

static void test_an_empty_buffer_has_no_memory(void **state)
{
    struct buffer buffer;
    buffer_init(&buffer, 10);

    assert_int_equal(buffer_bytes(&buffer).size, 0);
    assert_int_equal(buffer_append(&buffer, bytes_make(NULL, 0)), STATUS_OK);
    assert_null(buffer.memory);
    buffer_append(&buffer, bytes_of("x"));
    buffer_release(&buffer);
    assert_null(buffer.memory);
    assert_int_equal(buffer_append(&buffer, bytes_of("y")), STATUS_OK);
    buffer_free(&buffer);
}

static void test_a_queue_gives_back_what_went_in(void **state)
{
    struct buffer buffer;
    struct random random;
    uint8_t next_in = 0, next_out = 0;
    buffer_init(&buffer, 300);
    random_seed(&random, 1);

    for (unsigned step = 0; step < 20000; step++) {
        size_t in = random_below(&random, 60);
        uint8_t *room = buffer_reserve(&buffer, in);
        assert_int_equal(room == NULL, buffer_size(&buffer) + in > 300);
        if (room) {
            for (size_t i = 0; i < in; i++)
                room[i] = next_in++;
            buffer_commit(&buffer, in);
        }
        size_t out = random_below(&random, buffer_size(&buffer) + 1);
        struct bytes content = buffer_bytes(&buffer);
        for (size_t i = 0; i < out; i++)
            assert_int_equal(content.data[i], next_out++);
        buffer_consume(&buffer, out);
        assert_true(buffer.capacity <= 300);
    }
    buffer_free(&buffer);
}

static void test_arena_memory_is_aligned_and_apart(void **state)
{
    struct arena arena;
    struct random random;
    uint8_t *pointers[500];
    size_t sizes[500];
    arena_init(&arena, 16384);
    random_seed(&random, 2);

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 500; i++) {
            sizes[i] = random_below(&random, i == 250 ? 100000 : 200);
            pointers[i] = arena_allocate(&arena, sizes[i]);
            assert_int_equal((uintptr_t)pointers[i] % 16, 0);
            memset(pointers[i], (int)(i % 251), sizes[i]);
        }
        for (unsigned i = 0; i < 500; i++)
            for (size_t at = 0; at < sizes[i]; at++)
                assert_int_equal(pointers[i][at], i % 251);
        arena_reset(&arena);
    }
    arena_free(&arena);
}

static void test_arena_keeps_no_more_than_it_may(void **state)
{
    struct arena arena;
    arena_init(&arena, 8192);

    arena_allocate(&arena, 100000);
    arena_reset(&arena);
    assert_null(arena.blocks);
    uint8_t *small = arena_allocate(&arena, 10);
    arena_reset(&arena);
    assert_ptr_equal(arena_allocate(&arena, 10), small); /* the block is used again */
    arena_free(&arena);
}

static void test_arena_copies(void **state)
{
    struct arena arena;
    char source[] = "abc";
    arena_init(&arena, 0);

    struct bytes copy = arena_copy(&arena, bytes_make(source, 3));
    source[0] = 'x';
    assert_true(bytes_equal(copy, bytes_of("abc")));
    assert_int_equal(arena_copy(&arena, bytes_make(NULL, 0)).size, 0);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_never_exceeds_size_max),
        cmocka_unit_test(test_format_fills_the_buffer_to_the_last_byte),
        cmocka_unit_test(test_an_empty_buffer_has_no_memory),
        cmocka_unit_test(test_a_queue_gives_back_what_went_in),
        cmocka_unit_test(test_arena_memory_is_aligned_and_apart),
        cmocka_unit_test(test_arena_keeps_no_more_than_it_may),
        cmocka_unit_test(test_arena_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
