/* row_table.h - the ordered in-memory table of one partition: at once overlay of proposed
 * writes, memtable of committed ones, and cache of clean ones (DESIGN.md 6, WHY 9.2).
 *
 * Every row has a state: proposed (evaluated by this leader, not yet committed), committed
 * (applied, not yet in the engine) or clean (in the engine). Deletions are rows too
 * (tombstones) until they are clean. A proposed write keeps what it hides, so that a leader
 * that steps down drops its proposals and the committed rows show again (rule A4).
 *
 * Reads see the newest version, proposed ones included; `version` then tells the caller what
 * its answer depends on (rule A2). The table is complete while no clean row was evicted and
 * all rows of the engine were loaded: then a miss is authoritative. Otherwise the engine has
 * to be asked, and what it says is loaded (its absences too).
 *
 * Structure: B+-tree; rows are single allocations {links, header, key, value}.
 * Costs aimed at (1 M rows): random put 0.6 us, get 0.4 us, scan 0.05 us per row.
 * Thread: the partition's worker. */
#ifndef HOLON_PARTITION_ROW_TABLE_H
#define HOLON_PARTITION_ROW_TABLE_H

#include "base/buffer.h"
#include "partition/row.h"

struct row_table;

enum row_state { ROW_PROPOSED, ROW_COMMITTED, ROW_CLEAN };

struct row_found {
    struct row_header header; /* header.version: index of the entry that wrote it */
    struct bytes key;
    struct bytes value; /* borrowed until the row changes or is evicted */
    bool tombstone;     /* of state clean, version 0: known to be absent in the engine too */
    enum row_state state;
};

struct row_drop { /* rows of the namespace up to an index do not count */
    uint8_t service;
    uint32_t namespace;
    uint64_t index;
};

struct row_table *row_table_make(void); /* with memory of its own */
/* Rows and nodes in shared memory, which outlives the table: base/slabs.h. */
struct slabs;
struct row_table *row_table_make_in(struct slabs *slabs);
void row_table_free(struct row_table *table);

/* Newest version of a key. False: no row at all (not even a tombstone). */
bool row_table_get(const struct row_table *table, struct bytes key, struct row_found *ret);
/* The committed row that stands or is hidden under proposals. False: none, or deleted. */
bool row_table_get_committed(const struct row_table *table, struct bytes key,
                             struct row_found *ret);

enum row_write_flags {
    /* By evaluation on the leader, over whatever is there; otherwise applied (followers,
     * recovery): committed at once. */
    ROW_WRITE_PROPOSED = 1,
    /* A put: the leader knows that the key has no live row. Only an incomplete table that does
     * not know the key itself believes this, for its counts. */
    ROW_WRITE_INSERTS = 2,
};

/* Writes at index header->version; flags: enum row_write_flags. Copies key and value.
 * Applying is idempotent where the table knows the key: an index below the present version
 * changes nothing; the same index is a later effect of the same entry and does. Deleting what
 * has no row changes nothing when applied; proposed, it leaves a tombstone, because readers
 * depend on the absence. On an incomplete table a delete of an unknown key deletes a row of
 * the engine: evaluation must not delete what it does not know to be there.
 * Indexes rise: proposals among themselves, and applied writes stay below all proposals. */
void row_table_put(struct row_table *table, struct bytes key, const struct row_header *header,
                   struct bytes value, unsigned flags);
void row_table_delete(struct row_table *table, struct bytes key, uint64_t index, unsigned flags);
/* Deletes each visible row of a [service][namespace], in all slots. O(rows of it). What an
 * incomplete table does not hold of it is hidden from now on: see row_table_hides(). */
void row_table_drop(struct row_table *table, uint8_t service, uint32_t namespace, uint64_t index,
                    unsigned flags);
/* As the engine gave it back: clean. False: there is a row of the key already, which counts, or
 * a drop hides it: then the key is known to be absent now. Counts the row if the table is
 * complete (recovery, snapshots); otherwise it is counted already. */
bool row_table_load(struct row_table *table, struct bytes key, const struct row_header *header,
                    struct bytes value);
