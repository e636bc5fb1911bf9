/* Findings of WHY.md about locks of transactions (3.1, 3.8, 3.10), and about those that wait for
 * them (decision 0020, rule C9). findings.h tells who is who. */
#include "sim/scenarios/findings.h"

enum {
    PATIENCE_US = 5 * STAGE_S,
    SEEN_US = STAGE_S,
    ROUNDS = 4,
    COMPANY = 6,
};

/* Committed, and not applied at the participant. */
static bool leave_unresolved(struct cast *cast, enum sim_frame_fate fate)
{
    cast_rule(cast, fate, TXN_RESOLVE, 0);
    return said(cast_ask(cast->client, "MSET %s 1 %s 1", cast->part[0].key, cast->part[1].key),
                "OK");
}

static void check_one(struct cast *cast, const char *now, const char *want, const char *what)
{
    if (cast->sim->failed || said(now, want)) return;
    sim_violation(cast->sim, "T-1: %s: %s is '%s', and not '%s'", what, cast->part[1].key, now,
                  want);
}

/* --- WHY 3.1 --- */

static bool read_nothing_and_wrote(const char *heard)
{
    return said(heard, "[nil OK]");
}

static void skew(struct cast *cast)
{
    const char *x = cast->part[0].key, *y = cast->part[1].key;
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_KEPT, TXN_DECIDE, 0);
    struct talker *other = talk_join(cast->talk, cast->coordinator);

    talk_say(cast->client, "MULTI\nGET %s\nSET %s 1\nEXEC", x, y);
    talk_say(other, "MULTI\nGET %s\nSET %s 1\nEXEC", y, x);
    bool prepared = cast_seen(cast, decide, 2, SEEN_US);
    bool moved = prepared && cast_move(cast, 0) && cast_move(cast, 1);
    cast_pass(cast, 0, 20);
    frames_clear(&cast->frames);
    cast_hear(cast->client);
    cast_hear(other);
    if (moved) sim_reached(cast->sim, "scenario: readers of what each other writes lost leaders");
    if (!cast->sim->failed && read_nothing_and_wrote(talk_heard(cast->client)) &&
        read_nothing_and_wrote(talk_heard(other)))
        sim_violation(cast->sim,
                      "T-1: write skew: one read no %s and wrote %s, another read no %s "
                      "and wrote %s",
                      x, y, y, x);
    talk_leave(other);
}

/* Goal: what a transaction has read stays as it is until it is decided, whoever leads (C2): locks
 * of readers are in the replicated row. Method: T reads x and writes y, T' reads y and writes x.
 * Both have prepared what they read, and wait for their decision, when other leaders come. */
void scenario_read_locks_outlive_leaders(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, skew);
}

/* --- WHY 3.8 --- */

static void next_leader_reads(struct cast *cast)
{
    if (!leave_unresolved(cast, SIM_FRAME_LOST)) return;
    if (!cast_move(cast, 1)) return;
    talk_say(cast->third, "GET %s", cast->part[1].key);
    cast_pass(cast, 5, 50);
    frames_clear(&cast->frames);
    check_one(cast, cast_hear(cast->third), "1", "read at the next leader behind the commit");
}

/* Goal: a new leader knows what is locked before it answers anybody (A1). Method: a transaction is
 * committed, and the participant's leader, which was not told, hands over; the next one is read. */
void scenario_next_leader_knows_locks(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, next_leader_reads);
}

/* --- WHY 3.10 --- */

static void read_meets_lock(struct cast *cast)
{
    if (!leave_unresolved(cast, SIM_FRAME_KEPT)) return;
    talk_say(cast->witness, "GET %s", cast->part[1].key);
    cast_pass(cast, 1, 100);
    frames_clear(&cast->frames);
    check_one(cast, cast_hear(cast->witness), "1", "read behind the commit");
}

/* Goal: a read waits for whoever may have been committed (WHY 3.10). Method: RESOLVE is late, and
 * the participant's leader is asked for the row. */
void scenario_read_waits_for_lock(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, read_meets_lock);
}

static void txn_meets_lock(struct cast *cast)
{
    const char *a = cast->part[0].key, *b = cast->part[1].key, *c = cast->part[2].key;
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_KEPT, TXN_DECIDE, cast->part[0].group);

    talk_say(cast->client, "MULTI\nINCR %s\nINCR %s\nEXEC", a, b);
    if (!cast_seen(cast, decide, 1, SEEN_US)) return;
    talk_say(cast->third, "MULTI\nINCR %s\nINCR %s\nEXEC", b, c);
    cast_pass(cast, 5, 200);
    frames_clear(&cast->frames);
    bool both = !said_failed(cast_hear(cast->client)) && !said_failed(cast_hear(cast->third));
    if (both) check_one(cast, cast_ask(cast->witness, "GET %s", b), "2", "two INCR were committed");
}

/* Goal: a transaction does not pass the locks of another (C2). Method: one has prepared a row and
 * waits for its decision, another would change the row meanwhile. */
void scenario_transactions_exclude_each_other(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, txn_meets_lock);
}

/* --- C9 --- */

static void overtaken(struct cast *cast)
{
    struct frame_rule *prepare = cast_rule(cast, SIM_FRAME_KEPT, TXN_PREPARE, cast->part[1].group);
    const char *a = cast->part[0].key, *b = cast->part[1].key;

    talk_say(cast->client, "MSET %s 1 %s 1\nSET %s 2", a, b, a);
    if (!cast_seen(cast, prepare, 1, SEEN_US)) return;
    cast_pass(cast, 5, 250);
    frames_clear(&cast->frames);
    if (!said(cast_hear(cast->client), "OK")) return;
    const char *now = cast_ask(cast->witness, "GET %s", a);
    if (!cast->sim->failed && !said(now, "2"))
        sim_violation(cast->sim, "C9: MSET %s 1 and then SET %s 2 of one connection left '%s'", a,
                      a, now);
}

