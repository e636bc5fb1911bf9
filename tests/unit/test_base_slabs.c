/* Blocks of all sizes against what was written into them. */
#include "base/slabs.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"

enum { BLOCKS = 20000 };

struct block {
    uint8_t *memory;
    size_t size;
    uint8_t byte;
};

static void check(const struct block *block)
{
    for (size_t i = 0; i < block->size; i++)
        assert_int_equal(block->memory[i], block->byte);
}

static void take(struct slabs *slabs, struct random *random, struct block *block, size_t size_max)
{
    block->size = 1 + random_below(random, size_max);
    block->byte = (uint8_t)random_u64(random);
    block->memory = slabs_allocate(slabs, block->size);
    uintptr_t alignment = block->size % 64 == 0 && block->size <= SLABS_BLOCK_MAX ? 64 : 16;
    assert_int_equal((uintptr_t)block->memory % alignment, 0);
    memset(block->memory, block->byte, block->size);
}

static void give(struct slabs *slabs, struct block *block)
{
    check(block);
    slabs_release(slabs, block->memory, block->size);
    block->memory = NULL;
}

static void test_blocks_keep_what_is_written_and_memory_comes_back(void **state)
{
    struct slabs *slabs = slabs_make();
    struct block *blocks = memory_allocate_zero(BLOCKS * sizeof(*blocks));
    struct random random;
    random_seed(&random, 1);
    static const size_t size_max[] = {64, 5000, 300, 1100};
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 3 * BLOCKS; i++) {
            struct block *block = &blocks[random_below(&random, BLOCKS)];
            if (block->memory) {
                give(slabs, block);
            } else {
                take(slabs, &random, block, size_max[round]);
            }
        }
        uint64_t used = 0;
        for (uint32_t i = 0; i < BLOCKS; i++) {
            if (blocks[i].memory == NULL) continue;
            check(&blocks[i]);
            used += slabs_size(blocks[i].size);
        }
        assert_int_equal(slabs_used_bytes(slabs), used);
        assert_true(slabs_held_bytes(slabs) >= used);
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (blocks[i].memory) give(slabs, &blocks[i]);
    }
    assert_int_equal(slabs_used_bytes(slabs), 0);
    assert_true(slabs_held_bytes(slabs) < 3 << 20); /* one free region stays */
    slabs_free(slabs);
    memory_free(blocks);
}

/* What one size has given back serves another: the memory held does not add up. */
static void test_a_slab_serves_another_size_when_it_is_free(void **state)
{
    struct slabs *slabs = slabs_make();
    void **blocks = memory_allocate(BLOCKS * sizeof(*blocks));
    for (size_t size = 16; size <= SLABS_BLOCK_MAX; size += 16 * size / 64 + 16) {
        size_t count = (4 << 20) / size < BLOCKS ? (4 << 20) / size : BLOCKS;
        for (size_t i = 0; i < count; i++)
            blocks[i] = slabs_allocate(slabs, size);
        for (size_t i = 0; i < count; i++)
            slabs_release(slabs, blocks[i], size);
        assert_true(slabs_held_bytes(slabs) < 3 << 20);
    }
    memory_free(blocks);
    slabs_free(slabs);
}

enum { REGION = 2 << 20, CHUNK = 1024 };

/* Blocks until a region is wanted. Returns how many. */
static size_t fill(struct slabs *slabs, void **blocks)
{
    size_t count = 0;
    while (!slabs_want_region(slabs)) {
        assert_true(count < BLOCKS);
        blocks[count++] = slabs_allocate(slabs, CHUNK);
    }
    return count;
}

