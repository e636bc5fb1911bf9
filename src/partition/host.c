/* Open and close, dispatch, the tick and the end of a turn. */
#include "base/hash.h"
#include "partition/host_internal.h"

const struct logger *host_logger(const struct partition_host *host)
{
    return world_logger(host->world);
}

struct replica *host_replica(const struct partition_host *host, struct group_id group)
{
    return group.value < host->replicas_capacity ? host->replicas[group.value] : NULL;
}

void host_mark_dirty(struct replica *replica)
{
    struct partition_host *host = replica->host;
    rest_disturb(replica);
    if (replica->queued) return;
    if (host->dirty_count == host->dirty_capacity) {
        host->dirty_capacity = host->dirty_capacity == 0 ? 64 : host->dirty_capacity * 2;
        host->dirty = memory_resize(host->dirty, host->dirty_capacity * sizeof(struct replica *));
    }
    host->dirty[host->dirty_count++] = replica;
    replica->queued = true;
    world_defer(host->world, &host->turn_end);
}

uint32_t host_remote_worker(struct partition_host *host, node_id_t node, struct group_id group)
{
    uint32_t workers = node == host->options.node
                           ? host->options.worker_count
                           : transport_worker_count(host->options.transport, node);
    return group_worker(group, host->options.store_count, workers);
}

struct peer_out *host_peer_out(struct partition_host *host, node_id_t node, uint32_t worker)
{
    uint64_t key = ((uint64_t)node << 16) | worker;
    struct peer_out *out = map_get(&host->peers, key);
    if (out != NULL) return out;
    out = memory_allocate_zero(sizeof(*out));
    out->node = node;
    out->worker = worker;
    buffer_init(&out->raft, TRANSPORT_FRAME_SIZE_MAX);
    buffer_init(&out->heartbeats, TRANSPORT_FRAME_SIZE_MAX);
    buffer_init(&out->acks, TRANSPORT_FRAME_SIZE_MAX);
    buffer_init(&out->replies, TRANSPORT_FRAME_SIZE_MAX);
    buffer_init(&out->rest, TRANSPORT_FRAME_SIZE_MAX);
    buffer_init(&out->verify, TRANSPORT_FRAME_SIZE_MAX);
    out->next = host->peer_list;
    host->peer_list = out;
    map_put(&host->peers, key, out);
    return out;
}

void peer_out_send(struct partition_host *host, struct peer_out *out, uint8_t kind,
                   struct buffer *buffer)
{
    if (buffer_size(buffer) == 0) return;
    if (kind == PEER_FRAME_REPLIES) {
        relay_send(host->options.relay, host->options.transport, out->node, out->worker, kind,
                   buffer_bytes(buffer));
        out->section_open = false;
    } else {
        transport_send(host->options.transport, out->node, out->worker, kind, buffer_bytes(buffer));
    }
    buffer_clear(buffer);
}

/* Group commit over the network: while two frames are under way, more appends gather, to leave
 * with the next acknowledgement. Votes and acknowledgements never wait, and take along what
 * does; a tick sends the rest, should the answer be lost. Of patient entries alone no answer comes
 * soon. */
static void peer_out_raft(struct partition_host *host, struct peer_out *out)
{
    if (buffer_size(&out->raft) == 0) return;
    bool waits = !out->urgent && out->unanswered >= UNANSWERED_FRAMES_MAX &&
                 buffer_size(&out->raft) < RAFT_HELD_BYTES_MAX;
    if (waits) return;
    out->unanswered += out->awaited;
    out->urgent = out->awaited = false;
    peer_out_send(host, out, PEER_FRAME_RAFT, &out->raft);
}

void peer_out_answered(struct partition_host *host, node_id_t node, uint32_t worker)
{
    struct peer_out *out = host_peer_out(host, node, worker);
    out->unanswered = 0;
    if (buffer_size(&out->raft) > 0) world_defer(host->world, &host->turn_end);
}

