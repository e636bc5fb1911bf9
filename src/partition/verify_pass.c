/* All rows of the groups that are led here, range by range, compared with those of the other
 * members (verify.h). A range is as much as one look may take: the engine is read from its begin
 * on, ahead, for where that ends, and memory counted. Limited in rate, except for groups in which a
 * difference was found already; those go first. */
#include "partition/verify.h"

enum { POLL_US = 200 * 1000 };

struct verify_plan {
    struct world_job job;
    struct partition_host *host;
    uint32_t store;
    struct engine *engine;
    struct engine_iterator *iterator;
    struct buffer from, end; /* end empty: no row is behind */
    uint32_t rows_max, rows;
    uint64_t bytes;
    enum status status;
    struct error error;
};

static void go_on(struct partition_host *host, uint64_t after_us)
{
    world_timer_stop(host->world, &host->verify.timer);
    world_timer_start(host->world, &host->verify.timer, after_us);
}

static struct replica *pass_replica(struct partition_host *host)
{
    struct host_verify *pass = &host->verify;
    struct replica *replica = host_replica(host, pass->group);
    bool same = pass->replica.value != 0 && replica != NULL && !replica->halted &&
                replica_id_equal(replica->id, pass->replica) && replica->was_leader;
    return same ? replica : NULL;
}

/* --- which group -------------------------------------------------------------------------- */

static bool is_urgent(const struct replica *replica)
{
    return replica->verify != NULL && replica->verify->urgent;
}

static struct replica *find_next(struct partition_host *host)
{
    struct host_verify *pass = &host->verify;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        bool leads = replica != NULL && !replica->halted && replica->was_leader;
        if (leads && is_urgent(replica)) return replica;
    }
    while (pass->full && pass->next < host->replicas_capacity) {
        struct replica *replica = host->replicas[pass->next++];
        if (replica != NULL && !replica->halted && replica->was_leader) return replica;
    }
    return NULL;
}

static void group_begin(struct host_verify *pass, struct replica *replica)
{
    uint8_t from[2], to[2];
    pass->group = replica->group;
    pass->replica = replica->id;
    pass->first = true;
    pass->differed = false;
    pass->tries = 0;
    replica_row_range(replica, from, to);
    buffer_clear(&pass->from);
    buffer_append(&pass->from, bytes_make(from, sizeof(from)));
    verify_of(replica)->urgent = false;
}

static void group_end(struct host_verify *pass)
{
    pass->replica.value = 0;
}

static void pass_end(struct partition_host *host)
{
    bool full = host->verify.full;
    host->verify.on = host->verify.full = false;
    if (!full) return;
    SOMETIMES(host->world, "all rows of the groups led here were compared");
    if (host->options.events.on_verified != NULL)
        host->options.events.on_verified(host->options.context);
}

/* --- a range: its end --------------------------------------------------------------------- */

static void plan_run(struct world_job *job)
{
    struct verify_plan *plan = job->context;
    struct bytes key, stored;
    engine_iterator_seek(plan->engine, plan->iterator, buffer_bytes(&plan->from));
    while (engine_iterator_next(plan->engine, plan->iterator, &key, &stored)) {
        if (plan->rows >= plan->rows_max || plan->bytes >= VERIFY_RANGE_BYTES) {
            buffer_append(&plan->end, key);
            break;
        }
        plan->rows++;
        plan->bytes += key.size + stored.size;
    }
    plan->status = engine_iterator_error(plan->engine, plan->iterator, &plan->error);
}

struct counted {
    uint32_t rows, rows_max;
    uint64_t bytes;
    struct buffer *end;
};

static bool count_row(void *context, const struct row_found *row)
{
    struct counted *counted = context;
    if (counted->rows >= counted->rows_max || counted->bytes >= VERIFY_RANGE_BYTES) {
        buffer_clear(counted->end);
        buffer_append(counted->end, row->key);
        return false;
    }
    counted->rows++;
    counted->bytes += row->key.size + row->value.size;
    return true;
}

static void plan_free(struct verify_plan *plan)
{
    if (plan->iterator != NULL) engine_iterator_close(plan->engine, plan->iterator, NULL);
    buffer_free(&plan->from);
    buffer_free(&plan->end);
    memory_free(plan);
}

static void ask_range(struct partition_host *host, struct replica *replica,
                      struct verify_plan *plan)
{
    struct host_verify *pass = &host->verify;
    struct counted counted = {.rows_max = plan->rows_max, .end = &plan->end};
    uint8_t looks = VERIFY_LOOK_ROWS | (pass->first ? VERIFY_LOOK_STATE : 0);
    row_table_applied_each(replica->table, buffer_bytes(&plan->from), buffer_bytes(&plan->end),
                           &counted, count_row);
    buffer_clear(&pass->to);
    buffer_append(&pass->to, buffer_bytes(&plan->end));
    pass->range_bytes = plan->bytes;
    bool begun =
        verify_round_begin(replica, looks, buffer_bytes(&pass->from), buffer_bytes(&pass->to));
    if (!begun) go_on(host, POLL_US);
}

static void plan_done(struct world_job *job)
{
    struct verify_plan *plan = job->context;
    struct partition_host *host = plan->host;
    host->verify.jobs--;
    host->verify.plan = NULL;
    struct replica *replica = pass_replica(host);
    uint32_t store = plan->store;
    enum status status = plan->status;
    struct error error = plan->error;
    bool sound = status == STATUS_OK && host->verify.on;
    if (sound && replica != NULL)
        ask_range(host, replica, plan);
    else if (host->verify.on && !host->stopping)
        go_on(host, POLL_US);
    plan_free(plan);
    if (status == STATUS_CORRUPT) store_damaged(host, store, &error);
}

