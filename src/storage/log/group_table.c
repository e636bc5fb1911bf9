#include "storage/log/group_table.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"

void log_table_init(struct log_table *table, struct arena *bodies)
{
    *table = (struct log_table){.bodies = bodies};
    map_init(&table->groups);
}

static void kept_free(struct log_kept *kept)
{
    memory_free(kept->entries);
    *kept = (struct log_kept){0};
}

struct log_entry *log_group_take_entries(struct log_group *group, size_t *ret_count)
{
    ASSERT(group->copies.count == 0);
    struct log_entry *entries = group->written.entries;

    *ret_count = group->written.count;
    kept_free(&group->copies);
    group->written = (struct log_kept){0};
    return entries;
}

void log_table_free(struct log_table *table)
{
    uint64_t key;
    void *value;

    for (size_t i = 0; map_next(&table->groups, &i, &key, &value);) {
        struct log_group *group = value;
        kept_free(&group->written);
        kept_free(&group->copies);
        log_spans_free(&group->spans);
        memory_free(group);
    }
    map_free(&table->groups);
}

struct log_group *log_table_next(const struct log_table *table, size_t *position)
{
    uint64_t key;
    void *value;

    while (map_next(&table->groups, position, &key, &value)) {
        struct log_group *group = value;
        if (group->replica.value != 0) return group;
    }
    return NULL;
}

/* --- entries and their spans -------------------------------------------------------------- */

static void kept_add(struct log_kept *kept, const struct log_entry *entry)
{
    if (kept->count == kept->capacity) {
        kept->capacity = kept->capacity == 0 ? 4 : 2 * kept->capacity;
        kept->entries = memory_resize(kept->entries, kept->capacity * sizeof(*kept->entries));
    }
    kept->entries[kept->count++] = *entry;
}

/* Keeps those of (base, last]. */
static void kept_cut(struct log_kept *kept, uint64_t base, uint64_t last)
{
    size_t count = 0;

    for (size_t i = 0; i < kept->count; i++)
        if (kept->entries[i].index > base && kept->entries[i].index <= last)
            kept->entries[count++] = kept->entries[i];
    kept->count = count;
}

/* Entries > last are void. */
static void group_cut_end(struct log_group *group, uint64_t last)
{
    ASSERT(last >= group->base_index);
    if (last >= group->last_index) return;
    group->last_index = last;
    log_spans_cut_end(&group->spans, group->base_index, last);
    kept_cut(&group->copies, 0, last);
    struct log_kept *written = &group->written;
    while (written->count > 0 && written->entries[written->count - 1].index > last)
        written->count--;
}

/* Entries <= base are not needed any more. */
static void group_cut_start(struct log_group *group, uint64_t base)
{
    log_spans_cut_start(&group->spans, base);
    kept_cut(&group->copies, base, UINT64_MAX);
    if (group->written.count > 0 && group->written.entries[0].index <= base)
        kept_cut(&group->written, base, UINT64_MAX);
}

static void group_restart(struct log_group *group, uint64_t base, uint64_t term)
{
    group->base_index = base;
    group->base_term = term;
    group->last_index = base;
    group->spans.count = 0;
    group->written.count = 0;
    group->copies.count = 0;
}

/* A copy of one that is still there is not kept. */
static void group_keep_entry(struct log_table *table, struct log_group *group,
                             const struct log_entry *entry, bool is_copy)
{
    if (table->bodies == NULL) return;
    bool is_there = group->written.count > 0 && entry->index >= group->written.entries[0].index;
    if (is_copy && is_there) return;

    struct log_entry kept = *entry;
    kept.body = arena_copy(table->bodies, entry->body);
    kept_add(is_copy ? &group->copies : &group->written, &kept);
}

static int entry_compare(const void *a, const void *b)
{
    const struct log_entry *left = a, *right = b;

    return left->index < right->index ? -1 : left->index > right->index;
}

bool log_group_join_entries(struct log_group *group)
{
    struct log_kept joined = {0};

    if (group->copies.count > 0)
        qsort(group->copies.entries, group->copies.count, sizeof(*group->copies.entries),
              entry_compare);
    for (size_t i = 0; i < group->copies.count; i++) {
        const struct log_entry *entry = &group->copies.entries[i];
        bool copied_again = i > 0 && entry[-1].index == entry->index;
        if (!copied_again) kept_add(&joined, entry);
    }
    if (joined.count > 0) {
        for (size_t i = 0; i < group->written.count; i++)
            kept_add(&joined, &group->written.entries[i]);
        kept_free(&group->written);
        group->written = joined;
        group->copies.count = 0;
    }
    uint64_t needed = group->last_index - group->base_index;
    return group->written.count == needed &&
           (needed == 0 || (group->written.entries[0].index == group->base_index + 1 &&
                            group->written.entries[needed - 1].index == group->last_index));
}

