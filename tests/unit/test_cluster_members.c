/* Nodes that join, are drained and removed, and wishes for groups: cluster/meta_members.c,
 * meta_moves.c. */
#include "cluster/balance.h"
#include "cluster/meta_internal.h"
#include "meta_fixture.h"

static struct meta_request join_of(const char *name, store_id_t store, uint64_t token)
{
    struct meta_request request = {.kind = META_JOIN, .store = store, .token = token};

    snprintf(request.name, sizeof(request.name), "%s", name);
    snprintf(request.peer, sizeof(request.peer), "127.0.0.1:9000");
    snprintf(request.redis, sizeof(request.redis), "127.0.0.1:6379");
    snprintf(request.hex_id, sizeof(request.hex_id), "%040x", 7);
    return request;
}

static void with_secret(struct meta_request *request, uint8_t secret)
{
    request->has_secret = true;
    memset(request->secret_hash, secret, sizeof(request->secret_hash));
}

static void assert_refused(struct meta_reply reply, const char *why)
{
    assert_int_equal(reply.result, META_REFUSED);
    if (strstr(reply.text, why) == NULL) fail_msg("'%s' is not in: %s", why, reply.text);
}

/* As an operator made it. */
static void add_token(struct fixture *fixture, uint8_t secret)
{
    struct meta_request token = {.kind = META_TOKEN, .expires_ms = 5000};

    with_secret(&token, secret);
    assert_int_equal(ask_as_is(fixture, &token).result, META_DONE);
}

static struct meta_reply join_with_token(struct fixture *fixture, struct meta_request request)
{
    add_token(fixture, 77);
    with_secret(&request, 77);
    return ask_as_is(fixture, &request);
}

static struct meta_reply join(struct fixture *fixture, const char *name, store_id_t store)
{
    return join_with_token(fixture, join_of(name, store, store));
}

static struct meta_reply about(struct fixture *fixture, enum meta_kind kind, node_id_t node)
{
    struct meta_request request = {.kind = kind, .node = node};

    return ask_as_is(fixture, &request);
}

static struct cluster_view view_of(struct fixture *fixture)
{
    struct cluster_view view;

    cluster_view_init(&view);
    assert_int_equal(meta_rows_view(fixture->table, &view), STATUS_OK);
    return view;
}

static struct meta_reply move(struct fixture *fixture, uint32_t group, const node_id_t *to,
                              uint32_t count)
{
    struct cluster_view view = view_of(fixture);
    struct meta_request request = {.kind = META_MOVE, .group = {group}, .to_count = count};

    request.changed = view.groups[group].changed;
    request.replica_count = view.groups[group].replica_count;
    memcpy(request.replicas, view.groups[group].replicas, sizeof(request.replicas));
    memcpy(request.to, to, count * sizeof(*to));
    cluster_view_free(&view);
    return ask_as_is(fixture, &request);
}

static struct meta_reply settled(struct fixture *fixture, uint32_t group)
{
    struct cluster_view view = view_of(fixture);
    struct meta_request request = {.kind = META_SETTLED, .group = {group}};

    request.changed = view.groups[group].changed;
    request.replica_count = view.groups[group].replica_count;
    memcpy(request.replicas, view.groups[group].replicas, sizeof(request.replicas));
    cluster_view_free(&view);
    return ask_as_is(fixture, &request);
}

