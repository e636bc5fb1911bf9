/* Replicas that compare themselves: the leader asks, and judges the answers (verify.h).
 *
 * A majority of voters that see the same is right, and whoever of the others sees something else
 * is wrong: if so twice for the same range, at two indexes, it is fenced. It stops, for ever, and
 * is rebuilt by its peers under a new id (node_fence.c). The leader may be the one. Without a
 * majority: of two voters the one whose memory and store differ from each other is wrong; if that
 * tells nothing the follower stops, so that nobody is answered from either, and an operator is
 * told. Of what was written nobody is judged: a difference there has all rows looked at. */
#include <inttypes.h>
#include <stdio.h>

#include "partition/verify.h"

enum { LEARNER_BEHIND_MAX = 1024 };

struct verify *verify_of(struct replica *replica)
{
    if (replica->verify != NULL) return replica->verify;
    struct verify *verify = memory_allocate_zero(sizeof(*verify));
    buffer_init(&verify->ask_keys, SIZE_MAX / 2);
    replica->verify = verify;
    return verify;
}

/* --- fenced ------------------------------------------------------------------------------- */

static void fence(struct replica *replica, uint64_t index, const char *what)
{
    struct partition_host *host = replica->host;
    char text[VERIFY_TEXT_MAX];
    if (replica->halted || PLANTED(host->world, "fence_of_a_differing_replica_ignored")) return;
    snprintf(text, sizeof(text), "%.200s (index %" PRIu64 ")", what, index);
    LOG_ERROR(host_logger(host), "partition",
              "replica %" PRIu64 " of group %u differs from its peers, it stops for ever and is "
              "rebuilt by them: %s",
              replica->id.value, replica->group.value, text);
    SOMETIMES(host->world, "a replica that differed was fenced");
    host->statistics.replicas_fenced++;
    replica->fenced = true;
    replica_stop(replica);
    verify_replica_gone(replica);
    world_defer(host->world, &host->turn_end); /* NACKs of what waited */
    if (host->options.events.on_fenced != NULL)
        host->options.events.on_fenced(host->options.context, replica->group, replica->id, text);
}

void replica_contradicted(struct replica *replica)
{
    SOMETIMES(replica->host->world, "a replica had applied what the others had lost");
    fence(replica, raft_commit_index(replica->raft),
          "the others go on without writes that were acknowledged here, of databases with "
          "durability memory: a majority lost power, and that loss was accepted");
}

bool host_is_fenced(const struct partition_host *host, struct group_id group)
{
    const struct replica *replica = host_replica(host, group);
    return replica != NULL && replica->fenced;
}

static void send_fence(struct replica *replica, const struct raft_member *to, uint64_t index,
                       const char *what)
{
    struct partition_host *host = replica->host;
    uint32_t worker = host_remote_worker(host, to->node, replica->group);
    struct writer writer = writer_make(verify_frame(host, to->node, worker));
    write_u8(&writer, VERIFY_FENCE);
    write_u32(&writer, replica->group.value);
    write_u64(&writer, replica->id.value);
    write_u64(&writer, to->replica.value);
    write_u64(&writer, raft_term(replica->raft));
    write_u64(&writer, index);
    write_sized(&writer, bytes_of(what));
    ASSERT(!writer.failed);
}

/* --- a round ------------------------------------------------------------------------------ */

static void write_ask(struct writer *writer, const struct verify_ask *ask)
{
    write_u8(writer, VERIFY_ASK);
    write_u32(writer, ask->group.value);
    write_u64(writer, ask->from.replica.value);
    write_u64(writer, ask->to.value);
    write_u64(writer, ask->term);
    write_u64(writer, ask->round);
    write_u64(writer, ask->index);
    write_u64(writer, ask->prior);
    write_u8(writer, ask->looks);
    write_sized(writer, ask->key_from);
    write_sized(writer, ask->key_to);
    ASSERT(!writer->failed);
}

static void add_members(struct replica *replica, const struct raft_member *members, uint32_t count,
                        bool voters)
{
    struct partition_host *host = replica->host;
    struct verify_round *round = replica->verify->round;
    uint64_t heard = host_heard_until(host, world_now(host->world));
    for (uint32_t i = 0; i < count; i++) {
        bool active = replica_id_equal(members[i].replica, replica->id);
        uint64_t match = round->index;
        if (!active) match = raft_match_of(replica->raft, members[i].replica, heard, &active);
        bool near = voters || match + LEARNER_BEHIND_MAX >= round->index; /* else it is filled */
        if (!active || !near) continue;
        round->members[round->member_count++] =
            (struct verify_member){.member = members[i], .voter = voters};
    }
}

