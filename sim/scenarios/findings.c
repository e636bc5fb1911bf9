#include "sim/scenarios/findings.h"

#include "partition/host.h"
#include "sim/scenarios/transactions.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    NODES = 4,
    PARTITIONS = 12,
    STEP_US = 50,
    READY_US = 20 * STAGE_S,
    MOVE_US = 3 * STAGE_S,
    SETTLED_US = 30 * STAGE_S,
    REST_US = 20 * STAGE_MS,
    LINE_SIZE_MAX = 512,
};

/* --- who is who --- */

static bool leads_already(const struct cast *cast, uint32_t count, node_id_t node)
{
    for (uint32_t i = 0; i < count; i++)
        if (cast->part[i].leader == node) return true;
    return node == cast->coordinator;
}

/* The first groups from a drawn one on whose leaders are three, and none the coordinator. */
static bool find_parts(struct cast *cast)
{
    uint32_t first = (uint32_t)stage_draw(cast->bed, 0, PARTITIONS / 3), count = 0;

    for (uint32_t i = first; i < PARTITIONS && count < CAST_PARTS; i++) {
        uint32_t group = GROUP_DATA_FIRST + i;
        node_id_t leader = sim_inspect_leader(cast->bed->cluster, group);
        if (leader == 0 || leads_already(cast, count, leader)) continue;
        cast->part[count++] = (struct part){.group = group, .leader = leader};
    }
    return count == CAST_PARTS;
}

/* All that was begun is over. */
static bool settle(struct cast *cast)
{
    frames_clear(&cast->frames);
    if (!stage_repair(cast->bed)) return false;
    if (!sim_cluster_wait(cast->bed->cluster, SETTLED_US, transactions_are_settled, NULL))
        sim_violation(cast->sim, "V-5: rows of transactions are not settled after %u s",
                      SETTLED_US / STAGE_S);
    return !cast->sim->failed;
}

static bool cast_again(struct cast *cast)
{
    uint64_t end = cast->sim->now + READY_US;

    if (!settle(cast)) return false;
    do {
        sim_run_for(cast->sim, REST_US);
        cast->coordinator = (node_id_t)stage_draw(cast->bed, 1, NODES);
    } while (!find_parts(cast) && cast->sim->now < end && !cast->sim->failed);
    if (cast->sim->now >= end)
        sim_violation(cast->sim, "V-1: leaderships are not spread after %u s", READY_US / STAGE_S);
    if (cast->sim->failed) return false;
    for (uint32_t i = 0; i < CAST_PARTS; i++)
        talk_name_key(cast->talk, cast->part[i].group, cast->part[i].key);
    cast->client = talk_join(cast->talk, cast->coordinator);
    cast->witness = talk_join(cast->talk, cast->part[1].leader);
    cast->third = talk_join(cast->talk, cast->part[2].leader);
    sim_trace_text(cast->sim,
                   "round: node %u coordinates; %s of group %u at %u, %s of %u at %u, "
                   "%s of %u at %u",
                   cast->coordinator, cast->part[0].key, cast->part[0].group, cast->part[0].leader,
                   cast->part[1].key, cast->part[1].group, cast->part[1].leader, cast->part[2].key,
                   cast->part[2].group, cast->part[2].leader);
    return true;
}

void findings_play(struct sim_bed *bed, uint64_t patience, uint32_t rounds,
                   void (*round)(struct cast *cast))
{
    struct cast cast = {.bed = bed, .sim = &bed->sim, .patience = patience};
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.nodes = NODES;
    plan.cluster.partitions = PARTITIONS;
    plan.cluster.patience = plan.workload.patience = patience;
    plan.workload.clients = plan.workload.registers = 0;
    if (!stage_open(bed, &plan)) return;
    frames_open(&cast.frames, bed->cluster->network);
    cast.talk = talk_open(bed->cluster);
    for (uint32_t i = 0; i < rounds && !bed->sim.failed && cast_again(&cast); i++) {
        round(&cast);
        talk_leave(cast.client);
        talk_leave(cast.witness);
        talk_leave(cast.third);
    }
    if (!bed->sim.failed && settle(&cast)) stage_judge(bed);
    sim_network_options(bed->cluster->network)->on_frame = NULL;
    talk_close(cast.talk);
}

/* --- moves --- */

bool cast_seen(struct cast *cast, const struct frame_rule *rule, uint32_t least, uint64_t duration)
{
    uint64_t end = cast->sim->now + duration;

    while (rule->seen < least && cast->sim->now < end)
        if (!sim_run_for(cast->sim, STEP_US)) return false;
    return rule->seen >= least;
}

void cast_pass(struct cast *cast, uint64_t low_ms, uint64_t high_ms)
{
    sim_run_for(cast->sim, stage_draw(cast->bed, low_ms * STAGE_MS, high_ms * STAGE_MS));
}

struct move {
    struct partition_host *host;
    struct group_id group;
};

static void move_inside(void *context)
{
    const struct move *move = context;

    host_transfer(move->host, move->group);
}

bool cast_move(struct cast *cast, uint32_t number)
{
    struct part *part = &cast->part[number];
    struct sim_incarnation *now = stage_node(cast->bed, part->leader)->now;
    struct move move = {.host = node_host(now->node, 0), .group = {part->group}};
    uint64_t end = cast->sim->now + MOVE_US;
    node_id_t leader;

    sim_world_call(&now->process->worlds[0], 0, move_inside, &move);
    do {
        sim_run_for(cast->sim, STEP_US);
        leader = sim_inspect_leader(cast->bed->cluster, part->group);
    } while ((leader == 0 || leader == part->leader) && cast->sim->now < end && !cast->sim->failed);
    if (leader == 0 || leader == part->leader) return false;
    part->leader = leader;
    return true;
}

const char *cast_hear(struct talker *talker)
{
    /* Patience is over long before, so that only an answer that is owed is missed. */
    enum { LONG_US = 20 * STAGE_S };

    return talk_hear(talker, LONG_US) ? talk_heard(talker) : "";
}

const char *cast_ask(struct talker *talker, const char *format, ...)
{
    char text[LINE_SIZE_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    talk_say(talker, "%s", text);
    return cast_hear(talker);
}

struct frame_rule *cast_rule(struct cast *cast, enum sim_frame_fate fate, enum txn_op op,
                             uint32_t group)
{
    return frames_rule(&cast->frames, (struct frame_rule){.fate = fate,
                                                          .kind = PEER_FRAME_REQUESTS,
                                                          .group = group,
                                                          .service = SERVICE_TXN,
                                                          .op = (uint8_t)op});
}
