/* The commands of locks, at the leader of the partition of the name. */
#include "base/parse.h"
#include "services/redis/evaluate_functions.h"
#include "services/redis/lock.h"

/* --- arguments ------------------------------------------------------------------------------- */

static bool parse_number(struct bytes text, int64_t least, int64_t most, uint32_t *ret)
{
    int64_t value;

    if (!parse_i64(text, &value) || value < least || value > most) return false;
    *ret = (uint32_t)value;
    return true;
}

static bool name_is_right(struct bytes name)
{
    return name.size > 0 && name.size <= LOCK_NAME_SIZE_MAX;
}

bool lock_token_parse(struct bytes text, uint64_t *ret_token)
{
    int64_t value;

    if (!parse_i64(text, &value) || value <= 0) return false;
    *ret_token = (uint64_t)value;
    return true;
}

bool lock_request_parse(const struct redis_command *command, const struct bytes *arguments,
                        uint32_t count, struct lock_request *ret_request, const char **ret_wrong)
{
    uint32_t at = 2; /* of the permits, if they are said, and the TTL */

    *ret_request = (struct lock_request){.permits = 1};
    *ret_wrong = NULL;
    if (!name_is_right(arguments[1])) {
        *ret_wrong = LOCK_WRONG_NAME;
        return false;
    }
    if (command->id == REDIS_HOLON_SEMAPHORE &&
        !parse_number(arguments[at++], 1, LOCK_PERMITS_MAX, &ret_request->permits)) {
        *ret_wrong = "ERR the permits of a semaphore must be an integer from 1 to 1024";
        return false;
    }
    if (!parse_number(arguments[at++], 1, LOCK_TTL_MS_MAX, &ret_request->ttl_ms)) {
        *ret_wrong = "ERR the TTL of a lock must be an integer from 1 to 86400000 ms (24 h)";
        return false;
    }
    ret_request->waits = count == at + 2 && redis_word_is(arguments[at], "wait");
    if (count != at && !ret_request->waits) {
        *ret_wrong = "ERR syntax error";
        return false;
    }
    if (ret_request->waits &&
        !parse_number(arguments[at + 1], 0, LOCK_WAIT_MS_MAX, &ret_request->wait_ms)) {
        *ret_wrong =
            "ERR WAIT must be an integer from 0 (as long as it takes) to 86400000 ms (24 h)";
        return false;
    }
    return true;
}

/* --- taking ---------------------------------------------------------------------------------- */

static enum evaluate_result reply_damaged(struct redis_call *call)
{
    return redis_reply_error(call, "ERR the row of this lock is damaged or of a newer version; "
                                   "nothing was changed");
}

/* Has everybody said as many permits as this one? */
static bool permits_are_right(struct redis_call *call, struct lock *lock, uint32_t permits)
{
    if (lock->permits == 0) lock->permits = permits;
    if (lock->permits == permits) return true;
    resp_write_error_format(&call->out,
                            "ERR this name is in use with %u permits, and not %u: whoever uses a "
                            "name must say the same (a lock is a semaphore of 1)",
                            lock->permits, permits);
    return false;
}

/* First come, first served: `ahead` wait longer. */
static bool is_free(const struct redis_call *call, const struct lock *lock, uint32_t ahead)
{
    if (call->limits->planted & REDIS_BUG_LOCK_OVERTAKES) ahead = 0;
    return ahead == 0 && lock_holders_now(call, lock) < lock->permits;
}

static enum row_result take(struct redis_call *call, struct lock *lock, uint32_t ttl_ms,
                            uint64_t *ret_token)
{
    enum row_result result = lock_token(call, lock, ret_token);

    if (result == ROW_STOP) return result;
    lock->holders[lock->holder_count++] = (struct lock_holder){
        .token = *ret_token, .until = call->rows->time + (int64_t)ttl_ms * 1000};
    lock_put(call, lock);
    return ROW_FOUND;
}

/* LOCK and SEMAPHORE that do not wait. Those that do are made of attempts, see below. */
static enum evaluate_result evaluate_taking(struct redis_call *call)
{
    struct lock_request request;
    const char *wrong;
    struct lock lock;
    uint64_t token;

    if (!lock_request_parse(call->command, call->arguments, call->count, &request, &wrong))
        return redis_reply_error(call, wrong);
    if (request.waits || call->batch) return redis_reply_error(call, "ERR not like this");
    if (lock_get(call, call->arguments[1], &lock) == ROW_STOP) return redis_stop(call);
    if (lock.damaged) return reply_damaged(call);
    if (!permits_are_right(call, &lock, request.permits)) return EVALUATE_DONE;
    if (!is_free(call, &lock, lock.waiter_count)) {
        resp_write_null(&call->out);
        return EVALUATE_DONE;
    }
    if (take(call, &lock, request.ttl_ms, &token) == ROW_STOP) return redis_stop(call);
    return redis_reply_integer(call, (int64_t)token);
}