/* As a rule there is nothing of most kinds. */
static inline void send_if_any(struct partition_host *host, struct peer_out *out, uint8_t kind,
                               struct buffer *buffer)
{
    if (buffer_size(buffer) > 0) peer_out_send(host, out, kind, buffer);
}

static void peer_out_tick(struct partition_host *host)
{
    for (struct peer_out *out = host->peer_list; out != NULL; out = out->next) {
        out->unanswered = 0;
        if (buffer_size(&out->raft) > 0) world_defer(host->world, &host->turn_end);
    }
}

static size_t foresee_from(struct partition_host *host, size_t first)
{
    uint32_t rows = 0;
    size_t count = foresee_applied(host->dirty + first, host->dirty_count - first, &rows);
    host->statistics.rows_foreseen += rows;
    return first + count;
}

/* Everything that requests, messages and timers of this turn left behind: one submit to the
 * log for all groups, one frame per kind for each worker of each peer. Followers' copies
 * leave before the own disk is waited for. */
static void turn_end(struct world_deferred *deferred)
{
    struct partition_host *host = deferred->context;
    if (host->closing) return;
    uint64_t now = world_now(host->world);
    host->turn_time = now;
    snapshot_turns_run(host);
    size_t foreseen = host->dirty_count == 1;        /* of one, nothing */
    for (size_t i = 0; i < host->dirty_count; i++) { /* the list may grow meanwhile */
        if (i >= foreseen) foreseen = foresee_from(host, i);
        struct replica *replica = host->dirty[i];
        if (replica == NULL) continue;
        replica->queued = false;
        if (!replica->halted) drive_replica(replica, now);
    }
    host->dirty_count = 0;
    host->heartbeats_generated_at = 0;
    for (struct peer_out *out = host->peer_list; out != NULL; out = out->next) {
        peer_out_raft(host, out);
        send_if_any(host, out, PEER_FRAME_HEARTBEATS, &out->heartbeats);
        send_if_any(host, out, PEER_FRAME_HEARTBEAT_ACKS, &out->acks);
        send_if_any(host, out, PEER_FRAME_REPLIES, &out->replies);
        send_if_any(host, out, PEER_FRAME_VERIFY, &out->verify);
        send_if_any(host, out, PEER_FRAME_REST, &out->rest);
    }
    log_queue_submit(host->queue);
    spare_consider(host);
}

static void on_durable(void *context, uint64_t position)
{
    struct partition_host *host = context;
    if (!host->closing) drive_durable(host, position);
}

static void on_written(void *context, uint64_t position)
{
    struct partition_host *host = context;
    if (!host->closing) drive_written(host, position);
}

void host_set_memory(struct partition_host *host, uint64_t databases)
{
    host->databases_in_memory = databases;
}

void host_believe_written(struct partition_host *host, bool believe)
{
    host->written_counts = believe;
}

/* D2: after an absence input is drained first; timers run after input here, and those of the
 * cores are armed afresh. */
static void check_gap(struct partition_host *host, uint64_t now)
{
    uint64_t limit = host->options.timing.election_timeout_min / 2;
    uint64_t interval = host_tick_interval(host); /* it may have been an idle one until now */
    uint64_t away = now - host->last_tick;
    bool gap = away > limit + (host->tick_in > interval ? host->tick_in : interval);
    host->last_tick = now;
    if (!gap) return;
    slow_loop_was_away(host, away, now);
    host->statistics.loop_gaps++;
    rest_wake(host);
    SOMETIMES(host->world, "the loop was away");
    LOG_WARN(host_logger(host), "partition",
             "this worker stood still for more than %llu ms; leases are void until confirmed",
             (unsigned long long)(limit / 1000));
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica != NULL && !replica->halted) raft_gap(replica->raft, now);
    }
}

