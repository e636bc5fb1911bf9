/* bank.h - transfers between accounts neither make nor lose money: each transaction that read all
 * accounts saw the same total (T-2). Balances are registers of a transaction history; they are not
 * unique, so serializable.h has no use for them. */
#ifndef HOLON_SIM_CHECKERS_BANK_H
#define HOLON_SIM_CHECKERS_BANK_H

#include "sim/checkers/txn_history.h"

struct sim_bank_keys {
    uint32_t first_key; /* the accounts are this many keys from it on */
    uint32_t accounts;  /* 1 to SIM_TXN_OPS_MAX */
    uint64_t total;
};

/* Looks at committed transactions that read each account once and wrote none; the others say
 * nothing. A balance is never more than the total, as none is ever less than 0. *ret_judged: how
 * many there were; a run with few of them proves little. */
bool check_bank(const struct sim_txn_history *history, struct sim_bank_keys bank, char *text,
                size_t text_size, uint64_t *ret_judged);

#endif
