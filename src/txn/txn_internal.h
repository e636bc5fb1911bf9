/* txn_internal.h - what the files of the coordinator share. Not for other modules.
 *
 *   txn_coordinator.c  transactions and their life
 *   txn_attempt.c      one attempt with locks: prepare, decide, or give all up
 *   txn_read.c         pieces that are only read (C7), and pieces alone
 *   txn_together.c     transactions that contend become one
 *   txn_errand.c       small requests that nobody waits for
 *   txn_retire.c       says to primaries that what was given up cannot be decided any more (C6)
 *   txn_settle.h       rows that transactions left behind, of groups led here (C4, C11) */
#ifndef HOLON_TXN_TXN_INTERNAL_H
#define HOLON_TXN_TXN_INTERNAL_H

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "txn/txn.h"
#include "txn/txn_frame.h"
#include "world/probe.h"

enum {
    TXN_OPEN_MAX_DEFAULT = 4096,
    TXN_READ_FAILURES_MAX = 3,   /* then with locks (C7); of more partitions one for each, */
    TXN_READ_FAILURES_LAST = 64, /* at most */
    TXN_LOST_REPLIES_MAX = 2,    /* of attempts that were prepared, and whose replies are too big */
    TXN_PAUSE_FIRST_US = 1000,   /* before another attempt: a random part of it */
    TXN_PAUSE_LAST_US = 64 * 1000,
    /* An attempt gives up that is not prepared by then: it would hold locks, and the place in its
     * stream, which a busy one needs (SEQ_SPREAD_MAX). Doubles, until participants would ask for an
     * abort. */
    TXN_PREPARE_FIRST_US = 300 * 1000,
    TXN_PREPARE_LAST_US = 1000 * 1000,
    TXN_UNSETTLED_MAX = 1 << 16,         /* rows of a worker that are looked after at once */
    TXN_TOGETHER_MAX = 64,               /* in one attempt, */
    TXN_TOGETHER_BYTES_MAX = 16 << 10,   /* with bodies of so much in each partition */
    TXN_GATHER_US = 500,                 /* new ones wait for company where others met locks, */
    TXN_CONTENDED_US = 50 * 1000,        /* for so long after, and after each shared attempt */
    TXN_CONTENDED_LAST_US = 1000 * 1000, /* until somebody meets a lock again */
    TXN_GATHER_SPREAD_US = 8 * 1000,     /* longer, at random, after one that failed */
    TXN_TOGETHER_CONFLICTS_MAX = 2,      /* shared attempts that met locks: then alone */
    TXN_CONTENDED_SETS = 64,             /* sets of partitions, by hash */
};

/* --- a transaction under way --- */

enum txn_part_state {
    PART_IDLE,
    PART_ASKED,    /* open at the gateway */
    PART_ANSWERED, /* READ: with a reply. PREPARE, DECIDE: it did it */
    PART_CLEAN,    /* surely nothing is prepared there */
    PART_UNSURE,   /* something may be */
};

struct txn_part { /* a piece, and the request for it */
    struct txn_attempt *attempt;
    struct txn_piece *piece;
    struct group_id group;
    enum txn_part_state state;
    enum txn_op op;
    enum txn_status status; /* of READ, when it is answered */
    uint64_t digest[2], digest_before[2];
    struct gateway_request request;
    struct buffer body; /* of the request */
};

enum txn_stage {
    STAGE_READ,    /* all pieces, or the only one */
    STAGE_PREPARE, /* all but the primary's */
    STAGE_DECIDE,  /* the primary's, or the only one */
    STAGE_PAUSE,
    STAGE_JOINED, /* another attempt is executed for it */
};

/* All attempts of one transaction, one after the other. */
struct txn_attempt {
    struct txn_worker *worker;
    struct list link;            /* of the worker */
    struct txn_request *request; /* NULL: forgotten */
    uint16_t client;
    enum txn_stage stage;
    bool stepping; /* txn_step() is at it: it looks again before it returns */
    bool reserved; /* the primary's seq, and nothing was sent */
    bool failed;   /* this attempt, or the transaction, if `final` */
    bool final;
    bool overdue;                    /* the last attempt failed by silence */
    enum txn_result result;          /* if it ends now */
    const struct txn_piece *refused; /* whose reply tells why */
    uint64_t ends;                   /* boot clock: patience */
    uint64_t pause, prepare_limit;   /* of the next attempt */
    uint32_t read_rounds, read_failures, lost_replies;
    uint32_t waiting; /* parts that are asked */
    struct world_timer timer;
    bool met_lock;               /* of another, in an attempt before */
    bool alone;                  /* not together with others any more */
    uint32_t met_together;       /* locks, with others */
    bool once;                   /* it is several: who is in it begins again, not it */
    struct txn_together *joined; /* STAGE_JOINED */
    uint64_t groups_hash;
    struct txn_id id;
    struct txn_part *primary;
    uint32_t part_count;
    struct txn_part parts[];
};

struct txn_contention { /* boot clock */
    uint64_t until;
    uint64_t met_at; /* a lock */
};

