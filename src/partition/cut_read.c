/* cut_read.c - requests that are evaluated at a part of a cut, by a job that has the part's table
 * and iterator to itself. What an evaluation wants, and the table does not know, is read at once.
 */
#include "partition/cut_internal.h"

#include "base/assert.h"
#include "base/hash.h"

enum {
    ANSWERS_MAX = 8, /* of one job: others wait for the threads, too */
    ROUNDS_MAX = COLD_ROUNDS_MAX,
    RANGE_ROWS = 1024,
    RANGE_BYTES = 1 << 20,
    ROUND_BYTES = COLD_JOB_BYTES_MAX, /* what is wanted beyond that is wanted by the next round */
};

struct reading { /* one job's */
    struct cut_part *part;
    struct arena arena, ranges_arena;
    struct buffer effects, wanted;
    struct row_range ranges[COLD_RANGES_MAX];
    uint32_t range_count;
};

/* --- rows of the engine --- */

static bool iterator_failed(struct cut_part *part)
{
    enum status status = engine_iterator_error(part->engine, part->iterator, &part->error);

    if (status != STATUS_OK) part->status = status;
    return status != STATUS_OK;
}

static bool load(struct cut_part *part, struct bytes key, struct bytes stored)
{
    struct row_header header;
    struct bytes value;

    if (row_value_decode(stored, &header, &value)) {
        part->status = error_set(&part->error, STATUS_CORRUPT, "a stored row cannot be decoded");
        return false;
    }
    row_table_load(part->table, key, &header, value);
    part->loaded += key.size + stored.size;
    return true;
}

static bool load_key(struct cut_part *part, struct bytes key)
{
    struct bytes found, stored;
    struct row_found row;

    if (row_table_get(part->table, key, &row)) return true;
    engine_iterator_seek(part->engine, part->iterator, key);
    bool there = engine_iterator_next(part->engine, part->iterator, &found, &stored);
    if (!there && iterator_failed(part)) return false;
    if (there && bytes_equal(found, key)) return load(part, key, stored);
    row_table_load_absent(part->table, key);
    return true;
}

/* Some rows of the range. *ret_to: all that there are up to here, in the arena. */
static bool load_range(struct cut_part *part, struct arena *arena, struct bytes from,
                       struct bytes to, struct bytes *ret_to)
{
    struct bytes key, stored;
    uint64_t bytes = 0;

    *ret_to = to;
    engine_iterator_seek(part->engine, part->iterator, from);
    for (uint32_t rows = 0;; rows++) {
        if (!engine_iterator_next(part->engine, part->iterator, &key, &stored))
            return !iterator_failed(part);
        if (bytes_compare(key, to) >= 0) return true;
        if (rows >= RANGE_ROWS || bytes >= RANGE_BYTES) { /* up to this one, without it */
            *ret_to = arena_copy(arena, key);
            return true;
        }
        if (!load(part, key, stored)) return false;
        bytes += key.size + stored.size;
    }
}

static bool note_range(struct reading *reading, struct bytes from, struct bytes to)
{
    struct arena *arena = &reading->ranges_arena;

    for (uint32_t i = 0; i < reading->range_count; i++) {
        if (!bytes_equal(reading->ranges[i].to, from)) continue;
        reading->ranges[i].to = arena_copy(arena, to);
        return true;
    }
    if (reading->range_count == COLD_RANGES_MAX) return false;
    reading->ranges[reading->range_count++] =
        (struct row_range){.from = arena_copy(arena, from), .to = arena_copy(arena, to)};
    return true;
}

/* False: it cannot be read, or is too much. */
static bool fetch_wanted(struct reading *reading)
{
    struct reader reader = reader_make(buffer_bytes(&reading->wanted));
    struct cut_part *part = reading->part;

    part->loaded = 0;
    while (reader_left(&reader) > 0 && part->loaded < ROUND_BYTES) {
        struct bytes from = read_bytes(&reader, read_u32(&reader));
        struct bytes to = read_bytes(&reader, read_u32(&reader));
        if (to.size == 0) {
            if (!load_key(part, from)) return false;
            continue;
        }
        if (!load_range(part, &reading->ranges_arena, from, to, &to)) return false;
        if (!note_range(reading, from, to)) return false;
    }
    return true;
}

/* --- what was prepared --- */

static void txn_range(const struct cut_part *part, uint8_t from[ROW_PREFIX_SIZE],
                      uint8_t to[ROW_PREFIX_SIZE], unsigned first, unsigned last)
{
    row_prefix_store(from, part->slot_first, SERVICE_TXN, first);
    row_prefix_store(to, part->slot_first, SERVICE_TXN, last + 1);
}

