/* Rows come back into memory where there is room: a table that lost rows to eviction, or that was
 * not loaded because a snapshot was large, becomes complete again, so that absences are known and
 * nothing waits for the disk. One replica of a worker at a time, one piece of WARM_ROWS rows after
 * the other, read on LANE_READ; only while memory is far from its limit and nothing was evicted
 * for WARM_AFTER_US; at once after a start. Beside states that are copied a piece waits for
 * WARM_REST_US: who fills a node would read back all that it writes, and put it into tables,
 * as fast as that comes. What was read before a flush is read again, as in cold.c. */
#include "partition/host_internal.h"

enum {
    WARM_ROWS = 2048,
    WARM_BYTES = 1 << 20,
    WARM_AFTER_US = 5 * 1000 * 1000,
    WARM_REST_US = 60 * 1000,
    WARM_COPIES_US = 1000 * 1000, /* since the last piece of a state */
};

struct warm_job {
    struct world_job job;
    struct world_timer timer; /* of a rest */
    struct partition_host *host;
    struct engine *engine;
    struct group_id group;
    struct replica_id replica;
    bool running;
    uint64_t evictions, flush_generation, cold_generation;
    struct buffer from; /* the next key */
    uint8_t to[2];
    struct buffer rows; /* u32 size, key | u32 size, stored value */
    bool whole;         /* the range was read to its end */
    enum status status;
};

static void warm_run(struct world_job *job)
{
    struct warm_job *warm = job->context;
    struct writer writer = writer_make(&warm->rows);
    struct bytes key, stored;
    struct engine_iterator *iterator =
        engine_iterate(warm->engine, buffer_bytes(&warm->from), bytes_make(warm->to, 2));
    buffer_clear(&warm->rows);
    warm->whole = true;
    for (uint32_t i = 0; engine_iterator_next(warm->engine, iterator, &key, &stored); i++) {
        if (i > 0 && (i == WARM_ROWS || buffer_size(&warm->rows) > WARM_BYTES)) {
            warm->whole = false;
            break;
        }
        write_u32(&writer, (uint32_t)key.size);
        write_bytes(&writer, key);
        write_u32(&writer, (uint32_t)stored.size);
        write_bytes(&writer, stored);
    }
    warm->status = engine_iterator_close(warm->engine, iterator, NULL);
}

static void warm_free(struct partition_host *host)
{
    if (host->warm == NULL) return;
    world_timer_stop(host->world, &host->warm->timer);
    buffer_free(&host->warm->from);
    buffer_free(&host->warm->rows);
    memory_free(host->warm);
    host->warm = NULL;
}

static bool may_warm(const struct partition_host *host, const struct replica *replica)
{
    return !replica->halted && replica->receive == NULL && replica->flushed <= replica->applied &&
           !row_table_complete(replica->table) && memory_allows_loading(host, replica);
}

static struct replica *warm_replica(const struct warm_job *warm)
{
    struct replica *replica = host_replica(warm->host, warm->group);
    bool same = replica != NULL && replica_id_equal(replica->id, warm->replica) &&
                may_warm(warm->host, replica) &&
                replica->cold_generation == warm->cold_generation &&
                row_table_evictions(replica->table) == warm->evictions;
    return same ? replica : NULL;
}

static void warm_step(struct warm_job *warm, const struct replica *replica)
{
    if (warm->host->stopping) {
        warm_free(warm->host);
        return;
    }
    warm->engine = warm->host->options.engines[replica->store];
    warm->flush_generation = row_table_flush_generation(replica->table);
    warm->running = true;
    world_job_start(warm->host->world, LANE_READ, &warm->job);
}

static void rest_is_over(struct world_timer *timer)
{
    struct warm_job *warm = timer->context;
    struct replica *replica = warm_replica(warm);

    if (replica == NULL)
        warm_free(warm->host);
    else
        warm_step(warm, replica);
}

static void next_piece(struct warm_job *warm, const struct replica *replica)
{
    struct partition_host *host = warm->host;
    uint64_t copied_at = host->copying.copied_at;

    if (copied_at == 0 || world_now(host->world) >= copied_at + WARM_COPIES_US) {
        warm_step(warm, replica);
        return;
    }
    SOMETIMES(host->world, "rows came back into memory slowly, beside states");
    world_timer_start(host->world, &warm->timer, WARM_REST_US);
}

static bool load_rows(struct warm_job *warm, struct replica *replica)
{
    struct reader reader = reader_make(buffer_bytes(&warm->rows));
    struct bytes key = bytes_make(NULL, 0), value;
    struct row_header header;
    while (reader_left(&reader) > 0) {
        key = read_bytes(&reader, read_u32(&reader));
        struct bytes stored = read_bytes(&reader, read_u32(&reader));
        if (row_value_decode(stored, &header, &value)) return false;
        row_table_load(replica->table, key, &header, value);
    }
    buffer_clear(&warm->from);
    buffer_append(&warm->from, key);
    buffer_append(&warm->from, bytes_make("\0", 1));
    return true;
}

static void warm_done(struct world_job *job)
{
    struct warm_job *warm = job->context;
    struct partition_host *host = warm->host;
    struct replica *replica = warm_replica(warm);
    warm->running = false;
    if (replica == NULL || warm->status) {
        warm_free(host);
        return;
    }
    if (row_table_flush_generation(replica->table) != warm->flush_generation) {
        warm_step(warm, replica); /* the same piece again */
        return;
    }
    if (!load_rows(warm, replica)) {
        warm_free(host);
        return;
    }
    if (!warm->whole) {
        memory_measure(host);
        if (may_warm(host, replica))
            next_piece(warm, replica);
        else
            warm_free(host);
        return;
    }
    row_table_set_complete(replica->table);
    SOMETIMES(host->world, "a table became complete again");
    warm_free(host);
}

/* Every slow tick. */
void warm_tick(struct partition_host *host, uint64_t now)
{
    if (host->warm != NULL || host->memory.incomplete == 0 || host->stopping) return;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL) continue;
        uint64_t evictions = row_table_evictions(replica->table);
        if (evictions != replica->evictions_seen || replica->evicted_at == 0) {
            replica->evictions_seen = evictions;
            replica->evicted_at = now;
        }
        bool calm = evictions == 0 || now - replica->evicted_at >= WARM_AFTER_US;
        if (!calm || !may_warm(host, replica)) continue;
        struct warm_job *warm = memory_allocate_zero(sizeof(*warm));
        warm->job = (struct world_job){.run = warm_run, .done = warm_done, .context = warm};
        warm->timer = (struct world_timer){.fire = rest_is_over, .context = warm};
        warm->host = host;
        warm->group = replica->group;
        warm->replica = replica->id;
        warm->evictions = evictions;
        warm->cold_generation = replica->cold_generation;
        buffer_init(&warm->from, SIZE_MAX / 2);
        buffer_init(&warm->rows, SIZE_MAX / 2);
        uint8_t from[2];
        replica_row_range(replica, from, warm->to);
        buffer_append(&warm->from, bytes_make(from, 2));
        host->warm = warm;
        warm_step(warm, replica);
        return;
    }
}

bool warm_is_idle(const struct partition_host *host)
{
    return host->warm == NULL || !host->warm->running;
}

void warm_close(struct partition_host *host)
{
    warm_free(host);
}
