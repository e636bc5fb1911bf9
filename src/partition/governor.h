/* governor.h - how much heavy work (large writes, collection in the background) the leaders of a
 * worker begin while light requests wait for the same processors (decision 0010). Pure: no clock,
 * no memory of its own; partition/cold.c keeps what waits.
 *
 *   light entry applied --> late? (LATE_FACTOR x what it takes without heavy work)
 *     --> share of late ones above or below LATE_PERCENT --> rate down or up
 *   heavy work --> runs while there are tokens, which come at that rate; its cost is taken after
 *
 * What a light entry takes without heavy work is measured: in windows that had none, and every
 * QUIET_PERIOD_US, by the wall clock and so on all nodes at the same time, none is begun for
 * QUIET_US; far less often while there is room for all. With no light entries there is no bound. */
#ifndef HOLON_PARTITION_GOVERNOR_H
#define HOLON_PARTITION_GOVERNOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GOVERNOR_BODY_BYTES = 4 << 10, /* a write of so many bytes is heavy */
    GOVERNOR_COST_BYTES = 1 << 10, /* cost as much as a row */
    GOVERNOR_RATE_LEAST = 8 << 10, /* cost a second: the share that heavy work always has */
    GOVERNOR_RATE_MOST = 16 << 20, /* as good as none */
    GOVERNOR_BURST_US = 2 * 1000,  /* so much of the rate is saved up at most */
    GOVERNOR_LATE_FACTOR = 2,
    GOVERNOR_LATE_SLACK_US = 100,
    GOVERNOR_LATE_PERCENT = 5,      /* more than are late without heavy work */
    GOVERNOR_WINDOW_US = 50 * 1000, /* and GOVERNOR_WINDOW_COUNT light entries, or: */
    GOVERNOR_WINDOW_COUNT = 4,
    GOVERNOR_WINDOW_LONG_US = 500 * 1000,
    GOVERNOR_SPARSE_US = 250 * 1000,  /* light entries further apart tell nothing */
    GOVERNOR_ABSENT_US = 1000 * 1000, /* without others: nobody is to be spared */
    GOVERNOR_QUIET_US = 100 * 1000,
    GOVERNOR_QUIET_BEGIN_US = 30 * 1000, /* of it, until what was begun before is done, */
    GOVERNOR_QUIET_END_US = 70 * 1000,   /* and as long before it ends: what counts is proposed */
    GOVERNOR_QUIET_PERIOD_US = 5000 * 1000,
    GOVERNOR_QUIET_FIRST_US = 500 * 1000, /* the period until so many windows are known, */
    GOVERNOR_LEARN_COUNT = 4,
    GOVERNOR_LEARN_US = 8 * 1000 * 1000,         /* but no longer than this */
    GOVERNOR_QUIET_SELDOM_US = 60 * 1000 * 1000, /* the period while nothing is held back */
    GOVERNOR_SAMPLE_US_MAX = 1000 * 1000,        /* more is a loop that stood still */
    GOVERNOR_QUIET_COUNT = 4,
    GOVERNOR_TURN_US = 20 * 1000, /* a chore that does not come back has given its turn up */
    GOVERNOR_TURN_COST_MAX = 64 << 10,
};

enum governor_kind { GOVERNOR_REQUEST, GOVERNOR_CHORE };

struct governor {
    bool off;
    uint64_t rate_least, rate;
    int64_t tokens; /* cost x 1,000,000; below 0: spent in advance */
    uint64_t filled_at;
    int64_t ahead; /* cost that requests had more than chores; those have two thirds */
    uint64_t chore_waited_at;
    int64_t wall_offset; /* wall clock - boot clock, us */
    uint64_t light_at, traffic_at, heavy_at;
    uint64_t quiet_period, traffic_from;
    uint64_t learn_at;   /* since when there are light ones to learn from; 0: none yet */
    uint32_t learned;    /* of GOVERNOR_LEARN_COUNT windows, with as many periods between them */
    uint64_t learned_at; /* the last one */
    uint64_t alone_us;   /* what a light entry takes without heavy work; 0: not known */
    uint64_t alone_late; /* of 1000 of them; they are nobody's fault here */
    uint64_t quiet_sum, quiet_late, quiet_count;
    uint64_t window_at, window_sum;
    uint64_t window_count, window_late, window_cost;
    uint64_t used; /* cost a second, of the last windows */
    bool held;     /* something had to wait in this window */
};

void governor_init(struct governor *governor, uint64_t rate_least, uint64_t now);
static inline uint64_t governor_cost(uint64_t rows, uint64_t bytes)
{
    return rows + bytes / GOVERNOR_COST_BYTES;
}
/* A light entry, proposed then, is applied. */
void governor_light(struct governor *governor, uint64_t proposed_at, uint64_t now);
/* May heavy work of the kind begin? `others_wait`: requests do, asked for a chore. */
bool governor_may(struct governor *governor, enum governor_kind kind, bool others_wait,
                  uint64_t now);
/* It did. `overdue`: it had waited too long to be asked for; that is nobody else's to pay. */
void governor_ran(struct governor *governor, enum governor_kind kind, uint64_t cost, bool overdue,
                  uint64_t now);
/* After governor_may() said no: when to ask again. */
uint64_t governor_pause_us(struct governor *governor, uint64_t now);

#endif