static bool load_txn_rows(struct cut_part *part)
{
    uint8_t first[ROW_PREFIX_SIZE], end[ROW_PREFIX_SIZE];
    struct arena arena;
    uint64_t rows = row_table_count(part->table, SERVICE_TXN, TXN_ROW_PREPARED) +
                    row_table_count(part->table, SERVICE_TXN, TXN_ROW_DECISION);

    if (rows == 0) return true;
    txn_range(part, first, end, TXN_ROW_PREPARED, TXN_ROW_DECISION);
    arena_init(&arena, 0);
    struct bytes to = bytes_make(end, sizeof(end)), at = bytes_make(first, sizeof(first));
    bool ok = true;
    while (ok && bytes_compare(at, to) < 0)
        ok = load_range(part, &arena, at, to, &at);
    arena_free(&arena);
    return ok;
}

struct told { /* prepared transactions */
    struct buffer ids;
    uint32_t count;
};

static bool tell_id(void *context, const struct row_found *row)
{
    struct told *told = context;
    struct writer writer = writer_make(&told->ids);
    enum txn_row_kind kind;
    struct txn_id id;

    if (row->tombstone || !txn_row_key_parse(row->key, &kind, &id)) return true;
    cut_txn_encode(&writer, id);
    told->count++;
    return true;
}

static void write_state(struct cut_part *part)
{
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct writer writer = writer_make(&part->state);
    struct told told = {.count = 0};

    buffer_init(&told.ids, SIZE_MAX / 2);
    txn_range(part, from, to, TXN_ROW_PREPARED, TXN_ROW_PREPARED);
    row_table_applied_each(part->table, bytes_make(from, sizeof(from)), bytes_make(to, sizeof(to)),
                           &told, tell_id);
    if (told.count > CUT_TXNS_MAX)
        part->status = error_set(&part->error, STATUS_FULL, "too much is prepared there");
    struct cut_state state = {.index = part->index,
                              .time = part->time,
                              .txn_count = told.count,
                              .txns = buffer_bytes(&told.ids)};
    write_u8(&writer, CUT_OK);
    cut_state_encode(&writer, &state);
    buffer_free(&told.ids);
}

/* Effects that are found committed are put in as of the cut's entry: nothing there is newer. */
static bool apply_effects(struct cut_part *part, struct bytes effects)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    enum status status;

    while ((status = effect_decode(&reader, &effect)) == STATUS_OK) {
        if (effect.kind == EFFECT_FENCE || effect.kind == EFFECT_CUT) continue;
        if (effect.key.size > 0 && !load_key(part, effect.key)) return false;
        effect_apply(&effect, part->index, false, part->table);
    }
    if (status == STATUS_NOT_FOUND) return true;
    part->status = error_set(&part->error, status, "what a transaction prepared makes no sense");
    return false;
}

static bool settle_one(struct cut_part *part, struct txn_id id)
{
    uint8_t key[TXN_ROW_KEY_SIZE];
    struct row_found row;
    struct txn_prepared prepared;
    struct buffer effects;

    txn_row_key_store(key, part->slot_first, TXN_ROW_PREPARED, id);
    if (!load_key(part, bytes_make(key, sizeof(key)))) return false;
    if (!row_table_get(part->table, bytes_make(key, sizeof(key)), &row) || row.tombstone)
        return true; /* not of this partition */
    if (txn_prepared_decode(row.value, &prepared)) {
        part->status = error_set(&part->error, STATUS_CORRUPT, "a prepared row makes no sense");
        return false;
    }
    buffer_init(&effects, SIZE_MAX / 2);
    buffer_append(&effects, prepared.effects);
    bool ok = apply_effects(part, buffer_bytes(&effects));
    buffer_free(&effects);
    return ok;
}

/* The same ids come with each request: that of the first counts. */
static bool settle(struct cut_part *part, const struct cut_request *request)
{
    struct bytes ids = request->txns;
    struct txn_id id;

    if (part->settled) return true;
    while (cut_txn_next(&ids, &id))
        if (!settle_one(part, id)) return false;
    part->settled = true;
    return true;
}

/* --- requests --- */

static bool decided(struct cut_part *part, struct txn_id id, bool *ret_committed)
{
    uint8_t key[TXN_ROW_KEY_SIZE];
    struct row_found row;
    struct txn_decision decision;

    *ret_committed = false;
    txn_row_key_store(key, part->slot_first, TXN_ROW_DECISION, id);
    if (!load_key(part, bytes_make(key, sizeof(key)))) return false;
    if (!row_table_get(part->table, bytes_make(key, sizeof(key)), &row) || row.tombstone)
        return true;
    if (txn_decision_decode(row.value, &decision)) {
        part->status = error_set(&part->error, STATUS_CORRUPT, "a decision row makes no sense");
        return false;
    }
    *ret_committed = decision.outcome == TXN_COMMIT;
    return true;
}

