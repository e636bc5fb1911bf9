/* What joining is made of: messages, tokens, the file, and what meta lets in (cluster/join_*.h,
 * meta_join.c). */
#include "base/assert.h"
#include "cluster/join_file.h"
#include "cluster/join_message.h"
#include "meta_fixture.h"

static struct meta_request join_of(const char *name, store_id_t store)
{
    struct meta_request request = {.kind = META_JOIN, .store = store, .token = store + 1};

    snprintf(request.name, sizeof(request.name), "%s", name);
    snprintf(request.peer, sizeof(request.peer), "127.0.0.1:9000");
    return request;
}

static void with_secret(struct meta_request *request, uint8_t secret)
{
    request->has_secret = true;
    memset(request->secret_hash, secret, sizeof(request->secret_hash));
}

static void add_token(struct fixture *fixture, uint8_t secret, node_id_t node)
{
    struct meta_request token = {.kind = META_TOKEN, .node = node, .expires_ms = 5000};

    with_secret(&token, secret);
    assert_int_equal(ask_as_is(fixture, &token).result, META_DONE);
}

static void assert_refused(struct meta_reply reply, const char *why)
{
    assert_int_equal(reply.result, META_REFUSED);
    if (strstr(reply.text, why) == NULL) fail_msg("'%s' is not in: %s", why, reply.text);
}

static void test_no_token_is_needed_where_nobody_is_reached_from_outside(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request request = join_of("n4", 400);

    found(fixture);
    assert_int_equal(ask_as_is(fixture, &request).node, 4);
    request = join_of("n5", 500);
    snprintf(request.peer, sizeof(request.peer), "10.0.0.5:9000");
    assert_refused(ask_as_is(fixture, &request), "needs a token");
    add_token(fixture, 1, 0);
    with_secret(&request, 1);
    assert_int_equal(ask_as_is(fixture, &request).node, 5);
    request = join_of("n6", 600); /* from now on one can be */
    assert_refused(ask_as_is(fixture, &request), "needs a token");
    with_secret(&request, 1);
    assert_refused(ask_as_is(fixture, &request), "was used already");
}

/* Names are written as they are in JSON, metrics and Redis's replies. */
static void test_a_name_of_other_characters_does_not_come_in(void **state)
{
    static const char *const names[] = {"n\"4", "n\\4", "n 4", "n\n4", "n\xff", "n\xc3\xa4", "n{4"};
    struct fixture *fixture = *state;

    found(fixture);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        struct meta_request request = join_of(names[i], 400);
        assert_refused(ask_as_is(fixture, &request), "letters, digits");
    }
    struct meta_request request = join_of("aZ09-_.", 400);
    assert_int_equal(ask_as_is(fixture, &request).node, 4);
}

static void test_a_wrong_or_ended_token_is_refused_on_loopback_too(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request request = join_of("n4", 400);

    found(fixture);
    with_secret(&request, 9);
    assert_refused(ask_as_is(fixture, &request), "not of this cluster");
    add_token(fixture, 9, 0);
    fixture->time_ms = 5000;
    assert_refused(ask_as_is(fixture, &request), "has ended");
}

static void test_who_has_started_is_not_given_its_place_again(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request request = join_of("n4", 400);

    found(fixture);
    assert_int_equal(ask_as_is(fixture, &request).node, 4);
    assert_int_equal(ask_as_is(fixture, &request).node, 4);
    struct meta_request boot = {
        .kind = META_BOOT, .node = 4, .store = 400, .epoch = 1, .token = 77};
    snprintf(boot.name, sizeof(boot.name), "n4");
    assert_int_equal(ask_as_is(fixture, &boot).result, META_DONE);
    assert_refused(ask_as_is(fixture, &request), "an older image");
}

static void test_a_machine_takes_the_place_of_a_dead_one(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request request = join_of("n2", 200);
    struct cluster_view before, after;

    found(fixture);
    cluster_view_init(&before);
    cluster_view_init(&after);
    assert_int_equal(meta_rows_view(fixture->table, &before), STATUS_OK);
    assert_refused(ask_as_is(fixture, &request), "holon node replace n2");
    add_token(fixture, 3, 0);
    with_secret(&request, 3); /* for a new node, not for that place */
    assert_refused(ask_as_is(fixture, &request), "there is a node n2 already");
    add_token(fixture, 4, 2);
    struct meta_request other = join_of("n4", 400);
    with_secret(&other, 4);
    assert_refused(ask_as_is(fixture, &other), "give --name n2");
    with_secret(&request, 4);
    struct meta_reply reply = ask_as_is(fixture, &request);
    assert_int_equal(reply.result, META_DONE);
    assert_int_equal(reply.node, 2);
    assert_int_equal(reply.epoch_first, EPOCH_BLOCK_SIZE + 1);
    struct meta_reply again = ask_as_is(fixture, &request);
    assert_int_equal(again.node, 2);
    assert_int_equal(again.epoch_first, reply.epoch_first);

    assert_int_equal(meta_rows_view(fixture->table, &after), STATUS_OK);
    assert_int_equal(after.node_count, 3);
    assert_int_equal(cluster_view_node(&after, 2)->store, 200);
    for (uint32_t g = 0; g < after.group_count; g++)
        for (uint32_t k = 0; k < after.groups[g].replica_count; k++) {
            bool same = replica_id_equal(after.groups[g].replicas[k].replica,
                                         before.groups[g].replicas[k].replica);
            assert_int_equal(same, after.groups[g].replicas[k].node != 2);
        }
    other = join_of("n5", 500);
    with_secret(&other, 4);
    assert_refused(ask_as_is(fixture, &other), "was used already");
    cluster_view_free(&before);
    cluster_view_free(&after);
}

