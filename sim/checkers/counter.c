#include "sim/checkers/counter.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct counter {
    uint64_t acknowledged, unknown;
    int64_t seen_max;
    uint64_t last_end; /* of any INCR; UINT64_MAX: an unknown one may still come */
    bool has_final;
    int64_t final;
};

static int compare_results(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

static bool check_distinct(int64_t *results, uint32_t count, uint32_t key, char *text, size_t size)
{
    qsort(results, count, sizeof(*results), compare_results);
    for (uint32_t i = 1; i < count; i++) {
        if (results[i] != results[i - 1]) continue;
        snprintf(text, size, "counter k%u: INCR answered %" PRId64 " twice", key, results[i]);
        return false;
    }
    return true;
}

static bool check_counter(const struct sim_history *history, uint32_t key, int64_t *results,
                          char *text, size_t size)
{
    struct counter counter = {0};
    uint32_t result_count = 0;

    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (op->key != key) continue;
        if (op->kind == SIM_OP_INCR) {
            counter.acknowledged += op->outcome == SIM_DONE;
            counter.unknown += op->outcome == SIM_UNKNOWN || op->outcome == SIM_PENDING;
            if (op->outcome == SIM_DONE) results[result_count++] = op->result;
            if (op->outcome == SIM_DONE && op->returned > counter.last_end)
                counter.last_end = op->returned;
        }
        if (op->outcome != SIM_DONE || (op->kind == SIM_OP_GET && !op->found)) continue;
        if (op->result > counter.seen_max) counter.seen_max = op->result;
    }
    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        bool is_final = op->key == key && op->kind == SIM_OP_GET && op->outcome == SIM_DONE &&
                        op->invoked > counter.last_end;
        if (!is_final) continue;
        counter.has_final = true;
        counter.final = op->found ? op->result : 0;
        if (counter.final >= (int64_t)counter.acknowledged) continue;
        snprintf(text, size, "counter k%u: %" PRIu64 " INCR acknowledged, but it is %" PRId64, key,
                 counter.acknowledged, counter.final);
        return false;
    }
    if (counter.seen_max > (int64_t)(counter.acknowledged + counter.unknown)) {
        snprintf(text, size,
                 "counter k%u: it reached %" PRId64 " with %" PRIu64
                 " INCR acknowledged and %" PRIu64 " unknown: some had their effect twice",
                 key, counter.seen_max, counter.acknowledged, counter.unknown);
        return false;
    }
    return check_distinct(results, result_count, key, text, size);
}

bool check_counters(const struct sim_history *history, char *text, size_t text_size)
{
    int64_t *results = memory_allocate((history->count + 1) * sizeof(*results));
    bool good = true;

    for (uint32_t key = 0; key < history->key_count && good; key++)
        if (history->key_kinds[key] == SIM_KEY_COUNTER)
            good = check_counter(history, key, results, text, text_size);
    memory_free(results);
    return good;
}