static void test_a_region_is_wanted_before_memory_runs_out(void **state)
{
    struct slabs *slabs = slabs_make();
    void **blocks = memory_allocate(BLOCKS * sizeof(*blocks));
    assert_false(slabs_want_region(slabs)); /* who has nothing may never need any */
    size_t count = fill(slabs, blocks);
    uint64_t held = slabs_held_bytes(slabs);
    assert_true(held - slabs_used_bytes(slabs) > REGION / 8); /* in time */
    assert_true(slabs_used_bytes(slabs) > REGION / 2);        /* and not for everybody */

    uint8_t *region = slabs_region_make();
    assert_int_equal((uintptr_t)region % REGION, 0);
    assert_int_equal(slabs_held_bytes(slabs), held); /* as long as it is nobody's */
    slabs_region_give(slabs, region);
    assert_false(slabs_want_region(slabs));
    assert_int_equal(slabs_held_bytes(slabs), held + REGION);

    bool inside = false;
    while (!inside) { /* it serves once the first is full; nothing else is had from the system */
        uint8_t *block = blocks[count++] = slabs_allocate(slabs, CHUNK);
        memset(block, 1, CHUNK);
        inside = block >= region && block < region + REGION;
        assert_int_equal(slabs_held_bytes(slabs), held + REGION);
    }
    for (size_t i = 0; i < count; i++)
        slabs_release(slabs, blocks[i], CHUNK);
    assert_int_equal(slabs_used_bytes(slabs), 0);
    assert_false(slabs_want_region(slabs));
    slabs_free(slabs);
    memory_free(blocks);
}

/* The sanitizer watches that nothing of them stays. */
static void test_regions_that_are_not_needed_go_back(void **state)
{
    struct slabs *slabs = slabs_make();
    void **blocks = memory_allocate(BLOCKS * sizeof(*blocks));
    slabs_region_free(slabs_region_make()); /* made, and nobody was there any more */
    size_t count = fill(slabs, blocks);
    uint64_t held = slabs_held_bytes(slabs);
    slabs_region_give(slabs, slabs_region_make());
    slabs_region_give(slabs, slabs_region_make()); /* one too many */
    assert_int_equal(slabs_held_bytes(slabs), held + REGION);
    for (size_t i = 0; i < count; i++)
        slabs_release(slabs, blocks[i], CHUNK);
    slabs_free(slabs);
    memory_free(blocks);
}

/* The count of free slabs follows regions that come and go. */
static void test_a_region_is_wanted_again_after_others_went_back(void **state)
{
    struct slabs *slabs = slabs_make();
    void **blocks = memory_allocate(BLOCKS * sizeof(*blocks));
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++)
            blocks[i] = slabs_allocate(slabs, CHUNK);
        for (size_t i = 0; i < BLOCKS; i++)
            slabs_release(slabs, blocks[i], CHUNK);
        assert_false(slabs_want_region(slabs)); /* one free region stays */
        size_t count = fill(slabs, blocks);
        assert_true(count * CHUNK > REGION / 2 && count * CHUNK < REGION);
        for (size_t i = 0; i < count; i++)
            slabs_release(slabs, blocks[i], CHUNK);
    }
    slabs_free(slabs);
    memory_free(blocks);
}

/* Whether the system was asked for huge pages where `block` is. */
static bool is_huge(const void *block)
{
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, huge = false;
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        uintptr_t from, to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            inside = (uintptr_t)block >= from && (uintptr_t)block < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            huge = strstr(line, " hg") != NULL;
    }
    fclose(maps);
    return huge;
}

static void fill_regions(bool hurry, bool expected)
{
    struct slabs *slabs = slabs_make();
    void **blocks = memory_allocate(3 * (REGION / CHUNK) * sizeof(*blocks));
    size_t count = 0;
    if (hurry) slabs_hurry(slabs);
    while (slabs_held_bytes(slabs) < 3 * REGION)
        blocks[count++] = slabs_allocate(slabs, CHUNK);
    assert_int_equal(is_huge(blocks[count - 1]), expected);
    while (count > 0)
        slabs_release(slabs, blocks[--count], CHUNK);
    slabs_free(slabs);
    memory_free(blocks);
}

/* A restart touches all that the log holds at once, on the loop. */
static void test_who_is_in_a_hurry_does_not_wait_for_huge_pages(void **state)
{
    fill_regions(false, true);
    fill_regions(true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_keep_what_is_written_and_memory_comes_back),
        cmocka_unit_test(test_a_slab_serves_another_size_when_it_is_free),
        cmocka_unit_test(test_a_region_is_wanted_before_memory_runs_out),
        cmocka_unit_test(test_regions_that_are_not_needed_go_back),
        cmocka_unit_test(test_a_region_is_wanted_again_after_others_went_back),
        cmocka_unit_test(test_who_is_in_a_hurry_does_not_wait_for_huge_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
