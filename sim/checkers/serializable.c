#include "sim/checkers/serializable_internal.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- what was written --- */

static bool is_write(const struct sim_txn_op *op)
{
    return op->kind == SIM_TXN_APPEND || op->kind == SIM_TXN_WRITE;
}

static bool is_of_list(const struct sim_txn_op *op)
{
    return op->kind == SIM_TXN_APPEND || op->kind == SIM_TXN_LIST;
}

/* The write, or the free slot where it would be: half of the slots are free. */
static struct write *find_slot(const struct check *check, uint32_t key, uint64_t value)
{
    size_t mask = check->write_capacity - 1;
    size_t i = hash_u64(value * 0x9e3779b97f4a7c15u + key) & mask;

    for (;; i = (i + 1) & mask) {
        struct write *write = &check->writes[i];
        if (write->op == SIM_TXN_NONE || (write->key == key && write->value == value)) return write;
    }
}

struct write *check_find_write(const struct check *check, uint32_t key, uint64_t value)
{
    struct write *write = find_slot(check, key, value);

    return write->op == SIM_TXN_NONE ? NULL : write;
}

/* Gives each key its number. */
static bool number_keys(struct check *check)
{
    const struct sim_txn_history *history = check->history;

    check->op_keys = memory_allocate(((size_t)history->op_count + 1) * sizeof(*check->op_keys));
    check->keys = memory_allocate(((size_t)history->op_count + 1) * sizeof(*check->keys));
    for (uint32_t i = 0; i < history->op_count; i++) {
        const struct sim_txn_op *op = &history->ops[i];
        uintptr_t number = (uintptr_t)map_get(&check->key_numbers, op->key);
        if (number == 0) {
            check->keys[check->key_count++] = (struct key){.name = op->key,
                                                           .is_list = is_of_list(op),
                                                           .longest = SIM_TXN_NONE,
                                                           .replaced_by = SIM_TXN_NONE};
            number = check->key_count;
            map_put(&check->key_numbers, op->key, (void *)number);
        }
        check->op_keys[i] = (uint32_t)number - 1;
        if (check->keys[number - 1].is_list == is_of_list(op)) continue;
        check_found(check, SIM_ANOMALY_MALFORMED, "k%" PRIu32 " is a list and a register", op->key);
        check_say_txn(check, op->txn);
        return false;
    }
    return true;
}

static bool is_last_write(const struct check *check, uint32_t op)
{
    const struct sim_txn_op *ops = check->history->ops;

    for (uint32_t i = ops[op].next; i != SIM_TXN_NONE; i = ops[i].next)
        if (is_write(&ops[i]) && ops[i].key == ops[op].key) return false;
    return true;
}

static bool index_writes(struct check *check)
{
    const struct sim_txn_history *history = check->history;
    size_t capacity = 16;

    while (capacity < (size_t)history->op_count * 2)
        capacity *= 2;
    check->write_capacity = capacity;
    check->writes = memory_allocate(capacity * sizeof(*check->writes));
    for (size_t i = 0; i < capacity; i++)
        check->writes[i].op = SIM_TXN_NONE;

    for (uint32_t i = 0; i < history->op_count; i++) {
        const struct sim_txn_op *op = &history->ops[i];
        if (!is_write(op)) continue;
        struct write *write = find_slot(check, check->op_keys[i], op->value);
        bool is_taken = write->op != SIM_TXN_NONE;
        bool is_initial = op->kind == SIM_TXN_WRITE && op->value == 0;
        if (is_taken || is_initial) {
            check_found(check, SIM_ANOMALY_MALFORMED, "%" PRIu64 " is written to k%" PRIu32 " %s",
                        op->value, op->key, is_taken ? "twice" : "which begins with it");
            check_say_txn(check, op->txn);
            if (is_taken) check_say_txn(check, history->ops[write->op].txn);
            return false;
        }
        *write = (struct write){.key = check->op_keys[i],
                                .op = i,
                                .position = SIM_TXN_NONE,
                                .seen_in = SIM_TXN_NONE,
                                .replaced_by = SIM_TXN_NONE,
                                .overwritten_by = SIM_TXN_NONE,
                                .value = op->value,
                                .is_final = is_last_write(check, i)};
    }
    return true;
}