static void test_a_node_joins_once(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    struct meta_request request = join_of("n4", 400, 77);
    snprintf(request.labels, sizeof(request.labels), "zone=b,rack=r");
    snprintf(request.peer, sizeof(request.peer), "10.0.0.4:9000");
    assert_refused(ask_as_is(fixture, &request), "needs a token");
    struct meta_reply reply = join_with_token(fixture, request);
    assert_int_equal(reply.result, META_DONE);
    assert_int_equal(reply.node, 4);
    assert_int_equal(reply.epoch_first, 1);
    assert_int_equal(reply.epoch_last, EPOCH_BLOCK_SIZE);
    uint64_t epoch = meta_rows_epoch(fixture->table);
    with_secret(&request, 77);
    struct meta_reply again = ask_as_is(fixture, &request); /* the answer was lost */
    assert_int_equal(again.result, META_DONE);
    assert_int_equal(again.node, 4);
    assert_int_equal(meta_rows_epoch(fixture->table), epoch);

    struct cluster_view view = view_of(fixture);
    const struct view_node *node = cluster_view_node(&view, 4);
    assert_non_null(node);
    assert_string_equal(node->name, "n4");
    assert_string_equal(node->labels, "rack=r,zone=b");
    assert_string_equal(node->peer, "10.0.0.4:9000");
    assert_int_equal(node->store, 400);
    assert_int_equal(view.next_node_id, 5);
    cluster_view_free(&view);
    assert_int_equal(join(fixture, "n5", 500).node, 5);
}

static void test_names_stores_and_ids_are_not_taken_twice(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    assert_refused(join(fixture, "n2", 400), "holon node replace n2");
    assert_refused(join(fixture, "n4", 101), "of another node");
    assert_refused(join(fixture, "", 400), "has a name");
    struct meta_request request = join_of("n4", 400, 1);
    snprintf(request.labels, sizeof(request.labels), "zone");
    with_secret(&request, 77);
    assert_refused(ask_as_is(fixture, &request), "name=value");
    uint64_t epoch = meta_rows_epoch(fixture->table);
    for (uint32_t id = 4; id <= NODES_MAX; id++) {
        char name[16];
        snprintf(name, sizeof(name), "n%u", id);
        assert_int_equal(join(fixture, name, 100 * id).node, id);
    }
    assert_int_equal(meta_rows_epoch(fixture->table), epoch + NODES_MAX - 3);
    assert_refused(join(fixture, "late", 1), "none left");
}

static void test_a_token_lets_one_node_in_while_it_lasts(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request token = {.kind = META_TOKEN, .expires_ms = 5000};

    found(fixture);
    with_secret(&token, 9);
    assert_int_equal(ask_as_is(fixture, &token).result, META_DONE);

    struct meta_request wrong = join_of("n4", 400, 1), right = wrong, late;
    with_secret(&wrong, 8);
    with_secret(&right, 9);
    assert_refused(ask_as_is(fixture, &wrong), "holon node token");
    memset(wrong.secret_hash, 9, 4); /* the same row */
    assert_refused(ask_as_is(fixture, &wrong), "holon node token");
    assert_int_equal(ask_as_is(fixture, &right).node, 4);
    assert_int_equal(ask_as_is(fixture, &right).node, 4); /* the same start asks again */
    late = join_of("n5", 500, 2);
    with_secret(&late, 9);
    assert_refused(ask_as_is(fixture, &late), "used already");

    with_secret(&token, 10);
    with_secret(&late, 10);
    ask_as_is(fixture, &token);
    fixture->time_ms = 5000;
    assert_refused(ask_as_is(fixture, &late), "ended");
}

static void test_tokens_are_bounded_and_ended_ones_make_room(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request token = {.kind = META_TOKEN, .expires_ms = 5000};

    found(fixture);
    for (uint8_t i = 0; i < META_TOKENS_MAX; i++) {
        with_secret(&token, i + 1);
        assert_int_equal(ask_as_is(fixture, &token).result, META_DONE);
    }
    with_secret(&token, 200);
    assert_refused(ask_as_is(fixture, &token), "64 tokens");
    fixture->time_ms = 6000;
    token.expires_ms = 9000;
    assert_int_equal(ask_as_is(fixture, &token).result, META_DONE);
}

