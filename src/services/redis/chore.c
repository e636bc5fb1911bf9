#include "services/redis/chore.h"

#include "services/redis/request_body.h"
#include "services/redis/stage.h"

enum {
    EFFECTS_BYTES_MAX = 64 << 10, /* of one step; the last row may go beyond */
    FRONT_KEY_SIZE = ROW_PREFIX_SIZE + 5,
    RECORDS_MAX = 32,     /* garbage records of one step */
    LOOKED_AT_MAX = 1024, /* and of those that may not be due */
};

struct step {
    struct redis_call call;
    uint32_t rows_left;
};

static bool spent(const struct step *step)
{
    return step->rows_left == 0 || buffer_size(step->call.rows->effects) >= EFFECTS_BYTES_MAX;
}

/* A step that has effects ends rather than go to still more places on the disk: what is left is
 * for the next one. */
static bool may_seek(const struct step *step)
{
    const struct row_context *rows = step->call.rows;
    return rows->effect_count == 0 || row_may_seek(rows);
}

/* --- fronts ---------------------------------------------------------------------------------- */

/* In some ranges rows are removed in about the order in which they were put: a front is the key
 * from which on there may be any. Without it each step would walk over the tombstones of all
 * steps before. kind: of garbage records; 0: reminders of a namespace. */
static void front_key_store(uint8_t at[FRONT_KEY_SIZE], const struct row_context *rows,
                            uint8_t kind, uint32_t namespace)
{
    row_prefix_store(at, rows->slot_first, SERVICE_REDIS, REDIS_NAMESPACE_FRONTS);
    at[ROW_PREFIX_SIZE] = kind;
    store_u32_be(at + ROW_PREFIX_SIZE + 1, namespace);
}

/* `from`, or the front behind it. */
static enum row_result front_get(struct row_context *rows, uint8_t kind, uint32_t namespace,
                                 struct bytes from, struct bytes *ret_from)
{
    uint8_t key[FRONT_KEY_SIZE];
    struct row_view row;

    front_key_store(key, rows, kind, namespace);
    enum row_result result = row_get(rows, bytes_make(key, sizeof(key)), &row);
    bool behind = result == ROW_FOUND && bytes_compare(row.value, from) > 0;
    *ret_from = behind ? row.value : from;
    return result;
}

static void front_put(struct row_context *rows, uint8_t kind, uint32_t namespace, struct bytes at)
{
    uint8_t key[FRONT_KEY_SIZE];

    front_key_store(key, rows, kind, namespace);
    row_put(rows, bytes_make(key, sizeof(key)), REDIS_ROW_MARK, 0, 0, at);
}

/* --- removing a range ------------------------------------------------------------------------ */

struct removal {
    struct step *step;
    uint8_t last[REDIS_PROGRESS_SIZE_MAX]; /* how the key of the last one removed begins */
    size_t last_size;
    bool more; /* stopped before the end */
};

static bool remove_row(void *context, struct bytes key, const struct row_view *row)
{
    struct removal *removal = context;
    struct step *step = removal->step;

    (void)row;
    if (spent(step)) {
        removal->more = true;
        return false;
    }
    step->rows_left--;
    row_delete(step->call.rows, key);
    removal->last_size = key.size < REDIS_PROGRESS_SIZE_MAX ? key.size : REDIS_PROGRESS_SIZE_MAX;
    memcpy(removal->last, key.data, removal->last_size);
    return true;
}

/* Removes [from, to) as far as the step goes; progress is where an earlier step came to, or
 * empty. The rows up to there are gone, but their tombstones would cost time again. */
static enum row_result remove_range(struct removal *removal, struct bytes from, struct bytes to,
                                    struct bytes progress)
{
    struct bytes first = bytes_compare(progress, from) > 0 ? progress : from;
    return row_scan(removal->step->call.rows, first, to, removal, remove_row);
}

/* The record goes when nothing is left, else it keeps how far it came. */
static void record_end(struct removal *removal, struct bytes key, struct redis_garbage *garbage)
{
    struct redis_call *call = &removal->step->call;

    if (!removal->more) {
        row_delete(call->rows, key);
        return;
    }
    garbage->progress = bytes_make(removal->last, removal->last_size);
    redis_garbage_put(call, key, garbage);
}

