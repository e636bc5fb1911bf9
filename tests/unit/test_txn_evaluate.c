/* What participants and primaries do, over a table of their own and a service of few words. */
#include <stdio.h>

#include "base/hash.h"
#include "partition/dedup.h"
#include "txn/txn.h"
#include "txn/txn_frame.h"
#include "unit.h"

enum { GATEWAY_NODE = 4, COMMITTED_AT_FIRST = 10 };

struct fixture {
    struct row_table *table;
    struct arena arena;
    struct buffer effects, reply, body;
    struct row_context rows;
    struct locks *locks;
    struct dedup *dedup;
    uint64_t index; /* of the last entry */
    uint8_t memory[64];
    enum evaluate_result result;
    struct txn_answer answer;
};

static const char option[] = "of the service";

static struct bytes key_of(struct fixture *fixture, char name)
{
    row_prefix_store(fixture->memory, 5, SERVICE_REDIS, 1);
    fixture->memory[ROW_PREFIX_SIZE] = (uint8_t)name;
    return bytes_make(fixture->memory, ROW_PREFIX_SIZE + 1);
}

/* Two letters for each thing to be done: "rK" reads, "wK" writes, "dK" deletes, "nK" refuses if the
 * key is there, "c." wants the chore, "o." is too much, "b." writes more than a row holds. */
static enum evaluate_result serve(struct row_context *rows, const struct request *request,
                                  struct reply *reply)
{
    static uint8_t much[ROW_VALUE_SIZE_MAX];
    uint8_t memory[ROW_PREFIX_SIZE + 1];
    struct bytes key = bytes_make(memory, sizeof(memory));
    struct row_view row;

    assert_ptr_equal(rows->options, option);
    row_prefix_store(memory, 5, SERVICE_REDIS, 1);
    for (size_t i = 0; i + 1 < request->body.size; i += 2) {
        memory[ROW_PREFIX_SIZE] = request->body.data[i + 1];
        switch (request->body.data[i]) {
        case 'r':
            switch (row_get(rows, key, &row)) {
            case ROW_STOP:
                return row_context_stop(rows);
            case ROW_FOUND:
                buffer_append(reply->buffer, row.value);
                break;
            case ROW_ABSENT:
                buffer_append(reply->buffer, bytes_of("-"));
                break;
            }
            break;
        case 'w':
            row_put(rows, key, 1, 0, 0, bytes_of("new"));
            buffer_append(reply->buffer, bytes_of("+"));
            break;
        case 'd':
            row_delete(rows, key);
            break;
        case 'n':
            if (row_get(rows, key, &row) != ROW_FOUND) break;
            buffer_append(reply->buffer, bytes_of("there"));
            row_refuse(rows);
            break;
        case 'c':
            row_want_chore(rows, rows->time);
            break;
        case 'o':
            return EVALUATE_OVER_BUDGET;
        case 'b':
            row_put(rows, key, 1, 0, 0, bytes_make(much, sizeof(much)));
            break;
        }
    }
    return EVALUATE_DONE;
}

static evaluate_fn *const services[SERVICE_COUNT] = {
    [SERVICE_REDIS] = serve, [SERVICE_TXN] = txn_evaluate};
static const void *const service_options[SERVICE_COUNT] = {[SERVICE_REDIS] = option};

static int setup(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof(fixture));
    fixture.table = row_table_make();
    fixture.dedup = dedup_make();
    fixture.locks = locks_make();
    fixture.index = COMMITTED_AT_FIRST;
    arena_init(&fixture.arena, 1 << 16);
    buffer_init(&fixture.effects, ENTRY_BODY_MAX);
    buffer_init(&fixture.reply, 1 << 20);
    buffer_init(&fixture.body, 1 << 20);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    row_context_end(&fixture->rows);
    row_table_free(fixture->table);
    dedup_free(fixture->dedup);
    locks_free(fixture->locks);
    arena_free(&fixture->arena);
    buffer_free(&fixture->effects);
    buffer_free(&fixture->reply);
    buffer_free(&fixture->body);
    return 0;
}

static struct txn_id id_of(uint64_t seq)
{
    return (struct txn_id){
        .gateway = {.node = GATEWAY_NODE, .epoch = 7, .worker = 1}, .primary = {2}, .seq = seq};
}