static void test_a_node_goes_when_nothing_is_left_on_it(void **state)
{
    struct fixture *fixture = *state;
    const node_id_t to[] = {4, 1, 2};

    found(fixture);
    join(fixture, "n4", 400);
    assert_refused(about(fixture, META_REMOVE, 3), "holon node drain n3");
    assert_int_equal(about(fixture, META_DRAIN, 3).result, META_DONE);
    uint64_t epoch = meta_rows_epoch(fixture->table);
    assert_int_equal(about(fixture, META_DRAIN, 3).result, META_DONE);
    assert_int_equal(meta_rows_epoch(fixture->table), epoch);
    assert_refused(about(fixture, META_REMOVE, 3), "still holds 17 replicas");

    for (uint32_t group = 0; group < GROUP_DATA_FIRST + 16; group++)
        if (group != GROUP_COORD) assert_int_equal(move(fixture, group, to, 3).result, META_DONE);
    assert_refused(about(fixture, META_REMOVE, 3), "17 groups are being moved");
    for (uint32_t group = 0; group < GROUP_DATA_FIRST + 16; group++)
        if (group != GROUP_COORD) assert_int_equal(settled(fixture, group).result, META_DONE);
    assert_int_equal(about(fixture, META_REMOVE, 3).result, META_DONE);

    struct cluster_view view = view_of(fixture);
    assert_null(cluster_view_node(&view, 3));
    assert_int_equal(view.node_count, 3);
    assert_int_equal(view.nodes[1].id, 2);
    view.nodes[1].epoch = 5;
    assert_int_equal(cluster_view_later_epoch(&view, 2, 4), 5);
    assert_int_equal(cluster_view_later_epoch(&view, 2, 5), 0);
    assert_int_equal(cluster_view_later_epoch(&view, 2, 6), 0); /* not heard of yet */
    assert_int_equal(cluster_view_later_epoch(&view, 3, 7), 8); /* removed */
    assert_int_equal(cluster_view_later_epoch(&view, view.next_node_id, 7), 0);
    cluster_view_free(&view);
    assert_refused(about(fixture, META_BOOT, 3), "was removed");
    assert_int_equal(join(fixture, "n3", 300).node, 5); /* never the id again */
}

static void test_the_last_node_is_not_drained(void **state)
{
    struct fixture *fixture = *state;

    found(fixture);
    assert_int_equal(about(fixture, META_DRAIN, 1).result, META_DONE);
    assert_int_equal(about(fixture, META_DRAIN, 2).result, META_DONE);
    assert_refused(about(fixture, META_DRAIN, 3), "add a node first");
    assert_int_equal(about(fixture, META_UNDRAIN, 1).result, META_DONE);
    assert_int_equal(about(fixture, META_DRAIN, 3).result, META_DONE);
    assert_refused(about(fixture, META_DRAIN, 9), "not in this cluster");
}

static void test_a_move_is_a_wish_for_what_was_seen(void **state)
{
    struct fixture *fixture = *state;
    const node_id_t to[] = {4, 1, 2}, order[] = {1, 4, 2}, twice[] = {1, 1, 2};

    found(fixture);
    join(fixture, "n4", 400);
    struct cluster_view before = view_of(fixture);
    struct meta_request stale = {.kind = META_MOVE, .group = {5}, .to_count = 1, .to = {4}};
    stale.replica_count = before.groups[5].replica_count;
    memcpy(stale.replicas, before.groups[5].replicas, sizeof(stale.replicas));

    assert_int_equal(move(fixture, 5, to, 3).result, META_DONE);
    assert_int_equal(ask_as_is(fixture, &stale).result, META_RETRY);
    struct cluster_view after = view_of(fixture);
    const struct view_group *old = &before.groups[5], *new = &after.groups[5];
    assert_true(new->moving);
    assert_int_equal(new->replica_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(new->replicas[i].node, to[i]);
        if (to[i] == 4) assert_int_equal(new->replicas[i].replica.value, before.next_replica_id);
        for (uint32_t k = 0; k < 3; k++)
            if (old->replicas[k].node == to[i])
                assert_int_equal(new->replicas[i].replica.value, old->replicas[k].replica.value);
    }
    assert_int_equal(after.next_replica_id, before.next_replica_id + 1);

    stale.kind = META_SETTLED;
    assert_int_equal(ask_as_is(fixture, &stale).result, META_RETRY);
    assert_int_equal(settled(fixture, 5).result, META_DONE);
    assert_int_equal(move(fixture, 5, order, 3).result, META_DONE);
    cluster_view_free(&after);
    after = view_of(fixture);
    assert_false(after.groups[5].moving); /* who should lead, no more */
    assert_int_equal(after.groups[5].replicas[0].node, 1);

    assert_refused(move(fixture, 5, twice, 3), "twice");
    assert_refused(move(fixture, 5, to, 0), "needs a replica");
    assert_refused(move(fixture, 6, (node_id_t[]){9}, 1), "not in this cluster");
    about(fixture, META_DRAIN, 4);
    assert_refused(move(fixture, 6, to, 3), "n4 is being drained");
    cluster_view_free(&before);
    cluster_view_free(&after);
}

