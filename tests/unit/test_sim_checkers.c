/* Each checker must accept what is right and see what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "sim/checkers/counter.h"
#include "sim/checkers/expiry.h"
#include "sim/checkers/linearizable.h"
#include "sim/checkers/order.h"
#include "sim/sim_resp.h"

static struct sim_op op(uint32_t client, enum sim_op_kind kind, int64_t argument, int64_t result,
                        uint64_t invoked, uint64_t returned)
{
    return (struct sim_op){.client = client,
                           .session = client,
                           .position = (uint32_t)invoked,
                           .kind = (uint8_t)kind,
                           .outcome = SIM_DONE,
                           .found = result >= 0,
                           .argument = argument,
                           .result = result,
                           .invoked = invoked,
                           .returned = returned};
}
static struct sim_op unknown(struct sim_op from)
{
    from.outcome = SIM_UNKNOWN;
    from.returned = UINT64_MAX;
    return from;
}

static enum sim_verdict judge(struct sim_op *ops, uint32_t count)
{
    char text[2000];

    return check_linearizable(ops, count, 1000000, text, sizeof(text));
}
#define JUDGE(...)                                                                                 \
    judge((struct sim_op[]){__VA_ARGS__},                                                          \
          sizeof((struct sim_op[]){__VA_ARGS__}) / sizeof(struct sim_op))

static void test_overlapping_operations_may_take_any_order(void **state)
{
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 50), op(2, SIM_OP_GET, 0, -1, 20, 30),
                           op(3, SIM_OP_GET, 0, 5, 40, 60)),
                     SIM_VERDICT_OK);
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 50), op(2, SIM_OP_GET, 0, 5, 20, 30),
                           op(3, SIM_OP_GET, 0, 5, 40, 60)),
                     SIM_VERDICT_OK);
}

static void test_a_stale_read_is_seen(void **state)
{
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 20), op(1, SIM_OP_SET, 6, 0, 30, 40),
                           op(2, SIM_OP_GET, 0, 5, 50, 60)),
                     SIM_VERDICT_VIOLATION);
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 50), op(2, SIM_OP_GET, 0, 5, 20, 30),
                           op(3, SIM_OP_GET, 0, -1, 40, 60)),
                     SIM_VERDICT_VIOLATION);
}

static void test_a_lost_write_is_seen_and_an_unknown_one_may_be_lost_or_late(void **state)
{
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 20), op(2, SIM_OP_GET, 0, -1, 30, 40)),
                     SIM_VERDICT_VIOLATION);
    assert_int_equal(
        JUDGE(unknown(op(1, SIM_OP_SET, 5, 0, 10, 20)), op(2, SIM_OP_GET, 0, -1, 30, 40)),
        SIM_VERDICT_OK);
    assert_int_equal(JUDGE(unknown(op(1, SIM_OP_SET, 5, 0, 10, 20)),
                           op(2, SIM_OP_GET, 0, -1, 30, 40), op(2, SIM_OP_GET, 0, 5, 50, 60)),
                     SIM_VERDICT_OK);
    assert_int_equal(JUDGE(unknown(op(1, SIM_OP_SET, 5, 0, 10, 20)),
                           op(2, SIM_OP_GET, 0, 5, 30, 40), op(2, SIM_OP_GET, 0, -1, 50, 60)),
                     SIM_VERDICT_VIOLATION);
}

static void test_deletions_count(void **state)
{
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 20), op(1, SIM_OP_DEL, 0, 1, 30, 40),
                           op(1, SIM_OP_SETNX, 6, 1, 50, 60), op(1, SIM_OP_GET, 0, 6, 70, 80)),
                     SIM_VERDICT_OK);
    assert_int_equal(JUDGE(op(1, SIM_OP_SET, 5, 0, 10, 20), op(1, SIM_OP_DEL, 0, 0, 30, 40)),
                     SIM_VERDICT_VIOLATION);
}

static void test_pipelined_operations_of_one_connection_keep_their_order(void **state)
{
    struct sim_op first = op(1, SIM_OP_SET, 5, 0, 10, 50);
    struct sim_op second = op(1, SIM_OP_SET, 6, 0, 10, 50);

    first.position = 1;
    second.position = 2;
    assert_int_equal(JUDGE(first, second, op(2, SIM_OP_GET, 0, 6, 60, 70)), SIM_VERDICT_OK);
    assert_int_equal(JUDGE(first, second, op(2, SIM_OP_GET, 0, 5, 60, 70)), SIM_VERDICT_VIOLATION);
}

static void test_an_increment_that_took_effect_twice_is_seen(void **state)
{
    assert_int_equal(JUDGE(op(1, SIM_OP_INCR, 0, 1, 10, 20), op(1, SIM_OP_INCR, 0, 3, 30, 40)),
                     SIM_VERDICT_VIOLATION);
    assert_int_equal(JUDGE(op(1, SIM_OP_INCR, 0, 1, 10, 20),
                           unknown(op(2, SIM_OP_INCR, 0, 0, 15, 0)),
                           op(1, SIM_OP_INCR, 0, 3, 30, 40)),
                     SIM_VERDICT_OK);
}

/* A sequential run, with calls and returns widened at random, is linearizable; one result
 * changed to a value of long ago is not. */
