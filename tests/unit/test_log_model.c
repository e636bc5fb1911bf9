/* The log against a model, at random: thousands of operations, crashes at any change of the
 * disk, in recovery too.
 *
 * Method: every operation of a queue is remembered with its position. After a crash what was
 * recovered must be the model after some prefix of the operations, at least as long as what
 * was reported durable (so nothing durable is lost), and exactly that prefix (so nothing void
 * comes back). Groups of different queues may have prefixes of their own. */
#include <stdlib.h>

#include "base/assert.h"
#include "log_fixture.h"

enum {
    QUEUES = 2,
    GROUPS = 6, /* group g belongs to queue g % QUEUES */
    ENTRIES_MAX = 600,
    PENDING_MAX = 4096,
    BODY_MAX = 150 * 1024,
    /* With a bound: */
    BOUNDED_ENTRIES_MAX = 40, /* of a group: all of them are well below a half of it */
    LAZY_GROUP = 5,           /* hardly ever gives up what it has */
};

struct model_group {
    uint64_t replica; /* 0: none */
    struct log_state state;
    uint64_t base, base_term, last;
    uint64_t terms[ENTRIES_MAX]; /* of base + 1 + i; the body follows from index and term */
};

enum op_type { OP_STATE, OP_ENTRY, OP_TRUNCATE, OP_SNAPSHOT, OP_RELEASE, OP_REMOVED };

struct op {
    enum op_type type;
    uint32_t group;
    uint64_t replica, index, term, position;
    struct log_state state;
};

struct model_queue {
    struct log_queue *queue;
    uint64_t durable;               /* reported */
    struct op pending[PENDING_MAX]; /* not known durable */
    size_t pending_count;
};

struct model {
    struct fake_disk *disk;
    struct log_options options;
    struct log *log;
    struct random random;
    struct model_queue queues[QUEUES];
    struct model_group sure[GROUPS]; /* what was reported durable */
    struct model_group now[GROUPS];  /* with all pending operations */
    uint64_t next_replica;
    uint8_t *body;
    uint64_t crashes, recoveries_cut, prefixes_between, votes_adopted, copied;
};

/* --- the model ---------------------------------------------------------------------------- */

static void model_apply(struct model_group *groups, const struct op *op)
{
    struct model_group *group = &groups[op->group];

    if (op->type == OP_STATE) {
        if (group->replica != op->replica) *group = (struct model_group){.replica = op->replica};
        group->state = op->state;
        return;
    }
    assert_int_equal(group->replica, op->replica);
    switch (op->type) {
    case OP_ENTRY:
        assert_int_equal(op->index, group->last + 1);
        group->terms[op->index - group->base - 1] = op->term;
        group->last = op->index;
        break;
    case OP_TRUNCATE:
        group->last = op->index - 1;
        break;
    case OP_SNAPSHOT:
        group->base = group->last = op->index;
        group->base_term = op->term;
        break;
    case OP_RELEASE:
        if (op->index <= group->base) break;
        memmove(group->terms, group->terms + (op->index - group->base),
                (group->last - op->index) * sizeof(group->terms[0]));
        group->base = op->index;
        group->base_term = op->term;
        break;
    case OP_REMOVED:
        *group = (struct model_group){0};
        break;
    case OP_STATE:
        break;
    }
}

static size_t body_size(uint64_t group, uint64_t index, uint64_t term)
{
    uint64_t draw = (index * 31 + term * 7 + group * 3) % 100;
    if (draw < 3) return 100 * 1024;
    return draw < 20 ? 5000 : (size_t)draw;
}

static struct bytes body_of(struct model *model, uint64_t group, uint64_t index, uint64_t term)
{
    size_t size = body_size(group, index, term);
    memset(model->body, (int)(index * 17 + term * 5 + group), size);
    return bytes_make(model->body, size);
}

/* --- operations --------------------------------------------------------------------------- */

