/* What the cluster as a whole looks like from outside: who leads, who is missing, and whether
 * replicas at rest are equal. */
#include "base/hash.h"
#include "partition/host.h"
#include "sim/sim_inspect.h"

#include <inttypes.h>
#include <stdio.h>

node_id_t sim_inspect_leading(struct sim_cluster *cluster, uint32_t group)
{
    node_id_t leader = 0;
    uint64_t term = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        struct sim_node *node = &cluster->nodes[i];
        const struct raft *raft = sim_node_is_up(node) ? sim_inspect_raft(node->now, group) : NULL;
        if (raft == NULL || raft_role(raft) != RAFT_LEADER || raft_term(raft) < term) continue;
        term = raft_term(raft);
        leader = i;
    }
    return leader;
}

struct replica_id sim_inspect_replica_id(struct sim_incarnation *incarnation, uint32_t group)
{
    struct replica_status status;

    for (uint32_t worker = 0; worker < incarnation->platform.worker_count; worker++) {
        struct partition_host *host = node_host(incarnation->node, worker);
        for (uint32_t i = 0; host && i < host_replica_count(host); i++) {
            host_replica_status(host, i, &status);
            if (status.group.value == group) return status.replica;
        }
    }
    return (struct replica_id){0};
}

node_id_t sim_inspect_leader(struct sim_cluster *cluster, uint32_t group)
{
    node_id_t leader = sim_inspect_leading(cluster, group);

    if (leader == 0) return 0;
    struct sim_node *node = &cluster->nodes[leader];
    return raft_can_evaluate(sim_inspect_raft(node->now, group), sim_inspect_local_now(node))
               ? leader
               : 0;
}

void sim_inspect_missing(struct sim_cluster *cluster, char *text, size_t size)
{
    size_t used = 0;

    text[0] = 0;
    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (!sim_node_is_ready(node) && used < size)
            used += (size_t)snprintf(text + used, size - used, " node %u is %s,", i,
                                     sim_node_is_up(node) ? "not ready" : "down");
    }
    for (uint32_t group = 0; group < GROUP_DATA_FIRST + cluster->options.partitions; group++)
        if (group != GROUP_COORD && sim_inspect_leader(cluster, group) == 0 && used < size)
            used += (size_t)snprintf(text + used, size - used, " group %u has no leader,", group);
}

bool sim_inspect_leaders(struct sim_cluster *cluster, uint32_t nodes)
{
    uint32_t groups = GROUP_DATA_FIRST + cluster->options.partitions;

    for (uint32_t group = 0; group < groups; group++) {
        node_id_t leader = group == GROUP_COORD ? 1 : sim_inspect_leader(cluster, group);
        if (leader == 0) return false;
        if (group != GROUP_COORD && !(nodes >> leader & 1)) return false;
    }
    return true;
}

uint32_t sim_inspect_group_of_key(const struct sim_cluster *cluster, uint32_t key)
{
    char text[32];

    snprintf(text, sizeof(text), "key:%u", key);
    uint16_t slot = key_slot(bytes_of(text));
    uint64_t partitions = cluster->options.partitions;
    /* The founding's table: partition p begins at slot p * 16384 / partitions, rounded down. */
    return GROUP_DATA_FIRST + (uint32_t)(((slot + 1) * partitions - 1) / SLOT_COUNT);
}

/* A voter whose disk was emptied stays in the configuration until the leader hears of it. */
static bool voters_run(struct sim_cluster *cluster, uint32_t group,
                       const struct raft_config *config)
{
    for (uint8_t i = 0; i < config->incoming_count; i++) {
        const struct raft_member *voter = &config->incoming[i];
        struct sim_node *node = &cluster->nodes[voter->node];
        if (!sim_node_is_up(node) ||
            !replica_id_equal(sim_inspect_replica_id(node->now, group), voter->replica))
            return false;
    }
    return true;
}

bool sim_inspect_settled(struct sim_cluster *cluster)
{
    uint32_t groups = GROUP_DATA_FIRST + cluster->options.partitions;
    uint32_t wanted = cluster->options.replicas < cluster->options.nodes ? cluster->options.replicas
                                                                         : cluster->options.nodes;

    for (uint32_t group = 0; group < groups; group++) {
        if (group == GROUP_COORD) continue;
        node_id_t leader = sim_inspect_leader(cluster, group);
        const struct raft *raft =
            leader ? sim_inspect_raft(cluster->nodes[leader].now, group) : NULL;
        if (raft == NULL) return false;
        const struct raft_config *config = raft_config(raft);
        if (config->outgoing_count || config->learner_count) return false;
        if (group != GROUP_META && config->incoming_count != wanted) return false;
        if (!voters_run(cluster, group, config)) return false;
    }
    return true;
}

struct rest {
    uint64_t applied, hash;
    node_id_t node;
    bool known;
};

static bool compare_replica(struct sim_cluster *cluster, node_id_t id, uint32_t group,
                            struct rest *rest, char *text, size_t size)
{
    struct sim_incarnation *incarnation = cluster->nodes[id].now;
    struct replica_status status;

    for (uint32_t worker = 0; worker < incarnation->platform.worker_count; worker++) {
        struct partition_host *host = node_host(incarnation->node, worker);
        for (uint32_t i = 0; host && i < host_replica_count(host); i++) {
            host_replica_status(host, i, &status);
            if (status.group.value != group) continue;
            uint64_t hash;
            if (!host_state_hash(host, status.group, &hash)) {
                snprintf(text, size, "group %u: node %u takes a snapshot in", group, id);
                return false;
            }
            if (!rest->known) *rest = (struct rest){status.applied, hash, id, true};
            if (status.applied != rest->applied) {
                snprintf(text, size,
                         "group %u: node %u applied %" PRIu64 ", node %u applied %" PRIu64, group,
                         id, status.applied, rest->node, rest->applied);
                return false;
            }
            if (hash == rest->hash) continue;
            sim_violation(cluster->sim,
                          "S-1: group %u: nodes %u and %u applied %" PRIu64
                          " and have different state",
                          group, rest->node, id, status.applied);
            return false;
        }
    }
    return true;
}

bool sim_inspect_replicas_equal(struct sim_cluster *cluster, uint32_t nodes, char *text,
                                size_t text_size)
{
    uint32_t groups = GROUP_DATA_FIRST + cluster->options.partitions;

    for (uint32_t group = 0; group < groups; group++) {
        struct rest rest = {0};
        for (node_id_t id = 1; id <= cluster->options.nodes; id++) {
            if (!(nodes >> id & 1)) continue;
            if (!sim_node_is_up(&cluster->nodes[id])) {
                snprintf(text, text_size, "node %u is down", id);
                return false;
            }
            if (!compare_replica(cluster, id, group, &rest, text, text_size)) return false;
        }
    }
    return true;
}
