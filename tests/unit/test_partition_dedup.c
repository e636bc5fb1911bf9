/* Rules B3 and B4: remembered outcomes, watermarks, fences. */
#include "partition/dedup.h"
#include "unit.h"

static struct entry_header header_of(node_id_t node, boot_epoch_t epoch, uint64_t seq,
                                     uint64_t watermark, const char *outcome)
{
    return (struct entry_header){.gateway = {.node = node, .epoch = epoch, .worker = 0},
                                 .seq = seq,
                                 .attempt = 1,
                                 .watermark_distance = (uint16_t)(seq - watermark),
                                 .outcome = bytes_of(outcome)};
}

static void apply(struct dedup *dedup, node_id_t node, boot_epoch_t epoch, uint64_t seq,
                  uint64_t watermark, const char *outcome, uint64_t index)
{
    struct entry_header header = header_of(node, epoch, seq, watermark, outcome);
    dedup_apply(dedup, &header, index);
}

static enum dedup_result find(struct dedup *dedup, node_id_t node, boot_epoch_t epoch, uint64_t seq,
                              struct bytes *ret_outcome)
{
    uint64_t index;
    bool too_big;
    struct gateway_id gateway = {.node = node, .epoch = epoch, .worker = 0};
    return dedup_find(dedup, gateway, seq, &index, ret_outcome, &too_big);
}

static void test_a_retry_gets_the_remembered_outcome(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;
    apply(dedup, 1, 1, 1, 0, "+OK\r\n", 10);
    apply(dedup, 1, 1, 2, 0, "a reply that is longer than what fits inline", 11);
    assert_int_equal(find(dedup, 1, 1, 1, &outcome), DEDUP_KNOWN);
    assert_true(bytes_equal(outcome, bytes_of("+OK\r\n")));
    assert_int_equal(find(dedup, 1, 1, 2, &outcome), DEDUP_KNOWN);
    assert_true(bytes_equal(outcome, bytes_of("a reply that is longer than what fits inline")));
    assert_int_equal(find(dedup, 1, 1, 3, &outcome), DEDUP_NEW);
    assert_int_equal(find(dedup, 2, 1, 1, &outcome), DEDUP_NEW);
    dedup_free(dedup);
}

static void test_at_or_below_the_watermark_is_stale(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;
    apply(dedup, 1, 1, 1, 0, "x", 10);
    apply(dedup, 1, 1, 5, 3, "y", 11); /* 1..3 are resolved at the gateway */
    assert_int_equal(find(dedup, 1, 1, 1, &outcome), DEDUP_STALE);
    assert_int_equal(find(dedup, 1, 1, 3, &outcome), DEDUP_STALE);
    assert_int_equal(find(dedup, 1, 1, 4, &outcome), DEDUP_NEW);
    dedup_free(dedup);
}

static void test_a_later_epoch_fences_the_earlier_for_ever(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;
    apply(dedup, 1, 1, 1, 0, "x", 10);
    apply(dedup, 1, 2, 1, 0, "y", 11);
    assert_int_equal(find(dedup, 1, 1, 1, &outcome), DEDUP_FENCED);
    assert_int_equal(find(dedup, 1, 1, 9, &outcome), DEDUP_FENCED);
    assert_int_equal(find(dedup, 1, 2, 1, &outcome), DEDUP_KNOWN);
    dedup_fence(dedup, 1, 3);
    assert_int_equal(find(dedup, 1, 2, 1, &outcome), DEDUP_FENCED);
    dedup_free(dedup);
}

/* An entry that was proposed before the fence may come behind it, and leaves a window. */
static void test_an_epoch_below_the_fence_is_fenced_whatever_came_before(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;
    apply(dedup, 1, 2, 1, 0, "x", 10);
    assert_int_equal(find(dedup, 1, 2, 1, &outcome), DEDUP_KNOWN);
    apply(dedup, 1, 1, 1, 0, "late", 11);
    assert_int_equal(find(dedup, 1, 1, 1, &outcome), DEDUP_FENCED);
    assert_int_equal(find(dedup, 1, 1, 2, &outcome), DEDUP_FENCED);
    assert_int_equal(find(dedup, 1, 2, 1, &outcome), DEDUP_KNOWN); /* nobody's fence fell */

    struct entry_header proposed = header_of(1, 3, 1, 0, "p");
    dedup_propose(dedup, &proposed, 12); /* fences nobody before it is applied */
    assert_int_equal(find(dedup, 1, 2, 1, &outcome), DEDUP_KNOWN);
    dedup_fence(dedup, 1, 4); /* it is gone, and so is whatever was asked for last */
    assert_int_equal(find(dedup, 1, 3, 1, &outcome), DEDUP_FENCED);
    apply(dedup, 1, 3, 1, 0, "p", 12);
    assert_int_equal(find(dedup, 1, 3, 1, &outcome), DEDUP_FENCED);
    apply(dedup, 1, 4, 1, 0, "y", 13);
    assert_int_equal(find(dedup, 1, 4, 1, &outcome), DEDUP_KNOWN);
    assert_int_equal(find(dedup, 1, 3, 1, &outcome), DEDUP_FENCED);
    dedup_free(dedup);
}