/* --- which transactions count --- */

struct revealed { /* transactions whose reads are to be looked at */
    uint32_t *stack;
    uint32_t depth;
};

static void reveal(struct check *check, struct revealed *revealed, uint32_t key, uint64_t value)
{
    const struct write *write = check_find_write(check, key, value);

    if (write == NULL) return;
    uint32_t txn = check->history->ops[write->op].txn;
    uint8_t outcome = check->history->txns[txn].outcome;
    if (check->counts[txn] || outcome == SIM_TXN_FAILED) return;
    check->counts[txn] = true;
    check->report.txns_revealed++;
    revealed->stack[revealed->depth++] = txn;
}

/* Of a list only what the longest one so far does not have: if they differ before that, there is
 * an anomaly, and it does not matter who is missed. */
static void reveal_by_read(struct check *check, struct revealed *revealed, uint32_t op_number)
{
    const struct sim_txn_op *ops = check->history->ops, *op = &ops[op_number];
    struct key *key = &check->keys[check->op_keys[op_number]];

    if (is_write(op) || !op->known) return;
    if (op->kind == SIM_TXN_READ) {
        reveal(check, revealed, check->op_keys[op_number], op->value);
        return;
    }
    uint32_t known = key->longest == SIM_TXN_NONE ? 0 : ops[key->longest].list_count;
    if (key->longest != SIM_TXN_NONE && op->list_count <= known) return;
    key->longest = op_number;
    for (uint32_t i = known; i < op->list_count; i++)
        reveal(check, revealed, check->op_keys[op_number],
               sim_txn_list_values(check->history, op)[i]);
}

static void find_counting(struct check *check)
{
    const struct sim_txn_history *history = check->history;
    struct revealed revealed = {
        .stack = memory_allocate(((size_t)history->txn_count + 1) * sizeof(*revealed.stack))};

    check->counts = memory_allocate_zero((size_t)history->txn_count + 1);
    for (uint32_t i = 0; i < history->txn_count; i++) {
        if (history->txns[i].outcome != SIM_TXN_COMMITTED) continue;
        check->counts[i] = true;
        check->report.txns_counted++;
        revealed.stack[revealed.depth++] = i;
    }
    while (revealed.depth > 0) {
        uint32_t txn = revealed.stack[--revealed.depth];
        for (uint32_t i = history->txns[txn].first; i != SIM_TXN_NONE; i = history->ops[i].next)
            reveal_by_read(check, &revealed, i);
    }
    check->report.txns_counted += check->report.txns_revealed;
    memory_free(revealed.stack);
}

/* --- each transaction by itself --- */

static bool internal(struct check *check, const struct sim_txn_op *read, const char *what)
{
    check_found(check, SIM_ANOMALY_INTERNAL, "T%" PRIu32 " %s k%" PRIu32, read->txn, what,
                read->key);
    check_say_txn(check, read->txn);
    return false;
}

/* A later read shows what the one before did, and own appends since; a first one ends with them. */
static bool list_read_fits(struct check *check, const struct sim_txn_op *before,
                           const struct sim_txn_op *read)
{
    const struct sim_txn_history *history = check->history;
    const uint64_t *values = sim_txn_list_values(history, read);
    uint32_t start = before ? before->next : history->txns[read->txn].first;
    uint32_t own = 0;

    for (uint32_t i = start; &history->ops[i] != read; i = history->ops[i].next)
        own += history->ops[i].kind == SIM_TXN_APPEND && history->ops[i].key == read->key;
    if (own > read->list_count) return internal(check, read, "does not see its own append to");
    uint32_t others = read->list_count - own;
    if (before) {
        bool same =
            others == before->list_count &&
            memcmp(values, sim_txn_list_values(history, before), others * sizeof(*values)) == 0;
        if (!same) return internal(check, read, "reads two different states of");
    }
    for (uint32_t i = start, at = others; &history->ops[i] != read; i = history->ops[i].next) {
        const struct sim_txn_op *op = &history->ops[i];
        if (op->kind != SIM_TXN_APPEND || op->key != read->key) continue;
        if (values[at++] != op->value)
            return internal(check, read, "does not see its own append to");
    }
    return true;
}

