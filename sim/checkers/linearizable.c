#include "sim/checkers/linearizable.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { STEPS_MAX_PER_KEY = 4000000, CONTEXT_OPS = 14 };

/* --- the register --- */

struct state {
    bool present;
    int64_t value;
};

/* The state after `op`, or false when its result does not fit. Unknown results fit always. */
static bool step(struct state before, const struct sim_op *op, struct state *ret)
{
    bool known = op->outcome == SIM_DONE;

    *ret = before;
    switch ((enum sim_op_kind)op->kind) {
    case SIM_OP_GET:
        return !known ||
               (op->found == before.present && (!op->found || op->result == before.value));
    case SIM_OP_SET:
        *ret = (struct state){true, op->argument};
        return true;
    case SIM_OP_DEL:
        *ret = (struct state){false, 0};
        return !known || op->result == (before.present ? 1 : 0);
    case SIM_OP_SETNX:
        if (!before.present) *ret = (struct state){true, op->argument};
        return !known || op->result == (before.present ? 0 : 1);
    case SIM_OP_GETSET:
        *ret = (struct state){true, op->argument};
        return !known ||
               (op->found == before.present && (!op->found || op->result == before.value));
    case SIM_OP_INCR:
        *ret = (struct state){true, (before.present ? before.value : 0) + 1};
        return !known || op->result == ret->value;
    case SIM_OP_APPEND:
    case SIM_OP_SET_EXPIRING:
    case SIM_OP_READS:
    case SIM_OP_STALE_GET:
    case SIM_OP_LAST:
        break;
    }
    ASSERT(false);
    return false;
}

/* --- visited (set, state) pairs, by hash --- */

struct visited {
    uint64_t (*slots)[2];
    size_t capacity, count;
};

static bool visited_insert(struct visited *visited, uint64_t a, uint64_t b)
{
    if (visited->count * 2 >= visited->capacity) {
        struct visited old = *visited;
        visited->capacity = old.capacity ? old.capacity * 2 : 4096;
        visited->count = 0;
        visited->slots = memory_allocate_zero(visited->capacity * sizeof(*visited->slots));
        for (size_t i = 0; i < old.capacity; i++)
            if (old.slots[i][0]) visited_insert(visited, old.slots[i][0], old.slots[i][1]);
        memory_free(old.slots);
    }
    if (a == 0) a = 1;
    size_t i = a & (visited->capacity - 1);
    while (visited->slots[i][0]) {
        if (visited->slots[i][0] == a && visited->slots[i][1] == b) return false;
        i = (i + 1) & (visited->capacity - 1);
    }
    visited->slots[i][0] = a;
    visited->slots[i][1] = b;
    visited->count++;
    return true;
}

/* --- the search --- */

enum { NONE = UINT32_MAX };

struct moment { /* a call or a return, in order of time; a doubly linked list */
    uint64_t time;
    uint32_t op;
    bool is_call;
    uint32_t next, previous;
};

struct search {
    const struct sim_op *ops;
    uint32_t count;
    struct moment *moments;        /* [0] is the head */
    uint32_t *call_at, *return_at; /* moment of an op, or NONE */
    uint32_t *later, *earlier;     /* next and previous op of the same session, or NONE */
    bool *done;
    struct state *before;
    uint32_t *stack;
    uint32_t depth;
    uint32_t must_left; /* operations with a known result that are not placed yet */
    uint64_t hash[2];
    struct visited visited;
    uint32_t deepest, deepest_op;
};

static int compare_moments(const void *left, const void *right)
{
    const struct moment *a = left, *b = right;

    if (a->time != b->time) return a->time < b->time ? -1 : 1;
    if (a->is_call != b->is_call) return a->is_call ? -1 : 1; /* equal times overlap */
    return a->op < b->op ? -1 : a->op > b->op;
}

static int compare_ops(const void *left, const void *right)
{
    const struct sim_op *a = left, *b = right;

    if (a->invoked != b->invoked) return a->invoked < b->invoked ? -1 : 1;
    if (a->session != b->session) return a->session < b->session ? -1 : 1;
    return a->position < b->position ? -1 : a->position > b->position;
}

static void link_sessions(struct search *search)
{
    struct map last; /* session -> number of its last operation so far, + 1 */

    map_init(&last);
    for (uint32_t i = 0; i < search->count; i++) {
        uintptr_t before =
            (uintptr_t)map_put(&last, search->ops[i].session, (void *)(uintptr_t)(i + 1));
        search->later[i] = NONE;
        search->earlier[i] = before ? (uint32_t)before - 1 : NONE;
        if (before) search->later[before - 1] = i;
    }
    map_free(&last);
}

