/* Birth and end of a replica: it learns that a committed configuration removed it, its rows go from
 * the engine, and one with a new id in its place starts with nothing of the old. */
#include "base/hash.h"
#include "partition/effects.h"
#include "partition/host_internal.h"
#include "partition/keep.h"
#include "partition/salvage.h"
#include "partition/snapshot_internal.h"
#include "raft/raft_codec.h"
#include "sim/sim_files.h"
#include "sim/sim_process.h"
#include "storage/engine/engine.h"
#include "storage/log/log.h"
#include "unit.h"
#include "wire/peer_frame.h"
#include <stdlib.h>

enum { GROUP = GROUP_DATA_FIRST, SELF = 1, SLOT_LAST = 16383, BIRTH_TERM = 1 };

/* Replicas 11 (here), 12 (leader, node 2), 13 (node 3) since the founding. */
static const struct raft_config founding = {.incoming_count = 3,
                                            .incoming = {{{11}, 1}, {{12}, 2}, {{13}, 3}}};
static const struct raft_config without_us = {.incoming_count = 2,
                                              .incoming = {{{12}, 2}, {{13}, 3}}};

struct bench {
    struct sim sim;
    struct sim_machine machine;
    struct world *world;
    struct transport transport;
    struct log *log;
    struct engine_memory_disk *disk;
    struct engine *engine;
    struct partition_host *host;
    const struct log_recovered *recovered;
    size_t recovered_count;
    uint32_t born_count, removed_count, asked_count, answered_count, installed_count;
    void (*then)(struct group_id group); /* it was dropped */
    uint64_t removed_id, level0;
    bool drop_inside;
};

static struct bench *bench;

static void fake_send(struct transport *transport, node_id_t node, uint32_t worker, uint8_t kind,
                      struct bytes payload)
{
    if (kind == PEER_FRAME_SNAPSHOT_ACK)
        bench->installed_count += payload.data[payload.size - 1] == SNAPSHOT_ACK_INSTALLED;
    if (kind != PEER_FRAME_GONE) return;
    bench->asked_count += payload.data[0] == 0;
    bench->answered_count += payload.data[0] == 1;
}

static uint32_t fake_worker_count(struct transport *transport, node_id_t node)
{
    return 1;
}

static bool fake_is_up(struct transport *transport, node_id_t node)
{
    return true;
}

static const struct transport_table fake_table = {
    .send = fake_send, .worker_count = fake_worker_count, .is_up = fake_is_up};

static void on_removed(void *context, struct group_id group, struct replica_id replica)
{
    assert_int_equal(group.value, GROUP);
    assert_int_equal(replica.value, bench->removed_id);
    bench->removed_count++;
    if (bench->drop_inside) host_drop_replica(bench->host, group);
}

static void on_born(void *context)
{
    bench->born_count++;
}

static void on_dropped(void *context, struct group_id group);

static void add_replica(uint64_t id, const struct raft_config *birth)
{
    struct error error = {0};
    const struct raft_config learner = {0};
    const struct log_recovered *recovered = NULL;
    for (size_t i = 0; i < bench->recovered_count; i++)
        if (bench->recovered[i].replica.value == id) recovered = &bench->recovered[i];
    struct replica_options replica = {.group = {GROUP},
                                      .replica = {id},
                                      .slot_last = SLOT_LAST,
                                      .birth_config = birth != NULL ? birth : &learner,
                                      .recovered = recovered};
    assert_int_equal(host_add_replica(bench->host, &replica, &error), STATUS_OK);
}

static void open_host(void)
{
    struct error error = {0};
    struct log_options log = {.directory = "log",
                              .cluster = {1, 2},
                              .node = SELF,
                              .store = 1,
                              .segment_size = LOG_SEGMENT_SIZE_MIN,
                              .queue_bytes_max = 1 << 20,
                              .writer_loops = 1};
    assert_int_equal(log_open(bench->world, &log, &bench->log, &error), STATUS_OK);
    log_recovery(bench->log, &bench->recovered, &bench->recovered_count);
    bench->engine = engine_memory_open(bench->disk);
    struct host_options host = {
        .world = bench->world,
        .transport = &bench->transport,
        .log = bench->log,
        .engines = &bench->engine,
        .quarantine = "data/quarantine",
        .store_count = 1,
        .worker_count = 1,
        .node = SELF,
        .epoch = 7,
        .timing = {50000, 300000, 600000, 200000},
        .flush_bytes = 1,
        .entries_bytes_max = 4 << 20,
        .events = {.on_born = on_born, .on_removed = on_removed, .on_dropped = on_dropped}};
    bench->host = host_open(&host);
}