static void ask_member(struct replica *replica, const struct raft_member *member,
                       struct verify_ask ask)
{
    struct partition_host *host = replica->host;
    ask.to = member->replica;
    if (replica_id_equal(member->replica, replica->id)) return;
    uint32_t worker = host_remote_worker(host, member->node, replica->group);
    struct writer writer = writer_make(verify_frame(host, member->node, worker));
    write_ask(&writer, &ask);
}

static uint64_t last_mark(const struct verify *verify)
{
    if (verify->mark_count == 0) return 0;
    return verify->marks[(verify->mark_count - 1) % VERIFY_MARKS].index;
}

bool verify_round_begin(struct replica *replica, uint8_t looks, struct bytes from, struct bytes to)
{
    struct partition_host *host = replica->host;
    struct verify *verify = verify_of(replica);
    const struct raft_config *config = raft_config(replica->raft);
    bool may = !replica->halted && replica->was_leader && replica->was_ready &&
               verify->round == NULL && verify->look == NULL && config->outgoing_count == 0 &&
               config->incoming_count > 0 && !host->stopping;
    if (!may) return false;
    uint64_t wait = looks & VERIFY_LOOK_ROWS ? VERIFY_ROWS_WAIT_US : VERIFY_WRITES_WAIT_US;
    struct verify_round *round = memory_allocate_zero(sizeof(*round));
    verify->round = round;
    round->id = ++verify->rounds;
    /* Nobody can have applied more, and what comes now follows behind this on the same way. */
    round->index = raft_last_index(replica->raft);
    round->config_index = config->index;
    round->voters = config->incoming_count;
    round->looks = looks;
    round->deadline = world_now(host->world) + wait;
    add_members(replica, config->incoming, config->incoming_count, true);
    add_members(replica, config->learners, config->learner_count, false);
    round->missing = round->member_count;
    host->statistics.verify_rounds++;
    struct verify_ask ask = {.group = replica->group,
                             .from = {.replica = replica->id, .node = host->options.node},
                             .to = replica->id,
                             .term = raft_term(replica->raft),
                             .round = round->id,
                             .index = round->index,
                             .prior = last_mark(verify),
                             .looks = looks,
                             .key_from = from,
                             .key_to = to};
    verify->asked_index = round->index;
    verify->asked_at = world_now(host->world);
    for (uint32_t i = 0; i < round->member_count; i++)
        ask_member(replica, &round->members[i].member, ask);
    verify_take_ask(replica, &ask);
    return true;
}

void verify_round_end(struct replica *replica)
{
    memory_free(replica->verify->round);
    replica->verify->round = NULL;
}

/* --- the verdict -------------------------------------------------------------------------- */

static bool hashes_equal(struct hash128 a, struct hash128 b)
{
    return a.low == b.low && a.high == b.high;
}

static bool is_whole(const struct verify_answer *answer)
{
    return hashes_equal(answer->memory, answer->engine);
}

static bool sees(const struct verify_round *round, const struct verify_member *member)
{
    return member->answered && member->answer.result == VERIFY_SEEN &&
           (member->answer.looks & round->looks) == round->looks;
}

static bool agree(const struct verify_round *round, const struct verify_answer *a,
                  const struct verify_answer *b)
{
    if (round->looks == VERIFY_LOOK_WRITES) return a->writes == b->writes;
    return hashes_equal(a->memory, b->memory) && hashes_equal(a->engine, b->engine) &&
           a->rows == b->rows && a->state == b->state;
}

/* What most voters see who are whole; *ret_count of them. NULL: nobody is. */
static const struct verify_member *find_common(const struct verify_round *round,
                                               uint32_t *ret_count)
{
    const struct verify_member *common = NULL;
    *ret_count = 0;
    for (uint32_t i = 0; i < round->member_count; i++) {
        const struct verify_member *member = &round->members[i];
        uint32_t count = 0;
        if (!member->voter || !sees(round, member) || !is_whole(&member->answer)) continue;
        for (uint32_t k = 0; k < round->member_count; k++)
            count += round->members[k].voter && sees(round, &round->members[k]) &&
                     agree(round, &member->answer, &round->members[k].answer);
        if (count <= *ret_count) continue;
        *ret_count = count;
        common = member;
    }
    return common;
}