static void tell_everywhere(struct replica *replica)
{
    bool few = MAYBE(replica->host->world, "tell a quiet group of few entries");
    if (!raft_tell_everywhere(replica->raft, few ? 1 : ENTRIES_UNTOLD_MAX)) return;
    SOMETIMES(replica->host->world, "a quiet group was told what all members have");
    host_mark_dirty(replica);
}

static void slow_work_of_replicas(struct partition_host *host, uint64_t now)
{
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted || remove_tick(replica, now)) continue;
        if (raft_role(replica->raft) == RAFT_LEADER) {
            replica_time_correct(replica, now);
            if (host->rest.state != REST_RESTING) reconcile_tick(replica, now);
            if (now >= replica->busy_until) tell_everywhere(replica);
        }
        replica_trim(replica, now);
        verify_tick(replica, now);
        if (memory_may_evict(replica) && MAYBE(host->world, "evict rows"))
            row_table_evict(replica->table, UINT64_MAX);
        if (replica->sends != NULL || replica->receive != NULL) snapshot_tick(replica, now);
    }
}

static bool all_rest(const struct partition_host *host)
{
    return host->rest.state == REST_RESTING && host->rest.settled;
}

/* While all replicas rest, each look at all of them is most of what the node does. */
static bool skips_replicas(const struct partition_host *host)
{
    return all_rest(host) && host->ticks % (SLOW_TICKS * SELDOM_FACTOR) != 0;
}

/* Every SLOW_TICKS-th tick: nothing here is urgent, and an idle node should do nothing. */
static void slow_work(struct partition_host *host, uint64_t now)
{
    bool all = !skips_replicas(host);
    if (all) slow_work_of_replicas(host, now);
    drop_tick(host);
    space_tick(host, now);
    if (all) collect_tick(host);
    warm_tick(host, now);
    big_reply_tick(host, now);
    if (all) flush_tick(host);
    host->governor.wall_offset = wall_trusted(host, now) - (int64_t)now;
}

uint64_t host_tick_interval(const struct partition_host *host)
{
    uint64_t interval = host->options.timing.heartbeat;
    if (!host->idle) return interval;
    interval *= all_rest(host) ? REST_FACTOR : IDLE_FACTOR;
    /* A little later than the node with which this one beats: its beat comes first, or never. */
    return host->along ? interval + interval / 8 : interval;
}

/* Their timers begin afresh: nobody could be heard. */
void host_mute(struct partition_host *host, bool mute)
{
    uint64_t now = world_now(host->world);
    bool speaks = host->muted && !mute;
    if (mute) rest_wake(host);
    host->muted = mute;
    if (!speaks) return;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica != NULL && !replica->halted) raft_gap(replica->raft, now);
    }
    host->idle = false;
    host->last_tick = now;
    world_timer_start(host->world, &host->tick_timer, host_tick_interval(host));
}

static void tick(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    uint64_t now = world_now(host->world);
    host->along = host->tick_along;
    host->tick_along = false;
    if (host->muted) {
        host->last_tick = now;
        world_timer_start(host->world, &host->tick_timer, host_tick_interval(host));
        return;
    }
    check_gap(host, now);
    host->ticks++;
    peer_out_tick(host);
    heartbeat_tick(host, now);
    rest_say(host, now);
    slow_disk_tick(host, now);
    if (host->ticks % SLOW_TICKS == 0)
        slow_work(host, now);
    else if (flush_is_urgent(host))
        flush_tick(host);
    bool measure = !host->rest.settled || host->ticks % SLOW_TICKS == 0;
    if (measure && !skips_replicas(host)) memory_tick(host);
    host->tick_in = host_tick_interval(host);
    world_timer_start(host->world, &host->tick_timer, host->tick_in);
}

