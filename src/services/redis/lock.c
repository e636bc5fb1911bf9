#include "services/redis/lock.h"

#include "base/hash.h"
#include "base/parse.h"

enum {
    HOLDER_SIZE = 16,
    WAITER_SIZE = 20,
    ROW_SIZE_MAX = 1 + 4 + 2 * VARINT_SIZE_MAX + LOCK_PERMITS_MAX * HOLDER_SIZE +
                   LOCK_WAITERS_MAX * WAITER_SIZE,
    REMINDER_PREFIX_SIZE = ROW_PREFIX_SIZE + 5,
    FLOOR_SIZE = 1 + 8,
};
_Static_assert((int)ROW_SIZE_MAX < (int)ROW_VALUE_SIZE_MAX, "a lock fits a row");

/* --- the row --------------------------------------------------------------------------------- */

static struct bytes row_key_make(struct redis_call *call, uint8_t database, struct bytes name)
{
    uint8_t *at = arena_allocate(call->rows->arena, REDIS_ROW_PREFIX_SIZE + name.size);
    uint16_t slot = key_slot(name);
    uint64_t hash = redis_key_hash(call->rows, name);

    if (slot < call->rows->slot_first || slot > call->rows->slot_last) call->misrouted = true;
    row_prefix_store(at, slot, SERVICE_LOCK, database);
    store_u16_be(at + ROW_PREFIX_SIZE, (uint16_t)(hash >> 32));
    store_u32_be(at + ROW_PREFIX_SIZE + 2, (uint32_t)hash);
    if (name.size) memcpy(at + REDIS_ROW_PREFIX_SIZE, name.data, name.size);
    return bytes_make(at, REDIS_ROW_PREFIX_SIZE + name.size);
}

/* Those whose time is over are left out. */
static bool read_holders(struct redis_call *call, struct reader *reader, struct lock *lock)
{
    uint64_t count = read_varint(reader);
    bool kept = call->limits->planted & REDIS_BUG_LOCK_NOT_EXPIRED;

    if (count > LOCK_PERMITS_MAX) return false;
    lock->holders = arena_allocate(call->rows->arena, (count + 1) * sizeof(lock->holders[0]));
    for (uint64_t i = 0; i < count; i++) {
        struct lock_holder holder = {.token = read_u64(reader)};
        holder.until = read_i64(reader);
        if (call->rows->time < holder.until || kept) lock->holders[lock->holder_count++] = holder;
    }
    return !reader->failed;
}

static bool is_gone(const struct row_context *rows, const struct lock_waiter *waiter)
{
    int64_t since = waiter->refreshed > rows->leads_since ? waiter->refreshed : rows->leads_since;

    return rows->time - since >= LOCK_TICKET_US;
}

static bool read_waiters(struct redis_call *call, struct reader *reader, struct lock *lock)
{
    uint64_t count = read_varint(reader);

    if (count > LOCK_WAITERS_MAX) return false;
    lock->waiters = arena_allocate(call->rows->arena, (count + 1) * sizeof(lock->waiters[0]));
    for (uint64_t i = 0; i < count; i++) {
        struct lock_waiter waiter = {.ticket = read_u64(reader)};
        waiter.ttl_ms = read_u32(reader);
        waiter.refreshed = read_i64(reader);
        if (!is_gone(call->rows, &waiter)) lock->waiters[lock->waiter_count++] = waiter;
    }
    return !reader->failed && reader_left(reader) == 0;
}

static bool decode(struct redis_call *call, struct bytes value, struct lock *lock)
{
    struct reader reader = reader_make(value);

    if (read_u8(&reader) != LOCK_FORMAT) return false;
    lock->permits = read_u32(&reader);
    return read_holders(call, &reader, lock) && read_waiters(call, &reader, lock);
}

static enum row_result get_row(struct redis_call *call, struct lock *lock)
{
    struct bytes nothing = bytes_make("\1\0\0\0\0\0\0", 7);
    struct row_view row;

