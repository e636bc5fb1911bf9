/* group_table.h - what the log knows of each group, as of the records applied so far: state,
 * base, last entry, and which segments hold entries still needed. Private to src/storage/log.
 *
 * One set of rules for both sides: recovery applies what it reads, the writer what it is about
 * to write. So a dump at the start of a segment must say exactly what replaying everything
 * before it gives, and recovery checks that it does.
 * Thread: one at a time (recovery, then whoever runs the writer's job). */
#ifndef HOLON_STORAGE_LOG_GROUP_TABLE_H
#define HOLON_STORAGE_LOG_GROUP_TABLE_H

#include "base/arena.h"
#include "base/map.h"
#include "storage/log/format.h"
#include "storage/log/span.h"

struct log_kept {
    struct log_entry *entries;
    size_t count, capacity;
};

struct log_group {
    struct replica_id replica; /* 0: none lives */
    uint64_t base_index;
    uint64_t last_index; /* base_index: no entries */

    struct log_spans spans; /* of entries base_index + 1 and up */
    struct group_id group;
    uint64_t base_term;
    struct replica_id dead; /* the one before it: whatever still comes of it is void */
    struct log_state state;

    /* Recovery only. Copies are of entries before the first written one, in the order in which
     * they were copied, maybe twice; what neither holds lay in segments that were freed, and
     * must turn out to be released. Memory is bounded by what was read, not by indexes. */
    struct log_kept written; /* one after the other, up to last_index */
    struct log_kept copies;
};

struct log_table {
    struct map groups;         /* group id -> struct log_group */
    uint32_t living;           /* groups that have a replica */
    struct arena *bodies;      /* where recovery keeps bodies; NULL: entries are only counted */
    bool old_replica_replayed; /* planted bug, see recovery.c */
};

void log_table_init(struct log_table *table, struct arena *bodies);
void log_table_free(struct log_table *table);
/* Puts the copies before the written entries. False: not every needed entry is there. */
bool log_group_join_entries(struct log_group *group);
/* Hands the group's recovered and joined entries over to the caller (memory_free) and forgets them.
 */
struct log_entry *log_group_take_entries(struct log_group *group, size_t *ret_count);

enum log_apply {
    LOG_APPLIED,
    LOG_APPLIED_VOTE, /* term or vote changed, or a replica was born: to be written twice */
    LOG_APPLY_VOID,   /* of a replica that is no more */
    LOG_APPLY_BAD,    /* breaks the rules: our own bug, or damage */
};

/* Applies one record that stands in `segment`. Dumps go to log_table_apply_dump(). */
enum log_apply log_table_apply(struct log_table *table, const struct log_record *record,
                               uint64_t segment);
/* A dump record of the oldest segment: takes it over. BAD: a second one of the same group. */
enum log_apply log_table_load_dump(struct log_table *table, const struct log_record *record);
/* A dump record of a later segment: only compares. */
bool log_table_dump_agrees(const struct log_table *table, const struct log_record *record);
/* Is a vote found in a torn batch newer than what the table knows of its (living) replica? Then
 * *ret_state is the replica's state with that vote. */
bool log_table_vote_is_newer(const struct log_table *table, const struct log_vote *vote,
                             struct log_state *ret_state);

/* The dump record of a living group. */
struct log_record log_group_dump(const struct log_group *group);
/* The oldest segment with an entry that is still needed, and whose; `none` if there is none. */
uint64_t log_table_oldest_needed(const struct log_table *table, uint64_t none,
                                 struct group_id *ret_group);
/* Bytes of records that are still needed (an estimate from above): in all, those of one segment,
 * and the most of them that are of one group. */
struct log_needed {
    uint64_t live, segment, segment_group_max;
};
struct log_needed log_table_needed(const struct log_table *table, uint64_t segment);
/* The entry of this record, which stands in `segment`, is needed, and no other place has it
 * (unless a later record of the same segment does). */
bool log_table_needs_entry(const struct log_table *table, const struct log_record *record,
                           uint64_t segment);
/* for (size_t i = 0; (group = log_table_next(table, &i)) != NULL;) : the living ones. */
struct log_group *log_table_next(const struct log_table *table, size_t *position);

#endif
