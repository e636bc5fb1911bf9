#include "sim/checkers/stale.h"

#include "base/map.h"
#include "base/memory.h"
#include "sim/checkers/linearizable.h"

#include <stdio.h>
#include <stdlib.h>

/* A time, and the extreme of another over it and all before, or all behind. */
struct step {
    uint64_t at, extreme;
};

struct steps {
    struct step *items;
    uint32_t count;
};

/* What was written to one key, so that no read has to look at all of it. Done: acknowledged. */
struct writes {
    struct map by_value;    /* value + 1 -> whoever wrote it */
    struct steps overwrote; /* done; by call: the first return of those from here on */
    struct steps sets;      /* done, and no DEL; by return: the last call up to here */
    struct steps deletions; /* maybe done; by call: the last return up to here */
};

struct judge {
    const struct sim_history *history;
    uint32_t drift_permille;
    struct map own;      /* session, key -> its last write that is done */
    struct map own_sets; /* the same, no DEL */
    char *text;
    size_t size;
};

static bool wrong(const struct judge *judge, const char *what, const struct sim_op *read)
{
    char line[200];

    sim_op_text(read, line, sizeof(line));
    snprintf(judge->text, judge->size, "stale read: one of at most %llu us gave %s: %s",
             (unsigned long long)read->bound, what, line);
    return false;
}

/* Whether the key has another value, or none, since: if it took effect at all. */
static bool overwrites(const struct sim_op *op)
{
    switch ((enum sim_op_kind)op->kind) {
    case SIM_OP_SET:
    case SIM_OP_DEL:
    case SIM_OP_GETSET:
        return true;
    case SIM_OP_SETNX:
        return op->outcome != SIM_DONE || op->result == 1;
    default:
        return false;
    }
}

/* --- what was written --- */

static void add(struct steps *steps, uint64_t at, uint64_t extreme)
{
    if ((steps->count & (steps->count - 1)) == 0)
        steps->items = memory_resize(steps->items,
                                     (steps->count ? steps->count * 2 : 1) * sizeof(*steps->items));
    steps->items[steps->count++] = (struct step){at, extreme};
}