static void evaluate_body(struct fixture *fixture, struct bytes body)
{
    struct request request = {.service = SERVICE_TXN, .slot = 5, .body = body};
    struct reply reply = {.buffer = &fixture->reply};
    struct row_context *rows = &fixture->rows;

    arena_reset(&fixture->arena);
    buffer_clear(&fixture->effects);
    buffer_clear(&fixture->reply);
    buffer_append(&fixture->reply, bytes_of("before")); /* of others */
    row_context_begin(rows, fixture->table, &fixture->arena, &fixture->effects, fixture->index,
                      1234567, 42);
    rows->slot_first = 5;
    rows->slot_last = 9;
    rows->next_index = fixture->index + 1;
    rows->locks = fixture->locks;
    rows->dedup = fixture->dedup;
    rows->services = services;
    rows->service_options = service_options;
    rows->term = 3;
    rows->chore_service = SERVICE_TXN;
    fixture->result = txn_evaluate(rows, &request, &reply);
    assert_ptr_equal(rows->options, NULL);
    assert_null(rows->reads);
}

/* Its answer is understood, as nothing is left that would make another of it. */
static enum txn_status evaluate(struct fixture *fixture, const struct txn_frame *frame)
{
    struct writer writer = writer_make(&fixture->body);

    buffer_clear(&fixture->body);
    txn_frame_encode(&writer, frame);
    evaluate_body(fixture, buffer_bytes(&fixture->body));
    assert_int_equal(fixture->result, EVALUATE_DONE);
    assert_false(fixture->rows.must_wait);
    assert_false(fixture->rows.need_rows);
    assert_false(fixture->rows.over_budget);
    struct bytes answer = bytes_from(buffer_bytes(&fixture->reply), strlen("before"));
    assert_int_equal(txn_answer_decode(answer, frame->op, &fixture->answer), STATUS_OK);
    return fixture->answer.status;
}

static void follow_locks(struct fixture *fixture, const struct effect *effect)
{
    struct txn_prepared prepared;
    enum txn_row_kind kind;
    struct txn_id id;

    if (!txn_row_key_parse(effect->key, &kind, &id) || kind != TXN_ROW_PREPARED) return;
    if (effect->kind == EFFECT_DELETE) {
        assert_true(locks_remove(fixture->locks, id));
        return;
    }
    assert_int_equal(txn_prepared_decode(effect->value, &prepared), STATUS_OK);
    locks_add(fixture->locks, id, &prepared);
}

/* As an entry: applied everywhere. */
static void commit(struct fixture *fixture)
{
    struct reader reader = reader_make(buffer_bytes(&fixture->effects));
    struct effect effect;

    fixture->index++;
    while (effect_decode(&reader, &effect) == STATUS_OK) {
        follow_locks(fixture, &effect);
        effect_apply(&effect, fixture->index, false, fixture->table);
    }
}

static void assert_reply(const struct fixture *fixture, const char *text)
{
    assert_true(bytes_equal(fixture->answer.reply, bytes_of(text)));
}

static void assert_nothing_changed(const struct fixture *fixture)
{
    assert_int_equal(buffer_size(&fixture->effects), 0);
    assert_int_equal(fixture->rows.effect_count, 0);
    assert_true(fixture->rows.chore_at == INT64_MAX);
}

static enum txn_status prepare(struct fixture *fixture, uint64_t seq, const char *body)
{
    struct txn_frame frame = {
        .op = TXN_PREPARE, .id = id_of(seq), .service = SERVICE_REDIS, .body = bytes_of(body)};
    return evaluate(fixture, &frame);
}

static enum txn_status decide(struct fixture *fixture, uint64_t seq, const char *body)
{
    static const uint32_t groups[] = {7, 8};
    struct txn_frame frame = {.op = TXN_DECIDE,
                              .id = id_of(seq),
                              .service = SERVICE_REDIS,
                              .group_count = 2,
                              .groups = bytes_make(groups, sizeof(groups)),
                              .body = bytes_of(body)};
    return evaluate(fixture, &frame);
}

static enum txn_status resolve(struct fixture *fixture, uint64_t seq, enum txn_outcome outcome)
{
    struct txn_frame frame = {.op = TXN_RESOLVE, .id = id_of(seq), .outcome = outcome};
    return evaluate(fixture, &frame);
}

static enum txn_status query(struct fixture *fixture, uint64_t seq, bool may_abort)
{
    struct txn_frame frame = {.op = TXN_QUERY, .id = id_of(seq), .may_abort = may_abort};
    return evaluate(fixture, &frame);
}

static enum txn_status forget(struct fixture *fixture, uint64_t seq)
{
    struct txn_frame frame = {.op = TXN_FORGET, .id = id_of(seq)};
    return evaluate(fixture, &frame);
}

