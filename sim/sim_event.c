/* The event queue: a 4-ary heap over (time, sequence), and the loop that empties it. Slots
 * hold the keys, so that sifting touches no event. */
#include "sim/sim.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_process.h"

enum { HEAP_ARITY = 4, POOL_BLOCK = 64, REAL_TIME_CHECK_EVENTS = 4096 };

static bool slot_before(const struct sim_heap_slot *a, const struct sim_heap_slot *b)
{
    return a->time < b->time || (a->time == b->time && a->sequence < b->sequence);
}

static void heap_push(struct sim *sim, struct sim_event *event)
{
    if (sim->heap_count == sim->heap_capacity) {
        sim->heap_capacity = sim->heap_capacity ? sim->heap_capacity * 2 : 1024;
        sim->heap = memory_resize(sim->heap, sim->heap_capacity * sizeof(*sim->heap));
    }
    struct sim_heap_slot slot = {event->time, event->sequence, event};
    size_t i = sim->heap_count++;
    while (i > 0) {
        size_t parent = (i - 1) / HEAP_ARITY;
        if (!slot_before(&slot, &sim->heap[parent])) break;
        sim->heap[i] = sim->heap[parent];
        i = parent;
    }
    sim->heap[i] = slot;
}

static struct sim_event *heap_pop(struct sim *sim)
{
    ASSERT(sim->heap_count > 0);
    struct sim_event *event = sim->heap[0].event;
    struct sim_heap_slot last = sim->heap[--sim->heap_count];
    size_t i = 0;

    while (sim->heap_count > 0) {
        size_t first = i * HEAP_ARITY + 1;
        if (first >= sim->heap_count) break;
        size_t least = first;
        size_t end = first + HEAP_ARITY < sim->heap_count ? first + HEAP_ARITY : sim->heap_count;
        for (size_t child = first + 1; child < end; child++)
            if (slot_before(&sim->heap[child], &sim->heap[least])) least = child;
        if (!slot_before(&sim->heap[least], &last)) break;
        sim->heap[i] = sim->heap[least];
        i = least;
    }
    sim->heap[i] = last;
    return event;
}

static struct sim_event *event_take(struct sim *sim)
{
    struct sim_event *event = sim->pool;

    if (event)
        sim->pool = event->next;
    else
        event = memory_allocate(sizeof(*event));
    return event;
}

void sim_event_free(struct sim *sim, struct sim_event *event)
{
    if (event->data) memory_free(event->data);
    event->next = sim->pool;
    sim->pool = event;
}

struct sim_event *sim_schedule_at(struct sim *sim, uint64_t time, enum sim_event_kind kind,
                                  struct sim_world *world,
                                  void (*run)(struct sim *, struct sim_event *))
{
    struct sim_event *event = event_take(sim);

    *event = (struct sim_event){.time = time > sim->now ? time : sim->now,
                                .sequence = sim->sequence++,
                                .world = world,
                                .run = run,
                                .kind = (uint8_t)kind};
    heap_push(sim, event);
    return event;
}

struct sim_event *sim_schedule(struct sim *sim, uint64_t delay, enum sim_event_kind kind,
                               struct sim_world *world,
                               void (*run)(struct sim *, struct sim_event *))
{
    return sim_schedule_at(sim, sim->now + delay, kind, world, run);
}

void sim_event_copy_data(struct sim_event *event, struct bytes data)
{
    ASSERT(event->data == NULL);
    if (data.size == 0) return;
    event->data = memory_allocate(data.size);
    memcpy(event->data, data.data, data.size);
    event->size = (uint32_t)data.size;
}

struct call {
    void (*run)(struct sim *sim, void *context);
};

static void run_call(struct sim *sim, struct sim_event *event)
{
    struct call *call = (struct call *)(void *)event->data;

    call->run(sim, event->a);
}

void sim_call(struct sim *sim, uint64_t delay, void (*run)(struct sim *, void *context),
              void *context)
{
    struct call call = {run};
    struct sim_event *event = sim_schedule(sim, delay, SIM_EVENT_CALL, NULL, run_call);

    event->a = context;
    sim_event_copy_data(event, bytes_make(&call, sizeof(call)));
}

bool sim_run_until(struct sim *sim, uint64_t time)
{
    while (!sim->stop && sim->heap_count > 0 && sim->heap[0].time <= time) {
        struct sim_event *event = heap_pop(sim);
        ASSERT(event->time >= sim->now);
        sim->now = event->time;
        sim->event_count++;
        if (event->world) {
            sim_world_event(event->world, event);
        } else {
            sim_trace(sim, event->time * 64 + event->kind);
            event->run(sim, event);
            sim_event_free(sim, event);
            if (sim->after_event) sim->after_event(sim, sim->after_event_context, NULL);
        }
        if (sim->event_limit && sim->event_count >= sim->event_limit) return false;
        if (sim->processor_time_up && sim->event_count % REAL_TIME_CHECK_EVENTS == 0 &&
            sim->processor_time_up(sim->real_time_context))
            return false;
    }
    if (sim->stop) return false;
    if (sim->now < time) sim->now = time;
    return true;
}
