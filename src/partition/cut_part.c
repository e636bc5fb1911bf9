/* cut_part.c - the rows of a partition as of one entry of its log: how they are kept, and let go.
 *
 * Rows that are only in memory are copied into a table of the part's own while the live one goes
 * on (row_table_cut.c). What the engine has is seen by an iterator. If a flush is on its way to the
 * engine that began before this entry, the iterator is made when it has ended: what it brings is of
 * this entry or earlier, and rows that become clean meanwhile, and the copying passes by, are in
 * it. A flush that begins later leaves the replica out until then (cut_holds_flush()). */
#include "partition/cut_internal.h"

#include "base/assert.h"

enum {
    ITERATOR_WORK = 64, /* what one costs to make, in rows copied */
    TURN_WORK = 1024,   /* in a turn of the loop: about a millisecond */
    TURN_PAUSE_US = 2000,
    EFFECTS_MAX = 64, /* one, of a cut */
};

struct cut_part *cut_part_find(const struct replica *replica, uint64_t cut)
{
    for (struct list *at = replica->cuts.next; at != &replica->cuts; at = at->next) {
        struct cut_part *part = CONTAINER_OF(at, struct cut_part, link);
        if (part->cut == cut) return part;
    }
    return NULL;
}

uint64_t cut_count(const struct replica *replica)
{
    uint64_t count = 0;

    for (struct list *at = replica->cuts.next; at != &replica->cuts; at = at->next)
        count++;
    return count;
}

uint64_t cut_bytes(const struct replica *replica)
{
    uint64_t bytes = 0;

    for (struct list *at = replica->cuts.next; at != &replica->cuts; at = at->next) {
        const struct cut_part *part = CONTAINER_OF(at, struct cut_part, link);
        bytes += part->running ? part->bytes : row_table_bytes(part->table);
    }
    return bytes;
}

void cuts_count(const struct partition_host *host, uint64_t *ret_parts, uint64_t *ret_bytes)
{
    *ret_parts = *ret_bytes = 0;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        const struct replica *replica = host->replicas[i];
        if (replica == NULL || list_empty(&replica->cuts)) continue;
        *ret_parts += cut_count(replica);
        *ret_bytes += cut_bytes(replica);
    }
}

bool cut_holds_flush(const struct replica *replica)
{
    for (struct list *at = replica->cuts.next; at != &replica->cuts; at = at->next) {
        const struct cut_part *part = CONTAINER_OF(at, struct cut_part, link);
        if (part->stage <= CUT_STAGE_WAITS) return true;
    }
    return false;
}

/* --- its rows --- */

/* The table does not hold all rows, so that a deletion of one that the engine has stays in it; but
 * it counts none yet. */
static void copy_deletion(struct row_table *table, const struct row_found *row)
{
    uint8_t service = row->key.data[2];
    uint32_t namespace = load_u32_be(row->key.data + 3);

    row_table_count_load(table, service, namespace, row_table_count(table, service, namespace) + 1);
    row_table_delete(table, row->key, row->header.version, 0);
}

static void on_row(void *context, const struct row_found *row)
{
    struct cut_part *part = context;

    if (row->tombstone)
        copy_deletion(part->table, row);
    else
        row_table_put(part->table, row->key, &row->header, row->value, 0);
}

static void on_replaced(void *context, const struct row_found *row)
{
    struct cut_part *part = context;

    SOMETIMES(part->host->world, "a row was replaced while a cut copied");
    if (!PLANTED(part->host->world, "cut_copies_no_replaced")) on_row(context, row);
}

static void take_drop(void *context, uint8_t service, uint32_t namespace, uint64_t index)
{
    struct cut_part *part = context;

    if (index <= part->index) row_table_drop_load(part->table, service, namespace, index);
}

static void take_count(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    struct cut_part *part = context;
    size_t size = (part->count_count + 1) * sizeof(*part->counts);

    part->counts = memory_resize(part->counts, size);
    part->counts[part->count_count++] =
        (struct cut_count){.service = service, .namespace = namespace, .rows = rows};
}

static void load_counts(struct cut_part *part)
{
    for (size_t i = 0; i < part->count_count; i++)
        row_table_count_load(part->table, part->counts[i].service, part->counts[i].namespace,
                             part->counts[i].rows);
}

static void look_at_engine(struct cut_part *part)
{
    struct replica *replica = part->replica;
    uint8_t from[2], to[2];

    /* A state that comes in brings what is later, and ends the part. */
    if (part->iterator != NULL || part->host->stopping || replica->receive != NULL) return;
    if (!flush_is_in_engine(&part->host->stores[replica->store]) || drop_is_of(replica)) return;
    ASSERT(replica->flushed <= part->index); /* flushes wait for it */
    replica_row_range(replica, from, to);
    part->iterator = engine_iterate(part->engine, bytes_make(from, 2), bytes_make(to, 2));
}