/* The ring begins anew whenever it is empty; replicas whose rings did so at other moments agree. */
static void test_windows_whose_rings_began_anew_are_equal(void **state)
{
    struct dedup *often = dedup_make(), *never = dedup_make(), *copy = dedup_make();
    struct bytes outcome;
    struct buffer buffer, other;
    buffer_init(&buffer, 1 << 20);
    buffer_init(&other, 1 << 20);
    for (uint64_t seq = 1; seq <= 50; seq++) {
        struct entry_header header = header_of(1, 1, seq, seq, "an outcome of some length");
        apply(often, 1, 1, seq, seq, "an outcome of some length", seq);
        dedup_propose(never, &header, seq); /* there is always one behind it */
        if (seq > 1) {
            header = header_of(1, 1, seq - 1, seq - 1, "an outcome of some length");
            dedup_apply(never, &header, seq - 1);
        }
    }
    struct entry_header last = header_of(1, 1, 50, 50, "an outcome of some length");
    dedup_apply(never, &last, 50);
    apply(often, 1, 1, 51, 50, "kept", 51);
    apply(never, 1, 1, 51, 50, "kept", 51);
    dedup_encode(often, &buffer);
    dedup_encode(never, &other);
    assert_true(bytes_equal(buffer_bytes(&buffer), buffer_bytes(&other)));
    assert_int_equal(dedup_decode(copy, buffer_bytes(&buffer)), STATUS_OK);
    assert_int_equal(find(copy, 1, 1, 51, &outcome), DEDUP_KNOWN);
    assert_int_equal(find(copy, 1, 1, 50, &outcome), DEDUP_STALE);
    apply(copy, 1, 1, 52, 52, "x", 52); /* what came out of a snapshot fences as well */
    assert_int_equal(find(copy, 1, 1, 51, &outcome), DEDUP_STALE);
    dedup_forget_all(copy); /* with what was asked for last */
    assert_int_equal(find(copy, 1, 1, 51, &outcome), DEDUP_NEW);
    buffer_free(&buffer);
    buffer_free(&other);
    dedup_free(often);
    dedup_free(never);
    dedup_free(copy);
}

static void test_step_down_forgets_proposals_and_nothing_else(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;
    apply(dedup, 1, 1, 1, 0, "x", 10);
    uint64_t before = dedup_hash(dedup);
    struct entry_header two = header_of(1, 1, 2, 1, "y");
    struct entry_header later_epoch = header_of(1, 2, 1, 0, "z");
    dedup_propose(dedup, &two, 11);
    dedup_propose(dedup, &later_epoch, 12);
    assert_int_equal(find(dedup, 1, 1, 2, &outcome), DEDUP_KNOWN);
    assert_true(dedup_hash(dedup) == before); /* replicas compare the applied part */
    dedup_revert(dedup);
    assert_int_equal(find(dedup, 1, 1, 1, &outcome), DEDUP_KNOWN);
    assert_int_equal(find(dedup, 1, 1, 2, &outcome), DEDUP_NEW);
    assert_int_equal(find(dedup, 1, 2, 1, &outcome), DEDUP_NEW);
    assert_true(dedup_hash(dedup) == before);
    dedup_free(dedup);
}

static void test_leader_and_follower_build_the_same_window(void **state)
{
    struct dedup *leader = dedup_make(), *follower = dedup_make();
    for (uint64_t seq = 1; seq <= 1000; seq++) {
        struct entry_header header = header_of(1 + seq % 3, 1, seq, seq > 8 ? seq - 8 : 0, "ok");
        dedup_propose(leader, &header, seq);
        if (seq < 4) continue;
        struct entry_header old =
            header_of(1 + (seq - 3) % 3, 1, seq - 3, seq - 3 > 8 ? seq - 11 : 0, "ok");
        dedup_apply(leader, &old, seq - 3);
        dedup_apply(follower, &old, seq - 3);
        assert_true(dedup_hash(leader) == dedup_hash(follower));
    }
    dedup_free(leader);
    dedup_free(follower);
}