static void test_no_place_is_given_away_that_a_majority_needs(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request token = {.kind = META_TOKEN, .node = 2, .expires_ms = 5000};

    fixture->founded.replicas = 2;
    cluster_view_place(&fixture->founded);
    found(fixture);
    with_secret(&token, 1);
    assert_refused(ask_as_is(fixture, &token), "one of 2 replicas of group");
    token.node = 9;
    assert_refused(ask_as_is(fixture, &token), "not in this cluster");
}

/* --- text and bytes ----------------------------------------------------------------------- */

static void test_a_token_is_read_as_it_is_printed(void **state)
{
    uint8_t secret[JOIN_SECRET_SIZE], back[JOIN_SECRET_SIZE];
    char text[JOIN_TOKEN_TEXT_SIZE + 8];
    struct error error;

    for (unsigned i = 0; i < sizeof(secret); i++)
        secret[i] = (uint8_t)(i * 9);
    join_token_print(secret, text);
    assert_int_equal(strlen(text), JOIN_TOKEN_TEXT_SIZE - 1);
    assert_int_equal(join_token_parse(bytes_of(text), back, &error), STATUS_OK);
    assert_memory_equal(secret, back, sizeof(secret));
    strcat(text, "."); /* an empty fingerprint */
    assert_int_equal(join_token_parse(bytes_of(text), back, &error), STATUS_OK);
    strcat(text, "ab");
    assert_int_equal(join_token_parse(bytes_of(text), back, &error), STATUS_INVALID);
    text[JOIN_TOKEN_TEXT_SIZE - 2] = '\0';
    assert_int_equal(join_token_parse(bytes_of(text), back, &error), STATUS_INVALID);
    text[10] = 'G';
    assert_int_equal(join_token_parse(bytes_of(text), back, &error), STATUS_INVALID);
    assert_int_equal(join_token_parse(bytes_of(""), back, &error), STATUS_INVALID);
    assert_null(strstr(error.text, text)); /* logs are read by many */
}

static void test_questions_and_answers_come_back_and_cut_ones_do_not(void **state)
{
    struct join_message message = {.kind = JOIN_ASK, .store = 5, .nonce = 6, .has_secret = true};
    struct join_message back;
    struct join_answer answer = {.result = JOIN_DONE,
                                 .node = 4,
                                 .epoch_first = 1,
                                 .epoch_last = 16,
                                 .stores = 8,
                                 .view = bytes_of("view")};
    struct join_answer answer_back;
    struct buffer buffer;

    snprintf(message.name, sizeof(message.name), "n4");
    memset(message.labels, 'x', sizeof(message.labels) - 1);
    memset(message.secret, 7, sizeof(message.secret));
    buffer_init(&buffer, JOIN_MESSAGE_SIZE_MAX);
    join_message_encode(&message, &buffer);
    assert_int_equal(join_message_decode(buffer_bytes(&buffer), &back), STATUS_OK);
    assert_memory_equal(&message, &back, sizeof(back));
    for (size_t size = 0; size < buffer_size(&buffer); size++)
        assert_int_not_equal(
            join_message_decode(bytes_make(buffer_bytes(&buffer).data, size), &back), STATUS_OK);
    buffer_clear(&buffer);
    join_answer_encode(&answer, &buffer);
    assert_int_equal(join_answer_decode(buffer_bytes(&buffer), &answer_back), STATUS_OK);
    assert_int_equal(answer_back.node, 4);
    assert_int_equal(answer_back.stores, 8);
    assert_true(bytes_equal(answer_back.view, bytes_of("view")));
    buffer_free(&buffer);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_no_token_is_needed_where_nobody_is_reached_from_outside),
        TEST(test_a_name_of_other_characters_does_not_come_in),
        TEST(test_a_wrong_or_ended_token_is_refused_on_loopback_too),
        TEST(test_who_has_started_is_not_given_its_place_again),
        TEST(test_a_machine_takes_the_place_of_a_dead_one),
        TEST(test_no_place_is_given_away_that_a_majority_needs),
        TEST(test_a_token_is_read_as_it_is_printed),
        TEST(test_questions_and_answers_come_back_and_cut_ones_do_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