static void open_founded(void *context)
{
    open_host();
    add_replica(11, &founding);
}

static void close_all(void *context)
{
    if (bench->host != NULL) host_close(bench->host);
    log_close(bench->log);
    engine_close(bench->engine);
    bench->host = NULL;
}

static void run(void (*what)(void *context), void *context)
{
    sim_world_call(sim_world_of(bench->world), 0, what, context);
    sim_run_for(&bench->sim, 3 * 1000 * 1000);
}

static void make_data(void *context)
{
    struct error error;
    assert_int_equal(world_make_durable_dir(bench->world, "data", &error), STATUS_OK);
}

static int setup(void **state)
{
    bench = calloc(1, sizeof(*bench));
    sim_init(&bench->sim, 1);
    sim_machine_init(&bench->machine, &bench->sim, SELF);
    bench->machine.disk = sim_disk_make(&bench->sim);
    bench->machine.process = sim_process_make(&bench->machine, 1, NULL, NULL);
    bench->world = sim_process_world(bench->machine.process, 0);
    bench->transport.table = &fake_table;
    bench->removed_id = 11;
    bench->disk = engine_memory_disk_make();
    run(make_data, NULL);
    run(open_founded, NULL);
    return 0;
}

static int teardown(void **state)
{
    run(close_all, NULL);
    sim_free(&bench->sim);
    sim_disk_free(bench->machine.disk);
    engine_memory_disk_free(bench->disk);
    free(bench);
    return 0;
}

/* --- the leader on node 2, by hand ---------------------------------------------------- */

struct append {
    uint64_t to, index, term_before, commit;
    struct raft_entry *entry; /* NULL: none */
};

static void send_append(void *context)
{
    const struct append *append = context;
    struct raft_message message = {.type = RAFT_APPEND,
                                   .group = {GROUP},
                                   .from = {12},
                                   .to = {append->to},
                                   .from_node = 2,
                                   .to_node = SELF,
                                   .term = 2,
                                   .index = append->index,
                                   .log_term = append->term_before,
                                   .commit = append->commit};
    struct raft_entry *entries[1] = {append->entry};
    struct buffer buffer;
    if (append->entry != NULL) {
        message.entries = entries;
        message.entry_count = 1;
    }
    buffer_init(&buffer, 1 << 16);
    assert_int_equal(raft_message_encode(&message, &buffer), STATUS_OK);
    struct transport_peer peer = {.node = 2, .epoch = 1};
    host_on_frame(bench->host, &peer, PEER_FRAME_RAFT, buffer_bytes(&buffer));
    buffer_free(&buffer);
    memory_free(append->entry);
}

static struct raft_entry *entry_make(uint64_t index, uint8_t type, struct bytes body)
{
    struct raft_entry *entry = raft_entry_make(NULL, type, (uint32_t)body.size);
    entry->index = index;
    entry->term = 2;
    memcpy(entry->body, body.data, body.size);
    return entry;
}

static struct raft_entry *config_entry(uint64_t index, const struct raft_config *config)
{
    struct buffer body;
    buffer_init(&body, 4096);
    raft_config_encode(config, &body);
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_CONFIG, buffer_bytes(&body));
    buffer_free(&body);
    return entry;
}

/* A SET of one row of `slot`. */
static struct raft_entry *put_entry(uint64_t index, uint16_t slot)
{
    struct entry_header header = {0};
    struct row_header row = {.type = 1};
    struct buffer body;
    uint8_t key[ROW_PREFIX_SIZE];
    buffer_init(&body, 4096);
    row_prefix_store(key, slot, SERVICE_REDIS, 0);
    assert_true(entry_header_encode(&header, &body));
    assert_true(effect_put_encode(&body, bytes_make(key, sizeof(key)), &row, bytes_of("value")));
    struct raft_entry *entry = entry_make(index, RAFT_ENTRY_NORMAL, buffer_bytes(&body));
    buffer_free(&body);
    return entry;
}

