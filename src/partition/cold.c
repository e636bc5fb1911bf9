#include "partition/cold.h"

#include <stdatomic.h>

#include "base/hash.h"
#include "partition/cold_internal.h"
#include "partition/host_internal.h"

/* What is asked for, and what the engine said. */
struct cold_want {
    struct parked *parked;
    struct bytes key, to; /* `to` empty: one key. Borrowed of parked->wanted */
    bool found, left_out; /* the latter: too much for one job */
    uint32_t rows_max;    /* of a range */
    bool whole;           /* the range was read to its end */
    size_t at, size;      /* in values: the stored row; of a range u32 size, key | u32 size, row */
};

struct cold_job {
    struct world_job job;
    struct list link; /* host->cold.jobs */
    struct partition_host *host;
    uint32_t store;
    struct engine *engine;
    struct list parked;
    struct cold_want *wants;
    size_t want_count, want_capacity;
    struct world_timer late; /* simulator: the answer comes long after the read */
    size_t *key_wants;       /* while keys are read: which want each is of */
    struct buffer values;
    size_t bytes_max;    /* of values, of keys */
    size_t range_bytes;  /* of those of one range */
    size_t ranges_from;  /* of values: no further range is begun */
    atomic_size_t bytes; /* of values, to be read by the loop */
    uint64_t started;
    enum status status;
    struct error error;
};

/* --- order --- */

uint16_t *parked_count_of(const struct replica *replica, struct gateway_id gateway, uint16_t client)
{
    uint64_t who = (uint64_t)gateway.node << 32 ^ (uint64_t)gateway.worker << 16 ^ client;
    uint64_t hash = hash_u64(who ^ (uint64_t)replica->group.value << 40);
    return &replica->host->cold.parked_of[hash % PARKED_CLASSES];
}

static struct parked *first_of_client(struct replica *replica, struct gateway_id gateway,
                                      uint16_t client)
{
    if (*parked_count_of(replica, gateway, client) == 0) return NULL;
    struct list *head = &replica->parked;
    for (struct list *at = head->next; at != head; at = at->next) {
        struct parked *parked = parked_at(at);
        bool same = parked->item.client == client && parked_is_of(parked, gateway);
        if (same && parked->state != PARKED_ROW) return parked;
    }
    return NULL;
}

bool cold_must_wait(struct replica *replica, const struct session *session,
                    const struct request_item *item)
{
    if (list_empty(&replica->parked) || !item->ordered) return false;
    if (PLANTED(replica->host->world, "cold_order_lost")) return false;
    if (item->service == SERVICE_TXN) return parked_txn_of(replica, session, item);
    return first_of_client(replica, session->gateway, item->client) != NULL;
}

/* --- parking --- */

struct parked *parked_make(struct replica *replica, const struct session *session, uint64_t route,
                           const struct request_item *item)
{
    struct partition_host *host = replica->host;
    size_t size = sizeof(struct parked) + item->body.size;
    bool full = host->cold.parked_count >= PARKED_COUNT_MAX ||
                host->cold.parked_bytes + size > PARKED_BYTES_MAX;
    if (full) {
        host->statistics.cold_refused++;
        return NULL;
    }
    struct parked *parked = memory_allocate_zero(size);
    parked->replica = replica;
    parked->gateway = session->gateway;
    parked->local = session->local;
    parked->route = route;
    parked->item = *item;
    if (item->body.size > 0) memcpy(parked->body, item->body.data, item->body.size);
    parked->item.body = bytes_make(parked->body, item->body.size);
    parked->size = size;
    parked->parked_at = world_now(host->world);
    buffer_init(&parked->wanted, SIZE_MAX / 2);
    list_init(&parked->by_queue);
    list_insert_before(&replica->parked, &parked->by_replica);
    ++*parked_count_of(replica, parked->gateway, item->client);
    host->cold.parked_count++;
    host->cold.parked_bytes += size;
    return parked;
}