static enum txn_status read_piece(struct fixture *fixture, const char *body)
{
    struct txn_frame frame = {.op = TXN_READ, .service = SERVICE_REDIS, .body = bytes_of(body)};
    return evaluate(fixture, &frame);
}

static void stored(struct fixture *fixture, char name, const char *value)
{
    struct row_header header = {.version = ++fixture->index, .type = 1};
    row_table_put(fixture->table, key_of(fixture, name), &header, bytes_of(value), false);
}

static const char *value_of(struct fixture *fixture, char name)
{
    static char text[16];
    struct row_found found;
    bool there = row_table_get(fixture->table, key_of(fixture, name), &found) && !found.tombstone;

    if (!there) return NULL;
    snprintf(text, sizeof(text), "%.*s", (int)found.value.size, (const char *)found.value.data);
    return text;
}

static bool has_row(struct fixture *fixture, enum txn_row_kind kind, uint64_t seq)
{
    uint8_t key[TXN_ROW_KEY_SIZE];
    struct row_found found;

    txn_row_key_store(key, 5, kind, id_of(seq));
    return row_table_get(fixture->table, bytes_make(key, sizeof(key)), &found) && !found.tombstone;
}

/* The window of the partition has heard of it. */
static void known(struct fixture *fixture, uint64_t seq, uint16_t watermark_distance)
{
    struct entry_header header = {.gateway = id_of(seq).gateway,
                                  .seq = seq,
                                  .attempt = 1,
                                  .watermark_distance = watermark_distance};
    dedup_apply(fixture->dedup, &header, ++fixture->index);
}

/* --- participants --- */

static void test_a_prepared_piece_changes_nothing_until_it_is_resolved(void **state)
{
    struct fixture *fixture = *state;

    stored(fixture, 'a', "old");
    assert_int_equal(prepare(fixture, 1, "rawawb"), TXN_STATUS_DONE);
    assert_reply(fixture, "old++");
    assert_int_equal(fixture->rows.effect_count, 1);
    commit(fixture);
    assert_string_equal(value_of(fixture, 'a'), "old");
    assert_null(value_of(fixture, 'b'));
    assert_true(has_row(fixture, TXN_ROW_PREPARED, 1));

    assert_int_equal(resolve(fixture, 1, TXN_COMMIT), TXN_STATUS_DONE);
    commit(fixture);
    assert_string_equal(value_of(fixture, 'a'), "new");
    assert_string_equal(value_of(fixture, 'b'), "new");
    assert_false(has_row(fixture, TXN_ROW_PREPARED, 1));
    assert_int_equal(locks_count(fixture->locks), 0);
}

static void test_an_abort_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(prepare(fixture, 1, "wa"), TXN_STATUS_DONE);
    commit(fixture);
    assert_int_equal(resolve(fixture, 1, TXN_ABORT), TXN_STATUS_DONE);
    commit(fixture);
    assert_null(value_of(fixture, 'a'));
    assert_false(has_row(fixture, TXN_ROW_PREPARED, 1));
    assert_int_equal(locks_count(fixture->locks), 0);
}

/* WHY 2.3: told again, after others have written, it does nothing. */
static void test_what_is_not_prepared_is_resolved_already(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(resolve(fixture, 1, TXN_COMMIT), TXN_STATUS_DONE);
    assert_nothing_changed(fixture);
    assert_int_equal(resolve(fixture, 1, TXN_ABORT), TXN_STATUS_DONE);
    assert_nothing_changed(fixture);
}

static void test_what_was_read_and_written_is_locked(void **state)
{
    struct fixture *fixture = *state;

    stored(fixture, 'a', "old");
    prepare(fixture, 1, "ranbwc");
    commit(fixture);
    struct locks *locks = fixture->locks;
    assert_false(locks_stop_read(locks, key_of(fixture, 'a'), NULL));
    assert_true(locks_stop_write(locks, key_of(fixture, 'a'), NULL));
    assert_true(locks_stop_write(locks, key_of(fixture, 'b'), NULL)); /* its absence */
    assert_true(locks_stop_read(locks, key_of(fixture, 'c'), NULL));
}

