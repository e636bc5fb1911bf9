#include "sim/sim_history.h"

#include "base/memory.h"

void sim_history_init(struct sim_history *history, uint32_t key_count)
{
    *history = (struct sim_history){.key_count = key_count};
    history->key_kinds = memory_allocate_zero(key_count + 1);
    history->finals = memory_allocate_zero((key_count + 1) * sizeof(*history->finals));
}

void sim_history_free(struct sim_history *history)
{
    for (uint32_t i = 0; history->finals && i < history->key_count; i++)
        memory_free((void *)(uintptr_t)history->finals[i].data);
    memory_free(history->finals);
    memory_free(history->ops);
    memory_free(history->key_kinds);
    *history = (struct sim_history){0};
}

uint32_t sim_history_add(struct sim_history *history, const struct sim_op *op)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 1024;
        history->ops = memory_resize(history->ops, history->capacity * sizeof(*history->ops));
    }
    history->ops[history->count] = *op;
    return history->count++;
}

struct sim_history_counts sim_history_count(const struct sim_history *history)
{
    struct sim_history_counts counts = {0};

    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        counts.done += op->outcome == SIM_DONE;
        counts.unknown += op->outcome == SIM_UNKNOWN;
        counts.not_done += op->outcome == SIM_NOT_DONE;
        counts.pending += op->outcome == SIM_PENDING;
        bool conditional = op->kind == SIM_OP_SETNX || op->kind == SIM_OP_DEL;
        counts.conflict += conditional && op->outcome == SIM_DONE && op->result == 0;
        if (op->kind != SIM_OP_GET) {
            counts.writes += op->outcome == SIM_DONE;
        } else if (op->outcome == SIM_DONE) {
            counts.found += op->found;
            counts.absent += !op->found;
        }
    }
    return counts;
}

void sim_history_set_final(struct sim_history *history, uint32_t key, struct bytes value)
{
    uint8_t *copy = memory_allocate(value.size + 1);

    memcpy(copy, value.data ? value.data : (const uint8_t *)"", value.size);
    memory_free((void *)(uintptr_t)history->finals[key].data);
    history->finals[key] = bytes_make(copy, value.size);
}
