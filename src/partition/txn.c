/* txn.c - what a leader keeps of transactions in memory (rule A1: the locks of what is prepared;
 * which rows there are), and whom it tells that there is something to settle (C4, C11). The rows
 * are the truth: txn_record.h. */
#include "partition/host_internal.h"
#include "partition/locks.h"
#include "partition/txn_rows.h"

enum { KINDS = 2 }; /* of enum txn_row_kind */

static uint64_t rows_counted(const struct replica *replica, enum txn_row_kind kind)
{
    return row_table_count(replica->table, SERVICE_TXN, kind);
}

static bool has_rows(const struct replica *replica)
{
    return rows_counted(replica, TXN_ROW_PREPARED) + rows_counted(replica, TXN_ROW_DECISION) > 0;
}

bool txn_has_prepared(const struct replica *replica)
{
    return rows_counted(replica, TXN_ROW_PREPARED) > 0;
}

static void range_store(const struct replica *replica, enum txn_row_kind kind,
                        uint8_t from[ROW_PREFIX_SIZE], uint8_t to[ROW_PREFIX_SIZE])
{
    row_prefix_store(from, replica->slot_first, SERVICE_TXN, kind);
    row_prefix_store(to, replica->slot_first, SERVICE_TXN, kind + 1);
}

/* --- rows --- */

static uint64_t rows_held(const struct replica *replica, enum txn_row_kind kind)
{
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct row_cursor cursor;
    struct row_found found;
    uint64_t count = 0;
    range_store(replica, kind, from, to);
    row_cursor_seek(&cursor, replica->table, bytes_make(from, sizeof(from)));
    while (row_cursor_next(&cursor, bytes_make(to, sizeof(to)), &found))
        count += !found.tombstone;
    return count;
}

static enum status load(struct replica *replica, enum txn_row_kind kind, struct error *error)
{
    struct engine *engine = replica->host->options.engines[replica->store];
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct bytes key, stored, value;
    struct row_header header;
    enum status status = STATUS_OK;
    range_store(replica, kind, from, to);
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(from, sizeof(from)), bytes_make(to, sizeof(to)));
    while (status == STATUS_OK && engine_iterator_next(engine, iterator, &key, &stored)) {
        status = row_value_decode(stored, &header, &value);
        if (status == STATUS_OK) row_table_load(replica->table, key, &header, value);
    }
    enum status closed = engine_iterator_close(engine, iterator, error);
    if (status) return error_set(error, status, "a row cannot be decoded");
    return closed;
}

/* Rows that were flushed and evicted, or not loaded at the start, come back. That is seldom, and
 * they are few: it is done at once. */
static bool rows_are_here(struct replica *replica)
{
    struct error error = {0};
    if (PLANTED(replica->host->world, "txn_rows_stay_on_disk")) return true;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        if (rows_counted(replica, kind) == 0 || row_table_complete(replica->table)) continue;
        if (rows_held(replica, kind) == rows_counted(replica, kind)) continue;
        SOMETIMES(replica->host->world, "rows of transactions were read from the engine");
        if (load(replica, kind, &error) == STATUS_OK) continue;
        LOG_ERROR(host_logger(replica->host), "partition",
                  "group %u: what transactions have prepared cannot be read: %s",
                  replica->group.value, error.text);
        return false;
    }
    return true;
}

/* --- locks --- */

static void lock(struct replica *replica, struct txn_id id, const struct txn_prepared *prepared)
{
    if (replica->locks == NULL) replica->locks = locks_make();
    locks_add(replica->locks, id, prepared);
}

static void unlock(struct replica *replica, struct txn_id id)
{
    if (replica->locks == NULL || !locks_remove(replica->locks, id)) return;
    if (locks_count(replica->locks) == 0) {
        locks_free(replica->locks);
        replica->locks = NULL;
    }
    cold_unlocked(replica);
}

static bool lock_found(struct replica *replica, struct txn_id id, struct bytes value)
{
    struct txn_prepared prepared;
    if (txn_prepared_decode(value, &prepared)) return false;
    if (PLANTED(replica->host->world, "txn_shared_locks_in_memory"))
        prepared.key_count = prepared.range_count = prepared.namespace_count = 0;
    lock(replica, id, &prepared);
    return true;
}

/* --- which rows there are --- */

static void put(struct replica *replica, struct bytes key, uint64_t index)
{
    if (replica->txn_rows == NULL) replica->txn_rows = txn_rows_make();
    txn_rows_put(replica->txn_rows, key, index);
}