static void ranges_drop(struct parked *parked)
{
    for (uint32_t i = 0; i < parked->range_count; i++) {
        memory_free((void *)parked->ranges[i].from.data);
        memory_free((void *)parked->ranges[i].to.data);
    }
    memory_free(parked->ranges);
    parked->ranges = NULL;
    parked->range_count = 0;
}

static void leave_replica(struct parked *parked)
{
    if (parked->replica == NULL) return;
    list_remove(&parked->by_replica);
    --*parked_count_of(parked->replica, parked->gateway, parked->item.client);
    parked->replica = NULL;
}

static void parked_free(struct partition_host *host, struct parked *parked)
{
    if (parked->state == PARKED_ROW) parked_leave_row(parked);
    leave_replica(parked);
    list_remove(&parked->by_queue);
    host->cold.heavy_count -= parked->state == PARKED_HEAVY;
    host->cold.locked_count -= parked_is_locked(parked);
    host->cold.parked_count--;
    host->cold.parked_bytes -= parked->size + buffer_size(&parked->wanted);
    ranges_drop(parked);
    buffer_free(&parked->wanted);
    memory_free(parked);
}

bool cold_wait(struct replica *replica, struct session *session, uint64_t route,
               const struct request_item *item)
{
    struct parked *parked = parked_make(replica, session, route, item);
    if (parked == NULL) return false;
    parked->state = PARKED_WAITS;
    SOMETIMES(replica->host->world, "a request waited behind a cold one of its client");
    return true;
}

static void queue_up(struct parked *parked)
{
    struct partition_host *host = parked->replica->host;
    parked->state = PARKED_QUEUED;
    list_insert_before(&host->cold.queue, &parked->by_queue);
    world_defer(host->world, &host->cold.turn_end);
}

bool cold_park(struct replica *replica, struct session *session, uint64_t route,
               const struct request_item *item, int64_t time, struct parked *again,
               const struct buffer *wanted)
{
    struct partition_host *host = replica->host;
    struct parked *parked = again;
    if (buffer_size(wanted) == 0) return false; /* nothing that could be fetched */
    if (parked == NULL) {
        parked = parked_make(replica, session, route, item);
        if (parked == NULL) return false;
        host->statistics.cold_parked++;
    }
    if (parked->time == 0) parked->time = time; /* that of its first evaluation */
    if (++parked->rounds > COLD_ROUNDS_MAX) {
        host->statistics.cold_refused++;
        return false;
    }
    host->cold.parked_bytes -= buffer_size(&parked->wanted);
    buffer_clear(&parked->wanted);
    buffer_append(&parked->wanted, buffer_bytes(wanted));
    host->cold.parked_bytes += buffer_size(&parked->wanted);
    SOMETIMES(host->world, "an evaluation waited for cold rows");
    queue_up(parked);
    return true;
}

int64_t cold_time(const struct parked *parked)
{
    return parked->time;
}

void cold_ranges(struct parked *parked, struct row_context *rows)
{
    if (parked->evictions != row_table_evictions(parked->replica->table)) ranges_drop(parked);
    rows->ranges = parked->ranges;
    rows->range_count = parked->range_count;
    /* What was fetched is forgotten when rows are evicted. An evaluation that this befalls again
     * and again makes do with less. */
    bool late = parked->rounds > COLD_ROUNDS_MAX / 2;
    rows->seeks_max = COLD_SEEKS_MAX;
    if (late && parked->range_count < COLD_SEEKS_MAX) rows->seeks_max = parked->range_count;
}

/* --- dropping --- */

static void drop(struct partition_host *host, struct parked *parked)
{
    if (parked->state != PARKED_FETCHING) {
        parked_free(host, parked);
        return;
    }
    leave_replica(parked); /* its job frees it */
}

void cold_drop_session(struct replica *replica, const struct session *session)
{
    struct list *head = &replica->parked;
    for (struct list *at = head->next; at != head;) {
        struct parked *parked = parked_at(at);
        at = at->next;
        if (!parked_is_of(parked, session->gateway) || parked->state == PARKED_RUNS) continue;
        SOMETIMES(replica->host->world, "a request waiting for cold rows lost its route");
        drop(replica->host, parked);
    }
}

