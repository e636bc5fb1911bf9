#include "sim/sim.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/sim_feature.h"
#include "sim/sim_process.h"
#include "sim/sim_stream.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *sim_fault_text(enum sim_fault fault)
{
    static const char *const texts[] = {
#define X(name, text) text,
        SIM_FAULT_MAP(X)
#undef X
    };
    ASSERT(fault < SIM_FAULT_COUNT);
    return texts[fault];
}

void sim_init(struct sim *sim, uint64_t seed)
{
    *sim = (struct sim){.seed = seed, .trace = hash_u64(seed + 1), .next_port = 40000};
    for (unsigned i = 0; i < SIM_RANDOM_COUNT; i++)
        random_seed(&sim->random[i], hash_u64(seed * SIM_RANDOM_COUNT + i + 1));
    sim->reached = memory_allocate_zero(sizeof(*sim->reached));
    sim->features = memory_allocate_zero(sizeof(*sim->features));
    sim->stream_options = memory_allocate_zero(sizeof(*sim->stream_options));
    sim_stream_options_default(sim->stream_options);
}

void sim_free(struct sim *sim)
{
    for (struct sim_process *process = sim->processes; process; process = process->next)
        sim_process_end(process, SIM_END_QUIET);
    for (size_t i = 0; i < sim->heap_count; i++) {
        struct sim_event *event = sim->heap[i].event;
        if (event->drop) event->drop(sim, event);
        sim_event_free(sim, event);
    }
    while (sim->processes) {
        struct sim_process *process = sim->processes;
        sim->processes = process->next;
        sim_process_free(process);
    }
    while (sim->pool) {
        struct sim_event *event = sim->pool;
        sim->pool = event->next;
        memory_free(event);
    }
    memory_free(sim->heap);
    memory_free(sim->reached);
    memory_free(sim->features);
    memory_free(sim->stream_options);
    *sim = (struct sim){0};
}

uint64_t sim_log_uniform(struct sim *sim, enum sim_stream_of_random of, uint64_t low, uint64_t high)
{
    ASSERT(low > 0 && low <= high);
    /* Without floating point: a power of two first, then uniform inside it. */
    unsigned low_bits = 63 - (unsigned)__builtin_clzll(low);
    unsigned high_bits = 63 - (unsigned)__builtin_clzll(high);
    unsigned bits = (unsigned)sim_between(sim, of, low_bits, high_bits);
    uint64_t first = UINT64_C(1) << bits;
    uint64_t last = bits == 63 ? UINT64_MAX : (first << 1) - 1;

    if (first < low) first = low;
    if (last > high) last = high;
    return sim_between(sim, of, first, last);
}

void sim_trace(struct sim *sim, uint64_t value)
{
    sim->trace = hash_u64(sim->trace ^ (value + 0x9e3779b97f4a7c15u));
}

void sim_trace_text(struct sim *sim, const char *format, ...)
{
    va_list arguments;

    if (sim->trace_file == NULL) return;
    fprintf(sim->trace_file, "%10llu.%06llu ", (unsigned long long)(sim->now / 1000000),
            (unsigned long long)(sim->now % 1000000));
    va_start(arguments, format);
    vfprintf(sim->trace_file, format, arguments);
    va_end(arguments);
    fputc('\n', sim->trace_file);
}

void sim_fault_hit(struct sim *sim, enum sim_fault fault)
{
    sim->fault_counts[fault]++;
    sim_feature_fault(sim, fault);
    sim_trace(sim, 0x10000 + (uint64_t)fault);
}

uint64_t sim_fault_total(const struct sim *sim)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        total += sim->fault_counts[i];
    return total;
}

void sim_tags_add(struct sim_tags *tags, const char *tag, uint64_t count)
{
    for (uint32_t i = 0; i < tags->count; i++) {
        if (strcmp(tags->tags[i].text, tag) != 0) continue;
        tags->tags[i].count += count;
        return;
    }
    if (tags->count == SIM_TAG_COUNT_MAX) return;
    struct sim_tag *added = &tags->tags[tags->count++];
    snprintf(added->text, sizeof(added->text), "%s", tag);
    added->count = count;
}

uint64_t sim_tags_get(const struct sim_tags *tags, const char *tag)
{
    for (uint32_t i = 0; i < tags->count; i++)
        if (strcmp(tags->tags[i].text, tag) == 0) return tags->tags[i].count;
    return 0;
}

void sim_reached(struct sim *sim, const char *tag)
{
    sim_tags_add(sim->reached, tag, 1);
    sim_feature_tag(sim, tag);
}

void sim_violation(struct sim *sim, const char *format, ...)
{
    va_list arguments;

    if (sim->failed) return;
    sim->failed = true;
    sim->stop = true;
    va_start(arguments, format);
    vsnprintf(sim->violation, sizeof(sim->violation), format, arguments);
    va_end(arguments);
    sim_trace_text(sim, "VIOLATION %s", sim->violation);
}
