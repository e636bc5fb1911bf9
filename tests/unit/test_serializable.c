/* What each anomaly looks like from outside, and that what is right is never taken for one. The
 * histories are those of the Elle paper and of Adya's thesis, in a small language (see txn()). */
#include "unit.h"

#include "base/random.h"
#include "sim/checkers/bank.h"
#include "sim/checkers/serializable.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif

struct bed {
    struct sim_txn_history history;
    struct sim_serializable_report report;
    char text[4000];
};

static int setup(void **state)
{
    struct bed *bed = calloc(1, sizeof(*bed));

    sim_txn_history_init(&bed->history, 200000, 20000000);
    *state = bed;
    return 0;
}

static int teardown(void **state)
{
    struct bed *bed = *state;

    sim_txn_history_free(&bed->history);
    free(bed);
    return 0;
}

static void start_anew(struct bed *bed)
{
    sim_txn_history_free(&bed->history);
    sim_txn_history_init(&bed->history, 200000, 20000000);
}

/* --- the small language: "a1=5" appends 5 to list 1, "l1=5,6" read it so ("l1=": empty, "l1=?":
 * no result), "w2=7" writes register 2, "r2=0" read it so --- */

static void read_list(struct bed *bed, uint32_t txn, uint32_t key, const char *at)
{
    uint64_t values[16];
    uint32_t count = 0;

    uint32_t op = sim_txn_list(&bed->history, txn, key);
    if (*at == '?') return;
    while (*at != ' ' && *at != '\0') {
        char *end;
        values[count++] = strtoull(at, &end, 10);
        at = *end == ',' ? end + 1 : end;
    }
    sim_txn_list_is(&bed->history, op, values, count);
}

static void txn_as(struct bed *bed, uint32_t client, uint64_t invoked, uint64_t returned,
                   enum sim_txn_outcome outcome, const char *ops)
{
    uint32_t txn = sim_txn_begin(&bed->history, client, invoked);

    while (ops != NULL && *ops != '\0') {
        char *at;
        char kind = *ops;
        uint32_t key = (uint32_t)strtoul(ops + 1, &at, 10);
        at++;
        uint64_t value = strtoull(at, NULL, 10);
        if (kind == 'a') sim_txn_append(&bed->history, txn, key, value);
        if (kind == 'w') sim_txn_write(&bed->history, txn, key, value);
        if (kind == 'l') read_list(bed, txn, key, at);
        if (kind == 'r') {
            uint32_t op = sim_txn_read(&bed->history, txn, key);
            if (*at != '?') sim_txn_read_is(&bed->history, op, value);
        }
        ops = strchr(ops, ' ');
        if (ops) ops++;
    }
    if (outcome != SIM_TXN_OPEN) sim_txn_end(&bed->history, txn, outcome, returned);
}

static void txn(struct bed *bed, uint32_t client, uint64_t invoked, uint64_t returned,
                const char *ops)
{
    txn_as(bed, client, invoked, returned, SIM_TXN_COMMITTED, ops);
}

/* Overlaps all others that are made by it, and is of another client. */
static void any(struct bed *bed, const char *ops)
{
    txn(bed, bed->history.txn_count, 0, 1000, ops);
}

static enum sim_anomaly judge(struct bed *bed)
{
    bed->report = check_serializable(&bed->history, bed->text, sizeof(bed->text));
    return bed->report.anomaly;
}

static void expect(struct bed *bed, enum sim_anomaly anomaly)
{
    enum sim_anomaly found = judge(bed);

    if (found != anomaly) print_message("%s\n", bed->text);
    assert_string_equal(sim_anomaly_name(found), sim_anomaly_name(anomaly));
    assert_int_equal(bed->text[0] == '\0', anomaly == SIM_ANOMALY_NONE);
    start_anew(bed);
}

/* --- single reads --- */

static void test_nothing_and_one_after_the_other_are_right(void **state)
{
    struct bed *bed = *state;

    expect(bed, SIM_ANOMALY_NONE);
    txn(bed, 1, 0, 10, "l1= a1=1 l1=1 a1=2 l1=1,2 r2=0 w2=1 r2=1 w2=2");
    txn(bed, 2, 20, 30, "a1=3 l1=1,2,3 r2=2 w2=3");
    txn(bed, 1, 40, 50, "l1=1,2,3 r2=3 r2=3 r3=0 l4=");
    txn(bed, 1, 60, 70, "");
    expect(bed, SIM_ANOMALY_NONE);
}

