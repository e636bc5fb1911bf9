#include "node/node_snapshot.h"

#include "base/codec.h"
#include "services/redis/rows_check.h"

enum { REPORT_SIZE_MAX = 8192 };

struct node_collector *node_collector_make(struct node *node)
{
    struct node_collector *collector = memory_allocate_zero(sizeof(*collector));

    collector->node = node;
    collector->parts =
        memory_allocate_zero(node->platform.worker_count * sizeof(*collector->parts));
    return collector;
}

void node_collector_free(struct node_collector *collector)
{
    if (collector == NULL) return;
    world_timer_stop(collector->node->world, &collector->patience);
    memory_free(collector->parts);
    memory_free(collector);
}

/* --- one worker ----------------------------------------------------------------------- */

/* Until a change of members is over, and committed, the group may still need those who go: a new
 * member does not stand in for them yet. */
static bool is_settled(const struct raft_config *config, const struct raft_member *member,
                       uint64_t commit)
{
    if (config->outgoing_count == 0) return config->index <= commit;
    for (uint32_t i = 0; i < config->outgoing_count; i++)
        if (replica_id_equal(config->outgoing[i].replica, member->replica)) return true;
    return false;
}

/* Which nodes lag in a group that is led here. */
static void snapshot_members(struct node_worker *worker, const struct replica_status *status,
                             struct worker_snapshot *part)
{
    const struct raft *raft = host_raft(worker->host, status->group);
    const struct raft_config *config = raft_config(raft);
    uint64_t now = host_heard_until(worker->host, world_now(worker->world));

    for (uint32_t i = 0; i < config->incoming_count; i++) {
        const struct raft_member *member = &config->incoming[i];
        bool active = false;
        if (replica_id_equal(member->replica, status->replica)) continue;
        uint64_t match = raft_match_of(raft, member->replica, now, &active);
        bool behind = !active || match + SNAPSHOT_BEHIND_ENTRIES < status->last ||
                      !is_settled(config, member, status->commit);
        if (behind && member->node <= NODES_MAX) part->behind[member->node]++;
    }
    for (uint32_t i = 0; i < config->learner_count; i++)
        if (config->learners[i].node <= NODES_MAX) part->behind[config->learners[i].node]++;
}

static void snapshot_replicas(struct node_worker *worker, struct worker_snapshot *part)
{
    struct replica_status status;

    part->replicas = host_replica_count(worker->host);
    for (uint32_t i = 0; i < part->replicas; i++) {
        host_replica_status(worker->host, i, &status);
        part->rows += status.rows;
        part->row_bytes += status.row_bytes;
        part->apply_lag += status.commit - status.applied;
        part->flush_lag += status.applied - status.flushed;
        if (status.role != RAFT_LEADER) continue;
        part->leads++;
        part->leads_ready += status.ready;
        part->redis_garbage += redis_garbage_waiting(host_rows(worker->host, status.group));
        snapshot_members(worker, &status, part);
    }
}

static void snapshot_part_ready(struct node_worker *zero, void *unused);

static void snapshot_take_part(struct node_worker *worker, void *argument)
{
    struct worker_snapshot *part = argument;
    const struct node *node = worker->node;

    memset(part, 0, sizeof(*part));
    if (worker->host != NULL && !worker->closing) {
        host_statistics(worker->host, &part->host);
        part->cold_latency = *host_cold_latency(worker->host);
        snapshot_replicas(worker, part);
        host_copies(worker->host, part->copies);
    }
    if (worker->gateway != NULL) {
        gateway_statistics(worker->gateway, &part->gateway);
        part->pending = gateway_pending(worker->gateway);
    }
    if (worker->txn != NULL) txn_statistics(worker->txn, &part->txn);
    if (worker->cuts != NULL) txn_cut_statistics(worker->cuts, &part->cut);
    if (worker->relay != NULL) relay_statistics(worker->relay, &part->relay);
    if (worker->redis != NULL) {
        redis_service_statistics(worker->redis, &part->redis);
        part->connections = redis_service_connections(worker->redis);
        part->read_latency = *redis_service_read_latency(worker->redis);
        part->write_latency = *redis_service_write_latency(worker->redis);
    }
    if (worker->transport != NULL && node->platform.transport_traffic != NULL)
        node->platform.transport_traffic(node->platform.context, worker->index, &part->traffic);
    node_call(worker, &worker->node->workers[0], snapshot_part_ready, NULL);
}

