/* One worker: transport, host, gateway, services, and the dispatch of frames between them. */
#include <stdio.h>

#include "node/node_snapshot.h"
#include "services/redis/chore.h"
#include "services/redis/evaluate.h"
#include "world/probe.h"

/* --- frames and peers ----------------------------------------------------------------- */

static void worker_note_alive(struct node_worker *worker, const struct transport_peer *from)
{
    if (worker->index == 0 && from->node <= NODES_MAX)
        worker->node->heard[from->node] = world_now(worker->world);
}

static void worker_on_request_frame(struct node_worker *worker, const struct transport_peer *from,
                                    uint8_t kind, struct bytes payload)
{
    if (!worker_may_hear(worker, from->node) || worker->host == NULL) return;
    host_on_frame(worker->host, from, kind, payload);
}

/* Who leads what, and who wants to know: of that alone. */
static void worker_on_relayed_status(struct node_worker *worker, const struct transport_peer *from,
                                     struct bytes payload)
{
    bool leaders = payload.size > 0 &&
                   (payload.data[0] == STATUS_LEADERS || payload.data[0] == STATUS_ASK_LEADERS);

    if (leaders && worker->index == 0) node_on_status_frame(worker->node, from, payload);
}

/* What came through another node is handled as if it had come directly. */
static void worker_on_relay_frame(struct node_worker *worker, const struct transport_peer *from,
                                  uint8_t kind, struct bytes payload)
{
    struct relay_delivery inside;

    if (worker->relay == NULL) return;
    if (!relay_on_frame(worker->relay, from, kind, payload, &inside)) return;
    /* The connection of who is no member any more would have been refused. */
    if (cluster_view_node(&worker->view, inside.from.node) == NULL) return;
    if (inside.kind == PEER_FRAME_STATUS)
        worker_on_relayed_status(worker, &inside.from, inside.payload);
    else if (inside.kind != PEER_FRAME_REPLIES)
        worker_on_request_frame(worker, &inside.from, inside.kind, inside.payload);
    else if (worker->gateway != NULL)
        gateway_on_frame(worker->gateway, &inside.from, inside.payload);
}

static void worker_on_way(void *context, node_id_t peer, bool there)
{
    struct node_worker *worker = context;

    if (worker->closing || worker->gateway == NULL) return;
    if (there)
        gateway_way_found(worker->gateway, peer);
    else if (!transport_is_up(worker->transport, peer))
        gateway_peer_down(worker->gateway, peer);
}

static void worker_on_frame(void *context, const struct transport_peer *from, uint8_t kind,
                            struct bytes payload)
{
    struct node_worker *worker = context;
    struct node *node = worker->node;

    if (worker->closing) return;
    switch (kind) {
    case PEER_FRAME_REQUESTS:
    case PEER_FRAME_REPLY_ACKS:
        if (worker->relay != NULL) relay_came_directly(worker->relay, from);
        worker_on_request_frame(worker, from, kind, payload);
        break;
    case PEER_FRAME_REPLIES:
        if (worker->gateway != NULL) gateway_on_frame(worker->gateway, from, payload);
        break;
    case PEER_FRAME_RELAY:
    case PEER_FRAME_RELAYED:
    case PEER_FRAME_WAY:
        worker_on_relay_frame(worker, from, kind, payload);
        break;
    case PEER_FRAME_HEARTBEATS:
    case PEER_FRAME_HEARTBEAT_ACKS:
        worker_note_alive(worker, from);
        __attribute__((fallthrough));
    case PEER_FRAME_RAFT:
    case PEER_FRAME_NODE_BEAT:
    case PEER_FRAME_REST:
    case PEER_FRAME_REST_ACK:
    case PEER_FRAME_VERIFY:
    case PEER_FRAME_SNAPSHOT:
    case PEER_FRAME_SNAPSHOT_ACK:
    case PEER_FRAME_GONE:
        if (!worker_may_hear(worker, from->node)) break;
        if (worker->host != NULL) host_on_frame(worker->host, from, kind, payload);
        break;
    case PEER_FRAME_STALE_ASKS:
    case PEER_FRAME_STALE_ANSWERS:
        if (worker->gateway != NULL) gateway_on_stale_frame(worker->gateway, from, kind, payload);
        break;
    case PEER_FRAME_FOUNDING:
        if (worker->index != 0) break;
        if (node->founding != NULL && node->state == NODE_FOUNDING)
            founding_on_frame(node->founding, from, payload);
        else
            member_on_founding_frame(node, from, payload);
        break;
    case PEER_FRAME_TABLE:
        if (worker->index == 0) node_on_table(node, from->node, payload);
        break;
    case PEER_FRAME_TABLE_CHANGE:
        if (worker->index == 0) node_on_table_change(node, from->node, payload);
        break;
    case PEER_FRAME_STATUS:
        if (worker->index == 0) node_on_status_frame(node, from, payload);
        break;
    default:
        LOG_DEBUG(node_logger(node), "node", "frame of unknown kind %u from node %u", kind,
                  from->node);
    }
}