static void perform(struct model *model, struct op op)
{
    struct model_queue *queue = &model->queues[op.group % QUEUES];
    struct group_id group = {op.group};
    struct replica_id replica = {op.replica};
    struct log_entry entry = {.index = op.index, .term = op.term, .type = (uint8_t)op.group};

    ASSERT(queue->pending_count < PENDING_MAX);
    switch (op.type) {
    case OP_STATE:
        op.position = log_append_state(queue->queue, group, replica, &op.state);
        break;
    case OP_ENTRY:
        entry.body = body_of(model, op.group, op.index, op.term);
        op.position = log_append_entry(queue->queue, group, replica, &entry);
        break;
    case OP_TRUNCATE:
        op.position = log_append_truncate(queue->queue, group, replica, op.index);
        break;
    case OP_SNAPSHOT:
        op.position = log_append_snapshot(queue->queue, group, replica, op.index, op.term);
        break;
    case OP_REMOVED:
        op.position = log_append_removed(queue->queue, group, replica);
        break;
    case OP_RELEASE:
        log_release(queue->queue, group, replica, op.index, op.term);
        op.position = UINT64_MAX; /* durable with the next one that has a position */
        break;
    }
    queue->pending[queue->pending_count++] = op;
    model_apply(model->now, &op);
}

static void perform_random(struct model *model)
{
    struct random *random = &model->random;
    uint32_t id = (uint32_t)random_below(random, GROUPS);
    struct model_group *group = &model->now[id];
    struct op op = {.group = id, .replica = group->replica};
    uint64_t draw = random_below(random, 100);
    bool has_entries = group->last > group->base;
    bool bounded = model->options.bytes_max != 0;
    uint64_t entries_max = bounded ? BOUNDED_ENTRIES_MAX : ENTRIES_MAX - 1;
    bool lazy = bounded && id == LAZY_GROUP;
    bool keeps = lazy && !random_chance(random, 1, 20);
    bool is_short = log_pressure(model->log) >= LOG_PRESSURE_SHORT;
    if (is_short && has_entries && draw >= 24) draw = 23; /* what its users then do */
    if (is_short) lazy = keeps = false;
    if (keeps && (draw == 0 || (draw >= 10 && draw < 24))) draw = 99; /* an entry */

    if (group->replica == 0 || draw == 0) { /* born, with or without a removal before */
        op.type = OP_STATE;
        op.replica = ++model->next_replica;
        op.state.term = random_below(random, 5);
    } else if (draw < 10) {
        op.type = OP_STATE;
        op.state = group->state;
        op.state.term += random_below(random, 2);
        bool vote_free = op.state.term > group->state.term || group->state.vote.value == 0;
        if (op.state.term > group->state.term) op.state.vote.value = 0;
        if (vote_free) op.state.vote.value = random_below(random, 4);
        op.state.commit = group->last;
    } else if (draw < 14 && has_entries) {
        op.type = OP_TRUNCATE;
        op.index = random_between(random, group->base + 1, group->last);
    } else if (draw == 14) {
        op.type = OP_SNAPSHOT;
        op.index = group->last + random_below(random, 50);
        op.term = group->state.term;
    } else if (draw == 15) {
        op.type = OP_REMOVED;
    } else if (lazy && group->last - group->base >= entries_max) {
        op.type = OP_TRUNCATE;
        op.index = group->last;
    } else if ((draw < 24 && has_entries && !lazy) || group->last - group->base >= entries_max) {
        op.type = OP_RELEASE;
        op.index = random_between(random, group->base + 1, group->last);
        op.term = group->terms[op.index - group->base - 1];
    } else {
        op.type = OP_ENTRY;
        op.index = group->last + 1;
        op.term = group->state.term;
    }
    perform(model, op);
}

/* --- checking ----------------------------------------------------------------------------- */

/* Moves what was reported durable from pending to sure. */
static void settle(struct model *model, struct model_queue *queue)
{
    size_t settled = 0;

    for (size_t i = 0; i < queue->pending_count; i++)
        if (queue->pending[i].position != UINT64_MAX &&
            queue->pending[i].position <= queue->durable)
            settled = i + 1;
    for (size_t i = 0; i < settled; i++)
        model_apply(model->sure, &queue->pending[i]);
    queue->pending_count -= settled;
    memmove(queue->pending, queue->pending + settled,
            queue->pending_count * sizeof(queue->pending[0]));
}

static void model_durable(void *context, uint64_t position)
{
    struct model_queue *queue = context;
    assert_true(position > queue->durable);
    queue->durable = position;
}

static const struct log_recovered *recovered_of(struct model *model, uint32_t group)
{
    const struct log_recovered *groups;
    size_t count;

    log_recovery(model->log, &groups, &count);
    for (size_t i = 0; i < count; i++)
        if (groups[i].group.value == group) return &groups[i];
    return NULL;
}