/* Leaders that may not evaluate yet wait for time to pass (promises of voters, D1). */
static void poll_ready(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    uint64_t now = world_now(host->world);
    bool again = false;
    host->ready_timer_runs = false;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        bool waits = replica != NULL && replica->was_leader &&
                     (!replica->was_ready || replica->held_first != NULL);
        if (!waits) continue;
        bool ready = replica_may_evaluate(replica, now);
        if (ready && !replica->was_ready) txn_ready(replica);
        replica->was_ready = ready;
        if (replica->held_first != NULL) execute_held(replica, now);
        host_mark_dirty(replica);
        again = again || !replica->was_ready || replica->held_first != NULL;
    }
    if (again) host_poll_ready(host);
}

void host_poll_ready(struct partition_host *host)
{
    if (host->ready_timer_runs || host->closing) return;
    host->ready_timer_runs = true;
    world_timer_start(host->world, &host->ready_timer, READY_POLL_US);
}

static void drive_rest(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica != NULL && !replica->halted && raft_has_output(replica->raft))
            host_mark_dirty(replica);
    }
}

struct partition_host *host_open(const struct host_options *options)
{
    struct partition_host *host = memory_allocate_zero(sizeof(*host));
    ASSERT(options->store_count >= 1 && options->store_count <= STORES_MAX);
    host->options = *options;
    host->options.evaluate[SERVICE_SYSTEM] = stale_evaluate;
    host->options.evaluate[SERVICE_CUT] = cut_evaluate;
    host->freeze_timer = (struct world_timer){.fire = cut_freeze_over, .context = host};
    host->cut_copy_timer = (struct world_timer){.fire = cut_copy_turn, .context = host};
    list_init(&host->cuts_copying);
    list_init(&host->cuts_ended);
    host->world = options->world;
    host->turn_end = (struct world_deferred){.run = turn_end, .context = host};
    host->tick_timer = (struct world_timer){.fire = tick, .context = host};
    host->drive_timer = (struct world_timer){.fire = drive_rest, .context = host};
    host->ready_timer = (struct world_timer){.fire = poll_ready, .context = host};
    host->chore_timer = (struct world_timer){.fire = chore_timer_fire, .context = host};
    list_init(&host->snapshots_waiting);
    copy_turns_open(host);
    list_init(&host->big_replies);
    map_init(&host->peers);
    cold_open(host);
    verify_open(host);
    host->flush_pace.world = host->drop_pace.world = host->world;
    drop_set_pace(host, false);
    memory_open(host);
    for (uint32_t i = 0; i < STORES_MAX; i++)
        list_init(&host->stores[i].replicas);
    host->row_memory = slabs_make();
    slabs_hurry(host->row_memory); /* spare.c prepares them; a start does not wait for it */
    for (uint32_t i = 0; i < EVALUATE_DEPTH_MAX; i++) {
        arena_init(&host->scratch[i].arena, 256 << 10);
        buffer_init(&host->scratch[i].reply, REPLY_SIZE_MAX);
        buffer_init(&host->scratch[i].effects, REPLY_SIZE_MAX);
        buffer_init(&host->scratch[i].wanted, SIZE_MAX / 2);
    }
    buffer_init(&host->header, OUTCOME_SIZE_MAX + 256);
    host->queue = log_queue_open(options->log, host->world, host, on_durable);
    log_queue_hear_written(host->queue, on_written);
    host->last_tick = host->turn_time = world_now(host->world);
    governor_init(&host->governor,
                  options->heavy_rate_least ? options->heavy_rate_least : GOVERNOR_RATE_LEAST,
                  host->last_tick);
    host->governor.off = options->heavy_unbounded;
    if (options->heavy_bytes == 0) host->options.heavy_bytes = GOVERNOR_BODY_BYTES;
    world_timer_start(host->world, &host->tick_timer, options->timing.heartbeat);
    return host;
}

static void peers_free(struct partition_host *host)
{
    while (host->peer_list != NULL) {
        struct peer_out *out = host->peer_list;
        host->peer_list = out->next;
        buffer_free(&out->raft);
        buffer_free(&out->heartbeats);
        buffer_free(&out->acks);
        buffer_free(&out->replies);
        buffer_free(&out->rest);
        buffer_free(&out->verify);
        memory_free(out);
    }
    map_free(&host->peers);
}

