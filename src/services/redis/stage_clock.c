#include "services/redis/stage_clock.h"

enum {
    CLOCK_KIND = REDIS_GARBAGE_STAGED + 1, /* in the namespace of fronts; see chore_step.h */
    CLOCK_KEY_SIZE = ROW_PREFIX_SIZE + 5,
    CLOCK_FORMAT = 1,
    CLOCK_SIZE = 17,
};

/* 0.1.0 has a time in ms there, and takes this for one that no node wrote: it gives the record its
 * whole time. So nodes of both versions may lead in turns. */
#define STEP_FLAG (UINT64_C(1) << 63)

static void key_store(uint8_t at[CLOCK_KEY_SIZE], const struct row_context *rows)
{
    row_prefix_store(at, rows->slot_first, SERVICE_REDIS, REDIS_NAMESPACE_FRONTS);
    at[ROW_PREFIX_SIZE] = CLOCK_KIND;
    store_u32_be(at + ROW_PREFIX_SIZE + 1, 0);
}

enum row_result redis_stage_clock_get(struct redis_call *call, struct redis_stage_clock *ret_clock)
{
    const struct row_context *rows = call->rows;
    int64_t step_us = redis_stage_step_us(call);
    int64_t last = rows->leads_since;
    uint8_t key[CLOCK_KEY_SIZE];
    struct row_view row;
    uint64_t steps = 0;

    key_store(key, rows);
    enum row_result result = row_get(call->rows, bytes_make(key, sizeof(key)), &row);
    if (result == ROW_STOP) return result;
    bool known =
        result == ROW_FOUND && row.value.size == CLOCK_SIZE && row.value.data[0] == CLOCK_FORMAT;
    if (known) {
        steps = load_u64(row.value.data + 1) & ~STEP_FLAG;
        int64_t at = (int64_t)load_u64(row.value.data + 9);
        if (at > last && at <= rows->time) last = at; /* entry time never goes back */
    }
    bool due = rows->time - last >= step_us;
    *ret_clock = (struct redis_stage_clock){
        .steps = steps + due, .due = due, .next = (due ? rows->time : last) + step_us};
    return ROW_FOUND;
}

void redis_stage_clock_put(struct redis_call *call, const struct redis_stage_clock *clock)
{
    uint8_t key[CLOCK_KEY_SIZE], value[CLOCK_SIZE] = {CLOCK_FORMAT};

    key_store(key, call->rows);
    store_u64(value + 1, clock->steps);
    store_u64(value + 9, (uint64_t)call->rows->time);
    row_put(call->rows, bytes_make(key, sizeof(key)), REDIS_ROW_MARK, 0, 0,
            bytes_make(value, sizeof(value)));
}

void redis_stage_stamp(const struct redis_stage_clock *clock, struct redis_garbage *record)
{
    record->staged_at = STEP_FLAG | (clock->steps - clock->due); /* what is logged */
}

enum redis_stage_age redis_stage_age(const struct redis_stage_clock *clock,
                                     const struct redis_garbage *record)
{
    uint64_t at = record->staged_at & ~STEP_FLAG;

    if (!(record->staged_at & STEP_FLAG) || at > clock->steps) return REDIS_STAGE_UNKNOWN;
    /* The first step behind it may have come at once. */
    return clock->steps - at > REDIS_STAGE_STEPS ? REDIS_STAGE_OVER : REDIS_STAGE_WAITS;
}
