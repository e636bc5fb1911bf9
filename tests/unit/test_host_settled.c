/* A follower never says that a group is as wished for: what it knows to be committed may be of the
 * past (partition/reconcile.c). */
#include "host_life.h"

enum { SECOND = 1000 * 1000 };

static void set_wish(void *context)
{
    const struct raft_config *config = context;

    host_set_wish(bed.host, (struct group_id){GROUP}, config->incoming, config->incoming_count,
                  UINT64_MAX, WISH_NUMBER, true);
}

static void test_a_follower_says_nothing(void **state)
{
    struct raft_config wish = founding;

    bench->settled_count = 0;
    bed_call(set_wish, &wish, 20 * SECOND);
    assert_int_equal(bench->settled_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_follower_says_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