/* Goal: what a client sends behind a transaction comes behind it (C9, WHY 1.7). Method: MSET and
 * SET of the same key in one pipeline; the PREPARE of the first is late. */
void scenario_pipeline_behind_transaction(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, overtaken);
}

/* --- decision 0020 --- */

/* "[3 3]" is 3; 0: anything else. */
static uint64_t rank_of(const char *heard)
{
    char text[TALK_TEXT_MAX];

    for (uint64_t i = 1; i <= COMPANY + 1; i++) {
        snprintf(text, sizeof(text), "[%u %u]", (unsigned)i, (unsigned)i);
        if (said(heard, text)) return i;
    }
    return 0;
}

static void company(struct cast *cast)
{
    const char *a = cast->part[0].key, *b = cast->part[1].key;
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_KEPT, TXN_DECIDE, cast->part[0].group);
    struct talker *all[COMPANY];
    uint32_t ranks = 0, refused = 0;

    talk_say(cast->client, "MULTI\nINCR %s\nINCR %s\nEXEC", a, b);
    bool locked = cast_seen(cast, decide, 1, SEEN_US);
    for (uint32_t i = 0; i < COMPANY; i++) {
        all[i] = talk_join(cast->talk, cast->coordinator);
        talk_say(all[i], "MULTI\nINCR %s\nINCR %s\nEXEC", a, b);
    }
    if (locked) cast_pass(cast, 10, 60); /* they meet the lock, and find each other */
    frames_clear(&cast->frames);
    for (uint32_t i = 0; i <= COMPANY && !cast->sim->failed; i++) {
        struct talker *talker = i < COMPANY ? all[i] : cast->client;
        uint64_t rank = rank_of(cast_hear(talker));
        refused += said_failed(talk_heard(talker));
        if (rank == 0 && !said_failed(talk_heard(talker)))
            sim_violation(cast->sim, "T-1: an INCR of two keys that are always equal was told '%s'",
                          talk_heard(talker));
        else if (rank > 0 && ranks >> rank & 1)
            sim_violation(cast->sim, "T-1: two INCR of %s were both told that they made it %u", a,
                          (unsigned)rank);
        ranks |= 1u << rank;
    }
    if (!cast->sim->failed && refused == 0)
        SIM_CHECK(cast->sim, ranks == ((1u << (COMPANY + 1)) - 1) << 1);
    for (uint32_t i = 0; i < COMPANY; i++)
        talk_leave(all[i]);
}

/* Goal: of those that are executed together each sees what those before it wrote, and is told its
 * own reply (decision 0020). Method: seven clients of one node count two keys up; the first holds
 * the locks until the others have met them. */
void scenario_together_one_after_the_other(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, company);
}

static void given_up(struct cast *cast)
{
    enum { ANSWER_US = 150 * STAGE_MS };
    const struct part *a = &cast->part[0], *b = &cast->part[1];
    struct frame_rule *resolve =
        frames_rule(&cast->frames, (struct frame_rule){.fate = SIM_FRAME_GOES,
                                                       .kind = PEER_FRAME_REQUESTS,
                                                       .from = cast->coordinator,
                                                       .group = b->group,
                                                       .service = SERVICE_TXN,
                                                       .op = TXN_RESOLVE});
    struct frame_rule *replies =
        frames_rule(&cast->frames, (struct frame_rule){.fate = SIM_FRAME_GOES,
                                                       .kind = PEER_FRAME_REPLIES,
                                                       .to = cast->coordinator,
                                                       .group = b->group});
    struct frame_rule *prepare = cast_rule(cast, SIM_FRAME_GOES, TXN_PREPARE, b->group);
    struct frame_rule *decide = cast_rule(cast, SIM_FRAME_KEPT, TXN_DECIDE, a->group);

    talk_say(cast->third, "MULTI\nINCR %s\nINCR %s\nEXEC", a->key, b->key);
    if (!cast_seen(cast, decide, 1, SEEN_US)) return;
    talk_say(cast->client, "MULTI\nINCR %s\nINCR %s\nEXEC", a->key, b->key);
    if (!cast_seen(cast, prepare, 3, SEEN_US)) return; /* the holder's, a refused one, this one */
    uint32_t before = replies->seen;
    bool gave_up = cast_seen(cast, resolve, 1, 600 * STAGE_MS);
    bool answered = gave_up && cast_seen(cast, replies, before + 1, ANSWER_US);
    bool held = decide->seen > 0;
    frames_clear(&cast->frames);
    cast_hear(cast->client);
    cast_hear(cast->third);
    if (!gave_up || cast->sim->failed) return;
    sim_reached(cast->sim, "scenario: a transaction that waited for a lock was given up");
    if (held && !answered)
        sim_violation(cast->sim,
                      "decision 0020: a transaction that was given up waits on at "
                      "group %u for the lock of another",
                      b->group);
}

/* Goal: who gives up does not wait on (decision 0020): the PREPARE that waits for a lock is dropped
 * when its RESOLVE comes, and that is answered while the lock is still held. Method: one
 * transaction holds a lock for longer than another waits to be prepared. */
void scenario_waiting_prepare_given_up(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, given_up);
}