/* All of these structs consist of u64 counters only, so a sum is a loop. */
static void add_counters(void *to, const void *from, size_t size)
{
    uint64_t *sum = to;
    const uint64_t *part = from;

    ASSERT(size % sizeof(uint64_t) == 0);
    for (size_t i = 0; i < size / sizeof(uint64_t); i++)
        sum[i] += part[i];
}

/* Stalls are no counters: of a worker that had none the last one is 0. */
static void snapshot_add_cut(struct txn_cut_statistics *sum, const struct txn_cut_statistics *part)
{
    struct txn_cut_statistics before = *sum;
    uint64_t last = before.stall_last_us, longest = before.stall_max_us;

    add_counters(sum, part, sizeof(*sum));
    sum->stall_last_us = part->stall_last_us > last ? part->stall_last_us : last;
    sum->stall_max_us = part->stall_max_us > longest ? part->stall_max_us : longest;
}

static void snapshot_add(struct worker_snapshot *sum, const struct worker_snapshot *part)
{
    add_counters(&sum->host, &part->host, sizeof(sum->host));
    add_counters(&sum->gateway, &part->gateway, sizeof(sum->gateway));
    add_counters(&sum->relay, &part->relay, sizeof(sum->relay));
    add_counters(&sum->txn, &part->txn, sizeof(sum->txn));
    snapshot_add_cut(&sum->cut, &part->cut);
    add_counters(&sum->redis, &part->redis, sizeof(sum->redis));
    add_counters(&sum->traffic, &part->traffic, sizeof(sum->traffic));
    histogram_merge(&sum->read_latency, &part->read_latency);
    histogram_merge(&sum->write_latency, &part->write_latency);
    histogram_merge(&sum->cold_latency, &part->cold_latency);
    sum->connections += part->connections;
    sum->pending += part->pending;
    sum->replicas += part->replicas;
    sum->leads += part->leads;
    sum->leads_ready += part->leads_ready;
    sum->rows += part->rows;
    sum->row_bytes += part->row_bytes;
    sum->apply_lag += part->apply_lag;
    sum->flush_lag += part->flush_lag;
    sum->redis_garbage += part->redis_garbage;
    for (uint32_t i = 0; i <= NODES_MAX; i++)
        sum->behind[i] += part->behind[i];
    for (uint32_t i = 0; i <= NODES_MAX; i++)
        copies_add(&sum->copies[i], &part->copies[i]);
}

/* --- answers -------------------------------------------------------------------------- */

static void write_copies(struct writer *writer, const struct host_copies *copies)
{
    write_varint(writer, copies->left);
    write_varint(writer, copies->unsized);
    write_varint(writer, copies->bytes_sent);
    write_varint(writer, copies->bytes_total);
    write_varint(writer, copies->done);
    write_varint(writer, copies->bytes_done);
    write_varint(writer, copies->bytes_per_second);
}

static void write_moves(struct node *node, struct writer *writer)
{
    const struct host_copies *copies = node->collector->sum.copies;
    uint32_t left = 0, total = 0, count = 0;

    node_mover_progress(node, &left, &total);
    write_varint(writer, left);
    write_varint(writer, total);
    for (uint32_t i = 0; i <= NODES_MAX; i++)
        count += copies_are_told(&copies[i]);
    write_varint(writer, count);
    for (uint32_t i = 0; i <= NODES_MAX; i++) {
        if (!copies_are_told(&copies[i])) continue;
        write_varint(writer, i);
        write_copies(writer, &copies[i]);
    }
}