/* --- KEEP --------------------------------------------------------------------------------- */

/* For group 5, by the table as it is. */
static struct meta_request keep_of(struct fixture *fixture, node_id_t node, uint64_t replica)
{
    struct cluster_view view = view_of(fixture);
    struct meta_request request = {.kind = META_KEEP, .group = {5}, .kept = {node, {replica}}};

    request.changed = view.groups[5].changed;
    request.replica_count = view.groups[5].replica_count;
    memcpy(request.replicas, view.groups[5].replicas, sizeof(request.replicas));
    cluster_view_free(&view);
    return request;
}

/* A node left the group and is wished for again, under a new id, while the old one still runs. */
static struct replica_id leave_and_return(struct fixture *fixture, node_id_t node)
{
    const node_id_t without[] = {4, 1, 2}, with[] = {1, 2, 3};
    struct replica_id old = {0};

    found(fixture);
    join(fixture, "n4", 400);
    struct cluster_view view = view_of(fixture);
    for (uint32_t i = 0; i < 3; i++)
        if (view.groups[5].replicas[i].node == node) old = view.groups[5].replicas[i].replica;
    cluster_view_free(&view);
    assert_int_equal(move(fixture, 5, without, 3).result, META_DONE);
    assert_int_equal(move(fixture, 5, with, 3).result, META_DONE);
    return old;
}

static void test_a_replica_that_still_runs_may_be_kept(void **state)
{
    struct fixture *fixture = *state;

    struct replica_id old = leave_and_return(fixture, 3);
    struct cluster_view before = view_of(fixture);
    struct meta_request keep = keep_of(fixture, 3, old.value);
    assert_true(keep.replicas[2].replica.value > old.value);
    assert_int_equal(ask_as_is(fixture, &keep).result, META_DONE);
    struct cluster_view after = view_of(fixture);
    assert_int_equal(after.table_epoch, before.table_epoch + 1);
    assert_int_equal(after.next_replica_id, before.next_replica_id); /* no id is given back */
    assert_int_equal(after.groups[5].replica_count, 3);
    assert_true(after.groups[5].moving); /* whoever leads it says when it is as wished */
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(after.groups[5].replicas[i].node, before.groups[5].replicas[i].node);
        uint64_t id = i == 2 ? old.value : before.groups[5].replicas[i].replica.value;
        assert_int_equal(after.groups[5].replicas[i].replica.value, id);
    }
    assert_int_equal(ask_as_is(fixture, &keep).result, META_RETRY); /* of the table before */
    keep = keep_of(fixture, 3, old.value);
    assert_refused(ask_as_is(fixture, &keep), "none that group 5 can keep on node 3");
    assert_int_equal(settled(fixture, 5).result, META_DONE);
    cluster_view_free(&before);
    cluster_view_free(&after);
}

static void test_only_another_replica_of_a_node_that_is_wished_for_is_kept(void **state)
{
    struct fixture *fixture = *state;

    struct replica_id old = leave_and_return(fixture, 3);
    struct cluster_view before = view_of(fixture);
    uint64_t wished = before.groups[5].replicas[2].replica.value;
    const struct view_replica refused[] = {
        {3, {0}}, {3, {wished}}, {3, {wished + 1}}, {3, {UINT64_MAX}}, {4, old},
    };
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        struct meta_request keep = keep_of(fixture, refused[i].node, 0);
        keep.kept = refused[i];
        assert_refused(ask_as_is(fixture, &keep), "can keep");
    }
    struct meta_request nobody = keep_of(fixture, 9, old.value);
    assert_refused(ask_as_is(fixture, &nobody), "not in this cluster");
    struct meta_request elsewhere = keep_of(fixture, 3, old.value);
    elsewhere.group.value = 99;
    assert_int_equal(ask_as_is(fixture, &elsewhere).result, META_RETRY);
    assert_int_equal(meta_rows_epoch(fixture->table), before.table_epoch);
    cluster_view_free(&before);
}

