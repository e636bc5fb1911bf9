#include "sim/sim_chaos_internal.h"
#include "sim/sim_inspect.h"
#include "sim/sim_stream.h"

enum { MS = 1000, S = 1000 * 1000, TWIN_TIME_US = 1 * S, CRASH_LOOP_MAX = 6 };

/* --- the way back: events that end an outage --- */

static void later(struct sim_chaos *chaos, uint64_t delay,
                  void (*run)(struct sim *, struct sim_event *), uint64_t n)
{
    struct sim_event *event = sim_schedule(chaos->cluster->sim, delay, SIM_EVENT_FAULT, NULL, run);

    event->a = chaos;
    event->n = n;
}

static struct sim_node *node_of(struct sim_event *event)
{
    return &((struct sim_chaos *)event->a)->cluster->nodes[event->n & 0xff];
}

/* After healing only the healed nodes come back; sim_chaos_heal() has started them. */
static bool stays_down(struct sim_event *event)
{
    return ((struct sim_chaos *)event->a)->over;
}

static void run_restart(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;
    struct sim_node *node = node_of(event);

    if (stays_down(event) || sim_node_is_up(node)) return;
    sim_node_start(node);
    if (chaos->loops[node->id] == 0) return;
    chaos->loops[node->id]--;
    sim_fault_hit(sim, SIM_FAULT_CRASH_LOOP);
    node->now->process->file_effects_left = 1 + sim_below(sim, SIM_RANDOM_FAULT, 30);
}

static void run_resume(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = node_of(event);

    if (stays_down(event) || !sim_node_is_up(node)) return;
    sim_process_resume(node->now->process);
}

static void run_unslow(struct sim *sim, struct sim_event *event)
{
    struct sim_machine *machine = &node_of(event)->machine;

    machine->stall_ppm = 0;
    machine->turn_cost_max = 0;
    machine->disk_slow_factor = 1;
    sim_disk_options(machine->disk)->sync_fail_ppm = 0;
    sim_disk_options(machine->disk)->capacity = SIM_DISK_CAPACITY;
}

static void run_rejoin(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;

    if (chaos->over) return;
    sim_network_heal_all(chaos->cluster->network);
    chaos->cut_off = 0;
}

static void run_calm_network(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;
    struct sim_network_options *options = sim_network_options(chaos->cluster->network);

    options->drop_ppm = options->duplicate_ppm = options->reorder_ppm = 0;
    options->delay_ppm = options->replay_ppm = 0;
    sim_chaos_calm_streams(chaos);
}

static void run_judge_twin(struct sim *sim, struct sim_event *event)
{
    struct sim_incarnation *twin = event->b;
    bool refused = twin->stopped && twin->error.status == STATUS_REFUSED;

    if (twin->process) sim_process_end(twin->process, SIM_END_KILL);
    /* The first may have gone meanwhile: then the twin is the node. */
    if (!refused && sim_node_is_up(twin->of) && twin->of->now->number < twin->number)
        sim_violation(sim, "F12: a second process on the directory of node %u was not refused",
                      twin->of->id);
}

/* --- one node --- */

static void restart_later(struct sim_chaos *chaos, struct sim_node *node, uint64_t delay)
{
    later(chaos, delay, run_restart, node->id);
}

static void act_kill(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;

    if (sim_chance(sim, SIM_RANDOM_FAULT, 1, 8))
        chaos->loops[node->id] = 2 + (uint32_t)sim_below(sim, SIM_RANDOM_FAULT, CRASH_LOOP_MAX);
    sim_node_kill(node);
    restart_later(chaos, node, sim_chaos_outage(chaos));
}

/* Any death that chaos did not order itself ends by a restart, too. */
static void run_supervise(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;
    struct sim_node *node = node_of(event);

    if (chaos->over) return;
    if (!sim_node_is_up(node) && sim->now - node->down_since > sim_chaos_outage_max(chaos))
        sim_node_start(node);
}

static void act_kill_in_job(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;

    node->now->process->file_effects_left = sim_log_uniform(sim, SIM_RANDOM_FAULT, 1, 40);
    node->now->process->file_effects_end =
        sim_chance(sim, SIM_RANDOM_FAULT, 1, 2) ? SIM_END_POWER : SIM_END_KILL;
    later(chaos, sim_chaos_outage_max(chaos) + 2 * S, run_supervise, node->id);
}