static void test_what_nobody_wrote_is_garbage(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1");
    any(bed, "l1=1,7");
    expect(bed, SIM_ANOMALY_GARBAGE);
    any(bed, "w1=1");
    any(bed, "r1=7");
    expect(bed, SIM_ANOMALY_GARBAGE);
}

static void test_an_append_that_happened_twice_is_seen(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1");
    any(bed, "l1=1,1");
    expect(bed, SIM_ANOMALY_DUPLICATE);
    any(bed, "a1=1");
    any(bed, "a1=2");
    any(bed, "l1=1,2,1");
    any(bed, "l1=1,2");
    expect(bed, SIM_ANOMALY_DUPLICATE);
}

static void test_a_transaction_must_agree_with_itself(void **state)
{
    static const char *const wrong[] = {
        "a1=1 l1=",         /* own append not seen */
        "a1=1 a1=2 l1=1",   /* the second one not */
        "a1=1 a1=2 l1=2,1", /* in the wrong order */
        "l1=9 l1=",         /* two states */
        "l1= a1=1 l1=9,1",  /* two states, and an own append */
        "l1=1 a1=1",        /* before it was appended */
        "w2=1 r2=0",        /* own write not seen */
        "w2=1 w2=2 r2=1",   /* the older one seen */
        "r2=0 r2=9",        /* two states */
        "r2=1 w2=1",        /* before it was written */
    };
    struct bed *bed = *state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        any(bed, "a1=9 w2=9");
        any(bed, wrong[i]);
        expect(bed, SIM_ANOMALY_INTERNAL);
    }
    any(bed, "a1=1 a1=2"); /* the first one was lost */
    any(bed, "l1=2");
    expect(bed, SIM_ANOMALY_INTERNAL);
}

static void test_G1a_a_read_of_what_failed(void **state)
{
    struct bed *bed = *state;

    txn_as(bed, 1, 0, 10, SIM_TXN_FAILED, "a1=1");
    any(bed, "l1=1");
    expect(bed, SIM_ANOMALY_G1A);
    txn_as(bed, 1, 0, 10, SIM_TXN_FAILED, "w1=1");
    any(bed, "r1=1");
    expect(bed, SIM_ANOMALY_G1A);
    txn_as(bed, 1, 0, 10, SIM_TXN_FAILED, "w1=1 a2=2 l2=2");
    any(bed, "r1=0 l2=");
    expect(bed, SIM_ANOMALY_NONE);
}

static void test_G1b_a_read_from_the_middle_of_a_transaction(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1 a1=2");
    any(bed, "l1=1");
    any(bed, "l1=1,2");
    expect(bed, SIM_ANOMALY_G1B);
    any(bed, "a1=1 a1=2");
    any(bed, "l1=1");
    expect(bed, SIM_ANOMALY_G1B);
    any(bed, "w1=1 w1=2");
    any(bed, "r1=1");
    expect(bed, SIM_ANOMALY_G1B);
}

static void test_two_reads_must_agree_on_the_order(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1");
    any(bed, "a1=2");
    any(bed, "l1=1,2");
    any(bed, "l1=2,1");
    expect(bed, SIM_ANOMALY_INCOMPATIBLE);
    any(bed, "a1=1");
    any(bed, "a1=2");
    any(bed, "l1=1");
    any(bed, "l1=2");
    expect(bed, SIM_ANOMALY_INCOMPATIBLE);
}

static void test_two_that_replace_the_same_version_are_a_lost_update(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1");
    any(bed, "l1=1 a1=2");
    any(bed, "l1=1 a1=3");
    any(bed, "l1=1,2,3");
    expect(bed, SIM_ANOMALY_LOST_UPDATE);
    any(bed, "r1=0 w1=1");
    any(bed, "r1=0 w1=2");
    expect(bed, SIM_ANOMALY_LOST_UPDATE);
    any(bed, "w1=5");
    any(bed, "r1=5 w1=1");
    any(bed, "r1=5 w1=2");
    expect(bed, SIM_ANOMALY_LOST_UPDATE);
}

static void test_a_history_that_cannot_be_judged_is_refused(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1");
    any(bed, "a1=1");
    expect(bed, SIM_ANOMALY_MALFORMED);
    any(bed, "a1=1 r1=1");
    expect(bed, SIM_ANOMALY_MALFORMED);
    any(bed, "w1=0");
    expect(bed, SIM_ANOMALY_MALFORMED);
}

/* --- cycles --- */