/* What ran on a disk that is gone has lost its votes with it. */
static void test_a_replica_of_an_earlier_disk_is_not_kept(void **state)
{
    struct fixture *fixture = *state;
    struct replica_id old = leave_and_return(fixture, 3);
    struct meta_request rejoin = {
        .kind = META_REJOIN, .node = 3, .store = 999, .token = 5, .name = "n3"};

    assert_int_equal(ask_as_is(fixture, &rejoin).result, META_DONE);
    struct meta_request keep = keep_of(fixture, 3, old.value);
    assert_refused(ask_as_is(fixture, &keep), "can keep");
}

/* There and back: the list is the same, and what was said of it before means nothing any more. */
static void test_what_was_said_of_an_earlier_wish_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    const node_id_t there[] = {1, 2, 3, 4}, back[] = {1, 2, 3};

    found(fixture);
    join(fixture, "n4", 400);
    struct meta_request said = {.kind = META_SETTLED, .group = {5}, .replica_count = 3};
    assert_int_equal(move(fixture, 5, back, 3).result, META_DONE);
    struct cluster_view first = view_of(fixture);
    said.changed = first.groups[5].changed;
    memcpy(said.replicas, first.groups[5].replicas, sizeof(said.replicas));
    assert_int_equal(move(fixture, 5, there, 4).result, META_DONE);
    assert_int_equal(move(fixture, 5, back, 3).result, META_DONE);
    struct cluster_view last = view_of(fixture);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(last.groups[5].replicas[i].replica.value, said.replicas[i].replica.value);
    assert_int_equal(ask_as_is(fixture, &said).result, META_RETRY);
    assert_int_equal(settled(fixture, 5).result, META_DONE);
    cluster_view_free(&first);
    cluster_view_free(&last);
}

static void test_requests_about_groups_are_the_same_after_the_wire(void **state)
{
    static const enum meta_kind kinds[] = {META_MOVE, META_SETTLED, META_KEEP};
    struct meta_request request = {
        .node = 1, .group = {5}, .changed = 12, .replica_count = 2, .to_count = 3};

    request.replicas[0] = (struct view_replica){7, {1u << 30}};
    request.replicas[1] = (struct view_replica){64, {UINT64_MAX}};
    request.kept = (struct view_replica){64, {77}};
    for (uint32_t i = 0; i < 3; i++)
        request.to[i] = 10 + i;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
        struct meta_request back;
        struct buffer body;
        request.kind = kinds[k];
        buffer_init(&body, META_REQUEST_SIZE_MAX);
        meta_request_encode(&request, &body);
        assert_true(meta_request_decode(buffer_bytes(&body), &back));
        assert_int_equal(back.kind, request.kind);
        assert_int_equal(back.group.value, 5);
        assert_int_equal(back.changed, 12);
        assert_int_equal(back.replica_count, 2);
        for (uint32_t i = 0; i < 2; i++) {
            assert_int_equal(back.replicas[i].node, request.replicas[i].node);
            assert_int_equal(back.replicas[i].replica.value, request.replicas[i].replica.value);
        }
        bool keeps = kinds[k] == META_KEEP, moves = kinds[k] == META_MOVE;
        assert_int_equal(back.kept.node, keeps ? 64 : 0);
        assert_int_equal(back.kept.replica.value, keeps ? 77 : 0);
        assert_int_equal(back.to_count, moves ? 3 : 0);
        if (moves) assert_memory_equal(back.to, request.to, 3 * sizeof(*request.to));
        buffer_free(&body);
    }
}