/* The engine has no row of the key: found as a clean tombstone from now on, until evicted. */
void row_table_load_absent(struct row_table *table, struct bytes key);

/* The proposals of entries <= index are committed now. O(rows of those entries). */
void row_table_commit(struct row_table *table, uint64_t index);
/* Rows that will be looked for soon, of any tables: their memory is fetched meanwhile, all of it at
 * once. Changes nothing, and the keys need not be there. */
enum { ROWS_FORESEEN_MAX = 16 };
struct row_foreseen {
    const struct row_table *table;
    struct bytes key;
};
void row_table_foresee(const struct row_foreseen *rows, uint32_t count);
/* Drops all proposals (step-down). */
void row_table_revert(struct row_table *table);

/* Index of the newest proposal, or 0. */
uint64_t row_table_newest_proposed(const struct row_table *table);

/* Rows in key order, newest versions, tombstones included. A cursor is used up by any change
 * of the table (asserted): go on with row_cursor_seek_after() from a copy of the last key.
 * Needs no freeing. */
struct row_cursor {
    const struct row_table *table; /* all private */
    void *leaf;
    uint32_t slot;
    uint64_t change;
};
void row_cursor_seek(struct row_cursor *cursor, const struct row_table *table,
                     struct bytes from); /* the first key >= from */
void row_cursor_seek_after(struct row_cursor *cursor, const struct row_table *table,
                           struct bytes after); /* the first key > after */
/* False at the end or at a key >= to (to empty: no end). */
bool row_cursor_next(struct row_cursor *cursor, struct bytes to, struct row_found *ret);

/* Live rows (newest version, not tombstones) under a [service][namespace] over all slots, those
 * of the engine that an incomplete table does not hold included. */
uint64_t row_table_count(const struct row_table *table, uint8_t service, uint32_t namespace);
uint64_t row_table_rows(const struct row_table *table);  /* all, tombstones included */
uint64_t row_table_bytes(const struct row_table *table); /* memory held */
uint64_t row_table_dirty_bytes(const struct row_table *table);

/* Calls back for the newest committed version of each row that is not clean, in key order (a
 * proposed row shows the committed one it hides). O(rows). */
void row_table_dirty_each(const struct row_table *table, void *context,
                          void (*on_row)(void *context, const struct row_found *row));

/* A cut: those same rows as of now, copied in steps while the table goes on, so that no turn of
 * the loop is long. `index`: what is applied now. Each row is given once: by a step, in key
 * order, or through on_replaced before a newer version takes the place of one that no step has
 * come to. A table may have several cuts at a time. */
struct row_cut {
    void *context;
    void (*on_row)(void *context, const struct row_found *row);
    void (*on_replaced)(void *context, const struct row_found *row);
    uint64_t index;      /* private from here on */
    struct buffer after; /* key: up to here all are given */
    struct row_cut *next;
};
void row_table_cut_begin(struct row_table *table, struct row_cut *cut, uint64_t index);
/* Goes on for `*work`: rows, leaves and pieces of ROW_CUT_WORK_BYTES; what it did is taken off.
 * False: all are given. */
enum { ROW_CUT_WORK_BYTES = 512 };
bool row_table_cut_step(struct row_table *table, struct row_cut *cut, uint32_t *work);
/* Before it is freed, or earlier: what was not given will not be. */
void row_table_cut_end(struct row_table *table, struct row_cut *cut);

/* When the run of a cut at `index` is durable: rows whose committed version is <= index become
 * clean, and tombstones among them go; in steps of so many rows and leaves. `after`: where the
 * step before ended, empty at first. False: that was the last step. */
bool row_table_flushed_step(struct row_table *table, uint64_t index, struct buffer *after,
                            uint32_t work);
void row_table_flushed(struct row_table *table, uint64_t index); /* all at once: O(rows) */

/* All committed rows without tombstones, in key order, for snapshots and hashes: resumable
 * by the key after which to go on (empty: from the start). Stops when on_row returns false. */
void row_table_committed_each(const struct row_table *table, struct bytes after, void *context,
                              bool (*on_row)(void *context, const struct row_found *row));

