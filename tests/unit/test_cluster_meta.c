/* The rules of meta: an epoch is registered once, an old disk and a twin are refused, a wiped
 * node gets new ids for everything. */
#include "meta_fixture.h"

static struct meta_reply ask_this(struct fixture *fixture, struct meta_request request)
{
    snprintf(request.name, sizeof(request.name), "n%u", request.node);
    snprintf(request.redis, sizeof(request.redis), "127.0.0.1:6379");
    return ask_as_is(fixture, &request);
}

static struct meta_reply ask(struct fixture *fixture, enum meta_kind kind, node_id_t node,
                             store_id_t store, boot_epoch_t epoch, uint64_t token)
{
    return ask_this(
        fixture, (struct meta_request){
                     .kind = kind, .node = node, .store = store, .epoch = epoch, .token = token});
}

static struct meta_reply ask_to_replace(struct fixture *fixture, store_id_t store,
                                        store_id_t replaces, uint64_t token)
{
    return ask_this(
        fixture,
        (struct meta_request){
            .kind = META_REJOIN, .node = 3, .store = store, .replaces = replaces, .token = token});
}

static void test_founding_writes_the_view_once(void **state)
{
    struct fixture *fixture = *state;
    struct cluster_view view;

    assert_int_equal(ask(fixture, META_BOOT, 1, 100, 1, 5).result, META_RETRY);
    assert_int_equal(meta_rows_epoch(fixture->table), 0);
    assert_int_equal(found(fixture).result, META_DONE);
    assert_int_equal(meta_rows_epoch(fixture->table), 2);
    fixture->founded.nodes[0].store = 999; /* a second founding changes nothing */
    assert_int_equal(found(fixture).result, META_DONE);
    assert_int_equal(meta_rows_epoch(fixture->table), 2);

    cluster_view_init(&view);
    assert_int_equal(meta_rows_view(fixture->table, &view), STATUS_OK);
    assert_int_equal(view.node_count, 3);
    assert_int_equal(view.nodes[0].store, 100);
    assert_int_equal(view.partition_count, 16);
    assert_int_equal(view.next_replica_id, fixture->founded.next_replica_id);
    assert_int_equal(view.groups[5].replicas[1].replica.value,
                     fixture->founded.groups[5].replicas[1].replica.value);
    cluster_view_free(&view);
}

static void test_a_boot_registers_its_epoch_and_addresses(void **state)
{
    struct fixture *fixture = *state;
    struct cluster_view view;

    found(fixture);
    struct meta_reply reply = ask(fixture, META_BOOT, 2, 101, 4, 5);
    assert_int_equal(reply.result, META_DONE);
    assert_int_equal(reply.table_epoch, 3);
    assert_int_equal(reply.token, 5); /* so that another start knows that it is not meant */
    assert_int_equal(ask(fixture, META_BOOT, 2, 101, 4, 5).token, 5);
    cluster_view_init(&view);
    assert_int_equal(meta_rows_view(fixture->table, &view), STATUS_OK);
    assert_int_equal(view.nodes[1].epoch, 4);
    assert_string_equal(view.nodes[1].redis, "127.0.0.1:6379");
    assert_string_equal(view.nodes[1].peer, "127.0.0.1:8001"); /* none given: as it was */
    cluster_view_free(&view);
}

/* F12: a second process with a copy of the directory; F11: an older image of the disk. */
static void test_a_twin_and_an_old_disk_are_refused(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    assert_int_equal(ask(fixture, META_BOOT, 2, 101, 4, 5).result, META_DONE);
    assert_int_equal(ask(fixture, META_BOOT, 2, 101, 4, 5).result, META_DONE); /* asked again */
    assert_int_equal(ask(fixture, META_BOOT, 2, 101, 4, 6).result, META_REFUSED);
    assert_int_equal(ask(fixture, META_BOOT, 2, 101, 3, 7).result, META_REFUSED);
    struct meta_reply reply = ask(fixture, META_BOOT, 2, 999, 9, 8);
    assert_int_equal(reply.result, META_REFUSED);
    assert_non_null(strstr(reply.text, "old disk"));
    assert_int_equal(ask(fixture, META_BOOT, 9, 101, 1, 9).result, META_REFUSED);
    assert_int_equal(meta_rows_epoch(fixture->table), 3);
}

static struct meta_reply boot_of(struct fixture *fixture, boot_epoch_t epoch, boot_epoch_t before,
                                 uint64_t token, const char *labels)
{
    struct meta_request request = {.kind = META_BOOT,
                                   .node = 2,
                                   .store = 101,
                                   .epoch = epoch,
                                   .token = token,
                                   .tells_before = true,
                                   .epoch_before = before};

    snprintf(request.name, sizeof(request.name), "n2");
    snprintf(request.labels, sizeof(request.labels), "%s", labels);
    return ask_as_is(fixture, &request);
}

/* Epochs were taken since by starts that were refused, or killed: a higher one proves nothing. */
static void test_a_disk_that_does_not_know_the_registered_epoch_is_refused(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    assert_int_equal(boot_of(fixture, 4, 0, 5, "").result, META_DONE); /* its first start */
    struct meta_reply reply = boot_of(fixture, 6, 3, 6, "");
    assert_int_equal(reply.result, META_REFUSED);
    assert_non_null(strstr(reply.text, "older image"));
    assert_int_equal(boot_of(fixture, 6, 3, 6, "rack=1").result, META_REFUSED);
    assert_int_equal(boot_of(fixture, 6, 4, 7, "").result, META_DONE);
    assert_int_equal(boot_of(fixture, 6, 4, 7, "").result, META_DONE); /* asked again */
    assert_int_equal(boot_of(fixture, 9, 8, 8, "rack=1").result,
                     META_DONE); /* 8 was mute or lost */
    assert_int_equal(ask(fixture, META_BOOT, 2, 101, 10, 9).result, META_DONE); /* of before */
}