/* Goes through one key of one transaction, from its first operation on. */
static bool follow_key(struct check *check, uint32_t first, struct access *ret_access)
{
    const struct sim_txn_op *ops = check->history->ops, *known = NULL;
    struct access access = {.key = check->op_keys[first],
                            .txn = ops[first].txn,
                            .read = SIM_TXN_NONE,
                            .write = SIM_TXN_NONE};

    for (uint32_t i = first; i != SIM_TXN_NONE; i = ops[i].next) {
        const struct sim_txn_op *op = &ops[i];
        if (op->key != ops[first].key || (!is_write(op) && !op->known)) continue;
        if (op->kind == SIM_TXN_LIST && !list_read_fits(check, known, op)) return false;
        if (op->kind == SIM_TXN_READ && known && known->value != op->value)
            return internal(check, op,
                            is_write(known) ? "does not see its own write to"
                                            : "reads two different states of");
        bool is_outer = op->kind == SIM_TXN_LIST || access.write == SIM_TXN_NONE;
        if (is_write(op)) {
            access.write = i;
            access.own_before += access.read == SIM_TXN_NONE;
        } else if (access.read == SIM_TXN_NONE && is_outer) {
            access.read = i;
        }
        if (op->kind != SIM_TXN_APPEND) known = op;
    }
    *ret_access = access;
    return true;
}

static bool is_first_of_key(const struct check *check, uint32_t op)
{
    const struct sim_txn_op *ops = check->history->ops;

    for (uint32_t i = check->history->txns[ops[op].txn].first; i != op; i = ops[i].next)
        if (ops[i].key == ops[op].key) return false;
    return true;
}

static bool follow_txns(struct check *check)
{
    const struct sim_txn_history *history = check->history;

    check->accesses = memory_allocate(((size_t)history->op_count + 1) * sizeof(*check->accesses));
    for (uint32_t txn = 0; txn < history->txn_count; txn++) {
        struct access *first = check->accesses + check->access_count;
        uint32_t count = 0;
        if (!check->counts[txn]) continue;
        for (uint32_t i = history->txns[txn].first; i != SIM_TXN_NONE; i = history->ops[i].next) {
            if (!is_first_of_key(check, i)) continue;
            if (!follow_key(check, i, &first[count++])) return false;
        }
        if (!check_versions(check, first, count)) return false;
        check->access_count += count;
    }
    return true;
}

/* --- one key after the other --- */

static int compare_accesses(const void *left, const void *right)
{
    const struct access *a = left, *b = right;

    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    return a->txn < b->txn ? -1 : a->txn > b->txn;
}

static bool follow_keys(struct check *check)
{
    bool good = true;

    qsort(check->accesses, check->access_count, sizeof(*check->accesses), compare_accesses);
    for (size_t first = 0, end; first < check->access_count && good; first = end) {
        struct key *key = &check->keys[check->accesses[first].key];
        for (end = first; end < check->access_count; end++)
            if (check->accesses[end].key != check->accesses[first].key) break;
        good = key->is_list
                   ? check_list(check, key, check->accesses + first, (uint32_t)(end - first))
                   : check_register(check, key, check->accesses + first, (uint32_t)(end - first));
    }
    return good;
}

struct sim_serializable_report check_serializable(const struct sim_txn_history *history, char *text,
                                                  size_t text_size)
{
    struct check check = {.history = history, .text = text, .text_size = text_size};

    if (text_size > 0) text[0] = '\0';
    map_init(&check.key_numbers);
    graph_init(&check.graph, history->txn_count);
    bool good = number_keys(&check) && index_writes(&check);
    if (good) find_counting(&check);
    good = good && follow_txns(&check) && follow_keys(&check);
    if (good) {
        check_add_times(&check);
        graph_seal(&check.graph);
        check.report.edges = check.graph.edge_count;
        good = check_cycles(&check);
    }
    ASSERT(good == (check.report.anomaly == SIM_ANOMALY_NONE));

    graph_free(&check.graph);
    map_free(&check.key_numbers);
    memory_free(check.keys);
    memory_free(check.op_keys);
    memory_free(check.writes);
    memory_free(check.counts);
    memory_free(check.accesses);
    return check.report;
}