/* The vote is the model's, or one that was being written when the power went. */
static bool vote_agrees(struct model *model, uint32_t id, const struct model_group *group,
                        const struct log_recovered *recovered)
{
    const struct model_queue *queue = &model->queues[id % QUEUES];

    if (recovered->state.term == group->state.term &&
        recovered->state.vote.value == group->state.vote.value)
        return true;
    if (recovered->state.term < group->state.term) return false;
    for (size_t i = 0; i < queue->pending_count; i++) {
        const struct op *op = &queue->pending[i];
        if (op->type == OP_STATE && op->group == id && op->replica == group->replica &&
            op->state.term == recovered->state.term &&
            op->state.vote.value == recovered->state.vote.value)
            return true;
    }
    return false;
}

static bool group_agrees(struct model *model, uint32_t id, const struct model_group *group)
{
    const struct log_recovered *recovered = recovered_of(model, id);

    if (recovered == NULL || group->replica == 0) return recovered == NULL && group->replica == 0;
    if (recovered->replica.value != group->replica || recovered->base_index != group->base ||
        recovered->base_term != group->base_term ||
        recovered->entry_count != group->last - group->base ||
        recovered->state.commit != group->state.commit || !vote_agrees(model, id, group, recovered))
        return false;
    for (size_t i = 0; i < recovered->entry_count; i++) {
        const struct log_entry *entry = &recovered->entries[i];
        if (entry->index != group->base + 1 + i || entry->term != group->terms[i] ||
            entry->type != id)
            return false;
        if (!bytes_equal(entry->body, body_of(model, id, entry->index, entry->term))) return false;
    }
    return true;
}

static bool queue_agrees(struct model *model, size_t index)
{
    for (uint32_t id = (uint32_t)index; id < GROUPS; id += QUEUES)
        if (!group_agrees(model, id, &model->sure[id])) return false;
    return true;
}

/* Finds the prefix that was recovered and goes on from there. */
static void check_recovered(struct model *model)
{
    for (size_t i = 0; i < QUEUES; i++) {
        struct model_queue *queue = &model->queues[i];
        size_t kept = 0;
        while (!queue_agrees(model, i)) {
            if (kept == queue->pending_count)
                fail_msg("queue %zu: no prefix of the operations gives what was recovered", i);
            model_apply(model->sure, &queue->pending[kept++]);
        }
        model->recoveries_cut += kept < queue->pending_count;
        model->prefixes_between += kept > 0 && kept < queue->pending_count;
        for (uint32_t id = (uint32_t)i; id < GROUPS; id += QUEUES) {
            const struct log_recovered *recovered = recovered_of(model, id);
            if (recovered == NULL) continue;
            model->votes_adopted += model->sure[id].state.term != recovered->state.term;
            model->sure[id].state = recovered->state;
        }
        queue->pending_count = 0;
        queue->durable = 0;
    }
    memcpy(model->now, model->sure, sizeof(model->now));
    log_recovery_free(model->log);
}

/* --- the run ------------------------------------------------------------------------------ */

static void model_open(struct model *model)
{
    struct error error;

    for (;;) {
        if (random_chance(&model->random, 1, 3))
            model->disk->effects_left = random_below(&model->random, 20);
        enum status status = log_open(&model->disk->world, &model->options, &model->log, &error);
        if (status == STATUS_OK) break;
        if (!model->disk->dead) fail_msg("log_open: %s", error.text);
        fake_disk_crash(model->disk, random_u64(&model->random)); /* crashed while recovering */
    }
    model->disk->effects_left = UINT64_MAX;
    model->disk->dead = false;
    check_recovered(model);
    for (size_t i = 0; i < QUEUES; i++)
        model->queues[i].queue =
            log_queue_open(model->log, &model->disk->world, &model->queues[i], model_durable);
}

static void model_crash(struct model *model)
{
    for (size_t i = 0; i < QUEUES; i++)
        settle(model, &model->queues[i]);
    log_abandon(model->log);
    if (random_chance(&model->random, 1, 4))
        fake_disk_kill(model->disk);
    else
        fake_disk_crash(model->disk, random_u64(&model->random));
    model->crashes++;
    model_open(model);
}

static void model_close(struct model *model)
{
    for (size_t i = 0; i < QUEUES; i++) {
        assert_true(log_queue_idle(model->queues[i].queue));
        settle(model, &model->queues[i]);
        log_queue_close(model->queues[i].queue);
    }
    log_close(model->log);
}

/* What is needed is little: copied forward, it always fits. */
static void check_bound(struct model *model)
{
    struct log_statistics now;

    log_statistics(model->log, &now);
    if (now.copied_entries > model->copied) model->copied = now.copied_entries;
    if (model->options.bytes_max == 0 || model->disk->dead) return;
    assert_true(now.bytes_on_disk <= model->options.bytes_max + model->options.segment_size);
}

