/* Rows of locks that their holders did not give back: a reminder of each is due in the second in
 * which the last holder's time ends. What is left then is deleted, or reminded of again. */
#include "services/redis/chore_step.h"
#include "services/redis/fronts.h"
#include "services/redis/lock.h"

enum {
    REMINDER_PREFIX_SIZE = ROW_PREFIX_SIZE + 5,
    HELD_AGAIN_US = 100 * 1000, /* where transactions were in the way */
    FRONT_KIND = 5, /* of redis_front_get(): after those of garbage and the stage clock */
};

struct due {
    struct chore_step *step;
    struct bytes *reminders; /* keys, borrowed */
    uint32_t count;
};

static bool on_reminder(void *context, struct bytes key, const struct row_view *row)
{
    struct due *due = context;
    struct row_context *rows = due->step->call.rows;

    (void)row;
    if (key.size < REMINDER_PREFIX_SIZE + REDIS_ROW_PREFIX_SIZE) return true;
    const uint8_t *at = key.data + ROW_PREFIX_SIZE;
    int64_t when = (int64_t)((uint64_t)at[0] << 32 | load_u32_be(at + 1)) * 1000000;
    if (when > rows->time) {
        row_want_chore(rows, when);
        return false;
    }
    if (due->step->rows_left == 0) {
        row_want_chore(rows, rows->time);
        return false;
    }
    due->step->rows_left--;
    due->reminders[due->count++] = key;
    return true;
}

static bool is_held(const struct row_context *rows, struct bytes key)
{
    return rows->locks != NULL && (locks_stop_read(rows->locks, key, rows->lock_owner) ||
                                   locks_stop_write(rows->locks, key, rows->lock_owner));
}

static enum row_result look(struct chore_step *step, struct bytes reminder)
{
    struct redis_call *call = &step->call;
    struct bytes row_key = bytes_from(reminder, REMINDER_PREFIX_SIZE);

    if (is_held(call->rows, row_key)) {
        row_want_chore(call->rows, call->rows->time + HELD_AGAIN_US);
        return ROW_FOUND; /* the reminder stays */
    }
    enum row_result result = lock_expire(call, row_key);
    if (result != ROW_STOP) row_delete(call->rows, reminder);
    return result;
}

enum row_result lock_chore(struct chore_step *step)
{
    struct row_context *rows = step->call.rows;
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct due due = {.step = step};
    struct bytes first;

    if (row_table_count(rows->table, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS) == 0)
        return ROW_ABSENT;
    row_prefix_store(from, rows->slot_first, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS);
    row_prefix_store(to, rows->slot_first, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS + 1);
    due.reminders = arena_allocate(rows->arena, (step->rows_left + 1) * sizeof(due.reminders[0]));
    enum row_result result =
        redis_front_get(rows, FRONT_KIND, 0, bytes_make(from, sizeof(from)), &first);
    if (result != ROW_STOP)
        result = row_scan(rows, first, bytes_make(to, sizeof(to)), &due, on_reminder);
    for (uint32_t i = 0; i < due.count && result != ROW_STOP; i++) {
        if (buffer_size(rows->effects) >= EFFECTS_BYTES_MAX || (i > 0 && !chore_may_seek(step))) {
            row_want_chore(rows, rows->time);
            break;
        }
        /* New reminders are for times to come: nothing will be put before this one. */
        if (i == 0) redis_front_put(rows, FRONT_KIND, 0, due.reminders[i]);
        result = look(step, due.reminders[i]);
    }
    return result;
}
