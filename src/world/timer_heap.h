/* timer_heap.h - running timers ordered by deadline, equal deadlines in the order of starting.
 *
 * A binary heap of borrowed `struct world_timer`; slot 0 stays unused so that heap_index 0 can
 * mean "not running". Used by world_real.c; knows no clock. Thread: one. */
#ifndef HOLON_WORLD_TIMER_HEAP_H
#define HOLON_WORLD_TIMER_HEAP_H

#include "world/world.h"

struct timer_heap {
    struct world_timer **slots;
    size_t count;
    size_t capacity;
    uint64_t sequence; /* of the timer started last */
};

void timer_heap_init(struct timer_heap *heap);
void timer_heap_free(struct timer_heap *heap); /* forgets the timers; they are borrowed */

/* Puts the timer in, or moves it when it runs already. Deadline in microseconds. */
void timer_heap_start(struct timer_heap *heap, struct world_timer *timer, uint64_t deadline);
void timer_heap_stop(struct timer_heap *heap, struct world_timer *timer); /* harmless if stopped */

/* The earliest one, NULL when none runs. */
static inline struct world_timer *timer_heap_first(const struct timer_heap *heap)
{
    return heap->count ? heap->slots[1] : NULL;
}

#endif