/* Copied, and maybe seen by the iterator. */
static void go_on(struct cut_part *part)
{
    look_at_engine(part);
    if (part->iterator == NULL) {
        SOMETIMES(part->host->world, "a cut waited for a flush");
        world_timer_start(part->host->world, &part->timer, CUT_LOOK_US);
        return;
    }
    world_timer_stop(part->host->world, &part->timer);
    load_counts(part);
    part->stage = CUT_STAGE_LOADS;
    struct partition_host *host = part->host;
    uint32_t store = part->replica->store;
    cut_load_begin(part);
    if (host->stores[store].flush_wanted) flush_store(host, store);
}

static void copy_step(struct cut_part *part, uint32_t *work)
{
    struct row_table *table = part->replica->table;

    if (part->iterator == NULL) {
        look_at_engine(part);
        *work -= *work > ITERATOR_WORK ? ITERATOR_WORK : *work - 1;
    }
    if (row_table_cut_step(table, &part->copies, work)) return;
    row_table_cut_end(table, &part->copies);
    list_remove(&part->copying);
    part->stage = CUT_STAGE_WAITS;
    go_on(part);
}

/* A cut comes to all partitions at once, so what all of them do in a turn is bounded together, and
 * there is a pause behind each: clients' writes, which have just been held back, go first, and
 * processors that nodes share stay free for the next cut, too. */
void cut_copy_turn(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    uint32_t work = MAYBE(host->world, "a short step of a cut") ? 1 : TURN_WORK;

    while (work > 0 && !list_empty(&host->cuts_copying))
        copy_step(CONTAINER_OF(host->cuts_copying.next, struct cut_part, copying), &work);
    if (!list_empty(&host->cuts_copying)) world_timer_start(host->world, timer, TURN_PAUSE_US);
}

/* Nobody closes what was opened through a node that was killed. */
static bool opener_is_over(const struct cut_part *part)
{
    const struct host_options *options = &part->host->options;

    return options->gateway_is_over != NULL &&
           options->gateway_is_over(options->context, part->opener);
}

/* Whoever applies the beginning only later, or again, is to find the end in the log, too: by clocks
 * it would have to guess, and what was guessed is not logged. Where it cannot be (a full log, a
 * leader that is not ready), replicas end theirs by themselves. */
static void log_end(struct replica *replica, uint64_t cut, uint64_t now)
{
    struct entry_header header = {.attempt = 1}; /* of the system: node 0 */
    struct buffer effects;

    if (!replica_may_evaluate(replica, now) || space_refuses_all(replica)) return;
    header.entry_time = replica_time(replica, now);
    buffer_init(&effects, EFFECTS_MAX);
    bool encoded = effect_cut_encode(&effects, false, cut, 0);
    ASSERT(encoded);
    execute_propose(replica, RAFT_ENTRY_NORMAL, &header, buffer_bytes(&effects));
    buffer_free(&effects);
}

/* Of one that is open: whether it is at the end of its life, now and later. */
static void watch(struct cut_part *part)
{
    struct world *world = part->host->world;
    uint64_t now = world_now(world);
    uint64_t left = part->expires > now ? part->expires - now : 0;

    if (left > 0 && !opener_is_over(part)) {
        world_timer_start(world, &part->timer,
                          left < CUT_OPENER_LOOK_US ? left : CUT_OPENER_LOOK_US);
        return;
    }
    if (left == 0)
        SOMETIMES(world, "a cut came to the end of its life");
    else
        SOMETIMES(world, "a cut ended with the life of its opener's node");
    if (left > 0 || !part->guessed) log_end(part->replica, part->cut, now);
    cut_part_end(part);
}

static void on_timer(struct world_timer *timer)
{
    struct cut_part *part = timer->context;

    if (part->stage == CUT_STAGE_WAITS)
        go_on(part);
    else
        watch(part);
}

void cut_flush_ended(struct partition_host *host, uint32_t store)
{
    struct list *head = &host->stores[store].replicas;

    for (struct list *at = head->next; at != head; at = at->next) {
        struct replica *replica = CONTAINER_OF(at, struct replica, by_store);
        for (struct list *cut = replica->cuts.next; cut != &replica->cuts; cut = cut->next) {
            struct cut_part *part = CONTAINER_OF(cut, struct cut_part, link);
            if (part->stage == CUT_STAGE_WAITS) go_on(part);
        }
    }
}

/* --- life --- */

/* What is left of it: a start that applies the entry again may come late. By the clock, that is
 * known only as well as clocks are: the time of entries follows one that was set over hours (D3).
 * So what comes while the node runs is taken for new. */
static int64_t lifetime_left(const struct replica *replica, int64_t lifetime, uint64_t index,
                             uint64_t now)
{
    if (index > replica->recovered_last) return lifetime;
    int64_t age = wall_trusted(replica->host, now) - replica->applied_time;

    return age <= 0 ? lifetime : lifetime - age;
}

