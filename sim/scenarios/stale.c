/* Stale reads (HOLON.READS; partition/stale.h). The checker holds each of them against what
 * all clients were told, by the virtual time. */
#include "sim/scenarios/stage.h"

enum {
    READERS_MAX = 5,
    KEYS = 3,
    STEP_US = 10 * STAGE_MS,
    DRIFT_PPM = 100000,
    OWN_VALUES = 1000 * 1000 * 1000, /* of readers that write; the others' are below */
    BOUND_MIN_MS = 100,
};

/* A client of one node that reads stale. */
struct stale_reader {
    struct sim_client *client;
    node_id_t node;
    uint32_t bound_ms, bound_max_ms;
    uint32_t write_percent;
    bool asked;    /* something is open: `last` and what is before */
    bool told;     /* this connection has said HOLON.READS */
    uint32_t last; /* number in the history */
};

struct readers {
    struct sim_bed *bed;
    uint32_t count;
    struct stale_reader all[READERS_MAX];
    int64_t value_last;
    uint64_t answered, refused; /* reads */
    uint64_t answered_at;
};

static uint32_t send(struct readers *readers, struct stale_reader *reader, enum sim_op_kind kind,
                     uint32_t key, int64_t argument)
{
    uint32_t number = sim_client_send(reader->client, kind, key, argument);
    sim_clients_history(readers->bed->clients)->ops[number].bound =
        (uint64_t)reader->bound_ms * 1000;
    return number;
}

static void ask(struct readers *readers, struct stale_reader *reader)
{
    struct sim_bed *bed = readers->bed;
    uint32_t key = (uint32_t)stage_draw(bed, 0, KEYS - 1);

    if (!reader->told) {
        reader->bound_ms = (uint32_t)sim_log_uniform(&bed->sim, SIM_RANDOM_FAULT, BOUND_MIN_MS,
                                                     reader->bound_max_ms);
        send(readers, reader, SIM_OP_READS, key, reader->bound_ms);
        reader->told = true;
    }
    if (stage_draw(bed, 1, 100) <= reader->write_percent) {
        bool set = stage_draw(bed, 0, 3) > 0;
        int64_t value = set ? OWN_VALUES + ++readers->value_last : 0;
        send(readers, reader, set ? SIM_OP_SET : SIM_OP_DEL, key, value);
    }
    reader->last = send(readers, reader, SIM_OP_STALE_GET, key, 0);
    send(readers, reader, SIM_OP_LAST, key, 0);
    sim_client_flush(reader->client);
    reader->asked = true;
}

static void step(struct readers *readers, struct stale_reader *reader)
{
    const struct sim_op *ops = sim_clients_history(readers->bed->clients)->ops;

    if (!sim_client_connected(reader->client)) {
        reader->asked = reader->told = false;
        if (sim_node_is_ready(stage_node(readers->bed, reader->node)))
            sim_client_connect(reader->client, reader->node);
        return;
    }
    if (reader->asked) {
        const struct sim_op *read = &ops[reader->last];
        if (ops[reader->last + 1].outcome == SIM_PENDING || read->outcome == SIM_PENDING) return;
        readers->answered += read->outcome == SIM_DONE;
        readers->refused += read->outcome == SIM_NOT_DONE;
        if (read->outcome == SIM_DONE) readers->answered_at = readers->bed->sim.now;
    }
    ask(readers, reader);
}

static void run_readers(struct readers *readers, uint64_t duration)
{
    uint64_t end = readers->bed->sim.now + duration;

    while (!readers->bed->sim.failed && readers->bed->sim.now < end) {
        for (uint32_t i = 0; i < readers->count; i++)
            step(readers, &readers->all[i]);
        sim_run_for(&readers->bed->sim, STEP_US);
    }
}

static struct readers *readers_make(struct sim_bed *bed)
{
    struct readers *readers = sim_bed_keep(bed, sizeof(*readers));
    readers->bed = bed;
    return readers;
}

static struct stale_reader *reader_add(struct readers *readers, node_id_t node,
                                       uint32_t bound_max_ms, uint32_t write_percent)
{
    struct stale_reader *reader = &readers->all[readers->count++];
    *reader = (struct stale_reader){.client = sim_client_manual(readers->bed->clients, node),
                                    .node = node,
                                    .bound_max_ms = bound_max_ms,
                                    .write_percent = write_percent};
    return reader;
}

