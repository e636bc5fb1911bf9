#include "sim/checkers/serializable_internal.h"

#include <inttypes.h>

/* R read something of S. So S is before R, and where S has written a register, too, what R read or
 * wrote there is behind that: this is all that is known of registers that are only written blindly.
 */
struct reader {
    struct check *check;
    const struct access *accesses; /* of R */
    uint32_t count;
    uint32_t txn;
};

/* The write that a read before all own writes saw last; NULL: none, or another check will see to
 * it. */
static const struct write *source_of(const struct reader *reader, const struct access *access)
{
    const struct sim_txn_history *history = reader->check->history;
    uint64_t value;

    if (access->read == SIM_TXN_NONE) return NULL;
    const struct sim_txn_op *read = &history->ops[access->read];
    if (read->kind == SIM_TXN_LIST) {
        if (read->list_count <= access->own_before) return NULL;
        value = sim_txn_list_values(history, read)[read->list_count - access->own_before - 1];
    } else {
        value = read->value;
    }
    const struct write *write = check_find_write(reader->check, access->key, value);
    if (write == NULL) return NULL;
    uint32_t writer = history->ops[write->op].txn;
    bool is_of_use = writer != reader->txn && reader->check->counts[writer];
    return is_of_use ? write : NULL;
}

static const struct access *access_of(const struct reader *reader, uint32_t key)
{
    for (uint32_t i = 0; i < reader->count; i++)
        if (reader->accesses[i].key == key) return &reader->accesses[i];
    return NULL;
}

static uint32_t writer_of(const struct reader *reader, const struct write *write)
{
    return reader->check->history->ops[write->op].txn;
}

/* Did `txn` write a register that R read from `source`? */
static bool wrote_what_was_read_from(const struct reader *reader, uint32_t txn, uint32_t source)
{
    const struct sim_txn_history *history = reader->check->history;

    for (uint32_t i = history->txns[txn].first; i != SIM_TXN_NONE; i = history->ops[i].next) {
        if (history->ops[i].kind != SIM_TXN_WRITE) continue;
        const struct access *access = access_of(reader, reader->check->op_keys[i]);
        const struct write *write = access ? source_of(reader, access) : NULL;
        if (write && writer_of(reader, write) == source) return true;
    }
    return false;
}

static void note_overwritten(struct write *write, uint32_t by, uint32_t witness)
{
    if (write->overwritten_by != SIM_TXN_NONE) return; /* one is enough for most */
    write->overwritten_by = by;
    write->overwritten_witness = witness + 1;
}

/* `write` is of S, to a register that R knows by `access`. */
static bool follow(struct reader *reader, uint32_t source, struct write *write,
                   const struct access *access)
{
    struct check *check = reader->check;
    const struct write *seen = source_of(reader, access);

    if (seen == NULL) {
        bool is_blind = access->read == SIM_TXN_NONE && access->write != SIM_TXN_NONE;
        if (is_blind) note_overwritten(write, reader->txn, reader->txn);
        return true;
    }
    uint32_t other = writer_of(reader, seen);
    if (other == source) return true;
    if (wrote_what_was_read_from(reader, other, source)) {
        check->report.cycle_count = 2;
        check_found(check, SIM_ANOMALY_G_SINGLE,
                    "T%" PRIu32 " read of both T%" PRIu32 " and T%" PRIu32
                    " what the other one wrote, too",
                    reader->txn, source, other);
        check_say_txn(check, reader->txn);
        check_say_txn(check, source);
        check_say_txn(check, other);
        return false;
    }
    note_overwritten(write, other, reader->txn);
    graph_add(&check->graph, (struct edge){.from = source,
                                           .to = other,
                                           .key = check->keys[write->key].name,
                                           .kind = EDGE_WW_READ,
                                           .value = seen->value,
                                           .witness = reader->txn + 1});
    return true;
}

bool check_versions(struct check *check, const struct access *accesses, uint32_t count)
{
    const struct sim_txn_history *history = check->history;
    struct reader reader = {.check = check, .accesses = accesses, .count = count};

    for (uint32_t i = 0; i < count; i++) {
        reader.txn = accesses[i].txn;
        const struct write *from = source_of(&reader, &accesses[i]);
        if (from == NULL) continue;
        uint32_t source = writer_of(&reader, from);
        for (uint32_t op = history->txns[source].first; op != SIM_TXN_NONE;
             op = history->ops[op].next) {
            if (history->ops[op].kind != SIM_TXN_WRITE) continue;
            const struct access *access = access_of(&reader, check->op_keys[op]);
            struct write *write =
                check_find_write(check, check->op_keys[op], history->ops[op].value);
            if (access == NULL || !write->is_final) continue;
            if (!follow(&reader, source, write, access)) return false;
        }
    }
    return true;
}
