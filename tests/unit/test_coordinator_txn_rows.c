/* What a leader knows of the rows of transactions: as much as a walk over its table would show, and
 * for no more work than there are rows. */
#include "base/random.h"
#include "partition/host_internal.h"
#include "partition/txn_rows.h"
#include "txn_bench.h"

enum { MS = 1000, SECONDS = 1000 * 1000 };

/* --- beside a walk over the table --- */

enum { IDS = 60, OPEN_MAX = 20, STEPS = 20000, KEYS_BYTES = 1 << 16 };

/* A replica without a group: what becomes of its rows is done by hand. */
struct play {
    struct random random;
    struct replica replica;
    uint64_t last, term_first; /* index of the last entry; of the first of this term */
    bool leads;
    uint64_t next_seq;
    struct txn_id open[OPEN_MAX]; /* put, and not deleted */
    enum txn_row_kind kinds[OPEN_MAX];
    uint32_t open_count;
    uint32_t told, led; /* what was tried at all */
};

struct keys {
    struct buffer buffer;
    uint32_t count;
};

static void add_key(void *context, struct bytes key)
{
    struct keys *keys = context;

    buffer_append(&keys->buffer, key);
    keys->count++;
}

static bool add_row(void *context, const struct row_found *row)
{
    if (!row->tombstone) add_key(context, row->key);
    return true;
}

static void assert_told_as_by_a_walk(struct play *play)
{
    struct keys told = {0}, walked = {0};
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct replica *replica = &play->replica;

    buffer_init(&told.buffer, KEYS_BYTES);
    buffer_init(&walked.buffer, KEYS_BYTES);
    row_prefix_store(from, replica->slot_first, SERVICE_TXN, TXN_ROW_PREPARED);
    row_prefix_store(to, replica->slot_first, SERVICE_TXN, TXN_ROW_DECISION + 1);
    row_table_applied_each(replica->table, bytes_make(from, sizeof(from)),
                           bytes_make(to, sizeof(to)), &walked, add_row);
    uint32_t looked = txn_rows_each(replica->txn_rows, replica->applied, &told, add_key);
    assert_int_equal(told.count, walked.count);
    assert_true(bytes_equal(buffer_bytes(&told.buffer), buffer_bytes(&walked.buffer)));
    assert_true(looked <= 2 * OPEN_MAX + (play->last - replica->applied));
    play->told += told.count;
    buffer_free(&told.buffer);
    buffer_free(&walked.buffer);
}

static void prepared_store(struct buffer *value)
{
    txn_prepared_encode(&(struct txn_prepared){.service = SERVICE_REDIS}, value);
}

/* One entry: as a proposal, or as a follower applies it. */
static void write_row(struct play *play, struct txn_id id, enum txn_row_kind kind, bool deletes)
{
    struct replica *replica = &play->replica;
    uint8_t key[TXN_ROW_KEY_SIZE];
    struct buffer value;
    struct effect effect = {.kind = deletes ? EFFECT_DELETE : EFFECT_PUT};
    uint64_t index = ++play->last;

    buffer_init(&value, 1000);
    prepared_store(&value);
    txn_row_key_store(key, replica->slot_first, kind, id);
    effect.key = bytes_make(key, sizeof(key));
    effect.header.type = TXN_ROW_TYPE;
    if (!deletes) effect.value = buffer_bytes(&value);
    if (play->leads) txn_proposed(replica, &effect, index);
    effect_apply(&effect, index, play->leads, replica->table);
    if (!play->leads) replica->applied = index;
    buffer_free(&value);
}

static void put_some(struct play *play)
{
    uint32_t at = play->open_count;

    if (at == OPEN_MAX) return;
    play->open[at] = (struct txn_id){
        .gateway = {(uint32_t)random_below(&play->random, 3) + 1, 7, 0}, /* they come in turns */
        .primary = {GROUP + (uint32_t)random_below(&play->random, 2)},
        .seq = ++play->next_seq};
    play->kinds[at] = random_chance(&play->random, 1, 2) ? TXN_ROW_PREPARED : TXN_ROW_DECISION;
    play->open_count++;
    write_row(play, play->open[at], play->kinds[at], false);
}