struct txn_worker {
    struct txn_worker_options options;
    struct world *world;
    struct gateway *gateway;
    struct list attempts, errands;
    struct list together; /* txn_together.c: under way */
    struct list retired;  /* txn_retire.c */
    struct world_timer retire_timer;
    bool retire_runs;
    uint32_t open;
    bool closing;
    /* Settling: */
    struct map settled_groups;     /* by group: struct settled_group */
    struct list changed_groups;    /* whose rows are to be looked at */
    struct world_timer look_timer; /* in the next turn; unlike deferred work it can be stopped */
    struct world_timer full_timer; /* runs while some rows are not looked after */
    uint32_t unsettled;
    struct txn_contention contended[TXN_CONTENDED_SETS]; /* txn_together.c */
    struct txn_statistics statistics;
};

/* txn_coordinator.c */
/* The state of the attempt changed: goes on with it, and ends it if there is nothing more to do. */
void txn_step(struct txn_attempt *attempt);
/* The attempt cannot go on: another one follows. Not if something was said before. */
void txn_fail(struct txn_attempt *attempt);
/* Another one begins after a pause, or its patience is over, and it is gone. */
void txn_pause(struct txn_attempt *attempt);
/* It is gone when this returns. */
void txn_end(struct txn_attempt *attempt, enum txn_result result, const struct txn_piece *refused);
struct txn_attempt *txn_attempt_make(struct txn_worker *worker, struct txn_request *request);
/* With all that answers at once. */
void txn_attempt_begin(struct txn_attempt *attempt, void (*begin)(struct txn_attempt *attempt));
/* The transaction ends so. */
void txn_fail_for_good(struct txn_attempt *attempt, enum txn_result result,
                       const struct txn_piece *refused);
/* The request of the part: op and participants are of `frame`, all else of the attempt. */
void txn_part_make(struct txn_part *part, struct txn_frame frame);
/* Sends it. It may be answered before this returns. */
void txn_part_submit(struct txn_part *part);
/* False: the caller does not hold so much. */
bool txn_part_take_reply(struct txn_part *part, struct bytes reply);
/* Of this attempt there may still be something to be sent. */
static inline bool txn_goes_on(const struct txn_attempt *attempt)
{
    return attempt->request != NULL && !attempt->failed;
}
/* What an outcome without an answer means: nothing was executed, so that is how it ends. */
void txn_fail_by_outcome(struct txn_attempt *attempt, struct txn_part *part,
                         enum gateway_outcome outcome, struct bytes text);

/* txn_attempt.c */
void txn_lock_all(struct txn_attempt *attempt);
/* All are prepared. */
void txn_decide(struct txn_attempt *attempt);
/* The only piece. */
void txn_decide_alone(struct txn_attempt *attempt);
void txn_on_prepared(struct txn_part *part, enum gateway_outcome outcome, struct bytes reply);
void txn_on_decided(struct txn_part *part, enum gateway_outcome outcome, struct bytes reply);
/* Whatever is open or may be prepared is given up, in the background. */
void txn_give_up(struct txn_attempt *attempt);

/* txn_together.c */
/* Its pause is over. True: it was joined by others, or there are such that wait like it. */
bool txn_together_begin(struct txn_attempt *attempt);
uint64_t txn_together_hash(const struct txn_attempt *attempt); /* attempt.groups_hash */
/* It met a lock of another. */
void txn_together_note(struct txn_attempt *attempt);
/* A new one: wait for company first? */
bool txn_together_waits(struct txn_attempt *attempt);
void txn_together_left(struct txn_attempt *attempt); /* it goes */
/* What is executed for it may have been decided. */
bool txn_together_decides(const struct txn_attempt *attempt);

/* txn_read.c */
void txn_read_all(struct txn_attempt *attempt);
/* A round is over. True: the transaction is. */
bool txn_read_over(struct txn_attempt *attempt);
void txn_on_read(struct txn_part *part, enum gateway_outcome outcome, struct bytes reply);

/* txn_errand.c */
enum { ERRAND_BODY_MAX = TXN_FRAME_SIZE_MAX };

struct txn_errand {
    struct gateway_request request;
    struct txn_worker *worker;
    struct list link;
    enum txn_op op;
    struct txn_errand **handle; /* NULL once it is over; may itself be NULL */
    /* `answer` NULL: there is none. May be NULL. */
    void (*done)(void *context, const struct txn_answer *answer);
    void *context;
    uint8_t body[ERRAND_BODY_MAX];
};

struct errand_options {
    uint16_t slot, client;
    bool ordered, write;
    struct txn_errand **handle;
    void (*done)(void *context, const struct txn_answer *answer);
    void *context;
};
/* RESOLVE, QUERY or FORGET. May be done before it returns. */
void txn_errand_send(struct txn_worker *worker, const struct txn_frame *frame,
                     const struct errand_options *options);
void txn_errand_forget(struct txn_errand *errand); /* NULL is fine */

/* False: the view does not know that group. */
bool txn_slot_of(const struct txn_worker *worker, struct group_id group, uint16_t *ret_slot);

/* txn_retire.c */
void txn_retire_open(struct txn_worker *worker);
void txn_retire_close(struct txn_worker *worker);
/* The attempt was given up: whoever has prepared something may ask about it, and get a tombstone.
 */
void txn_retire(struct txn_worker *worker, struct txn_id id);

/* txn_settle.c */
void txn_settle_open(struct txn_worker *worker);
void txn_settle_close(struct txn_worker *worker);

#endif