enum evaluate_result evaluate_lock(struct redis_call *call)
{
    return evaluate_taking(call);
}

enum evaluate_result evaluate_semaphore(struct redis_call *call)
{
    return evaluate_taking(call);
}

/* --- waiting --------------------------------------------------------------------------------- */

struct attempt {
    uint32_t permits, ttl_ms, wait_ms;
    uint64_t ticket; /* 0: the first attempt */
};

static bool attempt_parse(struct redis_call *call, struct attempt *ret_attempt)
{
    int64_t ticket;

    bool right = name_is_right(call->arguments[1]) &&
                 parse_number(call->arguments[2], 1, LOCK_PERMITS_MAX, &ret_attempt->permits) &&
                 parse_number(call->arguments[3], 1, LOCK_TTL_MS_MAX, &ret_attempt->ttl_ms) &&
                 parse_i64(call->arguments[4], &ticket) && ticket >= 0 &&
                 parse_number(call->arguments[5], 0, LOCK_ATTEMPT_MS, &ret_attempt->wait_ms);
    if (right) ret_attempt->ticket = (uint64_t)ticket;
    return right && !call->batch;
}

/* Token, or 0, and the ticket. */
static enum evaluate_result reply_attempt(struct redis_call *call, uint64_t token, uint64_t ticket)
{
    resp_write_array(&call->out, 2);
    resp_write_integer(&call->out, (int64_t)token);
    resp_write_integer(&call->out, (int64_t)ticket);
    return EVALUATE_DONE;
}

/* At the end of the queue: a new ticket, or one that was dropped because nobody asked for long. */
static enum evaluate_result queue_up(struct redis_call *call, struct lock *lock,
                                     const struct attempt *attempt)
{
    struct lock_waiter waiter = {.ticket =
                                     attempt->ticket ? attempt->ticket : call->rows->next_index,
                                 .ttl_ms = attempt->ttl_ms,
                                 .refreshed = call->rows->time};

    if (lock->waiter_count >= LOCK_WAITERS_MAX)
        return redis_reply_error(call, "BUSY 256 wait for this lock already; it was not taken, try "
                                       "again later");
    lock->waiters[lock->waiter_count++] = waiter;
    lock_put(call, lock);
    return reply_attempt(call, 0, waiter.ticket);
}

/* When a permit is free again, if nobody gives one back before. */
static int64_t free_at(const struct lock *lock)
{
    int64_t at = INT64_MAX;

    for (uint32_t i = 0; i < lock->holder_count; i++)
        if (lock->holders[i].until < at) at = lock->holders[i].until;
    return at;
}

/* The first of the queue is woken by a holder's end; each of the others by the one before it, as
 * that takes the lock and so writes the row. */
static enum evaluate_result wait_more(struct redis_call *call, const struct lock *lock,
                                      uint32_t ahead, const struct attempt *attempt)
{
    struct row_context *rows = call->rows;
    int64_t since = rows->waits_since ? rows->waits_since : rows->time;
    int64_t until = since + (int64_t)attempt->wait_ms * 1000;

    if (rows->time >= until) return reply_attempt(call, 0, attempt->ticket);
    if (ahead == 0 && free_at(lock) < until) until = free_at(lock);
    bool last_first = call->limits->planted & REDIS_BUG_LOCK_OVERTAKES;
    return row_wait(rows, lock->row_key, until,
                    last_first ? UINT64_MAX - attempt->ticket : attempt->ticket);
}

/* locktry NAME PERMITS TTL TICKET MS: an attempt of a client that waits. */
enum evaluate_result evaluate_locktry(struct redis_call *call)
{
    struct attempt attempt;
    struct lock lock;
    uint64_t token;

    if (!attempt_parse(call, &attempt)) return redis_reply_error(call, "ERR not like this");
    if (lock_get(call, call->arguments[1], &lock) == ROW_STOP) return redis_stop(call);
    if (lock.damaged) return reply_damaged(call);
    if (!permits_are_right(call, &lock, attempt.permits)) return EVALUATE_DONE;
    uint32_t ahead = lock_find_waiter(&lock, attempt.ticket);
    bool queued = ahead < lock.waiter_count;
    if (is_free(call, &lock, ahead)) {
        if (queued) lock_remove_waiter(&lock, ahead);
        if (take(call, &lock, attempt.ttl_ms, &token) == ROW_STOP) return redis_stop(call);
        return reply_attempt(call, token, attempt.ticket);
    }
    if (!queued) return queue_up(call, &lock, &attempt);
    struct lock_waiter *waiter = &lock.waiters[ahead];
    if (call->rows->time - waiter->refreshed >= LOCK_REFRESH_US) {
        waiter->refreshed = call->rows->time;
        lock_put(call, &lock);
        return reply_attempt(call, 0, attempt.ticket);
    }
    return wait_more(call, &lock, ahead, &attempt);
}