/* --- applying ----------------------------------------------------------------------------- */

static struct log_group *table_group(struct log_table *table, struct group_id id)
{
    struct log_group *group = map_get(&table->groups, id.value);

    if (group == NULL) {
        group = memory_allocate_lines(sizeof(*group));
        group->group = id;
        map_put(&table->groups, id.value, group);
    }
    return group;
}

/* A new replica begins with nothing: entries, votes and base of the one before it are void
 * (WHY 5.3: else a copy that was removed and came back inherits promises it never made). */
static void group_born(struct log_table *table, struct log_group *group, struct replica_id replica)
{
    if (group->replica.value == 0)
        table->living++;
    else
        group->dead = group->replica;
    group->replica = replica;
    if (table->old_replica_replayed) return;
    group->state = (struct log_state){0};
    group_restart(group, 0, 0);
}

static enum log_apply apply_state(struct log_table *table, const struct log_record *record)
{
    struct log_group *group = table_group(table, record->group);
    bool born = !replica_id_equal(group->replica, record->replica);

    if (born && replica_id_equal(group->dead, record->replica)) return LOG_APPLY_VOID;
    if (born) group_born(table, group, record->replica);

    const struct log_state *old = &group->state;
    const struct log_state *new = &record->state;
    bool term_fell = new->term < old->term;
    bool second_vote =
        new->term == old->term && old->vote.value != 0 && !replica_id_equal(new->vote, old->vote);
    if (!born && (term_fell || second_vote)) return LOG_APPLY_BAD; /* */

    bool vote_changed = new->term != old->term || !replica_id_equal(new->vote, old->vote);
    if (born && table->old_replica_replayed && old->term > new->term) return LOG_APPLIED_VOTE;
    group->state = *new;
    return born || vote_changed ? LOG_APPLIED_VOTE : LOG_APPLIED;
}

static enum log_apply apply_entry(struct log_table *table, struct log_group *group,
                                  const struct log_entry *entry, uint64_t segment)
{
    if (entry->index <= group->base_index || entry->index > group->last_index + 1)
        return LOG_APPLY_BAD;
    group_cut_end(group, entry->index - 1);
    group->last_index = entry->index;
    log_spans_extend(&group->spans, segment, entry->index, log_entry_record_size(entry->body.size));
    group_keep_entry(table, group, entry, false);
    return LOG_APPLIED;
}

/* The entry stays what it is; only its place is now `segment`. */
static enum log_apply apply_copy(struct log_table *table, struct log_group *group,
                                 const struct log_entry *entry, uint64_t segment)
{
    if (entry->index <= group->base_index || entry->index > group->last_index) return LOG_APPLY_BAD;
    log_spans_move(&group->spans, group->base_index, segment, entry->index,
                   log_entry_record_size(entry->body.size));
    group_keep_entry(table, group, entry, true);
    return LOG_APPLIED;
}

static enum log_apply apply_release(struct log_group *group, uint64_t index, uint64_t term)
{
    if (index <= group->base_index) return LOG_APPLIED;
    if (index > group->last_index) {
        group_restart(group, index, term);
        return LOG_APPLIED;
    }
    group->base_index = index;
    group->base_term = term;
    group_cut_start(group, index);
    return LOG_APPLIED;
}