static void worker_on_peer_down(void *context, node_id_t peer)
{
    struct node_worker *worker = context;

    if (worker->closing) return;
    if (worker->host != NULL) host_peer_down(worker->host, peer);
    if (worker->relay != NULL) relay_peer_down(worker->relay, peer);
    bool reached = relay_is_detour(worker->relay, peer);
    if (worker->gateway != NULL && !reached) gateway_peer_down(worker->gateway, peer);
    if (worker->index == 0) {
        node_watch_again(worker->node);
        node_mover_look(worker->node);
    }
}

static void worker_on_peer_up(void *context, node_id_t peer)
{
    struct node_worker *worker = context;
    struct node *node = worker->node;

    if (worker->index == 0 && node->founding != NULL && node->state == NODE_FOUNDING) {
        founding_on_peer_up(node->founding, peer);
        return;
    }
    if (worker->host == NULL || worker->closing) return;
    worker_send_leaders(worker, peer);
    if (worker->index == 0) {
        node_upgrade_say(node, peer);
        node_send_table(node, peer);
        node_mover_look(node);
    }
}

/* --- replicas ------------------------------------------------------------------------- */

/* The replica of this node in a group of the table, or 0. */
static struct replica_id own_replica(const struct view_group *group, node_id_t self)
{
    for (uint32_t k = 0; k < group->replica_count; k++)
        if (group->replicas[k].node == self) return group->replicas[k].replica;
    return (struct replica_id){0};
}

/* What the replica is born with: all members of the founding, if it is one of them; a replica
 * that came later is born a learner and gets everything from its leader. */
static void birth_config(const struct node *node, uint32_t group, struct replica_id self,
                         struct raft_config *ret_config)
{
    *ret_config = (struct raft_config){0};
    if (group >= node->birth.group_count) return;
    const struct view_group *birth = &node->birth.groups[group];
    if (!replica_id_equal(own_replica(birth, node->identity.node), self)) return;
    for (uint32_t k = 0; k < birth->replica_count; k++)
        ret_config->incoming[ret_config->incoming_count++] = (struct raft_member){
            .replica = birth->replicas[k].replica, .node = birth->replicas[k].node};
}

/* The log says which replica lives here: one that the table names in its place is born when a
 * committed configuration has removed this one (FAULTS rule 8). */
static const struct log_recovered *find_recovered(const struct node *node, uint32_t group)
{
    for (size_t i = 0; i < node->recovered_count; i++)
        if (node->recovered[i].group.value == group) return &node->recovered[i];
    return NULL;
}

static bool worker_owns(const struct node_worker *worker, uint32_t group)
{
    const struct node *node = worker->node;
    return group_worker((struct group_id){group}, node->identity.stores,
                        node->platform.worker_count) == worker->index;
}

struct replica_id worker_own_replica(const struct node_worker *worker, uint32_t group)
{
    if (!worker_owns(worker, group)) return (struct replica_id){0};
    return own_replica(&worker->view.groups[group], worker->node->identity.node);
}

