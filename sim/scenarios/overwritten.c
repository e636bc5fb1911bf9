/* Copying forward beside an overwritten tail (WHY 5.2): one segment has two entries with the same
 * index, and the later one counts. */
#include "partition/host.h"
#include "sim/scenarios/stage.h"

enum {
    GROUP = GROUP_DATA_FIRST,
    REGISTERS = 90,
    ROUNDS = 10,
    WRITES_MAX = 3,
    STEP_US = 20,
    ELECT_US = 4 * STAGE_S,
    COPY_US = 60 * STAGE_S,
    FREE_US = 20 * STAGE_S,
};

static const int64_t value_first = INT64_C(1) << 40; /* other clients count from 1 */
static const char first_segment[] = "/log/0000000000000001.seg";

struct tail {
    node_id_t old;     /* led; its entries are the ones that are overwritten */
    node_id_t next;    /* leads after it, and commits its own with it */
    node_id_t witness; /* voted for `next`, and knows nothing of its entries */
    uint64_t index;    /* of the first entry that is overwritten */
};

static uint32_t bit(node_id_t node)
{
    return 1u << node;
}

static uint32_t everybody(const struct sim_bed *bed)
{
    return ((1u << bed->cluster->options.nodes) - 1) << 1;
}

/* The nodes of the group's replicas, as its leader has them. */
static uint32_t members(struct sim_bed *bed, node_id_t leader)
{
    const struct raft_config *config = raft_config(stage_raft(bed, leader));
    uint32_t nodes = 0;

    for (uint32_t i = 0; i < config->incoming_count; i++)
        nodes |= bit(config->incoming[i].node);
    return nodes;
}

static uint64_t last_of(struct sim_bed *bed, node_id_t node)
{
    return raft_last_index(stage_raft(bed, node));
}

/* A leader that nobody hears has entries of its own. */
static void write_alone(struct sim_bed *bed, struct sim_client *client, const struct tail *tail,
                        int64_t value)
{
    uint64_t left = stage_draw(bed, 1, WRITES_MAX), end;

    sim_client_connect(client, tail->old);
    sim_run_for(&bed->sim, 5 * STAGE_MS);
    stage_only(bed, 0);
    if (!sim_client_connected(client)) return;
    uint64_t wanted = last_of(bed, tail->old) + left;
    for (uint32_t key = 0; key < REGISTERS && left > 0; key++) {
        if (sim_inspect_group_of_key(bed->cluster, key) != GROUP) continue;
        sim_client_send(client, SIM_OP_SET, key, value++);
        left--;
    }
    sim_client_flush(client);
    end = bed->sim.now + 30 * STAGE_MS;
    while (!bed->sim.failed && bed->sim.now < end && last_of(bed, tail->old) < wanted)
        sim_run_for(&bed->sim, STEP_US);
    stage_only(bed, everybody(bed) & ~bit(tail->old));
}

/* Another leads. Its first entry reaches nobody but the one that led, which overwrites its own by
 * it; it is committed by that, and nobody else hears of it. */
static bool overwrite(struct sim_bed *bed, uint32_t others, struct tail *tail)
{
    tail->next = stage_catch(bed, others, RAFT_LEADER, ELECT_US);
    if (tail->next == 0) return false;
    tail->witness = (node_id_t)__builtin_ctz(others & ~bit(tail->next));
    stage_only(bed, bit(tail->old) | bit(tail->next));
    tail->index = last_of(bed, tail->next);
    if (last_of(bed, tail->old) < tail->index || last_of(bed, tail->witness) >= tail->index)
        return false; /* nothing to overwrite, or two have heard of it */
    uint64_t end = bed->sim.now + STAGE_S;
    while (!bed->sim.failed && bed->sim.now < end &&
           raft_commit_index(stage_raft(bed, tail->next)) < tail->index)
        sim_run_for(&bed->sim, STEP_US);
    stage_only(bed, everybody(bed) & ~bit(tail->next) & ~bit(tail->witness));
    return !bed->sim.failed && raft_commit_index(stage_raft(bed, tail->next)) >= tail->index &&
           raft_commit_index(stage_raft(bed, tail->old)) < tail->index;
}

static bool make_tail(struct sim_bed *bed, struct sim_client *client, int64_t value,
                      struct tail *ret_tail)
{
    *ret_tail = (struct tail){.old = stage_leader(bed)};
    if (ret_tail->old == 0) return false;
    uint32_t others = members(bed, ret_tail->old) & ~bit(ret_tail->old);
    write_alone(bed, client, ret_tail, value);
    return overwrite(bed, others, ret_tail);
}

/* Others write, until the segment with both entries was copied and freed. */
static bool copy_tail(struct sim_bed *bed, const struct tail *tail)
{
    struct sim_disk *disk = stage_node(bed, tail->old)->machine.disk;
    uint64_t end = bed->sim.now + COPY_US;

    if (sim_disk_file_size(disk, first_segment) == 0) return false;
    while (!bed->sim.failed && bed->sim.now < end && sim_disk_file_size(disk, first_segment) != 0)
        sim_run_for(&bed->sim, 50 * STAGE_MS);
    return !bed->sim.failed && bed->sim.now < end;
}

/* Who has the committed entry from its log alone leads, with the vote of the one that lacks it. */
static bool lead_by_it(struct sim_bed *bed, const struct tail *tail)
{
    struct sim_node *node = stage_node(bed, tail->old);

    sim_fault_hit(&bed->sim, SIM_FAULT_POWER_LOSS);
    sim_node_power_loss(node);
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    sim_node_start(node);
    stage_only(bed, everybody(bed) & ~bit(tail->next));
    uint32_t both = bit(tail->old) | bit(tail->witness);
    return stage_catch(bed, both, RAFT_LEADER, 4 * ELECT_US) == tail->old;
}

/* Goal: of two entries with one index the one that counts is copied forward, and is there when the
 * old segment is not.
 * Method: a leader writes alone, the next one overwrites that, and both are cut off from the third,
 * so that the group can neither commit nor flush; small log, others write; a loss of power. */
void scenario_overwritten_tail(struct sim_bed *bed)
{
    struct sim_plan plan;
    struct tail tail = {0};
    bool made = false;

    stage_plan(&plan);
    stage_pinned_log_plan(&plan);
    plan.workload.registers = REGISTERS;
    plan.workload.pad_max = 16000; /* an outcome of GETSET has room: OUTCOME_SIZE_MAX */
    if (!stage_found(bed, &plan)) return;
    struct sim_client *client = sim_client_manual(bed->clients, 1);
    for (int round = 0; round < ROUNDS && !made && !bed->sim.failed; round++) {
        made = make_tail(bed, client, value_first + round * WRITES_MAX, &tail);
        if (!made && !stage_repair(bed)) return;
        if (!made) sim_run_for(&bed->sim, 500 * STAGE_MS);
    }
    sim_fault_hit(&bed->sim, SIM_FAULT_PARTITION);
    sim_clients_start(bed->clients);
    if (made) sim_clients_use(bed->clients, everybody(bed) & ~bit(tail.next) & ~bit(tail.witness));
    if (made && copy_tail(bed, &tail) && lead_by_it(bed, &tail))
        sim_reached(&bed->sim, "scenario: an overwritten tail was copied forward");
    stage_judge(bed);
}