void host_begin_close(struct partition_host *host)
{
    host->stopping = true;
    host->flush_pace.bytes_per_second = 0; /* the flush that is under way is waited for */
    drop_set_pace(host, true);
    host->drops_end = true;
}

void host_close(struct partition_host *host)
{
    if (host == NULL) return;
    host->closing = true;
    world_timer_stop(host->world, &host->tick_timer);
    world_timer_stop(host->world, &host->ready_timer);
    world_timer_stop(host->world, &host->drive_timer);
    world_timer_stop(host->world, &host->memory_timer);
    world_timer_stop(host->world, &host->chore_timer);
    world_timer_stop(host->world, &host->freeze_timer);
    world_timer_stop(host->world, &host->cut_copy_timer);
    copy_turns_close(host);
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        if (host->replicas[i] == NULL) continue;
        flush_replica_gone(host->replicas[i]);
        replica_free(host->replicas[i]);
    }
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        flush_abandon(host, i); /* of a store whose replicas went before */
        drops_free(&host->stores[i]);
    }
    cuts_close(host);
    cold_close(host);
    verify_close(host);
    collect_close(host);
    warm_close(host);
    spare_close(host);
    memory_free(host->replicas);
    slabs_free(host->row_memory);
    raft_messages_free(&host->messages);
    peers_free(host);
    log_queue_close(host->queue);
    for (uint32_t i = 0; i < EVALUATE_DEPTH_MAX; i++) {
        arena_free(&host->scratch[i].arena);
        buffer_free(&host->scratch[i].reply);
        buffer_free(&host->scratch[i].effects);
        buffer_free(&host->scratch[i].wanted);
    }
    buffer_free(&host->header);
    memory_free(host->persist);
    memory_free(host->dirty);
    memory_free(host);
}

static void on_requests(struct partition_host *host, const struct transport_peer *from,
                        struct bytes payload)
{
    struct gateway_id gateway = {
        .node = from->node, .epoch = from->epoch, .worker = (uint16_t)from->worker};
    struct reader reader = reader_make(payload);
    uint64_t now = world_now(host->world); /* after the bytes were read (A3) */
    struct request_section section;
    while (request_section_decode(&reader, &section) == STATUS_OK) {
        struct reader items = reader;
        for (uint32_t i = 0; i < section.count; i++) {
            struct request_item item;
            if (request_item_decode(&reader, &item)) {
                LOG_WARN(host_logger(host), "partition", "requests of node %u are damaged; dropped",
                         from->node);
                return;
            }
        }
        items.end = reader.next;
        struct replica *replica = host_replica(host, section.group);
        if (replica == NULL) {
            nack_send(host, section.group, gateway, section.term, section.route, NACK_NOT_LEADER, 0,
                      0);
            continue;
        }
        execute_section(replica, gateway, false, &section, &items, now);
    }
}

void host_on_frame(struct partition_host *host, const struct transport_peer *from, uint8_t kind,
                   struct bytes payload)
{
    if (host->closing) return;
    switch (kind) {
    case PEER_FRAME_RAFT:
        drive_raft_frame(host, from, payload);
        break;
    case PEER_FRAME_HEARTBEATS:
        heartbeat_on_frame(host, from, payload);
        break;
    case PEER_FRAME_HEARTBEAT_ACKS:
        heartbeat_on_acks(host, from, payload);
        break;
    case PEER_FRAME_SNAPSHOT:
        snapshot_on_frame(host, from, payload);
        break;
    case PEER_FRAME_SNAPSHOT_ACK:
        snapshot_on_ack(host, from, payload);
        break;
    case PEER_FRAME_GONE:
        remove_on_frame(host, from, payload);
        break;
    case PEER_FRAME_NODE_BEAT:
        rest_on_beat(host, from, payload);
        break;
    case PEER_FRAME_REST:
        rest_on_frame(host, from, payload);
        break;
    case PEER_FRAME_REST_ACK:
        rest_on_ack(host, from, payload);
        break;
    case PEER_FRAME_VERIFY:
        verify_on_frame(host, from, payload);
        break;
    case PEER_FRAME_REQUESTS:
        on_requests(host, from, payload);
        break;
    case PEER_FRAME_REPLY_ACKS:
        big_reply_on_acks(host, from, payload);
        break;
    default:
        break;
    }
}