/* How many are at `at` or before. */
static uint32_t count_until(const struct steps *steps, uint64_t at)
{
    uint32_t low = 0, high = steps->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (steps->items[middle].at <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int compare_steps(const void *a, const void *b)
{
    const struct step *left = a, *right = b;
    return left->at < right->at ? -1 : left->at > right->at;
}

static void most_so_far(struct steps *steps)
{
    for (uint32_t i = 1; i < steps->count; i++) {
        uint64_t before = steps->items[i - 1].extreme;
        if (before > steps->items[i].extreme) steps->items[i].extreme = before;
    }
}

static void writes_gather(const struct sim_history *history, uint32_t key, struct writes *ret)
{
    *ret = (struct writes){0};
    for (uint32_t i = 0; i < history->count; i++) { /* in the order of their calls */
        struct sim_op *op = &history->ops[i];
        if (op->key != key || !overwrites(op) || op->outcome == SIM_NOT_DONE) continue;
        bool done = op->outcome == SIM_DONE, deletes = op->kind == SIM_OP_DEL;
        if (!deletes) map_put(&ret->by_value, (uint64_t)op->argument + 1, op);
        if (done) add(&ret->overwrote, op->invoked, op->returned);
        if (done && !deletes) add(&ret->sets, op->returned, op->invoked);
        if (deletes) add(&ret->deletions, op->invoked, op->returned);
    }
    for (uint32_t i = ret->overwrote.count; i-- > 1;) {
        struct step *before = &ret->overwrote.items[i - 1];
        if (ret->overwrote.items[i].extreme < before->extreme)
            before->extreme = ret->overwrote.items[i].extreme;
    }
    if (ret->sets.count > 0)
        qsort(ret->sets.items, ret->sets.count, sizeof(*ret->sets.items), compare_steps);
    most_so_far(&ret->sets);
    most_so_far(&ret->deletions);
}

static void writes_free(struct writes *writes)
{
    map_free(&writes->by_value);
    memory_free(writes->overwrote.items);
    memory_free(writes->sets.items);
    memory_free(writes->deletions.items);
}

/* --- reads --- */

static bool judge_found(struct judge *judge, const struct writes *writes, const struct sim_op *read,
                        uint64_t earliest, const struct sim_op *own)
{
    const struct sim_op *write = map_get(&writes->by_value, (uint64_t)read->result + 1);

    if (write == NULL) return wrong(judge, "a value nobody wrote", read);
    if (write->invoked > read->returned) return wrong(judge, "a value of later", read);
    if (write->outcome != SIM_DONE) return true; /* it may have come about at any time since */
    if (own != NULL && own->invoked > write->returned)
        return wrong(judge, "what its own connection had overwritten", read);
    uint32_t next = count_until(&writes->overwrote, write->returned);
    bool gone = next < writes->overwrote.count && writes->overwrote.items[next].extreme < earliest;
    return !gone || wrong(judge, "what was overwritten before that", read);
}

/* Might the key have been absent again after `from`? */
static bool deleted_since(const struct writes *writes, const struct sim_op *read, uint64_t from)
{
    uint32_t count = count_until(&writes->deletions, read->returned);
    return count > 0 && writes->deletions.items[count - 1].extreme > from;
}

static bool judge_absent(struct judge *judge, const struct writes *writes,
                         const struct sim_op *read, uint64_t earliest, const struct sim_op *own)
{
    if (own != NULL && !deleted_since(writes, read, own->invoked))
        return wrong(judge, "nothing, though its own connection had written", read);
    uint32_t count = earliest > 0 ? count_until(&writes->sets, earliest - 1) : 0;
    bool missed = count > 0 && !deleted_since(writes, read, writes->sets.items[count - 1].extreme);
    return !missed || wrong(judge, "nothing, though something had been written before that", read);
}

static bool judge_read(struct judge *judge, const struct writes *writes, const struct sim_op *read)
{
    uint64_t bound = read->bound * 1000 / (1000 - judge->drift_permille);
    uint64_t earliest = read->invoked > bound ? read->invoked - bound : 0;

    if (read->found)
        return judge_found(judge, writes, read, earliest, map_get(&judge->own, read->session));
    return judge_absent(judge, writes, read, earliest, map_get(&judge->own_sets, read->session));
}

static bool judge_key(struct judge *judge, uint32_t key)
{
    const struct sim_history *history = judge->history;
    struct writes writes;
    bool good = true;

    writes_gather(history, key, &writes);
    for (uint32_t i = 0; i < history->count && good; i++) {
        struct sim_op *op = &history->ops[i];
        if (op->key != key || op->outcome != SIM_DONE) continue;
        if (op->kind == SIM_OP_STALE_GET) good = judge_read(judge, &writes, op);
        if (!overwrites(op)) continue;
        map_put(&judge->own, op->session, op);
        if (op->kind != SIM_OP_DEL) map_put(&judge->own_sets, op->session, op);
    }
    writes_free(&writes);
    return good;
}

bool check_stale(const struct sim_history *history, uint32_t drift_permille, char *text,
                 size_t text_size)
{
    struct judge judge = {
        .history = history, .drift_permille = drift_permille, .text = text, .size = text_size};
    bool good = true, any = false;

    for (uint32_t i = 0; i < history->count && !any; i++)
        any = history->ops[i].kind == SIM_OP_STALE_GET;
    for (uint32_t key = 0; any && key < history->key_count && good; key++) {
        map_init(&judge.own);
        map_init(&judge.own_sets);
        good = judge_key(&judge, key);
        map_free(&judge.own);
        map_free(&judge.own_sets);
    }
    return good;
}
