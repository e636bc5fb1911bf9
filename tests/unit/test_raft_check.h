/* test_raft_check.h - the judge of the Raft tests: it sees every disk, every message and every
 * commit, and keeps the first violation of R-1 to R-7 (FAULTS.md 3) or of the lease (L-2). */
#ifndef HOLON_TESTS_RAFT_CHECK_H
#define HOLON_TESTS_RAFT_CHECK_H

#include <stdio.h>

#include "base/hash.h"
#include "base/memory.h"
#include "raft/raft_codec.h"

enum { NODES = 5, TERMS_MAX = 4096, INDEXES_MAX = 65536 };

/* What is on the disk of a node: this alone survives a crash. */
struct disk {
    struct raft_hard_state state;
    uint64_t base_index, base_term;
    struct raft_config base_config;
    struct raft_entry *entries[INDEXES_MAX]; /* by index; NULL: not there */
    uint64_t last_index;
};

struct judge {
    char violation[256]; /* empty: none */
    uint64_t leader_of_term[TERMS_MAX];
    uint64_t vote_in_term[NODES + 1][TERMS_MAX];
    uint64_t committed[INDEXES_MAX];    /* fingerprint; 0: not committed */
    uint64_t committed_in[INDEXES_MAX]; /* term of the leader that committed it */
    uint64_t commit_max;
    uint64_t entries_by_index[INDEXES_MAX][4]; /* fingerprints of (index, term) seen */
};

#define VIOLATION(judge, ...)                                                                      \
    ((judge)->violation[0]                                                                         \
         ? (void)0                                                                                 \
         : (void)snprintf((judge)->violation, sizeof((judge)->violation), __VA_ARGS__))

static inline uint64_t entry_fingerprint(const struct raft_entry *entry)
{
    uint64_t hash = hash_u64(entry->term * 31 + entry->type) ^ entry->size;
    for (uint32_t i = 0; i < entry->size; i++)
        hash = hash_u64(hash + entry->body[i]);
    return hash | 1;
}

static inline uint64_t disk_term_at(const struct disk *disk, uint64_t index)
{
    if (index == disk->base_index) return disk->base_term;
    if (index < disk->base_index || index > disk->last_index) return 0;
    return disk->entries[index] ? disk->entries[index]->term : 0;
}

static inline bool disk_holds(const struct disk *disk, uint64_t index, uint64_t term)
{
    if (index <= disk->base_index) return true; /* in the engine */
    return index <= disk->last_index && disk_term_at(disk, index) == term;
}

/* one leader per term, and it has all that was committed in earlier ones. (A
 * candidate with a slow disk may come to lead after a later term has begun.) */
static inline void judge_leader(struct judge *judge, const struct raft *raft, uint64_t self)
{
    uint64_t term = raft_term(raft);
    if (raft_role(raft) != RAFT_LEADER || term >= TERMS_MAX) return;
    if (judge->leader_of_term[term] == self) return;
    if (judge->leader_of_term[term] != 0) {
        VIOLATION(judge, "R-1: %llu and %llu lead in term %llu", (unsigned long long)self,
                  (unsigned long long)judge->leader_of_term[term], (unsigned long long)term);
    }
    judge->leader_of_term[term] = self;
    for (uint64_t i = raft_first_index(raft); i <= judge->commit_max; i++) {
        const struct raft_entry *entry = raft_entry_at(raft, i);
        if (judge->committed_in[i] >= term) continue;
        if (entry == NULL || judge->committed[i] != entry_fingerprint(entry))
            VIOLATION(judge, "R-3: leader %llu lacks committed %llu", (unsigned long long)self,
                      (unsigned long long)i);
    }
}

/* The core remembers where the last term begins; it must say what the entries say. */
static inline void judge_terms(struct judge *judge, const struct raft *raft)
{
    for (uint64_t i = raft_first_index(raft); i <= raft_last_index(raft); i++) {
        uint64_t term = raft_entry_at(raft, i)->term;
        if (raft_term_at(raft, i) != term)
            VIOLATION(judge, "index %llu is of term %llu, not %llu", (unsigned long long)i,
                      (unsigned long long)term, (unsigned long long)raft_term_at(raft, i));
    }
}

/* the same entry at the same index everywhere. */
static inline void judge_apply(struct judge *judge, const struct raft_entry *entry, uint64_t term)
{
    uint64_t fingerprint = entry_fingerprint(entry);
    uint64_t *slot = &judge->committed[entry->index];
    if (*slot != 0 && *slot != fingerprint)
        VIOLATION(judge, "R-4: two entries committed at %llu", (unsigned long long)entry->index);
    if (*slot == 0) judge->committed_in[entry->index] = term; /* the leader is the first */
    *slot = fingerprint;
    if (entry->index > judge->commit_max) judge->commit_max = entry->index;
}