/* --- labels, versions, bytes -------------------------------------------------------------- */

static struct meta_request finalize_of(struct fixture *fixture)
{
    struct cluster_view view = view_of(fixture);
    struct meta_request request = {.kind = META_FINALIZE, .cluster_version = VIEW_VERSION};

    for (uint32_t i = 0; i < view.node_count; i++)
        request.starts[request.start_count++] =
            (struct meta_start){view.nodes[i].id, view.nodes[i].epoch};
    cluster_view_free(&view);
    return request;
}

/* Who started since may run an earlier version; who was not asked, too. */
static void test_the_version_rises_once_all_starts_are_those_that_support_it(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request boot = {.kind = META_BOOT, .node = 2, .store = 101, .epoch = 1, .token = 1};

    fixture->founded.cluster_version = 1;
    found(fixture);
    struct meta_request stale = finalize_of(fixture), one_less = stale, later = stale;
    assert_int_equal(ask_as_is(fixture, &boot).result, META_DONE);
    assert_refused(ask_as_is(fixture, &stale), "n2 has started again");
    one_less = finalize_of(fixture);
    one_less.start_count--;
    assert_refused(ask_as_is(fixture, &one_less), "n3 has started again meanwhile, or joined");
    later = finalize_of(fixture);
    later.cluster_version = VIEW_VERSION + 1;
    assert_refused(ask_as_is(fixture, &later), "supports cluster version 5, not 6");
    assert_refused(about(fixture, META_DRAIN, 1), "holon upgrade finalize");

    struct meta_request all = finalize_of(fixture);
    assert_int_equal(ask_as_is(fixture, &all).result, META_DONE);
    struct cluster_view view = view_of(fixture);
    assert_int_equal(view.cluster_version, VIEW_VERSION);
    assert_int_equal(view.next_node_id, 4);
    uint64_t epoch = view.table_epoch;
    cluster_view_free(&view);
    assert_int_equal(ask_as_is(fixture, &stale).result, META_DONE); /* it is done */
    assert_int_equal(meta_rows_epoch(fixture->table), epoch);
    assert_int_equal(about(fixture, META_DRAIN, 1).result, META_DONE);
    assert_int_equal(join(fixture, "n4", 400).node, 4);
}

static void test_a_request_to_finalize_is_the_same_after_the_wire(void **state)
{
    struct meta_request request = {.kind = META_FINALIZE, .cluster_version = 7, .start_count = 2},
                        back;
    struct buffer body;

    request.starts[1] = (struct meta_start){64, 9};
    buffer_init(&body, META_REQUEST_SIZE_MAX);
    meta_request_encode(&request, &body);
    assert_true(meta_request_decode(buffer_bytes(&body), &back));
    assert_int_equal(back.cluster_version, 7);
    assert_int_equal(back.start_count, 2);
    assert_int_equal(back.starts[1].node, 64);
    assert_int_equal(back.starts[1].epoch, 9);
    assert_false(meta_request_decode(bytes_make(body.memory, buffer_size(&body) - 1), &back));
    buffer_free(&body);
}

static void test_labels_change_by_operators_and_at_a_start(void **state)
{
    struct fixture *fixture = *state;
    struct meta_request label = {.kind = META_LABEL, .node = 2};
    struct meta_request boot = {.kind = META_BOOT, .node = 2, .store = 101, .epoch = 1, .token = 1};

    found(fixture);
    snprintf(label.labels, sizeof(label.labels), "zone=a,weight=50");
    assert_int_equal(ask_as_is(fixture, &label).result, META_DONE);
    uint64_t epoch = meta_rows_epoch(fixture->table);
    assert_int_equal(ask_as_is(fixture, &label).result, META_DONE);
    assert_int_equal(meta_rows_epoch(fixture->table), epoch);
    snprintf(label.labels, sizeof(label.labels), "weight=0");
    assert_refused(ask_as_is(fixture, &label), "1 to 10000");

    snprintf(boot.labels, sizeof(boot.labels), "zone=b");
    assert_int_equal(ask_as_is(fixture, &boot).result, META_DONE);
    struct cluster_view view = view_of(fixture);
    assert_string_equal(cluster_view_node(&view, 2)->labels, "weight=50,zone=b");
    cluster_view_free(&view);
}