enum status worker_add_replica(struct node_worker *worker, uint32_t group, struct replica_id self,
                               const struct log_recovered *recovered, struct error *error)
{
    const struct node *node = worker->node;
    const struct view_group *at = &worker->view.groups[group];
    struct raft_config config;

    birth_config(node, group, self, &config);
    struct replica_options options = {
        .group = {group},
        .replica = self,
        .slot_first = group == GROUP_META ? ROW_SLOT_META : at->slot_first,
        .slot_last = group == GROUP_META ? ROW_SLOT_META : at->slot_last,
        .birth_config = &config,
        .recovered = recovered,
        .vote_at_once = node->vote_at_once,
    };
    return host_add_replica(worker->host, &options, error);
}

/* STATUS_OK also if the replica, or its store, is left to be rebuilt: only of STATUS_NOT_FOUND and
 * STATUS_CORRUPT. Anything else ends the start. */
static enum status worker_recover_replica(struct node_worker *worker, uint32_t group,
                                          struct replica_id self, struct error *error)
{
    struct node *node = worker->node;
    uint32_t store = group_store((struct group_id){group}, node->identity.stores);
    const struct log_recovered *recovered = find_recovered(node, group);

    if (recovered != NULL && !replica_id_equal(recovered->replica, self)) {
        LOG_INFO(node_logger(node), "node",
                 "the log holds replica %llu of group %u, the table names %llu: the old one runs "
                 "until it is removed",
                 (unsigned long long)recovered->replica.value, group,
                 (unsigned long long)self.value);
        SOMETIMES(worker->world, "a superseded replica was started again");
        self = recovered->replica;
    }
    bool reborn = PLANTED(worker->world, "lost_replica_reborn");
    bool never_born = recovered == NULL && node->identity.born && !reborn;
    bool fenced = node_fence_has(node, group, self);
    bool forgetful = node_memory_has(node, group, self);
    if (fenced) {
        LOG_WARN(node_logger(node), "repair",
                 "replica %llu of group %u differed from its peers and stays out; it comes back "
                 "under a new id",
                 (unsigned long long)self.value, group);
        SOMETIMES(worker->world, "a start left out a replica that had differed");
    }
    if (forgetful)
        LOG_WARN(node_logger(node), "repair",
                 "replica %llu of group %u may have forgotten writes when the power was lost, and "
                 "stays out",
                 (unsigned long long)self.value, group);
    if (fenced || forgetful || (worker->stores_out >> store & 1)) {
        worker_lost_replica(worker, group, self);
        return STATUS_OK;
    }
    enum status status = never_born ? error_set(error, STATUS_NOT_FOUND,
                                                "the log knows nothing of group %u replica %llu",
                                                group, (unsigned long long)self.value)
                                    : worker_add_replica(worker, group, self, recovered, error);
    if (status == STATUS_OK) { /* and was not filled yet when the last process ended? */
        struct replica_id before = worker_votes_before(worker, group, self);
        if (before.value != 0) worker_lost_replica(worker, group, before);
        return status;
    }
    /* What passes - no memory, no descriptors, a record of a newer version - condemns nothing. */
    if (status != STATUS_NOT_FOUND && status != STATUS_CORRUPT) return status;
    /* One that the table has given this node since may just not have been born when the last
     * process ended: nothing is lost with it, and nobody takes it for one who has a vote. */
    bool maybe_unborn = status == STATUS_NOT_FOUND && !node_birth_names(node, group, self);
    const char *obstacle = maybe_unborn ? NULL : node_repair_obstacle(node);
    if (obstacle != NULL) {
        struct error cause = *error;
        return error_set(error, STATUS_CORRUPT,
                         "%.300s. It cannot be rebuilt by peers (%s) and this node does not start. "
                         "`holon salvage --data %.60s --dry-run` says what can be kept",
                         cause.text, obstacle, node->options.data);
    }
    if (status == STATUS_NOT_FOUND) {
        LOG_WARN(node_logger(node), "repair", "%s: it comes back under a new id", error->text);
        worker_lost_replica(worker, group, self);
        return STATUS_OK;
    }
    worker_lost_replica(worker, group, self);
    host_store_damaged(worker->host, store, error);
    return STATUS_OK;
}