static void test_blocks_of_epochs_do_not_overlap(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    struct meta_reply one = ask(fixture, META_EPOCHS, 2, 101, EPOCH_BLOCK_SIZE, 5);
    assert_int_equal(one.epoch_first, EPOCH_BLOCK_SIZE + 1);
    assert_int_equal(one.epoch_last, 2 * EPOCH_BLOCK_SIZE);
    struct meta_reply again = ask(fixture, META_EPOCHS, 2, 101, EPOCH_BLOCK_SIZE, 5);
    assert_int_equal(again.epoch_last, one.epoch_last);
    struct meta_reply next = ask(fixture, META_EPOCHS, 2, 101, one.epoch_last, 5);
    assert_int_equal(next.epoch_first, one.epoch_last + 1);
}

/* F09: nothing of the old disk is used again. */
static void test_a_wiped_node_gets_new_ids_for_everything(void **state)
{
    struct fixture *fixture = *state;
    struct cluster_view before, after;

    found(fixture);
    ask(fixture, META_BOOT, 3, 102, 7, 5);
    cluster_view_init(&before);
    cluster_view_init(&after);
    meta_rows_view(fixture->table, &before);

    struct meta_reply reply = ask(fixture, META_REJOIN, 3, 555, 0, 77);
    assert_int_equal(reply.result, META_DONE);
    assert_int_equal(reply.epoch_first, EPOCH_BLOCK_SIZE + 1);
    assert_int_equal(reply.epoch_last, 2 * EPOCH_BLOCK_SIZE);
    assert_int_equal(meta_rows_view(fixture->table, &after), STATUS_OK);
    assert_int_equal(after.nodes[2].store, 555);
    for (uint32_t g = 0; g < after.group_count; g++) {
        for (uint32_t k = 0; k < after.groups[g].replica_count; k++) {
            struct view_replica was = before.groups[g].replicas[k];
            struct view_replica is = after.groups[g].replicas[k];
            assert_int_equal(was.node, is.node);
            if (is.node == 3)
                assert_true(is.replica.value >= before.next_replica_id);
            else
                assert_int_equal(was.replica.value, is.replica.value);
        }
    }

    /* The same start asks again: the same answer. The old disk is refused from now on. */
    uint64_t epoch = meta_rows_epoch(fixture->table);
    struct meta_reply again = ask(fixture, META_REJOIN, 3, 555, 0, 77);
    assert_int_equal(again.result, META_DONE);
    assert_int_equal(again.epoch_first, reply.epoch_first);
    assert_int_equal(meta_rows_epoch(fixture->table), epoch);
    assert_int_equal(ask(fixture, META_BOOT, 3, 102, 8, 6).result, META_REFUSED);
    assert_int_equal(ask(fixture, META_BOOT, 3, 555, 16, 6).result, META_REFUSED);
    assert_int_equal(ask(fixture, META_BOOT, 3, 555, reply.epoch_first, 6).result, META_DONE);
    cluster_view_free(&before);
    cluster_view_free(&after);
}

/* Emptied twice; the first request of the first time comes last. Seed 540040022287: the node that
 * had asked on its behalf was cut off, and asked when it came back. */
static void test_a_late_rejoin_does_not_bring_back_a_store(void **state)
{
    struct fixture *fixture = *state;
    struct cluster_view view;

    found(fixture);
    assert_int_equal(ask_to_replace(fixture, 555, 102, 77).result, META_DONE);
    assert_int_equal(ask_to_replace(fixture, 556, 102, 78).result, META_RETRY);
    assert_int_equal(ask_to_replace(fixture, 556, 555, 78).result, META_DONE);
    uint64_t epoch = meta_rows_epoch(fixture->table);
    assert_int_equal(ask_to_replace(fixture, 555, 102, 77).result, META_RETRY);
    assert_int_equal(ask_to_replace(fixture, 556, 555, 78).result, META_DONE); /* repeated */
    assert_int_equal(meta_rows_epoch(fixture->table), epoch);
    cluster_view_init(&view);
    assert_int_equal(meta_rows_view(fixture->table, &view), STATUS_OK);
    assert_int_equal(view.nodes[2].store, 556);
    cluster_view_free(&view);
}

static void test_no_bytes_crash_the_evaluation(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    ask(fixture, META_BOOT, 2, 101, 4, 5);
    struct bytes body = buffer_bytes(&fixture->body);
    uint8_t copy[512];
    assert_true(body.size <= sizeof(copy));
    memcpy(copy, body.data, body.size);
    size_t whole = body.size;
    for (size_t size = 0; size < whole; size++) {
        buffer_clear(&fixture->body);
        buffer_append(&fixture->body, bytes_make(copy, size));
        assert_int_equal(submit(fixture).result, META_REFUSED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_founding_writes_the_view_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_boot_registers_its_epoch_and_addresses, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_disk_that_does_not_know_the_registered_epoch_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_twin_and_an_old_disk_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_blocks_of_epochs_do_not_overlap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_wiped_node_gets_new_ids_for_everything, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_late_rejoin_does_not_bring_back_a_store, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_no_bytes_crash_the_evaluation, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
