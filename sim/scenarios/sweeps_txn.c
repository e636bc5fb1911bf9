/* Scripts of the crash sweep about several partitions: transactions, and a cut. */
#include "partition/host.h"
#include "sim/scenarios/sweeps.h"
#include "sim/scenarios/talk.h"
#include "sim/scenarios/transactions.h"
#include "sim/sim_sweep.h"

enum {
    PARTITIONS = 4,
    ANSWER_US = 4 * STAGE_S, /* elections included */
    SETTLED_US = 30 * STAGE_S,
    WRITES = 3,
    LIFETIME_S = 5,
};

struct script {
    struct sim_bed *bed;
    struct talk *talk;
    char a[TALK_KEY_MAX], b[TALK_KEY_MAX]; /* of two partitions */
};

static bool script_open(struct script *script, struct sim_bed *bed)
{
    struct sim_plan plan;

    sweep_plan(&plan);
    plan.cluster.partitions = PARTITIONS;
    plan.workload.clients = 1;
    plan.workload.think_min = 20 * STAGE_MS;
    if (!sweep_open(bed, &plan)) return false;
    *script = (struct script){.bed = bed, .talk = talk_open(bed->cluster)};
    uint32_t first = (uint32_t)stage_draw(bed, 0, PARTITIONS - 1);
    talk_name_key(script->talk, GROUP_DATA_FIRST + first, script->a);
    talk_name_key(script->talk, GROUP_DATA_FIRST + (first + 1) % PARTITIONS, script->b);
    return true;
}

/* True: it was answered as it should be; false: it may have been executed. */
static bool tell(struct script *script, node_id_t node, const char *text, const char *want)
{
    struct talker *talker = talk_join(script->talk, node);

    talk_say(talker, "%s", text);
    bool done = talk_hear(talker, ANSWER_US) && strcmp(talk_heard(talker), want) == 0;
    talk_leave(talker);
    return done;
}

static bool tell_both(struct script *script, node_id_t node, uint32_t value)
{
    char text[128];

    snprintf(text, sizeof(text), "MULTI\nSET %s %u\nSET %s %u\nEXEC", script->a, value, script->b,
             value);
    return tell(script, node, text, "[OK OK]");
}

/* What is there when all is over, said to any node. */
static void ask(struct script *script, const char *text, char *ret_heard, size_t size)
{
    struct talker *talker = talk_join(script->talk, 1);

    talk_say(talker, "%s", text);
    if (!talk_hear(talker, SETTLED_US) && !script->bed->sim.failed)
        sim_violation(&script->bed->sim, "V-2: nobody answers: %s", text);
    snprintf(ret_heard, size, "%s", talk_heard(talker));
    talk_leave(talker);
}

static bool script_settle(struct script *script)
{
    struct sim_bed *bed = script->bed;

    sweep_close(bed);
    if (bed->sim.failed) return false;
    if (!sim_cluster_wait(bed->cluster, SETTLED_US, transactions_are_settled, NULL))
        sim_violation(&bed->sim, "V-5: rows of transactions are not settled after %u s",
                      SETTLED_US / STAGE_S);
    return !bed->sim.failed;
}

/* The two keys are equal, and there if one of their writes was acknowledged. */
static void check_both(struct script *script, bool acknowledged)
{
    char text[128], heard[TALK_TEXT_MAX], equal[32] = "[nil nil]";
    bool good = !acknowledged;

    snprintf(text, sizeof(text), "MGET %s %s", script->a, script->b);
    ask(script, text, heard, sizeof(heard));
    if (script->bed->sim.failed) return;
    if (strcmp(heard, equal) == 0 && good) return;
    for (uint32_t i = 1; i <= WRITES; i++) {
        snprintf(equal, sizeof(equal), "[%u %u]", i, i);
        if (strcmp(heard, equal) == 0) return;
    }
    sim_violation(&script->bed->sim, "T-1: two keys that are always written together are %s%s",
                  heard, acknowledged ? ", and one of their writes was acknowledged" : "");
}

/* Goal: a transaction over two partitions is there whole or not at all, and once it is acknowledged
 * it is there, whatever a node was doing for it: coordinator, primary, participant, follower.
 * Method: MULTI through each node in turn, then RENAME from one partition to another. */