static void test_G0_a_cycle_of_writes(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1 a2=1");
    any(bed, "a1=2 a2=2");
    any(bed, "l1=1,2");
    any(bed, "l2=2,1");
    assert_int_equal(judge(bed), SIM_ANOMALY_G0);
    assert_int_equal(bed->report.cycle_count, 2);
    assert_non_null(strstr(bed->text, "T0 -ww-> T1: T1 wrote 2 to k1"));
    assert_non_null(strstr(bed->text, "T1 -ww-> T0: T0 wrote 1 to k2"));
    assert_non_null(strstr(bed->text, "T0 c0 committed [0.000000, 0.001000]: append k1 1,"));
    expect(bed, SIM_ANOMALY_G0);

    any(bed, "a1=1 a2=1"); /* what nobody has read is behind what somebody has */
    any(bed, "a1=2 a2=2");
    any(bed, "l1=1");
    any(bed, "l2=2");
    expect(bed, SIM_ANOMALY_G0);
}

static void test_G1c_a_cycle_of_reads(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1 l2=5");
    any(bed, "a2=5 l1=1");
    assert_int_equal(judge(bed), SIM_ANOMALY_G1C);
    assert_non_null(strstr(bed->text, "T0 -wr-> T1: T1 read 1 in k1, which T0 wrote"));
    expect(bed, SIM_ANOMALY_G1C);
    any(bed, "w1=1 r2=2");
    any(bed, "w2=2 r1=1");
    expect(bed, SIM_ANOMALY_G1C);
}

static void test_G_single_read_skew(void **state)
{
    struct bed *bed = *state;

    any(bed, "a1=1 a2=1");
    any(bed, "l1=1 l2=");
    any(bed, "l2=1");
    assert_int_equal(judge(bed), SIM_ANOMALY_G_SINGLE);
    assert_non_null(strstr(bed->text, "T1 -rw-> T0: T1 did not see 1 in k2, which T0 wrote"));
    expect(bed, SIM_ANOMALY_G_SINGLE);
    any(bed, "a1=1 a2=1"); /* the same if nobody ever reads it */
    any(bed, "l1=1 l2=");
    expect(bed, SIM_ANOMALY_G_SINGLE);
    any(bed, "w1=1 w2=1");
    any(bed, "r1=1 r2=0");
    expect(bed, SIM_ANOMALY_G_SINGLE);
    any(bed, "w1=1 w2=1"); /* later versions, whose order is known by read and write */
    any(bed, "r1=1 w1=2 r2=1 w2=2");
    any(bed, "r1=1 r2=2");
    expect(bed, SIM_ANOMALY_G_SINGLE);
}

static void test_G2_write_skew(void **state)
{
    struct bed *bed = *state;

    any(bed, "l1= a2=1");
    any(bed, "l2= a1=1");
    expect(bed, SIM_ANOMALY_G2);
    any(bed, "r1=0 w2=1");
    any(bed, "r2=0 w1=1");
    expect(bed, SIM_ANOMALY_G2);
}

static void test_a_long_fork_is_a_G2_of_four(void **state)
{
    struct bed *bed = *state;

    any(bed, "w1=1");
    any(bed, "w2=1");
    any(bed, "r1=1 r2=0");
    any(bed, "r1=0 r2=1");
    assert_int_equal(judge(bed), SIM_ANOMALY_G2);
    assert_int_equal(bed->report.cycle_count, 4);
    expect(bed, SIM_ANOMALY_G2);
    any(bed, "a1=1");
    any(bed, "a2=1");
    any(bed, "l1=1 l2=");
    any(bed, "l1= l2=1");
    expect(bed, SIM_ANOMALY_G2);
}

static void test_the_worst_and_shortest_cycle_is_told(void **state)
{
    struct bed *bed = *state;

    any(bed, "r1=0 w2=1");
    any(bed, "r2=0 w1=1");
    any(bed, "a11=1 l12=5");
    any(bed, "a12=5 l13=1");
    any(bed, "a13=1 l11=1");
    any(bed, "a21=1 l22=5");
    any(bed, "a22=5 l21=1");
    assert_int_equal(judge(bed), SIM_ANOMALY_G1C);
    assert_int_equal(bed->report.cycle_count, 2);
    assert_non_null(strstr(bed->text, "T5 -wr-> T6"));
}

