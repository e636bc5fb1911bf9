#include "partition/flush_turns.h"

uint32_t flush_turns_next(struct flush_turn *turns, uint32_t count, uint64_t active_segment,
                          uint64_t segments_in_use)
{
    uint32_t next = count;
    bool flushing = false;
    for (uint32_t i = 0; i < count; i++) {
        struct flush_turn *turn = &turns[i];
        if (!turn->used) continue;
        flushing |= turn->flushing;
        if (turn->segment == 0)
            turn->segment = active_segment + 1 + i * (segments_in_use - 1) / count;
        bool due = turn->segment <= active_segment && turn->wants && !turn->held;
        if (due && (next == count || turn->segment < turns[next].segment)) next = i;
    }
    return flushing ? count : next;
}

bool flush_turns_late(const struct flush_turn *turns, uint32_t count, uint64_t active_segment)
{
    bool flushing = false, waits = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct flush_turn *turn = &turns[i];
        if (!turn->used) continue;
        flushing |= turn->flushing;
        waits |= !turn->flushing && turn->segment <= active_segment && turn->wants && !turn->held;
    }
    return flushing && waits;
}
