/* Findings of WHY.md about what becomes of a transaction, and who may say so (2.2 to 2.4, 3.6,
 * 3.7). Each is played move by move; findings.h tells who is who. */
#include "sim/scenarios/findings.h"

enum {
    PATIENCE_US = 6 * STAGE_S,
    LITTLE_PATIENCE_US = 2 * STAGE_S,
    SEEN_US = STAGE_S,
    ROUNDS = 4,
    LONG_ROUNDS = 2,
};

/* What a and b are, by what the witness is told. */
static void look_at(struct cast *cast, char *ret_a, char *ret_b, size_t size)
{
    snprintf(ret_a, size, "%s", cast_ask(cast->witness, "GET %s", cast->part[0].key));
    snprintf(ret_b, size, "%s", cast_ask(cast->witness, "GET %s", cast->part[1].key));
}

/* The first `count` keys are as one transaction left them. */
static void check_equal(struct cast *cast, uint32_t count, const char *told)
{
    char first[TALK_TEXT_MAX];

    for (uint32_t i = 0; i < count && !cast->sim->failed; i++) {
        const struct part *part = &cast->part[i];
        const char *now = cast_ask(cast->witness, "GET %s", part->key);
        if (i == 0) snprintf(first, sizeof(first), "%s", now);
        if (!cast->sim->failed && (!said(now, first) || said_failed(now)))
            sim_violation(cast->sim,
                          "T-1: half a transaction (its client was told '%s'): %s is '%s', %s is "
                          "'%s'",
                          told, cast->part[0].key, first, part->key, now);
    }
}

/* --- WHY 2.2 --- */

static void retry_of_unknown(struct cast *cast)
{
    char a[TALK_TEXT_MAX], b[TALK_TEXT_MAX];

    frames_rule(&cast->frames, (struct frame_rule){.fate = SIM_FRAME_LOST,
                                                   .kind = PEER_FRAME_REPLIES,
                                                   .from = cast->part[0].leader,
                                                   .group = cast->part[0].group});
    talk_say(cast->client, "MULTI\nINCR %s\nINCR %s\nEXEC", cast->part[0].key, cast->part[1].key);
    sim_run_for(cast->sim, LITTLE_PATIENCE_US);
    cast_pass(cast, 50, 300);
    frames_clear(&cast->frames);
    const char *told = cast_hear(cast->client);
    if (cast->sim->failed) return;
    look_at(cast, a, b, sizeof(a));
    bool twice = !said(a, "1") || !said(b, "1");
    if (twice)
        sim_violation(cast->sim, "T-1: one INCR of %s and %s, told '%s': they are '%s' and '%s'",
                      cast->part[0].key, cast->part[1].key, told, a, b);
}

/* Goal: no attempt begins while the outcome of the one before is not known (C5). Method: the
 * primary commits, and silence answers the coordinator until its patience is over; then it is heard
 * again. A second attempt would have another identity, of which no window knows anything. (As built
 * a second attempt of the same request has the same primary. That it has another id is what
 * counts.)
 */
void scenario_retry_of_unknown_outcome(struct sim_bed *bed)
{
    findings_play(bed, LITTLE_PATIENCE_US, LONG_ROUNDS, retry_of_unknown);
}

/* --- WHY 2.3 --- */

static void replayed_prepare(struct cast *cast)
{
    const struct part *a = &cast->part[0], *b = &cast->part[1], *c = &cast->part[2];

    struct frame_rule *prepare = cast_rule(cast, SIM_FRAME_COPIED, TXN_PREPARE, b->group);
    cast_rule(cast, SIM_FRAME_LOST, TXN_RESOLVE, c->group);
    const char *told = cast_ask(cast->client, "MSET %s 1 %s 1 %s 1", a->key, b->key, c->key);
    if (!said(told, "OK")) return;
    if (!said(cast_ask(cast->witness, "GET %s", b->key), "1")) return;
    if (!said(cast_ask(cast->witness, "SET %s 2", b->key), "OK")) return;
    cast_pass(cast, 0, 100);
    frames_let_go(&cast->frames, prepare);
    cast_pass(cast, 500, 900); /* its participant would ask, and be told of the commit */
    const char *now = cast_ask(cast->witness, "GET %s", b->key);
    if (!cast->sim->failed && !said(now, "2"))
        sim_violation(cast->sim,
                      "T-1: %s was set to 2 behind a transaction that set it to 1, and "
                      "is '%s'",
                      b->key, now);
    sim_reached(cast->sim, "scenario: a copy of PREPARE came behind the commit");
}

/* Goal: a PREPARE that arrives again after its transaction is over changes nothing (C2, B5).
 * Method: its frame is doubled, and the copy stays on its way until the transaction is committed
 * and applied, and its row written by another. The primary still has the decision, for a third
 * partition was not told of it: who prepared again would be told "committed". */
void scenario_prepare_replayed(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, replayed_prepare);
}

/* --- WHY 2.4 --- */

static void late_decide(struct cast *cast)
{
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_KEPT, TXN_DECIDE, cast->part[0].group);

    talk_say(cast->client, "MSET %s 1 %s 1", cast->part[0].key, cast->part[1].key);
    if (!cast_seen(cast, decide, 1, SEEN_US)) return;
    cast_pass(cast, 2500, 3500);
    frames_clear(&cast->frames);
    check_equal(cast, 2, cast_hear(cast->client));
}

/* Goal: who decides late finds the tombstone (C6). Method: all are prepared, and the coordinator is
 * not heard for so long that the participant asks for an abort, is told of it and is done; and the
 * primary has had the time to forget that it said so. Then DECIDE arrives. */