void cold_drop_all(struct replica *replica)
{
    while (!list_empty(&replica->parked)) {
        SOMETIMES(replica->host->world, "a request waiting for cold rows lost its leader");
        drop(replica->host, parked_at(replica->parked.next));
    }
}

/* --- reading, on a thread of LANE_READ: touches nothing but the job and the engine --- */

static void take_value(void *context, size_t index, struct bytes value)
{
    struct cold_job *job = context;
    struct cold_want *want = &job->wants[job->key_wants[index]];
    size_t bytes = buffer_size(&job->values);
    want->left_out = bytes > 0 && bytes + value.size > job->bytes_max;
    if (want->left_out) return;
    want->found = true;
    want->at = buffer_size(&job->values);
    want->size = value.size;
    buffer_append(&job->values, value);
    job->bytes = buffer_size(&job->values);
}

static enum status read_keys(struct cold_job *job)
{
    size_t count = 0;
    struct bytes *keys = memory_allocate((job->want_count + 1) * sizeof(*keys));
    job->key_wants = memory_allocate((job->want_count + 1) * sizeof(*job->key_wants));
    for (size_t i = 0; i < job->want_count; i++) {
        if (job->wants[i].to.size > 0) continue;
        keys[count] = job->wants[i].key;
        job->key_wants[count++] = i;
    }
    enum status status = STATUS_OK;
    if (count > 0) {
        status = engine_multi_get(job->engine, keys, count, job, take_value, &job->error);
    }
    memory_free(keys);
    memory_free(job->key_wants);
    return status;
}

static enum status read_range(struct cold_job *job, struct cold_want *want)
{
    struct engine_iterator *iterator = engine_iterate(job->engine, want->key, want->to);
    struct writer writer = writer_make(&job->values);
    struct bytes key, value;
    want->at = buffer_size(&job->values);
    want->whole = true;
    for (uint32_t rows = 0; engine_iterator_next(job->engine, iterator, &key, &value); rows++) {
        want->size = buffer_size(&job->values) - want->at;
        bool enough = rows >= want->rows_max || want->size >= job->range_bytes ||
                      buffer_size(&job->values) >= job->ranges_from;
        if (rows > 0 && enough) {
            want->whole = false;
            break;
        }
        write_u32(&writer, (uint32_t)key.size);
        write_bytes(&writer, key);
        write_u32(&writer, (uint32_t)value.size);
        write_bytes(&writer, value);
        job->bytes = buffer_size(&job->values);
    }
    want->size = buffer_size(&job->values) - want->at;
    return engine_iterator_close(job->engine, iterator, &job->error);
}

static void cold_run(struct world_job *base)
{
    struct cold_job *job = base->context;
    job->status = read_keys(job);
    /* However much the keys brought, one range is read: else they might keep ranges out for ever.
     */
    size_t with_range = buffer_size(&job->values) + job->range_bytes;
    job->ranges_from = with_range > job->bytes_max ? with_range : job->bytes_max;
    for (size_t i = 0; i < job->want_count && job->status == STATUS_OK; i++) {
        struct cold_want *want = &job->wants[i];
        if (want->to.size == 0) continue;
        want->left_out = buffer_size(&job->values) >= job->ranges_from;
        if (!want->left_out) job->status = read_range(job, want);
    }
}

/* --- what came --- */

static bool load_row(struct replica *replica, struct bytes key, struct bytes stored)
{
    struct row_header header;
    struct bytes value;
    if (row_value_decode(stored, &header, &value)) return false;
    row_table_load(replica->table, key, &header, value);
    replica->host->statistics.cold_rows++;
    return true;
}

static struct bytes copy_of(struct bytes bytes, size_t more)
{
    uint8_t *copy = memory_allocate_zero(bytes.size + more + 1);
    if (bytes.size > 0) memcpy(copy, bytes.data, bytes.size);
    return bytes_make(copy, bytes.size + more);
}