void host_peer_down(struct partition_host *host, node_id_t node)
{
    uint64_t now = world_now(host->world);
    slow_disk_peer_down(host, node);
    if (host->muted) return;
    bool rested = host->rest.state == REST_RESTING, was_idle = host->idle;
    rest_node_lost(host, node);
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted) continue;
        raft_peer_down(replica->raft, node, now);
        if (raft_has_output(replica->raft)) host_mark_dirty(replica);
    }
    big_replies_drop(host, NULL, node);
    /* Elections may have to be tried again soon: no idle ticks now. A busy tick is soon enough, and
     * is not put off by one peer after another that goes. */
    host->idle = false;
    if (was_idle && !rested)
        world_timer_start(host->world, &host->tick_timer, host_tick_interval(host));
}

void host_set_wish(struct partition_host *host, struct group_id group,
                   const struct raft_member *members, uint32_t count, uint64_t next_replica_id,
                   uint64_t number, bool tell)
{
    struct replica *replica = host_replica(host, group);
    if (replica == NULL || count > RAFT_MEMBERS_MAX) return;
    bool same = replica->wish_known && replica->wish_count == count &&
                replica->wish_number == number && replica->wish_tell == tell;
    for (uint32_t i = 0; i < count && same; i++)
        same = replica_id_equal(replica->wish[i].replica, members[i].replica) &&
               replica->wish[i].node == members[i].node;
    if (!same) rest_disturb(replica);
    memcpy(replica->wish, members, count * sizeof(*members));
    replica->wish_count = count;
    replica->wish_known = true;
    replica->wish_ids_end = next_replica_id;
    replica->wish_number = number;
    replica->wish_tell = tell;
    if (same) return;
    replica->settled_at = replica->unheard_since = replica->crowded_since = 0;
    replica->unheard_tries = 0;
}

void host_set_gateway(struct partition_host *host, const struct host_gateway *gateway)
{
    host->gateway = *gateway;
}

static struct replica_id best_successor(struct replica *replica, uint64_t now)
{
    const struct raft_config *config = raft_config(replica->raft);
    struct replica_id best = {0};
    uint64_t best_match = 0;
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        bool active = false;
        struct replica_id id = config->incoming[i].replica;
        if (replica_id_equal(id, replica->id)) continue;
        uint64_t match = raft_match_of(replica->raft, id, now, &active);
        if (!active || match < best_match) continue;
        best = id;
        best_match = match;
    }
    return best;
}

static void hand_over(struct replica *replica, uint64_t now)
{
    if (replica == NULL || replica->halted || raft_role(replica->raft) != RAFT_LEADER) return;
    struct replica_id to = best_successor(replica, now);
    if (to.value == 0) return;
    raft_transfer(replica->raft, to, now);
    host_mark_dirty(replica);
}

void host_transfer_all(struct partition_host *host)
{
    uint64_t now = world_now(host->world);
    rest_wake(host);
    host->transfer_all = true;
    for (uint32_t i = 0; i < host->replicas_capacity; i++)
        hand_over(host->replicas[i], now);
}

void host_transfer(struct partition_host *host, struct group_id group)
{
    rest_wake(host);
    hand_over(host_replica(host, group), world_now(host->world));
}

bool host_rests(const struct partition_host *host)
{
    return host->rest.state == REST_RESTING;
}

