/* When faults strike, and whom; what each does is in sim_chaos_acts.c. */
#include "sim/sim_chaos.h"

#include "base/hash.h"
#include "base/memory.h"
#include "sim/sim_chaos_internal.h"
#include "sim/sim_inspect.h"
#include "sim/sim_stream.h"

enum { MS = 1000, SUPERVISE_US = 200 * 1000, PACE_STREAM = 77 };
enum {
    RETRY_US = 200 * MS, /* after a strike that found nobody */
    HURRY_OUTAGE_US = 500 * MS,
    DOWN_SLACK_US = 200 * MS /* a node that is down for longer than any outage died by itself */
};

static void schedule_next(struct sim_chaos *chaos, enum sim_chaos_kind kind, uint64_t pace);

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
    uint32_t first = (uint32_t)sim_below(cluster->sim, SIM_RANDOM_FAULT, nodes);
    for (uint32_t i = 0; i < nodes; i++) {
        struct sim_node *node = &cluster->nodes[1 + (first + i) % nodes];
        if (sim_node_is_up(node) && !node->now->process->paused && !node->now->stopped) return node;
    }
    return NULL;
}

/* Several kinds without a victim would wait for each other's outages, of up to 30 s each. */
uint64_t sim_chaos_outage_max(const struct sim_chaos *chaos)
{
    uint64_t most = chaos->plan.outage_max, since = chaos->cluster->sim->now - chaos->began;
    bool hurry = chaos->plan.hurry_from > 0 && since >= chaos->plan.hurry_from;

    return hurry && most > HURRY_OUTAGE_US ? HURRY_OUTAGE_US : most;
}

uint64_t sim_chaos_outage(struct sim_chaos *chaos)
{
    uint64_t drawn =
        sim_log_uniform(chaos->cluster->sim, SIM_RANDOM_FAULT, 1 * MS, sim_chaos_outage_max(chaos));

    return 1 + drawn * chaos->outage_percent / 100;
}

/* Each strike draws from a stream of its own, so that another one can be left out of a replay
 * without this one being another. */
static bool strike(struct sim_chaos *chaos, const struct sim_strike *what)
{
    struct sim *sim = chaos->cluster->sim;

    if (chaos->record) sim_decisions_add(chaos->record, what);
    random_seed(&sim->random[SIM_RANDOM_FAULT], what->random);
    chaos->outage_percent = what->percent;
    bool hit = sim_chaos_act(chaos, (enum sim_chaos_kind)what->kind);
    chaos->struck[what->kind]++;
    chaos->hit[what->kind] += hit;
    return hit;
}

static void run_strike(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;
    struct sim_strike what = {.time = sim->now, .kind = (uint8_t)event->n, .percent = 100};

    if (chaos->over || (chaos->only_unhit && chaos->hit[what.kind])) return;
    if (chaos->rests) {
        schedule_next(chaos, (enum sim_chaos_kind)event->n, 0);
        return;
    }
    what.random = random_u64(&chaos->pace);
    bool hit = strike(chaos, &what);
    schedule_next(chaos, (enum sim_chaos_kind)event->n, hit ? 0 : RETRY_US);
}

/* `pace` 0: the plan's. */
static void schedule_next(struct sim_chaos *chaos, enum sim_chaos_kind kind, uint64_t pace)
{
    if (pace == 0) pace = chaos->plan.pace[kind];
    uint64_t delay = random_between(&chaos->pace, pace / 8, pace * 15 / 8);
    struct sim_event *event =
        sim_schedule(chaos->cluster->sim, delay, SIM_EVENT_FAULT, NULL, run_strike);

    event->a = chaos;
    event->n = kind;
}

static void replay_next(struct sim_chaos *chaos);

static void run_replayed(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;

    if (chaos->over) return;
    strike(chaos, &chaos->replay->strikes[event->n]);
    replay_next(chaos);
}

static void replay_next(struct sim_chaos *chaos)
{
    if (chaos->replay_next == chaos->replay->strike_count) return;
    uint32_t number = chaos->replay_next++;
    struct sim_event *event =
        sim_schedule_at(chaos->cluster->sim, chaos->replay->strikes[number].time, SIM_EVENT_FAULT,
                        NULL, run_replayed);

    event->a = chaos;
    event->n = number;
}

/* Any death that chaos did not order itself ends by a restart, too, as by systemd. */
static void run_supervise(struct sim *sim, struct sim_event *event)
{
    struct sim_chaos *chaos = event->a;
    uint64_t longest = sim_chaos_outage_max(chaos) + DOWN_SLACK_US;

    if (chaos->over) return;
    for (uint32_t i = 1; i <= chaos->cluster->options.nodes; i++) {
        struct sim_node *node = &chaos->cluster->nodes[i];
        if (!sim_node_is_up(node) && sim->now - node->down_since > longest) sim_node_start(node);
    }
    sim_schedule(sim, SUPERVISE_US, SIM_EVENT_FAULT, NULL, run_supervise)->a = chaos;
}

struct sim_chaos *sim_chaos_start(struct sim_cluster *cluster, struct sim_clients *clients,
                                  const struct sim_plan *plan, const struct sim_decisions *replay,
                                  struct sim_decisions *record)
{
    struct sim_chaos *chaos = memory_allocate_zero(sizeof(*chaos));

    chaos->cluster = cluster;
    chaos->began = cluster->sim->now;
    chaos->clients = clients;
    chaos->plan = *plan;
    chaos->outage_percent = 100;
    chaos->replay = replay;
    chaos->record = record;
    sim_schedule(cluster->sim, SUPERVISE_US, SIM_EVENT_FAULT, NULL, run_supervise)->a = chaos;
    random_seed(&chaos->pace, hash_u64(cluster->sim->seed + PACE_STREAM));
    if (replay) {
        replay_next(chaos);
        return chaos;
    }
    for (unsigned kind = 0; kind < SIM_CHAOS_COUNT; kind++)
        if (plan->pace[kind]) schedule_next(chaos, kind, 0);
    return chaos;
}

/* A disk is lost only when every replica is whole, which no run promises. */
const char *sim_chaos_unhit(const struct sim_chaos *chaos)
{
    for (unsigned kind = 0; kind < SIM_CHAOS_COUNT; kind++)
        if (kind != SIM_CHAOS_WIPE && chaos->struck[kind] && chaos->hit[kind] == 0)
            return sim_chaos_text(kind);
    return NULL;
}

void sim_chaos_rest(struct sim_chaos *chaos, bool rests)
{
    chaos->rests = rests;
}

void sim_chaos_only_unhit(struct sim_chaos *chaos)
{
    chaos->only_unhit = true;
}

static void make_good(struct sim_chaos *chaos, struct sim_node *node)
{
    struct sim_machine *machine = &node->machine;

    machine->stall_ppm = 0;
    machine->turn_cost_max = 0;
    machine->disk_slow_factor = 1;
    machine->disk_stalled_until = 0;
    sim_disk_options(machine->disk)->sync_fail_ppm = 0;
    sim_disk_options(machine->disk)->capacity = SIM_DISK_CAPACITY;
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

void sim_chaos_calm_streams(struct sim_chaos *chaos)
{
    struct sim_stream_options *streams = chaos->cluster->sim->stream_options;

    streams->peer_corrupt_ppm = streams->peer_reset_ppm = streams->peer_delay_ppm = 0;
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
    sim_chaos_calm_streams(chaos);
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
        if (node->machine.disk_behind_until > until) until = node->machine.disk_behind_until;
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
