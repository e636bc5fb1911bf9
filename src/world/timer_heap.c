#include "world/timer_heap.h"

#include "base/assert.h"
#include "base/memory.h"

enum { TIMERS_CAPACITY_MIN = 64 };

void timer_heap_init(struct timer_heap *heap)
{
    *heap = (struct timer_heap){0};
}

void timer_heap_free(struct timer_heap *heap)
{
    memory_free(heap->slots);
    *heap = (struct timer_heap){0};
}

static bool timer_before(const struct world_timer *a, const struct world_timer *b)
{
    if (a->deadline != b->deadline) return a->deadline < b->deadline;
    return a->sequence < b->sequence;
}

static void timer_heap_place(struct timer_heap *heap, size_t index, struct world_timer *timer)
{
    heap->slots[index] = timer;
    timer->heap_index = (uint32_t)index;
}

static void timer_heap_rise(struct timer_heap *heap, size_t index, struct world_timer *timer)
{
    while (index > 1 && timer_before(timer, heap->slots[index / 2])) {
        timer_heap_place(heap, index, heap->slots[index / 2]);
        index /= 2;
    }
    timer_heap_place(heap, index, timer);
}

static void timer_heap_sink(struct timer_heap *heap, size_t index, struct world_timer *timer)
{
    for (;;) {
        size_t child = index * 2;
        if (child > heap->count) break;
        if (child < heap->count && timer_before(heap->slots[child + 1], heap->slots[child]))
            child++;
        if (!timer_before(heap->slots[child], timer)) break;
        timer_heap_place(heap, index, heap->slots[child]);
        index = child;
    }
    timer_heap_place(heap, index, timer);
}

void timer_heap_start(struct timer_heap *heap, struct world_timer *timer, uint64_t deadline)
{
    size_t index = timer->heap_index;

    ASSERT(timer->fire != NULL);
    timer->deadline = deadline;
    timer->sequence = ++heap->sequence;
    if (index != 0) {
        /* A timer that is put off again and again (election, idle) sinks; one that is pulled
         * forward rises. */
        ASSERT(heap->slots[index] == timer);
        timer_heap_sink(heap, index, timer);
        timer_heap_rise(heap, timer->heap_index, timer);
        return;
    }
    if (heap->count + 1 >= heap->capacity) {
        heap->capacity = heap->capacity ? heap->capacity * 2 : TIMERS_CAPACITY_MIN;
        heap->slots = memory_resize(heap->slots, heap->capacity * sizeof(struct world_timer *));
    }
    heap->count++;
    timer_heap_rise(heap, heap->count, timer);
}

void timer_heap_stop(struct timer_heap *heap, struct world_timer *timer)
{
    size_t index = timer->heap_index;
    struct world_timer *last;

    if (index == 0) return;
    ASSERT(index <= heap->count && heap->slots[index] == timer);
    timer->heap_index = 0;
    last = heap->slots[heap->count];
    heap->count--;
    if (last == timer) return;
    timer_heap_sink(heap, index, last);
    timer_heap_rise(heap, last->heap_index, last);
}