/* lockleave NAME TICKET: it waits no longer. */
enum evaluate_result evaluate_lockleave(struct redis_call *call)
{
    struct lock lock;
    uint64_t ticket;

    if (!lock_token_parse(call->arguments[2], &ticket))
        return redis_reply_error(call, "ERR not like this");
    if (lock_get(call, call->arguments[1], &lock) == ROW_STOP) return redis_stop(call);
    if (lock.damaged) return reply_damaged(call);
    uint32_t index = lock_find_waiter(&lock, ticket);
    if (index == lock.waiter_count) return redis_reply_integer(call, 0);
    lock_remove_waiter(&lock, index);
    lock_put(call, &lock);
    return redis_reply_integer(call, 1);
}

/* --- holding --------------------------------------------------------------------------------- */

/* The lock, and who holds it with the token in arguments[2]: NULL, nobody. False: *ret_result. */
static bool find_holder(struct redis_call *call, struct lock *lock, struct lock_holder **ret_holder,
                        enum evaluate_result *ret_result)
{
    uint64_t token;

    *ret_result = EVALUATE_DONE;
    if (!name_is_right(call->arguments[1])) {
        redis_reply_error(call, LOCK_WRONG_NAME);
    } else if (!lock_token_parse(call->arguments[2], &token)) {
        redis_reply_error(call, LOCK_WRONG_TOKEN);
    } else if (lock_get(call, call->arguments[1], lock) == ROW_STOP) {
        *ret_result = redis_stop(call);
    } else if (lock->damaged) {
        reply_damaged(call);
    } else {
        *ret_holder = lock_holder_of(lock, token);
        return true;
    }
    return false;
}

enum evaluate_result evaluate_unlock(struct redis_call *call)
{
    enum evaluate_result result;
    struct lock_holder *holder;
    struct lock lock;

    if (!find_holder(call, &lock, &holder, &result)) return result;
    if (holder == NULL) return redis_reply_integer(call, 0);
    lock_remove_holder(&lock, holder);
    lock_put(call, &lock);
    return redis_reply_integer(call, 1);
}

enum evaluate_result evaluate_renew(struct redis_call *call)
{
    enum evaluate_result result;
    struct lock_holder *holder;
    struct lock lock;
    uint32_t ttl_ms;

    if (!parse_number(call->arguments[3], 1, LOCK_TTL_MS_MAX, &ttl_ms))
        return redis_reply_error(call, "ERR the TTL of a lock must be an integer from 1 to "
                                       "86400000 ms (24 h)");
    if (!find_holder(call, &lock, &holder, &result)) return result;
    if (holder == NULL) return redis_reply_integer(call, 0);
    holder->until = call->rows->time + (int64_t)ttl_ms * 1000;
    lock_put(call, &lock);
    return redis_reply_integer(call, 1);
}

/* permits N holders [[token, ms left] ...] waiters N */
enum evaluate_result evaluate_lockinfo(struct redis_call *call)
{
    struct lock lock;

    if (!name_is_right(call->arguments[1])) return redis_reply_error(call, LOCK_WRONG_NAME);
    if (lock_get(call, call->arguments[1], &lock) == ROW_STOP) return redis_stop(call);
    if (lock.damaged) return reply_damaged(call);
    resp_write_array(&call->out, 6);
    resp_write_bulk(&call->out, bytes_of("permits"));
    resp_write_integer(&call->out, lock.permits);
    resp_write_bulk(&call->out, bytes_of("holders"));
    resp_write_array(&call->out, lock.holder_count);
    for (uint32_t i = 0; i < lock.holder_count; i++) {
        int64_t left_us = lock.holders[i].until - call->rows->time;
        resp_write_array(&call->out, 2);
        resp_write_integer(&call->out, (int64_t)lock.holders[i].token);
        resp_write_integer(&call->out, (left_us + 999) / 1000);
    }
    resp_write_bulk(&call->out, bytes_of("waiters"));
    resp_write_integer(&call->out, lock.waiter_count);
    return EVALUATE_DONE;
}

/* HOLON.TOKENFLOOR SLOT VALUE: what a restore does, so that tokens go on above those there were. */
enum evaluate_result evaluate_tokenfloor(struct redis_call *call)
{
    int64_t floor;
    uint64_t now;

    if (!redis_argument_i64(call, 2, &floor)) return EVALUATE_DONE;
    if (floor < 0 || (uint64_t)floor > LOCK_FLOOR_MAX || call->batch)
        return redis_reply_error(call, "ERR a floor of tokens is an integer from 0 to 2^62");
    if (lock_raise_floor(call, (uint64_t)floor, &now) == ROW_STOP) return redis_stop(call);
    return redis_reply_integer(call, (int64_t)now);
}