static enum status worker_add_replicas(struct node_worker *worker, struct error *error)
{
    const struct cluster_view *view = &worker->view;

    worker->ids_at_start = view->next_replica_id;
    worker->named_at_start =
        memory_allocate_zero(view->group_count * sizeof(*worker->named_at_start));
    for (uint32_t g = 0; g < view->group_count; g++)
        worker->named_at_start[g] = worker_own_replica(worker, g);
    for (uint32_t store = 0; store < worker->node->identity.stores; store++)
        if (worker->node->engines[store] == NULL) worker->stores_out |= UINT64_C(1) << store;
    for (uint32_t g = 0; g < view->group_count; g++) {
        struct replica_id self = worker_own_replica(worker, g);
        bool lives = worker_owns(worker, g) && find_recovered(worker->node, g) != NULL;
        if (self.value == 0 && !lives) continue;
        enum status status = worker_recover_replica(worker, g, self, error);
        if (status) return status;
    }
    return STATUS_OK;
}

void worker_set_wishes(struct node_worker *worker)
{
    const struct cluster_view *view = &worker->view;

    host_set_memory(worker->host, view->memory_databases);
    for (uint32_t g = 0; g < view->group_count; g++) {
        const struct view_group *group = &view->groups[g];
        struct raft_member members[VIEW_REPLICAS_MAX];
        if (group->replica_count == 0 || !worker_owns(worker, g)) continue;
        for (uint32_t k = 0; k < group->replica_count; k++)
            members[k] = (struct raft_member){.replica = group->replicas[k].replica,
                                              .node = group->replicas[k].node};
        host_set_wish(worker->host, (struct group_id){g}, members, group->replica_count,
                      view->next_replica_id, group->changed, group->moving);
    }
}

/* --- open and close ------------------------------------------------------------------- */

static void worker_on_meta_applied(void *context)
{
    struct node_worker *worker = context;
    ASSERT(worker->index == 0); /* group 0 is in store 0, which is worker 0's */
    node_read_meta(worker->node);
}

static void worker_on_born(void *context)
{
    struct node_worker *worker = context;

    if (worker->born) return; /* of replicas that came later */
    worker->born = true;
    node_call(worker, &worker->node->workers[0], node_worker_born, NULL);
}

static void node_on_dropped(struct node_worker *zero, void *unused)
{
    node_sync_replicas(zero->node);
}

static void worker_on_removed(void *context, struct group_id group, struct replica_id replica)
{
    struct node_worker *worker = context;

    LOG_INFO(node_logger(worker->node), "node",
             "replica %llu of group %u is no member any more; what it has goes to quarantine",
             (unsigned long long)replica.value, group.value);
    host_drop_replica(worker->host, group);
    worker_removed_replica(worker, group.value, replica);
}

static void worker_on_dropped(void *context, struct group_id group)
{
    struct node_worker *worker = context;
    node_call(worker, &worker->node->workers[0], node_on_dropped, NULL);
}

/* --- questions of the Redis service to all workers ------------------------------------- */

static void worker_redis_answered(struct node_worker *worker, void *part)
{
    (void)worker;
    redis_question_answered(part);
}

static void worker_redis_answer(struct node_worker *worker, void *part)
{
    struct node_worker *asker = &worker->node->workers[redis_question_asker(part)];

    redis_question_answer(part, worker->redis);
    node_call_with(worker, asker, worker_redis_answered, part, redis_question_drop);
}

static void worker_redis_ask(void *context, struct redis_question *question)
{
    struct node_worker *worker = context;
    struct node *node = worker->node;

    for (uint32_t i = 0; i < redis_question_worker_count(question); i++)
        if (i != worker->index)
            node_call_with(worker, &node->workers[i], worker_redis_answer,
                           redis_question_part(question, i), redis_question_drop);
}