/* The range joins the one it goes on from. `to` is owned here. */
static void range_note(struct parked *parked, struct bytes from, struct bytes to)
{
    for (uint32_t i = 0; i < parked->range_count; i++) {
        struct row_range *range = &parked->ranges[i];
        if (!bytes_equal(range->to, from)) continue;
        memory_free((void *)range->to.data);
        range->to = to;
        return;
    }
    if (parked->range_count == COLD_RANGES_MAX) { /* no fetch brings it to an end */
        memory_free((void *)to.data);
        parked->rounds = COLD_ROUNDS_MAX;
        return;
    }
    uint32_t count = parked->range_count;
    if ((count & (count - 1)) == 0)
        parked->ranges =
            memory_resize(parked->ranges, (count ? 2 * count : 1) * sizeof(*parked->ranges));
    parked->ranges[parked->range_count++] = (struct row_range){.from = copy_of(from, 0), .to = to};
}

static bool load_range(struct cold_job *job, const struct cold_want *want)
{
    struct replica *replica = want->parked->replica;
    struct bytes all = bytes_make(buffer_bytes(&job->values).data + want->at, want->size);
    struct reader reader = reader_make(all);
    struct bytes last = bytes_make(NULL, 0);
    while (reader_left(&reader) > 0) {
        last = read_bytes(&reader, read_u32(&reader));
        if (!load_row(replica, last, read_bytes(&reader, read_u32(&reader)))) return false;
    }
    /* A key and a zero byte is the next key there can be. */
    struct bytes to = want->whole ? copy_of(want->to, 0) : copy_of(last, 1);
    if (want->parked->range_count == 0)
        want->parked->evictions = row_table_evictions(replica->table);
    range_note(want->parked, want->key, to);
    return true;
}

/* False: what the engine has is damaged. */
static bool load_want(struct cold_job *job, const struct cold_want *want)
{
    struct replica *replica = want->parked->replica;
    if (want->to.size > 0) return load_range(job, want);
    if (!want->found) {
        row_table_load_absent(replica->table, want->key);
        return true;
    }
    return load_row(replica, want->key,
                    bytes_make(buffer_bytes(&job->values).data + want->at, want->size));
}

/* Nothing was flushed since the read began, nor was the table exchanged. */
static bool is_fresh(const struct parked *parked)
{
    const struct replica *replica = parked->replica;
    if (PLANTED(replica->host->world, "cold_stale_absence")) return true;
    return row_table_flush_generation(replica->table) == parked->flush_generation &&
           replica->cold_generation == parked->cold_generation;
}

bool parked_may_go_on(const struct parked *parked)
{
    const struct replica *replica = parked->replica;
    return !replica->halted && replica->was_leader && raft_role(replica->raft) == RAFT_LEADER &&
           raft_term(replica->raft) == replica->led_term;
}

static void heavy_put(struct parked *parked);

/* Behind one that is done: the next of its client, until one has to be fetched again, or enough
 * was done in this turn of the loop. */
static void wake_next(struct replica *replica, struct gateway_id gateway, uint16_t client,
                      uint64_t now)
{
    struct cold *cold = &replica->host->cold;
    for (;;) {
        struct parked *next = first_of_client(replica, gateway, client);
        if (next == NULL || next->state != PARKED_WAITS || !parked_may_go_on(next)) return;
        if (cold->turn_left == 0) {
            next->light = true; /* until it runs, and is judged */
            heavy_put(next);
            return;
        }
        next->state = PARKED_RUNS;
        execute_parked(replica, next->gateway, next->local, next->route, &next->item, next, now);
        if (next->state != PARKED_RUNS) return; /* it wants rows, or is heavy */
        cold->turn_left--;
        parked_free(replica->host, next);
    }
}

void parked_answered(struct partition_host *host, struct parked *parked, uint64_t now)
{
    struct replica *replica = parked->replica;
    struct gateway_id gateway = parked->gateway;
    uint16_t client = parked->item.client;
    parked_free(host, parked);
    if (replica != NULL) wake_next(replica, gateway, client, now);
}