enum log_apply log_table_apply(struct log_table *table, const struct log_record *record,
                               uint64_t segment)
{
    if (record->type == LOG_RECORD_STATE) return apply_state(table, record);

    struct log_group *group = map_get(&table->groups, record->group.value);
    if (group == NULL || !replica_id_equal(group->replica, record->replica)) return LOG_APPLY_VOID;

    switch (record->type) {
    case LOG_RECORD_ENTRY:
        return apply_entry(table, group, &record->entry, segment);
    case LOG_RECORD_COPY:
        return apply_copy(table, group, &record->entry, segment);
    case LOG_RECORD_TRUNCATE:
        if (record->index <= group->base_index) return LOG_APPLY_BAD;
        group_cut_end(group, record->index - 1);
        return LOG_APPLIED;
    case LOG_RECORD_SNAPSHOT:
        if (record->index < group->base_index) return LOG_APPLY_BAD;
        group_restart(group, record->index, record->term);
        return LOG_APPLIED;
    case LOG_RECORD_REMOVED:
        group->dead = group->replica;
        group->replica.value = 0;
        table->living--;
        if (!table->old_replica_replayed) group_restart(group, 0, 0);
        return LOG_APPLIED;
    case LOG_RECORD_RELEASE:
        return apply_release(group, record->index, record->term);
    case LOG_RECORD_STATE:
    case LOG_RECORD_DUMP:
        break;
    }
    return LOG_APPLY_BAD;
}

enum log_apply log_table_load_dump(struct log_table *table, const struct log_record *record)
{
    ASSERT(record->type == LOG_RECORD_DUMP);
    struct log_group *group = table_group(table, record->group);

    if (group->replica.value != 0 || record->last_index < record->index) return LOG_APPLY_BAD;
    group_born(table, group, record->replica);
    group->state = record->state;
    group_restart(group, record->index, record->term);
    group->last_index = record->last_index;
    return LOG_APPLIED;
}

bool log_table_dump_agrees(const struct log_table *table, const struct log_record *record)
{
    ASSERT(record->type == LOG_RECORD_DUMP);
    const struct log_group *group = map_get(&table->groups, record->group.value);

    if (group == NULL || !replica_id_equal(group->replica, record->replica)) return false;
    return group->state.term == record->state.term &&
           replica_id_equal(group->state.vote, record->state.vote) &&
           group->state.commit == record->state.commit && group->base_index == record->index &&
           group->base_term == record->term && group->last_index == record->last_index;
}

bool log_table_vote_is_newer(const struct log_table *table, const struct log_vote *vote,
                             struct log_state *ret_state)
{
    const struct log_group *group = map_get(&table->groups, vote->group.value);

    if (group == NULL || !replica_id_equal(group->replica, vote->replica)) return false;
    bool newer_term = vote->term > group->state.term;
    bool first_vote =
        vote->term == group->state.term && group->state.vote.value == 0 && vote->vote.value != 0;
    if (!newer_term && !first_vote) return false;
    *ret_state = group->state;
    ret_state->term = vote->term;
    ret_state->vote = vote->vote;
    return true;
}

/* --- asking ------------------------------------------------------------------------------- */

struct log_record log_group_dump(const struct log_group *group)
{
    return (struct log_record){.type = LOG_RECORD_DUMP,
                               .group = group->group,
                               .replica = group->replica,
                               .state = group->state,
                               .index = group->base_index,
                               .term = group->base_term,
                               .last_index = group->last_index};
}

uint64_t log_table_oldest_needed(const struct log_table *table, uint64_t none,
                                 struct group_id *ret_group)
{
    uint64_t oldest = none;
    struct log_group *group;

    for (size_t i = 0; (group = log_table_next(table, &i)) != NULL;) {
        uint64_t needed = log_spans_oldest(&group->spans, oldest);
        if (needed >= oldest) continue;
        oldest = needed;
        *ret_group = group->group;
    }
    return oldest;
}

struct log_needed log_table_needed(const struct log_table *table, uint64_t segment)
{
    struct log_needed needed = {0};
    struct log_group *group;

    for (size_t i = 0; (group = log_table_next(table, &i)) != NULL;) {
        uint64_t here = 0;
        for (size_t k = 0; k < group->spans.count; k++) {
            const struct log_span *span = &group->spans.spans[k];
            needed.live += span->bytes;
            if (span->segment == segment) here += span->bytes;
        }
        needed.segment += here;
        if (here > needed.segment_group_max) needed.segment_group_max = here;
    }
    return needed;
}

bool log_table_needs_entry(const struct log_table *table, const struct log_record *record,
                           uint64_t segment)
{
    if (record->type != LOG_RECORD_ENTRY && record->type != LOG_RECORD_COPY) return false;
    const struct log_group *group = map_get(&table->groups, record->group.value);
    uint64_t index = record->entry.index;

    if (group == NULL || !replica_id_equal(group->replica, record->replica)) return false;
    if (index <= group->base_index || index > group->last_index) return false;
    const struct log_span *span = log_spans_find(&group->spans, index);
    return span != NULL && span->segment == segment;
}
