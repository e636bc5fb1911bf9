/* What a leader sends as a snapshot: the state at one index, whatever happened after it. And how
 * much of one a follower holds. */
#include "host_alone.h"

#include "partition/copy_gate.h"
#include "partition/snapshot_internal.h"

enum { ROW = 1, LARGE = 200 << 10, FIRST = 12, COUNT = 5 };

static uint32_t frames, frames_with_row;
static bool early;                 /* a frame of what was not durable yet */
static uint64_t told[8], first_id; /* receivers of a chunk, in order; id of the first transfer */
static uint32_t told_count;
static uint64_t bytes_to_first; /* of content, to the first of them */

static struct bytes key_make(uint8_t key[ROW_PREFIX_SIZE + 1], uint8_t row)
{
    row_prefix_store(key, 7, SERVICE_REDIS, 0);
    key[ROW_PREFIX_SIZE] = row;
    return bytes_make(key, ROW_PREFIX_SIZE + 1);
}

/* "p" row: puts it; "d" row: deletes it; "f": drops all. */
static enum evaluate_result evaluate(struct row_context *rows, const struct request *request,
                                     struct reply *reply)
{
    uint8_t key[ROW_PREFIX_SIZE + 1];

    static const uint8_t large[LARGE];

    rows->written_is_enough = (rows->databases_in_memory & 1) != 0;
    if (request->body.data[0] == 'L')
        row_put(rows, key_make(key, request->body.data[1]), 1, 0, 0, bytes_make(large, LARGE));
    else if (request->body.data[0] == 'p')
        row_put(rows, key_make(key, request->body.data[1]), 1, 0, 0, bytes_of("value"));
    else if (request->body.data[0] == 'd')
        row_delete(rows, key_make(key, request->body.data[1]));
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
    early |= load_u64(payload.data + 36) >
             replica_safe_index(host_replica(bed.host, (struct group_id){GROUP}));
    uint64_t to = load_u64(payload.data + 12);
    bool known = false;
    for (uint32_t i = 0; i < told_count; i++)
        known |= told[i] == to;
    if (told_count == 0) first_id = load_u64(payload.data + 28);
    if (!known) told[told_count++] = to;
    if (to == told[0]) bytes_to_first = load_u64(payload.data + 60) + payload.size - 68;
    frames_with_row += memmem(payload.data, payload.size, wanted.data, wanted.size) != NULL;
}

static int setup_leader_alone(void **state)
{
    setup_empty();
    bench->evaluate = evaluate;
    bench->on_sent = count_frame;
    frames = frames_with_row = told_count = 0;
    early = false;
    bytes_to_first = 0;
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

/* So many members that need everything, all on one node. */
static void add_learners(uint32_t count)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    struct raft_config target = *raft_config(replica->raft);
    struct error error;

    for (uint32_t i = 0; i < count; i++)
        target.learners[target.learner_count++] =
            (struct raft_member){.replica = {FIRST + i}, .node = 2};
    assert_int_equal(raft_propose_config(replica->raft, &target, target.index, &error), STATUS_OK);
    host_mark_dirty(replica);
}

static void offer_to_learners(uint32_t count)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});

    for (uint32_t i = 0; i < count; i++) {
        struct raft_message message = {.to = {FIRST + i}, .to_node = 2};
        snapshot_offer(replica, &message);
    }
}

static void add_one_learner(void *context)
{
    add_learners(1);
}

static void offer_to_learner(void *context)
{
    offer_to_learners(1);
}

static void offer(void *context)
{
    add_learners(1);
    offer_to_learners(1);
}

static void offer_to_many(void *context)
{
    add_learners(COUNT);
    offer_to_learners(COUNT);
}

static void expect_frames(bool with_row)
{
    sim_world_call(sim_world_of(bed.world), 0, offer, NULL);
    sim_run_for(&bed.sim, 100 * 1000);
    assert_true(frames > 0);
    assert_int_equal(frames_with_row, with_row ? frames : 0);
}