void parked_run_again(struct parked *parked, uint64_t now)
{
    struct replica *replica = parked->replica;
    struct partition_host *host = replica->host;
    struct gateway_id gateway = parked->gateway;
    uint16_t client = parked->item.client;
    parked->state = PARKED_RUNS;
    execute_parked(replica, gateway, parked->local, parked->route, &parked->item, parked, now);
    if (parked->state != PARKED_RUNS) return;
    if (parked->rounds > 0) histogram_record(&host->cold.latency, now - parked->parked_at);
    parked_free(host, parked);
    wake_next(replica, gateway, client, now);
}

/* --- heavy requests --- */

static bool crowded(const struct partition_host *host)
{
    uint32_t count = host->cold.parked_count - host->cold.row_wait_count; /* these are small */
    return count > HEAVY_COUNT_MAX || host->cold.parked_bytes > HEAVY_BYTES_MAX;
}

static struct parked *heavy_at(struct list *link)
{
    return CONTAINER_OF(link, struct parked, by_queue);
}

static void heavy_arm(struct partition_host *host, uint64_t pause_us)
{
    if (list_empty(&host->cold.heavy) || host->closing) return;
    world_timer_start(host->world, &host->cold.heavy_timer, pause_us);
}

/* By age: one that waited behind another of its client has done so all the time. New ones are the
 * youngest, and those that were behind others among the oldest. */
static void heavy_put(struct parked *parked)
{
    struct cold *cold = &parked->replica->host->cold;
    struct list *at = &cold->heavy;
    bool first = list_empty(at);
    if (parked->light) {
        at = at->next;
    } else if (!first && heavy_at(at->previous)->parked_at > parked->parked_at) {
        for (at = at->next; heavy_at(at)->parked_at <= parked->parked_at;)
            at = at->next;
    }
    parked->state = PARKED_HEAVY;
    list_insert_before(at, &parked->by_queue);
    cold->heavy_count++;
    if (first) heavy_arm(parked->replica->host, HEAVY_PAUSE_US);
}

bool cold_heavy_waits(struct replica *replica, struct session *session, uint64_t route,
                      const struct request_item *item, struct parked *again, bool chosen,
                      uint64_t now)
{
    struct partition_host *host = replica->host;
    struct parked *parked = again;

    if (parked != NULL && parked->governed) return false;
    if (PLANTED(host->world, "heavy_not_governed")) return false;
    if (!chosen && host->governor.off) return false;
    /* One that its client's earlier one has woken is left to on_heavy(), which has a measure. */
    bool woken = parked != NULL && parked->rounds == 0;
    bool asks = !chosen && !woken && list_empty(&host->cold.heavy);
    if (asks && governor_may(&host->governor, GOVERNOR_REQUEST, false, now)) return false;
    bool waits = !crowded(host); /* or goes on with the next turn, if woken */
    if (!waits && !woken) return false;
    if (parked == NULL) parked = parked_make(replica, session, route, item);
    if (parked == NULL) return false;
    parked->governed = true;
    heavy_put(parked);
    host->statistics.heavy_delayed += waits;
    SOMETIMES(host->world, "a heavy request waited for light ones of others");
    return true;
}

void cold_heavy_ran(struct replica *replica, const struct parked *parked,
                    const struct row_context *rows, uint64_t now)
{
    uint64_t cost = governor_cost(rows->effect_count, buffer_size(rows->effects));
    bool overdue = parked != NULL && parked->overdue;

    replica->host->statistics.heavy_cost += cost;
    replica->host->statistics.heavy_overdue += overdue;
    governor_ran(&replica->host->governor, GOVERNOR_REQUEST, cost, overdue, now);
}