static void replicate(uint64_t to, uint64_t index, struct raft_entry *entry)
{
    bool behind_birth = to == 11 && index == 2;
    struct append append = {.to = to,
                            .index = index - 1,
                            .term_before = index == 1     ? 0
                                           : behind_birth ? BIRTH_TERM
                                                          : 2,
                            .commit = index,
                            .entry = entry};
    run(send_append, &append);
}

/* slot_last 0xffff: to the end, the records too. */
static uint32_t engine_rows(uint16_t slot_first, uint16_t slot_last)
{
    struct error error;
    struct bytes key, value;
    uint8_t from[2], to[2];
    uint32_t count = 0;
    store_u16_be(from, slot_first);
    store_u16_be(to, slot_last);
    struct engine_iterator *iterator = engine_iterate(bench->engine, bytes_make(from, 2),
                                                      bytes_make(to, slot_last < 0xffff ? 2 : 0));
    while (engine_iterator_next(bench->engine, iterator, &key, &value))
        count++;
    assert_int_equal(engine_iterator_close(bench->engine, iterator, &error), STATUS_OK);
    return count;
}

static uint64_t applied(void)
{
    struct replica_status status;
    host_replica_status(bench->host, 0, &status);
    return status.applied;
}

static void drop_only(void *context)
{
    host_drop_replica(bench->host, (struct group_id){GROUP});
}

static void add_learner(struct group_id group)
{
    add_replica(21, NULL);
}

static void on_dropped(void *context, struct group_id group)
{
    if (bench->then != NULL) bench->then(group);
}

static void replace_by_learner(void *context)
{
    bench->then = add_learner;
    host_drop_replica(bench->host, (struct group_id){GROUP});
}

/* --- birth ----------------------------------------------------------------------------- */

static void open_damaged(void *context)
{
    struct error error = {0};
    struct log_entry entries[] = {
        {.index = 1, .term = 1, .type = RAFT_ENTRY_NORMAL, .body = bytes_of("x")},
        {.index = 2, .term = 1, .type = RAFT_ENTRY_CONFIG, .body = bytes_of("no configuration")}};
    struct log_recovered recovered = {.group = {GROUP + 1},
                                      .replica = {31},
                                      .state = {.term = 1},
                                      .entries = entries,
                                      .entry_count = 2};
    struct replica_options replica = {
        .group = {GROUP + 1}, .replica = {31}, .slot_last = SLOT_LAST, .recovered = &recovered};
    assert_int_equal(host_add_replica(bench->host, &replica, &error), STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, "its configuration cannot be read"));
}

/* The sanitizer watches that nothing of it stays. */
static void test_a_replica_with_a_damaged_configuration_is_refused(void **state)
{
    run(open_damaged, NULL);
    assert_int_equal(host_replica_count(bench->host), 1);
}

static void add_late(void *context)
{
    bench->born_count = 0;
    assert_true(host_is_born(bench->host));
    add_replica(21, NULL);
    assert_false(host_is_born(bench->host));
}

static void test_a_birth_is_told_once_it_is_durable(void **state)
{
    assert_int_equal(bench->born_count, 1);
    run(drop_only, NULL);
    run(add_late, NULL);
    assert_true(host_is_born(bench->host));
    assert_int_equal(bench->born_count, 1);
}

/* --- closing -------------------------------------------------------------------------- */

static void defer_and_ask(void *context)
{
    assert_true(host_is_idle(bench->host));
    host_mark_dirty(host_replica(bench->host, (struct group_id){GROUP}));
    assert_false(host_is_idle(bench->host)); /* it cannot be taken back */
}

static void ask_idle(void *context)
{
    assert_true(host_is_idle(bench->host));
}

static void test_a_host_with_a_deferred_call_is_not_idle(void **state)
{
    run(defer_and_ask, NULL);
    run(ask_idle, NULL);
}

/* --- files of level 0 ----------------------------------------------------------------- */

static uint64_t level0_files(struct engine *engine)
{
    return bench->level0;
}

/* Compaction lowers it, without a flush that would look. */
static void test_level_0_is_read_again_while_it_is_high(void **state)
{
    struct engine_table table = *bench->engine->table;
    const struct engine_table *real = bench->engine->table;
    table.level0_files = level0_files;
    bench->engine->table = &table;
    bench->level0 = 1000;
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(bench->host->memory.level0_files, 1000);
    uint64_t flushes = bench->host->statistics.flushes;
    bench->level0 = 2;
    run(ask_idle, NULL);
    assert_int_equal(bench->host->statistics.flushes, flushes);
    assert_int_equal(bench->host->memory.level0_files, 2);
    bench->engine->table = real;
}

