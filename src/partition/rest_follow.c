/* Groups at rest: the follower's side, and the beats (rest.c, decision 0009). */
#include "partition/host_internal.h"

/* In heartbeats. A vouch counts for more than a tick of a node at rest, by as much as a beat may be
 * late before heartbeats would be missed; timers count from the beat all the same. An agreement
 * that no beat told of came to nothing, if no other took its place: who may not rest asks again
 * each seven idle ticks at most. */
enum { VOUCH_FRESH_BEATS = 7, SAY_BEATS = 3, UNTOLD_BEATS = 40 };

/* --- agreeing -------------------------------------------------------------------------------- */

/* A request that was held up, or doubled, must not take the place of a newer one. */
static bool is_old(const struct replica_rest *rest, const struct transport_peer *from,
                   uint64_t generation)
{
    return rest->node == from->node && rest->epoch == from->epoch && rest->worker == from->worker &&
           generation < rest->generation;
}

static bool agrees(const struct replica *replica, const struct transport_peer *from,
                   uint64_t generation, const struct rest_ask_entry *ask)
{
    if (replica == NULL || replica->halted || snapshot_holds_core(replica)) return false;
    if (is_old(&replica->rest, from, generation)) return false;
    struct raft_member follows = raft_leader(replica->raft);
    uint64_t last = raft_last_index(replica->raft);
    return replica_id_equal(replica->id, ask->to) && raft_role(replica->raft) == RAFT_FOLLOWER &&
           raft_term(replica->raft) == ask->term && replica_id_equal(follows.replica, ask->from) &&
           follows.node == from->node && raft_leader_is_linked(replica->raft) &&
           !raft_has_output(replica->raft) && replica->receive == NULL &&
           replica->applied == last && replica_safe_index(replica) == last;
}

static bool all_agree(struct partition_host *host, const struct transport_peer *from,
                      uint64_t generation, struct reader entries, uint32_t *ret_count)
{
    struct rest_ask_entry ask;
    *ret_count = 0;
    while (rest_ask_next(&entries, &ask)) {
        if (!agrees(host_replica(host, ask.group), from, generation, &ask)) return false;
        ++*ret_count;
    }
    return true;
}

/* Beats come over a connection of their own: where they do not, heartbeats have to. */
static bool is_heard(const struct partition_host *host, const struct transport_peer *from)
{
    uint64_t now = world_now(host->world);
    struct rest_worker leader;
    rest_board_worker(host->options.rest_board, from->node, from->worker, &leader);
    return leader.epoch == from->epoch && leader.heard_at != 0 &&
           now < leader.heard_at + rest_beats(host, VOUCH_FRESH_BEATS);
}

void rest_on_frame(struct partition_host *host, const struct transport_peer *from,
                   struct bytes payload)
{
    struct reader entries;
    struct rest_ask_entry ask;
    struct rest_ack ack;
    struct buffer frame;
    bool known = from->node != 0 && from->node <= NODES_MAX && from->worker < WORKERS_MAX;
    if (host->options.rest_board == NULL || !known ||
        rest_ask_decode(payload, &ack.generation, &entries))
        return;
    if (host->rest.flags != 0 || heartbeat_flags(host) != 0) return;
    if (!is_heard(host, from)) {
        SOMETIMES(host->world, "a worker whose beats do not come may not rest");
        return;
    }
    if (!all_agree(host, from, ack.generation, entries, &ack.groups)) return;
    while (rest_ask_next(&entries, &ask)) {
        struct replica *replica = host_replica(host, ask.group);
        rest_touch(replica); /* what the last one vouched for is not forgotten */
        replica->rest = (struct replica_rest){.generation = ack.generation,
                                              .agreed_at = world_now(host->world),
                                              .node = from->node,
                                              .epoch = from->epoch,
                                              .worker = (uint16_t)from->worker};
    }
    host->rest.settled = false;
    ack.withdrawals = host->rest.withdrawals;
    buffer_init(&frame, TRANSPORT_FRAME_SIZE_MAX);
    rest_ack_encode(&ack, &frame);
    transport_send(host->options.transport, from->node, from->worker, PEER_FRAME_REST_ACK,
                   buffer_bytes(&frame));
    buffer_free(&frame);
}

static void take_back(struct replica *replica)
{
    struct partition_host *host = replica->host;
    replica->rest.generation = 0;
    host->rest.settled = false;
    host->rest.withdrawals++;
    SOMETIMES(host->world, "a replica at rest took its agreement back");
}

void rest_withdraw(struct replica *replica)
{
    rest_touch(replica);
    if (replica->rest.generation != 0) take_back(replica);
}

/* --- whose word is taken --------------------------------------------------------------------- */

static struct rest_vouch vouch_by(const struct partition_host *host,
                                  const struct replica_rest *rest)
{
    return rest_board_vouch(host->options.rest_board, rest->node, rest->epoch, rest->worker,
                            rest->generation);
}

static bool is_fresh(const struct partition_host *host, struct rest_vouch vouch, uint64_t now)
{
    bool fresh = now < vouch.at + rest_beats(host, VOUCH_FRESH_BEATS);
    return vouch.now && (fresh || PLANTED(host->world, "vouch_without_end"));
}