static enum row_result collect_parts(struct step *step, struct bytes key,
                                     struct redis_garbage *garbage)
{
    uint8_t row_key[ROW_PREFIX_SIZE];
    uint8_t from[REDIS_PART_PREFIX_SIZE], to[REDIS_PART_PREFIX_SIZE];
    struct redis_part_id next = garbage->id;
    struct removal removal = {.step = step};

    next.number++;
    next.index += next.number == 0;
    row_prefix_store(row_key, garbage->slot, SERVICE_REDIS, garbage->namespace);
    redis_part_prefix_store(from, bytes_make(row_key, sizeof(row_key)), garbage->id);
    redis_part_prefix_store(to, bytes_make(row_key, sizeof(row_key)), next);
    enum row_result result = remove_range(&removal, bytes_make(from, sizeof(from)),
                                          bytes_make(to, sizeof(to)), garbage->progress);
    if (result != ROW_STOP) record_end(&removal, key, garbage);
    return result;
}

/* A walk over rows of one kind of a namespace in all slots, past those of others. */
struct drop_walk {
    struct removal removal;
    uint32_t namespace; /* with the bits of its kind */
    uint16_t slot;      /* to go on at */
    bool skip;
};

static bool on_dropped_row(void *context, struct bytes key, const struct row_view *row)
{
    struct drop_walk *walk = context;
    uint16_t slot = load_u16_be(key.data);
    bool ours = key.data[2] == SERVICE_REDIS && load_u32_be(key.data + 3) == walk->namespace;
    bool before = key.data[2] < SERVICE_REDIS ||
                  (key.data[2] == SERVICE_REDIS && load_u32_be(key.data + 3) < walk->namespace);

    if (ours) return remove_row(&walk->removal, key, row);
    if (walk->removal.step->rows_left) walk->removal.step->rows_left--;
    walk->skip = true;
    walk->slot = (uint16_t)(before ? slot : slot + 1);
    return false;
}

/* False: the step is spent, and walk->removal.last says where to go on. */
static enum row_result drop_kind(struct step *step, uint32_t namespace, struct bytes progress,
                                 struct removal *ret_removal)
{
    uint8_t from[ROW_PREFIX_SIZE], to[2];
    uint16_t slot_last = step->call.rows->slot_last;
    struct drop_walk walk = {
        .removal = {.step = step}, .namespace = namespace, .slot = step->call.rows->slot_first};
    enum row_result result = ROW_ABSENT;

    if (progress.size >= ROW_PREFIX_SIZE) walk.slot = load_u16_be(progress.data);
    store_u16_be(to, (uint16_t)(slot_last + 1));
    do {
        if (walk.slot > slot_last) break;
        row_prefix_store(from, walk.slot, SERVICE_REDIS, namespace);
        struct bytes first = bytes_make(from, sizeof(from));
        if (bytes_compare(progress, first) > 0) first = progress;
        if (spent(step) || (walk.skip && !row_may_seek(step->call.rows))) {
            walk.removal.more = true;
            memcpy(walk.removal.last, first.data, first.size);
            walk.removal.last_size = first.size;
            break;
        }
        walk.skip = false;
        result =
            row_scan(step->call.rows, first, bytes_make(to, sizeof(to)), &walk, on_dropped_row);
    } while (walk.skip && result != ROW_STOP);
    *ret_removal = walk.removal;
    return result;
}

/* Keys, their reminders, their parts: in the order of their numbers. The progress is a row key,
 * and so tells which of the three it is about. */
static enum row_result collect_namespace(struct step *step, struct bytes key,
                                         struct redis_garbage *garbage)
{
    struct bytes progress = garbage->progress;
    const uint32_t kinds[] = {0, REDIS_NAMESPACE_REMINDERS, REDIS_NAMESPACE_PARTS};
    struct removal removal = {.step = step};
    uint32_t begun =
        progress.size >= ROW_PREFIX_SIZE ? load_u32_be(progress.data + 3) : garbage->namespace;

