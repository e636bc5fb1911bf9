/* raft_log.c - the entries of one group in memory, and which of them are durable.
 *
 *   base | base+1 ........ durable ........ handed ........ last
 *        |<- on our disk ->|<- being written ->|<- not yet handed out ->|
 *
 * A truncation pulls durable and handed back to what is left, and with them everything that
 * is still on its way to the disk: a later "durable" of an overwritten entry must not count
 * for the entry that took its place. */
#include "raft/raft_internal.h"

struct raft_entry *raft_entry_make(struct slabs *memory, uint8_t type, uint32_t size)
{
    size_t whole = sizeof(struct raft_entry) + size;
    struct raft_entry *entry =
        memory != NULL ? slabs_allocate(memory, whole) : memory_allocate(whole);
    *entry = (struct raft_entry){.memory = memory, .size = size, .type = type};
    return entry;
}

void raft_entry_free(struct raft_entry *entry)
{
    if (entry != NULL && entry->memory != NULL)
        slabs_release(entry->memory, entry, sizeof(*entry) + entry->size);
    else
        memory_free(entry);
}

uint64_t raft_last_index(const struct raft *raft)
{
    return last_index(raft);
}

uint64_t raft_first_index(const struct raft *raft)
{
    return raft->base_index + 1;
}

uint64_t raft_durable_index(const struct raft *raft)
{
    return raft->durable_index;
}

uint64_t raft_written_index(const struct raft *raft)
{
    bool more = raft->written_index > raft->durable_index;
    return more ? raft->written_index : raft->durable_index;
}

const struct raft_entry *raft_entry_unseen(const struct raft *raft, uint64_t index)
{
    if (index <= raft->base_index || index > last_index(raft)) return NULL;
    return raft->entries[raft->start + (index - raft->base_index - 1)];
}

const struct raft_entry *raft_entry_at(const struct raft *raft, uint64_t index)
{
    if (index <= raft->base_index || index > last_index(raft)) return NULL;
    const struct raft_entry *entry = raft->entries[raft->start + (index - raft->base_index - 1)];
    ASSERT(entry->index == index);
    return entry;
}

uint64_t raft_term_at(const struct raft *raft, uint64_t index)
{
    if (index > last_index(raft)) return 0;
    if (index == raft->base_index) return raft->base_term;
    if (index >= raft->term_from) return raft->term_last;
    const struct raft_entry *entry = raft_entry_at(raft, index);
    return entry ? entry->term : 0;
}

/* The end of the log was cut, or the log restarted: only what is last is known to be uniform. */
static void log_term_again(struct raft *raft)
{
    uint64_t last = last_index(raft);
    const struct raft_entry *entry = raft_entry_at(raft, last);
    raft->term_last = entry ? entry->term : raft->base_term;
    raft->term_from = last;
}

struct raft_entry **raft_log_entries(struct raft *raft, uint64_t index)
{
    ASSERT(index > raft->base_index);
    ASSERT(index <= last_index(raft) + 1);
    return raft->entries + raft->start + (index - raft->base_index - 1);
}

/* Makes room for one more pointer: by moving the entries to the front when at least half of
 * the array is free there, else by growing, so that each append costs O(1) on average. */
static void log_reserve(struct raft *raft)
{
    if (raft->start + raft->count < raft->capacity) return;
    if (raft->start > raft->capacity / 2) {
        memmove(raft->entries, raft->entries + raft->start, raft->count * sizeof(*raft->entries));
        raft->start = 0;
        return;
    }
    bool is_first = raft->entries == raft->entries_first;
    raft->capacity *= 4;
    raft->entries =
        memory_resize(is_first ? NULL : raft->entries, raft->capacity * sizeof(*raft->entries));
    if (is_first) memcpy(raft->entries, raft->entries_first, sizeof(raft->entries_first));
}

void raft_log_append(struct raft *raft, struct raft_entry *entry)
{
    ASSERT(entry->index == last_index(raft) + 1);
    ASSERT(entry->term >= raft_term_at(raft, last_index(raft)));
    ASSERT(entry->term <= raft->term);
    log_reserve(raft);
    if (entry->term != raft->term_last) {
        raft->term_last = entry->term;
        raft->term_from = entry->index;
    }
    raft->entries[raft->start + raft->count] = entry;
    raft->count++;
}

void raft_log_open(struct raft *raft, const struct raft_options *options)
{
    raft->base_index = options->snapshot_index;
    raft->base_term = options->snapshot_term;
    raft->entries = raft->entries_first;
    raft->capacity = ARRAY_COUNT(raft->entries_first);
    raft->persisting = raft->persisting_first;
    raft->persisting_capacity = ARRAY_COUNT(raft->persisting_first);
    log_term_again(raft);
    for (size_t i = 0; i < options->entry_count; i++) {
        raft_log_append(raft, options->entries[i]);
    }
    raft->handed_index = last_index(raft);
    raft->durable_index = last_index(raft);
    raft->written_index = last_index(raft);
}

void raft_log_close(struct raft *raft)
{
    for (size_t i = 0; i < raft->count; i++) {
        raft_entry_free(raft->entries[raft->start + i]);
    }
    if (raft->entries != raft->entries_first) memory_free(raft->entries);
    if (raft->persisting != raft->persisting_first) memory_free(raft->persisting);
}