/* --- learning ------------------------------------------------------------------------- */

static void test_a_replica_that_applies_its_removal_stops_and_says_so_once(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(applied(), 2);
    replicate(11, 3, config_entry(3, &without_us));
    assert_int_equal(bench->removed_count, 1);
    replicate(11, 4, put_entry(4, 6)); /* it takes part in nothing any more */
    assert_int_equal(applied(), 3);
    assert_int_equal(bench->removed_count, 1);
    assert_true(engine_rows(0, 0xffff) > 0); /* its data stays */
}

/* It replays configurations from before it was added. */
static void test_a_configuration_from_before_a_replica_is_no_removal(void **state)
{
    run(replace_by_learner, NULL);
    replicate(21, 1, config_entry(1, &founding));
    replicate(21, 2, config_entry(2, &without_us));
    assert_int_equal(applied(), 2);
    assert_int_equal(bench->removed_count, 0);
}

struct gone {
    bool answer;
    uint64_t replica, index;
};

static void send_gone(void *context)
{
    const struct gone *gone = context;
    struct transport_peer peer = {.node = 3, .epoch = 1};
    struct buffer buffer;
    buffer_init(&buffer, 64);
    struct writer writer = writer_make(&buffer);
    write_u8(&writer, gone->answer);
    write_u32(&writer, GROUP);
    write_u64(&writer, gone->replica);
    write_u64(&writer, gone->index);
    host_on_frame(bench->host, &peer, PEER_FRAME_GONE, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static void gone(bool answer, uint64_t replica, uint64_t index)
{
    struct gone frame = {answer, replica, index};
    run(send_gone, &frame);
}

static void wish_others(void *context)
{
    host_set_wish(bench->host, (struct group_id){GROUP}, without_us.incoming, 2);
}

static void test_a_replica_that_is_not_wished_for_asks_and_believes_an_answer(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    gone(true, 11, 1); /* nobody asked: the table still wishes for it */
    assert_int_equal(bench->asked_count, 0);
    assert_int_equal(bench->removed_count, 0);
    run(wish_others, NULL);
    assert_true(bench->asked_count >= 2 && bench->asked_count <= 6);
    gone(true, 11, 0); /* to an older question */
    gone(true, 19, 1); /* of another replica */
    assert_int_equal(bench->removed_count, 0);
    gone(true, 11, 1);
    assert_int_equal(bench->removed_count, 1);
}

static void test_only_a_newer_committed_configuration_without_the_asker_is_an_answer(void **state)
{
    static const struct raft_config without_13 = {.incoming_count = 2,
                                                  .incoming = {{{11}, 1}, {{12}, 2}}};
    gone(false, 13, 1);
    assert_int_equal(bench->answered_count, 0); /* it is a member */
    struct append uncommitted = {.to = 11,
                                 .index = 1,
                                 .term_before = BIRTH_TERM,
                                 .commit = 1,
                                 .entry = config_entry(2, &without_13)};
    run(send_append, &uncommitted);
    gone(false, 13, 1);
    assert_int_equal(bench->answered_count, 0);
    struct append commit = {.to = 11, .index = 2, .term_before = 2, .commit = 2};
    run(send_append, &commit);
    gone(false, 13, 2); /* it knows a configuration as new as ours that has it */
    gone(false, 12, 1);
    assert_int_equal(bench->answered_count, 0);
    gone(false, 13, 1);
    assert_int_equal(bench->answered_count, 1);
}

/* One that never saw itself in a configuration: its absence alone says nothing. */
static void test_a_later_replica_of_its_node_tells_a_learner_that_it_is_gone(void **state)
{
    static const struct raft_config with_later = {.incoming_count = 2,
                                                  .incoming = {{{11}, 1}, {{12}, 2}},
                                                  .learner_count = 1,
                                                  .learners = {{{33}, 3}}};
    replicate(11, 2, config_entry(2, &with_later));
    gone(false, 34, 0);
    assert_int_equal(bench->answered_count, 0); /* still to be added */
    gone(false, 33, 0);
    assert_int_equal(bench->answered_count, 0);
    gone(false, 32, 0);
    assert_int_equal(bench->answered_count, 1);
}

static void wish_for_33(void *context)
{
    static const struct raft_member wish[] = {{{33}, SELF}, {{12}, 2}, {{13}, 3}};
    host_set_wish(bench->host, (struct group_id){GROUP}, wish, 3);
}

static void test_a_learner_that_nothing_came_to_asks_too(void **state)
{
    run(replace_by_learner, NULL);
    bench->removed_id = 21;
    run(wish_for_33, NULL);
    assert_true(bench->asked_count >= 2);
    gone(true, 21, 0);
    assert_int_equal(bench->removed_count, 1);
}

/* --- going ---------------------------------------------------------------------------- */

static void test_rows_and_record_of_a_dropped_replica_leave_the_engine(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(engine_rows(0, 0xffff), 2); /* the row and the record */
    bench->drop_inside = true;
    replicate(11, 3, config_entry(3, &without_us));
    assert_int_equal(bench->removed_count, 1);
    assert_int_equal(host_replica_count(bench->host), 0);
    assert_int_equal(engine_rows(0, 0xffff), 0);
    assert_true(host_is_idle(bench->host));
}

static void check_item(struct reader *reader, enum keep_kind kind, uint16_t slot)
{
    assert_int_equal(read_u8(reader), kind);
    struct bytes key = read_bytes(reader, read_u32(reader));
    assert_true(key.size >= 2 && load_u16_be(key.data) == slot);
    assert_true(read_bytes(reader, read_u32(reader)).size > 0);
}

static struct bytes kept_file(const char *path, uint64_t replica, struct reader *ret_reader)
{
    struct bytes file = sim_disk_take_copy(bench->machine.disk, path);
    assert_true(file.size > 24);
    *ret_reader = reader_make(bytes_make(file.data, file.size - 4));
    assert_int_equal(load_u32(file.data + file.size - 4),
                     crc32c(0, bytes_make(file.data, file.size - 4)));
    assert_true(bytes_equal(read_bytes(ret_reader, 8), bytes_of("HOLONRM1")));
    assert_int_equal(read_u32(ret_reader), GROUP);
    assert_int_equal(read_u64(ret_reader), replica);
    return file;
}

static void check_end(struct reader *reader, uint64_t items, struct bytes file)
{
    assert_int_equal(read_u8(reader), KEEP_END);
    assert_int_equal(read_u64(reader), items);
    assert_false(reader->failed);
    assert_int_equal(reader_left(reader), 0);
    memory_free((void *)(uintptr_t)file.data);
}

/* FAULTS rule 8: what it had, in the engine and not in it yet, goes to quarantine first. */
static void test_what_a_removed_replica_had_is_in_quarantine(void **state)
{
    struct reader reader;
    replicate(11, 2, put_entry(2, 5));
    assert_int_equal(engine_rows(0, 0xffff), 2);
    struct append append = {
        .to = 11, .index = 2, .term_before = 2, .commit = 3, .entry = put_entry(3, 6)};
    sim_world_call(sim_world_of(bench->world), 0, send_append, &append);
    sim_run_for(&bench->sim, 20 * 1000);
    assert_int_equal(applied(), 3);
    assert_int_equal(engine_rows(6, 7), 0); /* not flushed yet */
    run(drop_only, NULL);
    assert_int_equal(engine_rows(0, 0xffff), 0);
    struct bytes file = kept_file("data/quarantine/removed/g2-r11.rows", 11, &reader);
    check_item(&reader, KEEP_STORED, 5);
    check_item(&reader, KEEP_STORED, ROW_SLOT_RECORDS);
    check_item(&reader, KEEP_LATER, 6);
    check_item(&reader, KEEP_LATER, ROW_SLOT_RECORDS);
    check_end(&reader, 4, file);
}

static void keep_many(void *context)
{
    struct error error;
    uint8_t slots[2][2] = {{0, 0}, {0xff, 0xfe}};
    struct keep keep = {.world = bench->world,
                        .quarantine = "data/quarantine",
                        .engine = bench->engine,
                        .group = {GROUP},
                        .from = bytes_make(slots[0], 2),
                        .to = bytes_make(slots[1], 2),
                        .record_key = bytes_of("none")};
    for (keep.replica.value = 100; keep.replica.value < 120; keep.replica.value++)
        assert_int_equal(keep_replica(&keep, &error), STATUS_OK);
}

struct names {
    uint32_t count;
    char first[64];
};

static void count_name(void *context, const char *name)
{
    struct names *names = context;
    if (names->count++ == 0) snprintf(names->first, sizeof(names->first), "%s", name);
}

static void test_the_newest_removed_replicas_are_kept_and_no_more(void **state)
{
    struct names names = {0};
    replicate(11, 2, put_entry(2, 5));
    run(keep_many, NULL);
    world_list_dir(bench->world, "data/quarantine/removed", &names, count_name, NULL);
    assert_int_equal(names.count, KEPT_REPLICAS_MAX);
    assert_string_equal(names.first, "g2-r104.rows");
}

static void fail_and_replace(void *context)
{
    engine_memory_disk_fail_next(bench->disk, STATUS_NO_SPACE);
    replace_by_learner(NULL);
}

static void test_a_deletion_that_fails_is_tried_again(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    run(fail_and_replace, NULL);
    assert_int_equal(engine_rows(5, 6), 1);
    sim_run_for(&bench->sim, 6 * 1000 * 1000);
    assert_int_equal(engine_rows(0, 0xffff), 0);
}

static void test_the_replica_in_its_place_keeps_its_own_rows(void **state)
{
    replicate(11, 2, put_entry(2, 5));
    run(replace_by_learner, NULL);
    replicate(21, 1, config_entry(1, &founding));
    replicate(21, 2, put_entry(2, 6));
    assert_int_equal(engine_rows(5, 6), 0);
    assert_int_equal(engine_rows(6, 7), 1);
}

/* As after a crash between the log's "removed" and the deletion. */
static void leave_a_row(void *context)
{
    struct error error;
    struct engine_run *run = NULL;
    struct buffer value;
    struct row_header header = {.version = 2, .type = 1};
    uint8_t key[ROW_PREFIX_SIZE];
    row_prefix_store(key, 5, SERVICE_REDIS, 0);
    buffer_init(&value, 4096);
    row_value_encode(&value, &header, bytes_of("value"));
    assert_int_equal(engine_run_open(bench->engine, &run, &error), STATUS_OK);
    assert_int_equal(engine_run_put(bench->engine, run, bytes_make(key, sizeof(key)),
                                    buffer_bytes(&value), &error),
                     STATUS_OK);
    assert_int_equal(engine_run_ingest(bench->engine, run, &error), STATUS_OK);
    buffer_free(&value);
}

static void reopen_with(void *context)
{
    const uint64_t *id = context;
    close_all(NULL);
    open_host();
    add_replica(*id, NULL);
    log_recovery_free(bench->log);
    bench->recovered_count = 0;
}

static uint64_t rows_in_memory(void)
{
    struct replica_status status;
    host_replica_status(bench->host, 0, &status);
    return status.rows;
}

static void test_rows_left_by_a_crash_do_not_come_back_in_a_later_replica(void **state)
{
    uint64_t id = 21;
    replicate(11, 2, put_entry(2, 5));
    run(drop_only, NULL);
    run(leave_a_row, NULL);
    run(reopen_with, &id);
    assert_int_equal(rows_in_memory(), 0);
    struct reader reader; /* whose they were is not known any more */
    struct bytes file = kept_file("data/quarantine/removed/g2-r0.rows", 0, &reader);
    check_item(&reader, KEEP_STORED, 5);
    check_end(&reader, 1, file);
    replicate(21, 1, config_entry(1, &founding));
    replicate(21, 2, put_entry(2, 6));
    assert_int_equal(engine_rows(6, 7), 1);
    assert_int_equal(engine_rows(5, 6), 0);
    run(reopen_with, &id);
    assert_int_equal(rows_in_memory(), 1);
}

/* --- a snapshot that cannot be read back ------------------------------------------------ */

enum { SNAPSHOT_INDEX = 50 };

static void write_block(struct writer *writer, struct bytes bytes)
{
    write_u32(writer, (uint32_t)bytes.size);
    write_bytes(writer, bytes);
}

/* Of no row. */
static void send_snapshot(void *context)
{
    struct buffer config, windows, record, frame;
    struct dedup *dedup = dedup_make();
    buffer_init(&config, 4096);
    buffer_init(&windows, 4096);
    buffer_init(&record, 4096);
    buffer_init(&frame, 4096);
    raft_config_encode(&founding, &config);
    dedup_encode(dedup, &windows);
    dedup_free(dedup);
    struct writer writer = writer_make(&record);
    write_u8(&writer, 2);
    write_u64(&writer, 12);
    write_u64(&writer, SNAPSHOT_INDEX);
    write_u64(&writer, 2);
    write_i64(&writer, 0);
    write_block(&writer, buffer_bytes(&config));
    write_block(&writer, buffer_bytes(&windows));
    write_u32(&writer, 0); /* counts */
    write_u32(&writer, 0); /* drops */
    writer = writer_make(&frame);
    write_u32(&writer, GROUP);
    write_u64(&writer, 12);
    write_u64(&writer, 11);
    write_u64(&writer, 2); /* the leader's term */
    write_u64(&writer, 77);
    write_u64(&writer, SNAPSHOT_INDEX);
    write_u64(&writer, 2);
    write_u64(&writer, 4 + buffer_size(&record)); /* in all */
    write_u64(&writer, 0);
    write_block(&writer, buffer_bytes(&record));
    assert_false(writer.failed);
    struct transport_peer peer = {.node = 2, .epoch = 1};
    host_on_frame(bench->host, &peer, PEER_FRAME_SNAPSHOT, buffer_bytes(&frame));
    buffer_free(&config);
    buffer_free(&windows);
    buffer_free(&record);
    buffer_free(&frame);
}

/* Until it is in the engine, and on its way into the log. */
static void run_until_ingested(void)
{
    struct replica *replica = host_replica(bench->host, (struct group_id){GROUP});
    sim_world_call(sim_world_of(bench->world), 0, send_snapshot, NULL);
    for (int i = 0; i < 100 * 1000 && !snapshot_holds_core(replica); i++)
        sim_run_for(&bench->sim, 1);
    assert_true(snapshot_holds_core(replica));
    assert_int_equal(bench->installed_count, 0);
}

static void test_a_snapshot_is_acknowledged_once_it_is_installed(void **state)
{
    run_until_ingested();
    sim_run_for(&bench->sim, 1000 * 1000);
    assert_int_equal(bench->installed_count, 1);
    assert_int_equal(applied(), SNAPSHOT_INDEX);
}

static void test_a_snapshot_that_cannot_be_read_back_is_not_acknowledged(void **state)
{
    run_until_ingested();
    engine_memory_disk_damage(bench->disk);
    sim_run_for(&bench->sim, 1000 * 1000);
    assert_true(host_replica(bench->host, (struct group_id){GROUP})->halted);
    assert_int_equal(bench->installed_count, 0);
}

/* --- salvage --------------------------------------------------------------------------- */

static const struct salvage_rename to_99 = {
    .group = {GROUP}, .from = {11}, .to = {99}, .node = SELF};

static void salvage_twice(void *context)
{
    struct error error = {0};
    struct salvage_record record = {0};
    for (int i = 0; i < 2; i++) { /* the second time as after a crash before its step 2 */
        assert_int_equal(salvage_records_rename(bench->engine, &to_99, 1, &error), STATUS_OK);
        assert_int_equal(salvage_record_read(bench->engine, to_99.group, &record, &error),
                         STATUS_OK);
        assert_int_equal(record.replica.value, 99);
        assert_int_equal(record.applied, 2);
    }
}

static void copy_record(void *context, struct bytes value)
{
    buffer_append(context, value);
}

static void record_decode(struct buffer *buffer, struct replica_record *ret_record)
{
    struct error error = {0};
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key((struct group_id){GROUP}, key);
    assert_int_equal(
        engine_get(bench->engine, bytes_make(key, sizeof(key)), buffer, copy_record, &error),
        STATUS_OK);
    assert_int_equal(replica_record_decode(buffer_bytes(buffer), ret_record), STATUS_OK);
}

static void put_record(struct bytes value)
{
    struct error error = {0};
    struct engine_run *run = NULL;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    replica_record_key((struct group_id){GROUP}, key);
    assert_int_equal(engine_run_open(bench->engine, &run, &error), STATUS_OK);
    assert_int_equal(
        engine_run_put(bench->engine, run, bytes_make(key, sizeof(key)), value, &error), STATUS_OK);
    assert_int_equal(engine_run_ingest(bench->engine, run, &error), STATUS_OK);
}

/* As after a FLUSHALL whose rows are not all collected yet. */
static void add_a_drop(void *context)
{
    struct replica_record record;
    struct buffer bytes, changed;
    buffer_init(&bytes, 1 << 20);
    buffer_init(&changed, 1 << 20);
    record_decode(&bytes, &record);
    assert_int_equal(record.drops.size, 0); /* the number of drops ends it */
    buffer_append(&changed, bytes_make(buffer_bytes(&bytes).data, buffer_size(&bytes) - 4));
    struct writer writer = writer_make(&changed);
    write_u32(&writer, 1);
    write_u8(&writer, SERVICE_REDIS);
    write_u32(&writer, 3);
    write_u64(&writer, 2);
    put_record(buffer_bytes(&changed));
    buffer_free(&bytes);
    buffer_free(&changed);
}

static void test_a_salvaged_record_has_all_that_the_old_one_had(void **state)
{
    struct replica_record before, after;
    struct buffer before_bytes, after_bytes;
    buffer_init(&before_bytes, 1 << 20);
    buffer_init(&after_bytes, 1 << 20);
    replicate(11, 2, put_entry(2, 5));
    run(add_a_drop, NULL);
    record_decode(&before_bytes, &before);
    assert_true(before.counted);
    assert_int_equal(before.counts.size, RECORD_NAME_SIZE);
    assert_int_equal(before.drops.size, RECORD_NAME_SIZE);
    run(salvage_twice, NULL);
    record_decode(&after_bytes, &after);
    assert_true(after.counted);
    assert_int_equal(after.entry_time, before.entry_time);
    assert_true(bytes_equal(after.counts, before.counts));
    assert_true(bytes_equal(after.drops, before.drops));
    assert_true(bytes_equal(after.dedup, before.dedup));
    assert_int_equal(after.config.incoming_count, 1);
    assert_int_equal(after.config.incoming[0].replica.value, 99);
    buffer_free(&before_bytes);
    buffer_free(&after_bytes);
}

static void damage_and_salvage(void *context)
{
    struct error error = {0};
    struct buffer found;
    uint8_t key[REPLICA_RECORD_KEY_SIZE];
    uint8_t format = *(const uint8_t *)context;
    struct bytes value = bytes_make(&format, 1);
    replica_record_key(to_99.group, key);
    put_record(value);
    assert_int_equal(salvage_records_rename(bench->engine, &to_99, 1, &error),
                     format == 99 ? STATUS_VERSION : STATUS_CORRUPT);
    buffer_init(&found, 4096);
    assert_int_equal(
        engine_get(bench->engine, bytes_make(key, sizeof(key)), &found, copy_record, &error),
        STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&found), value));
    buffer_free(&found);
}

