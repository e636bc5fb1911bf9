/* txn_cut_internal.h - inside of the coordinator of cuts (txn_cut.h).
 *
 *   txn_cut.c           begins, ends and leaves; attempts and the pauses between them
 *   txn_cut_ask.c       asks parts, and understands what they answer; says CLOSE
 *   txn_cut_outcomes.c  which of the transactions that parts have prepared are in the cut */
#ifndef HOLON_TXN_TXN_CUT_INTERNAL_H
#define HOLON_TXN_TXN_CUT_INTERNAL_H

#include "base/assert.h"
#include "base/memory.h"
#include "txn/txn_cut.h"
#include "world/probe.h"

enum {
    CUT_FREEZE_MS = 100, /* a leader holds writes back for no longer; all must have answered by then
                          */
    CUT_TAKE_US = 2 * 1000 * 1000, /* nobody is held back any more, or soon will not be */
    CUT_PAUSE_LEAST_US = 5 * 1000,
    CUT_PAUSE_FIRST_US = 10 * 1000, /* before the second attempt: at most; doubles */
    CUT_PAUSE_LAST_US = 50 * 1000,
    CUT_POLL_FIRST_US = 5 * 1000, /* while rows are copied; half as much again each time */
    CUT_POLL_LAST_US = 100 * 1000,
    CUT_COPYING_US = 60 * 1000 * 1000, /* clients go on meanwhile: longer than patience may be */
    CUTS_OPENING_MAX = 64,             /* of a worker */
    CUT_ERRANDS_MAX = 4096,            /* of a worker: CLOSE that are not answered */
    CUT_BODY_MAX = TXN_CUT_READ_OVERHEAD,
};

enum cut_stage {
    CUT_PAUSING,  /* before the first attempt, and the next ones */
    CUT_CLAIMING, /* the first part is asked: of several coordinators it lets one go on */
    CUT_FREEZING,
    CUT_TAKING,
    CUT_LOOKING, /* STATE */
    CUT_JUDGING, /* OUTCOMES */
    CUT_IS_OPEN,
};

struct cut_part { /* of one partition */
    struct txn_cut *cut;
    struct gateway_request request;
    struct buffer body; /* of it */
    bool asked;         /* the gateway has it */
    bool again;         /* its rows are being copied: the same once more */
    enum cut_op op;
    uint64_t freeze; /* which one it answered */
    /* CUT_JUDGING, as the primary of sightings: those from `judged` up to `judging` are asked
     * about, those from there up to `end` are not yet. */
    uint32_t judged, judging, end;
    struct buffer committed; /* ids, encoded: prepared here, and in the cut */
    uint32_t committed_count;
};

/* A transaction that a part has prepared. */
struct cut_sighting {
    struct txn_id id;
    uint32_t part;
    bool committed;
};

struct txn_cut {
    struct txn_cuts *cuts;
    struct list link; /* in cuts->opening, or cuts->open */
    enum cut_stage stage;
    bool uses;     /* it is another's */
    bool asking;   /* cut_step() is at it: it looks again */
    bool failed;   /* this attempt, */
    bool hopeless; /* and so would be another one */
    enum txn_cut_result why;
    uint64_t id;
    uint64_t lifetime;
    int64_t time;
    uint64_t ends;         /* boot clock: no attempt begins after that */
    uint64_t copying_ends; /* of this attempt */
    uint64_t frozen_at;    /* the first FREEZE was sent; 0: none was */
    uint64_t pause, poll;
    struct world_timer timer;
    void *context;
    void (*on_done)(void *context, struct txn_cut *cut, enum txn_cut_result result);
    uint32_t waiting; /* parts that are asked */
    uint32_t sighting_count, sighting_room;
    struct cut_sighting *sightings;
    uint32_t part_count;
    struct cut_part parts[];
};

struct cut_errand { /* CLOSE of one partition */
    struct gateway_request request;
    struct txn_cuts *cuts;
    struct list link;
    uint8_t body[16];
};

struct txn_cuts {
    struct txn_cuts_options options;
    struct world *world;
    struct list opening, open, errands;
    uint32_t opening_count, errand_count;
    struct txn_cut_statistics statistics;
};

/* txn_cut.c */
/* Something was answered: goes on, and ends the cut if that is how it comes. */
void cut_step(struct txn_cut *cut);
/* This attempt is over; the first reason counts. */
static inline void cut_fail(struct txn_cut *cut, enum txn_cut_result why, bool hopeless)
{
    if (cut->failed) return;
    cut->failed = true;
    cut->why = why;
    cut->hopeless = hopeless;
}

/* txn_cut_ask.c */
/* Of the partition with that number. */
uint16_t cut_part_slot(const struct txn_cuts *cuts, uint32_t part);
/* May be answered before it returns. `txns`: of OUTCOMES. */
void cut_part_ask(struct cut_part *part, enum cut_op op, struct bytes txns, uint32_t txn_count);
/* The same once more. */
void cut_part_ask_again(struct cut_part *part);
/* What is open is not waited for any more. */
void cut_forget_all(struct txn_cut *cut);
/* To all, and nobody waits for it. */
void cut_close_all(struct txn_cut *cut);
void cut_errands_drop(struct txn_cuts *cuts);

/* txn_cut_outcomes.c */
/* STATE was answered. False: it makes no sense. */
bool cut_take_state(struct cut_part *part, struct bytes rest);
/* All were: which are to be asked about, and at which parts? */
void cut_judge_begin(struct txn_cut *cut);
/* Asks all parts that can tell more. Something is open then, or all is known. */
void cut_judge_ask(struct txn_cut *cut);
/* OUTCOMES was answered. False as above. */
bool cut_take_outcomes(struct cut_part *part, struct bytes rest);
/* All is known: each part gets its list. */
void cut_judge_end(struct txn_cut *cut);

#endif
