/* Findings of WHY.md about what is read at several places (3.2, 3.5), and about cuts (4.1).
 * findings.h tells who is who. */
#include "sim/scenarios/findings.h"

enum {
    PATIENCE_US = 5 * STAGE_S,
    SEEN_US = STAGE_S,
    ARRIVES_US = 30 * STAGE_MS, /* a frame that was kept is there and answered */
    ROUNDS = 4,
};

/* --- WHY 3.2 --- */

static void set(struct cast *cast, uint32_t part, uint32_t value)
{
    cast_ask(cast->third, "SET %s %u", cast->part[part].key, value);
}

/* What is on its way there now is read, and nothing that follows from it. */
static void read_now(struct cast *cast, struct frame_rule *rule)
{
    frames_let_go(&cast->frames, rule);
    sim_run_for(cast->sim, ARRIVES_US);
}

static void same_values(struct cast *cast)
{
    const char *x = cast->part[0].key, *y = cast->part[1].key;
    struct frame_rule *read_x = cast_rule(cast, SIM_FRAME_KEPT, TXN_READ, cast->part[0].group);
    struct frame_rule *read_y = cast_rule(cast, SIM_FRAME_KEPT, TXN_READ, cast->part[1].group);

    set(cast, 0, 0);
    set(cast, 1, 0);
    talk_say(cast->client, "MGET %s %s", x, y);
    cast_seen(cast, read_x, 1, SEEN_US);
    cast_seen(cast, read_y, 1, SEEN_US);
    for (uint32_t round = 1; round <= 2 && !talk_is_answered(cast->client); round++) {
        read_now(cast, read_x); /* 0 0 */
        set(cast, 0, 1);        /* 1 0 */
        set(cast, 1, 1);        /* 1 1 */
        read_now(cast, read_y);
        if (round == 2 || talk_is_answered(cast->client)) break;
        set(cast, 1, 0); /* 1 0 */
        set(cast, 0, 0); /* 0 0 */
    }
    frames_clear(&cast->frames);
    const char *told = cast_hear(cast->client);
    sim_reached(cast->sim, "scenario: rows were read as they had been, and changed between");
    if (said(told, "[0 1]"))
        sim_violation(cast->sim, "T-1: %s and %s were read as 0 and 1, which they never were", x,
                      y);
}

/* Goal: what is read at several partitions was so at one instant (C7): versions are compared, not
 * values. Method: x and y go (0,0) (1,0) (1,1) (1,0) (0,0) (1,0) (1,1). x is read in the first and
 * fifth state, y in the third and seventh. */
void scenario_reads_of_no_instant(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, same_values);
}

/* --- WHY 3.5 --- */

static void torn_error(struct cast *cast)
{
    const char *x = cast->part[0].key, *y = cast->part[1].key, *z = cast->part[2].key;
    struct frame_rule *read = cast_rule(cast, SIM_FRAME_KEPT, TXN_READ, cast->part[0].group);

    talk_say(cast->client, "MULTI\nRENAME %s %s\nGET %s\nEXEC", x, y, z);
    if (!cast_seen(cast, read, 1, SEEN_US)) return;
    frames_let_go(&cast->frames, read); /* the look: there is no x */
    bool validates = cast_seen(cast, read, 2, SEEN_US);
    cast_ask(cast->witness, "MSET %s 1 %s 1", x, z);
    cast_pass(cast, 0, 50);
    frames_clear(&cast->frames);
    const char *told = cast_hear(cast->client);
    if (cast->sim->failed || !validates) return;
    sim_reached(cast->sim, "scenario: what an error followed from changed");
    bool torn = strncmp(told, "[-ERR", 5) == 0 && strcmp(told + strlen(told) - 3, " 1]") == 0;
    if (torn)
        sim_violation(cast->sim, "T-1: there was no %s, and %s was 1, which was never so: %s", x, z,
                      told);
}

/* Goal: an error is as true as a value (C8): what it follows from is validated with all the rest.
 * Method: RENAME looks, and finds nothing; then its key and another one are written at one instant,
 * and the other one is read. */
void scenario_error_of_torn_view(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, torn_error);
}

/* --- WHY 4.1 --- */

static bool is_id(const char *heard)
{
    return strlen(heard) == 16;
}

static void cause_and_effect(struct cast *cast)
{
    const char *cause = cast->part[0].key, *effect = cast->part[1].key;
    struct frame_rule *take =
        frames_rule(&cast->frames, (struct frame_rule){.fate = SIM_FRAME_KEPT,
                                                       .kind = PEER_FRAME_REQUESTS,
                                                       .group = cast->part[1].group,
                                                       .service = SERVICE_CUT,
                                                       .op = CUT_TAKE});

    talk_say(cast->client, "HOLON.SNAPSHOT OPEN");
    bool frozen = cast_seen(cast, take, 1, 2 * SEEN_US);
    cast_pass(cast, 5, 15); /* the others have taken their parts */
    cast_ask(cast->third, "SET %s 1", cause);
    talk_say(cast->third, "SET %s 1", effect);
    cast_pass(cast, 5, 60);
    frames_clear(&cast->frames);
    cast_hear(cast->third);
    if (!is_id(cast_hear(cast->client)) || !frozen || cast->sim->failed) return;
    sim_reached(cast->sim, "scenario: a part of a cut was taken late");
    bool has_effect = said(cast_ask(cast->client, "GET %s", effect), "1");
    bool has_cause = said(cast_ask(cast->client, "GET %s", cause), "1");
    if (!cast->sim->failed && has_effect && !has_cause)
        sim_violation(cast->sim, "T-3: a cut has %s, which was set when %s was, and not that",
                      effect, cause);
}

/* Goal: a cut that has an effect has its cause (WHY 4.1): there is an instant at which nobody
 * evaluates writes. Method: one partition takes its part later than the other; meanwhile a client
 * writes in the first, is told so, and writes in the other. */
void scenario_cut_has_cause_of_effect(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, cause_and_effect);
}

static void cut_between(struct cast *cast)
{
    const char *a = cast->part[0].key, *b = cast->part[1].key;
    struct frame_rule *resolve = cast_rule(cast, SIM_FRAME_LOST, TXN_RESOLVE, 0);

    cast_rule(cast, SIM_FRAME_LOST, TXN_QUERY, 0);
    if (!said(cast_ask(cast->client, "MSET %s 1 %s 1", a, b), "OK")) return;
    const char *id = cast_ask(cast->third, "HOLON.SNAPSHOT OPEN");
    bool open = is_id(id);
    if (!open || !cast_seen(cast, resolve, 1, SEEN_US) || cast->sim->failed) return;
    for (uint32_t i = 0; i < 2 && !cast->sim->failed; i++) {
        const char *there = cast_ask(cast->third, "GET %s", cast->part[i].key);
        if (!cast->sim->failed && !said_failed(there) && !said(there, "1"))
            sim_violation(cast->sim, "T-3: in a cut behind the commit of %s and %s, %s is '%s'", a,
                          b, cast->part[i].key, there);
    }
    frames_clear(&cast->frames);
}

/* Goal: what is prepared at a cut is in it exactly if its decision is (WHY 4.1). Method: a
 * transaction is committed, its participant is not told, and a cut is taken and read. */
void scenario_cut_between_decision_and_resolve(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, cut_between);
}