static void forget_deleted(struct replica *replica)
{
    if (replica->txn_rows == NULL) return;
    txn_rows_applied(replica->txn_rows, replica->applied);
    if (txn_rows_count(replica->txn_rows) > 0) return;
    txn_rows_free(replica->txn_rows);
    replica->txn_rows = NULL;
}

static bool row_found(struct replica *replica, const struct row_found *found)
{
    enum txn_row_kind kind;
    struct txn_id id;
    if (!txn_row_key_parse(found->key, &kind, &id)) return false;
    put(replica, found->key, 0);
    if (kind != TXN_ROW_PREPARED || PLANTED(replica->host->world, "txn_locks_lost")) return true;
    SOMETIMES(replica->host->world, "a new leader found prepared transactions");
    return lock_found(replica, id, found->value);
}

static bool find_all(struct replica *replica)
{
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct row_cursor cursor;
    struct row_found found;
    range_store(replica, TXN_ROW_PREPARED, from, to);
    row_prefix_store(to, replica->slot_first, SERVICE_TXN, KINDS);
    row_cursor_seek(&cursor, replica->table, bytes_make(from, sizeof(from)));
    while (row_cursor_next(&cursor, bytes_make(to, sizeof(to)), &found)) {
        if (!found.tombstone && !row_found(replica, &found)) return false;
    }
    return true;
}

static void tell(struct replica *replica)
{
    const struct host_options *options = &replica->host->options;
    replica->txn_told = replica->applied;
    if (options->events.on_txn != NULL) options->events.on_txn(options->context, replica->group);
}

bool txn_leads(struct replica *replica)
{
    txn_stops(replica);
    if (!has_rows(replica)) return true;
    return rows_are_here(replica) && find_all(replica);
}

void txn_ready(struct replica *replica)
{
    if (PLANTED(replica->host->world, "txn_leader_tells_nothing")) return;
    if (has_rows(replica)) tell(replica);
}

void txn_stops(struct replica *replica)
{
    locks_free(replica->locks);
    replica->locks = NULL;
    txn_rows_free(replica->txn_rows);
    replica->txn_rows = NULL;
    replica->txn_proposed = replica->txn_told = 0;
}

void txn_proposed(struct replica *replica, const struct effect *effect, uint64_t index)
{
    enum txn_row_kind kind;
    struct txn_id id;
    if (!txn_row_key_parse(effect->key, &kind, &id)) return;
    replica->txn_proposed = index;
    bool deletes = effect->kind == EFFECT_DELETE;
    if (!deletes)
        put(replica, effect->key, index);
    else if (replica->txn_rows != NULL)
        txn_rows_delete(replica->txn_rows, effect->key, index);
    if (kind != TXN_ROW_PREPARED) return;
    if (deletes) {
        unlock(replica, id);
        return;
    }
    struct txn_prepared prepared;
    enum status status = txn_prepared_decode(effect->value, &prepared);
    ASSERT(status == STATUS_OK); /* own encoding */
    lock(replica, id, &prepared);
}

void txn_applied(struct replica *replica)
{
    forget_deleted(replica);
    if (has_rows(replica))
        tell(replica);
    else
        replica->txn_told = replica->applied;
}

/* NULL: its rows cannot be told now. */
static struct replica *teller(struct partition_host *host, struct group_id group)
{
    struct replica *replica = host_replica(host, group);
    bool leads = replica != NULL && !replica->halted && replica->was_leader;
    return leads && replica_may_evaluate(replica, world_now(host->world)) ? replica : NULL;
}

bool host_txn_rows_each(struct partition_host *host, struct group_id group, void *context,
                        void (*on_key)(void *context, struct bytes key))
{
    const struct replica *replica = teller(host, group);
    if (replica == NULL) return false;
    host->statistics.txn_rows_looked +=
        txn_rows_each(replica->txn_rows, replica->applied, context, on_key);
    return true;
}

bool host_txn_row(struct partition_host *host, struct group_id group, struct bytes key,
                  struct bytes *ret_value)
{
    struct replica *replica = teller(host, group);
    struct row_found found;
    if (replica == NULL) return false;
    if (!row_table_get_committed(replica->table, key, &found)) {
        if (!rows_are_here(replica)) return false;
        if (!row_table_get_committed(replica->table, key, &found)) return false;
    }
    *ret_value = found.value;
    return true;
}