static void send_report(struct node *node, node_id_t to, uint64_t question)
{
    const struct worker_snapshot *sum = &node->collector->sum;
    struct buffer frame;
    char why[128];
    uint32_t count = 0;

    buffer_init(&frame, REPORT_SIZE_MAX);
    struct writer writer = writer_make(&frame);
    write_u8(&writer, STATUS_REPORT);
    write_u64(&writer, question);
    write_u8(&writer, node_can_serve_all(node, why, sizeof(why)));
    write_varint(&writer, sum->leads);
    write_varint(&writer, sum->replicas);
    for (uint32_t i = 0; i <= NODES_MAX; i++)
        count += sum->behind[i] > 0;
    write_varint(&writer, count);
    for (uint32_t i = 0; i <= NODES_MAX; i++) {
        if (sum->behind[i] == 0) continue;
        write_varint(&writer, i);
        write_varint(&writer, sum->behind[i]);
    }
    write_moves(node, &writer);
    ASSERT(!writer.failed);
    transport_send(node->workers[0].transport, to, 0, PEER_FRAME_STATUS, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void answer_page(struct node *node, const struct snapshot_waiter *waiter)
{
    const char *type = "text/plain; version=0.0.4; charset=utf-8"; /* of metrics */
    unsigned code = 200;
    struct buffer body;

    buffer_init(&body, ADMIN_OUTPUT_MAX / 2);
    if (waiter->page == ADMIN_METRICS) {
        node_metrics_write(node->collector, &body);
    } else if (node_status_json(node, &body)) {
        type = "application/json";
    } else {
        code = 500;
        buffer_clear(&body);
        buffer_append(
            &body,
            bytes_of("the status cannot be written as JSON: a text in it is no UTF-8, or it is too "
                     "large; see /metrics and the log of this node\n"));
    }
    admin_answer(node->admin, waiter->question, code, type, buffer_bytes(&body));
    buffer_free(&body);
}

static bool reports_complete(const struct node_collector *collector)
{
    const struct node *node = collector->node;
    struct transport *transport = node->workers[0].transport;

    for (node_id_t id = 1; id <= node->member_count; id++) {
        if (id == node->identity.node || !transport_is_up(transport, id)) continue;
        if (collector->reports[id].question != collector->question) return false;
    }
    return true;
}

static void answer_waiters(struct node_collector *collector)
{
    struct node *node = collector->node;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < collector->waiter_count; i++) {
        struct snapshot_waiter waiter = collector->waiters[i];
        bool needs_peers = !waiter.peer && waiter.page == ADMIN_STATUS;
        if (needs_peers && collector->asking) {
            collector->waiters[kept++] = waiter;
        } else if (waiter.peer) {
            send_report(node, waiter.node, waiter.question);
        } else if (node->admin != NULL) {
            answer_page(node, &waiter);
        }
    }
    collector->waiter_count = kept;
}

static void reports_end(struct node_collector *collector)
{
    collector->asking = false;
    collector->reported = world_now(collector->node->world);
    world_timer_stop(collector->node->world, &collector->patience);
    if (collector->missing == 0) answer_waiters(collector);
}

static void reports_late(struct world_timer *timer)
{
    reports_end(timer->context);
}

/* --- gathering ------------------------------------------------------------------------ */

static void ask_peers(struct node_collector *collector)
{
    struct node *node = collector->node;
    struct buffer frame;

    buffer_init(&frame, 16);
    struct writer writer = writer_make(&frame);
    write_u8(&writer, STATUS_ASK);
    write_u64(&writer, ++collector->question);
    for (node_id_t id = 1; id <= node->member_count; id++)
        if (id != node->identity.node && node_has_member(node, id))
            transport_send(node->workers[0].transport, id, 0, PEER_FRAME_STATUS,
                           buffer_bytes(&frame));
    buffer_free(&frame);
    collector->asking = true;
    collector->patience = (struct world_timer){.fire = reports_late, .context = collector};
    world_timer_start(node->world, &collector->patience, SNAPSHOT_PEERS_US);
}

static void snapshot_part_ready(struct node_worker *zero, void *unused)
{
    struct node *node = zero->node;
    struct node_collector *collector = node->collector;

    if (collector == NULL || --collector->missing > 0) return;
    memset(&collector->sum, 0, sizeof(collector->sum));
    histogram_init(&collector->sum.read_latency);
    histogram_init(&collector->sum.write_latency);
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        snapshot_add(&collector->sum, &collector->parts[i]);
    collector->engine_bytes = 0;
    collector->engine_level0 = 0;
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        if (node->engines[i] == NULL) continue;
        collector->engine_bytes += engine_bytes_on_disk(node->engines[i]);
        collector->engine_level0 += engine_level0_files(node->engines[i]);
    }
    if (node->log != NULL) log_statistics(node->log, &collector->log);
    copy_gate_statistics(node->copy_gate, &collector->copy);
    engine_gate_statistics(node->merge_gate, &collector->merge);
    if (node->platform.usage != NULL)
        node->platform.usage(node->platform.context, &collector->usage);
    collector->taken = world_now(node->world);
    answer_waiters(collector);
}