static void plan_start(struct partition_host *host, struct replica *replica)
{
    struct host_verify *pass = &host->verify;
    struct verify_plan *plan = memory_allocate_zero(sizeof(*plan));
    uint8_t from[2], to[2];
    plan->job = (struct world_job){.run = plan_run, .done = plan_done, .context = plan};
    plan->host = host;
    plan->store = replica->store;
    plan->engine = host->options.engines[replica->store];
    plan->rows_max = MAYBE(host->world, "compare a short range") ? 3 : VERIFY_RANGE_ROWS;
    buffer_init(&plan->from, SIZE_MAX / 2);
    buffer_init(&plan->end, SIZE_MAX / 2);
    buffer_append(&plan->from, buffer_bytes(&pass->from));
    replica_row_range(replica, from, to);
    plan->iterator = engine_iterate(plan->engine, bytes_make(from, 2), bytes_make(to, 2));
    pass->plan = plan;
    pass->jobs++;
    world_job_start(host->world, LANE_READ, &plan->job);
}

/* --- a range: what became of it ----------------------------------------------------------- */

/* Each node reads for its own leaders and, as a follower, for those of others. */
static uint64_t pause_after(const struct partition_host *host, const struct replica *replica)
{
    const struct host_verify *pass = &host->verify;
    uint64_t members = raft_config(replica->raft)->incoming_count;
    const struct verify *verify = replica->verify;
    bool suspicious = verify != NULL && (verify->urgent || verify->suspect_count > 0);
    uint64_t rate = pass->differed || suspicious || !pass->full ? VERIFY_URGENT_RATE : pass->rate;
    uint64_t pause = rate > 0 ? pass->range_bytes * members * 1000 * 1000 / rate : 0;
    return pause > 1000 ? pause : 1000;
}

static void range_over(struct host_verify *pass)
{
    pass->tries = 0;
    pass->first = false;
    buffer_clear(&pass->from);
    buffer_append(&pass->from, buffer_bytes(&pass->to));
    if (buffer_size(&pass->to) == 0) group_end(pass);
}

void verify_pass_range_done(struct replica *replica, enum verify_outcome outcome)
{
    struct partition_host *host = replica->host;
    struct host_verify *pass = &host->verify;
    if (!pass->on || !replica_id_equal(replica->id, pass->replica)) return;
    uint64_t pause = replica->halted ? 1000 : pause_after(host, replica);
    switch (outcome) {
    case VERIFY_EQUAL:
        range_over(pass);
        break;
    case VERIFY_AGAIN:
        if (++pass->tries < VERIFY_TRIES_MAX &&
            !MAYBE(host->world, "leave a range to the next pass after one try"))
            break;
        host->statistics.verify_skipped++;
        SOMETIMES(host->world, "a comparison of rows was left for the next pass");
        group_end(pass);
        break;
    case VERIFY_DIFFERS: /* until all that answer are equal */
        pass->differed = true;
        if (replica->verify != NULL) replica->verify->urgent = true;
        range_over(pass);
        break;
    case VERIFY_GIVEN_UP:
        group_end(pass);
        break;
    }
    if (!host->stopping) go_on(host, pause);
}

static void pass_timer_fired(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    struct host_verify *pass = &host->verify;
    if (!pass->on || host->stopping || host->closing || pass->plan != NULL) return;
    struct replica *replica = pass_replica(host);
    if (replica != NULL && replica->verify != NULL && replica->verify->round != NULL) {
        go_on(host, POLL_US); /* its end comes here */
        return;
    }
    if (replica == NULL) {
        group_end(pass);
        replica = find_next(host);
        if (replica == NULL) {
            pass_end(host);
            return;
        }
        group_begin(pass, replica);
    }
    bool may =
        replica->was_ready && replica->receive == NULL && !host->stores[replica->store].damaged;
    if (may) {
        plan_start(host, replica);
    } else if (++pass->tries < VERIFY_TRIES_MAX) {
        go_on(host, POLL_US);
    } else {
        host->statistics.verify_skipped++;
        group_end(pass);
        go_on(host, 0);
    }
}

void verify_pass_urgent(struct partition_host *host)
{
    if (host->verify.on || host->stopping) return;
    host->verify.on = true;
    go_on(host, 0);
}

void host_verify(struct partition_host *host, uint64_t rate)
{
    struct host_verify *pass = &host->verify;
    pass->full = true;
    pass->rate = rate;
    pass->next = 0;
    if (pass->on) return;
    pass->on = true;
    if (!host->stopping) go_on(host, 0);
}

void verify_open(struct partition_host *host)
{
    struct host_verify *pass = &host->verify;
    list_init(&pass->looks);
    buffer_init(&pass->from, SIZE_MAX / 2);
    buffer_init(&pass->to, SIZE_MAX / 2);
    pass->timer = (struct world_timer){.fire = pass_timer_fired, .context = host};
}

void verify_close(struct partition_host *host)
{
    struct host_verify *pass = &host->verify;
    world_timer_stop(host->world, &pass->timer);
    if (pass->plan != NULL) plan_free(pass->plan); /* killed, in the simulator */
    verify_looks_free(host);
    buffer_free(&pass->from);
    buffer_free(&pass->to);
}