    enum row_result result = row_get(call->rows, lock->row_key, &row);
    if (result == ROW_STOP) return result;
    lock->exists = result == ROW_FOUND;
    lock->damaged = !decode(call, lock->exists ? row.value : nothing, lock);
    bool empty = lock->holder_count == 0 && lock->waiter_count == 0;
    if (empty) lock->permits = 0;
    return lock->exists && !empty ? ROW_FOUND : ROW_ABSENT;
}

enum row_result lock_get(struct redis_call *call, struct bytes name, struct lock *ret_lock)
{
    *ret_lock = (struct lock){.row_key = row_key_make(call, call->database, name)};
    return get_row(call, ret_lock);
}

/* Of a row that is new: those that are there have one. Soon, if it ends late: it is likely that the
 * row goes before, and its reminder stays. The next one is put by who follows this one. */
static void remind(struct redis_call *call, struct bytes row_key, int64_t until)
{
    int64_t soon = call->rows->time + LOCK_REMINDED_US;

    if (until > soon) until = soon;
    size_t size = REMINDER_PREFIX_SIZE + row_key.size;
    uint8_t *at = arena_allocate(call->rows->arena, size);
    uint64_t second = (uint64_t)(until / 1000000) + 1;

    row_prefix_store(at, call->rows->slot_first, SERVICE_LOCK, LOCK_NAMESPACE_REMINDERS);
    at[ROW_PREFIX_SIZE] = (uint8_t)(second >> 32);
    store_u32_be(at + ROW_PREFIX_SIZE + 1, (uint32_t)second);
    memcpy(at + REMINDER_PREFIX_SIZE, row_key.data, row_key.size);
    row_put(call->rows, bytes_make(at, size), LOCK_ROW_TYPE, 0, 0, bytes_make(NULL, 0));
    row_want_chore(call->rows, (int64_t)second * 1000000);
}

/* When nobody is left at the latest, if nothing else happens. */
static int64_t ends_at(const struct redis_call *call, const struct lock *lock)
{
    int64_t at = call->rows->time;

    for (uint32_t i = 0; i < lock->holder_count; i++)
        if (lock->holders[i].until > at) at = lock->holders[i].until;
    return lock->waiter_count ? at + LOCK_TICKET_US : at;
}

void lock_put(struct redis_call *call, const struct lock *lock)
{
    struct row_context *rows = call->rows;
    struct buffer buffer;

    rows->written_is_enough =
        false; /* whatever the database has: two holders are worse than none */
    if (lock->holder_count == 0 && lock->waiter_count == 0) {
        if (lock->exists) row_delete(rows, lock->row_key);
        return;
    }
    buffer_init(&buffer, ROW_SIZE_MAX);
    struct writer writer = writer_make(&buffer);
    write_u8(&writer, LOCK_FORMAT);
    write_u32(&writer, lock->permits);
    write_varint(&writer, lock->holder_count);
    for (uint32_t i = 0; i < lock->holder_count; i++) {
        write_u64(&writer, lock->holders[i].token);
        write_i64(&writer, lock->holders[i].until);
    }
    write_varint(&writer, lock->waiter_count);
    for (uint32_t i = 0; i < lock->waiter_count; i++) {
        write_u64(&writer, lock->waiters[i].ticket);
        write_u32(&writer, lock->waiters[i].ttl_ms);
        write_i64(&writer, lock->waiters[i].refreshed);
    }
    row_put(rows, lock->row_key, LOCK_ROW_TYPE, 0, 0, buffer_bytes(&buffer));
    buffer_free(&buffer);
    if (!lock->exists) remind(call, lock->row_key, ends_at(call, lock));
}

enum row_result lock_expire(struct redis_call *call, struct bytes row_key)
{
    struct lock lock = {.row_key = row_key};

    enum row_result result = get_row(call, &lock);
    if (result == ROW_STOP || !lock.exists) return result;
    if (lock.damaged)
        remind(call, row_key, call->rows->time + (int64_t)LOCK_TTL_MS_MAX * 1000);
    else if (result == ROW_ABSENT)
        row_delete(call->rows, row_key);
    else
        remind(call, row_key, ends_at(call, &lock));
    return ROW_FOUND;
}

/* --- holders and waiters --------------------------------------------------------------------- */