static void test_a_lock_in_the_way_is_a_conflict(void **state)
{
    struct fixture *fixture = *state;

    prepare(fixture, 1, "wa");
    commit(fixture);
    assert_int_equal(prepare(fixture, 2, "wbra"), TXN_STATUS_CONFLICT);
    assert_reply(fixture, "");
    assert_nothing_changed(fixture);
    assert_int_equal(prepare(fixture, 2, "wbwac."), TXN_STATUS_CONFLICT);
    assert_nothing_changed(fixture);
    assert_int_equal(decide(fixture, 3, "ra"), TXN_STATUS_CONFLICT);
    assert_nothing_changed(fixture);
    assert_int_equal(prepare(fixture, 1, "wb"), TXN_STATUS_CONFLICT); /* that id is here */
    assert_nothing_changed(fixture);
}

static void test_a_refusal_changes_nothing_and_says_why(void **state)
{
    struct fixture *fixture = *state;

    stored(fixture, 'a', "old");
    assert_int_equal(prepare(fixture, 1, "wbnac."), TXN_STATUS_REFUSED);
    assert_reply(fixture, "+there");
    assert_nothing_changed(fixture);
    assert_int_equal(decide(fixture, 1, "wbna"), TXN_STATUS_REFUSED);
    assert_reply(fixture, "+there");
    assert_nothing_changed(fixture);
}

static void test_what_is_too_big_changes_nothing(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(prepare(fixture, 1, "wao."), TXN_STATUS_TOO_BIG);
    assert_nothing_changed(fixture);
    assert_int_equal(prepare(fixture, 1, "ba"), TXN_STATUS_TOO_BIG); /* no row holds the row */
    assert_nothing_changed(fixture);
    assert_int_equal(decide(fixture, 1, "babb"), TXN_STATUS_TOO_BIG);
    assert_nothing_changed(fixture);
    assert_int_equal(read_piece(fixture, "o."), TXN_STATUS_TOO_BIG);
    assert_nothing_changed(fixture);
}

/* A refusal that is too big to be remembered would be taken for a commit when it is asked again. */
static void test_a_refusal_that_cannot_be_remembered_is_none(void **state)
{
    static char body[2 * OUTCOME_SIZE_MAX + 3];
    struct fixture *fixture = *state;

    stored(fixture, 'a', "old");
    for (size_t i = 0; i < 2 * OUTCOME_SIZE_MAX; i += 2)
        memcpy(body + i, "wb", 2);
    memcpy(body, "na", 2);
    assert_int_equal(decide(fixture, 1, body), TXN_STATUS_TOO_BIG);
    assert_reply(fixture, "");
    assert_nothing_changed(fixture);
}

static void test_background_work_begins_when_it_is_resolved(void **state)
{
    struct fixture *fixture = *state;

    prepare(fixture, 1, "wac.");
    assert_true(fixture->rows.chore_at == INT64_MAX);
    commit(fixture);
    resolve(fixture, 1, TXN_COMMIT);
    assert_true(fixture->rows.chore_at == fixture->rows.time);
    assert_int_equal(fixture->rows.chore_service, SERVICE_REDIS);
}

/* --- the primary --- */

static void test_a_decision_is_in_the_entry_of_its_effects(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(decide(fixture, 1, "wa"), TXN_STATUS_DONE);
    assert_reply(fixture, "+");
    assert_int_equal(fixture->rows.effect_count, 2);
    commit(fixture);
    assert_string_equal(value_of(fixture, 'a'), "new");
    assert_true(has_row(fixture, TXN_ROW_DECISION, 1));
    assert_int_equal(query(fixture, 1, true), TXN_STATUS_COMMITTED);
    assert_nothing_changed(fixture);
}

static void test_without_participants_nothing_is_left(void **state)
{
    struct fixture *fixture = *state;
    struct txn_frame frame = {
        .op = TXN_DECIDE, .id = id_of(1), .service = SERVICE_REDIS, .body = bytes_of("wac.")};

    assert_int_equal(evaluate(fixture, &frame), TXN_STATUS_DONE);
    assert_int_equal(fixture->rows.effect_count, 1);
    assert_true(fixture->rows.chore_at == fixture->rows.time);
    assert_int_equal(fixture->rows.chore_service, SERVICE_REDIS);
    commit(fixture);
    assert_false(has_row(fixture, TXN_ROW_DECISION, 1));
}

static void test_without_participants_a_lock_is_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct txn_frame frame = {
        .op = TXN_DECIDE, .id = id_of(1), .service = SERVICE_REDIS, .body = bytes_of("ra")};
    struct writer writer = writer_make(&fixture->body);

    prepare(fixture, 2, "wa");
    commit(fixture);
    buffer_clear(&fixture->body);
    txn_frame_encode(&writer, &frame);
    evaluate_body(fixture, buffer_bytes(&fixture->body));
    assert_true(fixture->rows.must_wait);
}

