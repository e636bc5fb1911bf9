/* How a replica learns that it is no member any more (FAULTS rule 8: only a committed configuration
 * says so). A replica that applies a configuration without it, after one with it, knows. But who is
 * removed is usually not told: the leader stops sending. So a replica that the table does not wish
 * for asks those that it does, and those that it knew; one whose committed configuration is newer
 * than the asker's, and has not got it, says so. A replica that is gone is never born again under
 * its id (node_stores.c), so "gone" stays true.
 *
 * PEER_FRAME_GONE: u8 answer (0 asks, 1 it is gone) | u32 group | u64 replica that asks |
 *                  u64 index of the newest configuration it knows itself to be in
 *
 * One that was never in a configuration that it knows - a learner that was wished for and, before
 * anything came, not any more - asks with index 0. It is told so by a committed configuration that
 * has a later replica of its node: ids rise, and only one that is a voter comes back to the table
 * (META_KEEP). Where there is no later one, it may go by itself: it holds nothing, it never was a
 * voter (who becomes one has entries, M-2), and a table that knows of its id and does not name it
 * is a later one than that which did, and none after it names it again. */
#include "partition/host_internal.h"

enum { GONE_ASK_US = 2 * 1000 * 1000 };

/* --- learning that it is gone --------------------------------------------------------- */

static bool has_member(const struct raft_config *config, struct replica_id id)
{
    for (uint32_t i = 0; i < config->incoming_count; i++)
        if (replica_id_equal(config->incoming[i].replica, id)) return true;
    for (uint32_t i = 0; i < config->outgoing_count; i++)
        if (replica_id_equal(config->outgoing[i].replica, id)) return true;
    for (uint32_t i = 0; i < config->learner_count; i++)
        if (replica_id_equal(config->learners[i].replica, id)) return true;
    return false;
}

/* Before `index`, a configuration entry that is committed, counts as applied. A replica that
 * was added later replays configurations from before it: those say nothing. */
void remove_config_applied(struct replica *replica, uint64_t index)
{
    bool before = has_member(raft_config_at(replica->raft, index - 1), replica->id);
    bool after = has_member(raft_config_at(replica->raft, index), replica->id);
    if (before && !after) replica->removed = true;
    if (after) replica->removed = false; /* never seen; a learner promoted by one entry */
}

static bool is_wished_for(const struct replica *replica)
{
    for (uint32_t i = 0; i < replica->wish_count; i++)
        if (replica_id_equal(replica->wish[i].replica, replica->id)) return true;
    return false;
}

static void send_gone(struct partition_host *host, node_id_t node, bool answer,
                      struct group_id group, struct replica_id asker, uint64_t index)
{
    struct buffer frame;
    buffer_init(&frame, 64);
    struct writer writer = writer_make(&frame);
    write_u8(&writer, answer);
    write_u32(&writer, group.value);
    write_u64(&writer, asker.value);
    write_u64(&writer, index);
    ASSERT(!writer.failed);
    transport_send(host->options.transport, node, host_remote_worker(host, node, group),
                   PEER_FRAME_GONE, buffer_bytes(&frame));
    buffer_free(&frame);
}

/* 0: it has never seen itself as a member, and its absence alone tells nobody a removal from one
 * that is still to be added. */
static uint64_t member_index(const struct replica *replica)
{
    const struct raft_config *latest = raft_config(replica->raft);
    if (has_member(latest, replica->id)) return latest->index;
    const struct raft_config *applied = raft_config_at(replica->raft, replica->applied);
    return has_member(applied, replica->id) ? applied->index : 0;
}

/* Those that are wished for, and those that it knew as members: who is wished for may wait for the
 * place that this one has. */
