/* A founding ends with one cluster for all or with none, whatever crashes in between. */
#include "unit.h"

#include <stdio.h>

#include "fake_disk.h"

#include "base/memory.h"
#include "cluster/founding.h"
#include "cluster/founding_file.h"
#include "wire/peer_frame.h"

enum { NODES = 3, FRAMES_MAX = 4096, STEPS_MAX = 400, STEP_US = 10 * 1000 };

static const char directory[] = "data";

struct frame {
    node_id_t from, to;
    struct buffer payload;
};

struct net;

struct member {
    struct net *net;
    node_id_t id;
    struct fake_disk *disk;
    struct transport transport;
    struct founding *founding; /* NULL: its process is dead, or it has ended */
    struct founding_options options;
    bool done, failed;
    struct identity identity;
    boot_epoch_t epoch;
    bool rejoined;
    char error[ERROR_TEXT_SIZE_MAX];
};

struct net {
    struct member members[NODES + 1];
    struct frame frames[FRAMES_MAX];
    size_t first, count;
    uint32_t lose_percent;
    struct random random;
};

static void net_send(struct transport *transport, node_id_t to, uint32_t worker, uint8_t kind,
                     struct bytes payload)
{
    struct member *member = transport->context;
    struct net *net = member->net;

    assert_int_equal(kind, PEER_FRAME_FOUNDING);
    if (random_chance(&net->random, net->lose_percent, 100)) return;
    assert_true(net->count < FRAMES_MAX);
    struct frame *frame = &net->frames[(net->first + net->count++) % FRAMES_MAX];
    frame->from = member->id;
    frame->to = to;
    buffer_init(&frame->payload, TRANSPORT_FRAME_SIZE_MAX);
    buffer_append(&frame->payload, payload);
}

static uint32_t net_workers(struct transport *transport, node_id_t node)
{
    return 1;
}

static bool net_is_up(struct transport *transport, node_id_t node)
{
    return true;
}

static const struct transport_table net_table = {
    .send = net_send, .worker_count = net_workers, .is_up = net_is_up};

static void on_done(void *context, const struct founding_result *result)
{
    struct member *member = context;

    member->done = true;
    member->identity = result->identity;
    member->epoch = result->epoch;
    member->rejoined = result->rejoined;
}

static void on_failed(void *context, const struct error *error)
{
    struct member *member = context;

    member->failed = true;
    memcpy(member->error, error->text, sizeof(member->error));
}

/* As node.c does at a start. */
static void member_start(struct member *member)
{
    struct identity identity;
    struct error error;

    member->done = member->failed = false;
    enum status status = identity_load(&member->disk->world, directory, &identity, &error);
    assert_true(status == STATUS_OK || status == STATUS_NOT_FOUND);
    if (status == STATUS_OK && identity.state == IDENTITY_MEMBER) {
        member->done = true;
        member->identity = identity;
        return;
    }
    if (status == STATUS_NOT_FOUND) {
        enum directory_content content;
        status = directory_check_empty(&member->disk->world, directory, &content, &error);
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(content, DIRECTORY_EMPTY);
    }
    member->founding = founding_open(&member->options);
    founding_begin(member->founding);
}

static void member_crash(struct member *member, uint64_t seed)
{
    founding_close(member->founding);
    member->founding = NULL;
    member->disk->effects_left = UINT64_MAX;
    fake_disk_crash(member->disk, seed);
}

