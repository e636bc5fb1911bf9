/* Keys of the bank, chosen so that each account lies in a partition of its own, and all
 * counters of a mover in the same. */
#include "base/assert.h"
#include "base/hash.h"
#include "sim/sim_bank_internal.h"

#include <stdio.h>

enum { SLOTS = 16384, KEYS_TRIED_MAX = 100 * 1000 };

static uint32_t partition_of(const struct sim_bank *bank, const char *key)
{
    uint32_t slot = crc16_xmodem(bytes_of(key)) % SLOTS;

    return slot * bank->options.partitions / SLOTS;
}

static void name_key(const struct sim_bank *bank, char *key, const char *what, uint32_t number,
                     uint32_t partition)
{
    for (uint32_t i = 0; i < KEYS_TRIED_MAX; i++) {
        snprintf(key, SIM_BANK_KEY_SIZE_MAX, "%s:%u.%u", what, number, i);
        if (partition_of(bank, key) == partition) return;
    }
    ASSERT(!"a partition without keys");
}

void sim_bank_name_keys(struct sim_bank *bank)
{
    uint32_t partitions = bank->options.partitions, movers = bank->options.movers;

    for (uint32_t i = 0; i < SIM_BANK_ACCOUNTS; i++)
        name_key(bank, bank->accounts[i], "account", i, i % partitions);
    for (uint32_t i = 0; i < movers; i++)
        name_key(bank, bank->tags[i], "moved", i, i * partitions / movers);
}

void sim_bank_account_key(struct buffer *output, const struct sim_bank *bank, uint32_t account)
{
    sim_resp_text(output, bank->accounts[account]);
}

void sim_bank_counter_key(struct buffer *output, const struct sim_bank *bank, uint32_t mover,
                          uint32_t generation)
{
    char key[SIM_BANK_KEY_SIZE_MAX + 16];

    snprintf(key, sizeof(key), "{%s}.%u", bank->tags[mover], generation);
    sim_resp_text(output, key);
}

struct sim_bank_counter *sim_bank_counter(struct sim_bank *bank, uint32_t mover)
{
    return &bank->counters[mover][bank->generations[mover]];
}
