/* The cluster view: which tables a node takes, who hears of them, and what reaches the disk. */
#include "cluster/view_codec.h"
#include "node_bed.h"

static int setup(void **state)
{
    return bed_open(3, 4);
}

struct offer { /* a table for `node` */
    struct node *node;
    struct cluster_view view;
    bool as_frame;
    size_t cut; /* bytes missing at the end of the frame */
};

static void take_offer(void *context)
{
    struct offer *offer = context;
    struct buffer buffer;

    if (!offer->as_frame) {
        node_adopt_view(offer->node, &offer->view);
        return;
    }
    buffer_init(&buffer, VIEW_SIZE_MAX);
    cluster_view_encode(&offer->view, &buffer);
    struct bytes bytes = buffer_bytes(&buffer);
    node_on_table(offer->node, 2, bytes_make(bytes.data, bytes.size - offer->cut));
    buffer_free(&buffer);
}

/* Its own table, of the epoch after the next: nothing that meta gives comes between. */
static void offer_make(struct offer *offer, struct node *node)
{
    *offer = (struct offer){.node = node};
    cluster_view_init(&offer->view);
    cluster_view_assign(&offer->view, &node->workers[0].view);
    offer->view.table_epoch += 2;
}

static void give(struct offer *offer)
{
    bed_call(offer->node, take_offer, offer);
    sim_run_for(&bed->sim, 5 * MS);
}

static uint64_t epoch_of(const struct node *node, uint32_t worker)
{
    return node->workers[worker].view.table_epoch;
}

/* A follower of meta: what it takes it does not tell. */
static node_id_t follower_of_meta(void)
{
    return bed_node(1)->workers[0].view.groups[GROUP_META].leader == 1 ? 2 : 1;
}

/* --- what is taken --------------------------------------------------------------------- */

static void check_newer_table(bool as_frame)
{
    struct node *node = bed_node(follower_of_meta());
    struct offer offer;

    node_id_t leader = node->workers[1].view.groups[GROUP_DATA_FIRST].leader;
    offer_make(&offer, node);
    offer.as_frame = as_frame;
    offer.view.groups[GROUP_DATA_FIRST].leader = 0; /* of leaders a table says nothing */
    give(&offer);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(epoch_of(node, i), offer.view.table_epoch);
        assert_int_equal(node->workers[i].view.groups[GROUP_DATA_FIRST].leader, leader);
        assert_int_equal(node->workers[i].view.self, node->identity.node);
    }
    sim_run_for(&bed->sim, 1 * SECOND);
    assert_int_equal(bed_table_epoch(node->identity.node), offer.view.table_epoch);
    cluster_view_free(&offer.view);
}

static void test_a_newer_table_goes_to_all_workers_and_to_the_disk(void **state)
{
    check_newer_table(false);
}

static void test_a_newer_table_is_taken_from_a_frame(void **state)
{
    check_newer_table(true);
}

static void test_what_is_not_newer_or_not_ours_is_not_taken(void **state)
{
    struct node *node = bed_node(follower_of_meta());
    uint64_t before = epoch_of(node, 0);
    struct offer offer;

    offer_make(&offer, node);
    offer.view.table_epoch = before;
    offer.view.replicas = 2; /* shows if it is taken */
    give(&offer);
    offer.view.table_epoch = before - 1;
    give(&offer);
    assert_int_equal(node->workers[0].view.replicas, 3);

    offer.view.table_epoch = before + 2;
    offer.view.cluster.high ^= 1;
    for (int frame = 0; frame < 2; frame++) {
        offer.as_frame = frame;
        give(&offer);
        assert_int_equal(epoch_of(node, 0), before);
    }
    offer.view.cluster.high ^= 1;
    offer.cut = 1; /* the rest of a frame is missing */
    give(&offer);
    assert_int_equal(epoch_of(node, 0), before);

    offer.as_frame = false;
    offer.view.group_count--;
    give(&offer);
    assert_int_equal(epoch_of(node, 0), before);
    offer.view.group_count++;
    cluster_view_free(&offer.view);
}

/* --- who must not serve on ------------------------------------------------------------- */

static void check_stops(struct offer *offer, const char *text)
{
    struct sim_incarnation *start = bed->cluster->nodes[offer->node->identity.node].now;

    bed->cluster->failures_expected = true;
    give(offer);
    cluster_view_free(&offer->view);
    sim_run_for(&bed->sim, 5 * SECOND);
    assert_true(start->stopped);
    assert_int_equal(start->error.status, STATUS_REFUSED);
    if (strstr(start->error.text, text) == NULL) fail_msg("%s", start->error.text);
}