void node_collect(struct node *node, const struct snapshot_waiter *waiter)
{
    struct node_collector *collector = node->collector;
    uint64_t now = world_now(node->world);

    if (collector->waiter_count == SNAPSHOT_WAITERS_MAX) return; /* whoever asks gives up */
    collector->waiters[collector->waiter_count++] = *waiter;
    bool needs_peers = !waiter->peer && waiter->page == ADMIN_STATUS;
    bool old_reports = now - collector->reported > SNAPSHOT_KEEP_US;
    bool reachable = node->workers[0].transport != NULL; /* a stop closes it before the pages */
    if (needs_peers && old_reports && !collector->asking && reachable &&
        node_members_there(node) > 1)
        ask_peers(collector);

    if (collector->missing > 0) return; /* under way */
    if (collector->taken != 0 && now - collector->taken < SNAPSHOT_KEEP_US) {
        answer_waiters(collector);
        return;
    }
    collector->missing = node->platform.worker_count;
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(&node->workers[0], &node->workers[i], snapshot_take_part, &collector->parts[i]);
}

/* --- other nodes ---------------------------------------------------------------------- */

void node_on_ask(struct node *node, const struct transport_peer *from, struct reader *reader)
{
    struct snapshot_waiter waiter = {.peer = true, .node = from->node};

    waiter.question = read_u64(reader);
    if (reader->failed || node->collector == NULL) return;
    node_collect(node, &waiter);
}

/* Numbers that make no sense give nonsense to look at, and no more. */
static void read_moves(struct reader *reader, struct node_report *report)
{
    report->groups_left = (uint32_t)read_varint(reader);
    report->groups_total = (uint32_t)read_varint(reader);
    uint64_t count = read_varint(reader);

    for (uint64_t i = 0; i < count && !reader->failed; i++) {
        uint64_t id = read_varint(reader);
        struct host_copies copies = {.left = read_varint(reader), .unsized = read_varint(reader)};
        copies.bytes_sent = read_varint(reader);
        copies.bytes_total = read_varint(reader);
        copies.done = read_varint(reader);
        copies.bytes_done = read_varint(reader);
        copies.bytes_per_second = read_varint(reader);
        if (id <= NODES_MAX) report->copies[id] = copies;
    }
}

void node_on_report(struct node *node, const struct transport_peer *from, struct reader *reader)
{
    struct node_collector *collector = node->collector;
    struct node_report report = {0};

    if (collector == NULL || from->node == 0 || from->node > NODES_MAX) return;
    report.question = read_u64(reader);
    report.serves_all = read_u8(reader) != 0;
    report.leads = (uint32_t)read_varint(reader);
    report.replicas = (uint32_t)read_varint(reader);
    uint64_t count = read_varint(reader);
    for (uint64_t i = 0; i < count && !reader->failed; i++) {
        uint64_t id = read_varint(reader);
        uint64_t behind = read_varint(reader);
        if (id <= NODES_MAX) report.behind[id] = (uint32_t)behind;
    }
    if (reader_left(reader) > 0) read_moves(reader, &report);
    if (reader->failed) return;
    collector->reports[from->node] = report;
    if (collector->asking && reports_complete(collector)) reports_end(collector);
}