static void test_a_tombstone_is_found_by_a_late_decision(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(query(fixture, 1, false), TXN_STATUS_UNDECIDED);
    assert_nothing_changed(fixture);
    assert_int_equal(query(fixture, 1, true), TXN_STATUS_ABORTED);
    assert_int_equal(fixture->rows.effect_count, 1);
    commit(fixture);
    assert_int_equal(query(fixture, 1, false), TXN_STATUS_ABORTED);
    assert_nothing_changed(fixture);
    assert_int_equal(decide(fixture, 1, "wac."), TXN_STATUS_ABORTED);
    assert_reply(fixture, "");
    assert_nothing_changed(fixture);
    assert_int_equal(decide(fixture, 2, "wa"), TXN_STATUS_DONE); /* another attempt */
}

static void test_what_cannot_be_decided_any_more_needs_no_tombstone(void **state)
{
    struct fixture *fixture = *state;

    known(fixture, 5, 0);
    assert_int_equal(query(fixture, 5, false), TXN_STATUS_ABORTED); /* executed, and refused */
    assert_int_equal(query(fixture, 4, true), TXN_STATUS_ABORTED);  /* below the watermark */
    assert_nothing_changed(fixture);
    dedup_fence(fixture->dedup, GATEWAY_NODE, 8);
    assert_int_equal(query(fixture, 6, true), TXN_STATUS_ABORTED);
    assert_nothing_changed(fixture);
}

static void test_a_decision_is_forgotten_when_it_cannot_be_asked_for_again(void **state)
{
    struct fixture *fixture = *state;

    decide(fixture, 1, "wa");
    commit(fixture);
    assert_int_equal(forget(fixture, 1), TXN_STATUS_UNDECIDED);
    assert_nothing_changed(fixture);
    known(fixture, 1, 1);
    assert_int_equal(forget(fixture, 1), TXN_STATUS_DONE);
    commit(fixture);
    assert_false(has_row(fixture, TXN_ROW_DECISION, 1));
    assert_int_equal(forget(fixture, 1), TXN_STATUS_DONE);
    assert_nothing_changed(fixture);
}

/* B4, C6: the fence is an entry of its own. If the row went with it, a DECIDE that was evaluated
 * before the fence is applied would find neither. */
static void test_of_a_dead_epoch_the_row_goes_after_the_fence(void **state)
{
    struct fixture *fixture = *state;
    struct txn_frame frame = {.op = TXN_FORGET, .id = id_of(1), .epoch = 7};
    struct effect effect;

    assert_int_equal(query(fixture, 1, true), TXN_STATUS_ABORTED); /* a tombstone */
    commit(fixture);
    assert_int_equal(evaluate(fixture, &frame), TXN_STATUS_UNDECIDED); /* it lives */
    assert_nothing_changed(fixture);
    frame.epoch = 8;
    assert_int_equal(evaluate(fixture, &frame), TXN_STATUS_UNDECIDED);
    assert_int_equal(fixture->rows.effect_count, 1);
    struct reader reader = reader_make(buffer_bytes(&fixture->effects));
    assert_int_equal(effect_decode(&reader, &effect), STATUS_OK);
    assert_int_equal(effect.kind, EFFECT_FENCE);
    assert_int_equal(effect.node, GATEWAY_NODE);
    assert_int_equal(effect.epoch, 8);
    assert_int_equal(decide(fixture, 1, "wa"), TXN_STATUS_ABORTED); /* not applied yet */
    dedup_fence(fixture->dedup, GATEWAY_NODE, 8);
    assert_int_equal(evaluate(fixture, &frame), TXN_STATUS_DONE);
    commit(fixture);
    assert_false(has_row(fixture, TXN_ROW_DECISION, 1));
}

/* WHY 2.4 */
static void test_a_tombstone_stays_while_its_decision_may_come(void **state)
{
    struct fixture *fixture = *state;

    query(fixture, 9, true);
    commit(fixture);
    known(fixture, 12, 4); /* watermark 8 */
    assert_int_equal(forget(fixture, 9), TXN_STATUS_UNDECIDED);
    known(fixture, 13, 3);
    assert_int_equal(forget(fixture, 9), TXN_STATUS_DONE);
}

/* --- only reading --- */

