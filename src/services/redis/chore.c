#include "services/redis/chore.h"

#include "services/redis/chore_step.h"
#include "services/redis/fronts.h"
#include "services/redis/lock.h"
#include "services/redis/request_body.h"

enum {
    DUE_END_SIZE = ROW_PREFIX_SIZE + 5,
    HELD_AGAIN_US = 100 * 1000, /* where transactions were in the way */
};

/* --- expiry ---------------------------------------------------------------------------------- */

struct due {
    struct chore_step *step;
    struct bytes *reminders; /* keys, borrowed */
    uint32_t count;
};

static bool on_reminder(void *context, struct bytes key, const struct row_view *row)
{
    struct due *due = context;
    struct redis_call *call = &due->step->call;

    (void)row;
    if (key.size != REDIS_REMINDER_SIZE) return true;
    const uint8_t *at = key.data + ROW_PREFIX_SIZE;
    int64_t second = (int64_t)((uint64_t)at[0] << 32 | load_u32_be(at + 1));
    bool is_due = (second + 1) * 1000 <= call->now_ms;
    if (!is_due) {
        row_want_chore(call->rows, (second + 1) * 1000000);
        return false;
    }
    if (due->step->rows_left == 0) {
        row_want_chore(call->rows, call->rows->time);
        return false;
    }
    due->step->rows_left--;
    due->reminders[due->count++] = key;
    return true;
}

/* Keys of the (slot, hash) that a reminder names: usually one. */
static bool on_reminded_key(void *context, struct bytes key, const struct row_view *row)
{
    struct chore_step *step = context;
    struct redis_call *call = &step->call;
    struct redis_key none = {.row_key = key}; /* it has no other reminder */
    struct row_view now;

    /* Two reminders of one key may be due at once, and a walk sees own writes as of its beginning:
     * dropping its parts twice would leave two records of them. */
    enum row_result result = row_get(call->rows, key, &now);
    if (result != ROW_FOUND) return result != ROW_STOP;
    if (redis_row_is_expired(call, &row->header))
        redis_row_remove(call, key, row);
    else
        redis_remind(call, &none, row->header.expiry); /* its expiry has moved on */
    return true;
}

/* Where the reminders begin that are not due yet. */
static void due_end_store(uint8_t at[DUE_END_SIZE], const struct redis_call *call)
{
    uint64_t second = (uint64_t)call->now_ms / 1000;

    row_prefix_store(at, call->rows->slot_first, SERVICE_REDIS,
                     call->namespace | REDIS_NAMESPACE_REMINDERS);
    at[ROW_PREFIX_SIZE] = (uint8_t)(second >> 32);
    store_u32_be(at + ROW_PREFIX_SIZE + 1, (uint32_t)second);
}

static enum row_result expire_reminded(struct chore_step *step, struct bytes reminder)
{
    uint8_t from[REDIS_ROW_PREFIX_SIZE], to[REDIS_ROW_PREFIX_SIZE + 1];
    const uint8_t *at = reminder.data + ROW_PREFIX_SIZE + 5;

    row_prefix_store(from, load_u16_be(at), SERVICE_REDIS, step->call.namespace);
    memcpy(from + ROW_PREFIX_SIZE, at + 2, REDIS_HASH_SIZE);
    /* Up to the next hash; of the last one, up to the next namespace. */
    memcpy(to, from, sizeof(from));
    size_t i = sizeof(from);
    while (i > 3 && ++to[i - 1] == 0)
        i--;
    if (redis_walk_is_held(step->call.rows, bytes_make(from, sizeof(from)),
                           bytes_make(to, sizeof(from)))) {
        row_want_chore(step->call.rows, step->call.rows->time + HELD_AGAIN_US);
        return ROW_FOUND; /* the reminder stays */
    }
    enum row_result result = row_scan(step->call.rows, bytes_make(from, sizeof(from)),
                                      bytes_make(to, sizeof(from)), step, on_reminded_key);
    if (result != ROW_STOP) row_delete(step->call.rows, reminder);
    return result;
}

static enum row_result expire_keys(struct chore_step *step)
{
    struct row_context *rows = step->call.rows;
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE], due_end[DUE_END_SIZE];
    uint32_t namespace = step->call.namespace | REDIS_NAMESPACE_REMINDERS;
    struct bytes end = bytes_make(to, sizeof(to));
    struct due due = {.step = step};
    struct bytes first;

    row_prefix_store(from, rows->slot_first, SERVICE_REDIS, namespace);
    row_prefix_store(to, rows->slot_first, SERVICE_REDIS, namespace + 1);
    due.reminders = arena_allocate(rows->arena, (step->rows_left + 1) * sizeof(due.reminders[0]));
    enum row_result result =
        redis_front_get(rows, 0, namespace, bytes_make(from, sizeof(from)), &first);
    if (result == ROW_STOP) return result;
    if (redis_walk_is_held(rows, first, end)) { /* by some that are yet to come, most likely */
        row_want_chore(rows, rows->time + HELD_AGAIN_US);
        due_end_store(due_end, &step->call);
        end = bytes_make(due_end, sizeof(due_end));
        if (bytes_compare(first, end) >= 0 || redis_walk_is_held(rows, first, end))
            return ROW_ABSENT;
    }
    result = row_scan(rows, first, end, &due, on_reminder);
    for (uint32_t i = 0; i < due.count && result != ROW_STOP; i++) {
        if (buffer_size(rows->effects) >= EFFECTS_BYTES_MAX || (i > 0 && !chore_may_seek(step))) {
            row_want_chore(rows, rows->time);
            break;
        }
        /* New reminders are for times to come: nothing will be put before this one. */
        if (i == 0) redis_front_put(rows, 0, namespace, due.reminders[i]);
        result = expire_reminded(step, due.reminders[i]);
    }
    return result;
}

enum evaluate_result redis_chore(struct row_context *rows, const struct request *request,
                                 struct reply *reply)
{
    struct redis_limits limits = redis_limits_default();
    struct chore_step step = {.call = {.rows = rows,
                                       .now_ms = row_time_ms(rows),
                                       .limits = rows->options ? rows->options : &limits,
                                       .out = resp_writer_make(reply->buffer, false)}};

    (void)request;
    step.rows_left = step.call.limits->chore_rows;
    if (chore_collect(&step) == ROW_STOP) return row_context_stop(rows);
    step.rows_left = step.call.limits->chore_rows; /* neither waits for the other */
    if (lock_chore(&step) == ROW_STOP) return row_context_stop(rows);
    step.rows_left = step.call.limits->chore_rows;
    for (uint8_t database = 0; database < REDIS_DATABASES; database++) {
        if (!chore_may_seek(&step)) {
            row_want_chore(rows, rows->time);
            break;
        }
        if (redis_namespace_find(&step.call, database, &step.call.namespace) == ROW_STOP)
            return row_context_stop(rows);
        if (!redis_reminders_exist(&step.call)) continue;
        if (expire_keys(&step) == ROW_STOP) return row_context_stop(rows);
    }
    return EVALUATE_DONE;
}