static void put_again_or_delete(struct play *play)
{
    if (play->open_count == 0) return;
    uint32_t at = (uint32_t)random_below(&play->random, play->open_count);
    bool deletes = random_chance(&play->random, 5, 6);
    write_row(play, play->open[at], play->kinds[at], deletes);
    if (!deletes) return;
    play->open_count--;
    play->open[at] = play->open[play->open_count];
    play->kinds[at] = play->kinds[play->open_count];
}

static void commit(struct play *play, uint64_t index)
{
    struct replica *replica = &play->replica;

    if (!play->leads || index == replica->applied) return;
    replica->applied = index;
    row_table_commit(replica->table, index);
    if (replica->txn_proposed > replica->txn_told) txn_applied(replica);
}

static void commit_some(struct play *play)
{
    uint64_t applied = play->replica.applied;

    if (play->last == applied) return;
    commit(play, random_between(&play->random, applied, play->last));
}

/* What was proposed and not committed is lost; what is open is what the table says. */
static void change_leader(struct play *play)
{
    struct replica *replica = &play->replica;

    if (!play->leads) {
        play->leads = true;
        play->led++;
        assert_true(txn_leads(replica));
        return;
    }
    if (random_chance(&play->random, 1, 2)) commit(play, play->last);
    row_table_revert(replica->table);
    txn_stops(replica);
    assert_null(replica->txn_rows);
    play->leads = false;
    play->last = replica->applied;
    struct keys keys = {0};
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    buffer_init(&keys.buffer, KEYS_BYTES);
    row_prefix_store(from, replica->slot_first, SERVICE_TXN, TXN_ROW_PREPARED);
    row_prefix_store(to, replica->slot_first, SERVICE_TXN, TXN_ROW_DECISION + 1);
    row_table_applied_each(replica->table, bytes_make(from, sizeof(from)),
                           bytes_make(to, sizeof(to)), &keys, add_row);
    assert_true(keys.count <= OPEN_MAX + play->open_count);
    play->open_count = 0;
    for (uint32_t i = 0; i < keys.count; i++) {
        const uint8_t *key = buffer_bytes(&keys.buffer).data + i * TXN_ROW_KEY_SIZE;
        struct txn_id id;
        enum txn_row_kind kind;
        assert_true(txn_row_key_parse(bytes_make(key, TXN_ROW_KEY_SIZE), &kind, &id));
        if (play->open_count == OPEN_MAX) {
            write_row(play, id, kind, true);
            continue;
        }
        play->open[play->open_count] = id;
        play->kinds[play->open_count++] = kind;
    }
    buffer_free(&keys.buffer);
}

static void play_step(struct play *play)
{
    uint64_t dice = random_below(&play->random, 100);

    if (dice < 40)
        put_some(play);
    else if (dice < 80)
        put_again_or_delete(play);
    else if (dice < 97)
        commit_some(play);
    else if (dice < 98)
        row_table_flushed(play->replica.table, play->replica.applied);
    else
        change_leader(play);
}

static void play_inside(void *context)
{
    struct play *play = context;

    for (int i = 0; i < STEPS; i++) {
        play_step(play);
        if (play->leads) assert_told_as_by_a_walk(play);
    }
}

static void test_rows_are_told_as_by_a_walk(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct play *play = calloc(1, sizeof(*play));
        random_seed(&play->random, seed);
        play->replica.host = bed.host;
        play->replica.slot_first = 5;
        play->replica.table = row_table_make();
        list_init(&play->replica.parked);
        bed_call(play_inside, play, 0);
        assert_true(play->told > STEPS && play->led > 50);
        txn_stops(&play->replica);
        row_table_free(play->replica.table);
        free(play);
    }
}

/* --- after many --- */

enum { FINISHED = 10 * 1000, AT_ONCE = 8 };

static void finish_many(uint32_t count)
{
    for (uint32_t done = 0; done < count; done += AT_ONCE) {
        struct ask asks[AT_ONCE];
        char bodies[AT_ONCE][3];
        for (int i = 0; i < AT_ONCE; i++) {
            snprintf(bodies[i], sizeof(bodies[i]), "w%c", 'a' + i);
            ask_init(&asks[i]);
            ask_add(&asks[i], GROUP, bodies[i]);
            ask_add(&asks[i], SECOND, bodies[i]);
            run(&asks[i], 0);
        }
        sim_run_for(&bed.sim, 100 * MS);
        for (int i = 0; i < AT_ONCE; i++) {
            assert_int_equal(asks[i].result, TXN_DONE);
            ask_free(&asks[i]);
        }
    }
}

