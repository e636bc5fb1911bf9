/* txn.c - what a leader keeps of prepared transactions in memory (rule A1: their locks), and whom
 * it tells that there is something to settle (C4, C11). The rows are the truth: txn_record.h. */
#include "partition/host_internal.h"
#include "partition/locks.h"

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

static bool lock_found(struct replica *replica, const struct row_found *found)
{
    enum txn_row_kind kind;
    struct txn_id id;
    struct txn_prepared prepared;
    if (!txn_row_key_parse(found->key, &kind, &id)) return false;
    if (txn_prepared_decode(found->value, &prepared)) return false;
    if (PLANTED(replica->host->world, "txn_shared_locks_in_memory"))
        prepared.key_count = prepared.range_count = prepared.namespace_count = 0;
    lock(replica, id, &prepared);
    return true;
}

static bool lock_all(struct replica *replica)
{
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    struct row_cursor cursor;
    struct row_found found;
    range_store(replica, TXN_ROW_PREPARED, from, to);
    row_cursor_seek(&cursor, replica->table, bytes_make(from, sizeof(from)));
    while (row_cursor_next(&cursor, bytes_make(to, sizeof(to)), &found)) {
        if (found.tombstone) continue;
        SOMETIMES(replica->host->world, "a new leader found prepared transactions");
        if (!lock_found(replica, &found)) return false;
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
    locks_free(replica->locks);
    replica->locks = NULL;
    replica->txn_proposed = replica->txn_told = 0;
    if (!has_rows(replica)) return true;
    if (!rows_are_here(replica)) return false;
    return PLANTED(replica->host->world, "txn_locks_lost") || lock_all(replica);
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
    replica->txn_proposed = replica->txn_told = 0;
}

void txn_proposed(struct replica *replica, const struct effect *effect, uint64_t index)
{
    enum txn_row_kind kind;
    struct txn_id id;
    if (!txn_row_key_parse(effect->key, &kind, &id)) return;
    replica->txn_proposed = index;
    if (kind != TXN_ROW_PREPARED) return;
    if (effect->kind == EFFECT_DELETE) {
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
    if (has_rows(replica))
        tell(replica);
    else
        replica->txn_told = replica->applied;
}

struct told {
    void *context;
    void (*on_row)(void *context, struct bytes key, struct bytes value);
};

static bool tell_row(void *context, const struct row_found *row)
{
    struct told *told = context;
    if (!row->tombstone) told->on_row(told->context, row->key, row->value);
    return true;
}

bool host_txn_rows_each(struct partition_host *host, struct group_id group, void *context,
                        void (*on_row)(void *context, struct bytes key, struct bytes value))
{
    struct replica *replica = host_replica(host, group);
    struct told told = {.context = context, .on_row = on_row};
    uint8_t from[ROW_PREFIX_SIZE], to[ROW_PREFIX_SIZE];
    bool leads = replica != NULL && !replica->halted && replica->was_leader;
    if (!leads || !replica_may_evaluate(replica, world_now(host->world))) return false;
    if (!has_rows(replica)) return true;
    if (!rows_are_here(replica)) return false;
    range_store(replica, TXN_ROW_PREPARED, from, to);
    row_prefix_store(to, replica->slot_first, SERVICE_TXN, KINDS);
    row_table_applied_each(replica->table, bytes_make(from, sizeof(from)),
                           bytes_make(to, sizeof(to)), &told, tell_row);
    return true;
}