static void act_stop(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;

    sim_fault_hit(sim, SIM_FAULT_STOP);
    sim_clients_excuse(chaos->clients, node->id, sim->now + 8 * S);
    sim_node_stop(node);
    later(chaos, sim_chaos_outage_max(chaos) + 6 * S, run_supervise, node->id);
}

static bool act_wipe(struct sim_chaos *chaos, struct sim_node *node)
{
    /* Only when every replica is whole: a lost disk is G4 when the others are not. */
    if (!sim_cluster_all_ready(chaos->cluster, NULL) || !sim_inspect_settled(chaos->cluster))
        return false;
    sim_node_kill(node);
    sim_node_wipe(node);
    restart_later(chaos, node, sim_chaos_outage(chaos));
    return true;
}

/* F27: from nothing left to twice the reserve. */
static void act_disk_full(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;
    struct sim_disk *disk = node->machine.disk;
    uint64_t left = sim_log_uniform(sim, SIM_RANDOM_FAULT, 1, 2 * SIM_DISK_RESERVE);
    uint64_t outage = 200 * MS + sim_chaos_outage(chaos);

    sim_disk_options(disk)->capacity = sim_disk_used(disk) + left - 1;
    later(chaos, outage, run_unslow, node->id);
    /* A node that starts meanwhile may refuse; then it is started again. */
    later(chaos, outage + 100 * MS, run_supervise, node->id);
    later(chaos, outage + sim_chaos_outage_max(chaos) + 1 * S, run_supervise, node->id);
}

/* F28: nothing that was handed to the disk comes back for up to a minute. */
static void act_disk_stall(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;
    uint64_t outage_max = sim_chaos_outage_max(chaos);
    uint64_t longest = outage_max * 4 < 60 * S ? outage_max * 4 : 60 * S;
    uint64_t stall = sim_log_uniform(sim, SIM_RANDOM_FAULT, 50 * MS, longest);

    node->machine.disk_stalled_until = sim->now + 1 + stall * chaos->outage_percent / 100;
}

/* F06: one worker stands still, its siblings go on. */
static void act_stuck(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;
    struct sim_process *process = node->now->process;

    sim_fault_hit(sim, SIM_FAULT_STUCK);
    /* One draw after the other: compilers do not agree on the order of arguments (D-1). */
    uint64_t outage = sim_chaos_outage(chaos);
    uint64_t worker = sim_below(sim, SIM_RANDOM_FAULT, process->world_count);
    sim_world_stick(&process->worlds[worker], outage);
}

static void act_twin(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim_event *event =
        sim_schedule(chaos->cluster->sim, TWIN_TIME_US, SIM_EVENT_FAULT, NULL, run_judge_twin);

    event->b = sim_node_start_twin(node);
}