static void test_half_of_what_two_wrote_blindly_is_read_skew(void **state)
{
    struct bed *bed = *state;

    any(bed, "w1=1 w2=1");
    any(bed, "w1=2 w2=2");
    any(bed, "r1=1 r2=2");
    assert_int_equal(judge(bed), SIM_ANOMALY_G_SINGLE);
    assert_non_null(strstr(bed->text, "T2 read of both T0 and T1 what the other one wrote, too"));
    expect(bed, SIM_ANOMALY_G_SINGLE);
    any(bed, "w1=1 w2=1 w3=1");
    any(bed, "w1=2 w2=2 w3=2");
    any(bed, "r1=1 r3=1");
    any(bed, "r2=2 r3=2");
    expect(bed, SIM_ANOMALY_NONE);
}

static void test_what_one_read_tells_the_order_for_others(void **state)
{
    struct bed *bed = *state;

    any(bed, "w1=1 w3=1");
    any(bed, "w1=2");
    any(bed, "r1=2 r3=1"); /* so T0 is before T1 */
    any(bed, "r1=1 w4=1");
    any(bed, "r1=2 r4=0");
    expect(bed, SIM_ANOMALY_G2); /* T3, T1, T4 */
    any(bed, "w1=1 w3=1");
    any(bed, "w1=2");
    any(bed, "r1=1 w4=1"); /* the same, but of T0 and T1 nobody tells which is first */
    any(bed, "r1=2 r4=0");
    expect(bed, SIM_ANOMALY_NONE);
    any(bed, "w1=1 w3=1");
    any(bed, "w1=2");
    any(bed, "r1=2 r3=1");
    any(bed, "r1=1 r5=6");
    any(bed, "r1=2 w5=6"); /* before T3 and so before T1, which it read */
    assert_int_equal(judge(bed), SIM_ANOMALY_G_SINGLE);
    assert_non_null(strstr(bed->text, "the order of the versions follows from T2"));
    assert_non_null(strstr(bed->text, "T2 c2 committed"));
    expect(bed, SIM_ANOMALY_G_SINGLE);
}

/* --- time --- */

static void test_a_read_must_see_what_had_returned(void **state)
{
    struct bed *bed = *state;

    txn(bed, 1, 0, 10, "a1=1");
    txn(bed, 2, 20, 30, "l1=");
    assert_int_equal(judge(bed), SIM_ANOMALY_G_SINGLE_REALTIME);
    assert_non_null(strstr(bed->text, "T0 -realtime-> T1"));
    expect(bed, SIM_ANOMALY_G_SINGLE_REALTIME);
    txn(bed, 1, 0, 20, "a1=1"); /* at the same time: both orders are right */
    txn(bed, 2, 20, 30, "l1=");
    expect(bed, SIM_ANOMALY_NONE);
    txn(bed, 1, 0, 10, "w1=1"); /* blind writes: time alone knows the order */
    txn(bed, 1, 20, 30, "w1=2");
    txn(bed, 2, 40, 50, "r1=1");
    expect(bed, SIM_ANOMALY_G_SINGLE_REALTIME);
    txn(bed, 1, 0, 10, "w1=1");
    txn(bed, 1, 20, 30, "w1=2");
    txn(bed, 2, 20, 50, "r1=1");
    expect(bed, SIM_ANOMALY_NONE);
    txn(bed, 1, 0, 10, "w1=1");
    txn(bed, 2, 20, 30, "r1=0");
    expect(bed, SIM_ANOMALY_G_SINGLE_REALTIME);
}

static void test_a_value_that_was_overwritten_does_not_come_back(void **state)
{
    struct bed *bed = *state;

    txn(bed, 1, 0, 50, "w1=1");
    txn(bed, 2, 0, 50, "w1=2");
    txn(bed, 3, 60, 70, "r1=1");
    txn(bed, 3, 80, 90, "r1=2");
    expect(bed, SIM_ANOMALY_G0_REALTIME); /* each of the writes was overwritten by the other */
    txn(bed, 1, 0, 65, "w1=1");
    txn(bed, 2, 0, 85, "w1=2");
    txn(bed, 3, 60, 70, "r1=1");
    txn(bed, 3, 80, 90, "r1=2");
    expect(bed, SIM_ANOMALY_NONE);
}

/* Two keys, and an order that only a third client's time makes wrong. */
static void test_time_goes_through_other_transactions(void **state)
{
    struct bed *bed = *state;

    txn(bed, 1, 0, 100, "a1=1 a2=1");
    txn(bed, 2, 10, 20, "l1=1");
    txn(bed, 3, 30, 40, "a3=1");
    txn(bed, 4, 50, 60, "l2= l3=1");
    assert_int_equal(judge(bed), SIM_ANOMALY_G_SINGLE_REALTIME);
    assert_int_equal(bed->report.cycle_count, 3);
    expect(bed, SIM_ANOMALY_G_SINGLE_REALTIME);
}

