/* cut_internal.h - a part of a cut; shared by cut.c (freezing, who asks), cut_part.c (how it comes
 * about and goes) and cut_read.c (requests that are evaluated at it). */
#ifndef HOLON_PARTITION_CUT_INTERNAL_H
#define HOLON_PARTITION_CUT_INTERNAL_H

#include "partition/cold_internal.h"
#include "partition/cut.h"

enum cut_stage { CUT_STAGE_COPIES, CUT_STAGE_WAITS, CUT_STAGE_LOADS, CUT_STAGE_OPEN };

struct cut_count { /* live rows of a namespace */
    uint8_t service;
    uint32_t namespace;
    uint64_t rows;
};

struct cut_part {
    struct list link;        /* replica->cuts; host->cuts_ended */
    struct replica *replica; /* NULL: it is gone, and the job frees the part */
    struct partition_host *host;
    uint16_t slot_first, slot_last;
    uint64_t cut, index;
    struct gateway_id opener; /* the part ends with that life of its node */
    int64_t time;             /* us since 1970: of the last entry in it */
    uint64_t expires;         /* boot clock */
    bool guessed;             /* `expires`: its entry was in the log at the start */
    enum cut_stage stage;
    struct row_cut copies;
    struct list copying;      /* host->cuts_copying */
    struct world_timer timer; /* waits; then looks for the end of its life */
    struct row_table *table;  /* its own; the job's while one runs */
    struct cut_count *counts;
    size_t count_count;
    struct engine *engine;
    struct engine_iterator *iterator; /* NULL: not yet */
    bool settled;                     /* what was prepared, and counts as committed, is applied */
    bool failed;                      /* a row cannot be read */
    struct buffer state;              /* reply of STATE, once it is open */
    struct list reads;                /* parked requests that wait, by by_queue */
    uint32_t read_count;
    /* The job's, while it runs: */
    struct world_job job;
    bool running;
    struct cut_answer *answers; /* requests, and what comes of them */
    size_t answer_count;
    uint64_t bytes;  /* of the table, when a job ended last */
    uint64_t loaded; /* in this round */
    enum status status;
    struct error error;
};

struct cut_answer {
    struct parked *parked;
    struct cut_request request; /* borrows from parked */
    struct buffer reply;
    bool busy; /* it wants more than one request may: OUTCOME_BUSY */
};

/* cut_part.c */
struct cut_part *cut_part_find(const struct replica *replica, uint64_t cut);
void cut_part_begin(struct replica *replica, const struct effect *effect, struct gateway_id opener,
                    uint64_t index);
/* Requests that wait are told that it is gone. */
void cut_part_end(struct cut_part *part);
/* A job has ended, and its replica is gone. */
void cut_part_free(struct cut_part *part);

/* cut_read.c */
/* Begins to load what STATE tells of; then it is open. */
void cut_load_begin(struct cut_part *part);
/* Waiting requests, if there are any and no job runs. */
void cut_reads_begin(struct cut_part *part);
/* One that is not answered by a job. */
void cut_answer_now(struct partition_host *host, struct parked *parked, enum cut_status status);

#endif