static bool act_on_node(struct sim_chaos *chaos, enum sim_chaos_kind kind, struct sim_node *node)
{
    struct sim *sim = chaos->cluster->sim;
    struct sim_machine *machine = &node->machine;

    switch (kind) {
    case SIM_CHAOS_KILL:
        act_kill(chaos, node);
        return true;
    case SIM_CHAOS_KILL_IN_JOB:
        act_kill_in_job(chaos, node);
        return true;
    case SIM_CHAOS_STOP:
        act_stop(chaos, node);
        return true;
    case SIM_CHAOS_POWER:
        sim_node_power_loss(node);
        restart_later(chaos, node, sim_chaos_outage(chaos));
        return true;
    case SIM_CHAOS_PAUSE:
        sim_fault_hit(sim, SIM_FAULT_PAUSE);
        sim_process_pause(node->now->process);
        later(chaos, 10 * MS + sim_chaos_outage(chaos), run_resume, node->id);
        return true;
    case SIM_CHAOS_STALL:
        machine->stall_ppm = chaos->plan.stall_ppm;
        machine->stall_max = sim_chaos_outage_max(chaos);
        later(chaos, 100 * MS + sim_chaos_outage(chaos), run_unslow, node->id);
        return true;
    case SIM_CHAOS_SLOW:
        machine->turn_cost_max = sim_log_uniform(sim, SIM_RANDOM_FAULT, 50, 3000);
        later(chaos, 100 * MS + sim_chaos_outage(chaos), run_unslow, node->id);
        return true;
    case SIM_CHAOS_WIPE:
        return act_wipe(chaos, node);
    case SIM_CHAOS_TWIN:
        act_twin(chaos, node);
        return true;
    case SIM_CHAOS_SYNC_FAIL:
        sim_disk_options(machine->disk)->sync_fail_ppm = 50000;
        later(chaos, 500 * MS, run_unslow, node->id);
        later(chaos, 500 * MS + sim_chaos_outage(chaos), run_supervise, node->id);
        later(chaos, 1 * S + sim_chaos_outage_max(chaos), run_supervise, node->id);
        return true;
    case SIM_CHAOS_DISK_SLOW:
        machine->disk_slow_factor = (uint32_t)sim_log_uniform(sim, SIM_RANDOM_FAULT, 4, 300);
        later(chaos, 100 * MS + sim_chaos_outage(chaos), run_unslow, node->id);
        return true;
    case SIM_CHAOS_RESET:
        for (uint64_t i = 1 + sim_below(sim, SIM_RANDOM_FAULT, 4); i > 0; i--)
            sim_stream_reset_random(node->now->process);
        return true;
    case SIM_CHAOS_CLOCK_DRIFT:
        sim_fault_hit(sim, SIM_FAULT_CLOCK_DRIFT);
        sim_machine_set_rate(machine, (int64_t)sim_below(sim, SIM_RANDOM_FAULT, 200001) - 100000);
        return true;
    case SIM_CHAOS_DISK_STALL:
        act_disk_stall(chaos, node);
        return true;
    case SIM_CHAOS_DISK_FULL:
        act_disk_full(chaos, node);
        return true;
    case SIM_CHAOS_STUCK:
        act_stuck(chaos, node);
        return true;
    default:
        return false;
    }
}

/* --- several nodes, links, clocks --- */

static void act_all(struct sim_chaos *chaos, bool power)
{
    struct sim_cluster *cluster = chaos->cluster;

    if (power) sim_fault_hit(cluster->sim, SIM_FAULT_POWER_LOSS_ALL);
    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        struct sim_node *node = &cluster->nodes[i];
        if (power)
            sim_node_power_loss(node);
        else
            sim_node_kill(node);
        restart_later(chaos, node, sim_chaos_outage(chaos));
    }
}

static void act_split(struct sim_chaos *chaos, uint32_t side)
{
    struct sim *sim = chaos->cluster->sim;
    bool hold = sim_chance(sim, SIM_RANDOM_FAULT, 1, 4);

    sim_fault_hit(sim, SIM_FAULT_PARTITION);
    sim_network_split(chaos->cluster->network, side, hold);
    chaos->cut_off |= side;
    later(chaos, 50 * MS + sim_chaos_outage(chaos), run_rejoin, 0);
}

static bool act_one_way(struct sim_chaos *chaos)
{
    struct sim *sim = chaos->cluster->sim;
    uint32_t nodes = chaos->cluster->options.nodes;
    uint32_t links = 1 + (uint32_t)sim_below(sim, SIM_RANDOM_FAULT, nodes);
    bool any = false;

    for (uint32_t i = 0; i < links; i++) {
        node_id_t from = 1 + (node_id_t)sim_below(sim, SIM_RANDOM_FAULT, nodes);
        node_id_t to = 1 + (node_id_t)sim_below(sim, SIM_RANDOM_FAULT, nodes);
        if (from == to) continue;
        any = true;
        bool both = sim_chance(sim, SIM_RANDOM_FAULT, 1, 3);
        sim_fault_hit(sim, both ? SIM_FAULT_PARTIAL : SIM_FAULT_ONE_WAY);
        sim_network_cut(chaos->cluster->network, from, to, false);
        if (both) sim_network_cut(chaos->cluster->network, to, from, false);
    }
    later(chaos, 50 * MS + sim_chaos_outage(chaos), run_rejoin, 0);
    return any;
}

static void act_lossy(struct sim_chaos *chaos)
{
    struct sim_network_options *options = sim_network_options(chaos->cluster->network);

    options->drop_ppm = chaos->plan.drop_ppm;
    options->duplicate_ppm = chaos->plan.duplicate_ppm;
    options->reorder_ppm = chaos->plan.reorder_ppm;
    options->delay_ppm = chaos->plan.delay_ppm;
    options->replay_ppm = chaos->plan.replay_ppm;
    options->delay_max = chaos->plan.delay_max;
    struct sim_stream_options *streams = chaos->cluster->sim->stream_options;
    streams->peer_corrupt_ppm = streams->peer_reset_ppm = chaos->plan.corrupt_ppm;
    streams->peer_delay_ppm = chaos->plan.delay_ppm;
    streams->peer_delay_max = chaos->plan.delay_max;
    later(chaos, 100 * MS + sim_chaos_outage(chaos), run_calm_network, 0);
}