static struct view_node *self_of(struct offer *offer)
{
    for (uint32_t i = 0; i < offer->view.node_count; i++)
        if (offer->view.nodes[i].id == offer->node->identity.node) return &offer->view.nodes[i];
    return NULL;
}

static void test_a_node_that_the_table_does_not_name_stops(void **state)
{
    struct offer offer;

    offer_make(&offer, bed_node(follower_of_meta()));
    *self_of(&offer) = offer.view.nodes[--offer.view.node_count];
    check_stops(&offer, "was removed from the cluster");
}

static void test_a_node_that_rejoined_with_another_directory_stops(void **state)
{
    struct offer offer;

    offer_make(&offer, bed_node(follower_of_meta()));
    self_of(&offer)->store++;
    check_stops(&offer, "has rejoined with another directory");
}

static void test_the_earlier_of_two_starts_stops(void **state)
{
    struct offer offer;

    offer_make(&offer, bed_node(follower_of_meta()));
    self_of(&offer)->epoch++;
    check_stops(&offer, "another process has started as node");
}

/* --- who hears of it ------------------------------------------------------------------- */

static void test_the_leader_of_meta_tells_everybody_and_others_nobody(void **state)
{
    node_id_t follower = follower_of_meta();
    node_id_t leader = bed_node(1)->workers[0].view.groups[GROUP_META].leader;
    struct offer offer;

    bed_watch(bed_node(follower), PEER_FRAME_TABLE);
    offer_make(&offer, bed_node(follower));
    give(&offer);
    assert_int_equal(bed->sent_count, 0);
    bed->watched->table = bed->table;

    bed_watch(bed_node(leader), PEER_FRAME_TABLE_CHANGE);
    offer.node = bed_node(leader);
    offer.view.table_epoch++;
    give(&offer);
    for (node_id_t id = 1; id <= 3; id++) {
        assert_int_equal(bed_sent_to(id), id != leader);
        assert_int_equal(epoch_of(bed_node(id), 0), offer.view.table_epoch);
    }
    cluster_view_free(&offer.view);
}

/* --- epochs ---------------------------------------------------------------------------- */

struct said {
    struct node *node;
    node_id_t from;
    struct bytes frame;
};

static void hear_said(void *context)
{
    const struct said *said = context;
    struct transport_peer peer = {.node = said->from, .epoch = 1};

    node_on_status_frame(said->node, &peer, said->frame);
}

/* A frame of kind 6, without its last `cut` bytes. */
static void hear_epoch(struct node *node, node_id_t from, uint64_t epoch, size_t cut)
{
    struct said said = {.node = node, .from = from};
    struct buffer buffer;

    buffer_init(&buffer, 32);
    struct writer writer = writer_make(&buffer);
    write_u8(&writer, 6);
    write_varint(&writer, epoch);
    said.frame = bytes_make(buffer_bytes(&buffer).data, buffer_size(&buffer) - cut);
    bed_call(node, hear_said, &said);
    sim_run_for(&bed->sim, 5 * MS);
    buffer_free(&buffer);
}

/* Frames of that kind to that node (0: any) since the last call. */
static uint32_t sent_of(uint8_t kind, node_id_t to)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < bed->sent_count; i++)
        count += bed->sent[i].bytes[0] == kind && (to == 0 || bed->sent[i].to == to);
    return count;
}

static uint32_t sent_since(uint64_t us, uint8_t kind, node_id_t to)
{
    bed->sent_count = 0;
    sim_run_for(&bed->sim, us);
    return sent_of(kind, to);
}

static void test_who_took_a_table_says_its_epoch_once(void **state)
{
    struct node *node = bed_node(follower_of_meta());
    struct offer offer;

    bed_watch(node, PEER_FRAME_STATUS);
    assert_int_equal(sent_since(3 * SECOND, STATUS_TABLE_EPOCH, 0), 0); /* at rest */
    offer_make(&offer, node);
    for (int i = 0; i < 3; i++) { /* of some that follow each other the last one is said */
        offer.view.table_epoch++;
        give(&offer);
    }
    assert_int_equal(sent_of(STATUS_TABLE_EPOCH, 0), 0);
    sim_run_for(&bed->sim, 300 * MS);
    for (node_id_t id = 1; id <= 3; id++)
        assert_int_equal(sent_of(STATUS_TABLE_EPOCH, id), id != node->identity.node);
    struct reader reader = reader_make(bytes_make(bed->sent[0].bytes + 1, bed->sent[0].size - 1));
    assert_int_equal(read_varint(&reader), offer.view.table_epoch);
    assert_int_equal(sent_since(5 * SECOND, STATUS_TABLE_EPOCH, 0), 0);
    for (node_id_t id = 1; id <= 3; id++) /* and so all have it */
        assert_int_equal(epoch_of(bed_node(id), 0), offer.view.table_epoch);
    cluster_view_free(&offer.view);
}

