/* What the end of a turn will apply is known when it begins, and its memory is far away: entries
 * came turns ago, rows were written at some time. A row that is looked for by itself waits for the
 * entry, a leaf and the row, one after the other, for longer than all that is calculated; here the
 * processor is asked for those of many entries at once. Changes nothing. Of a leader only entries
 * are asked for: it has found its rows at the evaluation. */
#include "partition/host_internal.h"

enum { LINE_SIZE = 64 };

struct foreseen {
    const struct raft_entry *entry;
    const struct replica *replica;
};

/* A usual entry has one effect; of others the first row is a start. */
static bool first_key(const struct raft_entry *entry, struct bytes *ret_key)
{
    if (entry->type != RAFT_ENTRY_NORMAL && entry->type != RAFT_ENTRY_WRITTEN) return false;
    struct reader reader = reader_make(bytes_make(entry->body, entry->size));
    struct entry_header header;
    struct effect effect;
    if (entry_header_decode(&reader, &header) || effect_decode(&reader, &effect)) return false;
    *ret_key = effect.key;
    return effect.kind == EFFECT_PUT || effect.kind == EFFECT_INSERT;
}

static uint32_t entries_of(const struct replica *replica, struct foreseen *seen, uint32_t room)
{
    uint64_t commit = raft_commit_index(replica->raft);
    uint32_t count = 0;
    for (uint64_t i = replica->applied + 1; i <= commit && count < room; i++) {
        const struct raft_entry *entry = raft_entry_unseen(replica->raft, i);
        if (entry == NULL) break;
        __builtin_prefetch(entry);
        __builtin_prefetch((const char *)entry + LINE_SIZE);
        seen[count++] = (struct foreseen){.entry = entry, .replica = replica};
    }
    return count;
}

static bool applies(const struct replica *replica)
{
    return replica != NULL && !replica->halted && !replica->flush_holds_apply;
}

size_t foresee_applied(struct replica *const *replicas, size_t count, uint32_t *ret_rows)
{
    struct foreseen seen[ROWS_FORESEEN_MAX];
    struct row_foreseen rows[ROWS_FORESEEN_MAX];
    uint32_t entry_count = 0, row_count = 0;
    size_t looked_at = 0;
    for (; looked_at < count; looked_at++) {
        const struct replica *replica = replicas[looked_at];
        if (!applies(replica)) continue;
        uint64_t more = raft_commit_index(replica->raft) - replica->applied;
        if (entry_count > 0 && more > ROWS_FORESEEN_MAX - entry_count) break; /* next time */
        entry_count += entries_of(replica, seen + entry_count, ROWS_FORESEEN_MAX - entry_count);
    }
    for (uint32_t i = 0; i < entry_count && entry_count > 1; i++) {
        const struct replica *replica = seen[i].replica;
        struct bytes key;
        if (replica->was_leader || !first_key(seen[i].entry, &key)) continue;
        rows[row_count++] = (struct row_foreseen){.table = replica->table, .key = key};
    }
    if (row_count > 0) row_table_foresee(rows, row_count);
    *ret_rows = row_count;
    return looked_at;
}