static bool heavy_may(struct partition_host *host, struct parked *parked, uint64_t now)
{
    if (PLANTED(host->world, "heavy_starves")) return false;
    if (parked->light || !parked_may_go_on(parked)) return true;
    parked->overdue = now - parked->parked_at >= HEAVY_WAIT_MAX_US || crowded(host);
    return parked->overdue || governor_may(&host->governor, GOVERNOR_REQUEST, true, now);
}

static void heavy_run(struct parked *parked, uint64_t now)
{
    struct cold *cold = &parked->replica->host->cold;
    cold->turn_left--;
    cold->heavy_count--;
    list_remove(&parked->by_queue);
    parked->light = false;
    parked->state = PARKED_DELAYED;
    if (parked_may_go_on(parked))
        parked_run_again(parked, now); /* else step_down() is about to drop it */
}

/* However many may go on now: what one turn of the loop does is bounded, and so is what a
 * partition has uncommitted (A5). The others of the worker do not wait for such a partition. */
static void on_heavy(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    struct cold *cold = &host->cold;
    uint64_t now = world_now(host->world), cost = host->statistics.heavy_cost;
    uint64_t pause = HEAVY_PAUSE_US;
    struct list full;

    list_init(&full);
    cold->turn_left = MAYBE(host->world, "little goes on in a turn") ? 1 : COLD_TURN_MAX;
    while (!list_empty(&cold->heavy) && cold->turn_left > 0 &&
           host->statistics.heavy_cost - cost < HEAVY_TURN_COST_MAX) {
        struct parked *parked = heavy_at(cold->heavy.next);
        if (parked_may_go_on(parked) && !execute_has_room(parked->replica, now)) {
            list_remove(&parked->by_queue);
            list_insert_before(&full, &parked->by_queue);
            continue;
        }
        if (!heavy_may(host, parked, now)) {
            pause = governor_pause_us(&host->governor, now);
            break;
        }
        heavy_run(parked, now);
    }
    if (!list_empty(&full) && pause < HEAVY_FULL_PAUSE_US) pause = HEAVY_FULL_PAUSE_US;
    while (!list_empty(&full)) {
        struct list *last = full.previous;
        list_remove(last);
        list_insert_before(cold->heavy.next, last);
    }
    heavy_arm(host, pause);
}

static void on_retry(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    while (!list_empty(&host->cold.delayed)) {
        struct parked *parked = CONTAINER_OF(host->cold.delayed.next, struct parked, by_queue);
        list_remove(&parked->by_queue);
        queue_up(parked);
    }
}

/* A failed read is tried again alone; damage stops the replica, whose peers have the row. */
static void read_failed(struct parked *parked, const struct cold_job *job, bool shared)
{
    struct replica *replica = parked->replica;
    struct partition_host *host = replica->host;
    parked->alone = true;
    if (job->status == STATUS_CORRUPT && !shared) {
        LOG_ERROR(host_logger(host), "partition", "group %u: %s", replica->group.value,
                  job->error.text);
        parked->state = PARKED_DELAYED;
        replica_halt(replica, "a row in its store is damaged"); /* drops what is parked */
        return;
    }
    if (++parked->errors > COLD_ERRORS_MAX) {
        LOG_ERROR(host_logger(host), "partition", "group %u: rows cannot be read: %s",
                  replica->group.value, job->error.text);
        parked->state = PARKED_RUNS;
        execute_parked_busy(replica, parked->gateway, parked->local, parked->route, &parked->item,
                            "the disk does not give the rows; the command was not executed");
        struct gateway_id gateway = parked->gateway;
        uint16_t client = parked->item.client;
        parked_free(host, parked);
        wake_next(replica, gateway, client, world_now(host->world));
        return;
    }
    SOMETIMES(host->world, "a cold read was tried again");
    parked->state = PARKED_DELAYED;
    list_insert_before(&host->cold.delayed, &parked->by_queue);
    world_timer_start(host->world, &host->cold.retry_timer, COLD_RETRY_US);
}

static void job_free(struct cold_job *job)
{
    world_timer_stop(job->host->world, &job->late);
    list_remove(&job->link);
    buffer_free(&job->values);
    memory_free(job->wants);
    memory_free(job);
}