static bool is_suspect(const struct verify *verify, struct replica_id id)
{
    for (uint32_t i = 0; i < verify->suspect_count; i++)
        if (verify->suspects[i] == id.value) return true;
    return false;
}

static const char *describe(const struct verify_member *member, const struct verify_member *common,
                            char text[VERIFY_TEXT_MAX])
{
    const struct verify_answer *answer = &member->answer;
    const char *where = !is_whole(answer)                       ? "its memory and its store differ"
                        : common == NULL                        ? "its rows differ"
                        : answer->rows != common->answer.rows   ? "it has other rows than they"
                        : answer->state != common->answer.state ? "its counts or outcomes differ"
                                                                : "a row has another value";
    snprintf(text, VERIFY_TEXT_MAX, "replica %" PRIu64 " on node %u: %s",
             member->member.replica.value, member->member.node, where);
    return text;
}

static void disputed(struct replica *replica, const char *what)
{
    struct partition_host *host = replica->host;
    SOMETIMES(host->world, "replicas differed, and none of them could be called wrong");
    host->statistics.verify_disputed++;
    LOG_ERROR(host_logger(host), "partition", "the replicas of group %u differ: %s",
              replica->group.value, what);
    if (host->options.events.on_disputed != NULL)
        host->options.events.on_disputed(host->options.context, replica->group, what);
}

/* Who is wrong, if it can be told: bits by position. */
static uint32_t find_wrong(const struct replica *replica, const struct verify_round *round,
                           const struct verify_member **ret_common)
{
    uint32_t count, seen = 0, broken = 0, wrong = 0, voters_broken = 0;
    const struct verify_member *common = find_common(round, &count);
    *ret_common = common;
    for (uint32_t i = 0; i < round->member_count; i++) {
        const struct verify_member *member = &round->members[i];
        if (!sees(round, member)) continue;
        seen += member->voter;
        bool whole = is_whole(&member->answer);
        if (!whole) broken |= 1u << i;
        voters_broken += !whole && member->voter;
        bool other = common == NULL || !agree(round, &common->answer, &member->answer);
        if (other) wrong |= 1u << i;
    }
    if (count > round->voters / 2 && count > 1) return wrong;
    if (round->voters != 2 || seen != 2) return 0;
    if (voters_broken == 1) return broken;
    for (uint32_t i = 0; i < round->member_count; i++) /* the follower */
        if (replica_id_equal(round->members[i].member.replica, replica->id)) wrong &= ~(1u << i);
    return wrong;
}

static bool all_agree(const struct verify_round *round)
{
    const struct verify_member *first = NULL;
    for (uint32_t i = 0; i < round->member_count; i++) {
        const struct verify_member *member = &round->members[i];
        if (!sees(round, member)) continue;
        bool whole = round->looks == VERIFY_LOOK_WRITES || is_whole(&member->answer);
        if (!whole || (first != NULL && !agree(round, &first->answer, &member->answer)))
            return false;
        first = member;
    }
    return true;
}

/* They were wrong about the same range before. True: somebody was condemned. */
static bool condemn(struct replica *replica, const struct verify_round *round, uint32_t wrong,
                    const struct verify_member *common)
{
    struct verify *verify = replica->verify;
    char text[VERIFY_TEXT_MAX];
    const struct verify_member *self = NULL;
    bool condemned = false;
    for (uint32_t i = 0; i < round->member_count; i++) {
        const struct verify_member *member = &round->members[i];
        bool twice = (wrong >> i & 1) && is_suspect(verify, member->member.replica);
        if (!twice) continue;
        condemned = true;
        if (replica_id_equal(member->member.replica, replica->id)) {
            self = member;
            continue;
        }
        SOMETIMES(replica->host->world, "a leader found a follower that differs");
        LOG_ERROR(host_logger(replica->host), "partition", "group %u: %s", replica->group.value,
                  describe(member, common, text));
        send_fence(replica, &member->member, round->index, text);
        if (round->voters == 2) disputed(replica, text);
    }
    if (self != NULL) {
        SOMETIMES(replica->host->world, "a leader found that it differs itself");
        fence(replica, round->index, describe(self, common, text)); /* ends the round, too */
    }
    return condemned;
}

