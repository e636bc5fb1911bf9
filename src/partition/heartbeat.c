/* Coalesced heartbeats: one frame per pair of workers and tick, for all groups (DESIGN.md 4).
 *
 * PEER_FRAME_HEARTBEATS:     u64 generated at | i64 sender's wall clock | u8 flags | per group:
 *                            u32 group | u64 from | u64 to | u64 term | u64 commit | u64 round
 * PEER_FRAME_HEARTBEAT_ACKS: u64 generated at (echo) | i64 sender's wall clock | u8 flags |
 *                            per group:
 *                            u32 group | u64 from | u64 to | u64 term | u64 round | u64 match |
 *                            u8 accepted
 * flags: 1: the sender's disk is below its reserve (space.c), 2: slow (slow_disk.c), 4: its log is
 * full (space.c).
 * `generated at` is the leader's own boot clock: only the leader computes with it (D1). */
#include "partition/host_internal.h"

enum { HEARTBEAT_SIZE = 44, HEARTBEAT_ACK_SIZE = 45 };
enum { HEARTBEAT_FLAG_DISK_LOW = 1, HEARTBEAT_FLAG_DISK_SLOW = 2, HEARTBEAT_FLAG_LOG_FULL = 4 };

/* No honest counter gets there; a damaged one must not become our term. */
#define HEARTBEAT_NUMBER_MAX ((uint64_t)1 << 60)

uint8_t heartbeat_flags(const struct partition_host *host)
{
    return (uint8_t)((space_is_low_here(host) ? HEARTBEAT_FLAG_DISK_LOW : 0) |
                     (space_log_is_full_here(host) ? HEARTBEAT_FLAG_LOG_FULL : 0) |
                     (host->slow_disk.slow ? HEARTBEAT_FLAG_DISK_SLOW : 0));
}

static void heard(struct partition_host *host, const struct transport_peer *from, int64_t wall,
                  uint8_t flags, uint64_t now)
{
    wall_heard(host, from->node, wall, now);
    space_heard(host, from->node, (flags & HEARTBEAT_FLAG_DISK_LOW) != 0,
                (flags & HEARTBEAT_FLAG_LOG_FULL) != 0);
    slow_disk_heard(host, from, (flags & HEARTBEAT_FLAG_DISK_SLOW) != 0);
}

static void append_heartbeat(struct partition_host *host, const struct raft_member *member,
                             const struct raft_heartbeat *heartbeat, uint64_t generated_at)
{
    uint32_t worker = host_remote_worker(host, member->node, heartbeat->group);
    struct peer_out *out = host_peer_out(host, member->node, worker);
    struct buffer *buffer = &out->heartbeats;
    if (buffer_size(buffer) == 0) {
        struct writer writer = writer_make(buffer);
        write_u64(&writer, generated_at);
        write_i64(&writer, world_wall_time(host->world));
        write_u8(&writer, heartbeat_flags(host));
    }
    uint8_t *at = buffer_reserve(buffer, HEARTBEAT_SIZE);
    ASSERT(at != NULL);
    store_u32(at, heartbeat->group.value);
    store_u64(at + 4, heartbeat->from.value);
    store_u64(at + 12, heartbeat->to.value);
    store_u64(at + 20, heartbeat->term);
    store_u64(at + 28, heartbeat->commit);
    store_u64(at + 36, heartbeat->round);
    buffer_commit(buffer, HEARTBEAT_SIZE);
}

static void heartbeat_members(struct replica *replica, const struct raft_member *members,
                              uint32_t count, uint64_t now)
{
    for (uint32_t i = 0; i < count; i++) {
        struct raft_heartbeat heartbeat;
        if (replica_id_equal(members[i].replica, replica->id)) continue;
        if (!raft_heartbeat_make(replica->raft, members[i].replica, &heartbeat)) continue;
        append_heartbeat(replica->host, &members[i], &heartbeat, now);
    }
}