uint32_t lock_holders_now(const struct redis_call *call, const struct lock *lock)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < lock->holder_count; i++)
        count += call->rows->time < lock->holders[i].until;
    return count;
}

struct lock_holder *lock_holder_of(const struct lock *lock, uint64_t token)
{
    for (uint32_t i = 0; i < lock->holder_count; i++)
        if (lock->holders[i].token == token) return &lock->holders[i];
    return NULL;
}

void lock_remove_holder(struct lock *lock, struct lock_holder *holder)
{
    size_t behind = lock->holder_count - (size_t)(holder - lock->holders) - 1;

    memmove(holder, holder + 1, behind * sizeof(*holder));
    lock->holder_count--;
}

uint32_t lock_find_waiter(const struct lock *lock, uint64_t ticket)
{
    uint32_t i = 0;

    while (i < lock->waiter_count && lock->waiters[i].ticket != ticket)
        i++;
    return i;
}

void lock_remove_waiter(struct lock *lock, uint32_t index)
{
    struct lock_waiter *waiter = &lock->waiters[index];

    memmove(waiter, waiter + 1, (lock->waiter_count - index - 1) * sizeof(*waiter));
    lock->waiter_count--;
}

/* --- tokens ---------------------------------------------------------------------------------- */

static enum row_result floor_get(struct redis_call *call, uint64_t *ret_floor)
{
    uint8_t key[ROW_PREFIX_SIZE];
    struct row_view row;

    *ret_floor = 0;
    /* As redis_namespace_find(): it is only ever put, and never by a transaction. */
    if (row_table_count(call->rows->table, SERVICE_LOCK, LOCK_NAMESPACE_FLOOR) == 0)
        return ROW_ABSENT;
    row_prefix_store(key, call->rows->slot_first, SERVICE_LOCK, LOCK_NAMESPACE_FLOOR);
    enum row_result result = row_get(call->rows, bytes_make(key, sizeof(key)), &row);
    bool sound = result == ROW_FOUND && row.value.size == FLOOR_SIZE && row.value.data[0] == 1;
    if (sound) *ret_floor = load_u64(row.value.data + 1);
    return result;
}

/* The sum, not the greater of the two: below a floor that is ahead of the log, all would be one. */
enum row_result lock_token(struct redis_call *call, const struct lock *lock, uint64_t *ret_token)
{
    uint64_t floor = 0;

    enum row_result result = floor_get(call, &floor);
    *ret_token = floor + call->rows->next_index;
    if (call->limits->planted & REDIS_BUG_LOCK_TOKEN_AGAIN) *ret_token = lock->holder_count + 1;
    return result;
}

enum row_result lock_raise_floor(struct redis_call *call, uint64_t floor, uint64_t *ret_floor)
{
    uint8_t key[ROW_PREFIX_SIZE], value[FLOOR_SIZE] = {1};

    enum row_result result = floor_get(call, ret_floor);
    if (result == ROW_STOP || floor <= *ret_floor) return result;
    *ret_floor = floor;
    call->rows->written_is_enough = false; /* tokens never go back */
    store_u64(value + 1, floor);
    row_prefix_store(key, call->rows->slot_first, SERVICE_LOCK, LOCK_NAMESPACE_FLOOR);
    row_put(call->rows, bytes_make(key, sizeof(key)), LOCK_ROW_TYPE, 0, 0,
            bytes_make(value, sizeof(value)));
    return ROW_FOUND;
}

/* --- guards ---------------------------------------------------------------------------------- */

void lock_want(struct redis_call *call, struct bytes name)
{
    row_want(call->rows, row_key_make(call, call->database, name));
}

enum row_result lock_guard_holds(struct redis_call *call, const struct redis_guard *guard,
                                 bool *ret_holds)
{
    struct lock lock = {.row_key = row_key_make(call, guard->database, guard->name)};

    if (call->limits->planted & REDIS_BUG_GUARD_IGNORED) {
        *ret_holds = true;
        return ROW_FOUND;
    }
    enum row_result result = get_row(call, &lock);
    *ret_holds = result == ROW_FOUND && lock_holder_of(&lock, guard->token) != NULL;
    return result;
}