static void test_a_client_sees_its_own_earlier_transactions(void **state)
{
    struct bed *bed = *state;

    txn(bed, 1, 0, 10, "a1=1");
    txn(bed, 1, 10, 20, "l1=");
    assert_int_equal(judge(bed), SIM_ANOMALY_G_SINGLE_PROCESS);
    assert_non_null(strstr(bed->text, "T0 -process-> T1: the next of client 1"));
    expect(bed, SIM_ANOMALY_G_SINGLE_PROCESS);
    txn(bed, 1, 0, 10, "a1=1 a2=1");
    txn(bed, 2, 0, 10, "l1=1");
    txn_as(bed, 2, 10, 20, SIM_TXN_UNKNOWN, "a3=1"); /* before nobody, but behind what was */
    txn(bed, 2, 20, 30, "l2=");
    expect(bed, SIM_ANOMALY_G_SINGLE_PROCESS);
}

/* --- unknown outcomes --- */

static void test_an_unknown_transaction_may_happen_never_or_late(void **state)
{
    struct bed *bed = *state;

    txn_as(bed, 1, 0, 10, SIM_TXN_UNKNOWN, "a1=1 w2=1 l3=?");
    txn_as(bed, 2, 0, 10, SIM_TXN_OPEN, "a1=2 w2=2 r4=?");
    txn(bed, 3, 20, 30, "l1= r2=0");
    expect(bed, SIM_ANOMALY_NONE);
    txn_as(bed, 1, 0, 10, SIM_TXN_UNKNOWN, "a1=1 w2=1");
    txn_as(bed, 2, 0, 10, SIM_TXN_OPEN, "a1=2 w2=2");
    txn(bed, 3, 20, 30, "l1= r2=0");
    txn(bed, 3, 40, 50, "l1=2 r2=2");
    txn(bed, 3, 60, 70, "l1=2,1 r2=1");
    assert_int_equal(judge(bed), SIM_ANOMALY_NONE);
    assert_int_equal(bed->report.txns_counted, 5);
    assert_int_equal(bed->report.txns_revealed, 2);
    expect(bed, SIM_ANOMALY_NONE);
}

static void test_an_unknown_transaction_that_was_seen_happened_as_a_whole(void **state)
{
    struct bed *bed = *state;

    txn_as(bed, 1, 0, 10, SIM_TXN_UNKNOWN, "a1=1 a2=1");
    txn(bed, 3, 20, 30, "l1=1 l2=");
    expect(bed, SIM_ANOMALY_G_SINGLE);
    txn_as(bed, 1, 0, 10, SIM_TXN_UNKNOWN, "w1=1 w2=1");
    txn(bed, 3, 20, 30, "r1=1");
    txn(bed, 4, 40, 50, "r2=0");
    expect(bed, SIM_ANOMALY_G_SINGLE_REALTIME);
    txn_as(bed, 1, 40, 50, SIM_TXN_UNKNOWN, "w1=1"); /* not before it was called */
    txn(bed, 3, 20, 30, "r1=1");
    expect(bed, SIM_ANOMALY_G1C_REALTIME);
}

/* --- random histories --- */

enum { PLAY_CLIENTS = 10, PLAY_LIST_MAX = 60, PLAY_OPS_MAX = 4 };

struct play_op {
    enum sim_txn_op_kind kind;
    uint32_t key;
    uint64_t value;
    uint32_t op; /* in the history */
};

/* A database that executes one transaction after the other, and clients that are told late. */
struct play {
    struct bed *bed;
    struct random random;
    uint32_t keys; /* even ones are lists */
    uint64_t (*lists)[PLAY_LIST_MAX];
    uint32_t *list_counts;
    uint64_t *registers;
    uint64_t free_at[PLAY_CLIENTS];
    uint64_t now, last_value;
    struct play_op late[PLAY_OPS_MAX]; /* of an unknown outcome: will still happen */
    uint32_t late_count;
};

static uint32_t play_draw(struct play *play, uint32_t key_first, uint32_t keys,
                          struct play_op ops[PLAY_OPS_MAX])
{
    uint32_t count = (uint32_t)random_between(&play->random, 1, PLAY_OPS_MAX);

    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = key_first + (uint32_t)random_below(&play->random, keys);
        bool writes = random_chance(&play->random, 1, 2);
        if (key % 2 == 0 && play->list_counts[key] + 2 * PLAY_OPS_MAX > PLAY_LIST_MAX)
            writes = false;
        enum sim_txn_op_kind kind = writes ? SIM_TXN_WRITE : SIM_TXN_READ;
        if (key % 2 == 0) kind = writes ? SIM_TXN_APPEND : SIM_TXN_LIST;
        ops[i] = (struct play_op){.kind = kind, .key = key, .value = ++play->last_value};
    }
    return count;
}

