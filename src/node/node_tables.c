/* The table, from node to node.
 *
 * Meta's leader sends all what a new one has changed, or the whole where that is much; and who gets
 * a link sends its own, whole. Neither reaches a node that meta's leader has no link to (F43): so
 * whoever has adopted a table says its epoch, and who hears of a later one than its own asks for
 * it. While groups move, leaders wait for tables, and epochs are said again each second; a cluster
 * at rest says nothing.
 *
 * PEER_FRAME_STATUS table-epoch: u8 6 | varint epoch. Answered by a later epoch, or by ask-table.
 * PEER_FRAME_TABLE: the view (cluster/view_codec.h). PEER_FRAME_TABLE_CHANGE:
 * cluster/view_change.h; who has another table than it is meant for asks for the whole. Worker 0.
 */
#include "cluster/view_codec.h"
#include "node/node_snapshot.h"
#include "world/probe.h"

enum {
    TABLES_SAY_US = 200 * 1000, /* after a change: of several that follow each other one is said */
    TABLES_AGAIN_US = 1000 * 1000,
    TABLES_TRIES = 30, /* for one that is heard of: it may be of another version, or not be */
};

/* --- tables --------------------------------------------------------------------------- */

/* A change of the table is sent to many: it is encoded once. */
struct bytes node_encoded_table(struct node *node)
{
    struct node_tables *tables = &node->tables;
    const struct cluster_view *view = &node->workers[0].view;

    if (tables->encoded_epoch != view->table_epoch) {
        buffer_free(&tables->encoded);
        buffer_init(&tables->encoded, VIEW_SIZE_MAX);
        cluster_view_encode(view, &tables->encoded);
        tables->encoded_epoch = view->table_epoch;
    }
    return buffer_bytes(&tables->encoded);
}

void node_send_table(struct node *node, node_id_t to)
{
    struct node_worker *zero = &node->workers[0];

    if (zero->transport == NULL || zero->view.table_epoch == 0) return;
    transport_send(zero->transport, to, 0, PEER_FRAME_TABLE, node_encoded_table(node));
}

/* What the table has changed, to those who had the one before. */
static void note_change(struct node *node)
{
    struct node_tables *tables = &node->tables;
    const struct cluster_view *view = &node->workers[0].view;
    struct view_marks before = tables->marks;

    tables->marks = (struct view_marks){0};
    view_marks_take(&tables->marks, view);
    buffer_free(&tables->change);
    buffer_init(&tables->change, VIEW_CHANGE_SIZE_MAX);
    view_change_encode(&before, &tables->marks, view, &tables->change);
    view_marks_free(&before);
}

static void send_news(struct node *node, node_id_t to)
{
    struct node_worker *zero = &node->workers[0];
    const struct node_tables *tables = &node->tables;
    bool small = zero->view.table_epoch == tables->marks.epoch && buffer_size(&tables->change) > 0;

    if (!small)
        node_send_table(node, to);
    else if (zero->transport != NULL)
        transport_send(zero->transport, to, 0, PEER_FRAME_TABLE_CHANGE,
                       buffer_bytes(&tables->change));
}

/* The leader of meta tells everybody: nodes without a replica of it, and those whose replica is
 * lost or still being filled. Who has read the rows already takes no notice. */
void node_spread_table(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;

    if (view->groups[GROUP_META].leader != view->self) return;
    for (uint32_t i = 0; i < view->node_count; i++)
        if (view->nodes[i].id != view->self) send_news(node, view->nodes[i].id);
}

static void take_table(struct node *node, node_id_t from, const struct cluster_view *view)
{
    node_confirm_table(node, from, view);
    if (node->state == NODE_RUNNING && !node->fail_pending) node_adopt_view(node, view);
}

void node_on_table_change(struct node *node, node_id_t from, struct bytes payload)
{
    const struct cluster_view *own = &node->workers[0].view;
    uint64_t base, epoch;
    struct cluster_view view;

    if (node->state != NODE_RUNNING && node->state != NODE_OPENING) return;
    if (view_change_epochs(payload, &base, &epoch) != STATUS_OK || epoch <= own->table_epoch)
        return;
    cluster_view_init(&view);
    if (view_change_apply(payload, own, &view) == STATUS_OK) {
        SOMETIMES(node->world, "a table came as what it has changed");
        take_table(node, from, &view);
    } else {
        SOMETIMES(node->world, "a change was of another table, and the whole was asked for");
        node_on_table_epoch(node, from, epoch);
    }
    cluster_view_free(&view);
}