static bool write_outcomes(struct cut_part *part, const struct cut_request *request,
                           struct buffer *reply)
{
    struct writer writer = writer_make(reply);
    struct bytes ids = request->txns;
    struct txn_id id;
    bool committed;

    write_u8(&writer, CUT_OK);
    while (cut_txn_next(&ids, &id)) {
        if (!decided(part, id, &committed)) return false;
        write_u8(&writer, committed);
    }
    return true;
}

static void rows_begin(struct reading *reading, const struct cut_request *request,
                       struct row_context *rows)
{
    struct cut_part *part = reading->part;
    const struct host_options *options = &part->host->options;

    arena_reset(&reading->arena);
    buffer_clear(&reading->effects);
    buffer_clear(&reading->wanted);
    row_context_begin(rows, part->table, &reading->arena, &reading->effects, part->index,
                      part->time, hash_u64(part->cut ^ part->index));
    rows->slot_first = part->slot_first;
    rows->slot_last = part->slot_last;
    rows->leads_since = part->time;
    rows->hash_secret[0] = options->hash_secret[0];
    rows->hash_secret[1] = options->hash_secret[1];
    rows->wanted = &reading->wanted;
    rows->ranges = reading->ranges;
    rows->range_count = reading->range_count;
    rows->seeks_max = COLD_SEEKS_MAX;
    rows->engine_index = part->index;
    rows->next_index = part->index + 1;
    rows->options = options->service_options[request->service];
    rows->services = options->evaluate;
    rows->service_options = options->service_options;
    rows->chore_service = request->service;
}

/* Whatever it would change is dropped. */
static enum evaluate_result evaluate(struct reading *reading, const struct cut_request *request,
                                     uint16_t slot, struct buffer *out)
{
    struct request inner = {.service = request->service, .slot = slot, .body = request->body};
    struct reply reply = {.buffer = out};
    evaluate_fn *function = reading->part->host->options.evaluate[request->service];
    enum evaluate_result result = EVALUATE_NEED_ROWS;

    reading->range_count = 0;
    arena_reset(&reading->ranges_arena);
    for (uint32_t round = 0; result == EVALUATE_NEED_ROWS && round < ROUNDS_MAX; round++) {
        struct row_context rows;
        if (round > 0 && !fetch_wanted(reading)) return EVALUATE_OVER_BUDGET;
        rows_begin(reading, request, &rows);
        buffer_clear(out);
        *buffer_reserve(out, 1) = CUT_OK;
        buffer_commit(out, 1);
        result = function(&rows, &inner, &reply);
        if (rows.need_rows)
            result = EVALUATE_NEED_ROWS;
        else if (rows.over_budget)
            result = EVALUATE_OVER_BUDGET;
        row_context_end(&rows);
    }
    return result;
}

static bool may_be_read(const struct partition_host *host, uint8_t service)
{
    bool known = service < SERVICE_COUNT && host->options.evaluate[service] != NULL;

    return known && service != SERVICE_CUT && service != SERVICE_TXN && service != SERVICE_META &&
           service != SERVICE_SYSTEM;
}

static void answer_one(struct reading *reading, struct cut_answer *answer)
{
    struct cut_part *part = reading->part;
    const struct cut_request *request = &answer->request;
    bool ok = part->status == STATUS_OK;

    if (ok && request->op == CUT_OUTCOMES) {
        ok = write_outcomes(part, request, &answer->reply);
    } else if (ok && may_be_read(part->host, request->service)) {
        ok = settle(part, request);
        enum evaluate_result result = EVALUATE_OVER_BUDGET;
        if (ok) result = evaluate(reading, request, answer->parked->item.slot, &answer->reply);
        ok = part->status == STATUS_OK;
        answer->busy = ok && result != EVALUATE_DONE;
    } else {
        ok = false;
    }
    if (ok) return;
    buffer_clear(&answer->reply);
    *buffer_reserve(&answer->reply, 1) = CUT_FAILED;
    buffer_commit(&answer->reply, 1);
}

/* Rows of the engine that nobody wants any more. */
static void forget(struct row_table *table)
{
    uint64_t clean = row_table_clean_bytes(table);

    for (int i = 0; clean > CUT_CACHE_BYTES_MAX && i < 8; i++) {
        row_table_evict(table, clean - CUT_CACHE_BYTES_MAX / 2);
        clean = row_table_clean_bytes(table);
    }
}