uint64_t host_heard_until(const struct partition_host *host, uint64_t now)
{
    const struct host_rest *rest = &host->rest;
    uint64_t patience = host->options.timing.election_timeout_max;
    if (rest->state == REST_RESTING) return rest->since;
    bool just_woke = rest->woke_at > rest->since && now < rest->woke_at + patience;
    return just_woke ? rest->since + (now - rest->woke_at) : now;
}

bool host_is_born(const struct partition_host *host)
{
    return host->birth_position == 0;
}

uint32_t host_leader_count(const struct partition_host *host)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        const struct replica *replica = host->replicas[i];
        count += replica != NULL && !replica->halted && raft_role(replica->raft) == RAFT_LEADER;
    }
    return count;
}

uint64_t host_leads(const struct partition_host *host, struct group_id group)
{
    const struct replica *replica = host_replica(host, group);
    bool leads = replica != NULL && !replica->halted && raft_role(replica->raft) == RAFT_LEADER;
    return leads ? raft_term(replica->raft) : 0;
}

const struct row_table *host_rows(const struct partition_host *host, struct group_id group)
{
    const struct replica *replica = host_replica(host, group);
    return replica == NULL ? NULL : replica->table;
}

const struct raft *host_raft(const struct partition_host *host, struct group_id group)
{
    const struct replica *replica = host_replica(host, group);
    return replica == NULL ? NULL : replica->raft;
}

struct replica_id host_replica_id(const struct partition_host *host, struct group_id group)
{
    const struct replica *replica = host_replica(host, group);
    return replica == NULL ? (struct replica_id){0} : replica->id;
}

static void hash_count(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    uint64_t *hash = context;
    *hash += hash_u64(hash_u64((uint64_t)service << 32 | namespace) ^ rows);
}

struct rows_each {
    void *context;
    bool (*on_row)(void *context, const struct row_found *row);
    bool more;
};

static bool each_of_table(void *context, const struct row_found *row)
{
    struct rows_each *each = context;
    each->more = each->on_row(each->context, row);
    return each->more;
}

/* Rows that are in the engine alone. */
static bool each_of_engine(const struct replica *replica, struct rows_each *each)
{
    struct engine *engine = replica->host->options.engines[replica->store];
    uint8_t from[2], to[2];
    struct bytes key, stored;
    struct row_found row;
    replica_row_range(replica, from, to);
    bool sound = true;
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(from, 2), bytes_make(to, 2));
    while (each->more && engine_iterator_next(engine, iterator, &key, &stored)) {
        row = (struct row_found){.key = key, .state = ROW_CLEAN};
        sound = row_value_decode(stored, &row.header, &row.value) == STATUS_OK;
        if (!sound) break;
        if (!row_table_hides(replica->table, key, row.header.version)) each_of_table(each, &row);
    }
    return engine_iterator_close(engine, iterator, NULL) == STATUS_OK && sound;
}

/* Its engine, if it is needed, does not hold all that it has. */
static bool engine_is_apart(const struct replica *replica)
{
    return replica->receive != NULL || replica->flushed > replica->applied;
}

bool host_rows_each(const struct partition_host *host, struct group_id group, void *context,
                    bool (*on_row)(void *context, const struct row_found *row))
{
    const struct replica *replica = host_replica(host, group);
    struct rows_each each = {.context = context, .on_row = on_row, .more = true};
    if (replica == NULL) return false;
    bool complete = row_table_complete(replica->table);
    if (!complete && engine_is_apart(replica)) return false;
    row_table_committed_each(replica->table, bytes_make(NULL, 0), &each, each_of_table);
    return complete || !each.more || each_of_engine(replica, &each);
}

static bool hash_one(void *context, const struct row_found *row)
{
    uint64_t *hash = context;
    *hash += row_hash(row->key, &row->header, row->value);
    return true;
}