/* Leaders may wait for a table that its first word was lost of. */
static void test_epochs_are_said_again_while_groups_move(void **state)
{
    struct node *node = bed_node(follower_of_meta());
    struct offer offer;

    bed_watch(node, PEER_FRAME_STATUS);
    offer_make(&offer, node);
    offer.view.cluster_version = VIEW_VERSION;
    offer.view.groups[GROUP_META].moving = true; /* nobody says that this is settled */
    give(&offer);
    node_id_t other = node->identity.node == 1 ? 2 : 1;
    assert_in_range(sent_since(5 * SECOND, STATUS_TABLE_EPOCH, other), 4, 7);
    offer.view.groups[GROUP_META].moving = false;
    offer.view.table_epoch++;
    give(&offer);
    sim_run_for(&bed->sim, 2 * SECOND);
    assert_int_equal(sent_since(5 * SECOND, STATUS_TABLE_EPOCH, 0), 0);
    cluster_view_free(&offer.view);
}

static void test_who_hears_of_a_later_table_asks_one_for_it(void **state)
{
    struct node *node = bed_node(follower_of_meta());
    uint64_t own = epoch_of(node, 0);

    bed_watch(node, PEER_FRAME_STATUS);
    hear_epoch(node, 3, own + 9, 0);
    assert_int_equal(sent_of(STATUS_ASK_TABLE, 3), 1);
    for (uint32_t i = 1; i < 20; i++)
        hear_epoch(node, node->identity.node == 1 ? 2 : 1, own + 9 + i, 0);
    assert_int_equal(sent_of(STATUS_ASK_TABLE, 0), 1); /* a table may be large */
    sim_run_for(&bed->sim, 1 * SECOND);
    hear_epoch(node, 3, own + 9, 0);
    assert_int_equal(sent_of(STATUS_ASK_TABLE, 3), 2);
}

static void test_who_has_an_older_table_is_told_of_the_later_one(void **state)
{
    struct node *node = bed_node(follower_of_meta());
    uint64_t own = epoch_of(node, 0);

    bed_watch(node, PEER_FRAME_STATUS);
    hear_epoch(node, 3, own, 0);
    assert_int_equal(sent_of(STATUS_TABLE_EPOCH, 0), 0);
    hear_epoch(node, 3, own - 1, 0);
    assert_int_equal(sent_of(STATUS_TABLE_EPOCH, 3), 1);
    assert_int_equal(sent_of(STATUS_ASK_TABLE, 0), 0);
    hear_epoch(node, 3, UINT64_MAX, 1); /* the end of it is missing */
    hear_epoch(node, 3, 0, 1);
    assert_int_equal(sent_of(STATUS_ASK_TABLE, 0), 0);
    assert_int_equal(sent_of(STATUS_TABLE_EPOCH, 0), 1);
}

/* --- what reaches the disk ------------------------------------------------------------- */

static void take_two(void *context)
{
    struct offer *offer = context;

    take_offer(offer);
    offer->view.table_epoch++; /* while the first one is being written */
    take_offer(offer);
}

static void test_a_table_that_comes_during_a_write_is_written_behind_it(void **state)
{
    struct node *node = bed_node(follower_of_meta());
    struct offer offer;

    offer_make(&offer, node);
    bed_call(node, take_two, &offer);
    sim_run_for(&bed->sim, 1 * SECOND);
    assert_int_equal(bed_table_epoch(node->identity.node), offer.view.table_epoch);
    assert_int_equal(node->save.epoch_saved, offer.view.table_epoch);
    assert_false(node->save.busy);
    cluster_view_free(&offer.view);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, bed_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_newer_table_goes_to_all_workers_and_to_the_disk),
        TEST(test_a_newer_table_is_taken_from_a_frame),
        TEST(test_what_is_not_newer_or_not_ours_is_not_taken),
        TEST(test_a_node_that_the_table_does_not_name_stops),
        TEST(test_a_node_that_rejoined_with_another_directory_stops),
        TEST(test_the_earlier_of_two_starts_stops),
        TEST(test_the_leader_of_meta_tells_everybody_and_others_nobody),
        TEST(test_who_took_a_table_says_its_epoch_once),
        TEST(test_epochs_are_said_again_while_groups_move),
        TEST(test_who_hears_of_a_later_table_asks_one_for_it),
        TEST(test_who_has_an_older_table_is_told_of_the_later_one),
        TEST(test_a_table_that_comes_during_a_write_is_written_behind_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