static void play_record(struct play *play, uint32_t txn, struct play_op *ops, uint32_t count)
{
    struct sim_txn_history *history = &play->bed->history;

    for (uint32_t i = 0; i < count; i++) {
        struct play_op *op = &ops[i];
        if (op->kind == SIM_TXN_APPEND)
            op->op = sim_txn_append(history, txn, op->key, op->value);
        else if (op->kind == SIM_TXN_WRITE)
            op->op = sim_txn_write(history, txn, op->key, op->value);
        else
            op->op = op->kind == SIM_TXN_LIST ? sim_txn_list(history, txn, op->key)
                                              : sim_txn_read(history, txn, op->key);
    }
}

static void play_execute(struct play *play, const struct play_op *ops, uint32_t count, bool is_told)
{
    struct sim_txn_history *history = &play->bed->history;

    for (uint32_t i = 0; i < count; i++) {
        const struct play_op *op = &ops[i];
        if (op->kind == SIM_TXN_APPEND)
            play->lists[op->key][play->list_counts[op->key]++] = op->value;
        else if (op->kind == SIM_TXN_WRITE)
            play->registers[op->key] = op->value;
        else if (is_told && op->kind == SIM_TXN_LIST)
            sim_txn_list_is(history, op->op, play->lists[op->key], play->list_counts[op->key]);
        else if (is_told)
            sim_txn_read_is(history, op->op, play->registers[op->key]);
    }
}

static uint32_t play_client(struct play *play)
{
    uint32_t client = (uint32_t)random_below(&play->random, PLAY_CLIENTS);

    play->now += random_between(&play->random, 1, 10);
    for (uint32_t i = 0; i < PLAY_CLIENTS && play->free_at[client] > play->now; i++)
        client = (client + 1) % PLAY_CLIENTS;
    if (play->free_at[client] > play->now) play->now = play->free_at[client];
    return client;
}

static void play_one(struct play *play, uint32_t key_first, uint32_t keys)
{
    struct sim_txn_history *history = &play->bed->history;
    struct play_op ops[PLAY_OPS_MAX];
    uint32_t client = play_client(play);
    uint64_t early = random_below(&play->random, 40);
    uint64_t invoked = early < play->now ? play->now - early : 0;
    uint64_t fate = random_below(&play->random, 100);

    if (invoked < play->free_at[client]) invoked = play->free_at[client];
    play->free_at[client] = play->now + random_below(&play->random, 40);
    if (play->late_count > 0 && random_chance(&play->random, 1, 5)) {
        play_execute(play, play->late, play->late_count, false);
        play->late_count = 0;
    }
    uint32_t count = play_draw(play, key_first, keys, ops);
    uint32_t txn = sim_txn_begin(history, client, invoked);
    play_record(play, txn, ops, count);
    if (fate < 5) {
        sim_txn_end(history, txn, SIM_TXN_FAILED, play->free_at[client]);
    } else if (fate < 15) { /* never, now or later */
        sim_txn_end(history, txn, SIM_TXN_UNKNOWN, play->free_at[client]);
        if (fate < 8) play_execute(play, ops, count, false);
        if (fate >= 12 && play->late_count == 0) {
            memcpy(play->late, ops, sizeof(ops));
            play->late_count = count;
        }
    } else {
        play_execute(play, ops, count, true);
        sim_txn_end(history, txn, SIM_TXN_COMMITTED, play->free_at[client]);
    }
}

/* The keys in use change all the time, so that lists stay short; key 1 stays. */
static void play_all(struct bed *bed, uint64_t seed, uint32_t txns, uint32_t keys_at_once)
{
    struct play play = {.bed = bed, .keys = txns / 16 + keys_at_once + 2};

    start_anew(bed);
    random_seed(&play.random, seed);
    play.lists = calloc(play.keys, sizeof(*play.lists));
    play.list_counts = calloc(play.keys, sizeof(*play.list_counts));
    play.registers = calloc(play.keys, sizeof(*play.registers));
    for (uint32_t i = 0; i < txns; i++) {
        if (random_chance(&play.random, 1, 4))
            play_one(&play, 1, 1);
        else
            play_one(&play, i / 16, keys_at_once);
    }
    free(play.lists);
    free(play.list_counts);
    free(play.registers);
}

