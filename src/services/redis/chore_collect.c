/* Removes what was dropped, or sent ahead and given up, by the records of it. */
#include "base/assert.h"
#include "services/redis/chore_step.h"
#include "services/redis/fronts.h"
#include "services/redis/stage_clock.h"

enum {
    RECORDS_MAX = 32,           /* garbage records of one step */
    LOOKED_AT_MAX = 1024,       /* and of those that may not be due */
    HELD_AGAIN_US = 100 * 1000, /* where transactions were in the way */
    LATE_ENTRIES = 4096,        /* transactions are hardly ever older than so many entries */
};

/* --- removing a range ------------------------------------------------------------------------ */

struct removal {
    struct chore_step *step;
    uint8_t last[REDIS_PROGRESS_SIZE_MAX]; /* how the key of the last one removed begins */
    size_t last_size;
    bool more; /* stopped before the end */
};

static bool remove_row(void *context, struct bytes key, const struct row_view *row)
{
    struct removal *removal = context;
    struct chore_step *step = removal->step;

    (void)row;
    if (chore_spent(step)) {
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

static enum row_result collect_parts(struct chore_step *step, struct bytes key,
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
static enum row_result drop_kind(struct chore_step *step, uint32_t namespace, struct bytes progress,
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
        if (chore_spent(step) || (walk.skip && !row_may_seek(step->call.rows))) {
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
static enum row_result collect_namespace(struct chore_step *step, struct bytes key,
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
    bool stamp; /* from when it waits is not known: from now on */
};

struct record_search {
    struct chore_step *step;
    uint8_t kind;
    uint32_t seen;
    struct bytes first; /* key of the first one, due or not */
    struct record *due;
    uint32_t due_count;
    bool staged; /* one was met: the clock is known */
    struct redis_stage_clock clock;
};

/* Is there something to do about a value that was sent ahead? */
static bool staged_is_due(struct record_search *search, struct record *record)
{
    struct redis_call *call = &search->step->call;
    const struct row_context *rows = call->rows;
    const struct redis_stage_clock *clock = &search->clock;

    enum redis_stage_age age = redis_stage_age(clock, &record->garbage);
    record->stamp = age == REDIS_STAGE_UNKNOWN;
    bool again = (call->limits->planted & REDIS_BUG_STAGED_AGAIN) &&
                 rows->time - rows->leads_since < (int64_t)call->limits->stage_timeout_ms * 1000;
    if (age != REDIS_STAGE_WAITS && !again) return true;
    row_want_chore(call->rows, clock->next);
    return false;
}

/* STAGED records are due in about the order of their ids only: all are looked at. */
static bool on_record(void *context, struct bytes key, const struct row_view *row)
{
    struct record_search *search = context;
    struct redis_call *call = &search->step->call;
    struct record *record = &search->due[search->due_count];

    if (search->due_count == RECORDS_MAX || search->seen == LOOKED_AT_MAX) {
        /* If none of so many is due, the rest is hardly: they have asked for the clock's next step.
         */
        if (search->due_count > 0) row_want_chore(call->rows, call->rows->time);
        return false;
    }
    if (search->seen++ == 0) search->first = key;
    *record = (struct record){.key = key};
    if (!redis_garbage_decode(row->value, &record->garbage)) return true; /* it stays */
    if (search->kind == REDIS_GARBAGE_STAGED) {
        if (call->limits->planted & REDIS_BUG_STAGED_NOT_COLLECTED) return true;
        if (!search->staged && redis_stage_clock_get(call, &search->clock) == ROW_STOP)
            return true; /* the scan ends by itself */
        search->staged = true;
        if (!staged_is_due(search, record)) return true;
    }
    search->due_count++;
    return true;
}

static enum row_result collect(struct record_search *search, struct record *record)
{
    struct chore_step *step = search->step;

    row_want_chore(step->call.rows, step->call.rows->time); /* there may be others */
    step->rows_left--;
    if (search->kind == REDIS_GARBAGE_PARTS)
        return collect_parts(step, record->key, &record->garbage);
    if (search->kind == REDIS_GARBAGE_NAMESPACE)
        return collect_namespace(step, record->key, &record->garbage);
    if (record->stamp) {
        redis_stage_stamp(&search->clock, &record->garbage);
        redis_garbage_put(&step->call, record->key, &record->garbage);
        return ROW_FOUND;
    }
    row_delete(step->call.rows, record->key); /* nobody came for it */
    redis_garbage_add(&step->call, REDIS_GARBAGE_PARTS, &record->garbage);
    return ROW_FOUND;
}

/* Records of a kind that are due, in order, as far as the step goes. */
static enum row_result collect_kind(struct chore_step *step, uint8_t kind)
{
    struct row_context *rows = step->call.rows;
    uint8_t start[REDIS_GARBAGE_KEY_SIZE], to[REDIS_GARBAGE_KEY_SIZE];
    struct record_search search = {.step = step, .kind = kind};
    struct bytes from;

    search.due = arena_allocate(rows->arena, (RECORDS_MAX + 1) * sizeof(search.due[0]));
    redis_garbage_key_store(start, rows, kind, (struct redis_part_id){0});
    redis_garbage_key_store(to, rows, kind + 1, (struct redis_part_id){0});
    enum row_result result =
        redis_front_get(rows, kind, 0, bytes_make(start, sizeof(start)), &from);
    if (result == ROW_STOP) return result;
    struct bytes end = bytes_make(to, sizeof(to));
    if (redis_walk_is_held(rows, from, end)) { /* by records of late */
        uint64_t late = rows->next_index > LATE_ENTRIES ? rows->next_index - LATE_ENTRIES : 0;
        row_want_chore(rows, rows->time + HELD_AGAIN_US);
        redis_garbage_key_store(to, rows, kind, (struct redis_part_id){.index = late});
        if (bytes_compare(from, end) >= 0 || redis_walk_is_held(rows, from, end)) return ROW_ABSENT;
    }
    result = row_scan(rows, from, end, &search, on_record);
    /* The front moves only with an effect that is logged anyway: a look alone writes nothing. */
    if (result != ROW_STOP && search.due_count && !bytes_equal(search.first, from))
        redis_front_put(rows, kind, 0, search.first);
    if (result != ROW_STOP && search.staged && search.clock.due)
        redis_stage_clock_put(&step->call, &search.clock);
    for (uint32_t i = 0; i < search.due_count && result != ROW_STOP && !chore_spent(step); i++) {
        if (i > 0 && !chore_may_seek(step)) break; /* collect() has said that there is more */
        result = collect(&search, &search.due[i]);
    }
    return result;
}

/* STAGED first: it is little work for each record, and its clock must go on while there is any
 * amount of other garbage. */
enum row_result chore_collect(struct chore_step *step)
{
    static const uint8_t kinds[] = {REDIS_GARBAGE_STAGED, REDIS_GARBAGE_PARTS,
                                    REDIS_GARBAGE_NAMESPACE};

    if (row_table_count(step->call.rows->table, SERVICE_REDIS, REDIS_NAMESPACE_GARBAGE) == 0)
        return ROW_ABSENT;
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (chore_spent(step) || !chore_may_seek(step)) {
            row_want_chore(step->call.rows, step->call.rows->time);
            break;
        }
        if (collect_kind(step, kinds[i]) == ROW_STOP) return ROW_STOP;
    }
    return ROW_FOUND;
}