/* Over key, header and value of all committed rows: equal content gives an equal hash,
 * whatever was proposed or flushed (S-1: equal applied index, equal hash). It is the sum of
 * their row_hash(), modulo 2^64. On an incomplete table the sum of the rows that are held: the
 * caller adds the row_hash() of each row of the engine that is not hidden. O(rows). */
uint64_t row_table_hash(const struct row_table *table);
uint64_t row_hash(struct bytes key, const struct row_header *header, struct bytes value);

/* What applied entries wrote, as it stands in the table: the sum over all puts of a hash of key,
 * header and value, modulo 2^64, whoever evaluated them; of what one entry writes twice the last
 * counts. Between two indexes it grows by the same on all replicas, as long as `skipped` does not
 * move: those were writes of entries older than the row that was there. */
struct row_writes {
    uint64_t sum, skipped;
};
struct row_writes row_table_writes(const struct row_table *table);
/* The applied version of each key with from <= key < to (to empty: no end) that the table has,
 * tombstones included, in key order. Ends when on_row returns false. */
void row_table_applied_each(const struct row_table *table, struct bytes from, struct bytes to,
                            void *context,
                            bool (*on_row)(void *context, const struct row_found *row));

/* --- incomplete tables ---
 *
 * What the engine read is stale if it was read before a flush that made a row clean: that row
 * may be gone from the table since. So take row_table_flush_generation() before the read, and
 * load what it gave only if it has not moved; else read again. */
bool row_table_complete(const struct row_table *table);
/* At recovery, before anything is loaded or applied, if rows of the engine are not loaded. The
 * counts and drops of the replica's record go in with row_table_count_load() and
 * row_table_drop_load(), and each entry is applied once, in order. */
void row_table_set_incomplete(struct row_table *table);
/* The caller has loaded all rows of the engine, and row_table_evictions() did not move. */
void row_table_set_complete(struct row_table *table);
/* Rises at each flush that made anything clean, and when a drop is forgotten. */
uint64_t row_table_flush_generation(const struct row_table *table);

enum { ROW_TABLE_EVICT_ROWS_MAX = 16 << 10 };
/* Drops clean rows, by a clock with a second chance: one that row_table_get() gave since the
 * hand last passed is spared once. Ends when `bytes` are freed, after a whole pass, or when
 * ROW_TABLE_EVICT_ROWS_MAX rows were looked at (a call lasts under 2 ms); the next call goes on
 * there. Returns the bytes freed; dropping any makes the table incomplete. Proposed and
 * committed rows, and what proposals hide, stay. */
uint64_t row_table_evict(struct row_table *table, uint64_t bytes);
/* Rises at each call that dropped a row: what was loaded before may be gone. */
uint64_t row_table_evictions(const struct row_table *table);
uint64_t row_table_clean_bytes(const struct row_table *table); /* what eviction could free */

/* Whether a row that the engine has of a key, of this version, does not count: the table has
 * an applied version of the key (or its deletion), or a drop came after it. */
bool row_table_hides(const struct row_table *table, struct bytes key, uint64_t version);

/* Counts as of what is applied, without proposals, for records and snapshots. Only those > 0. */
void row_table_counts_each(const struct row_table *table, void *context,
                           void (*on_count)(void *context, uint8_t service, uint32_t namespace,
                                            uint64_t rows));
void row_table_count_load(struct row_table *table, uint8_t service, uint32_t namespace,
                          uint64_t rows);

/* Committed drops that hide rows of the engine: at most one per [service][namespace], the
 * newest. They belong into the replica's record until a collection pass has removed all rows
 * with a version <= index from the engine; then row_table_drop_forget(). */
void row_table_drops_each(const struct row_table *table, void *context,
                          void (*on_drop)(void *context, uint8_t service, uint32_t namespace,
                                          uint64_t index));
void row_table_drop_load(struct row_table *table, uint8_t service, uint32_t namespace,
                         uint64_t index);
/* Forgets the drop if it is not newer than index. */
void row_table_drop_forget(struct row_table *table, uint8_t service, uint32_t namespace,
                           uint64_t index);

#endif