static bool is_incoming(const struct raft_config *config, struct replica_id replica)
{
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        if (replica_id_equal(config->incoming[i].replica, replica)) return true;
    }
    return false;
}

/* All heartbeats of one turn share a generation time: the earliest is the safe one. */
void heartbeat_replica(struct replica *replica, uint64_t now)
{
    struct partition_host *host = replica->host;
    if (raft_role(replica->raft) != RAFT_LEADER) return;
    if (host->heartbeats_generated_at == 0) host->heartbeats_generated_at = now;
    now = host->heartbeats_generated_at;
    const struct raft_config *config = raft_config(replica->raft);
    heartbeat_members(replica, config->incoming, config->incoming_count, now);
    heartbeat_members(replica, config->learners, config->learner_count, now);
    for (uint32_t i = 0; i < config->outgoing_count; i++) {
        if (is_incoming(config, config->outgoing[i].replica)) continue;
        heartbeat_members(replica, &config->outgoing[i], 1, now);
    }
    world_defer(host->world, &host->turn_end);
}

/* While nothing was read or written lately in any group of this worker, its ticks, and so its
 * heartbeats, are IDLE_FACTOR times as far apart. A lease may lapse for a moment then: a read
 * that meets that asks for a round, and makes the group busy. */
static bool is_busy(struct replica *replica, uint64_t now)
{
    uint64_t last = raft_last_index(replica->raft);
    if (last != replica->last_seen) {
        replica->last_seen = last;
        replica->busy_until = now + BUSY_US;
    }
    return now < replica->busy_until;
}

void heartbeat_tick(struct partition_host *host, uint64_t now)
{
    bool resting = rest_tick(host, now);
    if (resting && rest_is_settled(host, now)) return;
    bool settles = resting;
    bool woke = rest_woke_lately(host, now), busy = woke;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted) continue;
        if (replica->was_leader ? resting : rest_is_vouched(replica, now)) continue;
        settles = false;
        if (snapshot_holds_core(replica)) {
            rest_withdraw(replica);
            continue;
        }
        busy = is_busy(replica, now) || rest_is_missed(replica) || busy;
        if (replica->was_leader) heartbeat_replica(replica, now);
        /* Of a leader only its quorum is checked, which need not be exact to a tick; but who woke
         * because others were silent must see soon that it hears nobody. */
        bool look = !replica->was_leader || woke || host->ticks % SLOW_TICKS == 0;
        if (!look || !raft_tick_due(replica->raft, now)) continue;
        raft_tick(replica->raft, now);
        if (raft_has_output(replica->raft)) host_mark_dirty(replica);
    }
    host->idle = !busy;
    if (settles) rest_settle(host);
}

/* Idle nodes beat together: whoever hears one with a lower id does its own tick in the same turn
 * if it is nearly due, behind all input (D2: after a delay others may have beaten as well).
 * Heartbeats and acknowledgements then share wake-ups and writes, which is most of what an idle
 * cluster costs. */
void heartbeat_along(struct partition_host *host, node_id_t from, uint64_t now)
{
    uint64_t interval = host_tick_interval(host);
    uint64_t since = now - host->last_tick;
    if (!host->idle || from >= host->options.node || host->tick_along) return;
    bool was_along = host->along;
    host->along = true;
    host->tick_along = since > interval * 3 / 4;
    if (host->tick_along)
        world_timer_start(host->world, &host->tick_timer, 0);
    else if (!was_along) /* was ahead of it: not the next time */
        world_timer_start(host->world, &host->tick_timer, host_tick_interval(host) - since);
}

static void refuse(struct raft_heartbeat_ack *ack, const struct raft_heartbeat *heartbeat)
{
    *ack = (struct raft_heartbeat_ack){.group = heartbeat->group,
                                       .from = heartbeat->to,
                                       .to = heartbeat->from,
                                       .term = 0,
                                       .accepted = false};
}

