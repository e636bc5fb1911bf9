/* Members of groups while operators move them, seen from outside (FAULTS rule 8 and 9, WHY 6.3,
 * 6.5). The newest configuration that anybody ever knew to be committed is remembered here, over
 * all crashes, and the newest table; and where each replica was last seen to run.
 *
 *   rule 8  a voter of that configuration does not go from a node that runs
 *   rule 9  a replica that went is not born again under its id. (After a restart it may run again
 *           with what it had, if its end was not durable: without that R-6 says so.)
 *   WHY 6.3 a table says that a group is settled only if it is
 *   WHY 6.5 a node is out of the table only if no configuration names it
 *
 * Only where nothing else takes replicas away: no store is damaged, no disk is emptied. */
#include "base/memory.h"
#include "node/node_internal.h"
#include "sim/sim_inspect.h"

#include <inttypes.h>

enum { GONE_MAX = 512 };

struct here { /* of a group on a node, in its present process */
    struct sim_incarnation *incarnation;
    struct replica_id replica; /* 0: none runs */
};

struct moved_group {
    struct raft_config committed;
    struct here here[SIM_NODES_MAX + 1];
    struct view_group table;
};

struct sim_moves {
    struct sim_cluster *cluster;
    uint32_t group_count;
    uint64_t table_epoch;
    uint64_t nodes; /* of the table, bits by id */
    uint32_t gone_count;
    struct {
        uint32_t group;
        struct replica_id replica;
        struct sim_incarnation *incarnation;
    } gone[GONE_MAX]; /* the latest */
    struct moved_group groups[];
};

struct sim_moves *sim_moves_make(struct sim_cluster *cluster)
{
    uint32_t groups = GROUP_DATA_FIRST + cluster->options.partitions;
    struct sim_moves *moves =
        memory_allocate_zero(sizeof(*moves) + groups * sizeof(moves->groups[0]));

    moves->cluster = cluster;
    moves->group_count = groups;
    return moves;
}

/* --- configurations ----------------------------------------------------------------------- */

static bool has(const struct raft_member *members, uint32_t count, struct replica_id id)
{
    for (uint32_t i = 0; i < count; i++)
        if (replica_id_equal(members[i].replica, id)) return true;
    return false;
}

static bool names_node(const struct raft_config *config, node_id_t node)
{
    const struct raft_member *lists[] = {config->incoming, config->outgoing, config->learners};
    const uint32_t counts[] = {config->incoming_count, config->outgoing_count,
                               config->learner_count};

    for (uint32_t list = 0; list < 3; list++)
        for (uint32_t i = 0; i < counts[list]; i++)
            if (lists[list][i].node == node) return true;
    return false;
}

static void take_config(struct sim_moves *moves, uint32_t group, const struct raft *raft)
{
    struct raft_config *newest = &moves->groups[group].committed;
    const struct raft_config *config = raft_config_at(raft, raft_commit_index(raft));

    if (config->index > raft_commit_index(raft)) return; /* all that is in memory is newer */
    if (config->index > newest->index || newest->incoming_count == 0) *newest = *config;
}

/* --- replicas that go, and come ------------------------------------------------------------ */

static bool went_before(const struct sim_moves *moves, struct sim_incarnation *incarnation,
                        uint32_t group, struct replica_id id)
{
    for (uint32_t i = 0; i < GONE_MAX; i++)
        if (moves->gone[i].group == group && moves->gone[i].incarnation == incarnation &&
            replica_id_equal(moves->gone[i].replica, id))
            return true;
    return false;
}

static void went(struct sim_moves *moves, struct sim_incarnation *incarnation, uint32_t group,
                 struct replica_id id)
{
    const struct raft_config *config = &moves->groups[group].committed;
    uint32_t at = moves->gone_count++ % GONE_MAX;

    moves->gone[at].group = group;
    moves->gone[at].replica = id;
    moves->gone[at].incarnation = incarnation;
    if (has(config->incoming, config->incoming_count, id) ||
        has(config->outgoing, config->outgoing_count, id))
        sim_violation(moves->cluster->sim,
                      "FAULTS rule 8: replica %" PRIu64 " of group %u is gone from node %u though "
                      "no committed configuration removed it",
                      id.value, group, incarnation->of->id);
}

