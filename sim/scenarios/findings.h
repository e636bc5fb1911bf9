/* findings.h - the cast of the scenarios that play a finding of WHY.md about transactions, move by
 * move: nothing else happens in the cluster, and each round has keys of its own.
 *
 * Four nodes. Of a round: the coordinator leads none of three partitions, which three others lead;
 * the first of them is the primary of every transaction that writes there. So whatever is said for
 * a transaction is a frame, which the scenario may hold (frames.h). */
#ifndef HOLON_SIM_SCENARIOS_FINDINGS_H
#define HOLON_SIM_SCENARIOS_FINDINGS_H

#include "partition/cut_frame.h"
#include "partition/txn_record.h"
#include "sim/scenarios/frames.h"
#include "sim/scenarios/stage.h"
#include "sim/scenarios/talk.h"
#include "sim/sim_plan.h"
#include "wire/peer_frame.h"

enum { CAST_PARTS = 3 };

struct part { /* of the play: a partition, who leads it, a key that nobody has used */
    uint32_t group;
    node_id_t leader;
    char key[TALK_KEY_MAX];
};

struct cast {
    struct sim_bed *bed;
    struct sim *sim;
    struct frames frames;
    struct talk *talk;
    uint64_t patience;
    /* Of the round: */
    node_id_t coordinator;
    struct part part[CAST_PARTS]; /* in the order of their groups */
    struct talker *client;        /* at the coordinator */
    struct talker *witness;       /* at the leader of part[1] */
    struct talker *third;         /* at the leader of part[2] */
};

/* Plays `round` so many times, then judges: nobody waits, nothing is left behind. */
void findings_play(struct sim_bed *bed, uint64_t patience, uint32_t rounds,
                   void (*round)(struct cast *cast));

/* Runs in steps shorter than any frame's way until a rule has seen so many. False: it took longer,
 * or the run is over. */
bool cast_seen(struct cast *cast, const struct frame_rule *rule, uint32_t least, uint64_t duration);
/* Runs for a time drawn from [low, high] ms. */
void cast_pass(struct cast *cast, uint64_t low_ms, uint64_t high_ms);
/* The leader of a part hands it over; runs until another one leads it and may evaluate. False:
 * nobody else came to lead it. */
bool cast_move(struct cast *cast, uint32_t part);
/* Says it, and waits for the answer; "": there is none within the patience, and three seconds. */
const char *cast_ask(struct talker *talker, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for what was said before. */
const char *cast_hear(struct talker *talker);
/* A request of the transaction layer between nodes. */
struct frame_rule *cast_rule(struct cast *cast, enum sim_frame_fate fate, enum txn_op op,
                             uint32_t group);
static inline bool said(const char *heard, const char *text)
{
    return strcmp(heard, text) == 0;
}
/* It surely had no effect, or may have none. */
static inline bool said_failed(const char *heard)
{
    return heard[0] == '-' || heard[0] == '\0';
}

#endif