static void test_what_was_executed_in_one_order_is_never_flagged(void **state)
{
    struct bed *bed = *state;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        play_all(bed, seed, 300, 4 + (uint32_t)seed % 8);
        if (judge(bed) != SIM_ANOMALY_NONE)
            print_message("seed %" PRIu64 ": %s\n", seed, bed->text);
        assert_int_equal(bed->report.anomaly, SIM_ANOMALY_NONE);
        struct sim_txn_counts counts = sim_txn_history_count(&bed->history);
        assert_true(counts.committed > 200 && counts.failed > 0 && counts.unknown > 0);
        assert_true(counts.reads > counts.reads_empty && bed->report.txns_revealed > 0);
    }
}

/* Of a register, an older version: what was written before by one of a lower number. */
static bool make_older(struct sim_txn_history *history, struct sim_txn_op *op)
{
    uint64_t older = 0;

    for (uint32_t i = 0; i < history->op_count; i++) {
        const struct sim_txn_op *other = &history->ops[i];
        if (other->kind == SIM_TXN_WRITE && other->key == op->key && other->value < op->value &&
            history->txns[other->txn].outcome == SIM_TXN_COMMITTED && other->value > older)
            older = other->value;
    }
    if (op->value == 0) return false;
    op->value = older;
    return true;
}

static bool break_read(struct sim_txn_history *history, struct sim_txn_op *op, uint64_t way)
{
    if (history->txns[op->txn].outcome != SIM_TXN_COMMITTED) return false;
    if (op->kind == SIM_TXN_READ) return make_older(history, op);
    if (op->kind != SIM_TXN_LIST || op->list_count < 2) return false;
    uint64_t *values = history->values + op->list_at, last = op->list_count - 1;
    uint64_t swap = values[last];
    if (way == 0) {
        op->list_count--;
    } else if (way == 1) {
        op->list_count /= 2;
    } else {
        values[last] = values[last - 1];
        values[last - 1] = swap;
    }
    return true;
}

static void test_one_read_that_is_changed_is_nearly_always_found(void **state)
{
    struct bed *bed = *state;
    uint32_t found = 0;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct random random;
        struct sim_txn_history *history = &bed->history;
        random_seed(&random, seed);
        play_all(bed, seed, 300, 8);
        uint32_t op = (uint32_t)random_below(&random, history->op_count);
        uint64_t way = random_below(&random, 3);
        while (!break_read(history, &history->ops[op], way))
            op = (op + 1) % history->op_count;
        found += judge(bed) != SIM_ANOMALY_NONE;
    }
    assert_true(found >= 150); /* nearly all others have another order that explains them */
}

static void test_a_hundred_thousand_take_a_second_or_two(void **state)
{
    struct bed *bed = *state;

    play_all(bed, 1, 100000, 8);
    clock_t before = clock();
    judge(bed);
    double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    assert_int_equal(bed->report.anomaly, SIM_ANOMALY_NONE);
    print_message("%.2f s, %" PRIu64 " edges\n", seconds, bed->report.edges);
#ifndef SANITIZED
    assert_true(seconds < 4);
#endif
}

/* The search for a short cycle is bounded. */
static void test_a_cycle_of_fifty_thousand_takes_no_longer(void **state)
{
    enum { COUNT = 50000 };
    struct bed *bed = *state;
    struct sim_txn_history *history = &bed->history;

    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t txn = sim_txn_begin(history, i, 0);
        sim_txn_read_is(history, sim_txn_read(history, txn, i), 0);
        sim_txn_write(history, txn, (i + 1) % COUNT, 1);
        sim_txn_end(history, txn, SIM_TXN_COMMITTED, 1000);
    }
    clock_t before = clock();
    judge(bed);
    double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    assert_int_equal(bed->report.anomaly, SIM_ANOMALY_G2);
    assert_int_equal(bed->report.cycle_count, COUNT);
    print_message("%.2f s\n", seconds);
#ifndef SANITIZED
    assert_true(seconds < 8);
#endif
}

/* --- limits, the bank --- */