/* Nothing above `last` is durable or on its way any more. */
static void log_clamp_durable(struct raft *raft, uint64_t last)
{
    if (raft->handed_index > last) raft->handed_index = last;
    if (raft->durable_index > last) raft->durable_index = last;
    if (raft->written_index > last) raft->written_index = last;
    for (size_t i = 0; i < raft->persisting_count; i++) {
        if (raft->persisting[i].last_index > last) raft->persisting[i].last_index = last;
    }
    ASSERT(raft->durable_index <= raft->handed_index);
}

static void log_drop_from(struct raft *raft, uint64_t from_index)
{
    ASSERT(from_index > raft->base_index);
    while (last_index(raft) >= from_index) {
        raft_entry_free(raft->entries[raft->start + raft->count - 1]);
        raft->count--;
    }
    if (last_index(raft) < raft->term_from) log_term_again(raft);
}

void raft_log_truncate(struct raft *raft, uint64_t from_index)
{
    ASSERT(from_index > raft->commit); /* committed entries are never cut */
    ASSERT(from_index <= last_index(raft));
    bool handed = from_index <= raft->handed_index;

    log_drop_from(raft, from_index);
    if (handed && (raft->truncate_from == 0 || from_index < raft->truncate_from)) {
        raft->truncate_from = from_index;
    }
    log_clamp_durable(raft, from_index - 1);
    raft_config_truncate(raft, from_index);
}

/* Drops entries <= index at the front. */
static void log_drop_front(struct raft *raft, uint64_t index, uint64_t term)
{
    ASSERT(index >= raft->base_index);
    ASSERT(index <= last_index(raft));
    uint32_t dropped = (uint32_t)(index - raft->base_index);
    for (uint32_t i = 0; i < dropped; i++) {
        raft_entry_free(raft->entries[raft->start + i]);
    }
    raft->start += dropped;
    raft->count -= dropped;
    raft->base_index = index;
    raft->base_term = term;
    if (raft->count == 0) raft->start = 0;
}

void raft_trim(struct raft *raft, uint64_t index)
{
    ASSERT(index <= raft->applied);
    ASSERT(raft->applied <= raft->commit);
    /* What is committed by others but not yet durable here is still needed for our own log. */
    if (index > raft->durable_index) index = raft->durable_index;
    if (index > raft->commit_durable) index = raft->commit_durable;
    if (index <= raft->base_index) return;
    log_drop_front(raft, index, raft_term_at(raft, index));
    raft_config_trim(raft);
}

/* The log restarts behind the snapshot, so a kept suffix is handed out again (idempotent) and
 * claims nothing until it is durable anew. */
void raft_log_restart(struct raft *raft, uint64_t index, uint64_t term)
{
    ASSERT(index > raft->base_index);
    ASSERT(index > raft->commit);
    const struct raft_entry *entry = raft_entry_at(raft, index);
    bool suffix_matches = entry != NULL && entry->term == term;

    if (suffix_matches) {
        log_drop_front(raft, index, term);
    } else {
        log_drop_from(raft, raft->base_index + 1);
        raft->start = 0;
        raft->base_index = index;
        raft->base_term = term;
        log_term_again(raft);
    }
    raft->truncate_from = 0;
    log_clamp_durable(raft, index);
    raft->handed_index = index;
    raft->durable_index = index;
    raft->written_index = index;
}

uint64_t raft_log_back(const struct raft *raft, uint64_t index, uint64_t term, uint64_t floor)
{
    while (index > floor && raft_term_at(raft, index) > term)
        index--;
    return index;
}

static void persisting_grow(struct raft *raft)
{
    uint32_t capacity = 4 * raft->persisting_capacity;
    struct raft_persisting *grown = memory_allocate(capacity * sizeof(*grown));
    memcpy(grown, raft->persisting, raft->persisting_count * sizeof(*grown));
    if (raft->persisting != raft->persisting_first) memory_free(raft->persisting);
    raft->persisting = grown;
    raft->persisting_capacity = capacity;
}

void raft_log_persisting(struct raft *raft, uint64_t id)
{
    ASSERT(id > raft->persisted);
    if (raft->persisting_count == raft->persisting_capacity) persisting_grow(raft);
    raft->handed_index = last_index(raft);
    raft->persisting[raft->persisting_count++] =
        (struct raft_persisting){.id = id, .last_index = raft->handed_index};
}

void raft_log_written(struct raft *raft, uint64_t id)
{
    for (size_t i = 0; i < raft->persisting_count && raft->persisting[i].id <= id; i++) {
        uint64_t last = raft->persisting[i].last_index;
        if (last > raft->written_index) raft->written_index = last;
    }
    ASSERT(raft->written_index <= raft->handed_index);
}

void raft_log_persisted(struct raft *raft, uint64_t id)
{
    size_t done = 0;
    while (done < raft->persisting_count && raft->persisting[done].id <= id) {
        uint64_t last = raft->persisting[done].last_index;
        if (last > raft->durable_index) raft->durable_index = last;
        done++;
    }
    raft->persisting_count -= (uint32_t)done;
    memmove(raft->persisting, raft->persisting + done,
            raft->persisting_count * sizeof(*raft->persisting));
    ASSERT(raft->durable_index <= raft->handed_index);
    ASSERT(raft->handed_index <= last_index(raft));
}