static void search_open(struct search *search, struct sim_op *ops, uint32_t count)
{
    qsort(ops, count, sizeof(*ops), compare_ops);
    *search = (struct search){.ops = ops, .count = count};
    search->moments = memory_allocate_zero((2 * (size_t)count + 1) * sizeof(*search->moments));
    search->call_at = memory_allocate((size_t)count * 4 + 1);
    search->return_at = memory_allocate((size_t)count * 4 + 1);
    search->later = memory_allocate((size_t)count * 4 + 1);
    search->earlier = memory_allocate((size_t)count * 4 + 1);
    search->stack = memory_allocate((size_t)count * 4 + 1);
    search->done = memory_allocate_zero(count + 1);
    search->before = memory_allocate_zero((count + 1) * sizeof(*search->before));
    uint32_t n = 1;
    for (uint32_t i = 0; i < count; i++) {
        search->return_at[i] = NONE;
        search->moments[n++] = (struct moment){.time = ops[i].invoked, .op = i, .is_call = true};
        if (ops[i].outcome != SIM_DONE) continue;
        search->moments[n++] = (struct moment){.time = ops[i].returned, .op = i};
        search->must_left++;
    }
    qsort(search->moments + 1, n - 1, sizeof(*search->moments), compare_moments);
    for (uint32_t i = 0; i < n; i++) {
        struct moment *moment = &search->moments[i];
        moment->previous = i == 0 ? n - 1 : i - 1;
        moment->next = i + 1 == n ? 0 : i + 1;
        if (i == 0) continue;
        *(moment->is_call ? &search->call_at[moment->op] : &search->return_at[moment->op]) = i;
    }
    link_sessions(search);
}

static void search_close(struct search *search)
{
    memory_free(search->moments);
    memory_free(search->call_at);
    memory_free(search->return_at);
    memory_free(search->later);
    memory_free(search->earlier);
    memory_free(search->stack);
    memory_free(search->done);
    memory_free(search->before);
    memory_free(search->visited.slots);
}

static void unlink_moment(struct search *search, uint32_t i)
{
    if (i == NONE) return;
    struct moment *moment = &search->moments[i];
    search->moments[moment->previous].next = moment->next;
    search->moments[moment->next].previous = moment->previous;
}

static void relink_moment(struct search *search, uint32_t i)
{
    if (i == NONE) return;
    struct moment *moment = &search->moments[i];
    search->moments[moment->previous].next = i;
    search->moments[moment->next].previous = i;
}

/* Writes of one connection keep their order, and its reads see its earlier writes. A read may
 * be placed behind a write sent after it: reads are not remembered (WHY 2.9), so when both are
 * sent again to a new leader, the read sees the write, which had its effect before. */
static bool session_allows(const struct search *search, uint32_t op)
{
    for (uint32_t i = search->earlier[op]; i != NONE; i = search->earlier[i]) {
        const struct sim_op *other = &search->ops[i];
        if (other->returned < search->ops[op].invoked) break; /* real time has seen to it */
        if (other->kind == SIM_OP_GET) continue;
        if (search->done[i]) break;
        if (other->outcome == SIM_DONE) return false;
    }
    if (search->ops[op].kind == SIM_OP_GET) return true;
    for (uint32_t i = search->later[op]; i != NONE; i = search->later[i]) {
        if (search->ops[i].invoked > search->ops[op].returned) break;
        if (search->done[i]) return false;
    }
    return true;
}

/* Increments and deletions of unknown outcome are alike: whatever one can explain, the one
 * called first can, so only that one is tried. Keeps many of them from multiplying. */
static bool has_elder_twin(const struct search *search, uint32_t op)
{
    const struct sim_op *self = &search->ops[op];

    if (self->outcome == SIM_DONE || (self->kind != SIM_OP_INCR && self->kind != SIM_OP_DEL))
        return false;
    for (uint32_t i = search->moments[search->call_at[op]].previous; i != 0;
         i = search->moments[i].previous) {
        const struct moment *moment = &search->moments[i];
        const struct sim_op *other = &search->ops[moment->op];
        if (moment->is_call && other->outcome != SIM_DONE && other->kind == self->kind &&
            session_allows(search, moment->op))
            return true;
    }
    return false;
}

static void toggle(struct search *search, uint32_t op)
{
    search->hash[0] ^= hash_u64(op * 2 + 1);
    search->hash[1] ^= hash_u64((uint64_t)op * 2 + 0x123456789);
}

static bool is_new(struct search *search, struct state state)
{
    uint64_t of_state = hash_u64((uint64_t)state.value * 2 + state.present + 77);

    return visited_insert(&search->visited, search->hash[0] ^ of_state,
                          search->hash[1] ^ hash_u64(of_state));
}

static void place(struct search *search, uint32_t op, struct state before)
{
    search->before[search->depth] = before;
    search->stack[search->depth++] = op;
    search->done[op] = true;
    search->must_left -= search->ops[op].outcome == SIM_DONE;
    unlink_moment(search, search->call_at[op]);
    unlink_moment(search, search->return_at[op]);
}

static uint32_t take_back(struct search *search)
{
    uint32_t op = search->stack[--search->depth];

    toggle(search, op);
    search->done[op] = false;
    search->must_left += search->ops[op].outcome == SIM_DONE;
    relink_moment(search, search->return_at[op]);
    relink_moment(search, search->call_at[op]);
    return op;
}

static enum sim_verdict run(struct search *search, uint64_t steps_max)
{
    struct state state = {false, 0};
    uint32_t at = search->moments[0].next;
    uint64_t steps = 0;