/* What INFO tells of the process; the platform knows the rest. */
static void worker_redis_facts(void *context, struct redis_facts *ret_facts)
{
    const struct node_worker *worker = context;
    const struct node *node = worker->node;

    *ret_facts = (struct redis_facts){
        .version = HOLON_VERSION,
        .process_id = node->options.process_id,
        .uptime_us = world_now(worker->world) - node->started,
        .memory_limit = node->options.memory,
        .max_connections = node->options.max_connections,
        .workers = node->platform.worker_count,
    };
    struct node_usage usage = {0};
    if (node->platform.usage != NULL) node->platform.usage(node->platform.context, &usage);
    ret_facts->cpu_user_us = usage.cpu_user_us;
    ret_facts->cpu_system_us = usage.cpu_system_us;
    ret_facts->memory_system_bytes = usage.memory_system_bytes;
    if (node->platform.resident_bytes != NULL)
        ret_facts->memory_bytes = node->platform.resident_bytes(node->platform.context);
}

/* Buffers of clients and gateway are of the share of --memory, too. */
static uint64_t worker_buffer_bytes(void *context)
{
    const struct node_worker *worker = context;
    uint64_t bytes = worker->redis ? redis_service_bytes_held(worker->redis) : 0;

    return bytes + (worker->gateway ? gateway_inflight_bytes(worker->gateway) : 0);
}

/* `part` of the worker's share of --memory, within bounds; `most` without a limit. */
static uint64_t worker_part(const struct node *node, uint32_t part, uint64_t least, uint64_t most)
{
    uint64_t bytes = node->options.memory / node->platform.worker_count / part;

    if (node->options.memory == 0 || bytes > most) return most;
    return bytes < least ? least : bytes;
}

static bool worker_gateway_is_over(void *context, struct gateway_id gateway)
{
    const struct node_worker *worker = context;

    return cluster_view_later_epoch(&worker->view, gateway.node, gateway.epoch) != 0;
}

static bool worker_redis_is_linked(void *context, node_id_t node)
{
    struct node_worker *worker = context;

    return transport_is_up(worker->transport, node);
}

/* Nothing is settled before this epoch may ask others (B1): what came up meanwhile is looked at
 * now. */
static void worker_open_txn(struct node_worker *worker)
{
    struct txn_worker_options options = {.world = worker->world,
                                         .gateway = worker->gateway,
                                         .view = &worker->view,
                                         .host = worker->host,
                                         .patience = worker->node->options.patience};

    struct txn_cuts_options cuts = {.world = worker->world,
                                    .gateway = worker->gateway,
                                    .view = &worker->view,
                                    .patience = worker->node->options.patience};

    worker->cuts = txn_cuts_open(&cuts);
    worker->txn = txn_open(&options);
    for (uint32_t i = GROUP_DATA_FIRST; i < worker->view.group_count; i++)
        if (host_leads(worker->host, (struct group_id){i}) != 0)
            txn_rows_changed(worker->txn, (struct group_id){i});
}

void worker_close_txn(struct node_worker *worker)
{
    txn_close(worker->txn);
    worker->txn = NULL;
    txn_cuts_close(worker->cuts);
    worker->cuts = NULL;
}

static void worker_on_txn(void *context, struct group_id group)
{
    struct node_worker *worker = context;

    if (worker->txn != NULL) txn_rows_changed(worker->txn, group);
}

static enum status worker_open_services(struct node_worker *worker, struct error *error)
{
    const struct node_options *node_options = &worker->node->options;

    worker_open_txn(worker);
    struct redis_service_options options = {
        .world = worker->world,
        .gateway = worker->gateway,
        .txn = worker->txn,
        .cuts = worker->cuts,
        .view = &worker->view,
        .admission = worker->node->admission,
        .max_connections = node_options->max_connections,
        .idle_timeout = node_options->idle_timeout,
        .request_timeout = node_options->request_timeout,
        .output_timeout = node_options->output_timeout,
        .bytes_max = worker_part(worker->node, 4, CLIENT_BYTES_LEAST, REDIS_BYTES_DEFAULT),
        .limits = node_options->redis_limits,
        .context = worker,
        .facts = worker_redis_facts,
        .is_linked = worker_redis_is_linked,
        .worker_count = worker->node->platform.worker_count,
        .ask = worker_redis_ask,
    };
    enum status status = STATUS_OK;