static void load_wants(struct cold_job *job)
{
    for (size_t i = 0; i < job->want_count; i++) {
        struct parked *parked = job->wants[i].parked;
        if (parked->replica == NULL || job->wants[i].left_out) continue;
        parked->left_out = false;
        if (!is_fresh(parked)) {
            SOMETIMES(job->host->world, "a cold read was overtaken by a flush");
            continue; /* the evaluation will want it again */
        }
        if (load_want(job, &job->wants[i])) continue;
        job->status = error_set(&job->error, STATUS_CORRUPT, "a stored row cannot be decoded");
        return;
    }
}

static void job_take(struct cold_job *job)
{
    struct partition_host *host = job->host;
    uint64_t now = world_now(host->world);
    bool shared = job->parked.next->next != &job->parked;
    host->cold.turn_left = COLD_TURN_MAX;
    host->cold.job_count--;
    host->statistics.cold_reads += job->want_count;
    if (job->status == STATUS_OK && MAYBE(host->world, "a cold read fails")) {
        job->status = error_set(&job->error, STATUS_IO, "made to fail");
    }
    if (job->status == STATUS_OK) load_wants(job);
    while (!list_empty(&job->parked)) {
        struct parked *parked = CONTAINER_OF(job->parked.next, struct parked, by_queue);
        list_remove(&parked->by_queue);
        if (parked->replica == NULL) {
            parked_free(host, parked);
        } else if (job->status) {
            read_failed(parked, job, shared);
        } else if (!parked_may_go_on(parked)) {
            parked->state = PARKED_DELAYED; /* step_down() is about to drop it */
        } else if (parked->left_out) {
            SOMETIMES(host->world, "a cold read was too much and left requests out");
            queue_up(parked);
        } else {
            parked_run_again(parked, now);
        }
    }
    uint32_t store = job->store;
    bool damaged = job->status == STATUS_CORRUPT;
    struct error error = job->error;
    job_free(job);
    if (damaged) store_damaged(host, store, &error);
    if (!list_empty(&host->cold.queue)) world_defer(host->world, &host->cold.turn_end);
}

static void late_done(struct world_timer *timer)
{
    job_take(timer->context);
}

static void cold_done(struct world_job *base)
{
    struct cold_job *job = base->context;
    if (MAYBE(job->host->world, "a cold read comes late")) {
        job->late = (struct world_timer){.fire = late_done, .context = job};
        world_timer_start(job->host->world, &job->late, COLD_LATE_US);
        return;
    }
    job_take(job);
}

/* --- starting reads: at the end of the turn, many requests in one --- */

static void add_wants(struct cold_job *job, struct parked *parked)
{
    struct reader reader = reader_make(buffer_bytes(&parked->wanted));
    uint32_t rows = parked->rounds > 6 ? COLD_RANGE_ROWS_MAX
                                       : (uint32_t)COLD_RANGE_ROWS_FIRST << (parked->rounds - 1);
    while (reader_left(&reader) > 0) {
        if (job->want_count == job->want_capacity) {
            job->want_capacity = job->want_capacity == 0 ? 16 : job->want_capacity * 2;
            job->wants = memory_resize(job->wants, job->want_capacity * sizeof(*job->wants));
        }
        struct bytes key = read_bytes(&reader, read_u32(&reader));
        struct bytes to = read_bytes(&reader, read_u32(&reader));
        ASSERT(!reader.failed);
        job->wants[job->want_count++] = (struct cold_want){
            .parked = parked,
            .key = key,
            .to = to,
            .rows_max = rows < COLD_RANGE_ROWS_MAX ? rows : COLD_RANGE_ROWS_MAX,
        };
    }
    parked->state = PARKED_FETCHING;
    parked->left_out = true;
    parked->flush_generation = row_table_flush_generation(parked->replica->table);
    parked->cold_generation = parked->replica->cold_generation;
    list_remove(&parked->by_queue);
    list_insert_before(&job->parked, &parked->by_queue);
}