static void reads_run(struct world_job *job)
{
    struct cut_part *part = job->context;
    struct reading *reading = memory_allocate_zero(sizeof(*reading));

    reading->part = part;
    arena_init(&reading->arena, 64 << 10);
    arena_init(&reading->ranges_arena, 0);
    buffer_init(&reading->effects, SIZE_MAX / 2);
    buffer_init(&reading->wanted, SIZE_MAX / 2);
    for (size_t i = 0; i < part->answer_count; i++) {
        answer_one(reading, &part->answers[i]);
        forget(part->table);
    }
    buffer_free(&reading->wanted);
    buffer_free(&reading->effects);
    arena_free(&reading->ranges_arena);
    arena_free(&reading->arena);
    memory_free(reading);
}

/* --- on the loop --- */

static void answer_parked(struct parked *parked, struct bytes reply)
{
    if (parked->replica == NULL) return;
    execute_parked_answer(parked->replica, parked->gateway, parked->local, parked->route,
                          &parked->item, reply);
}

void cut_answer_now(struct partition_host *host, struct parked *parked, enum cut_status status)
{
    uint8_t byte = (uint8_t)status;

    answer_parked(parked, bytes_make(&byte, 1));
    parked_answered(host, parked, world_now(host->world));
}

/* The part's rows cannot be read: it is of no use, and the store may be damaged. */
static void check_rows(struct cut_part *part)
{
    if (part->status == STATUS_OK || part->failed) return;
    LOG_ERROR(host_logger(part->host), "partition", "group %u: rows of a cut cannot be read: %s",
              part->replica->group.value, part->error.text);
    part->failed = true;
    struct error error = part->error;
    if (part->status == STATUS_CORRUPT)
        store_damaged(part->host, part->replica->store, &error); /* the part is gone then */
}

static void give_answers(struct cut_part *part)
{
    struct partition_host *host = part->host;
    uint64_t now = world_now(host->world);

    host->cold.turn_left = COLD_TURN_MAX;
    for (size_t i = 0; i < part->answer_count; i++) {
        struct cut_answer *answer = &part->answers[i];
        struct parked *parked = answer->parked;
        if (parked->replica != NULL && answer->busy)
            execute_parked_busy(parked->replica, parked->gateway, parked->local, parked->route,
                                &parked->item, "BUSY it is too much to be read at once");
        else
            answer_parked(parked, buffer_bytes(&answer->reply));
        buffer_free(&answer->reply);
        parked_answered(host, parked, now);
    }
    host->statistics.cut_reads += part->answer_count;
    memory_free(part->answers);
    part->answers = NULL;
    part->answer_count = 0;
}

/* False: the part is gone, and freed. */
static bool job_ended(struct cut_part *part)
{
    part->running = false;
    part->host->snapshot_jobs--;
    part->bytes = row_table_bytes(part->table);
    if (part->replica != NULL) return true;
    cut_part_free(part);
    return false;
}

static void reads_done(struct world_job *job)
{
    struct cut_part *part = job->context;

    give_answers(part);
    if (!job_ended(part)) return;
    cut_reads_begin(part);
    check_rows(part);
}

void cut_reads_begin(struct cut_part *part)
{
    size_t count = part->read_count < ANSWERS_MAX ? part->read_count : ANSWERS_MAX;

    if (part->running || count == 0 || part->host->stopping) return;
    part->answers = memory_allocate_zero(count * sizeof(*part->answers));
    for (size_t i = 0; i < count; i++) {
        struct parked *parked = CONTAINER_OF(part->reads.next, struct parked, by_queue);
        struct cut_answer *answer = &part->answers[part->answer_count++];
        list_remove(&parked->by_queue);
        part->read_count--;
        answer->parked = parked;
        bool sound = cut_request_decode(parked->item.body, &answer->request);
        ASSERT(sound); /* it was, when it came */
        buffer_init(&answer->reply, REPLY_SIZE_MAX);
    }
    part->running = true;
    part->host->snapshot_jobs++;
    part->job = (struct world_job){.run = reads_run, .done = reads_done, .context = part};
    world_job_start(part->host->world, LANE_READ, &part->job);
}

static void load_run(struct world_job *job)
{
    struct cut_part *part = job->context;

    if (load_txn_rows(part)) write_state(part);
}

static void load_done(struct world_job *job)
{
    struct cut_part *part = job->context;

    if (!job_ended(part)) return;
    part->stage = CUT_STAGE_OPEN;
    world_timer_start(part->host->world, &part->timer, 0);
    check_rows(part);
}

void cut_load_begin(struct cut_part *part)
{
    part->bytes = row_table_bytes(part->table);
    part->running = true;
    part->host->snapshot_jobs++;
    part->job = (struct world_job){.run = load_run, .done = load_done, .context = part};
    world_job_start(part->host->world, LANE_READ, &part->job);
}