/* F48: any node's wall clock, by up to ten years either way. */
static void act_clock_jump(struct sim_chaos *chaos)
{
    struct sim *sim = chaos->cluster->sim;
    uint32_t nodes = chaos->cluster->options.nodes;
    struct sim_node *node = &chaos->cluster->nodes[1 + sim_below(sim, SIM_RANDOM_FAULT, nodes)];
    int64_t by =
        (int64_t)sim_log_uniform(sim, SIM_RANDOM_FAULT, 1 * MS, (uint64_t)10 * 365 * 86400 * S);

    if (sim_chance(sim, SIM_RANDOM_FAULT, 1, 2)) by = -by;
    sim_fault_hit(sim, SIM_FAULT_CLOCK_JUMP);
    chaos->clocks_jumped = true;
    chaos->jumped[node->id] += by;
    sim_machine_jump_wall_clock(&node->machine, by);
}

static bool act_peer_reset(struct sim_chaos *chaos)
{
    struct sim *sim = chaos->cluster->sim;
    uint32_t nodes = chaos->cluster->options.nodes;
    node_id_t a = 1 + (node_id_t)sim_below(sim, SIM_RANDOM_FAULT, nodes);
    node_id_t b = 1 + (node_id_t)sim_below(sim, SIM_RANDOM_FAULT, nodes);

    if (a == b) return false;
    sim_fault_hit(sim, SIM_FAULT_RESET);
    sim_network_reset(chaos->cluster->network, a, b);
    return true;
}

/* Cuts off one node, or any set of them. */
static bool act_split_any(struct sim_chaos *chaos)
{
    struct sim *sim = chaos->cluster->sim;
    uint32_t nodes = chaos->cluster->options.nodes;
    struct sim_node *node = nodes > 1 ? sim_chaos_victim(chaos) : NULL;

    if (node == NULL) return false;
    if (chaos->plan.minority_only || sim_chance(sim, SIM_RANDOM_FAULT, 1, 2))
        act_split(chaos, 1u << node->id);
    else
        act_split(chaos, (uint32_t)sim_below(sim, SIM_RANDOM_FAULT, 1u << nodes) << 1);
    return true;
}

static bool act_isolate_leader(struct sim_chaos *chaos)
{
    struct sim_cluster *cluster = chaos->cluster;

    if (cluster->options.nodes < 2 || sim_chaos_victim(chaos) == NULL) return false;
    uint64_t nth = sim_below(cluster->sim, SIM_RANDOM_FAULT, cluster->options.partitions);
    node_id_t leader = sim_inspect_leader(cluster, GROUP_DATA_FIRST + (uint32_t)nth);
    if (leader) act_split(chaos, 1u << leader);
    return leader != 0;
}

bool sim_chaos_act(struct sim_chaos *chaos, enum sim_chaos_kind kind)
{
    uint32_t nodes = chaos->cluster->options.nodes;
    struct sim_node *node;

    switch (kind) {
    case SIM_CHAOS_POWER_ALL:
    case SIM_CHAOS_KILL_ALL:
        if (chaos->plan.minority_only) return false;
        act_all(chaos, kind == SIM_CHAOS_POWER_ALL);
        return true;
    case SIM_CHAOS_ONE_WAY:
        return nodes > 1 && act_one_way(chaos);
    case SIM_CHAOS_LOSSY:
        act_lossy(chaos);
        return true;
    case SIM_CHAOS_CLOCK_JUMP:
        act_clock_jump(chaos);
        return true;
    case SIM_CHAOS_PEER_RESET:
        return nodes > 1 && act_peer_reset(chaos);
    case SIM_CHAOS_SPLIT:
        return act_split_any(chaos);
    case SIM_CHAOS_ISOLATE_LEADER:
        return act_isolate_leader(chaos);
    case SIM_CHAOS_OLD_FRAMES:
        return sim_network_replay_old(chaos->cluster->network);
    default:
        node = sim_chaos_victim(chaos);
        return node != NULL && act_on_node(chaos, kind, node);
    }
}
