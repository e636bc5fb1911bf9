/* flush_turns.h - which store is flushed next while the log grows.
 *
 * Each store has one turn in as many segments of the log as may be in use, one store at a time:
 * else all would have to be flushed at once when the log is that long, and everybody would wait
 * for their disk and processor time. A pure rule: flush.c says how the stores are. */
#ifndef HOLON_PARTITION_FLUSH_TURNS_H
#define HOLON_PARTITION_FLUSH_TURNS_H

#include <stdbool.h>
#include <stdint.h>

struct flush_turn {
    uint64_t segment; /* when the log gets there, it is this store's turn; 0: not set */
    bool used;        /* it has replicas */
    bool flushing;
    bool held;  /* it cannot be flushed now: a removal goes first, or it is damaged */
    bool wants; /* it has something that its engine has not */
};

/* Sets turns that are not set, spread over the segments. Returns the store whose turn came first
 * of those that can use it, or `count`: none. One that is held keeps its turn and lets the next go
 * before it. */
uint32_t flush_turns_next(struct flush_turn *turns, uint32_t count, uint64_t active_segment,
                          uint64_t segments_in_use);

/* A store's turn has come while another is flushed: flushes do not keep up with the log. */
bool flush_turns_late(const struct flush_turn *turns, uint32_t count, uint64_t active_segment);

#endif