/* No flush is waited for: none could be written. */
static void test_a_snapshot_has_what_is_only_in_memory(void **state)
{
    bed.sim.maybe_always = FLUSH_WITHOUT_SPACE;
    assert_int_equal(ask('p', ROW), OUTCOME_REPLY);
    expect_frames(true);
    assert_int_equal(engine_rows(7, 8), 0);
}

static void test_a_snapshot_leaves_out_what_was_deleted_in_memory(void **state)
{
    put_and_evict();
    assert_int_equal(ask('d', ROW), OUTCOME_REPLY);
    expect_frames(false);
    assert_int_equal(engine_rows(7, 8), 1);
}

static void take_written(void *context)
{
    host_set_memory(bed.host, 1);
    host_believe_written(bed.host, true);
}

/* Where entries commit when they are written, what is applied may not be on disks yet. */
static void test_no_snapshot_is_sent_before_it_is_durable(void **state)
{
    const struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});
    uint8_t body[2] = {'p', ROW};

    run(take_written, NULL);
    run(add_one_learner, NULL);
    sim_run_for(&bed.sim, 200 * 1000);
    sim_world_call(sim_world_of(bed.world), 0, send_request, body);
    for (int i = 0; i < 1000 && replica->applied <= replica_safe_index(replica); i++)
        sim_run_for(&bed.sim, 20);
    uint64_t applied = replica->applied;
    assert_true(applied > replica_safe_index(replica));
    sim_world_call(sim_world_of(bed.world), 0, offer_to_learner, NULL);
    sim_run_for(&bed.sim, 10 * 1000); /* a sync comes after 50 ms */
    assert_true(applied > replica_safe_index(replica));
    assert_int_equal(frames, 0);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_true(replica_safe_index(replica) >= applied);
    assert_true(frames > 0);
    assert_false(early);
}

/* As when a state was ingested whose entries came too, and are not committed yet. */
static void set_engine_ahead(void *context)
{
    struct replica *replica = host_replica(bed.host, (struct group_id){GROUP});

    replica->flushed = *(const bool *)context ? replica->applied + 100 : replica->applied;
}

static void test_no_snapshot_begins_while_the_engine_is_ahead(void **state)
{
    bool ahead = true;

    put_and_evict();
    sim_world_call(sim_world_of(bed.world), 0, set_engine_ahead, &ahead);
    sim_world_call(sim_world_of(bed.world), 0, offer, NULL);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_int_equal(frames, 0);
    ahead = false;
    sim_world_call(sim_world_of(bed.world), 0, set_engine_ahead, &ahead);
    sim_run_for(&bed.sim, 1000 * 1000);
    assert_true(frames > 0);
}

/* What its state does not have is left out, although it is still in the engine. */
static void test_a_snapshot_leaves_out_what_was_dropped_before(void **state)
{
    put_and_evict();
    assert_int_equal(ask('f', 0), OUTCOME_REPLY);
    expect_frames(false);
    assert_int_equal(engine_rows(7, 8), 1);
}

/* --- how much at a time --- */

struct ack {
    uint64_t to, id, offset, limit; /* limit 0: as 0.1.0 wrote it */
    uint8_t state;
};

