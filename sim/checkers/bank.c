#include "sim/checkers/bank.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>

struct sum {
    uint32_t count; /* of reads */
    uint64_t seen;  /* accounts, a bit each */
    uint64_t total;
    uint64_t greatest;
    bool says_something;
};

static struct sum sum_up(const struct sim_txn_history *history, const struct sim_txn *txn,
                         struct sim_bank_keys bank)
{
    struct sum sum = {.says_something = txn->outcome == SIM_TXN_COMMITTED};

    for (uint32_t i = txn->first; i != SIM_TXN_NONE; i = history->ops[i].next) {
        const struct sim_txn_op *op = &history->ops[i];
        bool is_account = op->key >= bank.first_key && op->key - bank.first_key < bank.accounts;
        if (!is_account) continue;
        sum.says_something &= op->kind == SIM_TXN_READ && op->known;
        sum.count++;
        sum.seen |= (uint64_t)1 << (op->key - bank.first_key);
        sum.total += op->value;
        if (op->value > sum.greatest) sum.greatest = op->value;
    }
    uint64_t all = UINT64_MAX >> (64 - bank.accounts);
    sum.says_something &= sum.count == bank.accounts && sum.seen == all;
    return sum;
}

static void explain(const struct sim_txn_history *history, uint32_t number,
                    struct sim_bank_keys bank, struct sum sum, char *text, size_t size)
{
    const struct sim_txn *txn = &history->txns[number];
    size_t used =
        (size_t)snprintf(text, size,
                         "bank: T%" PRIu32 " c%" PRIu32 " [%" PRIu64 ".%06" PRIu64 ", %" PRIu64
                         ".%06" PRIu64 "] saw %" PRIu64 " of %" PRIu64 ":",
                         number, txn->client, txn->invoked / 1000000, txn->invoked % 1000000,
                         txn->returned / 1000000, txn->returned % 1000000, sum.total, bank.total);

    for (uint32_t i = txn->first; i != SIM_TXN_NONE && used < size; i = history->ops[i].next)
        used += (size_t)snprintf(text + used, size - used, " k%" PRIu32 " %" PRIu64,
                                 history->ops[i].key, history->ops[i].value);
}

bool check_bank(const struct sim_txn_history *history, struct sim_bank_keys bank, char *text,
                size_t text_size, uint64_t *ret_judged)
{
    uint64_t judged = 0;
    bool good = true;

    ASSERT(bank.accounts > 0 && bank.accounts <= SIM_TXN_OPS_MAX);
    for (uint32_t i = 0; i < history->txn_count && good; i++) {
        struct sum sum = sum_up(history, &history->txns[i], bank);
        if (!sum.says_something) continue;
        judged++;
        good = sum.total == bank.total && sum.greatest <= bank.total;
        if (!good) explain(history, i, bank, sum, text, text_size);
    }
    *ret_judged = judged;
    return good;
}
