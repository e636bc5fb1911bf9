/* `holon salvage` (FAULTS F20-F25, section 4): what a crash in its middle leaves is the directory
 * as it was, or a salvage that the next call finishes; never half of one. */
#include "sim/scenarios/stage.h"
#include "sim/sim_damage.h"
#include "sim/sim_disk.h"
#include "sim/sim_salvage.h"
#include "sim/sim_sweep.h"

#include "base/assert.h"

#include <stdio.h>

enum { SALVAGE_STORES = 2, READY_US = 20 * STAGE_S, AGAIN_EFFECTS_MAX = 60 };

struct play {
    struct sim_bed *bed;
    struct sim_node *node;    /* the survivor */
    bool store_damaged;       /* its last one */
    uint64_t told_before;     /* of a look at the directory as it was */
    uint64_t digest, effects; /* of an undisturbed salvage */
};

static bool no_requests(struct sim_cluster *cluster, void *context)
{
    return sim_clients_outstanding(context) == 0;
}

static bool all_equal(struct sim_cluster *cluster, void *context)
{
    char text[200];
    uint32_t nodes = ((1u << cluster->options.nodes) - 1) << 1;

    return sim_inspect_replicas_equal(cluster, nodes, text, sizeof(text));
}

/* A cluster with rows in its stores and its log, at rest, then down. */
static bool play_open(struct play *play, struct sim_bed *bed, uint32_t nodes)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.nodes = nodes;
    plan.cluster.replicas = nodes;
    plan.cluster.partitions = 3;
    plan.cluster.stores = SALVAGE_STORES;
    plan.cluster.flush_bytes = 4 << 10;
    plan.cluster.entries_bytes_max = 4 << 10;
    plan.workload.registers = 8;
    plan.workload.counters = 2;
    plan.workload.orders = 3;
    plan.workload.pad_max = 200;
    plan.workload.write_percent = 70;
    *play = (struct play){.bed = bed};
    if (!stage_open(bed, &plan)) return false;
    sim_run_for(&bed->sim, 400 * STAGE_MS);
    sim_clients_stop(bed->clients);
    if (!sim_cluster_wait(bed->cluster, READY_US, no_requests, bed->clients) ||
        !sim_cluster_wait(bed->cluster, READY_US, all_equal, NULL))
        sim_violation(&bed->sim, "V-4: no rest before a salvage");
    sim_run_for(&bed->sim, 1 * STAGE_S); /* marks are written */
    play->node = stage_node(bed, stage_other(bed, 0, 0));
    for (node_id_t id = 1; id <= nodes; id++)
        sim_node_kill(stage_node(bed, id));
    sim_run_for(&bed->sim, 100 * STAGE_MS);
    return !bed->sim.failed;
}

static void restore(struct play *play, const struct sim_disk *before)
{
    sim_disk_copy(play->node->machine.disk, before);
    if (play->store_damaged) sim_damage_store(play->node, SALVAGE_STORES - 1);
}

static bool expect(struct play *play, const struct sim_salvage *salvage,
                   enum salvage_outcome outcome, const char *when)
{
    if (salvage->status != STATUS_OK)
        sim_violation(&play->bed->sim, "salvage, %s: %s", when, salvage->error.text);
    else if (salvage->outcome != outcome)
        sim_violation(&play->bed->sim, "salvage, %s: outcome %d instead of %d", when,
                      (int)salvage->outcome, (int)outcome);
    return !play->bed->sim.failed;
}

/* What it says and what it leaves when nothing disturbs it; the disk is as before then. */
static bool rehearse(struct play *play, const struct sim_disk *before)
{
    struct sim_salvage salvage;

    sim_salvage_run(play->node, SALVAGE_LOOK, 0, SIM_END_KILL, &salvage);
    if (!expect(play, &salvage, SALVAGE_NOTHING_CHANGED, "a first look")) return false;
    play->told_before = salvage.told;
    sim_salvage_run(play->node, SALVAGE_ACCEPT_LOSS, 0, SIM_END_KILL, &salvage);
    if (!expect(play, &salvage, SALVAGE_DONE, "undisturbed")) return false;
    play->effects = salvage.effects;
    play->digest = sim_salvage_digest(play->node);
    restore(play, before);
    return true;
}

/* While a plan is there the node refuses, and changes nothing. */
static void refuses_to_start(struct play *play)
{
    struct sim_cluster *cluster = play->bed->cluster;

    cluster->failures_expected = true;
    sim_node_start(play->node);
    sim_run_for(&play->bed->sim, 500 * STAGE_MS);
    cluster->failures_expected = false;
    if (sim_node_is_up(play->node))
        sim_violation(&play->bed->sim, "a node runs on a half done salvage");
}

/* Whole, as it was, or to be finished: the last two are brought to their end. */
static void after_a_crash(struct play *play)
{
    struct sim *sim = &play->bed->sim;
    struct sim_salvage salvage;

    sim_salvage_run(play->node, SALVAGE_LOOK, 0, SIM_END_KILL, &salvage);
    if (salvage.status != STATUS_OK) {
        sim_violation(sim, "salvage, a look after a crash: %s", salvage.error.text);
        return;
    }
    bool as_before =
        salvage.outcome == SALVAGE_NOTHING_CHANGED && salvage.told == play->told_before;
    if (as_before) sim_reached(sim, "scenario: a salvage was cut before it changed anything");
    if (salvage.outcome == SALVAGE_HALF_DONE) {
        sim_reached(sim, "scenario: a salvage was cut and is to be finished");
        refuses_to_start(play);
    }
    if (sim->failed || (salvage.outcome == SALVAGE_NOTHING_CHANGED && !as_before))
        return; /* whole: its digest tells */
    uint64_t again = stage_draw(play->bed, 0, 1) ? stage_draw(play->bed, 1, AGAIN_EFFECTS_MAX) : 0;
    if (sim->sweep.mode == SIM_SWEEP_COUNT_ONLY && sim->sweep.count > 0) again = 0;
    sim_salvage_run(play->node, SALVAGE_ACCEPT_LOSS, again,
                    sim->seed % 2 ? SIM_END_KILL : SIM_END_POWER, &salvage);
    if (salvage.died) {
        sim_reached(sim, "scenario: the second call of a salvage was cut, too");
        sim_salvage_run(play->node, SALVAGE_ACCEPT_LOSS, 0, SIM_END_KILL, &salvage);
    }
    if (salvage.status == STATUS_OK && salvage.outcome != SALVAGE_DONE) /* it was whole by then */
        return;
    expect(play, &salvage, SALVAGE_DONE, "called again after a crash");
}