bool host_state_hash(const struct partition_host *host, struct group_id group, uint64_t *ret_hash)
{
    const struct replica *replica = host_replica(host, group);
    if (replica == NULL) return false;
    uint64_t hash = row_table_hash(replica->table);
    if (!row_table_complete(replica->table)) {
        struct rows_each each = {.context = &hash, .on_row = hash_one, .more = true};
        if (engine_is_apart(replica) || !each_of_engine(replica, &each)) return false;
    }
    row_table_counts_each(replica->table, &hash, hash_count);
    *ret_hash = hash ^ dedup_hash(replica->dedup);
    return true;
}

uint32_t host_replica_count(const struct partition_host *host)
{
    return host->replica_count;
}

static uint32_t members_behind(const struct replica *replica, uint64_t now)
{
    const struct raft_config *config = raft_config(replica->raft);
    uint32_t behind = config->learner_count;
    now = host_heard_until(replica->host, now);
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        bool active = false;
        if (replica_id_equal(config->incoming[i].replica, replica->id)) continue;
        raft_match_of(replica->raft, config->incoming[i].replica, now, &active);
        behind += !active;
    }
    return behind;
}

static void fill_status(const struct replica *replica, struct replica_status *ret)
{
    uint64_t now = world_now(replica->host->world);
    const struct raft *raft = replica->raft;
    bool leads = raft_role(raft) == RAFT_LEADER;
    *ret = (struct replica_status){
        .group = replica->group,
        .replica = replica->id,
        .role = raft_role(raft),
        .ready = leads && replica_may_evaluate(replica, now),
        .term = raft_term(raft),
        .leader = leads ? replica->host->options.node : raft_leader(raft).node,
        .commit = raft_commit_index(raft),
        .applied = replica->applied,
        .last = raft_last_index(raft),
        .durable = raft_durable_index(raft),
        .flushed = replica->flushed,
        .rows = row_table_rows(replica->table),
        .row_bytes = row_table_bytes(replica->table),
        .voters = raft_config(raft)->incoming_count,
        .learners = raft_config(raft)->learner_count,
        .behind = leads ? members_behind(replica, now) : 0,
    };
}

void host_replica_status(const struct partition_host *host, uint32_t index,
                         struct replica_status *ret)
{
    ASSERT(index < host->replica_count);
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        if (host->replicas[i] == NULL || index-- > 0) continue;
        fill_status(host->replicas[i], ret);
        return;
    }
}

static void count_waiting(const struct partition_host *host, struct host_statistics *ret)
{
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        const struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted || raft_role(replica->raft) != RAFT_LEADER) continue;
        ret->uncommitted_entries +=
            raft_last_index(replica->raft) - raft_commit_index(replica->raft);
        ret->uncommitted_bytes += replica->uncommitted_bytes;
        ret->read_waits += replica->read_wait_count;
        ret->read_wait_bytes += replica->read_wait_bytes;
    }
}

void host_statistics(struct partition_host *host, struct host_statistics *ret)
{
    memory_measure(host);
    *ret = host->statistics;
    ret->table_bytes = host->memory.tables;
    ret->clean_bytes = host->memory.clean;
    ret->dirty_bytes = host->memory.dirty;
    ret->entry_bytes = host->memory.entries;
    ret->waiting_bytes = host->memory.waiting;
    ret->copy_bytes = host->memory.copies;
    cuts_count(host, &ret->cuts_open, &ret->cut_bytes);
    ret->window_bytes = host->memory.windows;
    ret->buffer_bytes = host->memory.buffers;
    ret->incomplete_tables = host->memory.incomplete;
    ret->parked = host->cold.parked_count;
    ret->heavy_waiting = host->cold.heavy_count;
    ret->heavy_rate = host->governor.rate;
    ret->chores_behind = chore_behind_count(host, world_now(host->world));
    ret->memory_limit = host->options.memory_bytes;
    ret->refusing = host->memory.writes_refused;
    ret->big_reply_bytes = host->big_bytes;
    count_waiting(host, ret);
    snapshot_turns_count(host, &ret->snapshots_sending, &ret->snapshots_waiting);
}

const struct histogram *host_cold_latency(const struct partition_host *host)
{
    return &host->cold.latency;
}