static void job_start(struct partition_host *host, uint32_t store)
{
    struct cold_job *job = memory_allocate_zero(sizeof(*job));
    job->job = (struct world_job){.run = cold_run, .done = cold_done, .context = job};
    job->host = host;
    job->engine = host->options.engines[store];
    job->bytes_max =
        host->options.cold_job_bytes_max ? host->options.cold_job_bytes_max : COLD_JOB_BYTES_MAX;
    job->range_bytes =
        job->bytes_max < COLD_RANGE_BYTES_MAX ? job->bytes_max : COLD_RANGE_BYTES_MAX;
    job->store = store;
    list_init(&job->parked);
    buffer_init(&job->values, SIZE_MAX / 2);
    struct list *head = &host->cold.queue;
    for (struct list *at = head->next; at != head && job->want_count < COLD_JOB_KEYS_MAX;) {
        struct parked *parked = CONTAINER_OF(at, struct parked, by_queue);
        at = at->next;
        if (parked->replica->store != store) continue;
        if (parked->alone && !list_empty(&job->parked)) continue;
        add_wants(job, parked);
        if (parked->alone) break;
    }
    list_insert_before(&host->cold.jobs, &job->link);
    host->cold.job_count++;
    world_job_start(host->world, LANE_READ, &job->job);
}

static void cold_turn_end(struct world_deferred *deferred)
{
    struct partition_host *host = deferred->context;
    if (host->closing || host->stopping) return;
    while (!list_empty(&host->cold.queue) && host->cold.job_count < COLD_JOBS_MAX) {
        struct parked *first = CONTAINER_OF(host->cold.queue.next, struct parked, by_queue);
        job_start(host, first->replica->store);
    }
}

/* --- life --- */

void cold_open(struct partition_host *host)
{
    struct cold *cold = &host->cold;
    list_init(&cold->queue);
    list_init(&cold->delayed);
    list_init(&cold->jobs);
    list_init(&cold->heavy);
    list_init(&cold->locked);
    list_init(&cold->unlocked);
    list_init(&cold->row_waits);
    cold->turn_end = (struct world_deferred){.run = cold_turn_end, .context = host};
    cold->retry_timer = (struct world_timer){.fire = on_retry, .context = host};
    cold->heavy_timer = (struct world_timer){.fire = on_heavy, .context = host};
    cold->unlock_timer = (struct world_timer){.fire = cold_on_unlocked, .context = host};
    cold->row_timer = (struct world_timer){.fire = cold_on_row_timer, .context = host};
    histogram_init(&cold->latency);
}

bool cold_uses_store(const struct partition_host *host, uint32_t store)
{
    for (const struct list *at = host->cold.jobs.next; at != &host->cold.jobs; at = at->next)
        if (CONTAINER_OF(at, struct cold_job, link)->store == store) return true;
    return false;
}

uint64_t cold_job_bytes(const struct partition_host *host)
{
    uint64_t bytes = 0;
    for (const struct list *at = host->cold.jobs.next; at != &host->cold.jobs; at = at->next)
        bytes += CONTAINER_OF(at, struct cold_job, link)->bytes;
    return bytes;
}

bool cold_is_idle(const struct partition_host *host)
{
    return host->cold.job_count == 0;
}

void cold_close(struct partition_host *host)
{
    world_timer_stop(host->world, &host->cold.retry_timer);
    world_timer_stop(host->world, &host->cold.heavy_timer);
    world_timer_stop(host->world, &host->cold.unlock_timer);
    world_timer_stop(host->world, &host->cold.row_timer);
    while (!list_empty(&host->cold.jobs)) {
        struct cold_job *job = CONTAINER_OF(host->cold.jobs.next, struct cold_job, link);
        while (!list_empty(&job->parked))
            parked_free(host, CONTAINER_OF(job->parked.next, struct parked, by_queue));
        job_free(job);
    }
    ASSERT(host->cold.parked_count == 0 && host->cold.parked_bytes == 0);
}