static void test_long_random_histories(void **state)
{
    static struct sim_op ops[4000];
    struct random random;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        int64_t value = -1;
        uint32_t broken = 0;
        random_seed(&random, seed);
        for (uint32_t i = 0; i < 1000; i++) {
            uint64_t at = (i + 2) * 100;
            bool write = random_chance(&random, 1, 2);
            if (write) value = (int64_t)i;
            if (!write && i > 800 && broken == 0) broken = i;
            ops[i] = op(i % 7, write ? SIM_OP_SET : SIM_OP_GET, value, value,
                        at - random_below(&random, 150), at + random_below(&random, 150));
            ops[i].session = i; /* sessions do not matter here */
        }
        static struct sim_op copy[4000];
        memcpy(copy, ops, sizeof(ops));
        assert_int_equal(judge(copy, 1000), SIM_VERDICT_OK);
        memcpy(copy, ops, sizeof(ops));
        copy[broken].result = ops[broken].result - 500;
        assert_int_equal(judge(copy, 1000), SIM_VERDICT_VIOLATION);
    }
}

static void test_many_unknown_increments_do_not_explode(void **state)
{
    static struct sim_op ops[600];
    uint32_t n = 0;
    int64_t value = 0;

    for (uint32_t i = 0; i < 500; i++) {
        if (i % 10 == 0) {
            ops[n] = unknown(op(100 + i, SIM_OP_INCR, 0, 0, i * 100, 0));
            n++;
            if (i % 20 == 0) value++;
        }
        value++;
        ops[n++] = op(1, SIM_OP_INCR, 0, value, i * 100 + 10, i * 100 + 50);
    }
    assert_int_equal(judge(ops, n), SIM_VERDICT_OK);
}

/* --- the others --- */

static struct sim_history history_of(enum sim_key_kind kind, const struct sim_op *ops,
                                     uint32_t count)
{
    struct sim_history history;

    sim_history_init(&history, 1);
    history.key_kinds[0] = (uint8_t)kind;
    for (uint32_t i = 0; i < count; i++)
        sim_history_add(&history, &ops[i]);
    return history;
}

static bool counters_fine(const struct sim_op *ops, uint32_t count)
{
    struct sim_history history = history_of(SIM_KEY_COUNTER, ops, count);
    char text[500];
    bool fine = check_counters(&history, text, sizeof(text));

    sim_history_free(&history);
    return fine;
}

static void test_counters_lose_and_double_nothing(void **state)
{
    struct sim_op ops[] = {op(1, SIM_OP_INCR, 0, 1, 10, 20), op(1, SIM_OP_INCR, 0, 2, 30, 40),
                           op(1, SIM_OP_GET, 0, 2, 50, 60)};

    assert_true(counters_fine(ops, 3));
    ops[2].result = 1;
    assert_false(counters_fine(ops, 3));
    ops[2].result = 3;
    assert_false(counters_fine(ops, 3));
    ops[2].result = 2;
    ops[1].result = 1;
    assert_false(counters_fine(ops, 3));
}

static bool order_fine(const struct sim_op *ops, uint32_t count, const char *final)
{
    struct sim_history history = history_of(SIM_KEY_ORDER, ops, count);
    char text[500];

    sim_history_set_final(&history, 0, bytes_of(final));
    bool fine = check_order(&history, text, sizeof(text));
    sim_history_free(&history);
    return fine;
}

