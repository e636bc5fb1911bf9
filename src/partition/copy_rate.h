/* copy_rate.h - how many bytes of states a node copies in a second, to others and from others, so
 * that the log's syncs, for which clients wait, hardly take longer (decision 0014). Pure: no clock,
 * no memory of its own, no lock; partition/copy_gate.h is what workers share.
 *
 *   record became durable --> window of COPY_WINDOW_US --> was its slowest one late?
 *     --> late: rate down at once; not late, and the rate was used: rate up
 *   piece of a state --> goes while there are tokens, which come at that rate
 *
 * Late is COPY_LATE_FACTOR x what the slowest one of nine in ten windows takes by itself. That is
 * learnt while nothing is copied, and in rests of COPY_REST_US while something is, however little;
 * and if with copies it is less, then it is less without. So a disk, or processors, that others
 * keep busy do not stop copies. Near the knee of a disk one window in eighteen or so is late: it
 * costs what the others give. Where nothing is synced nobody is to be spared, and the rate rises.
 * Times are of the boot clock, us. */
#ifndef HOLON_PARTITION_COPY_RATE_H
#define HOLON_PARTITION_COPY_RATE_H

#include <stdbool.h>
#include <stdint.h>

#define COPY_RATE_MOST ((uint64_t)1 << 33) /* bytes a second: as good as no bound */

enum {
    COPY_RATE_LEAST = 16 << 20, /* bytes a second: what copying always has */
    COPY_RATE_FIRST = 64 << 20,
    COPY_WINDOW_US = 100 * 1000,
    COPY_BURST_US = 10 * 1000, /* so much of the rate is saved up at most */
    COPY_LATE_FACTOR = 3,
    COPY_LATE_LEAST_US = 1500,
    COPY_REMEMBERED_MOST_US = 5000 * 1000,
    COPY_ALONE_UNKNOWN_US = 6 * 1000, /* until enough is learnt */
    COPY_DOWN_PERCENT = 30,           /* for a late window */
    COPY_UP_PERCENT = 2,              /* for one that is not, */
    COPY_BACK_PERCENT = 12, /* or while the rate is well below the one that was too much last, */
    COPY_WELL_BELOW_PERCENT = 85,
    COPY_KNEE_US = 3000 * 1000,        /* or that is so long ago */
    COPY_WINDOWS = 40,                 /* remembered */
    COPY_WINDOWS_KNOWN = 10,           /* fewer say nothing */
    COPY_QUIET_AFTER_US = 1000 * 1000, /* without copies: what they left behind is done */
    COPY_REST_US = 300 * 1000,
    COPY_REST_BEGIN_US = 100 * 1000, /* of it, until what was copied before is done */
    COPY_REST_EVERY_US = 5000 * 1000,
    COPY_REST_WEIGHT = 4, /* for so many windows each of a rest counts */
    COPY_PAUSE_MOST_US = 20 * 1000,
};

struct copy_windows { /* slowest syncs of the last windows, us */
    uint32_t worst[COPY_WINDOWS];
    uint32_t count, next;
};

struct copy_rate {
    uint64_t rate_least, rate_most, rate; /* bytes a second */
    int64_t tokens;                       /* bytes x 1,000,000; below 0: spent in advance */
    uint64_t filled_at;
    uint64_t knee;      /* the rate when syncs began to be late last; UINT64_MAX: it is not known */
    uint64_t late_at;   /* the last window that was */
    bool was_late;      /* the last window */
    uint64_t copied_at; /* 0: never */
    uint64_t rest_at, rest_until; /* the next one; the present or last one */
    uint64_t alone_us, late_us;   /* slowest of a window: by itself; more is late */
    struct copy_windows quiet, all;
    uint64_t window_at, window_count, window_worst_us, window_bytes;
    bool window_slowed;
    uint64_t worst_us; /* of the last window with a sync */
    uint64_t slowed;   /* counts */
};

/* 0 as `rate_least` or `rate_most`: the default. */
void copy_rate_init(struct copy_rate *copy, uint64_t rate_least, uint64_t rate_most, uint64_t now);
/* A record became durable, or is not yet, `us` after it was handed to the log. */
void copy_rate_synced(struct copy_rate *copy, uint64_t us, uint64_t now);
/* 0: a piece may be copied. Otherwise: when to ask again, at most COPY_PAUSE_MOST_US. */
uint64_t copy_rate_pause_us(struct copy_rate *copy, uint64_t now);
/* So much is copied now. */
void copy_rate_took(struct copy_rate *copy, uint64_t bytes, uint64_t now);
/* Of what was taken so much is not copied after all. */
void copy_rate_gave_back(struct copy_rate *copy, uint64_t bytes);

#endif