static void append_ack(struct buffer *buffer, const struct raft_heartbeat_ack *ack)
{
    uint8_t *at = buffer_reserve(buffer, HEARTBEAT_ACK_SIZE);
    ASSERT(at != NULL);
    store_u32(at, ack->group.value);
    store_u64(at + 4, ack->from.value);
    store_u64(at + 12, ack->to.value);
    store_u64(at + 20, ack->term);
    store_u64(at + 28, ack->round);
    store_u64(at + 36, ack->match);
    at[44] = ack->accepted;
    buffer_commit(buffer, HEARTBEAT_ACK_SIZE);
}

void heartbeat_on_frame(struct partition_host *host, const struct transport_peer *from,
                        struct bytes payload)
{
    struct reader reader = reader_make(payload);
    uint64_t generated_at = read_u64(&reader);
    int64_t wall = read_i64(&reader);
    uint64_t now = world_now(host->world);
    uint8_t flags = read_u8(&reader);
    if (!reader.failed) heard(host, from, wall, flags, now);
    struct peer_out *out = host_peer_out(host, from->node, from->worker);
    host->rest.settled = false;
    /* Acknowledgements of different generations must not share a frame. */
    if (buffer_size(&out->acks) > 0) {
        peer_out_send(host, out, PEER_FRAME_HEARTBEAT_ACKS, &out->acks);
    }
    struct writer writer = writer_make(&out->acks);
    write_u64(&writer, generated_at);
    write_i64(&writer, world_wall_time(host->world));
    write_u8(&writer, heartbeat_flags(host));
    while (reader_left(&reader) >= HEARTBEAT_SIZE) {
        struct raft_heartbeat heartbeat = {.group = {read_u32(&reader)},
                                           .from = {read_u64(&reader)},
                                           .to = {read_u64(&reader)},
                                           .term = read_u64(&reader),
                                           .commit = read_u64(&reader),
                                           .round = read_u64(&reader)};
        struct raft_heartbeat_ack ack;
        struct replica *replica = host_replica(host, heartbeat.group);
        bool sane = heartbeat.term <= HEARTBEAT_NUMBER_MAX &&
                    heartbeat.commit <= HEARTBEAT_NUMBER_MAX &&
                    heartbeat.round <= HEARTBEAT_NUMBER_MAX;
        bool ours = sane && replica != NULL && !replica->halted && !snapshot_holds_core(replica) &&
                    replica_id_equal(replica->id, heartbeat.to);
        if (ours) {
            raft_heartbeat_receive(replica->raft, &heartbeat, from->node, now, &ack);
            replica_durable(replica);
            if (raft_has_output(replica->raft)) host_mark_dirty(replica);
            replica_leader_news(replica);
        } else {
            refuse(&ack, &heartbeat);
        }
        append_ack(&out->acks, &ack);
    }
    heartbeat_along(host, from->node, now);
    world_defer(host->world, &host->turn_end);
}

void heartbeat_on_acks(struct partition_host *host, const struct transport_peer *from,
                       struct bytes payload)
{
    struct reader reader = reader_make(payload);
    uint64_t generated_at = read_u64(&reader);
    int64_t wall = read_i64(&reader);
    uint64_t now = world_now(host->world);
    uint8_t flags = read_u8(&reader);
    if (!reader.failed) heard(host, from, wall, flags, now);
    while (reader_left(&reader) >= HEARTBEAT_ACK_SIZE) {
        struct raft_heartbeat_ack ack = {.group = {read_u32(&reader)},
                                         .from = {read_u64(&reader)},
                                         .to = {read_u64(&reader)},
                                         .term = read_u64(&reader),
                                         .round = read_u64(&reader),
                                         .match = read_u64(&reader),
                                         .accepted = read_u8(&reader) != 0};
        struct replica *replica = host_replica(host, ack.group);
        bool ours = replica != NULL && !replica->halted && replica_id_equal(replica->id, ack.to) &&
                    generated_at <= now;
        if (!ours) continue;
        raft_heartbeat_acked(replica->raft, &ack, generated_at, now);
        replica_durable(replica);
        if (raft_has_output(replica->raft)) host_mark_dirty(replica);
    }
}