static void ask(struct replica *replica, uint64_t now)
{
    const struct raft_config *config = raft_config(replica->raft);
    struct partition_host *host = replica->host;
    uint64_t index = member_index(replica), asked = 0;
    replica->gone_asked_at = now;
    for (uint32_t i = 0; i < replica->wish_count + config->incoming_count; i++) {
        node_id_t node = i < replica->wish_count ? replica->wish[i].node
                                                 : config->incoming[i - replica->wish_count].node;
        uint64_t bit = UINT64_C(1) << (node - 1);
        if (node == host->options.node || (asked & bit)) continue;
        asked |= bit;
        send_gone(host, node, false, replica->group, replica->id, index);
    }
}

/* True: it was removed, has stopped, and the node knows; it may be freed by now. */
static bool stop_removed(struct replica *replica)
{
    struct partition_host *host = replica->host;
    struct group_id group = replica->group;
    struct replica_id id = replica->id;
    if (!replica->removed || raft_role(replica->raft) == RAFT_LEADER) return false;
    LOG_INFO(host_logger(host), "partition",
             "replica %llu of group %u was removed by a committed configuration; it stops",
             (unsigned long long)id.value, group.value);
    replica_stop(replica);
    if (host->options.events.on_removed != NULL)
        host->options.events.on_removed(host->options.context, group, id);
    return true;
}

static bool holds_nothing(const struct replica *replica)
{
    return raft_last_index(replica->raft) == 0 && raft_config(replica->raft)->index == 0 &&
           raft_config(replica->raft)->incoming_count == 0 &&
           raft_config(replica->raft)->learner_count == 0 && !snapshot_holds_core(replica);
}

bool remove_tick(struct replica *replica, uint64_t now)
{
    if (stop_removed(replica)) return true;
    bool doubts = replica->wish_known && !is_wished_for(replica) &&
                  raft_role(replica->raft) != RAFT_LEADER &&
                  now - replica->gone_asked_at >= GONE_ASK_US;
    bool empty = holds_nothing(replica) || PLANTED(replica->host->world, "removed_by_inference");
    if (doubts && empty && replica->id.value < replica->wish_ids_end) {
        SOMETIMES(replica->host->world, "a replica that held nothing was not wished for any more");
        replica->removed = true;
        return stop_removed(replica);
    }
    if (doubts) ask(replica, now);
    return false;
}

static bool has_later_of(const struct raft_config *config, node_id_t node, struct replica_id id)
{
    for (uint32_t i = 0; i < config->incoming_count; i++)
        if (config->incoming[i].node == node && config->incoming[i].replica.value > id.value)
            return true;
    for (uint32_t i = 0; i < config->learner_count; i++)
        if (config->learners[i].node == node && config->learners[i].replica.value > id.value)
            return true;
    return false;
}

static void on_question(struct partition_host *host, node_id_t from, struct group_id group,
                        struct replica_id asker, uint64_t index)
{
    struct replica *replica = host_replica(host, group);
    if (replica == NULL || replica->halted || snapshot_holds_core(replica)) return;
    const struct raft_config *config = raft_config_at(replica->raft, replica->applied);
    bool gone = config->index > index && config->index <= replica->applied &&
                config->outgoing_count == 0 && !has_member(config, asker) &&
                (index > 0 || has_later_of(config, from, asker));
    if (gone) send_gone(host, from, true, group, asker, index);
}

void remove_on_frame(struct partition_host *host, const struct transport_peer *from,
                     struct bytes payload)
{
    struct reader reader = reader_make(payload);
    bool answer = read_u8(&reader) != 0;
    struct group_id group = {read_u32(&reader)};
    struct replica_id asker = {read_u64(&reader)};
    uint64_t index = read_u64(&reader);
    if (reader.failed) return;
    if (!answer) {
        on_question(host, from->node, group, asker, index);
        return;
    }
    struct replica *replica = host_replica(host, group);
    bool ours = replica != NULL && !replica->halted && replica_id_equal(replica->id, asker) &&
                !snapshot_holds_core(replica) && index == member_index(replica) &&
                replica->wish_known && !is_wished_for(replica);
    if (!ours) return;
    replica->removed = true;
    stop_removed(replica);
}