static bool serves(struct sim_cluster *cluster, void *context)
{
    const struct play *play = context;

    return sim_node_is_ready(play->node) && sim_inspect_leaders(cluster, 1u << play->node->id);
}

/* The survivor leads all groups; if nothing was lost, the history decides. */
static void judge(struct play *play, bool lossless)
{
    struct sim *sim = &play->bed->sim;

    if (sim->failed) return;
    uint64_t digest = sim_salvage_digest(play->node);
    if (digest != play->digest)
        sim_violation(sim, "S-5: a salvage that was cut left %016llx, an undisturbed one %016llx",
                      (unsigned long long)digest, (unsigned long long)play->digest);
    if (sim->failed) return;
    if (!lossless) sim->after_event = NULL; /* what is gone was committed once */
    sim_node_start(play->node);
    if (!sim_cluster_wait(play->bed->cluster, READY_US, serves, play)) {
        if (!sim->failed) sim_violation(sim, "V-3: a salvaged node does not serve");
        return;
    }
    if (lossless) sim_bed_judge(play->bed, 1u << play->node->id);
}

static void salvage_swept(struct play *play, bool lossless)
{
    struct sim *sim = &play->bed->sim;
    struct sim_salvage salvage;

    struct sim_disk *before = sim_disk_make(sim);
    sim_disk_copy(before, play->node->machine.disk);
    restore(play, before);
    bool good = rehearse(play, before);
    sim_disk_free(before);
    if (!good) return;
    sim_sweep_begin(sim);
    sim_salvage_run(play->node, SALVAGE_ACCEPT_LOSS, 0, SIM_END_KILL, &salvage);
    sim_sweep_end(sim);
    if (salvage.died)
        after_a_crash(play);
    else
        expect(play, &salvage, SALVAGE_DONE, "not swept");
    judge(play, lossless);
}

/* Goal: one of three that goes on alone has all that was acknowledged, wherever its salvage was
 * cut. Method: all are equal and at rest, then two are gone for ever. Swept by --sweep. */
void scenario_sweep_salvage(struct sim_bed *bed)
{
    struct play play;

    if (play_open(&play, bed, 3)) salvage_swept(&play, true);
}

/* Goal: what a single node loses is what its undisturbed salvage loses, and not more.
 * Method: a batch in the middle of its log is damaged, and a store. Swept by --sweep. */
void scenario_sweep_salvage_damaged(struct sim_bed *bed)
{
    struct play play;

    if (!play_open(&play, bed, 1)) return;
    uint64_t end = sim_disk_content_end(play.node->machine.disk, ".seg");
    sim_damage_flip(play.node, ".seg", end / 2, 3);
    play.store_damaged = true;
    salvage_swept(&play, false);
}

/* False: nothing was lost by it. */
static bool damage(struct play *play)
{
    static const char *const names[] = {"log",     "log/durable",   "identity", "table",
                                        "store-1", "store-0/owner", "birth",    "table-copy"};
    struct sim_node *node = play->node;
    char path[128];

    uint64_t end = sim_disk_content_end(node->machine.disk, ".seg");
    uint64_t place = end ? stage_draw(play->bed, 0, end - 1) : 0;
    switch (stage_draw(play->bed, 0, 5)) {
    case 0:
        return false;
    case 1:
        return sim_damage_flip(node, ".seg", place, 5);
    case 2:
        return sim_damage_sector(node, ".seg", place);
    case 3:
        return sim_damage_truncate(node, ".seg", place);
    case 4:
        play->store_damaged = true;
        return true;
    default:
        snprintf(path, sizeof(path), "%.60s/%s", node->options.data,
                 names[stage_draw(play->bed, 0, ARRAY_COUNT(names) - 1)]);
        return sim_damage_remove(node, path);
    }
}

/* Goal: the same as of the sweeps, with damage, place and kind of the crash from the seed. */
void scenario_salvage_cut(struct sim_bed *bed)
{
    struct sim *sim = &bed->sim;
    struct sim_salvage salvage;
    struct play play;

    if (!play_open(&play, bed, stage_draw(bed, 0, 1) ? 3 : 1)) return;
    bool damaged = damage(&play);
    struct sim_disk *before = sim_disk_make(sim);
    sim_disk_copy(before, play.node->machine.disk);
    restore(&play, before);
    bool good = rehearse(&play, before);
    sim_disk_free(before);
    if (!good) return;
    uint64_t at = stage_draw(bed, 1, play.effects);
    enum sim_end how = stage_draw(bed, 0, 2) ? SIM_END_POWER : SIM_END_KILL;
    sim_disk_options(play.node->machine.disk)->torn = stage_draw(bed, 0, 1);
    sim_salvage_run(play.node, SALVAGE_ACCEPT_LOSS, at, how, &salvage);
    if (salvage.died) after_a_crash(&play);
    judge(&play, !damaged);
}
