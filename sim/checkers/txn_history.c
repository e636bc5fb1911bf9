#include "sim/checkers/txn_history.h"

#include "base/assert.h"
#include "base/memory.h"

#include <string.h>

void sim_txn_history_init(struct sim_txn_history *history, uint32_t txns_max, size_t values_max)
{
    ASSERT(txns_max <= UINT32_MAX / SIM_TXN_OPS_MAX);
    *history = (struct sim_txn_history){.txns_max = txns_max, .values_max = values_max};
    history->values = memory_allocate(sizeof(*history->values)); /* an empty list is somewhere */
}

void sim_txn_history_free(struct sim_txn_history *history)
{
    memory_free(history->txns);
    memory_free(history->ops);
    memory_free(history->values);
    *history = (struct sim_txn_history){0};
}

uint32_t sim_txn_begin(struct sim_txn_history *history, uint32_t client, uint64_t now)
{
    if (history->txn_count == history->txns_max) return SIM_TXN_NONE;
    if (history->txn_count == history->txn_capacity) {
        history->txn_capacity = history->txn_capacity ? history->txn_capacity * 2 : 256;
        history->txns =
            memory_resize(history->txns, history->txn_capacity * sizeof(*history->txns));
    }
    history->txns[history->txn_count] = (struct sim_txn){.client = client,
                                                         .outcome = SIM_TXN_OPEN,
                                                         .first = SIM_TXN_NONE,
                                                         .last = SIM_TXN_NONE,
                                                         .invoked = now,
                                                         .returned = UINT64_MAX};
    return history->txn_count++;
}

static uint32_t add_op(struct sim_txn_history *history, uint32_t txn, struct sim_txn_op op)
{
    ASSERT(txn < history->txn_count);
    struct sim_txn *self = &history->txns[txn];
    ASSERT(self->outcome == SIM_TXN_OPEN && self->op_count < SIM_TXN_OPS_MAX);

    if (history->op_count == history->op_capacity) {
        history->op_capacity = history->op_capacity ? history->op_capacity * 2 : 1024;
        history->ops = memory_resize(history->ops, history->op_capacity * sizeof(*history->ops));
    }
    uint32_t number = history->op_count++;
    op.txn = txn;
    op.next = SIM_TXN_NONE;
    history->ops[number] = op;
    *(self->last == SIM_TXN_NONE ? &self->first : &history->ops[self->last].next) = number;
    self->last = number;
    self->op_count++;
    return number;
}

uint32_t sim_txn_append(struct sim_txn_history *history, uint32_t txn, uint32_t key, uint64_t value)
{
    return add_op(history, txn,
                  (struct sim_txn_op){.kind = SIM_TXN_APPEND, .key = key, .value = value});
}

uint32_t sim_txn_list(struct sim_txn_history *history, uint32_t txn, uint32_t key)
{
    return add_op(history, txn, (struct sim_txn_op){.kind = SIM_TXN_LIST, .key = key});
}

uint32_t sim_txn_write(struct sim_txn_history *history, uint32_t txn, uint32_t key, uint64_t value)
{
    return add_op(history, txn,
                  (struct sim_txn_op){.kind = SIM_TXN_WRITE, .key = key, .value = value});
}

uint32_t sim_txn_read(struct sim_txn_history *history, uint32_t txn, uint32_t key)
{
    return add_op(history, txn, (struct sim_txn_op){.kind = SIM_TXN_READ, .key = key});
}

void sim_txn_list_is(struct sim_txn_history *history, uint32_t op, const uint64_t *values,
                     uint32_t count)
{
    ASSERT(op < history->op_count);
    struct sim_txn_op *self = &history->ops[op];
    ASSERT(self->kind == SIM_TXN_LIST && !self->known);

    if (count > history->values_max - history->value_count) {
        history->lists_dropped++;
        return;
    }
    if (history->value_count + count > history->value_capacity) {
        size_t wanted = (history->value_count + count) * 2;
        history->value_capacity = wanted > history->values_max ? history->values_max : wanted;
        history->values =
            memory_resize(history->values, history->value_capacity * sizeof(*history->values));
    }
    self->known = true;
    self->list_at = history->value_count;
    self->list_count = count;
    if (count > 0) memcpy(history->values + history->value_count, values, count * sizeof(*values));
    history->value_count += count;
}

void sim_txn_read_is(struct sim_txn_history *history, uint32_t op, uint64_t value)
{
    ASSERT(op < history->op_count);
    struct sim_txn_op *self = &history->ops[op];
    ASSERT(self->kind == SIM_TXN_READ && !self->known);

    self->known = true;
    self->value = value;
}

void sim_txn_end(struct sim_txn_history *history, uint32_t txn, enum sim_txn_outcome outcome,
                 uint64_t now)
{
    ASSERT(txn < history->txn_count && outcome != SIM_TXN_OPEN);
    struct sim_txn *self = &history->txns[txn];
    ASSERT(self->outcome == SIM_TXN_OPEN && self->invoked <= now);

    self->outcome = (uint8_t)outcome;
    if (outcome != SIM_TXN_UNKNOWN) self->returned = now;
}

struct sim_txn_counts sim_txn_history_count(const struct sim_txn_history *history)
{
    struct sim_txn_counts counts = {0};

    for (uint32_t i = 0; i < history->txn_count; i++) {
        uint8_t outcome = history->txns[i].outcome;
        counts.committed += outcome == SIM_TXN_COMMITTED;
        counts.failed += outcome == SIM_TXN_FAILED;
        counts.unknown += outcome == SIM_TXN_UNKNOWN;
        counts.open += outcome == SIM_TXN_OPEN;
    }
    for (uint32_t i = 0; i < history->op_count; i++) {
        const struct sim_txn_op *op = &history->ops[i];
        if (history->txns[op->txn].outcome != SIM_TXN_COMMITTED) continue;
        bool is_write = op->kind == SIM_TXN_APPEND || op->kind == SIM_TXN_WRITE;
        bool empty = op->kind == SIM_TXN_LIST ? op->list_count == 0 : op->value == 0;
        counts.writes += is_write;
        counts.reads += !is_write && op->known;
        counts.reads_empty += !is_write && op->known && empty;
    }
    return counts;
}