void scenario_sweep_transaction(struct sim_bed *bed)
{
    struct script script;
    char from[TALK_KEY_MAX], to[TALK_KEY_MAX], text[128], heard[TALK_TEXT_MAX];
    bool acknowledged = false;

    if (!script_open(&script, bed)) return;
    talk_name_key(script.talk, GROUP_DATA_FIRST, from);
    talk_name_key(script.talk, GROUP_DATA_FIRST + 1, to);
    snprintf(text, sizeof(text), "SET %s 7", from);
    tell(&script, 1, text, "OK");
    sim_sweep_begin(&bed->sim);
    for (uint32_t i = 1; i <= WRITES && !bed->sim.failed; i++)
        acknowledged |= tell_both(&script, i, i);
    snprintf(text, sizeof(text), "RENAME %s %s", from, to);
    bool renamed = tell(&script, 2, text, "OK");
    if (script_settle(&script)) {
        check_both(&script, acknowledged);
        snprintf(text, sizeof(text), "MGET %s %s", from, to);
        if (!bed->sim.failed) ask(&script, text, heard, sizeof(heard));
        bool good = strcmp(heard, "[nil 7]") == 0 || (!renamed && strcmp(heard, "[7 nil]") == 0);
        if (!bed->sim.failed && !good)
            sim_violation(&bed->sim, "T-1: RENAME (%s) left %s",
                          renamed ? "acknowledged" : "not acknowledged", heard);
    }
    talk_close(script.talk);
}

static uint64_t cuts_open(struct sim_cluster *cluster)
{
    struct host_statistics statistics;
    uint64_t open = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        if (!sim_node_is_up(&cluster->nodes[i])) continue;
        struct partition_host *host = node_host(cluster->nodes[i].now->node, 0);
        if (host == NULL) continue;
        host_statistics(host, &statistics);
        open += statistics.cuts_open;
    }
    return open;
}

static bool no_cut_is_open(struct sim_cluster *cluster, void *unused)
{
    return cuts_open(cluster) == 0;
}

/* Of two keys that are always written together a cut has the same, or it is gone. */
static void read_at_cut(struct script *script, struct talker *talker)
{
    char a[TALK_TEXT_MAX], b[TALK_TEXT_MAX];

    talk_say(talker, "GET %s", script->a);
    if (!talk_hear(talker, ANSWER_US)) return;
    snprintf(a, sizeof(a), "%s", talk_heard(talker));
    talk_say(talker, "GET %s", script->b);
    if (!talk_hear(talker, ANSWER_US)) return;
    snprintf(b, sizeof(b), "%s", talk_heard(talker));
    if (a[0] != '-' && b[0] != '-' && strcmp(a, b) != 0)
        sim_violation(&script->bed->sim,
                      "T-3: in a cut two keys that are always written together "
                      "are '%s' and '%s'",
                      a, b);
}

/* Goal: a cut that was opened is one instant, or is gone, and nothing is left of one that was not,
 * wherever a node dies while it is taken and read. Method: one node opens it while a transaction
 * through another goes on, reads two keys at it, and closes it. */
void scenario_sweep_cut(struct sim_bed *bed)
{
    struct script script;

    if (!script_open(&script, bed)) return;
    bool acknowledged = tell_both(&script, 1, 1);
    struct talker *reader = talk_join(script.talk, 2);
    struct talker *writer = talk_join(script.talk, 3);
    sim_run_for(&bed->sim, 5 * STAGE_MS);
    sim_sweep_begin(&bed->sim);
    talk_say(writer, "MULTI\nSET %s 2\nSET %s 2\nEXEC", script.a, script.b);
    talk_say(reader, "HOLON.SNAPSHOT OPEN EX %u", LIFETIME_S);
    bool open = talk_hear(reader, ANSWER_US) && talk_heard(reader)[0] != '-';
    talk_hear(writer, ANSWER_US);
    if (open) read_at_cut(&script, reader);
    if (open && !bed->sim.failed) talk_say(reader, "HOLON.SNAPSHOT CLOSE");
    if (open) talk_hear(reader, ANSWER_US);
    talk_leave(reader);
    talk_leave(writer);
    if (script_settle(&script)) check_both(&script, acknowledged);
    if (!bed->sim.failed && !sim_cluster_wait(bed->cluster, SETTLED_US, no_cut_is_open, NULL))
        sim_violation(&bed->sim, "V-5: %llu parts of cuts are left",
                      (unsigned long long)cuts_open(bed->cluster));
    talk_close(script.talk);
}