    worker->redis = redis_service_open(&options);
    if (node_options->redis[0] != '\0')
        status = redis_service_listen(worker->redis, node_options->redis, false, error);
    if (status == STATUS_OK && node_options->redis_cluster[0] != '\0')
        status = redis_service_listen(worker->redis, node_options->redis_cluster, true, error);
    return status;
}

/* B4: everything this process could still send is refused for ever. Ending closes its clients,
 * and the next start takes a new epoch. */
static void worker_on_fenced(void *context)
{
    struct node_worker *worker = context;
    struct error *error = memory_allocate_zero(sizeof(*error));

    error_set(error, STATUS_REFUSED,
              "boot epoch %u of this node is fenced: another start of the same node has replaced "
              "this process. If that was a copy of the data directory, remove one of the two; "
              "otherwise start again",
              worker->node->epoch);
    node_call_with(worker, &worker->node->workers[0], node_worker_failed, error, memory_free);
}

static enum status worker_open_all(struct node_worker *worker, struct error *error)
{
    struct node *node = worker->node;
    const struct cluster_view *view = &worker->view;

    worker_open_transport(worker);
    if (worker->transport == NULL)
        return error_set(error, STATUS_IO, "worker %u has no transport", worker->index);

    struct relay_options relay = {.world = worker->world,
                                  .transport = worker->transport,
                                  .node = node->identity.node,
                                  .on_way = worker_on_way,
                                  .context = worker};
    worker->relay = relay_open(&relay);

    struct host_options host = {
        .world = worker->world,
        .transport = worker->transport,
        .relay = worker->relay,
        .log = node->log,
        .engines = node->engines,
        .quarantine = node->quarantine,
        .disk_reserve = node->options.disk_reserve,
        .store_count = node->identity.stores,
        .worker_count = node->platform.worker_count,
        .node = node->identity.node,
        .epoch = node->epoch,
        .timing = node->options.timing,
        .rest_board = node->rest_board,
        .copy_gate = node->copy_gate,
        .reads_by_quorum = view->reads == READS_QUORUM,
        .raft_planted_bugs = node->options.raft_planted_bugs,
        .hash_secret = {view->hash_secret[0], view->hash_secret[1]},
        .evaluate = {[SERVICE_REDIS] = redis_evaluate,
                     [SERVICE_META] = meta_evaluate,
                     [SERVICE_TXN] = txn_evaluate},
        .chore = {[SERVICE_REDIS] = redis_chore},
        .service_options =
            {[SERVICE_REDIS] = &node->options.redis_limits, [SERVICE_META] = &node->options.meta},
        .flush_bytes = node->options.flush_bytes,
        .entries_bytes_max = node->options.entries_bytes_max,
        .memory_bytes = node->options.memory / node->platform.worker_count,
        .buffer_bytes = worker_buffer_bytes,
        .gateway_is_over = worker_gateway_is_over,
        .reply_part_bytes = node->options.reply_part_bytes,
        .big_replies_bytes_max = node->options.big_replies_bytes_max,
        .cold_job_bytes_max = node->options.cold_job_bytes_max,
        .heavy_bytes = node->options.heavy_bytes,
        .heavy_rate_least = node->options.heavy_rate_least,
        .heavy_unbounded = node->options.heavy_unbounded,
        .events = {.on_leader = worker_on_leader,
                   .on_meta_applied = worker_on_meta_applied,
                   .on_born = worker_on_born,
                   .on_removed = worker_on_removed,
                   .on_settled = worker_on_settled,
                   .on_kept = worker_on_kept,
                   .on_dropped = worker_on_dropped,
                   .on_damaged = worker_on_damaged,
                   .on_flush = worker_on_flush,
                   .on_fenced = worker_on_replica_fenced,
                   .on_disputed = worker_on_disputed,
                   .on_verified = worker_on_verified,
                   .on_txn = worker_on_txn},
        .context = worker,
    };
    worker->host = host_open(&host);
    worker->muted = node_needs_confirmation(node);
    worker->hears_all = !worker->muted;
    host_mute(worker->host, worker->muted);

