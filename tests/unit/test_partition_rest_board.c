/* Decision 0009: beats say who lives, as which generation it rests, and how often it took an
 * agreement back. */
#include "partition/rest_board.h"
#include "unit.h"

enum { PEER = 2, EPOCH = 5 };

static bool hear(struct rest_board *board, boot_epoch_t epoch, uint32_t worker, uint64_t sent_at,
                 uint64_t generation, uint64_t now)
{
    struct rest_beat beat = {.sent_at = sent_at, .generation = generation, .withdrawals = 3};
    return rest_board_hear(board, PEER, epoch, worker, &beat, now);
}

static void test_each_worker_speaks_for_itself(void **state)
{
    (void)state;
    struct rest_board *board = rest_board_create();
    struct rest_worker worker;
    struct rest_node node;
    rest_board_worker(board, PEER, 1, &worker);
    assert_int_equal(worker.heard_at, 0);
    assert_true(hear(board, EPOCH, 1, 10, 4, 100));
    assert_true(hear(board, EPOCH, 0, 10, 0, 200));
    rest_board_worker(board, PEER, 1, &worker);
    assert_int_equal(worker.heard_at, 100);
    assert_int_equal(worker.epoch, EPOCH);
    assert_int_equal(worker.withdrawals, 3);
    rest_board_node(board, PEER, &node);
    assert_int_equal(node.heard_at, 200);
    rest_board_worker(board, PEER, WORKERS_MAX, &worker); /* what a peer says of itself */
    assert_int_equal(worker.heard_at, 0);
    assert_false(hear(board, EPOCH, WORKERS_MAX, 10, 4, 100));
    rest_board_destroy(board);
}

static void test_news_is_of_beats_that_were_not_seen(void **state)
{
    (void)state;
    struct rest_board *board = rest_board_create();
    uint64_t seen = 0;
    assert_int_equal(rest_board_news(board, &seen), 0);
    assert_true(hear(board, EPOCH, 1, 10, 4, 100));
    assert_int_equal(rest_board_news(board, &seen), (uint64_t)1 << (PEER - 1));
    assert_int_equal(rest_board_news(board, &seen), 0);
    assert_false(hear(board, EPOCH, 1, 10, 4, 110)); /* no news */
    assert_int_equal(rest_board_news(board, &seen), 0);
    struct rest_beat beat = {.sent_at = 5};
    assert_true(rest_board_hear(board, NODES_MAX, EPOCH, 0, &beat, 120));
    assert_int_equal(rest_board_news(board, &seen),
                     (uint64_t)1 << (NODES_MAX - 1) | (uint64_t)1 << (PEER - 1));
    uint64_t sibling = 0; /* each reader sees it for itself */
    assert_true(rest_board_news(board, &sibling) != 0);
    rest_board_destroy(board);
}

static void test_a_vouch_is_for_one_generation_of_one_start(void **state)
{
    (void)state;
    struct rest_board *board = rest_board_create();
    assert_true(hear(board, EPOCH, 1, 10, 4, 100));
    struct rest_vouch vouch = rest_board_vouch(board, PEER, EPOCH, 1, 4);
    assert_true(vouch.now && vouch.at == 100);
    assert_int_equal(rest_board_vouch(board, PEER, EPOCH, 1, 3).at, 0);
    assert_int_equal(rest_board_vouch(board, PEER, EPOCH, 0, 4).at, 0);
    assert_int_equal(rest_board_vouch(board, PEER, EPOCH + 1, 1, 4).at, 0);

    assert_true(hear(board, EPOCH, 1, 20, 0, 200)); /* it woke: what was, is known */
    vouch = rest_board_vouch(board, PEER, EPOCH, 1, 4);
    assert_true(!vouch.now && vouch.at == 100);
    rest_board_destroy(board);
}

static void test_old_beats_and_old_starts_say_nothing(void **state)
{
    (void)state;
    struct rest_board *board = rest_board_create();
    assert_true(hear(board, EPOCH, 1, 20, 0, 100));
    assert_false(hear(board, EPOCH, 1, 10, 4, 110));
    assert_false(hear(board, EPOCH, 1, 20, 0, 120));
    assert_false(hear(board, EPOCH - 1, 1, 30, 4, 130));
    assert_int_equal(rest_board_vouch(board, PEER, EPOCH, 1, 4).at, 0);
    assert_true(hear(board, EPOCH + 1, 1, 5, 4, 140)); /* its clock began anew */
    assert_int_equal(rest_board_vouch(board, PEER, EPOCH + 1, 1, 4).at, 140);
    assert_int_equal(rest_board_vouch(board, PEER, EPOCH, 1, 4).at, 0);
    rest_board_destroy(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_worker_speaks_for_itself),
        cmocka_unit_test(test_news_is_of_beats_that_were_not_seen),
        cmocka_unit_test(test_a_vouch_is_for_one_generation_of_one_start),
        cmocka_unit_test(test_old_beats_and_old_starts_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
