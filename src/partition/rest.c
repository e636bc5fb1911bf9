/* Groups at rest: while nothing happens in any group that a worker leads, none of them sends a
 * heartbeat; one small beat per worker, node and tick speaks for all of them (decision 0009).
 *
 * Safety does not rest: a group at rest has no lease, and its voters owe nothing, for both come of
 * heartbeats alone and run out. The first read asks for a round. What rests is who is thought to be
 * alive: a follower's election timer and a leader's look for its quorum.
 *
 *   AWAKE --idle and quiet: REST to all--> ASKED --all agreed--> AGREED --a beat told it--> RESTING
 *     ^---- anything at all in a group that it leads, a gap, a silent worker, a withdrawal --|
 *
 * A generation is a promise of the worker: while my beats carry it, I lead all the groups that I
 * asked about. An agreement is one as well: these replicas follow me at rest; who cannot say so
 * any more counts a withdrawal, which the beats carry.
 *
 * This file is the leader's side; rest_follow.c the follower's and the beats. */
#include "partition/host_internal.h"

enum { ASK_TICKS = 4, ASKED_TICKS = 2 };

uint64_t rest_beats(const struct partition_host *host, uint64_t count)
{
    return host->options.timing.heartbeat * count;
}

static bool leads(const struct replica *replica)
{
    return replica != NULL && !replica->halted &&
           (replica->was_leader || raft_role(replica->raft) == RAFT_LEADER);
}

/* --- the end of a rest ----------------------------------------------------------------------- */

/* Check-quorum has not seen them since the rest began. */
static void members_lived(struct replica *replica, uint64_t now)
{
    struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        const struct raft_member *member = &config->incoming[i];
        uint32_t worker = host_remote_worker(host, member->node, replica->group);
        struct rest_worker other;
        rest_board_worker(host->options.rest_board, member->node, worker, &other);
        raft_member_alive(replica->raft, member->replica,
                          other.heard_at < now ? other.heard_at : now);
    }
}

void rest_wake(struct partition_host *host)
{
    struct host_rest *rest = &host->rest;
    enum rest_state was = rest->state;
    if (was == REST_AWAKE || host->closing) return;
    uint64_t now = world_now(host->world);
    rest->state = REST_AWAKE;
    rest->settled = false;
    rest->ask_at_tick = host->ticks + ASK_TICKS;
    if (was != REST_RESTING) return;
    rest->woke_at = now;
    host->statistics.rest_wakes++;
    SOMETIMES(host->world, "a resting worker woke");
    for (uint32_t i = 0; i < host->replicas_capacity; i++)
        if (leads(host->replicas[i])) members_lived(host->replicas[i], now);
    host->idle = false; /* heartbeats go at once */
    world_timer_start(host->world, &host->tick_timer, 0);
}

bool rest_woke_lately(const struct partition_host *host, uint64_t now)
{
    uint64_t while_us = 2 * host->options.timing.election_timeout_max;
    return host->rest.woke_at != 0 && now < host->rest.woke_at + while_us;
}

void rest_disturbed(struct replica *replica)
{
    if (leads(replica)) rest_wake(replica->host);
}

/* --- to rest --------------------------------------------------------------------------------- */

static bool lived_lately(const struct partition_host *host, const struct rest_worker *other,
                         uint64_t now)
{
    return other->heard_at != 0 && now < other->heard_at + rest_beats(host, REST_SILENT_BEATS);
}

static bool member_is_heard(const struct partition_host *host, node_id_t node, uint32_t worker,
                            uint64_t now)
{
    struct rest_worker other;
    rest_board_worker(host->options.rest_board, node, worker, &other);
    return lived_lately(host, &other, now);
}

static bool is_quiet(const struct replica *replica, uint64_t now)
{
    struct partition_host *host = replica->host;
    bool waits = replica->held_first != NULL || replica->read_wait_count > 0 ||
                 replica->sends != NULL || replica->heartbeat_now || !list_empty(&replica->parked);
    if (waits || !replica->was_ready || !raft_is_quiet(replica->raft)) return false;
    if (!reconcile_is_done(replica)) return false;
    const struct raft_config *config = raft_config(replica->raft);
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        node_id_t node = config->incoming[i].node;
        uint32_t worker = host_remote_worker(host, node, replica->group);
        if (node != host->options.node && !member_is_heard(host, node, worker, now)) return false;
    }
    return true;
}

/* With a disk that is full or slow there is something to do: leaderships leave. */
static bool may_ask(struct partition_host *host, uint64_t now)
{
    bool early = !host->idle && MAYBE(host->world, "rest at once");
    if (!host->idle && !early) return false;
    if (host->ticks < host->rest.ask_at_tick && !early) return false;
    if (host->transfer_all || host->stopping || host->rest.flags != 0) return false;
    for (uint32_t i = 0; i < host->replicas_capacity; i++)
        if (leads(host->replicas[i]) && !is_quiet(host->replicas[i], now)) return false;
    return true;
}