/* equal (index, term) means equal entry, and equal predecessor term. */
static inline void judge_entry(struct judge *judge, const struct raft_entry *entry,
                               uint64_t previous_term)
{
    uint64_t content = hash_u64(entry_fingerprint(entry) + previous_term) >> 12;
    uint64_t tag = (entry->term & 0xfff) << 52;
    for (int i = 0; i < 4; i++) {
        uint64_t *slot = &judge->entries_by_index[entry->index][i];
        if (*slot == 0) *slot = tag | content;
        if ((*slot & (0xfffull << 52)) != tag) continue;
        if (*slot != (tag | content))
            VIOLATION(judge, "R-2: two entries at index %llu, term %llu",
                      (unsigned long long)entry->index, (unsigned long long)entry->term);
        return;
    }
}

/* What an append says all members have is on the disk of each, and is the sender's. */
static inline void judge_everywhere(struct judge *judge, const struct raft_message *message,
                                    const struct raft *raft, const struct disk disks[])
{
    const struct raft_config *config = raft_config(raft);
    const struct raft_member *lists[] = {config->incoming, config->outgoing, config->learners};
    const uint8_t counts[] = {config->incoming_count, config->outgoing_count,
                              config->learner_count};
    uint64_t index = message->everywhere;
    uint64_t term = raft_term_at(raft, index); /* 0: the sender itself has it in its engine */

    if (message->type != RAFT_APPEND) return;
    for (size_t list = 0; list < 3; list++) {
        for (size_t i = 0; i < counts[list]; i++) {
            const struct disk *disk = &disks[lists[list][i].replica.value - 1];
            bool has = index <= disk->last_index || index <= disk->base_index;
            if (has && (term == 0 || disk_holds(disk, index, term))) continue;
            VIOLATION(judge, "%llu says that all have %llu, %llu does not",
                      (unsigned long long)message->from.value, (unsigned long long)index,
                      (unsigned long long)lists[list][i].replica.value);
        }
    }
}

/* one vote per term and replica. R-6: no claim of what is not on the disk. */
static inline void judge_message(struct judge *judge, const struct raft_message *message,
                                 const struct disk *disk, uint64_t matching_term)
{
    uint64_t from = message->from.value;
    bool vote = message->type == RAFT_VOTE_REPLY && !message->reject;
    if (vote && message->term < TERMS_MAX) {
        uint64_t *slot = &judge->vote_in_term[from][message->term];
        if (*slot != 0 && *slot != message->to.value)
            VIOLATION(judge, "R-5: %llu voted twice in term %llu", (unsigned long long)from,
                      (unsigned long long)message->term);
        *slot = message->to.value;
        if (disk->state.term < message->term)
            VIOLATION(judge, "R-6: vote of %llu is not on its disk", (unsigned long long)from);
    }
    bool claim = message->type == RAFT_APPEND_REPLY && !message->reject;
    if (claim && !disk_holds(disk, message->index, matching_term))
        VIOLATION(judge, "R-6: %llu claims %llu without its disk", (unsigned long long)from,
                  (unsigned long long)message->index);
}

static inline size_t judge_holders(const struct disk *disks, const struct raft_member *members,
                                   size_t count, uint64_t index, uint64_t term)
{
    size_t holders = 0;
    for (size_t i = 0; i < count; i++)
        holders += disk_holds(&disks[members[i].replica.value - 1], index, term);
    return holders;
}

/* a leader's commit is on the disks of a majority of every half. */
static inline void judge_commit(struct judge *judge, const struct raft *raft,
                                const struct disk *disks)
{
    const struct raft_config *config = raft_config(raft);
    uint64_t index = raft_commit_index(raft);
    uint64_t term = raft_term_at(raft, index);
    if (raft_role(raft) != RAFT_LEADER || index <= judge->commit_max) return;
    size_t incoming = judge_holders(disks, config->incoming, config->incoming_count, index, term);
    size_t outgoing = judge_holders(disks, config->outgoing, config->outgoing_count, index, term);
    if (incoming <= config->incoming_count / 2u ||
        (config->outgoing_count && outgoing <= config->outgoing_count / 2u))
        VIOLATION(judge, "R-7: %llu committed without a majority of disks",
                  (unsigned long long)index);
}

/* L-2: while one may serve reads by its lease, nobody of a later term may evaluate. */
static inline void judge_leases(struct judge *judge, struct raft *const *rafts,
                                const uint64_t *clocks, size_t count)
{
    for (size_t a = 0; a < count; a++) {
        if (rafts[a] == NULL || !raft_lease_valid(rafts[a], clocks[a])) continue;
        for (size_t b = 0; b < count; b++) {
            if (rafts[b] == NULL || raft_term(rafts[b]) <= raft_term(rafts[a])) continue;
            if (raft_can_evaluate(rafts[b], clocks[b]))
                VIOLATION(judge, "L-2: lease of term %llu beside leader of term %llu",
                          (unsigned long long)raft_term(rafts[a]),
                          (unsigned long long)raft_term(rafts[b]));
        }
    }
}

#endif