static void suspect(struct verify *verify, const struct verify_round *round, uint32_t wrong)
{
    verify->suspect_count = 0;
    for (uint32_t i = 0; i < round->member_count && verify->suspect_count < RAFT_MEMBERS_MAX; i++)
        if (wrong >> i & 1)
            verify->suspects[verify->suspect_count++] = round->members[i].member.replica.value;
}

static enum verify_outcome judge_rows(struct replica *replica, const struct verify_round *round)
{
    struct verify *verify = replica->verify;
    struct partition_host *host = replica->host;
    const struct verify_member *common = NULL;
    char text[VERIFY_TEXT_MAX];
    uint32_t seen = 0;
    for (uint32_t i = 0; i < round->member_count; i++)
        seen += sees(round, &round->members[i]);
    if (seen < round->member_count || raft_config(replica->raft)->index != round->config_index)
        return VERIFY_AGAIN;
    host->statistics.verify_ranges++;
    if (all_agree(round)) {
        verify->suspect_count = 0;
        return VERIFY_EQUAL;
    }
    host->statistics.verify_differences++;
    uint32_t wrong = find_wrong(replica, round, &common);
    bool first = verify->suspect_count == 0;
    if (wrong != 0 && condemn(replica, round, wrong, common)) return VERIFY_DIFFERS;
    suspect(verify, round, wrong);
    if (wrong != 0) return VERIFY_AGAIN;
    if (first) { /* nobody in particular, yet */
        verify->suspects[verify->suspect_count++] = 0;
        return VERIFY_AGAIN;
    }
    snprintf(text, sizeof(text), "%u of %u voters answered, and no majority sees the same", seen,
             round->voters);
    for (uint32_t i = 0; i < round->member_count && round->voters == 1; i++)
        if (!is_whole(&round->members[i].answer)) describe(&round->members[i], NULL, text);
    disputed(replica, text);
    return VERIFY_GIVEN_UP;
}

static void judge_writes(struct replica *replica, const struct verify_round *round)
{
    struct partition_host *host = replica->host;
    if (all_agree(round)) return;
    SOMETIMES(host->world, "replicas had written different things");
    host->statistics.verify_differences++;
    LOG_ERROR(host_logger(host), "partition",
              "replicas of group %u have written different things up to index %" PRIu64
              ": all of their rows are compared",
              replica->group.value, round->index);
    replica->verify->urgent = true;
    verify_pass_urgent(host);
}

static void finish(struct replica *replica)
{
    struct verify *verify = replica->verify;
    struct verify_round round = *verify->round;
    verify_round_end(replica);
    if (!(round.looks & VERIFY_LOOK_ROWS)) {
        judge_writes(replica, &round);
        return;
    }
    struct partition_host *host = replica->host;
    struct group_id group = replica->group;
    enum verify_outcome outcome = judge_rows(replica, &round);
    replica = host_replica(host, group); /* it may have stopped for ever */
    if (replica != NULL) verify_pass_range_done(replica, outcome);
}

void verify_answered(struct replica *replica, struct replica_id from, uint64_t number,
                     const struct verify_answer *answer)
{
    struct verify *verify = replica->verify;
    struct verify_round *round = verify != NULL ? verify->round : NULL;
    if (round == NULL || round->id != number) return;
    for (uint32_t i = 0; i < round->member_count; i++) {
        struct verify_member *member = &round->members[i];
        if (!replica_id_equal(member->member.replica, from) || member->answered) continue;
        member->answered = true;
        member->answer = *answer;
        round->missing--;
    }
    if (round->missing == 0) finish(replica);
}

void verify_leader_gone(struct replica *replica)
{
    struct verify *verify = replica->verify;
    if (verify == NULL) return;
    bool rows = verify->round != NULL && (verify->round->looks & VERIFY_LOOK_ROWS);
    verify_round_end(replica);
    verify->suspect_count = 0;
    if (replica_id_equal(verify->ask.from.replica, replica->id)) {
        verify->ask.round = 0;
        replica->verify_at = UINT64_MAX;
    }
    if (rows && !replica->host->closing) verify_pass_range_done(replica, VERIFY_GIVEN_UP);
}