static void take_here(struct sim_moves *moves, struct sim_incarnation *incarnation, uint32_t group,
                      struct replica_id id)
{
    struct here *here = &moves->groups[group].here[incarnation->of->id];
    struct replica_id old = here->incarnation == incarnation ? here->replica : id;

    here->incarnation = incarnation;
    here->replica = id;
    if (old.value == id.value) return;
    if (old.value != 0) went(moves, incarnation, group, old);
    if (id.value != 0 && went_before(moves, incarnation, group, id))
        sim_violation(moves->cluster->sim,
                      "FAULTS rule 9: replica %" PRIu64 " of group %u went from node %u, and was "
                      "born again there",
                      id.value, group, incarnation->of->id);
}

/* --- tables -------------------------------------------------------------------------------- */

static bool is_as_wished(const struct raft_config *config, const struct view_group *table)
{
    bool same = config->outgoing_count == 0 && config->learner_count == 0 &&
                config->incoming_count == table->replica_count;

    for (uint32_t i = 0; same && i < table->replica_count; i++)
        same = has(config->incoming, config->incoming_count, table->replicas[i].replica);
    return same;
}

static void check_group(const struct sim_moves *moves, uint32_t group, const struct view_group *new,
                        bool next)
{
    const struct moved_group *at = &moves->groups[group];

    /* With tables between the two that nobody saw it may have been settled, and got a new id for
     * what was lost. */
    if (next && at->table.moving && !new->moving && !is_as_wished(&at->committed, new))
        sim_violation(moves->cluster->sim,
                      "WHY 6.3: table %" PRIu64 " says that group %u is settled, but its newest "
                      "committed configuration (at %" PRIu64 ") is another one",
                      moves->table_epoch + 1, group, at->committed.index);
}

static void check_removed(const struct sim_moves *moves, uint64_t nodes)
{
    for (node_id_t id = 1; id <= moves->cluster->options.nodes; id++) {
        if (!(moves->nodes >> id & 1) || (nodes >> id & 1)) continue;
        for (uint32_t group = 0; group < moves->group_count; group++)
            if (names_node(&moves->groups[group].committed, id))
                sim_violation(moves->cluster->sim,
                              "WHY 6.5: node %u was removed, and group %u has a member there", id,
                              group);
    }
}

static void take_table(struct sim_moves *moves, const struct cluster_view *view)
{
    uint64_t nodes = 0;
    bool first = moves->table_epoch == 0, next = view->table_epoch == moves->table_epoch + 1;

    if (view->table_epoch <= moves->table_epoch || view->group_count < moves->group_count) return;
    for (uint32_t i = 0; i < view->node_count; i++)
        nodes |= UINT64_C(1) << view->nodes[i].id;
    for (uint32_t group = 0; group < moves->group_count; group++) {
        if (!first) check_group(moves, group, &view->groups[group], next);
        moves->groups[group].table = view->groups[group];
    }
    if (!first) check_removed(moves, nodes);
    moves->nodes = nodes;
    moves->table_epoch = view->table_epoch;
}

/* ------------------------------------------------------------------------------------------- */

void sim_moves_look(struct sim_moves *moves, struct sim_incarnation *incarnation, uint32_t worker)
{
    const struct node *node = incarnation->node;
    struct partition_host *host = node_host(incarnation->node, worker);

    if (node->state != NODE_RUNNING || node->fail_pending || moves->cluster->sim->failed) return;
    for (uint32_t group = 0; group < moves->group_count; group++) {
        const struct raft *raft = host_raft(host, (struct group_id){group});
        if (raft != NULL) take_config(moves, group, raft);
    }
    for (uint32_t group = 0; group < moves->group_count; group++) {
        if (group_worker((struct group_id){group}, moves->cluster->options.stores,
                         moves->cluster->options.workers) != worker)
            continue;
        take_here(moves, incarnation, group, host_replica_id(host, (struct group_id){group}));
    }
    if (worker != 0) return;
    take_table(moves, &node->workers[0].view);
    for (uint32_t store = 0; store < moves->cluster->options.stores; store++)
        if (node->stores[store].state != STORE_SOUND)
            sim_violation(
                moves->cluster->sim,
                "FAULTS rule 9: store %u of node %u was given up, and nothing had damaged "
                "it: %.200s",
                store, incarnation->of->id, node->stores[store].cause.text);
}
