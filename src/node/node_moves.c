/* How far moves and rebuilds are, for /status, `holon status` and the page: what leaders send, from
 * the reports of all nodes, by the node that gets it; and how many groups are still to be moved,
 * which meta's leader knows. Worker 0. */
#include <jansson.h>

#include "node/node_snapshot.h"

enum { MOVES_SECONDS_MAX = 30 * 24 * 3600 }; /* estimates beyond that are none */

struct moves {
    uint32_t groups_left, groups_total;
    struct host_copies sum, nodes[NODES_MAX + 1];
    uint64_t bytes_left; /* of the whole, what is not begun included */
    bool bytes_known;    /* else nobody can say yet */
};

bool copies_are_told(const struct host_copies *copies)
{
    return copies->left > 0 || copies->bytes_per_second > 0;
}

void copies_add(struct host_copies *sum, const struct host_copies *part)
{
    sum->left += part->left;
    sum->unsized += part->unsized;
    sum->bytes_sent += part->bytes_sent;
    sum->bytes_total += part->bytes_total;
    sum->done += part->done;
    sum->bytes_done += part->bytes_done;
    sum->bytes_per_second += part->bytes_per_second;
}

/* What a copy takes, as far as was seen; 0: nothing was. */
static uint64_t bytes_of_a_copy(const struct host_copies *copies)
{
    uint64_t sized = copies->done + copies->left - copies->unsized;

    return sized > 0 ? (copies->bytes_done + copies->bytes_total) / sized : 0;
}

/* Those that have no size count as the others. */
static bool left_of(const struct host_copies *copies, uint64_t more_copies, uint64_t *ret_bytes)
{
    uint64_t unknown = copies->unsized + more_copies, each = bytes_of_a_copy(copies);

    *ret_bytes = copies->bytes_total - copies->bytes_sent + unknown * each;
    return unknown == 0 || each > 0;
}

static void take_report(struct moves *moves, const struct host_copies *copies, uint32_t groups_left,
                        uint32_t groups_total)
{
    for (uint32_t id = 0; id <= NODES_MAX; id++)
        copies_add(&moves->nodes[id], &copies[id]);
    if (groups_total <= moves->groups_total) return;
    moves->groups_left = groups_left; /* two may believe that they lead meta: who knows of more */
    moves->groups_total = groups_total;
}

static void gather(struct node *node, struct moves *moves)
{
    const struct node_collector *collector = node->collector;
    uint32_t left = 0, total = 0;

    if (collector == NULL) return;
    node_mover_progress(node, &left, &total);
    take_report(moves, collector->sum.copies, left, total);
    for (node_id_t id = 1; id <= node->member_count; id++) {
        const struct node_report *report = &collector->reports[id];
        if (id != node->identity.node && report->question == collector->question)
            take_report(moves, report->copies, report->groups_left, report->groups_total);
    }
    for (uint32_t id = 0; id <= NODES_MAX; id++)
        if (copies_are_told(&moves->nodes[id])) copies_add(&moves->sum, &moves->nodes[id]);
    /* Each group that is not begun is one copy at least. */
    uint32_t moving = cluster_view_moving(&node->workers[0].view);
    uint32_t waiting = moves->groups_left > moving ? moves->groups_left - moving : 0;
    moves->bytes_known = left_of(&moves->sum, waiting, &moves->bytes_left);
}

static json_t *seconds_json(bool known, uint64_t bytes_left, uint64_t rate)
{
    if (!known || rate == 0 || bytes_left == 0) return json_null();
    uint64_t seconds = (bytes_left + rate - 1) / rate;
    return seconds <= MOVES_SECONDS_MAX ? json_integer((json_int_t)seconds) : json_null();
}

static json_t *node_json(const struct cluster_view *view, node_id_t id,
                         const struct host_copies *copies)
{
    const struct view_node *known = cluster_view_node(view, id);
    uint64_t left;
    bool is_known = left_of(copies, 0, &left);

    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "node", known ? known->name : "",
                     "replicas_left", (json_int_t)copies->left, "replicas_total",
                     (json_int_t)(copies->left + copies->done), "bytes_sent",
                     (json_int_t)(copies->bytes_sent + copies->bytes_done), "bytes_total",
                     (json_int_t)(copies->bytes_sent + copies->bytes_done + left),
                     "bytes_per_second", (json_int_t)copies->bytes_per_second, "seconds_left",
                     seconds_json(is_known, left, copies->bytes_per_second));
}

json_t *node_moves_json(struct node *node)
{
    const struct cluster_view *view = &node->workers[0].view;
    struct moves *moves = memory_allocate_zero(sizeof(*moves));
    json_t *nodes = json_array(), *json = json_null();

    gather(node, moves);
    for (node_id_t id = 1; id <= NODES_MAX; id++)
        if (copies_are_told(&moves->nodes[id]))
            json_array_append_new(nodes, node_json(view, id, &moves->nodes[id]));
    if (moves->groups_left > 0 || moves->sum.left > 0)
        json = json_pack(
            "{s:i, s:i, s:I, s:I, s:I, s:o, s:O}", "groups_left", (int)moves->groups_left,
            "groups_total", (int)moves->groups_total, "bytes_sent",
            (json_int_t)(moves->sum.bytes_sent + moves->sum.bytes_done), "bytes_total",
            (json_int_t)(moves->sum.bytes_sent + moves->sum.bytes_done + moves->bytes_left),
            "bytes_per_second", (json_int_t)moves->sum.bytes_per_second, "seconds_left",
            seconds_json(moves->bytes_known, moves->bytes_left, moves->sum.bytes_per_second),
            "nodes", nodes);
    json_decref(nodes);
    memory_free(moves);
    return json;
}