    for (unsigned i = 0; i < 3 && !removal.more; i++) {
        uint32_t namespace = garbage->namespace | kinds[i];
        if (namespace < begun) continue;
        struct bytes from = namespace == begun ? progress : bytes_make(NULL, 0);
        if (drop_kind(step, namespace, from, &removal) == ROW_STOP) return ROW_STOP;
    }
    record_end(&removal, key, garbage);
    return ROW_FOUND;
}

/* --- garbage records ------------------------------------------------------------------------- */

struct record {
    struct bytes key; /* borrowed: the table stands still during an evaluation */
    struct redis_garbage garbage;
};

struct record_search {
    struct step *step;
    uint8_t kind;
    uint32_t seen;
    struct bytes first; /* key of the first one, due or not */
    struct record *due;
    uint32_t due_count;
};

/* Until when a value sent ahead waits for its command, in entry time. That follows wall clocks and
 * may have jumped with the election (F48), so one of an earlier term gets its whole time again:
 * within a term the entry time goes on like the leader's boot clock. */
static int64_t staged_until(const struct redis_call *call, const struct redis_garbage *garbage)
{
    int64_t again = call->rows->leads_since / 1000 + call->limits->stage_timeout_ms;

    if (garbage->deadline_ms > INT64_MAX / 1000 - 1) return again; /* no node ever wrote that */
    return (int64_t)garbage->deadline_ms > again ? (int64_t)garbage->deadline_ms : again;
}

/* STAGED records are due in about the order of their ids only: all are looked at. */
static bool on_record(void *context, struct bytes key, const struct row_view *row)
{
    struct record_search *search = context;
    struct redis_call *call = &search->step->call;
    struct record *record = &search->due[search->due_count];

    if (search->due_count == RECORDS_MAX || search->seen == LOOKED_AT_MAX) {
        row_want_chore(call->rows, call->rows->time);
        return false;
    }
    if (search->seen++ == 0) search->first = key;
    if (!redis_garbage_decode(row->value, &record->garbage)) return true; /* it stays */
    if (search->kind == REDIS_GARBAGE_STAGED) {
        if (call->limits->planted & REDIS_BUG_STAGED_NOT_COLLECTED) return true;
        int64_t due = staged_until(call, &record->garbage);
        if (due >= call->now_ms) {
            row_want_chore(call->rows, (due + 1) * 1000);
            return true;
        }
    }
    record->key = key;
    search->due_count++;
    return true;
}

static enum row_result collect(struct step *step, uint8_t kind, struct record *record)
{
    row_want_chore(step->call.rows, step->call.rows->time); /* there may be others */
    step->rows_left--;
    if (kind == REDIS_GARBAGE_PARTS) return collect_parts(step, record->key, &record->garbage);
    if (kind == REDIS_GARBAGE_NAMESPACE)
        return collect_namespace(step, record->key, &record->garbage);
    row_delete(step->call.rows, record->key); /* nobody came for it */
    redis_garbage_add(&step->call, REDIS_GARBAGE_PARTS, &record->garbage);
    return ROW_FOUND;
}

/* Records of a kind that are due, in order, as far as the step goes. */
static enum row_result collect_kind(struct step *step, uint8_t kind)
{
    struct row_context *rows = step->call.rows;
    uint8_t start[REDIS_GARBAGE_KEY_SIZE], to[REDIS_GARBAGE_KEY_SIZE];
    struct record_search search = {.step = step, .kind = kind};
    struct bytes from;

    search.due = arena_allocate(rows->arena, (RECORDS_MAX + 1) * sizeof(search.due[0]));
    redis_garbage_key_store(start, rows, kind, (struct redis_part_id){0});
    redis_garbage_key_store(to, rows, kind + 1, (struct redis_part_id){0});
    enum row_result result = front_get(rows, kind, 0, bytes_make(start, sizeof(start)), &from);
    if (result == ROW_STOP) return result;
    result = row_scan(rows, from, bytes_make(to, sizeof(to)), &search, on_record);
    /* The front moves only with an effect that is logged anyway: a look alone writes nothing. */
    if (result != ROW_STOP && search.due_count && !bytes_equal(search.first, from))
        front_put(rows, kind, 0, search.first);
    for (uint32_t i = 0; i < search.due_count && result != ROW_STOP && !spent(step); i++) {
        if (i > 0 && !may_seek(step)) break; /* collect() has said that there is more */
        result = collect(step, kind, &search.due[i]);
    }
    return result;
}