void scenario_decide_meets_tombstone(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, LONG_ROUNDS, late_decide);
}

/* --- C3 --- */

static void early_decide(struct cast *cast)
{
    const struct part *a = &cast->part[0], *b = &cast->part[1], *c = &cast->part[2];
    struct frame_rule *prepare = cast_rule(cast, SIM_FRAME_KEPT, TXN_PREPARE, c->group);

    talk_say(cast->client, "MSET %s 1 %s 1 %s 1", a->key, b->key, c->key);
    if (!cast_seen(cast, prepare, 1, SEEN_US)) return;
    cast_pass(cast, 20, 250);
    frames_clear(&cast->frames);
    check_equal(cast, CAST_PARTS, cast_hear(cast->client));
}

/* Goal: the primary decides when all participants have prepared (C3). Method: PREPARE reaches one
 * of two, and is late at the other. */
void scenario_decide_before_prepared(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, early_decide);
}

/* --- C11 --- */

static void dead_coordinator(struct cast *cast)
{
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_LOST, TXN_DECIDE, cast->part[0].group);

    talk_say(cast->client, "MSET %s 1 %s 1", cast->part[0].key, cast->part[1].key);
    if (!cast_seen(cast, decide, 1, SEEN_US)) return;
    sim_node_kill(stage_node(cast->bed, cast->coordinator));
    frames_clear(&cast->frames);
    check_equal(cast, 2, "");
}

/* Goal: no decision means an abort (C11). Method: the coordinator dies when all have prepared, and
 * DECIDE is lost with it. Whoever reads waits for the participant, which asks the primary. */
void scenario_coordinator_dies_undecided(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, dead_coordinator);
}

/* --- WHY 3.6 --- */

static void questions(struct cast *cast)
{
    uint32_t first = cast->part[1].group;
    struct frame_rule *prepare = cast_rule(cast, SIM_FRAME_GOES, TXN_PREPARE, first);
    struct frame_rule *query = cast_rule(cast, SIM_FRAME_GOES, TXN_QUERY, cast->part[0].group);
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_KEPT, TXN_DECIDE, cast->part[0].group);

    talk_say(cast->client, "MSET %s 1 %s 1", cast->part[0].key, cast->part[1].key);
    if (!cast_seen(cast, decide, 1, SEEN_US)) return;
    bool asked = cast_seen(cast, query, 1, SEEN_US);
    cast_pass(cast, 20, 300);
    frames_let_go(&cast->frames, decide);
    decide->fate = SIM_FRAME_GOES;
    const char *told = cast_hear(cast->client);
    if (cast->sim->failed || !asked) return;
    sim_reached(cast->sim, "scenario: a participant asked about a healthy transaction");
    if (!said(told, "OK") || prepare->seen > 1)
        sim_violation(cast->sim,
                      "WHY 3.6: a transaction that was %s was given up, for somebody "
                      "asked: %u attempts",
                      said(told, "OK") ? "committed at last" : told, prepare->seen);
    check_equal(cast, 2, told);
}

/* Goal: that a participant asks kills no healthy transaction (WHY 3.6): before it has waited for a
 * second it asks, and does not abort. Method: DECIDE is late by 0.3 to 0.7 s. The first attempt
 * must be the one that commits. */
void scenario_query_does_not_abort(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, questions);
}

/* --- WHY 3.7 --- */

static void silent_leaders(struct cast *cast)
{
    cast_rule(cast, SIM_FRAME_LOST, TXN_RESOLVE, 0);
    cast_rule(cast, SIM_FRAME_LOST, TXN_QUERY, 0);
    const char *told =
        cast_ask(cast->client, "MSET %s 1 %s 1", cast->part[0].key, cast->part[1].key);
    bool moved = said(told, "OK") && cast_move(cast, 1) && cast_move(cast, 0);
    cast_pass(cast, 0, 50);
    frames_clear(&cast->frames);
    if (!moved || cast->sim->failed) return;
    const char *now = cast_ask(cast->third, "GET %s", cast->part[1].key);
    if (!cast->sim->failed && !said(now, "1"))
        sim_violation(cast->sim, "WHY 3.7: %s was committed, and is '%s' under the next leaders",
                      cast->part[1].key, now);
}

/* Goal: what is decided is told, whoever leads (C4, C11). Method: neither the coordinator nor the
 * leader that decided tell anybody, and then others lead, of the primary and of the participant. */
void scenario_next_leaders_settle(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, LONG_ROUNDS, silent_leaders);
}

/* --- C6 --- */

static void untold(struct cast *cast)
{
    struct frame_rule *resolve = cast_rule(cast, SIM_FRAME_LOST, TXN_RESOLVE, cast->part[1].group);
    struct frame_rule *query = cast_rule(cast, SIM_FRAME_KEPT, TXN_QUERY, cast->part[0].group);
    const char *told =
        cast_ask(cast->client, "MSET %s 1 %s 1", cast->part[0].key, cast->part[1].key);

    if (!said(told, "OK")) return;
    cast_seen(cast, query, 1, SEEN_US);
    cast_pass(cast, 0, 1500); /* the primary could forget it meanwhile */
    if (resolve->seen > 1) sim_reached(cast->sim, "scenario: a participant was told in vain");
    resolve->fate = SIM_FRAME_KEPT;
    frames_let_go(&cast->frames, query);
    query->fate = SIM_FRAME_GOES;
    check_equal(cast, 2, told);
}

/* Goal: a decision stays until all participants know of it (C6). Method: RESOLVE is lost for a
 * while, then the question of the participant arrives, which was late. */
void scenario_decision_outlives_silence(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, untold);
}