static void test_a_record_that_cannot_be_read_is_not_deleted_by_a_salvage(void **state)
{
    uint8_t formats[] = {2, 99};
    for (size_t i = 0; i < ARRAY_COUNT(formats); i++)
        run(damage_and_salvage, &formats[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_replica_with_a_damaged_configuration_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_birth_is_told_once_it_is_durable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_host_with_a_deferred_call_is_not_idle, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_level_0_is_read_again_while_it_is_high, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_replica_that_applies_its_removal_stops_and_says_so_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_configuration_from_before_a_replica_is_no_removal,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_replica_that_is_not_wished_for_asks_and_believes_an_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_only_a_newer_committed_configuration_without_the_asker_is_an_answer, setup,
            teardown),
        cmocka_unit_test_setup_teardown(
            test_a_later_replica_of_its_node_tells_a_learner_that_it_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_learner_that_nothing_came_to_asks_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_rows_and_record_of_a_dropped_replica_leave_the_engine,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_a_removed_replica_had_is_in_quarantine, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_newest_removed_replicas_are_kept_and_no_more,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_deletion_that_fails_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_replica_in_its_place_keeps_its_own_rows, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_rows_left_by_a_crash_do_not_come_back_in_a_later_replica, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_snapshot_is_acknowledged_once_it_is_installed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_snapshot_that_cannot_be_read_back_is_not_acknowledged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_salvaged_record_has_all_that_the_old_one_had, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            test_a_record_that_cannot_be_read_is_not_deleted_by_a_salvage, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