static uint64_t rows_looked(void)
{
    struct host_statistics host;
    host_statistics(bed.host, &host);
    return host.txn_rows_looked;
}

static uint64_t tombstones(uint32_t group)
{
    const struct row_table *table = host_rows(bed.host, (struct group_id){group});
    return row_table_rows(table) - row_table_count(table, SERVICE_REDIS, 1) -
           row_table_count(table, SERVICE_TXN, TXN_ROW_PREPARED) -
           row_table_count(table, SERVICE_TXN, TXN_ROW_DECISION);
}

/* As if one had just failed. */
static void hold_flushes(void)
{
    bed.host->stores[0].flush_delay = 1;
    bed.host->stores[0].flush_not_before = UINT64_MAX;
}

static void test_what_is_finished_costs_nothing_any_more(void **state)
{
    struct ask ask;

    hold_flushes();
    finish_many(80);
    uint64_t few = rows_looked();
    finish_many(80);
    few = rows_looked() - few;
    finish_many(FINISHED);
    uint64_t many = rows_looked();
    finish_many(80);
    many = rows_looked() - many;
    assert_true(tombstones(GROUP) >= FINISHED && tombstones(SECOND) >= FINISHED);
    assert_in_range(few, 80, 80 * 50);
    assert_in_range(many, few / 2, few * 2);

    ask_init(&ask);
    ask_add(&ask, GROUP, "wa");
    ask_add(&ask, LAST, "wa");
    run(&ask, 100 * MS);
    say_status(next_seen(TXN_PREPARE), TXN_STATUS_DONE);
    assert_int_equal(ask.result, TXN_DONE);
    uint64_t before = rows_looked();
    assert_int_equal(rows_left(), 1); /* the decision: OTHER has not been told */
    assert_int_equal(rows_looked() - before, 1);
    ask_free(&ask);
}

/* --- rows that are not in memory --- */

static void flush_inside(void *context)
{
    flush_store(bed.host, 0);
}

static void find_evicted(void *context, struct bytes key)
{
    struct row_table *table = host_replica(bed.host, (struct group_id){GROUP})->table;
    struct txn_decision decision;
    struct row_found found;
    struct bytes value;

    for (int pass = 0; pass < 3; pass++)
        row_table_evict(table, UINT64_MAX);
    assert_false(row_table_get_committed(table, key, &found));
    assert_true(host_txn_row(bed.host, (struct group_id){GROUP}, key, &value));
    assert_int_equal(txn_decision_decode(value, &decision), STATUS_OK);
    assert_int_equal(txn_decision_group(&decision, 0).value, LAST);
    ++*(uint32_t *)context;
}

static void find_inside(void *context)
{
    assert_true(host_txn_rows_each(bed.host, (struct group_id){GROUP}, context, find_evicted));
}

static void test_a_row_that_was_evicted_is_told_and_read(void **state)
{
    struct ask ask;
    uint32_t count = 0;

    ask_init(&ask);
    ask_add(&ask, GROUP, "wa");
    ask_add(&ask, LAST, "wa");
    run(&ask, 100 * MS);
    say_status(next_seen(TXN_PREPARE), TXN_STATUS_DONE);
    assert_int_equal(ask.result, TXN_DONE);
    bed_call(flush_inside, NULL, SECONDS);
    bed_call(find_inside, &count, 0);
    assert_int_equal(count, 1);
    say_status(last_seen(TXN_RESOLVE), TXN_STATUS_DONE);
    sim_run_for(&bed.sim, SECONDS);
    assert_int_equal(rows_left(), 0);
    ask_free(&ask);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rows_are_told_as_by_a_walk, bench_setup,
                                        bench_teardown),
        cmocka_unit_test_setup_teardown(test_what_is_finished_costs_nothing_any_more, bench_setup,
                                        bench_teardown),
        cmocka_unit_test_setup_teardown(test_a_row_that_was_evicted_is_told_and_read, bench_setup,
                                        bench_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