void node_on_table(struct node *node, node_id_t from, struct bytes payload)
{
    struct cluster_view view;

    if (node->state != NODE_RUNNING && node->state != NODE_OPENING) return;
    cluster_view_init(&view);
    bool sound = cluster_view_decode(payload, &view) == STATUS_OK &&
                 cluster_id_equal(view.cluster, node->identity.cluster) &&
                 view.cluster_version <= node_newest_version(node);
    if (sound) take_table(node, from, &view);
    cluster_view_free(&view);
}

/* --- epochs --------------------------------------------------------------------------- */

static void say_epoch(struct node *node, node_id_t to)
{
    struct node_worker *zero = &node->workers[0];
    struct buffer frame;

    buffer_init(&frame, 16);
    struct writer writer = writer_make(&frame);
    write_u8(&writer, STATUS_TABLE_EPOCH);
    write_varint(&writer, zero->view.table_epoch);
    transport_send(zero->transport, to, 0, PEER_FRAME_STATUS, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void say_in(struct node *node, uint64_t us)
{
    struct node_tables *tables = &node->tables;
    uint64_t at = world_now(node->world) + us;
    bool earlier = tables->timer.heap_index != 0 && tables->say_at <= at;

    if (node->state != NODE_RUNNING || tables->timer.fire == NULL || earlier) return;
    tables->say_at = at;
    world_timer_start(node->world, &tables->timer, us);
}

/* Who has heard of a later table says its own until it has that: others answer with theirs. */
static void say(struct world_timer *timer)
{
    struct node *node = timer->context;
    struct node_worker *zero = &node->workers[0];
    const struct cluster_view *view = &zero->view;

    if (zero->transport == NULL) return;
    for (uint32_t i = 0; i < view->node_count; i++) {
        node_id_t to = view->nodes[i].id;
        if (to != view->self && transport_is_up(zero->transport, to)) say_epoch(node, to);
    }
    if (node->tables.epoch_heard > view->table_epoch && ++node->tables.epoch_tries > TABLES_TRIES) {
        LOG_WARN(node_logger(node), "node",
                 "somebody knows table epoch %llu, and nobody sends it: the own is %llu",
                 (unsigned long long)node->tables.epoch_heard,
                 (unsigned long long)view->table_epoch);
        node->tables.epoch_given_up = node->tables.epoch_heard;
        node->tables.epoch_heard = 0;
    }
    if (cluster_view_moving(view) > 0 || node->tables.epoch_heard > view->table_epoch)
        say_in(node, TABLES_AGAIN_US);
}

void node_tables_changed(struct node *node)
{
    note_change(node);
    node_spread_table(node);
    say_in(node, TABLES_SAY_US);
}

void node_on_table_epoch(struct node *node, node_id_t from, uint64_t epoch)
{
    const uint8_t ask = STATUS_ASK_TABLE;
    struct node_tables *tables = &node->tables;
    struct node_worker *zero = &node->workers[0];
    uint64_t now = world_now(node->world), own = zero->view.table_epoch;

    if (zero->transport == NULL || epoch == own || PLANTED(node->world, "table_epochs_unheard"))
        return;
    if (epoch < own) {
        say_epoch(node, from);
        return;
    }
    if (epoch <= tables->epoch_given_up && cluster_view_moving(&zero->view) == 0) return;
    if (epoch > tables->epoch_heard) {
        tables->epoch_heard = epoch;
        tables->epoch_tries = 0;
    }
    say_in(node, TABLES_AGAIN_US);
    /* One of all that say so: a table may be large. */
    if (tables->asked_at != 0 && now - tables->asked_at < TABLES_AGAIN_US) return;
    tables->asked_at = now;
    SOMETIMES(node->world, "a node asked for a table that meta's leader had not sent it");
    transport_send(zero->transport, from, 0, PEER_FRAME_STATUS, bytes_make(&ask, 1));
}

/* --- life ----------------------------------------------------------------------------- */

void node_tables_start(struct node *node)
{
    node->tables.timer = (struct world_timer){.fire = say, .context = node};
}

void node_tables_stop(struct node *node)
{
    world_timer_stop(node->world, &node->tables.timer);
    node->tables.timer.fire = NULL;
}

void node_tables_free(struct node *node)
{
    buffer_free(&node->tables.encoded);
    buffer_free(&node->tables.change);
    view_marks_free(&node->tables.marks);
}