void rest_look(struct replica *replica)
{
    struct rest_vouch vouch = vouch_by(replica->host, &replica->rest);
    uint64_t now = world_now(replica->host->world);
    bool same = raft_leader(replica->raft).node == replica->rest.node;
    uint64_t at = vouch.at < now ? vouch.at : now;
    if (vouch.at != 0 && same) raft_leader_alive(replica->raft, at);
    /* It is awake: its heartbeats count from now on, and nobody's word. */
    if (vouch.at != 0 && !vouch.now) replica->rest.generation = 0;
    /* Else each message of a busy group would ask the board for it, for ever. */
    uint64_t untold = replica->rest.agreed_at + rest_beats(replica->host, UNTOLD_BEATS);
    if (vouch.at == 0 && now >= untold) take_back(replica);
}

bool rest_is_vouched(struct replica *replica, uint64_t now)
{
    if (replica->rest.generation == 0) return false;
    bool fresh = is_fresh(replica->host, vouch_by(replica->host, &replica->rest), now);
    if (!fresh) rest_look(replica);
    return fresh;
}

bool rest_is_missed(const struct replica *replica)
{
    return replica->rest.generation != 0 && vouch_by(replica->host, &replica->rest).at != 0;
}

static bool same_voucher(const struct replica_rest *a, const struct replica_rest *b)
{
    return a->generation == b->generation && a->node == b->node && a->epoch == b->epoch &&
           a->worker == b->worker;
}

void rest_settle(struct partition_host *host)
{
    struct host_rest *rest = &host->rest;
    rest->voucher_count = 0;
    rest->settled = true;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        const struct replica *replica = host->replicas[i];
        uint32_t at = 0;
        if (replica == NULL || replica->halted || replica->was_leader) continue;
        while (at < rest->voucher_count && !same_voucher(&rest->vouchers[at], &replica->rest))
            at++;
        if (at == REST_VOUCHERS_MAX) {
            rest->settled = false;
            return;
        }
        if (at == rest->voucher_count) rest->vouchers[rest->voucher_count++] = replica->rest;
    }
}

bool rest_is_settled(struct partition_host *host, uint64_t now)
{
    struct host_rest *rest = &host->rest;
    for (uint32_t i = 0; i < rest->voucher_count && rest->settled; i++)
        rest->settled = is_fresh(host, vouch_by(host, &rest->vouchers[i]), now);
    return rest->settled;
}

void rest_node_lost(struct partition_host *host, node_id_t node)
{
    rest_wake(host);
    host->rest.settled = false;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted || replica->rest.node != node) continue;
        rest_withdraw(replica);
    }
}

/* --- beats of nodes -------------------------------------------------------------------------- */

/* Each worker for itself, over its own connections: one that stands still is missed as it would be
 * without rest, and nobody else is. What a full connection drops is not told; heartbeats would be
 * dropped there as well. */
void rest_say(struct partition_host *host, uint64_t now)
{
    struct host_rest *rest = &host->rest;
    struct buffer frame;
    bool due = host->idle || now >= rest->said_at + rest_beats(host, SAY_BEATS);
    if (host->options.rest_board == NULL || !due) return;
    rest->said_at = now;
    rest->said = rest->state >= REST_AGREED ? rest->generation : 0;
    struct rest_beat beat = {.sent_at = now,
                             .wall = world_wall_time(host->world),
                             .generation = rest->said,
                             .withdrawals = rest->withdrawals};
    buffer_init(&frame, TRANSPORT_FRAME_SIZE_MAX);
    rest_beat_encode(&beat, &frame);
    for (node_id_t node = 1; node <= NODES_MAX; node++)
        if (node != host->options.node && transport_is_up(host->options.transport, node))
            transport_send(host->options.transport, node, TRANSPORT_ANY_WORKER,
                           PEER_FRAME_NODE_BEAT, buffer_bytes(&frame));
    buffer_free(&frame);
}

void rest_on_beat(struct partition_host *host, const struct transport_peer *from,
                  struct bytes payload)
{
    struct rest_beat beat;
    uint64_t now = world_now(host->world);
    if (host->options.rest_board == NULL || rest_beat_decode(payload, &beat)) return;
    if (rest_board_hear(host->options.rest_board, from->node, from->epoch, from->worker, &beat,
                        now))
        heartbeat_along(host, from->node, now);
}

void rest_take_news(struct partition_host *host, uint64_t now)
{
    bool seldom = !host->idle && host->ticks % SLOW_TICKS != 0; /* heartbeats tell it as well */
    if (seldom) return;
    uint64_t nodes = rest_board_news(host->options.rest_board, &host->rest.seen);
    for (; nodes != 0; nodes &= nodes - 1) {
        node_id_t id = (node_id_t)__builtin_ctzll(nodes) + 1;
        struct rest_node node;
        rest_board_node(host->options.rest_board, id, &node);
        uint64_t at = node.heard_at < now ? node.heard_at : now;
        if (node.heard_at == 0 || at <= host->walls[id - 1].heard_at) continue;
        wall_heard(host, id, node.wall_offset + (int64_t)at, at);
    }
}
