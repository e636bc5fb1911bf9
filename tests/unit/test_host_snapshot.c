/* What a leader sends as a snapshot: the state at one index, whatever happened after it. */
#include "host_alone.h"

enum { ROW = 1 };

static uint32_t frames, frames_with_row;

static struct bytes key_make(uint8_t key[ROW_PREFIX_SIZE + 1], uint8_t row)
{
    row_prefix_store(key, 7, SERVICE_REDIS, 0);
    key[ROW_PREFIX_SIZE] = row;
    return bytes_make(key, ROW_PREFIX_SIZE + 1);
}

/* "p" row: puts it; "f": drops all. */
static enum evaluate_result evaluate(struct row_context *rows, const struct request *request,
                                     struct reply *reply)
{
    uint8_t key[ROW_PREFIX_SIZE + 1];

    if (request->body.data[0] == 'p')
        row_put(rows, key_make(key, request->body.data[1]), 1, 0, 0, bytes_of("value"));
    else
        row_drop_namespace(rows, SERVICE_REDIS, 0);
    buffer_append(reply->buffer, bytes_of("done"));
    return EVALUATE_DONE;
}

static void count_frame(uint8_t kind, struct bytes payload)
{
    uint8_t key[ROW_PREFIX_SIZE + 1];
    struct bytes wanted = key_make(key, ROW);

    if (kind != PEER_FRAME_SNAPSHOT) return;
    frames++;
    frames_with_row += memmem(payload.data, payload.size, wanted.data, wanted.size) != NULL;
}

static int setup_leader_alone(void **state)
{
    setup_empty();
    bench->evaluate = evaluate;
    bench->on_sent = count_frame;
    frames = frames_with_row = 0;
    setup_leader();
    return 0;
}

/* Then a drop leaves a mark, as it does not know what the engine has. */
static void evict(void *context)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});

    assert_true(row_table_evict(replica->table, UINT64_MAX) > 0);
}

static void put_and_evict(void)
{
    assert_int_equal(ask('p', ROW), OUTCOME_REPLY);
    sim_run_for(&bed.sim, 3 * 1000 * 1000);
    assert_int_equal(engine_rows(7, 8), 1);
    run(evict, NULL);
    bed.sim.maybe_always = FLUSH_WITHOUT_SPACE; /* what comes now stays in memory */
}

static void offer(void *context)
{
    struct raft_message message = {.to = {12}, .to_node = 2};

    snapshot_offer(host_replica(bed.host, (struct group_id){GROUP}), &message);
}

/* A flush of what the engine has got ends, as one that began before the drop. */
static void end_flush(void *context)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    struct buffer record;

    assert_true(replica->applied > replica->flushed);
    buffer_init(&record, 1 << 20);
    replica_record_encode(replica, &record);
    for (int i = 0; i < OFFER_FLUSHES_MAX; i++) /* nor does it wait for what it has in memory */
        snapshot_flushed(replica, buffer_bytes(&record));
    buffer_free(&record);
}

/* The receiver drops it in its turn, when it gets that entry; until then it counts. */
static void test_a_snapshot_has_what_was_dropped_after_its_state(void **state)
{
    put_and_evict();
    assert_int_equal(ask('f', 0), OUTCOME_REPLY);
    run(offer, NULL);
    assert_int_equal(frames, 0); /* it waits for the flush */
    sim_world_call(sim_world_of(bed.world), 0, end_flush, NULL);
    sim_run_for(&bed.sim, 100 * 1000);
    assert_true(frames > 0);
    assert_int_equal(frames_with_row, frames);
}

/* What its state does not have is left out, although it is still in the engine. */
static void test_a_snapshot_leaves_out_what_was_dropped_before(void **state)
{
    put_and_evict();
    assert_int_equal(ask('f', 0), OUTCOME_REPLY);
    bed.sim.maybe_always = NULL;
    sim_world_call(sim_world_of(bed.world), 0, offer, NULL);
    for (int i = 0; i < 1000 && frames == 0; i++)
        sim_run_for(&bed.sim, 100);
    assert_true(frames > 0);
    assert_int_equal(frames_with_row, 0);
    assert_int_equal(engine_rows(7, 8), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_snapshot_has_what_was_dropped_after_its_state,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_leaves_out_what_was_dropped_before,
                                        setup_leader_alone, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
