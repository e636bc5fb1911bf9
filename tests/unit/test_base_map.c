#include "unit.h"

#include "base/map.h"
#include "base/random.h"

enum { KEYS = 512 };

/* Goal: the map does what an array does, through any mix of puts and removes, so that closing
 * the gap after a removal never loses an entry. */
static void test_the_map_agrees_with_an_array(void **state)
{
    struct map map;
    struct random random;
    static int targets[KEYS];
    void *model[KEYS] = {0};
    size_t count = 0;
    map_init(&map);
    random_seed(&random, 3);

    for (unsigned step = 0; step < 200000; step++) {
        uint64_t key = random_below(&random, KEYS);
        if (random_chance(&random, 1, 2)) {
            void *value = &targets[random_below(&random, KEYS)];
            count += model[key] == NULL;
            assert_ptr_equal(map_put(&map, key, value), model[key]);
            model[key] = value;
        } else {
            count -= model[key] != NULL;
            assert_ptr_equal(map_remove(&map, key), model[key]);
            model[key] = NULL;
        }
        uint64_t other = random_below(&random, KEYS);
        assert_ptr_equal(map_get(&map, other), model[other]);
        assert_int_equal(map.count, count);
    }

    size_t position = 0, seen = 0;
    uint64_t key;
    void *value;
    while (map_next(&map, &position, &key, &value)) {
        assert_ptr_equal(value, model[key]);
        seen++;
    }
    assert_int_equal(seen, count);
    map_free(&map);
}

static void test_an_empty_map_has_nothing(void **state)
{
    struct map map;
    size_t position = 0;
    uint64_t key;
    void *value;
    map_init(&map);

    assert_null(map_get(&map, 0));
    assert_null(map_remove(&map, 0));
    assert_false(map_next(&map, &position, &key, &value));
    map_free(&map);
}

static void test_the_extreme_keys_are_ordinary(void **state)
{
    struct map map;
    int a, b;
    map_init(&map);

    assert_null(map_put(&map, 0, &a));
    assert_null(map_put(&map, UINT64_MAX, &b));
    assert_ptr_equal(map_get(&map, 0), &a);
    assert_ptr_equal(map_get(&map, UINT64_MAX), &b);
    assert_ptr_equal(map_remove(&map, 0), &a);
    assert_ptr_equal(map_get(&map, UINT64_MAX), &b);
    map_free(&map);
}

static void test_equal_seeds_give_equal_streams(void **state)
{
    struct random a, b, c;
    random_seed(&a, 42);
    random_seed(&b, 42);
    random_seed(&c, 43);

    assert_true(random_u64(&c) != random_u64(&a));
    random_u64(&b);
    for (unsigned i = 0; i < 100; i++)
        assert_true(random_u64(&a) == random_u64(&b));
}

static void test_xoshiro_is_the_published_one(void **state)
{
    /* xoshiro256** from the state {1, 2, 3, 4}: by hand, rotl(2 * 5, 7) * 9 = 11520, and the
     * next state has s[1] = 0, so that the second number is 0. */
    struct random random = {.state = {1, 2, 3, 4}};

    assert_true(random_u64(&random) == 11520);
    assert_true(random_u64(&random) == 0);
    assert_true(random_u64(&random) == 1509978240);
    assert_true(random_u64(&random) == 1215971899390074240);
}

static void test_random_stays_in_its_bounds(void **state)
{
    struct random random;
    unsigned hits[3] = {0};
    random_seed(&random, 5);

    for (unsigned i = 0; i < 3000; i++) {
        hits[random_below(&random, 3)]++;
        uint64_t value = random_between(&random, 10, 12);
        assert_true(value >= 10 && value <= 12);
        assert_false(random_chance(&random, 0, 10));
        assert_true(random_chance(&random, 10, 10));
    }
    for (unsigned i = 0; i < 3; i++)
        assert_in_range(hits[i], 800, 1200);
    assert_true(random_between(&random, 7, 7) == 7);
    random_between(&random, 0, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_map_agrees_with_an_array),
        cmocka_unit_test(test_an_empty_map_has_nothing),
        cmocka_unit_test(test_the_extreme_keys_are_ordinary),
        cmocka_unit_test(test_equal_seeds_give_equal_streams),
        cmocka_unit_test(test_xoshiro_is_the_published_one),
        cmocka_unit_test(test_random_stays_in_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