static enum row_result collect_garbage(struct step *step)
{
    if (row_table_count(step->call.rows->table, SERVICE_REDIS, REDIS_NAMESPACE_GARBAGE) == 0)
        return ROW_ABSENT;
    for (uint8_t kind = REDIS_GARBAGE_PARTS; kind <= REDIS_GARBAGE_STAGED; kind++) {
        if (spent(step) || !may_seek(step)) {
            row_want_chore(step->call.rows, step->call.rows->time);
            break;
        }
        if (collect_kind(step, kind) == ROW_STOP) return ROW_STOP;
    }
    return ROW_FOUND;
}

/* --- expiry ---------------------------------------------------------------------------------- */

struct due {
    struct step *step;
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
    struct step *step = context;
    struct redis_call *call = &step->call;
    struct redis_key none = {.row_key = key}; /* it has no other reminder */
    struct row_view now;

    /* Two reminders of one key may be due at once, and a scan does not see own writes: dropping
     * its parts twice would leave two records of them. */
    enum row_result result = row_get(call->rows, key, &now);
    if (result != ROW_FOUND) return result != ROW_STOP;
    if (redis_row_is_expired(call, &row->header))
        redis_row_remove(call, key, row);
    else
        redis_remind(call, &none, row->header.expiry); /* its expiry has moved on */
    return true;
}

static enum row_result expire_reminded(struct step *step, struct bytes reminder)
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
    enum row_result result = row_scan(step->call.rows, bytes_make(from, sizeof(from)),
                                      bytes_make(to, sizeof(from)), step, on_reminded_key);
    if (result != ROW_STOP) row_delete(step->call.rows, reminder);
    return result;
}

static enum row_result expire_keys(struct step *step)
{
    struct row_context *rows = step->call.rows;
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    uint32_t namespace = step->call.namespace | REDIS_NAMESPACE_REMINDERS;
    struct due due = {.step = step};
    struct bytes first;

    row_prefix_store(from, rows->slot_first, SERVICE_REDIS, namespace);
    row_prefix_store(to, rows->slot_first, SERVICE_REDIS, namespace + 1);
    due.reminders = arena_allocate(rows->arena, (step->rows_left + 1) * sizeof(due.reminders[0]));
    enum row_result result = front_get(rows, 0, namespace, bytes_make(from, sizeof(from)), &first);
    if (result == ROW_STOP) return result;
    result = row_scan(rows, first, bytes_make(to, sizeof(to)), &due, on_reminder);
    for (uint32_t i = 0; i < due.count && result != ROW_STOP; i++) {
        if (buffer_size(rows->effects) >= EFFECTS_BYTES_MAX || (i > 0 && !may_seek(step))) {
            row_want_chore(rows, rows->time);
            break;
        }
        /* New reminders are for times to come: nothing will be put before this one. */
        if (i == 0) front_put(rows, 0, namespace, due.reminders[i]);
        result = expire_reminded(step, due.reminders[i]);
    }
    return result;
}

enum evaluate_result redis_chore(struct row_context *rows, const struct request *request,
                                 struct reply *reply)
{
    struct redis_limits limits = redis_limits_default();
    struct step step = {.call = {.rows = rows,
                                 .now_ms = row_time_ms(rows),
                                 .limits = rows->options ? rows->options : &limits,
                                 .out = resp_writer_make(reply->buffer, false)}};

    (void)request;
    step.rows_left = step.call.limits->chore_rows;
    if (collect_garbage(&step) == ROW_STOP) return row_context_stop(rows);
    step.rows_left = step.call.limits->chore_rows; /* neither waits for the other */
    for (uint8_t database = 0; database < REDIS_DATABASES; database++) {
        if (!may_seek(&step)) {
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