static void test_a_history_has_an_end(void **state)
{
    static const uint64_t values[] = {1, 2, 3};
    struct sim_txn_history history;

    sim_txn_history_init(&history, 2, 4);
    uint32_t txn = sim_txn_begin(&history, 1, 0);
    sim_txn_list_is(&history, sim_txn_list(&history, txn, 1), values, 3);
    sim_txn_list_is(&history, sim_txn_list(&history, txn, 1), values, 2);
    assert_true(history.ops[0].known);
    assert_false(history.ops[1].known);
    assert_int_equal(history.lists_dropped, 1);
    assert_int_equal(sim_txn_begin(&history, 2, 0), 1);
    assert_int_equal(sim_txn_begin(&history, 3, 0), SIM_TXN_NONE);
    sim_txn_history_free(&history);
}

static void test_a_short_buffer_is_enough(void **state)
{
    struct bed *bed = *state;
    char text[20];

    any(bed, "a1=1 a2=1");
    any(bed, "l1=1 l2=");
    assert_int_equal(check_serializable(&bed->history, text, sizeof(text)).anomaly,
                     SIM_ANOMALY_G_SINGLE);
    assert_string_equal(text, "G-single: a cycle o");
    assert_int_equal(check_serializable(&bed->history, NULL, 0).anomaly, SIM_ANOMALY_G_SINGLE);
}

static void test_the_bank_keeps_its_total(void **state)
{
    struct bed *bed = *state;
    struct sim_bank_keys bank = {.first_key = 5, .accounts = 3, .total = 30};
    uint64_t judged;

    txn(bed, 1, 0, 10, "w5=9 w6=11");              /* a transfer */
    txn(bed, 1, 20, 30, "r5=9 r6=11 r7=10 r8=77"); /* right */
    txn(bed, 1, 40, 50, "r5=9 r6=0");              /* not all accounts */
    txn(bed, 1, 40, 50, "r5=9 r5=9 r6=0");         /* nor here */
    txn(bed, 1, 40, 50, "r5=9 r6=0 r7=?");         /* nor here */
    txn_as(bed, 1, 40, 50, SIM_TXN_UNKNOWN, "r5=0 r6=0 r7=0");
    assert_true(check_bank(&bed->history, bank, bed->text, sizeof(bed->text), &judged));
    assert_int_equal(judged, 1);

    txn(bed, 1, 60, 70, "r5=9 r6=10 r7=10");
    assert_false(check_bank(&bed->history, bank, bed->text, sizeof(bed->text), &judged));
    assert_int_equal(judged, 2);
    assert_non_null(strstr(bed->text, "saw 29 of 30: k5 9 k6 10 k7 10"));

    start_anew(bed); /* a debt, as -1: the sum alone would be right */
    txn(bed, 1, 60, 70, "r5=18446744073709551615 r6=11 r7=20");
    assert_false(check_bank(&bed->history, bank, bed->text, sizeof(bed->text), &judged));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_and_one_after_the_other_are_right),
        TEST(test_what_nobody_wrote_is_garbage),
        TEST(test_an_append_that_happened_twice_is_seen),
        TEST(test_a_transaction_must_agree_with_itself),
        TEST(test_G1a_a_read_of_what_failed),
        TEST(test_G1b_a_read_from_the_middle_of_a_transaction),
        TEST(test_two_reads_must_agree_on_the_order),
        TEST(test_two_that_replace_the_same_version_are_a_lost_update),
        TEST(test_a_history_that_cannot_be_judged_is_refused),
        TEST(test_G0_a_cycle_of_writes),
        TEST(test_G1c_a_cycle_of_reads),
        TEST(test_G_single_read_skew),
        TEST(test_G2_write_skew),
        TEST(test_a_long_fork_is_a_G2_of_four),
        TEST(test_the_worst_and_shortest_cycle_is_told),
        TEST(test_half_of_what_two_wrote_blindly_is_read_skew),
        TEST(test_what_one_read_tells_the_order_for_others),
        TEST(test_a_read_must_see_what_had_returned),
        TEST(test_a_value_that_was_overwritten_does_not_come_back),
        TEST(test_time_goes_through_other_transactions),
        TEST(test_a_client_sees_its_own_earlier_transactions),
        TEST(test_an_unknown_transaction_may_happen_never_or_late),
        TEST(test_an_unknown_transaction_that_was_seen_happened_as_a_whole),
        TEST(test_what_was_executed_in_one_order_is_never_flagged),
        TEST(test_one_read_that_is_changed_is_nearly_always_found),
        TEST(test_a_hundred_thousand_take_a_second_or_two),
        TEST(test_a_cycle_of_fifty_thousand_takes_no_longer),
        TEST(test_a_history_has_an_end),
        TEST(test_a_short_buffer_is_enough),
        TEST(test_the_bank_keeps_its_total),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