static void test_equal_digests_mean_that_nothing_changed(void **state)
{
    struct fixture *fixture = *state;
    uint64_t digest[2];

    stored(fixture, 'a', "old");
    assert_int_equal(read_piece(fixture, "rarb"), TXN_STATUS_DONE);
    assert_reply(fixture, "old-");
    memcpy(digest, fixture->answer.digest, sizeof(digest));
    stored(fixture, 'z', "other");
    read_piece(fixture, "rarb");
    assert_memory_equal(fixture->answer.digest, digest, sizeof(digest));
    stored(fixture, 'a', "x");
    stored(fixture, 'a', "old"); /* WHY 3.2: the value is as before */
    read_piece(fixture, "rarb");
    assert_memory_not_equal(fixture->answer.digest, digest, sizeof(digest));
    memcpy(digest, fixture->answer.digest, sizeof(digest));
    stored(fixture, 'b', "there now");
    read_piece(fixture, "rarb");
    assert_memory_not_equal(fixture->answer.digest, digest, sizeof(digest));
}

static void test_a_read_that_would_write_says_so(void **state)
{
    struct fixture *fixture = *state;

    stored(fixture, 'a', "old");
    assert_int_equal(read_piece(fixture, "rada"), TXN_STATUS_WRITES);
    assert_reply(fixture, "old");
    assert_nothing_changed(fixture);
    assert_int_equal(read_piece(fixture, "na"), TXN_STATUS_REFUSED);
    assert_reply(fixture, "there");
    assert_true(fixture->answer.digest[0] != 0);
}

static void test_a_read_waits_for_a_lock(void **state)
{
    struct fixture *fixture = *state;
    struct txn_frame frame = {.op = TXN_READ, .service = SERVICE_REDIS, .body = bytes_of("ra")};
    struct writer writer = writer_make(&fixture->body);

    prepare(fixture, 1, "wa");
    commit(fixture);
    buffer_clear(&fixture->body);
    txn_frame_encode(&writer, &frame);
    evaluate_body(fixture, buffer_bytes(&fixture->body));
    assert_true(fixture->rows.must_wait);
    assert_int_equal(buffer_size(&fixture->effects), 0);
}

/* --- what nobody sends --- */

static void test_what_is_not_understood_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint8_t bytes[64] = {1};

    for (size_t size = 0; size < sizeof(bytes); size++) {
        for (unsigned op = 0; op < 256; op++) {
            bytes[1] = (uint8_t)op;
            evaluate_body(fixture, bytes_make(bytes, size));
            assert_int_equal(buffer_size(&fixture->effects), 0);
        }
    }
}

static void test_a_piece_of_no_service_or_of_this_one_is_not_evaluated(void **state)
{
    struct fixture *fixture = *state;
    static const uint8_t wrong[] = {SERVICE_TXN, SERVICE_SYSTEM, SERVICE_META, SERVICE_COUNT, 63};

    for (size_t i = 0; i < sizeof(wrong); i++) {
        struct txn_frame frame = {
            .op = TXN_PREPARE, .id = id_of(1), .service = wrong[i], .body = bytes_of("wa")};
        assert_int_equal(evaluate(fixture, &frame), TXN_STATUS_TOO_BIG);
        assert_nothing_changed(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(test_a_prepared_piece_changes_nothing_until_it_is_resolved),
        TEST(test_an_abort_leaves_nothing),
        TEST(test_what_is_not_prepared_is_resolved_already),
        TEST(test_what_was_read_and_written_is_locked),
        TEST(test_a_lock_in_the_way_is_a_conflict),
        TEST(test_a_refusal_changes_nothing_and_says_why),
        TEST(test_what_is_too_big_changes_nothing),
        TEST(test_a_refusal_that_cannot_be_remembered_is_none),
        TEST(test_background_work_begins_when_it_is_resolved),
        TEST(test_a_decision_is_in_the_entry_of_its_effects),
        TEST(test_without_participants_nothing_is_left),
        TEST(test_without_participants_a_lock_is_waited_for),
        TEST(test_a_tombstone_is_found_by_a_late_decision),
        TEST(test_what_cannot_be_decided_any_more_needs_no_tombstone),
        TEST(test_a_decision_is_forgotten_when_it_cannot_be_asked_for_again),
        TEST(test_of_a_dead_epoch_the_row_goes_after_the_fence),
        TEST(test_a_tombstone_stays_while_its_decision_may_come),
        TEST(test_equal_digests_mean_that_nothing_changed),
        TEST(test_a_read_that_would_write_says_so),
        TEST(test_a_read_waits_for_a_lock),
        TEST(test_what_is_not_understood_changes_nothing),
        TEST(test_a_piece_of_no_service_or_of_this_one_is_not_evaluated),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