static void acknowledge(void *context)
{
    const struct ack *ack = context;
    struct transport_peer peer = {.node = 2, .epoch = 1};
    struct buffer frame;

    buffer_init(&frame, 100);
    struct writer writer = writer_make(&frame);
    write_u32(&writer, GROUP);
    write_u64(&writer, ack->to);
    write_u64(&writer, host_replica(bed.host, (struct group_id){GROUP})->id.value);
    write_u64(&writer, ack->id);
    write_u64(&writer, ack->offset);
    write_u8(&writer, ack->state);
    if (ack->limit != 0) write_u64(&writer, ack->limit);
    host_on_frame(bed.host, &peer, PEER_FRAME_SNAPSHOT_ACK, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void say(struct ack ack)
{
    sim_world_call(sim_world_of(bed.world), 0, acknowledge, &ack);
    sim_run_for(&bed.sim, 50 * 1000);
}

static void fill_and_offer(void)
{
    for (uint8_t row = 0; row < 20; row++)
        assert_int_equal(ask('L', row), OUTCOME_REPLY);
    sim_run_for(&bed.sim, 3 * 1000 * 1000);
    assert_int_equal(engine_rows(7, 8), 20);
    sim_world_call(sim_world_of(bed.world), 0, offer_to_many, NULL);
    sim_run_for(&bed.sim, 100 * 1000);
}

static void test_few_snapshots_go_to_a_node_at_a_time(void **state)
{
    fill_and_offer();
    assert_int_equal(told_count, SNAPSHOT_STREAMS_MAX);
    say((struct ack){.to = told[0], .id = first_id, .state = SNAPSHOT_ACK_INSTALLED});
    assert_int_equal(told_count, SNAPSHOT_STREAMS_MAX + 1);
    sim_run_for(&bed.sim, 2 * SNAPSHOT_GIVE_UP_US); /* who is silent holds up nobody for ever */
    assert_int_equal(told_count, COUNT);
}

static void test_a_snapshot_goes_no_further_than_there_is_room(void **state)
{
    fill_and_offer();
    assert_int_equal(bytes_to_first, SNAPSHOT_WINDOW);
    struct ack ack = {
        .to = told[0], .id = first_id, .offset = SNAPSHOT_WINDOW, .limit = SNAPSHOT_WINDOW};
    say(ack);
    assert_int_equal(bytes_to_first, SNAPSHOT_WINDOW); /* it arrived, and none of it is taken */
    ack.limit += SNAPSHOT_CHUNK;
    say(ack);
    assert_int_equal(bytes_to_first, SNAPSHOT_WINDOW + SNAPSHOT_CHUNK);
    ack.offset = bytes_to_first;
    ack.limit = 0;
    say(ack);
    assert_int_equal(bytes_to_first, 2 * SNAPSHOT_WINDOW + SNAPSHOT_CHUNK);
}

static struct host_copies copies_now(void)
{
    struct host_copies copies[NODES_MAX + 1];
    struct host_copies others = {0};

    host_copies(bed.host, copies);
    for (uint32_t id = 0; id <= NODES_MAX; id++)
        if (id != 2) others.left += copies[id].left + copies[id].done;
    assert_int_equal(others.left, 0);
    return copies[2];
}

static void test_how_far_copies_are_is_known(void **state)
{
    assert_int_equal(copies_now().left, 0);
    fill_and_offer();
    struct host_copies copies = copies_now();
    assert_int_equal(copies.left, COUNT);
    assert_int_equal(copies.unsized, 0);
    assert_int_equal(copies.bytes_sent, 0);
    assert_int_equal(copies.bytes_per_second, 0); /* unknown */
    uint64_t about = COUNT * 20 * (uint64_t)LARGE;
    assert_true(copies.bytes_total > about && copies.bytes_total < about + about / 10);
    struct ack ack = {.to = told[0], .id = first_id, .limit = UINT64_MAX};
    for (int i = 0; i < 12; i++) { /* four seconds, and as fast as it is acknowledged */
        ack.offset = bytes_to_first;
        say(ack);
        sim_run_for(&bed.sim, 283 * 1000);
    }
    copies = copies_now();
    assert_int_equal(copies.left, COUNT);
    assert_int_equal(copies.bytes_sent, bytes_to_first);
    assert_true(copies.bytes_per_second > bytes_to_first / 6);
    assert_true(copies.bytes_per_second < bytes_to_first / 2);
    ack.state = SNAPSHOT_ACK_INSTALLED;
    say(ack);
    copies = copies_now();
    assert_int_equal(copies.left,
                     COUNT); /* it is a learner that has nothing for all the core knows */
    assert_int_equal(copies.done, 1);
    assert_int_equal(copies.bytes_done, bytes_to_first);
}

/* Bytes a second over what was really sent lately; else nothing is said. */
static void test_a_rate_is_of_the_last_seconds(void **state)
{
    struct copy_tally tally = {0};
    const uint64_t second = 1000 * 1000, mib = 1 << 20;

    assert_int_equal(copy_tally_rate(&tally, 5 * second), 0);
    copy_tally_begin(&tally, 100 * second);
    copy_tally_sent(&tally, 8 * mib, 100 * second);
    assert_int_equal(copy_tally_rate(&tally, 101 * second), 0); /* too early to say */
    assert_int_equal(copy_tally_rate(&tally, 103 * second), 2 * mib);
    for (uint64_t s = 101; s < 150; s++)
        copy_tally_sent(&tally, mib, s * second);
    assert_int_equal(copy_tally_rate(&tally, 149 * second), mib);
    copy_tally_begin(&tally, 150 * second); /* it goes on */
    assert_int_equal(copy_tally_rate(&tally, 154 * second), mib / 2);
    assert_int_equal(copy_tally_rate(&tally, 159 * second), 0);
    copy_tally_done(&tally, 50, 150 * second);
    copy_tally_begin(&tally, (150 + COPY_PAUSE_S) * second); /* another one */
    assert_int_equal(tally.done, 0);
}

static struct replica *replica_here(void)
{
    return host_replica(bed.host, (struct group_id){GROUP});
}

static void halt(void *context)
{
    replica_halt(replica_here(), "a test");
}

static void offer_again(void *context)
{
    struct raft_message message = {.to = {FIRST}, .to_node = 2};
    snapshot_offer(replica_here(), &message);
}

static void expect_no_turns(void)
{
    uint64_t sending, waiting;
    sim_run_for(&bed.sim, 100 * 1000);
    snapshot_turns_count(bed.host, &sending, &waiting);
    assert_int_equal(sending, 0);
    assert_int_equal(waiting, 0);
    assert_int_equal(told_count, SNAPSHOT_STREAMS_MAX);
}

static void test_a_halted_replica_gives_its_turns_back(void **state)
{
    fill_and_offer();
    sim_world_call(sim_world_of(bed.world), 0, halt, NULL);
    expect_no_turns();
    sim_world_call(sim_world_of(bed.world), 0, offer_again, NULL);
    expect_no_turns();
}

/* --- the receiver; the leader on node 2 is played by hand --- */

enum { INDEX = 50, ROWS = 40, ROOM = 2 * SNAPSHOT_WINDOW };

static struct incoming {
    struct buffer content;
    uint64_t offset, limit; /* as acknowledged */
    size_t record_size;
} incoming;

static void hear_ack(uint8_t kind, struct bytes payload)
{
    if (kind != PEER_FRAME_SNAPSHOT_ACK) return;
    incoming.offset = load_u64(payload.data + 28);
    incoming.limit = load_u64(payload.data + 37);
}

static void content_make(struct buffer *content)
{
    static const uint8_t large[LARGE];
    const struct row_header header = {.version = 2, .type = 1};
    struct buffer part;
    uint8_t key[ROW_PREFIX_SIZE + 1];
    buffer_init(&part, SIZE_MAX / 2);
    buffer_init(content, SIZE_MAX / 2);
    struct writer writer = writer_make(content);
    leader_record_encode(INDEX, &part);
    write_block(&writer, buffer_bytes(&part));
    incoming.record_size = buffer_size(content);
    for (uint8_t row = 0; row < ROWS; row++) {
        buffer_clear(&part);
        row_value_encode(&part, &header, bytes_make(large, LARGE));
        write_block(&writer, key_make(key, row));
        write_block(&writer, buffer_bytes(&part));
    }
    assert_false(writer.failed);
    buffer_free(&part);
}

static void send_piece(void)
{
    struct bytes content = buffer_bytes(&incoming.content);
    uint64_t left = content.size - incoming.offset;
    uint64_t size = left < SNAPSHOT_CHUNK ? left : SNAPSHOT_CHUNK;
    struct transport_peer peer = {.node = 2, .epoch = 1};
    struct buffer frame;
    buffer_init(&frame, 2 * SNAPSHOT_CHUNK);
    struct writer writer = writer_make(&frame);
    write_u32(&writer, GROUP);
    write_u64(&writer, 12);
    write_u64(&writer, 11);
    write_u64(&writer, 2); /* the leader's term */
    write_u64(&writer, 77);
    write_u64(&writer, INDEX);
    write_u64(&writer, 2);
    write_u64(&writer, size == left ? content.size : 0);
    write_u64(&writer, incoming.offset);
    write_bytes(&writer, bytes_make(content.data + incoming.offset, size));
    host_on_frame(bed.host, &peer, PEER_FRAME_SNAPSHOT, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void expect_little_held(void)
{
    uint64_t held = snapshot_receive_bytes(replica_here());
    /* A chunk that begins where there is room is sent whole. */
    assert_true(held <= ROOM + SNAPSHOT_CHUNK + incoming.record_size);
    memory_measure(bed.host);
    assert_true(bed.host->memory.waiting >= held);
}

static void send_as_told(void *context)
{
    while (incoming.offset < incoming.limit && incoming.offset < buffer_size(&incoming.content)) {
        uint64_t before = incoming.offset;
        send_piece();
        expect_little_held();
        if (incoming.offset == before) break;
    }
}

static void send_while_the_store_is_busy(void *context)
{
    flush_store(bed.host, 0);
    assert_non_null(bed.host->stores[0].flush);
    incoming.limit = SNAPSHOT_WINDOW;
    send_as_told(NULL);
    assert_in_range(incoming.offset, SNAPSHOT_WINDOW, ROOM);
    assert_true(incoming.limit <= incoming.offset + SNAPSHOT_CHUNK);
    assert_true(snapshot_receive_bytes(replica_here()) >= SNAPSHOT_WINDOW);
    for (int i = 0; i < 20; i++) /* by somebody who does not listen */
        send_piece();
    assert_true(incoming.offset <= ROOM + incoming.record_size);
    assert_true(snapshot_receive_bytes(replica_here()) <= ROOM + incoming.record_size);
    expect_little_held();
}

static void test_a_snapshot_waits_for_a_busy_store_in_little_memory(void **state)
{
    replicate(11, 1, put_entry(1, 7));
    bench->on_sent = hear_ack;
    content_make(&incoming.content);
    sim_world_call(sim_world_of(bed.world), 0, send_while_the_store_is_busy, NULL);
    for (int i = 0; i < 100 * 1000 && bench->installed_count == 0; i++)
        bed_call(send_as_told, NULL, 20); /* while a piece is being written, too */
    assert_int_equal(bench->installed_count, 1);
    assert_int_equal(applied(), INDEX);
    assert_int_equal(engine_rows(7, 8), ROWS);
    buffer_free(&incoming.content);
}

/* --- the rate of the node --- */

enum { MS = 1000, GATE_RATE = 1 << 20 };

static void gate_make(void)
{
    setup_empty();
    bench->copy_gate = copy_gate_create(0, GATE_RATE, world_now(bed.world));
}

static int setup_leader_with_gate(void **state)
{
    gate_make();
    bench->evaluate = evaluate;
    frames = frames_with_row = told_count = 0;
    early = false;
    setup_leader();
    return 0;
}

static int setup_with_gate(void **state)
{
    gate_make();
    run(open_founded, NULL);
    return 0;
}

static int teardown_with_gate(void **state)
{
    struct copy_gate *gate = bench->copy_gate;
    teardown(state);
    copy_gate_destroy(gate);
    return 0;
}

/* Nothing goes for so long. */
static void use_up(uint64_t us)
{
    copy_gate_force(bench->copy_gate, (uint64_t)GATE_RATE * us / (1000 * MS), world_now(bed.world));
}

/* The most jobs of snapshots at a time. */
static uint32_t jobs_most(uint64_t us)
{
    uint32_t most = 0;
    for (uint64_t passed = 0; passed < us; passed += 20) {
        sim_run_for(&bed.sim, 20);
        if (bed.host->snapshot_jobs > most) most = bed.host->snapshot_jobs;
    }
    return most;
}

enum { SENDERS = 8 };

static void offer_to_nodes(void *context)
{
    struct raft_config target = *raft_config(core());
    struct error error;

    for (uint32_t i = 0; i < SENDERS; i++)
        target.learners[target.learner_count++] =
            (struct raft_member){.replica = {FIRST + i}, .node = 2 + i};
    assert_int_equal(raft_propose_config(core(), &target, target.index, &error), STATUS_OK);
    host_mark_dirty(replica_here());
    for (uint32_t i = 0; i < SENDERS; i++) {
        struct raft_message message = {.to = {FIRST + i}, .to_node = 2 + i};
        snapshot_offer(replica_here(), &message);
    }
}

static void test_of_many_senders_that_wait_one_goes_at_a_time(void **state)
{
    for (uint8_t row = 0; row < 20; row++)
        assert_int_equal(ask('L', row), OUTCOME_REPLY);
    sim_run_for(&bed.sim, 3 * 1000 * MS);
    use_up(1000 * MS);
    sim_world_call(sim_world_of(bed.world), 0, offer_to_nodes, NULL);
    assert_int_equal(jobs_most(900 * MS), 0);
    assert_int_equal(jobs_most(2000 * MS), 1);
}

static void test_senders_that_end_give_back_what_they_took(void **state)
{
    struct copy_gate_statistics before, after;
    for (uint8_t row = 0; row < 20; row++)
        assert_int_equal(ask('L', row), OUTCOME_REPLY);
    sim_run_for(&bed.sim, 3 * 1000 * MS);
    copy_gate_statistics(bench->copy_gate, &before);
    use_up(1000 * MS);
    sim_world_call(sim_world_of(bed.world), 0, offer_to_nodes, NULL);
    sim_run_for(&bed.sim, 100 * MS);
    sim_world_call(sim_world_of(bed.world), 0, halt, NULL);
    sim_run_for(&bed.sim, 1 * MS);
    assert_true(list_empty(&bed.host->copying.waiting));
    assert_int_equal(jobs_most(5000 * MS), 0);
    copy_gate_statistics(bench->copy_gate, &after);
    assert_int_equal(before.bytes, after.bytes);
}

static void receive_begins(void *context)
{
    incoming.limit = SNAPSHOT_WINDOW;
    incoming.offset = 0;
    send_as_told(NULL);
}

static void test_a_halted_replica_writes_no_piece_that_waited(void **state)
{
    replicate(11, 1, put_entry(1, 7));
    bench->on_sent = hear_ack;
    content_make(&incoming.content);
    use_up(1000 * MS);
    sim_world_call(sim_world_of(bed.world), 0, receive_begins, NULL);
    sim_world_call(sim_world_of(bed.world), 0, halt, NULL);
    assert_int_equal(jobs_most(5000 * MS), 0);
    buffer_free(&incoming.content);
}

/* What an install writes to the log waited from then on, not since the last turn. */
static void test_an_install_is_not_heard_as_a_late_sync(void **state)
{
    struct copy_gate_statistics heard;
    replicate(11, 1, put_entry(1, 7));
    bench->on_sent = hear_ack;
    content_make(&incoming.content);
    sim_run_for(&bed.sim, 40 * MS);
    sim_world_call(sim_world_of(bed.world), 0, receive_begins, NULL);
    uint64_t worst = 0, after = 0;
    for (int i = 0; i < 100 * 1000 && after < 300; i++) {
        bed_call(send_as_told, NULL, 1 * MS);
        copy_gate_take(bench->copy_gate, 0, world_now(bed.world));
        copy_gate_statistics(bench->copy_gate, &heard);
        if (heard.worst_us > worst) worst = heard.worst_us;
        after += bench->installed_count > 0;
    }
    assert_int_equal(bench->installed_count, 1);
    assert_in_range(worst, 1, 5 * MS);
    buffer_free(&incoming.content);
}

/* --- a state that is overtaken by the log, and a cut --- */

static struct raft_entry *cut_entry(uint64_t index)
{
    struct entry_header header = {
        .gateway = {.node = 2, .epoch = 1}, .seq = index, .entry_time = world_wall_time(bed.world)};
    struct buffer body;
    buffer_init(&body, 4096);
    assert_true(entry_header_encode(&header, &body));
    assert_true(effect_cut_encode(&body, true, index, 300 * (int64_t)1000 * MS));
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_NORMAL, buffer_bytes(&body));
    buffer_free(&body);
    return entry;
}

static void append_soon(uint64_t index, uint64_t commit, struct raft_entry *entry)
{
    struct append append = {.to = 11,
                            .index = index - 1,
                            .term_before = index == 2 ? BIRTH_TERM : 2,
                            .commit = commit,
                            .entry = entry};
    bed_call(send_append, &append, 10);
}

/* What the engine has then is of a later index than the cut (WHY 4.2). */
static void test_no_part_of_a_cut_sees_a_state_that_the_log_overtook(void **state)
{
    enum { CUT_AT = 2, LATER_CUT_AT = 30 };
    const struct replica *replica = replica_here();
    bench->on_sent = hear_ack;
    content_make(&incoming.content);
    append_soon(CUT_AT, CUT_AT, cut_entry(CUT_AT));
    for (int i = 0; i < 1000 && cut_count(replica) == 0; i++)
        sim_run_for(&bed.sim, 10);
    assert_int_equal(cut_count(replica), 1);

    bed_call(receive_begins, NULL, 10);
    assert_non_null(replica->receive);
    for (uint64_t index = CUT_AT + 1; index <= INDEX; index++)
        append_soon(index, CUT_AT, index == LATER_CUT_AT ? cut_entry(index) : put_entry(index, 7));
    for (int i = 0; i < 100 * 1000 && replica->receive != NULL; i++)
        bed_call(send_as_told, NULL, 20);
    assert_null(replica->receive);
    assert_int_equal(replica->flushed, INDEX);
    assert_int_equal(applied(), CUT_AT); /* overtaken, not installed */
    assert_int_equal(cut_count(replica), 0);

    append_soon(INDEX + 1, INDEX + 1, put_entry(INDEX + 1, 7));
    sim_run_for(&bed.sim, 1000 * MS);
    assert_int_equal(applied(), INDEX + 1);
    assert_int_equal(cut_count(replica), 0);
    buffer_free(&incoming.content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_snapshot_has_what_is_only_in_memory,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_no_snapshot_is_sent_before_it_is_durable,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_no_snapshot_begins_while_the_engine_is_ahead,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_leaves_out_what_was_deleted_in_memory,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_leaves_out_what_was_dropped_before,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_few_snapshots_go_to_a_node_at_a_time,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_goes_no_further_than_there_is_room,
                                        setup_leader_alone, teardown),
        cmocka_unit_test(test_a_rate_is_of_the_last_seconds),
        cmocka_unit_test_setup_teardown(test_how_far_copies_are_is_known, setup_leader_alone,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_halted_replica_gives_its_turns_back,
                                        setup_leader_alone, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_waits_for_a_busy_store_in_little_memory,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_of_many_senders_that_wait_one_goes_at_a_time,
                                        setup_leader_with_gate, teardown_with_gate),
        cmocka_unit_test_setup_teardown(test_senders_that_end_give_back_what_they_took,
                                        setup_leader_with_gate, teardown_with_gate),
        cmocka_unit_test_setup_teardown(test_no_part_of_a_cut_sees_a_state_that_the_log_overtook,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_halted_replica_writes_no_piece_that_waited,
                                        setup_with_gate, teardown_with_gate),
        cmocka_unit_test_setup_teardown(test_an_install_is_not_heard_as_a_late_sync,
                                        setup_with_gate, teardown_with_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
