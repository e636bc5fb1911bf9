#include "sim/checkers/expiry.h"

#include "sim/checkers/linearizable.h"

#include <stdio.h>

static bool wrong(const char *what, const struct sim_op *op, const struct sim_op *because,
                  char *text, size_t size)
{
    char a[200], b[200] = "";

    sim_op_text(op, a, sizeof(a));
    if (because) sim_op_text(because, b, sizeof(b));
    snprintf(text, size, "expiry: %s: %s\n  because of %s", what, a, b);
    return false;
}

static bool judge_found(const struct sim_history *history, const struct sim_op *get,
                        const struct check_expiry_options *options, char *text, size_t size)
{
    const struct sim_op *set = NULL;

    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (op->key == get->key && op->kind == SIM_OP_SET_EXPIRING && op->argument == get->result)
            set = op;
    }
    if (set == NULL || set->invoked > get->returned || set->outcome == SIM_NOT_DONE)
        return wrong("a value nobody wrote", get, set, text, size);
    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (op->key != get->key || op->outcome != SIM_DONE) continue;
        bool is_set = op->kind == SIM_OP_SET_EXPIRING;
        if (is_set && op->argument > set->argument && op->returned < get->invoked &&
            set->outcome == SIM_DONE)
            return wrong("a value that was overwritten", get, op, text, size);
        if (!is_set && set->outcome == SIM_DONE && op->invoked > set->returned &&
            op->returned < get->invoked && !op->found)
            return wrong("seen again after it was seen gone", get, op, text, size);
    }
    if (!options->judge_times || set->outcome != SIM_DONE) return true;
    if (get->invoked > set->returned + set->expiry + set->expiry / 5 + options->slack)
        return wrong("still there long after its time", get, set, text, size);
    return true;
}

static bool judge_absent(const struct sim_history *history, const struct sim_op *get,
                         const struct check_expiry_options *options, char *text, size_t size)
{
    if (!options->judge_times) return true;
    /* Some acknowledged write must have had to be visible for all of the read. A later one, or
     * one of unknown outcome, may have replaced it by a shorter life. */
    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *set = &history->ops[i];
        if (set->key != get->key || set->kind != SIM_OP_SET_EXPIRING || set->outcome != SIM_DONE ||
            set->returned > get->invoked)
            continue;
        uint64_t least = set->expiry - set->expiry / 5;
        if (least <= options->slack || get->returned >= set->invoked + least - options->slack)
            continue;
        bool replaced = false;
        for (uint32_t j = 0; j < history->count && !replaced; j++) {
            const struct sim_op *op = &history->ops[j];
            replaced = op->key == get->key && op->kind == SIM_OP_SET_EXPIRING && op != set &&
                       op->invoked < get->returned &&
                       (op->outcome != SIM_DONE ? true : op->returned > set->invoked);
        }
        if (!replaced) return wrong("gone before its time", get, set, text, size);
    }
    return true;
}

bool check_expiry(const struct sim_history *history, const struct check_expiry_options *options,
                  char *text, size_t text_size)
{
    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (history->key_kinds[op->key] != SIM_KEY_EXPIRY || op->kind != SIM_OP_GET ||
            op->outcome != SIM_DONE)
            continue;
        bool good = op->found ? judge_found(history, op, options, text, text_size)
                              : judge_absent(history, op, options, text, text_size);
        if (!good) return false;
    }
    return true;
}
