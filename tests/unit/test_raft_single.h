/* test_raft_single.h - one Raft core under a microscope: a call goes in, what it wants to send
 * and to store comes out, and the test decides when the disk is done. */
#ifndef HOLON_TESTS_RAFT_SINGLE_H
#define HOLON_TESTS_RAFT_SINGLE_H

#include "test_raft_harness.h"

enum { SENT_MAX = 256 };

/* Replica 1 of voters 1, 2, 3. */
struct one {
    struct raft *raft;
    uint64_t now;
    struct raft_message sent[SENT_MAX];
    size_t sent_count;
    uint64_t persist_id; /* under way; 0: the disk is done */
    uint64_t truncate_from;
    struct raft_hard_state stored;
    uint64_t stored_last; /* last index handed to the log */
    uint64_t read_round;
};

/* Hard state and the terms of the entries 1, 2, ... that the disk gave back. */
struct one_disk {
    uint64_t term, vote, commit;
    uint64_t terms[16]; /* 0 ends */
    int voters;         /* 0: three */
    int learners;
    uint32_t bugs;
    bool vote_at_once;
};

static inline struct one *one_open(struct one_disk disk)
{
    struct one *one = memory_allocate_zero(sizeof(*one));
    struct raft_entry *entries[16];
    size_t count = 0;
    for (; count < 16 && disk.terms[count]; count++) {
        entries[count] = entry_of(count);
        entries[count]->index = count + 1;
        entries[count]->term = disk.terms[count];
    }
    struct raft_options options = {
        .self = {1},
        .node = 1,
        .timing = TIMING,
        .now = 1000 * MS,
        .vote_at_once = disk.vote_at_once,
        .stand_at_once = disk.vote_at_once,
        .random_seed = 1,
        .hard_state = {.term = disk.term, .vote = {disk.vote}, .commit = disk.commit},
        .config = config_of(disk.voters ? disk.voters : 3, disk.learners),
        .entries = entries,
        .entry_count = count,
        .planted_bugs = disk.bugs};
    one->now = options.now;
    one->raft = raft_open(&options);
    return one;
}

static inline void one_close(struct one *one)
{
    raft_close(one->raft);
    memory_free(one);
}

/* Takes all output; what was sent replaces what was sent before. */
static inline void one_take(struct one *one)
{
    one->sent_count = 0;
    one->truncate_from = 0;
    while (raft_has_output(one->raft)) {
        struct raft_output output;
        raft_take_output(one->raft, &output);
        for (size_t i = 0; i < output.message_count && one->sent_count < SENT_MAX; i++)
            one->sent[one->sent_count++] = output.messages[i];
        if (output.persist_id) one->persist_id = output.persist_id;
        if (output.hard_state_changed) one->stored = output.hard_state;
        if (output.truncate_from) one->truncate_from = output.truncate_from;
        if (output.entry_count) one->stored_last = output.entries[output.entry_count - 1]->index;
        one->read_round = output.read_round;
        raft_applied(one->raft, output.commit);
    }
}

static inline void one_disk_done(struct one *one)
{
    if (one->persist_id == 0) return;
    raft_persisted(one->raft, one->persist_id, one->now);
    one->persist_id = 0;
    one_take(one);
}

static inline void one_step(struct one *one, struct raft_message message)
{
    message.to = (struct replica_id){1};
    message.from_node = (node_id_t)message.from.value;
    raft_step(one->raft, &message, one->now);
    one_take(one);
}

/* Advances the clock in steps of a millisecond, with ticks. */
static inline void one_wait(struct one *one, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        one->now += MS;
        raft_tick(one->raft, one->now);
    }
    one_take(one);
}

/* An append of `count` entries of `term` behind (previous, previous_term). */
static inline void one_append(struct one *one, uint64_t from, uint64_t term, uint64_t previous,
                              uint64_t previous_term, uint32_t count, uint64_t commit)
{
    struct raft_entry *entries[16];
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = entry_of(term * 1000 + previous + i + 1);
        entries[i]->index = previous + i + 1;
        entries[i]->term = term;
    }
    one_step(one, (struct raft_message){.type = RAFT_APPEND,
                                        .from = {from},
                                        .term = term,
                                        .index = previous,
                                        .log_term = previous_term,
                                        .commit = commit,
                                        .entries = entries,
                                        .entry_count = count});
}

static inline struct raft_heartbeat_ack one_heartbeat(struct one *one, uint64_t from, uint64_t term,
                                                      uint64_t round)
{
    struct raft_heartbeat heartbeat = {.from = {from}, .to = {1}, .term = term, .round = round};
    struct raft_heartbeat_ack ack;
    raft_heartbeat_receive(one->raft, &heartbeat, (node_id_t)from, one->now, &ack);
    one_take(one);
    return ack;
}

/* Leads in term + 1 with the votes of 2; its no-op is on its own disk. */
static inline void one_lead(struct one *one)
{
    while (raft_role(one->raft) != RAFT_PRE_CANDIDATE)
        one_wait(one, 1);
    uint64_t term = raft_term(one->raft) + 1;
    one_step(one, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .from = {2}, .term = term});
    one_step(one, (struct raft_message){.type = RAFT_VOTE_REPLY, .from = {2}, .term = term});
    one_disk_done(one);
    assert_int_equal(raft_role(one->raft), RAFT_LEADER);
    one_disk_done(one);
}

static inline void one_acked(struct one *one, uint64_t from, uint64_t index)
{
    one_step(one, (struct raft_message){.type = RAFT_APPEND_REPLY,
                                        .from = {from},
                                        .term = raft_term(one->raft),
                                        .index = index});
}

/* Replica `from` answers the heartbeat that the leader would send it now. */
static inline void one_heartbeat_acked(struct one *one, uint64_t from)
{
    struct raft_heartbeat heartbeat;
    assert_true(raft_heartbeat_make(one->raft, (struct replica_id){from}, &heartbeat));
    bool active;
    struct raft_heartbeat_ack ack = {
        .from = {from},
        .to = {1},
        .term = heartbeat.term,
        .round = heartbeat.round,
        .match = raft_match_of(one->raft, (struct replica_id){from}, one->now, &active),
        .accepted = true};
    raft_heartbeat_acked(one->raft, &ack, one->now, one->now);
    one_take(one);
}

/* The last message of a type that was sent, or NULL. */
static inline const struct raft_message *one_sent(const struct one *one, uint8_t type)
{
    const struct raft_message *found = NULL;
    for (size_t i = 0; i < one->sent_count; i++)
        if (one->sent[i].type == type) found = &one->sent[i];
    return found;
}

static inline size_t one_sent_count(const struct one *one, uint8_t type)
{
    size_t count = 0;
    for (size_t i = 0; i < one->sent_count; i++)
        count += one->sent[i].type == type;
    return count;
}

#endif