static void stale_plan(struct sim_bed *bed, struct sim_plan *plan)
{
    stage_plan(plan);
    plan->cluster.workers = (uint32_t)stage_draw(bed, 1, 2);
    plan->cluster.partitions = (uint32_t)stage_draw(bed, 1, 3);
    plan->workload.clients = 3;
    plan->workload.registers = KEYS;
    plan->workload.write_percent = 70;
    plan->workload.think_min = 2 * STAGE_MS;
    plan->workload.think_max = 20 * STAGE_MS;
}

/* --- a minority --- */

struct open_read {
    const struct sim_history *history; /* its ops move */
    uint32_t number;
};

static bool read_is_over(struct sim_cluster *cluster, void *context)
{
    const struct open_read *read = context;
    return read->history->ops[read->number].outcome != SIM_PENDING;
}

/* A linearizable read at a node without a quorum: an error, when patience is over. */
static void check_linearizable_read(struct sim_bed *bed, struct sim_client *client)
{
    uint64_t patience = bed->cluster->options.patience;
    struct open_read read = {.history = sim_clients_history(bed->clients),
                             .number = sim_client_send(client, SIM_OP_GET, 0, 0)};
    sim_client_flush(client);
    sim_cluster_wait(bed->cluster, patience + STAGE_S, read_is_over, &read);
    const struct sim_op *op = &read.history->ops[read.number];
    if (op->outcome != SIM_NOT_DONE)
        sim_violation(&bed->sim, "a linearizable read without a quorum ended as %d after %llu us",
                      op->outcome, (unsigned long long)(bed->sim.now - op->invoked));
}

/* Goal: a node that reaches nobody goes on answering stale reads until their bound is over, then
 * refuses them when patience is over, too; linearizable reads are refused all the time.
 * Method: one node, sometimes the leader, is cut off while others write. */
void scenario_stale_minority(struct sim_bed *bed)
{
    enum { BOUND_MS = 6000 };
    struct sim_plan plan;

    stale_plan(bed, &plan);
    plan.cluster.patience = plan.workload.patience = 2 * STAGE_S;
    if (!stage_open(bed, &plan)) return;
    struct readers *readers = readers_make(bed);
    node_id_t node = (node_id_t)stage_draw(bed, 1, 3);
    reader_add(readers, node, BOUND_MS, 0);
    struct sim_client *other = sim_client_manual(bed->clients, node);
    sim_client_connect(other, node);
    sim_run_for(&bed->sim, 10 * STAGE_MS);
    readers->all[0].told = true; /* by hand: with this bound */
    readers->all[0].bound_ms = BOUND_MS;
    sim_client_connect(readers->all[0].client, node);
    sim_run_for(&bed->sim, 10 * STAGE_MS);
    if (!sim_client_connected(readers->all[0].client)) return;
    send(readers, &readers->all[0], SIM_OP_READS, 0, BOUND_MS);
    run_readers(readers, 2 * STAGE_S);
    sim_clients_use(bed->clients, 0xe & ~(1u << node));
    sim_network_split(bed->cluster->network, 1u << node, stage_draw(bed, 0, 1));
    sim_fault_hit(&bed->sim, SIM_FAULT_PARTITION);
    uint64_t cut_at = bed->sim.now, answered = readers->answered;
    run_readers(readers, 1 * STAGE_S);
    check_linearizable_read(bed, other);
    run_readers(readers, BOUND_MS * STAGE_MS + 3 * STAGE_S);
    if (bed->sim.failed) return;
    uint64_t least = BOUND_MS * STAGE_MS - 1500 * STAGE_MS; /* asked each 800 ms, and on its way */
    if (readers->answered - answered < 100 || readers->answered_at < cut_at + least)
        sim_violation(&bed->sim, "stale read: stale reads ended %llu us after the cut",
                      (unsigned long long)(readers->answered_at - cut_at));
    if (readers->refused == 0 || readers->answered_at > cut_at + (BOUND_MS + 1000) * STAGE_MS)
        sim_violation(&bed->sim, "stale read: stale reads went on beyond their bound");
    uint64_t refused = readers->refused;
    if (!stage_repair(bed)) return;
    run_readers(readers, 3 * STAGE_S);
    if (!bed->sim.failed && readers->answered_at + 200 * STAGE_MS < bed->sim.now)
        sim_violation(&bed->sim, "stale read: stale reads do not go on (%llu refused)",
                      (unsigned long long)(readers->refused - refused));
    sim_clients_use(bed->clients, 0xe);
    stage_judge(bed);
}

/* --- everything --- */