    struct gateway_options gateway = {
        .world = worker->world,
        .transport = worker->transport,
        .relay = worker->relay,
        .host = worker->host,
        .view = &worker->view,
        .node = node->identity.node,
        .epoch = node->epoch,
        .patience = node->options.patience,
        .store_count = node->identity.stores,
        .inflight_bytes_max = worker_part(node, 8, GATEWAY_BYTES_LEAST, GATEWAY_INFLIGHT_BYTES_MAX),
        .partial_bytes_max = node->options.partial_bytes_max,
        .on_fenced = worker_on_fenced,
        .context = worker,
    };
    worker->gateway = gateway_open(&gateway);

    enum status status = worker_add_replicas(worker, error);
    if (status) return status;
    worker_set_wishes(worker);
    if (host_is_born(worker->host)) worker_on_born(worker);
    /* Whether this epoch was taken before, from an identity file of which this one is an older
     * image, only meta can tell: requests of a second life under it would carry the numbers of the
     * first's, and get their answers. So nobody is served before it is registered (B1, F11). */
    bool fresh =
        !node_needs_confirmation(node) && !node->joined && node->epoch <= node->identity.epoch_last;
    bool serves = fresh || PLANTED(node->world, "serve_unregistered");
    return serves ? worker_open_services(worker, error) : STATUS_OK;
}

void worker_open(struct node_worker *worker, void *unused)
{
    struct node_worker *zero = &worker->node->workers[0];
    struct error error = {0};

    if (worker_open_all(worker, &error) == STATUS_OK) {
        node_call(worker, zero, node_worker_opened, NULL);
        return;
    }
    struct error *copy = memory_allocate(sizeof(*copy));
    *copy = error;
    node_call_with(worker, zero, node_worker_failed, copy, memory_free);
}

/* After meta has registered the epoch. */
void worker_open_late(struct node_worker *worker, void *unused)
{
    struct error error = {0};

    if (worker->redis != NULL || worker->gateway == NULL) return;
    if (worker_open_services(worker, &error) == STATUS_OK) return;
    struct error *copy = memory_allocate(sizeof(*copy));
    *copy = error;
    node_call_with(worker, &worker->node->workers[0], node_worker_failed, copy, memory_free);
}

void worker_close(struct node_worker *worker)
{
    struct node *node = worker->node;

    world_timer_stop(worker->world, &worker->stop_timer);
    world_timer_stop(worker->world, &worker->detach_timer);
    if (worker->redis != NULL) redis_service_close(worker->redis);
    worker->redis = NULL;
    worker_close_txn(worker);
    gateway_close(worker->gateway);
    worker->gateway = NULL;
    host_close(worker->host);
    worker->host = NULL;
    relay_close(worker->relay);
    worker->relay = NULL;
    if (worker->transport != NULL)
        node->platform.transport_close(node->platform.context, worker->index);
    worker->transport = NULL;
}

void worker_init(struct node_worker *worker, struct node *node, uint32_t index)
{
    worker->node = node;
    worker->index = index;
    worker->world = node->platform.worlds[index];
    cluster_view_init(&worker->view);
    worker->news_out = (struct world_deferred){.run = worker_news_run, .context = worker};
}

/* The transport of this worker; events are this node's. */
void worker_open_transport(struct node_worker *worker)
{
    struct node *node = worker->node;
    struct node_identity identity = {.cluster = node->identity.cluster,
                                     .node = worker->view.self,
                                     .epoch = node->epoch,
                                     .store = node->identity.store};

    snprintf(identity.name, sizeof(identity.name), "%s", node->options.name);
    if (worker->transport != NULL) {
        node->platform.transport_set_identity(node->platform.context, worker->index, &identity);
        return;
    }
    worker->transport =
        node->platform.transport_open(node->platform.context, worker->index, &identity);
    if (worker->transport == NULL) return;
    worker->transport->events = (struct transport_events){.on_frame = worker_on_frame,
                                                          .on_peer_down = worker_on_peer_down,
                                                          .on_peer_up = worker_on_peer_up,
                                                          .on_stranger = worker_on_stranger};
    worker->transport->context = worker;
}