static void test_encoding_keeps_everything(void **state)
{
    struct dedup *dedup = dedup_make(), *copy = dedup_make();
    struct bytes outcome;
    struct buffer buffer;
    buffer_init(&buffer, 1 << 20);
    apply(dedup, 1, 1, 1, 0, "x", 10);
    apply(dedup, 2, 7, 44, 40, "a long outcome, longer than twelve bytes", 11);
    dedup_fence(dedup, 3, 9);
    dedup_encode(dedup, &buffer);
    assert_int_equal(dedup_decode(copy, buffer_bytes(&buffer)), STATUS_OK);
    assert_true(dedup_hash(dedup) == dedup_hash(copy));
    assert_int_equal(find(copy, 2, 7, 44, &outcome), DEDUP_KNOWN);
    assert_int_equal(find(copy, 2, 7, 40, &outcome), DEDUP_STALE);
    assert_int_equal(find(copy, 3, 8, 1, &outcome), DEDUP_FENCED);
    for (size_t size = 0; size < buffer_size(&buffer); size++) {
        struct bytes part = bytes_make(buffer_bytes(&buffer).data, size);
        assert_int_not_equal(dedup_decode(copy, part), STATUS_OK);
    }
    buffer_free(&buffer);
    dedup_free(dedup);
    dedup_free(copy);
}

/* A request that had no effect at first and has one when it is sent again comes late. */
static void test_seqs_that_do_not_rise_are_found(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;
    for (uint64_t seq = 2; seq <= 40; seq += 2)
        apply(dedup, 1, 1, seq, 0, "even", 10 + seq);
    assert_int_equal(find(dedup, 1, 1, 7, &outcome), DEDUP_NEW);
    apply(dedup, 1, 1, 7, 0, "late", 60);
    apply(dedup, 1, 1, 41, 0, "last", 61);
    for (uint64_t seq = 1; seq <= 41; seq++) {
        bool known = seq % 2 == 0 || seq == 7 || seq == 41;
        assert_int_equal(find(dedup, 1, 1, seq, &outcome), known ? DEDUP_KNOWN : DEDUP_NEW);
    }
    assert_int_equal(find(dedup, 1, 1, 7, &outcome), DEDUP_KNOWN);
    assert_true(bytes_equal(outcome, bytes_of("late")));
    apply(dedup, 1, 1, 42, 41, "x", 62); /* all before is resolved: in order again */
    assert_int_equal(find(dedup, 1, 1, 7, &outcome), DEDUP_STALE);
    assert_int_equal(find(dedup, 1, 1, 42, &outcome), DEDUP_KNOWN);
    dedup_free(dedup);
}

/* It is part of what --memory bounds. */
static void test_what_windows_take_is_counted(void **state)
{
    struct dedup *dedup = dedup_make();
    static char text[4097];

    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(dedup_bytes(dedup), 0);
    for (uint64_t seq = 1; seq <= 100; seq++)
        apply(dedup, 1, 1, seq, 0, text, seq);
    uint64_t full = dedup_bytes(dedup);
    assert_true(full > 100 * 4096 && full < 100 * 4096 + 128 * 64 + 256);
    apply(dedup, 1, 1, 101, 100, "+OK", 101); /* all before are resolved */
    assert_true(dedup_bytes(dedup) < full - 100 * 4096 + 64);
    struct entry_header header = header_of(1, 1, 102, 100, text);
    dedup_propose(dedup, &header, 102);
    uint64_t proposed = dedup_bytes(dedup);
    dedup_revert(dedup);
    assert_int_equal(dedup_bytes(dedup), proposed - 4096);
    dedup_fence(dedup, 1, 2);
    assert_int_equal(dedup_bytes(dedup), 0);
    dedup_free(dedup);
}

/* A burst is over: what it took comes back, or --memory would be full of empty slots for ever. */
static void test_a_window_that_was_large_becomes_small_again(void **state)
{
    struct dedup *dedup = dedup_make();
    struct bytes outcome;

    for (uint64_t seq = 1; seq <= 8192; seq++)
        apply(dedup, 1, 1, seq, 0, "+OK", seq);
    uint64_t full = dedup_bytes(dedup);
    for (uint64_t seq = 8193; seq <= 8193 + 32; seq++)
        apply(dedup, 1, 1, seq, seq - 4, "+OK", seq);
    assert_true(dedup_bytes(dedup) < full / 64);
    for (uint64_t seq = 8193 + 29; seq <= 8193 + 32; seq++)
        assert_int_equal(find(dedup, 1, 1, seq, &outcome), DEDUP_KNOWN);
    dedup_free(dedup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seqs_that_do_not_rise_are_found),
        cmocka_unit_test(test_what_windows_take_is_counted),
        cmocka_unit_test(test_a_window_that_was_large_becomes_small_again),
        cmocka_unit_test(test_a_retry_gets_the_remembered_outcome),
        cmocka_unit_test(test_at_or_below_the_watermark_is_stale),
        cmocka_unit_test(test_a_later_epoch_fences_the_earlier_for_ever),
        cmocka_unit_test(test_an_epoch_below_the_fence_is_fenced_whatever_came_before),
        cmocka_unit_test(test_windows_whose_rings_began_anew_are_equal),
        cmocka_unit_test(test_step_down_forgets_proposals_and_nothing_else),
        cmocka_unit_test(test_leader_and_follower_build_the_same_window),
        cmocka_unit_test(test_encoding_keeps_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