static void strike(struct sim_bed *bed)
{
    uint32_t nodes = bed->cluster->options.nodes;
    node_id_t leader = stage_leader(bed);
    if (leader == 0) return;
    node_id_t node = stage_draw(bed, 0, 1) ? leader : (node_id_t)stage_draw(bed, 1, nodes);
    struct sim_node *victim = stage_node(bed, node);

    switch (stage_draw(bed, 0, 7)) {
    case 0:
    case 1: {
        uint32_t side = 1u << node;
        if (nodes > 3) side |= 1u << stage_other(bed, node, 0);
        sim_network_split(bed->cluster->network, side, stage_draw(bed, 0, 1));
        sim_fault_hit(&bed->sim, SIM_FAULT_PARTITION);
        break;
    }
    case 2:
        sim_node_kill(victim);
        sim_fault_hit(&bed->sim, SIM_FAULT_KILL);
        break;
    case 3:
        sim_process_pause(victim->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        break;
    case 4: {
        int64_t by = (int64_t)stage_draw(bed, 1 * STAGE_MS, 86400 * (uint64_t)STAGE_S);
        sim_machine_jump_wall_clock(&victim->machine, stage_draw(bed, 0, 1) ? by : -by);
        sim_fault_hit(&bed->sim, SIM_FAULT_CLOCK_JUMP);
        break;
    }
    case 5:
        sim_machine_set_rate(&victim->machine,
                             (int64_t)stage_draw(bed, 0, 2 * DRIFT_PPM) - DRIFT_PPM);
        sim_fault_hit(&bed->sim, SIM_FAULT_CLOCK_DRIFT);
        break;
    case 6:
        stage_cut_from(bed, node);
        break;
    default:
        stage_transfer(bed, leader);
        break;
    }
}

/* Goal: no stale read is older than its bound, or than what its connection wrote, whatever befalls.
 * Method: a reader at each node, some of which write; faults of all kinds, at leaders half of the
 * time. */
void scenario_stale_reads(struct sim_bed *bed)
{
    struct sim_plan plan;

    stale_plan(bed, &plan);
    if (stage_draw(bed, 0, 2) == 0) plan.cluster.nodes = plan.cluster.replicas = 5;
    bed->drift_permille = DRIFT_PPM / 1000;
    if (!stage_open(bed, &plan)) return;
    struct readers *readers = readers_make(bed);
    for (node_id_t node = 1; node <= plan.cluster.nodes; node++)
        reader_add(readers, node, 3000, node % 2 ? 20 : 0);
    struct sim_network_options *network = sim_network_options(bed->cluster->network);
    network->delay_max = 300 * STAGE_MS; /* answers that are long on their way */
    for (int round = 0; round < 8 && !bed->sim.failed; round++) {
        network->delay_ppm = stage_draw(bed, 0, 1) ? 30000 : 0;
        run_readers(readers, stage_draw(bed, 200, 800) * STAGE_MS);
        strike(bed);
        run_readers(readers, stage_draw(bed, 50, 4000) * STAGE_MS);
        if (!stage_repair(bed)) return;
    }
    run_readers(readers, 500 * STAGE_MS);
    if (!bed->sim.failed && readers->answered < 500)
        sim_violation(&bed->sim, "stale read: only %llu stale reads were answered",
                      (unsigned long long)readers->answered);
    stage_judge(bed);
}

/* Goal: who was a leader once and does not know that others have written since proves nothing.
 * Method: the leader is stopped, another one commits, and it goes on: its own worker asks it how
 * far it is, and clients read its replica, before it hears of anybody. */
void scenario_stale_leader(struct sim_bed *bed)
{
    struct sim_plan plan;

    stale_plan(bed, &plan);
    plan.cluster.partitions = 1;
    plan.cluster.workers = 1;
    if (!stage_open(bed, &plan)) return;
    struct readers *readers = readers_make(bed);
    for (node_id_t node = 1; node <= 3; node++)
        reader_add(readers, node, 300, 0);
    for (int round = 0; round < 8 && !bed->sim.failed; round++) {
        run_readers(readers, stage_draw(bed, 200, 400) * STAGE_MS);
        node_id_t leader = stage_leader(bed);
        if (leader == 0) return;
        sim_network_split(bed->cluster->network, 1u << leader, true);
        sim_process_pause(stage_node(bed, leader)->now->process);
        sim_fault_hit(&bed->sim, SIM_FAULT_PAUSE);
        run_readers(readers, stage_draw(bed, 1000, 3000) * STAGE_MS);
        sim_process_resume(stage_node(bed, leader)->now->process);
        run_readers(readers, stage_draw(bed, 20, 500) * STAGE_MS);
        if (!stage_repair(bed)) return;
    }
    stage_judge(bed);
}