void verify_tick(struct replica *replica, uint64_t now)
{
    struct verify *verify = replica->verify;
    if (verify != NULL && verify->round != NULL) {
        if (now >= verify->round->deadline) finish(replica);
        return;
    }
    bool due = replica->was_leader && replica->was_ready && replica->receive == NULL &&
               (verify == NULL || (verify->asked_index != raft_last_index(replica->raft) &&
                                   now >= verify->asked_at + VERIFY_WRITES_US));
    if (due)
        verify_round_begin(replica, VERIFY_LOOK_WRITES, bytes_make(NULL, 0), bytes_make(NULL, 0));
}

/* --- frames ------------------------------------------------------------------------------- */

static void on_ask(struct partition_host *host, const struct transport_peer *from,
                   struct reader *reader)
{
    struct verify_ask ask = {.group = {read_u32(reader)}};
    ask.from = (struct raft_member){.replica = {read_u64(reader)}, .node = from->node};
    ask.worker = from->worker;
    ask.to.value = read_u64(reader);
    ask.term = read_u64(reader);
    ask.round = read_u64(reader);
    ask.index = read_u64(reader);
    ask.prior = read_u64(reader);
    ask.looks = read_u8(reader);
    ask.key_from = read_sized(reader);
    ask.key_to = read_sized(reader);
    struct replica *replica = reader->failed ? NULL : host_replica(host, ask.group);
    bool ours = replica != NULL && !replica->halted && replica_id_equal(replica->id, ask.to) &&
                raft_term(replica->raft) == ask.term && !replica->was_leader && ask.round != 0 &&
                replica_id_equal(raft_leader(replica->raft).replica, ask.from.replica) &&
                !snapshot_holds_core(replica) && ask.key_from.size <= ROW_KEY_SIZE_MAX &&
                ask.key_to.size <= ROW_KEY_SIZE_MAX;
    if (ours) verify_take_ask(replica, &ask);
}

static void on_answer(struct partition_host *host, struct reader *reader)
{
    struct verify_answer answer = {0};
    struct group_id group = {read_u32(reader)};
    struct replica_id from = {read_u64(reader)};
    struct replica_id to = {read_u64(reader)};
    uint64_t round = read_u64(reader);
    answer.result = read_u8(reader);
    answer.looks = read_u8(reader);
    answer.writes = read_u64(reader);
    answer.state = read_u64(reader);
    answer.memory.low = read_u64(reader);
    answer.memory.high = read_u64(reader);
    answer.engine.low = read_u64(reader);
    answer.engine.high = read_u64(reader);
    answer.rows = read_u64(reader);
    struct replica *replica = reader->failed ? NULL : host_replica(host, group);
    bool ours = replica != NULL && !replica->halted && replica_id_equal(replica->id, to);
    if (ours) verify_answered(replica, from, round, &answer);
}

static void on_fence(struct partition_host *host, const struct transport_peer *from,
                     struct reader *reader)
{
    char text[VERIFY_TEXT_MAX];
    struct group_id group = {read_u32(reader)};
    struct replica_id leader = {read_u64(reader)};
    struct replica_id to = {read_u64(reader)};
    uint64_t term = read_u64(reader), index = read_u64(reader);
    struct bytes what = read_sized(reader);
    struct replica *replica = reader->failed ? NULL : host_replica(host, group);
    bool ours = replica != NULL && !replica->halted && replica_id_equal(replica->id, to) &&
                raft_term(replica->raft) == term && !replica->was_leader &&
                replica_id_equal(raft_leader(replica->raft).replica, leader) &&
                raft_leader(replica->raft).node == from->node;
    if (!ours) return;
    snprintf(text, sizeof(text), "%.*s", (int)what.size, (const char *)what.data);
    fence(replica, index, text);
}

void verify_on_frame(struct partition_host *host, const struct transport_peer *from,
                     struct bytes payload)
{
    struct reader reader = reader_make(payload);
    while (reader_left(&reader) > 0 && !reader.failed) {
        switch (read_u8(&reader)) {
        case VERIFY_ASK:
            on_ask(host, from, &reader);
            break;
        case VERIFY_ANSWER:
            on_answer(host, &reader);
            break;
        case VERIFY_FENCE:
            on_fence(host, from, &reader);
            break;
        default:
            return; /* of a later version */
        }
    }
}
