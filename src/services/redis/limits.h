/* limits.h - sizes at which the Redis service changes its ways. Production has the defaults;
 * the simulator makes them small, so that a value of some hundred bytes is staged, chunked and
 * collected like one of 16 MiB. Every node of a cluster may have its own: what a row was made
 * with is written in the row. Thread: any; constant after the start. */
#ifndef HOLON_SERVICES_REDIS_LIMITS_H
#define HOLON_SERVICES_REDIS_LIMITS_H

#include <stdint.h>

enum {
    REDIS_STRING_SIZE_MAX = 16 << 20,
    /* A change of one byte in a big string logs its whole chunk, a chunk costs some 80 bytes of
     * memory: 8 KiB makes APPEND cost 4 KiB of log on average and 16 MiB cost 160 KiB. */
    REDIS_CHUNK_SIZE = 8 << 10,
    REDIS_CHUNK_SIZE_MAX = 64 << 10, /* of any node */
};

/* Deliberate bugs for the simulator's checkers to find (sim/planted.h). */
enum redis_planted_bug {
    REDIS_BUG_STAGES_NOT_CHECKED = 1 << 0,   /* a value is taken though parts were lost */
    REDIS_BUG_OVERWRITE_FORGETS_ID = 1 << 1, /* no garbage record for what was overwritten */
    REDIS_BUG_STAGED_NOT_COLLECTED = 1 << 2, /* values nobody came for stay for ever */
    REDIS_BUG_ID_USED_TWICE = 1 << 3,        /* ids are not those of the own entry */
    REDIS_BUG_STAGED_AGAIN = 1 << 4,         /* each leader gives them their whole time again */
    REDIS_BUG_WATCH_IGNORED = 1 << 5,        /* whatever was watched has not changed */
    REDIS_BUG_GUARD_IGNORED = 1 << 6,        /* every guard holds, and its lock is not read */
    REDIS_BUG_LOCK_TOKEN_AGAIN = 1 << 7,     /* tokens begin anew with every holder */
    REDIS_BUG_LOCK_OVERTAKES = 1 << 8,       /* who asks takes it, the last one first */
    REDIS_BUG_LOCK_NOT_EXPIRED = 1 << 9,     /* whose time is over stays, and another may come */
    REDIS_BUG_LOOK_NOT_VALIDATED = 1 << 10,  /* what was looked at is taken to be so still */
};

struct redis_limits {
    uint32_t string_row_max; /* a longer string is chunks */
    uint32_t chunk_size;
    uint32_t hash_row_fields_max; /* a hash with more, or ... */
    uint32_t hash_row_bytes_max;  /* ... larger than this has a row per field */
    uint32_t stage_from;          /* a command with more bytes sends its values ahead ... */
    uint32_t stage_bytes;         /* ... so many in each request, a multiple of chunk_size */
    uint32_t stage_timeout_ms;    /* values sent ahead and not used are dropped after this, and
                                   * up to a REDIS_STAGE_STEPS-th for each change of leaders */
    uint32_t chore_rows;          /* looked at or removed by one background step */
    uint32_t planted;             /* simulator only */
};

/* A client's node may wait `patience_us` for the answer to a part, and again for that to the
 * command behind it: the least stage_timeout_ms, and half as much more for clocks of different
 * speed. */
static inline uint32_t redis_stage_timeout_least_ms(uint64_t patience_us)
{
    return (uint32_t)(3 * patience_us / 1000);
}

static inline struct redis_limits redis_limits_default(void)
{
    return (struct redis_limits){.string_row_max = 16 << 10,
                                 .chunk_size = REDIS_CHUNK_SIZE,
                                 .hash_row_fields_max = 128,
                                 .hash_row_bytes_max = 4 << 10,
                                 .stage_from = 224 << 10,
                                 .stage_bytes = 192 << 10,
                                 .stage_timeout_ms = 60 * 1000,
                                 .chore_rows = 256};
}

#endif
