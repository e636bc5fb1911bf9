/* When faults strike, and whom; what each does is in sim_chaos_acts.c. */
#include "sim/sim_chaos.h"

#include "base/memory.h"
#include "sim/sim_chaos_internal.h"
#include "sim/sim_inspect.h"

enum { MS = 1000, SUPERVISE_US = 200 * 1000 };

struct strike {
    struct sim_chaos *chaos;
    enum sim_chaos_kind kind;
};

static void schedule_next(struct sim_chaos *chaos, enum sim_chaos_kind kind);

/* Nodes that run, are not paused and not cut off from the others. */
static uint32_t healthy_count(struct sim_chaos *chaos)
{
    struct sim_cluster *cluster = chaos->cluster;
    uint32_t count = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        count += sim_node_is_ready(&cluster->nodes[i]) && !cluster->nodes[i].now->process->paused &&
                 !(chaos->cut_off >> i & 1);
    return count;
}

struct sim_node *sim_chaos_victim(struct sim_chaos *chaos)
{
    struct sim_cluster *cluster = chaos->cluster;
    uint32_t nodes = cluster->options.nodes;

    if (chaos->plan.minority_only && nodes > 2 && healthy_count(chaos) * 2 <= nodes + 1)
        return NULL;
    struct sim_node *node = &cluster->nodes[1 + sim_below(cluster->sim, SIM_RANDOM_FAULT, nodes)];
    if (!sim_node_is_up(node) || node->now->process->paused || node->now->stopped) return NULL;
    return node;
}

uint64_t sim_chaos_outage(struct sim_chaos *chaos)
{
    return sim_log_uniform(chaos->cluster->sim, SIM_RANDOM_FAULT, 1 * MS, chaos->plan.outage_max);
}

static void run_strike(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;
    enum sim_chaos_kind kind = (enum sim_chaos_kind)event->n;

    if (chaos->over) return;
    sim_chaos_act(chaos, kind);
    schedule_next(chaos, kind);
}

static void schedule_next(struct sim_chaos *chaos, enum sim_chaos_kind kind)
{
    struct sim *sim = chaos->cluster->sim;
    uint64_t pace = chaos->plan.pace[kind];
    struct sim_event *event =
        sim_schedule(sim, sim_between(sim, SIM_RANDOM_FAULT, pace / 8, pace * 15 / 8),
                     SIM_EVENT_FAULT, NULL, run_strike);

    event->a = chaos;
    event->n = kind;
}

struct sim_chaos *sim_chaos_start(struct sim_cluster *cluster, struct sim_clients *clients,
                                  const struct sim_plan *plan)
{
    struct sim_chaos *chaos = memory_allocate_zero(sizeof(*chaos));

    chaos->cluster = cluster;
    chaos->clients = clients;
    chaos->plan = *plan;
    for (unsigned kind = 0; kind < SIM_CHAOS_COUNT; kind++)
        if (plan->pace[kind]) schedule_next(chaos, kind);
    return chaos;
}

static void make_good(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim_machine *machine = &node->machine;

    machine->stall_ppm = 0;
    machine->turn_cost_max = 0;
    machine->disk_slow_factor = 1;
    sim_disk_options(machine->disk)->sync_fail_ppm = 0;
    machine->clock.wall_offset += -chaos->jumped[node->id];
    chaos->jumped[node->id] = 0;
    if (!sim_node_is_up(node)) {
        sim_node_start(node);
        return;
    }
    node->now->process->file_effects_left = 0;
    sim_process_resume(node->now->process);
}

/* Who was ending by itself when all was made good is started again, as by systemd. */
static void run_supervise_healed(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;

    for (uint32_t i = 1; i <= chaos->cluster->options.nodes; i++)
        if ((chaos->healed_nodes >> i & 1) && !sim_node_is_up(&chaos->cluster->nodes[i]) &&
            chaos->cluster->nodes[i].machine.power)
            sim_node_start(&chaos->cluster->nodes[i]);
    sim_schedule(sim, SUPERVISE_US, SIM_EVENT_FAULT, NULL, run_supervise_healed)->a = chaos;
}

void sim_chaos_heal(struct sim_chaos *chaos, uint32_t nodes)
{
    struct sim_cluster *cluster = chaos->cluster;
    struct sim *sim = cluster->sim;
    struct sim_network_options *network = sim_network_options(cluster->network);

    chaos->over = true;
    chaos->healed_nodes = nodes;
    network->drop_ppm = network->duplicate_ppm = network->reorder_ppm = 0;
    network->delay_ppm = network->replay_ppm = 0;
    for (uint32_t a = 1; a <= cluster->options.nodes; a++) {
        for (uint32_t b = 1; b <= cluster->options.nodes; b++)
            if (a != b && (nodes >> a & 1) && (nodes >> b & 1))
                sim_network_heal(cluster->network, a, b);
    }
    sim_network_split(cluster->network, nodes, false);
    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        struct sim_node *node = &cluster->nodes[i];
        if (nodes >> i & 1) {
            make_good(chaos, node);
            continue;
        }
        uint64_t fate = sim_below(sim, SIM_RANDOM_FAULT, 3);
        if (fate == 0) sim_node_kill(node);
        if (fate == 1 && sim_node_is_up(node)) sim_process_pause(node->now->process);
    }
    sim_schedule(sim, SUPERVISE_US, SIM_EVENT_FAULT, NULL, run_supervise_healed)->a = chaos;
    sim_trace_text(sim, "healed: nodes %x", nodes);
}

uint64_t sim_chaos_stalled_until(const struct sim_chaos *chaos)
{
    const struct sim_cluster *cluster = chaos->cluster;
    uint64_t until = cluster->sim->now;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        const struct sim_node *node = &cluster->nodes[i];
        if (!(chaos->healed_nodes >> i & 1) || !sim_node_is_up(node)) continue;
        for (uint32_t w = 0; w < node->now->process->world_count; w++)
            if (node->now->process->worlds[w].busy_until > until)
                until = node->now->process->worlds[w].busy_until;
    }
    return until;
}

void sim_chaos_free(struct sim_chaos *chaos)
{
    memory_free(chaos);
}

bool sim_chaos_clocks_jumped(const struct sim_chaos *chaos)
{
    return chaos->clocks_jumped;
}