static void test_appended_tokens_stay_once_and_in_order(void **state)
{
    struct sim_op ops[] = {op(1, SIM_OP_APPEND, 5, 5, 1, 20), op(1, SIM_OP_APPEND, 5, 10, 2, 20),
                           unknown(op(1, SIM_OP_APPEND, 5, 0, 3, 0))};

    assert_true(order_fine(ops, 3, "s1p1;s1p2;"));
    assert_true(order_fine(ops, 3, "s1p1;s1p2;s1p3;"));
    assert_false(order_fine(ops, 3, "s1p2;s1p1;"));
    assert_false(order_fine(ops, 3, "s1p1;"));
    assert_false(order_fine(ops, 3, "s1p1;s1p2;s1p2;"));
    assert_false(order_fine(ops, 3, "s1p1;s1p3;s1p2;"));
    assert_false(order_fine(ops, 3, "s1p1;s1p2;s2p1;"));
    struct sim_op read = op(2, SIM_OP_GET, 0, 5, 30, 40);
    read.content_hash = hash64(0, bytes_of("s1p1;"));
    struct sim_op with_read[] = {ops[0], ops[1], read};
    assert_false(order_fine(with_read, 3, "s1p1;s1p2;")); /* it missed the second */
}

static bool expiry_fine(struct sim_op *ops, uint32_t count)
{
    struct check_expiry_options options = {.judge_times = true, .slack = 1000};
    struct sim_history history = history_of(SIM_KEY_EXPIRY, ops, count);
    char text[500];
    bool fine = check_expiry(&history, &options, text, sizeof(text));

    sim_history_free(&history);
    return fine;
}

static void test_expired_values_go_in_time_and_for_ever(void **state)
{
    struct sim_op set = op(1, SIM_OP_SET_EXPIRING, 7, 0, 1000, 2000);
    set.expiry = 100000;

    assert_true(expiry_fine((struct sim_op[]){set, op(2, SIM_OP_GET, 0, 7, 50000, 51000)}, 2));
    assert_true(expiry_fine((struct sim_op[]){set, op(2, SIM_OP_GET, 0, -1, 150000, 151000)}, 2));
    assert_false(expiry_fine((struct sim_op[]){set, op(2, SIM_OP_GET, 0, -1, 50000, 51000)}, 2));
    assert_false(expiry_fine((struct sim_op[]){set, op(2, SIM_OP_GET, 0, 7, 150000, 151000)}, 2));
    assert_false(expiry_fine((struct sim_op[]){set, op(2, SIM_OP_GET, 0, -1, 99000, 99500),
                                               op(3, SIM_OP_GET, 0, 7, 100000, 101000)},
                             3));
}

static void test_resp_replies_are_taken_whole_or_not_at_all(void **state)
{
    const char *text = "+OK\r\n:-12\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n*2\r\n:1\r\n$1\r\nx\r\n";
    enum sim_reply_kind kinds[] = {SIM_REPLY_STATUS, SIM_REPLY_INTEGER, SIM_REPLY_BULK,
                                   SIM_REPLY_NIL,    SIM_REPLY_ERROR,   SIM_REPLY_OTHER};
    struct bytes input = bytes_of(text);

    for (size_t i = 0; i < 6; i++) {
        struct sim_reply reply;
        size_t size = 0;
        for (size_t part = 0;; part++) {
            assert_true(part <= input.size);
            int found = sim_resp_parse(bytes_make(input.data, part), &reply, &size);
            assert_true(found >= 0);
            if (found == 1) break;
        }
        assert_int_equal(reply.kind, kinds[i]);
        if (i == 1) assert_int_equal(reply.integer, -12);
        if (i == 2) assert_true(bytes_equal(reply.text, bytes_of("a\r\n")));
        input = bytes_from(input, size);
    }
    assert_int_equal(input.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overlapping_operations_may_take_any_order),
        cmocka_unit_test(test_a_stale_read_is_seen),
        cmocka_unit_test(test_a_lost_write_is_seen_and_an_unknown_one_may_be_lost_or_late),
        cmocka_unit_test(test_deletions_count),
        cmocka_unit_test(test_pipelined_operations_of_one_connection_keep_their_order),
        cmocka_unit_test(test_an_increment_that_took_effect_twice_is_seen),
        cmocka_unit_test(test_long_random_histories),
        cmocka_unit_test(test_many_unknown_increments_do_not_explode),
        cmocka_unit_test(test_counters_lose_and_double_nothing),
        cmocka_unit_test(test_appended_tokens_stay_once_and_in_order),
        cmocka_unit_test(test_expired_values_go_in_time_and_for_ever),
        cmocka_unit_test(test_resp_replies_are_taken_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