/* Rows as 0.1.0 wrote them, and no row that it could not read. */
static void test_a_cluster_of_the_first_version_stays_as_it_is(void **state)
{
    struct fixture *fixture = *state;

    fixture->founded.cluster_version = 1;
    found(fixture);
    struct meta_request request = join_of("n4", 400, 1);
    assert_refused(ask_as_is(fixture, &request), "0.1.0");
    assert_refused(about(fixture, META_DRAIN, 1), "0.1.0");
    assert_refused(about(fixture, META_KEEP, 0), "0.1.0");
    struct cluster_view view = view_of(fixture);
    assert_int_equal(view.next_node_id, 4);

    assert_int_equal(view.cluster_version, 1);

    struct cluster_view back;
    struct buffer old, new;
    buffer_init(&old, VIEW_SIZE_MAX);
    buffer_init(&new, VIEW_SIZE_MAX);
    cluster_view_encode(&view, &old);
    view.cluster_version = 2;
    cluster_view_encode(&view, &new);
    assert_true(buffer_size(&new) > buffer_size(&old) + view.group_count);
    assert_int_equal(buffer_bytes(&old).data[0], 1);
    assert_int_equal(buffer_bytes(&new).data[0], 2); /* by which 0.1.0 says "another version" */
    cluster_view_init(&back);
    view.cluster_version = VIEW_VERSION + 1;
    buffer_clear(&new);
    cluster_view_encode(&view, &new);
    assert_int_equal(cluster_view_decode(buffer_bytes(&new), &back), STATUS_VERSION);
    buffer_free(&old);
    buffer_free(&new);
    cluster_view_free(&view);
}

static void test_a_request_cut_short_is_refused(void **state)
{
    static const enum meta_kind kinds[] = {META_JOIN,    META_TOKEN, META_LABEL, META_MOVE,
                                           META_SETTLED, META_KEEP,  META_DRAIN};
    struct fixture *fixture = *state;

    found(fixture);
    for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
        struct meta_request request = join_of("n9", 900, 9);
        uint8_t copy[1024];
        request.kind = kinds[k];
        request.node = 2;
        request.replica_count = request.to_count = 2;
        buffer_clear(&fixture->body);
        meta_request_encode(&request, &fixture->body);
        struct bytes body = buffer_bytes(&fixture->body);
        assert_true(body.size <= sizeof(copy));
        memcpy(copy, body.data, body.size);
        for (size_t size = 1, whole = body.size; size < whole; size++) {
            buffer_clear(&fixture->body);
            buffer_append(&fixture->body, bytes_make(copy, size));
            assert_int_equal(submit(fixture).result, META_REFUSED);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_node_joins_once),
        TEST(test_names_stores_and_ids_are_not_taken_twice),
        TEST(test_a_token_lets_one_node_in_while_it_lasts),
        TEST(test_tokens_are_bounded_and_ended_ones_make_room),
        TEST(test_a_node_goes_when_nothing_is_left_on_it),
        TEST(test_the_last_node_is_not_drained),
        TEST(test_a_move_is_a_wish_for_what_was_seen),
        TEST(test_a_replica_that_still_runs_may_be_kept),
        TEST(test_only_another_replica_of_a_node_that_is_wished_for_is_kept),
        TEST(test_a_replica_of_an_earlier_disk_is_not_kept),
        TEST(test_what_was_said_of_an_earlier_wish_is_not_taken),
        TEST(test_requests_about_groups_are_the_same_after_the_wire),
        TEST(test_the_version_rises_once_all_starts_are_those_that_support_it),
        TEST(test_a_request_to_finalize_is_the_same_after_the_wire),
        TEST(test_labels_change_by_operators_and_at_a_start),
        TEST(test_a_cluster_of_the_first_version_stays_as_it_is),
        TEST(test_a_request_cut_short_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