static void ask_about(struct replica *replica)
{
    struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        const struct raft_member *member = &config->incoming[i];
        if (replica_id_equal(member->replica, replica->id)) continue;
        uint32_t worker = host_remote_worker(host, member->node, replica->group);
        struct peer_out *out = host_peer_out(host, member->node, worker);
        if (buffer_size(&out->rest) == 0) rest_ask_begin(&out->rest, host->rest.generation);
        rest_ask_add(&out->rest, &(struct rest_ask_entry){.group = replica->group,
                                                          .from = replica->id,
                                                          .to = member->replica,
                                                          .term = raft_term(replica->raft)});
        out->rest_asked++;
    }
}

static bool all_agreed(const struct partition_host *host)
{
    for (const struct peer_out *out = host->peer_list; out != NULL; out = out->next)
        if (out->rest_asked > 0 && !out->rest_agreed) return false;
    return true;
}

static void ask(struct partition_host *host)
{
    struct host_rest *rest = &host->rest;
    rest->state = REST_ASKED;
    /* Answers to the worker of an earlier start are none to this one. */
    if (rest->generation == 0) rest->generation = (uint64_t)(host->options.epoch & 0xfffffff) << 32;
    rest->generation++;
    rest->asked_at_tick = host->ticks;
    for (struct peer_out *out = host->peer_list; out != NULL; out = out->next) {
        out->rest_asked = 0;
        out->rest_agreed = false;
        buffer_clear(&out->rest);
    }
    for (uint32_t i = 0; i < host->replicas_capacity; i++)
        if (leads(host->replicas[i])) ask_about(host->replicas[i]);
    if (all_agreed(host)) rest->state = REST_AGREED; /* leads nothing that others are members of */
    world_defer(host->world, &host->turn_end);
}

void rest_on_ack(struct partition_host *host, const struct transport_peer *from,
                 struct bytes payload)
{
    struct rest_ack ack;
    if (rest_ack_decode(payload, &ack)) return;
    struct peer_out *out = host_peer_out(host, from->node, from->worker);
    bool answers = host->rest.state == REST_ASKED && ack.generation == host->rest.generation &&
                   out->rest_asked > 0 && ack.groups == out->rest_asked;
    if (!answers) return;
    out->rest_agreed = true;
    out->rest_epoch = from->epoch;
    out->rest_withdrawals = ack.withdrawals;
    if (all_agreed(host)) host->rest.state = REST_AGREED;
}

/* A worker that agreed runs no more, or took it back, or is of a later start of its node. */
static bool somebody_left(const struct partition_host *host, uint64_t now)
{
    for (const struct peer_out *out = host->peer_list; out != NULL; out = out->next) {
        struct rest_worker other;
        if (out->rest_asked == 0) continue;
        rest_board_worker(host->options.rest_board, out->node, out->worker, &other);
        uint32_t agreed = out->rest_withdrawals;
        if (PLANTED(host->world, "withdrawals_ignored")) agreed = other.withdrawals;
        bool stays = other.epoch == out->rest_epoch && (int32_t)(other.withdrawals - agreed) <= 0 &&
                     lived_lately(host, &other, now);
        if (!stays) return true;
    }
    return false;
}

/* One step of the picture above. */
static void leader_tick(struct partition_host *host, uint64_t now)
{
    struct host_rest *rest = &host->rest;
    switch (rest->state) {
    case REST_AWAKE:
        if (may_ask(host, now)) ask(host);
        break;
    case REST_ASKED:
        if (host->ticks > rest->asked_at_tick + ASKED_TICKS) rest_wake(host);
        break;
    case REST_AGREED:
        if (somebody_left(host, now)) {
            rest_wake(host);
            break;
        }
        /* Heartbeats go on until the followers have something else to go by. */
        if (rest->said != rest->generation) break;
        rest->state = REST_RESTING;
        rest->since = now;
        host->statistics.rests++;
        SOMETIMES(host->world, "the groups of a worker rest");
        break;
    case REST_RESTING:
        if (!somebody_left(host, now)) break;
        SOMETIMES(host->world, "a worker woke because another left");
        rest_wake(host);
        break;
    }
}

/* What heartbeats and acknowledgements say of a node stays as it was while groups rest: who has
 * something else to say than before wakes them, here and where the leaders are. */
static void flags_tick(struct partition_host *host)
{
    uint8_t flags = heartbeat_flags(host);
    if (flags == host->rest.flags) return;
    host->rest.flags = flags;
    host->rest.withdrawals++;
    rest_wake(host);
}

bool rest_tick(struct partition_host *host, uint64_t now)
{
    if (host->options.rest_board == NULL) return false;
    flags_tick(host);
    rest_take_news(host, now);
    leader_tick(host, now);
    return host->rest.state == REST_RESTING;
}