static void model_turn(struct model *model)
{
    uint64_t count = random_below(&model->random, 12);

    for (uint64_t i = 0; i < count; i++)
        perform_random(model);
    if (random_chance(&model->random, 1, 10))
        model->disk->effects_left = random_below(&model->random, 8);
    for (size_t i = 0; i < QUEUES; i++)
        if (random_chance(&model->random, 4, 5)) log_queue_submit(model->queues[i].queue);
    if (random_chance(&model->random, 4, 5)) fake_disk_run(model->disk);
    if (random_chance(&model->random, 1, 20)) fake_disk_pass(model->disk, 6000);
    for (size_t i = 0; i < QUEUES; i++)
        settle(model, &model->queues[i]);
    check_bound(model);
    if (model->disk->dead || random_chance(&model->random, 1, 30)) {
        model_crash(model);
    } else if (random_chance(&model->random, 1, 100)) {
        for (size_t i = 0; i < QUEUES; i++)
            log_queue_submit(model->queues[i].queue);
        fake_disk_run(model->disk);
        if (model->disk->dead) {
            model_crash(model);
            return;
        }
        model_close(model);
        model_open(model);
    }
}

static void run_seed(uint64_t seed, uint32_t turns, struct model *totals)
{
    struct model *model = memory_allocate_zero(sizeof(*model));

    model->disk = fake_disk_make();
    model->body = memory_allocate(BODY_MAX);
    random_seed(&model->random, seed);
    random_seed(&model->disk->random, seed + 1);
    model->disk->maybe_percent = random_chance(&model->random, 1, 2) ? 5 : 0;
    model->options = (struct log_options){.directory = "log",
                                          .cluster = {1, 2},
                                          .node = 3,
                                          .store = 4,
                                          .segment_size = LOG_SEGMENT_SIZE_MIN,
                                          .queue_bytes_max = 1 << 20,
                                          .bytes_max = seed % 4 < 2 ? 0 : 12 << 20,
                                          .writer_loops = seed % 2 ? 1 : 16};
    model_open(model);
    if (model->options.bytes_max != 0) turns *= 3;
    for (uint32_t turn = 0; turn < turns; turn++)
        model_turn(model);
    totals->crashes += model->crashes;
    totals->recoveries_cut += model->recoveries_cut;
    totals->prefixes_between += model->prefixes_between;
    totals->votes_adopted += model->votes_adopted;
    totals->copied += model->copied;
    for (size_t i = 0; i < model->disk->tag_count; i++)
        if (!fake_disk_reached(totals->disk, model->disk->tags[i]))
            totals->disk->tags[totals->disk->tag_count++] = model->disk->tags[i];
    log_abandon(model->log);
    fake_disk_free(model->disk);
    memory_free(model->body);
    memory_free(model);
}

static void test_nothing_durable_is_lost_and_nothing_void_returns(void **state)
{
    struct model *totals = memory_allocate_zero(sizeof(*totals));
    const char *seeds_text = getenv("LOG_MODEL_SEEDS"); /* more than the default, for a soak */
    uint64_t seeds = seeds_text ? strtoull(seeds_text, NULL, 10) : 12;

    (void)state;
    totals->disk = fake_disk_make();
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_seed(seed, 400, totals);
    }
    print_message("copied %llu\n", (unsigned long long)totals->copied);
    print_message("crashes %llu, cut %llu, in between %llu, votes adopted %llu\n",
                  (unsigned long long)totals->crashes, (unsigned long long)totals->recoveries_cut,
                  (unsigned long long)totals->prefixes_between,
                  (unsigned long long)totals->votes_adopted);
    for (size_t i = 0; i < totals->disk->tag_count; i++)
        print_message("reached \"%s\"\n", totals->disk->tags[i]);
    assert_true(totals->crashes > 100);
    assert_true(totals->copied > 20);
    assert_true(totals->recoveries_cut > 20);
    assert_true(totals->prefixes_between > 5);
    assert_true(fake_disk_reached(totals->disk, "log: torn tail cut"));
    assert_true(fake_disk_reached(totals->disk, "log: segment recycled"));
    assert_true(fake_disk_reached(totals->disk, "log: segment freed"));
    fake_disk_free(totals->disk);
    memory_free(totals);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_durable_is_lost_and_nothing_void_returns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