/* A member that runs answers as member.c of the node does. */
static void running_answers(struct member *member, const struct frame *frame)
{
    struct founding_message message, answer = {0};
    struct buffer buffer;

    if (founding_message_decode(buffer_bytes(&frame->payload), &message)) return;
    if (message.kind != FOUNDING_HELLO || message.state == FOUNDING_MEMBER) return;
    bool start = message.state == FOUNDING_ACCEPTED &&
                 cluster_id_equal(message.cluster, member->identity.cluster) &&
                 message.proposal == member->identity.proposal;
    answer.kind = start ? FOUNDING_START : FOUNDING_HELLO;
    answer.state = FOUNDING_MEMBER;
    answer.cluster = member->identity.cluster;
    answer.proposal = member->identity.proposal;
    snprintf(answer.name, sizeof(answer.name), "n%u", member->id);
    buffer_init(&buffer, TRANSPORT_FRAME_SIZE_MAX);
    founding_message_encode(&answer, &buffer);
    net_send(&member->transport, frame->from, 0, PEER_FRAME_FOUNDING, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static void net_deliver(struct net *net)
{
    for (size_t left = net->count; left > 0; left--) {
        struct frame frame = net->frames[net->first];
        struct member *to = &net->members[frame.to];
        struct transport_peer from = {.node = frame.from};
        net->first = (net->first + 1) % FRAMES_MAX;
        net->count--;
        if (to->done)
            running_answers(to, &frame);
        else if (to->founding != NULL && !to->disk->dead)
            founding_on_frame(to->founding, &from, buffer_bytes(&frame.payload));
        buffer_free(&frame.payload);
    }
}

static void net_step(struct net *net)
{
    net_deliver(net);
    for (node_id_t id = 1; id <= NODES; id++) {
        struct member *member = &net->members[id];
        if (!member->disk->dead) fake_disk_pass(member->disk, STEP_US);
        if ((member->done || member->failed) && member->founding != NULL) {
            founding_close(member->founding);
            member->founding = NULL;
        }
    }
}

static bool net_all_done(const struct net *net)
{
    for (node_id_t id = 1; id <= NODES; id++)
        if (!net->members[id].done) return false;
    return true;
}

static bool net_run(struct net *net)
{
    for (int step = 0; step < STEPS_MAX && !net_all_done(net); step++)
        net_step(net);
    return net_all_done(net);
}

static void check_one_cluster(const struct net *net)
{
    const struct identity *first = &net->members[1].identity;

    for (node_id_t id = 1; id <= NODES; id++) {
        const struct identity *identity = &net->members[id].identity;
        assert_int_equal(identity->state, IDENTITY_MEMBER);
        assert_true(cluster_id_equal(identity->cluster, first->cluster));
        assert_int_equal(identity->node, id);
        assert_int_equal(identity->epoch_first, 1);
        assert_int_equal(identity->epoch_last, EPOCH_BLOCK_SIZE);
        assert_int_equal(identity->partitions, 8);
    }
}

static uint64_t disk_random(struct world *world)
{
    return random_u64(&((struct fake_disk *)(void *)world)->random);
}

static void disk_random_secret(struct world *world, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)disk_random(world);
}

static struct fake_disk *disk_make(uint64_t seed)
{
    struct fake_disk *disk = fake_disk_make();
    struct error error;

    disk->table.random = disk_random;
    disk->table.random_secret = disk_random_secret;
    random_seed(&disk->random, seed);
    assert_int_equal(world_make_dir(&disk->world, directory, &error), STATUS_OK);
    return disk;
}

static int setup(void **state)
{
    struct net *net = memory_allocate_zero(sizeof(*net));

    random_seed(&net->random, 1);
    for (node_id_t id = 1; id <= NODES; id++) {
        struct member *member = &net->members[id];
        member->net = net;
        member->id = id;
        member->disk = disk_make(id);
        member->transport = (struct transport){.table = &net_table, .context = member};
        member->options = (struct founding_options){
            .cluster_version = VIEW_VERSION,
            .world = &member->disk->world,
            .transport = &member->transport,
            .directory = directory,
            .self = id,
            .member_count = NODES,
            .settings = {.partitions = 8, .replicas = 3, .stores = 2},
            .events = {.on_done = on_done, .on_failed = on_failed},
            .context = member,
        };
        for (uint32_t i = 0; i < NODES; i++) {
            snprintf(member->options.members[i].name, NODE_NAME_SIZE_MAX, "n%u", i + 1);
            snprintf(member->options.members[i].peer, ADDRESS_SIZE_MAX, "h%u:1", i + 1);
        }
        snprintf(member->options.redis, ADDRESS_SIZE_MAX, "h%u:6379", id);
    }
    *state = net;
    return 0;
}

static int teardown(void **state)
{
    struct net *net = *state;

    for (node_id_t id = 1; id <= NODES; id++) {
        founding_close(net->members[id].founding);
        fake_disk_free(net->members[id].disk);
    }
    for (; net->count > 0; net->count--, net->first = (net->first + 1) % FRAMES_MAX)
        buffer_free(&net->frames[net->first].payload);
    memory_free(net);
    return 0;
}

static void start_all(struct net *net)
{
    for (node_id_t id = 1; id <= NODES; id++)
        member_start(&net->members[id]);
}

static void test_three_empty_nodes_found_one_cluster(void **state)
{
    struct net *net = *state;

    start_all(net);
    assert_true(net_run(net));
    check_one_cluster(net);
    for (node_id_t id = 1; id <= NODES; id++) {
        assert_int_equal(net->members[id].epoch, 1);
        assert_false(net->members[id].rejoined);
    }
}

static void test_two_of_three_found_nothing(void **state)
{
    struct net *net = *state;
    char missing[64];

    member_start(&net->members[1]);
    member_start(&net->members[2]);
    assert_false(net_run(net));
    assert_false(net->members[1].done || net->members[2].done);
    founding_missing(net->members[1].founding, missing, sizeof(missing));
    assert_string_equal(missing, "n3");
    member_start(&net->members[3]);
    assert_true(net_run(net));
    check_one_cluster(net);
}

/* FAULTS rule 9: what it lost may have been the last copy. */
static void test_with_a_node_in_repair_nothing_is_founded(void **state)
{
    for (node_id_t broken = 1; broken <= NODES; broken++) {
        struct net *net;
        setup((void **)&net);
        net->members[broken].options.repairing = true;
        net->members[broken].options.repairing_cluster = (struct cluster_id){7, 7};
        start_all(net);
        assert_false(net_run(net));
        for (node_id_t id = 1; id <= NODES; id++)
            assert_false(net->members[id].done || net->members[id].failed);
        teardown((void **)&net);
    }
}

static void test_lost_frames_only_delay_it(void **state)
{
    struct net *net = *state;

    net->lose_percent = 40;
    start_all(net);
    assert_true(net_run(net));
    check_one_cluster(net);
}

/* The heart: each node loses power once, after each possible number of effects on its disk. */
static void test_a_crash_anywhere_resumes_the_same_founding(void **state)
{
    for (node_id_t victim = 1; victim <= NODES; victim++) {
        for (uint64_t effects = 0; effects < 60; effects++) {
            struct net *net;
            setup((void **)&net);
            net->members[victim].disk->effects_left = effects;
            start_all(net);
            for (int step = 0; step < 20; step++)
                net_step(net);
            bool hit = net->members[victim].disk->dead;
            if (hit) {
                member_crash(&net->members[victim], effects * 7 + victim);
                member_start(&net->members[victim]);
            }
            net->members[victim].disk->effects_left = UINT64_MAX;
            if (!net_run(net))
                fail_msg("node %u, %llu effects", victim, (unsigned long long)effects);
            check_one_cluster(net);
            teardown((void **)&net);
        }
    }
}

static void test_different_lines_are_named(void **state)
{
    struct net *net = *state;

    snprintf(net->members[2].options.members[2].peer, ADDRESS_SIZE_MAX, "other:9");
    start_all(net);
    assert_false(net_run(net));
    assert_true(net->members[1].failed);
    assert_non_null(strstr(net->members[1].error, "n3=h3:1"));
    assert_non_null(strstr(net->members[1].error, "n3=other:9"));
    assert_false(net->members[1].done || net->members[2].done || net->members[3].done);
}

static void test_different_settings_are_named(void **state)
{
    struct net *net = *state;

    net->members[3].options.settings.partitions = 16;
    start_all(net);
    assert_false(net_run(net));
    assert_true(net->members[1].failed);
    assert_non_null(strstr(net->members[1].error, "partitions=8"));
    assert_non_null(strstr(net->members[1].error, "partitions=16"));
}

/* A founding that was given up may have left a proposal with other settings. */
static void test_a_proposal_of_an_earlier_start_does_not_decide_settings(void **state)
{
    struct net *net = *state;
    struct founding_file file;

    for (node_id_t id = 1; id <= NODES; id++)
        net->members[id].options.settings.partitions = 16;
    start_all(net);
    net_step(net);
    for (node_id_t id = 1; id <= NODES; id++)
        member_crash(&net->members[id], id);
    net_deliver(net);
    struct world *world = &net->members[1].disk->world;
    assert_int_equal(founding_file_load(world, directory, &file, NULL), STATUS_OK);
    assert_int_equal(file.proposal, 1);
    founding_file_free(&file);

    for (node_id_t id = 1; id <= NODES; id++)
        net->members[id].options.settings.partitions = 8;
    start_all(net);
    assert_true(net_run(net));
    check_one_cluster(net); /* of 8 partitions */
}

/* F09: an empty directory next to a member is no founder. */
static void test_an_empty_node_among_members_asks_to_rejoin(void **state)
{
    struct net *net = *state;
    struct error error;

    start_all(net);
    assert_true(net_run(net));
    struct cluster_id cluster = net->members[2].identity.cluster;

    fake_disk_free(net->members[1].disk);
    net->members[1].disk = disk_make(99);
    net->members[1].options.world = &net->members[1].disk->world;
    member_start(&net->members[1]);
    for (int step = 0; step < 50; step++)
        net_step(net);
    assert_false(net->members[1].done);
    assert_true(cluster_id_equal(net->members[2].identity.cluster, cluster));
    assert_int_equal(
        identity_load(&net->members[1].disk->world, directory, &net->members[1].identity, &error),
        STATUS_NOT_FOUND);
}

static void test_a_single_node_founds_at_once(void **state)
{
    struct net *net = *state;

    net->members[1].options.member_count = 1;
    net->members[1].options.transport = NULL;
    member_start(&net->members[1]);
    assert_true(net->members[1].done);
    assert_int_equal(net->members[1].epoch, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_three_empty_nodes_found_one_cluster, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_of_three_found_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_with_a_node_in_repair_nothing_is_founded, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_lost_frames_only_delay_it, setup, teardown),
        cmocka_unit_test(test_a_crash_anywhere_resumes_the_same_founding),
        cmocka_unit_test_setup_teardown(test_different_lines_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_different_settings_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_a_proposal_of_an_earlier_start_does_not_decide_settings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_empty_node_among_members_asks_to_rejoin, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_single_node_founds_at_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