void cut_part_begin(struct replica *replica, const struct effect *effect, struct gateway_id opener,
                    uint64_t index)
{
    struct partition_host *host = replica->host;
    uint64_t now = world_now(host->world), cut = effect->cut;
    int64_t left = lifetime_left(replica, effect->lifetime, index, now);
    bool may = left > 0 && left <= CUT_LIFETIME_MAX_US && cut_count(replica) < CUTS_MAX &&
               replica->flushed <= index; /* else the engine is beyond it */

    if (!may || cut_part_find(replica, cut) != NULL || replica->receive != NULL || host->stopping ||
        host->closing)
        return;
    struct cut_part *part = memory_allocate_zero(sizeof(*part));
    part->replica = replica;
    part->host = host;
    part->slot_first = replica->slot_first;
    part->slot_last = replica->slot_last;
    part->cut = cut;
    part->opener = opener;
    part->index = index;
    part->time = replica->applied_time;
    part->expires = now + (uint64_t)left;
    part->guessed = index <= replica->recovered_last;
    part->timer = (struct world_timer){.fire = on_timer, .context = part};
    part->copies = (struct row_cut){.context = part, .on_row = on_row, .on_replaced = on_replaced};
    part->engine = host->options.engines[replica->store];
    part->table = row_table_make();
    row_table_set_incomplete(part->table);
    buffer_init(&part->state, SIZE_MAX / 2);
    list_init(&part->reads);
    list_insert_before(&replica->cuts, &part->link);
    row_table_drops_each(replica->table, part, take_drop);
    row_table_counts_each(replica->table, part, take_count);
    row_table_cut_begin(replica->table, &part->copies, index);
    if (list_empty(&host->cuts_copying))
        world_timer_start(host->world, &host->cut_copy_timer, TURN_PAUSE_US);
    list_insert_before(&host->cuts_copying, &part->copying);
    host->statistics.cut_parts++;
}

static void release(struct cut_part *part)
{
    if (part->iterator != NULL) engine_iterator_close(part->engine, part->iterator, NULL);
    part->iterator = NULL;
    row_table_free(part->table);
    part->table = NULL;
}

void cut_part_free(struct cut_part *part)
{
    for (size_t i = 0; i < part->answer_count; i++) { /* the process is killed while a job runs */
        buffer_free(&part->answers[i].reply);
        parked_answered(part->host, part->answers[i].parked, 0);
    }
    memory_free(part->answers);
    if (part->table != NULL) release(part);
    list_remove(&part->link);
    buffer_free(&part->state);
    memory_free(part->counts);
    memory_free(part);
}

static void release_run(struct world_job *job)
{
    release(job->context);
}

static void release_done(struct world_job *job)
{
    struct cut_part *part = job->context;

    part->host->snapshot_jobs--;
    cut_part_free(part);
}

void cut_part_end(struct cut_part *part)
{
    struct partition_host *host = part->host;

    world_timer_stop(host->world, &part->timer);
    if (part->stage == CUT_STAGE_COPIES) row_table_cut_end(part->replica->table, &part->copies);
    list_remove(&part->copying);
    list_remove(&part->link); /* what is answered may ask again */
    while (!list_empty(&part->reads)) {
        struct parked *parked = CONTAINER_OF(part->reads.next, struct parked, by_queue);
        list_remove(&parked->by_queue);
        cut_answer_now(host, parked, CUT_GONE);
    }
    part->replica = NULL;
    if (host->closing) {
        if (part->running) host->snapshot_jobs--;
        cut_part_free(part);
        return;
    }
    list_insert_before(&host->cuts_ended, &part->link);
    if (part->running) return; /* its job frees it */
    /* To free many rows takes milliseconds. */
    part->job = (struct world_job){.run = release_run, .done = release_done, .context = part};
    host->snapshot_jobs++;
    world_job_start(host->world, LANE_READ, &part->job);
}

/* A process that is killed: no job of its own ends any more. */
void cuts_close(struct partition_host *host)
{
    while (!list_empty(&host->cuts_ended)) {
        host->snapshot_jobs--;
        cut_part_free(CONTAINER_OF(host->cuts_ended.next, struct cut_part, link));
    }
}

void cut_table_gone(struct replica *replica)
{
    for (struct list *at = replica->cuts.next; at != &replica->cuts;) {
        struct cut_part *part = CONTAINER_OF(at, struct cut_part, link);
        at = at->next;
        if (part->stage <= CUT_STAGE_WAITS) cut_part_end(part);
    }
}

void cut_replica_gone(struct replica *replica)
{
    while (!list_empty(&replica->cuts))
        cut_part_end(CONTAINER_OF(replica->cuts.next, struct cut_part, link));
    replica->freeze = (struct replica_freeze){.cut = 0};
}
