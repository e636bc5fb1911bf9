#include "storage/log/group_table.h"

#include "base/assert.h"
#include "base/memory.h"

void log_table_init(struct log_table *table, struct arena *bodies)
{
    *table = (struct log_table){.bodies = bodies};
    map_init(&table->groups);
}

struct log_entry *log_group_take_entries(struct log_group *group, size_t *ret_count)
{
    struct log_entry *entries = group->entries;

    *ret_count = group->entry_count;
    group->entries = NULL;
    group->entry_count = 0;
    group->entry_capacity = 0;
    return entries;
}

void log_table_free(struct log_table *table)
{
    uint64_t key;
    void *value;

    for (size_t i = 0; map_next(&table->groups, &i, &key, &value);) {
        struct log_group *group = value;
        memory_free(group->entries);
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

/* Entries > last are void. */
static void group_cut_end(struct log_group *group, uint64_t last)
{
    ASSERT(last >= group->base_index);
    if (last >= group->last_index) return;
    group->last_index = last;
    log_spans_cut_end(&group->spans, group->base_index, last);
    if (group->entry_count > 0 && last < group->first_index)
        group->entry_count = 0;
    else if (group->entry_count > 0 && last - group->first_index + 1 < group->entry_count)
        group->entry_count = (size_t)(last - group->first_index + 1);
}

/* Entries <= base are not needed any more. */
static void group_cut_start(struct log_group *group, uint64_t base)
{
    log_spans_cut_start(&group->spans, base);
    if (group->entry_count > 0 && base >= group->first_index) {
        uint64_t drop = base - group->first_index + 1;
        if (drop > group->entry_count) drop = group->entry_count;
        group->entry_count -= (size_t)drop;
        group->first_index += drop;
        memmove(group->entries, group->entries + drop,
                group->entry_count * sizeof(*group->entries));
    }
}

static void group_restart(struct log_group *group, uint64_t base, uint64_t term)
{
    group->base_index = base;
    group->base_term = term;
    group->last_index = base;
    group->spans.count = 0;
    group->entry_count = 0;
}

/* Makes `index` one of the places of group->entries: what lies between are holes. */
static struct log_entry *group_place(struct log_group *group, uint64_t index)
{
    if (group->entry_count == 0) group->first_index = index;
    uint64_t first = index < group->first_index ? index : group->first_index;
    size_t before = (size_t)(group->first_index - first);
    size_t count = group->entry_count + before;
    if (index - first >= count) count = (size_t)(index - first + 1);
    if (count > group->entry_capacity) {
        group->entry_capacity = count > 2 * group->entry_capacity ? count : 2 * count;
        group->entries =
            memory_resize(group->entries, group->entry_capacity * sizeof(*group->entries));
    }
    if (before > 0) {
        memmove(group->entries + before, group->entries,
                group->entry_count * sizeof(*group->entries));
        memset(group->entries, 0, before * sizeof(*group->entries));
    }
    size_t had = group->entry_count + before;
    memset(group->entries + had, 0, (count - had) * sizeof(*group->entries));
    group->entry_count = count;
    group->first_index = first;
    return &group->entries[index - first];
}

static void group_keep_entry(struct log_table *table, struct log_group *group,
                             const struct log_entry *entry)
{
    if (table->bodies == NULL) return;
    struct log_entry *kept = group_place(group, entry->index);
    if (kept->index != 0) return; /* the copy of one that is still there */
    *kept = *entry;
    kept->body = arena_copy(table->bodies, entry->body);
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
    group_keep_entry(table, group, entry);
    return LOG_APPLIED;
}

/* The entry stays what it is; only its place is now `segment`. */
static enum log_apply apply_copy(struct log_table *table, struct log_group *group,
                                 const struct log_entry *entry, uint64_t segment)
{
    if (entry->index <= group->base_index || entry->index > group->last_index) return LOG_APPLY_BAD;
    log_spans_move(&group->spans, group->base_index, segment, entry->index,
                   log_entry_record_size(entry->body.size));
    group_keep_entry(table, group, entry);
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