    while (search->must_left > 0) {
        if (++steps > steps_max) return SIM_VERDICT_UNDECIDED;
        const struct moment *moment = &search->moments[at];
        struct state after;
        if (at != 0 && moment->is_call) {
            uint32_t op = moment->op;
            bool fits = session_allows(search, op) && !has_elder_twin(search, op) &&
                        step(state, &search->ops[op], &after);
            if (fits) {
                toggle(search, op);
                fits = is_new(search, after);
                if (!fits) toggle(search, op);
            }
            if (fits) {
                place(search, op, state);
                state = after;
                at = search->moments[0].next;
            } else {
                at = moment->next;
            }
            continue;
        }
        /* The end, or a return whose call is not placed: the last choice was wrong. */
        if (at != 0 && search->depth >= search->deepest) {
            search->deepest = search->depth;
            search->deepest_op = moment->op;
        }
        if (search->depth == 0) return SIM_VERDICT_VIOLATION;
        uint32_t op = take_back(search);
        state = search->before[search->depth];
        at = search->moments[search->call_at[op]].next;
    }
    return SIM_VERDICT_OK;
}

/* --- texts --- */

void sim_op_text(const struct sim_op *op, char *text, size_t size)
{
    static const char *const kinds[] = {"GET",    "SET",   "DEL",   "SETNX",     "GETSET", "INCR",
                                        "APPEND", "SETPX", "READS", "STALE_GET", "LAST"};
    static const char *const outcomes[] = {"pending", "", "unknown", "not done"};
    char result[48] = "";

    bool value =
        op->kind == SIM_OP_GET || op->kind == SIM_OP_GETSET || op->kind == SIM_OP_STALE_GET;
    if (op->outcome == SIM_DONE && value && !op->found)
        snprintf(result, sizeof(result), "nil");
    else if (op->outcome == SIM_DONE)
        snprintf(result, sizeof(result), "%" PRId64, op->result);
    snprintf(text, size,
             "c%u.%u/%u n%u %s k%u %" PRId64 " -> %s%s [%" PRIu64 ".%06" PRIu64 ", %" PRIu64
             ".%06" PRIu64 "]",
             op->client, op->session, op->position, op->node, kinds[op->kind], op->key,
             op->argument, result, outcomes[op->outcome], op->invoked / 1000000,
             op->invoked % 1000000, op->outcome == SIM_DONE ? op->returned / 1000000 : 0,
             op->outcome == SIM_DONE ? op->returned % 1000000 : 0);
}

static void explain(const struct search *search, char *text, size_t size)
{
    uint32_t center = search->deepest_op;
    uint32_t first = center > CONTEXT_OPS / 2 ? center - CONTEXT_OPS / 2 : 0;
    size_t used = (size_t)snprintf(text, size, "not linearizable: key %u, no order explains #%u:",
                                   search->ops[center].key, center);

    for (uint32_t i = first; i < search->count && i < first + CONTEXT_OPS && used < size; i++) {
        char line[200];
        sim_op_text(&search->ops[i], line, sizeof(line));
        used += (size_t)snprintf(text + used, size - used, "\n  #%u %s", i, line);
    }
}

enum sim_verdict check_linearizable(struct sim_op *ops, uint32_t count, uint64_t steps_max,
                                    char *text, size_t text_size)
{
    struct search search;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < count; i++) { /* what surely did not happen says nothing */
        bool says_something = ops[i].outcome != SIM_NOT_DONE &&
                              (ops[i].kind != SIM_OP_GET || ops[i].outcome == SIM_DONE);
        if (says_something) ops[kept++] = ops[i];
    }
    search_open(&search, ops, kept);
    enum sim_verdict verdict = run(&search, steps_max);
    if (verdict == SIM_VERDICT_VIOLATION) explain(&search, text, text_size);
    search_close(&search);
    return verdict;
}

enum sim_verdict check_history_linearizable(const struct sim_history *history, char *text,
                                            size_t text_size, uint64_t *ret_undecided)
{
    struct sim_op *ops = memory_allocate((history->count + 1) * sizeof(*ops));
    enum sim_verdict verdict = SIM_VERDICT_OK;

    for (uint32_t key = 0; key < history->key_count && verdict != SIM_VERDICT_VIOLATION; key++) {
        bool is_register = history->key_kinds[key] == SIM_KEY_REGISTER ||
                           history->key_kinds[key] == SIM_KEY_COUNTER;
        uint32_t count = 0;
        if (!is_register) continue;
        for (uint32_t i = 0; i < history->count; i++)
            if (history->ops[i].key == key && history->ops[i].kind < SIM_OP_READS)
                ops[count++] = history->ops[i];
        verdict = check_linearizable(ops, count, STEPS_MAX_PER_KEY, text, text_size);
        *ret_undecided += verdict == SIM_VERDICT_UNDECIDED;
    }
    memory_free(ops);
    return verdict == SIM_VERDICT_VIOLATION ? verdict : SIM_VERDICT_OK;
}
