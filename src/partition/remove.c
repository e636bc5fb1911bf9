/* The end of a replica: how it learns that it is no member any more, and how its data goes.
 *
 * Learning (FAULTS rule 8: only a committed configuration says so). A replica that applies a
 * configuration without it, after one with it, knows. But who is removed is usually not told:
 * the leader stops sending. So a replica that the table does not wish for asks those that it
 * does; one whose committed configuration is newer than the asker's, and has not got it,
 * says so. Ids of replicas are never used again, so "gone" stays true.
 *
 * PEER_FRAME_GONE: u8 answer (0 asks, 1 it is gone) | u32 group | u64 replica that asks |
 *                  u64 index of the newest configuration it knows itself to be in
 *
 * Going. "removed" is logged; once that is durable, and nothing else of the store that could
 * write its rows is under way, a job deletes rows and record from the engine as one run.
 * Until then the store neither flushes nor takes a snapshot in. A crash in between leaves rows
 * that nobody opens: a later replica of the group deletes them with its first run
 * (replica->clear_first). */
#include "partition/host_internal.h"

enum { GONE_ASK_US = 2 * 1000 * 1000 };

struct drop_job {
    struct drop_job *next;
    struct world_job job;
    struct partition_host *host;
    uint32_t store;
    struct group_id group;
    uint64_t position; /* of "removed" in the log */
    bool running;
    uint8_t range_from[2], range_to[2], record_key[REPLICA_RECORD_KEY_SIZE];
    enum status status;
    struct error error;
};

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

/* 0: it has never seen itself as a member, and nobody can tell a removal from one that is
 * still to be added. */
static uint64_t member_index(const struct replica *replica)
{
    const struct raft_config *latest = raft_config(replica->raft);
    if (has_member(latest, replica->id)) return latest->index;
    const struct raft_config *applied = raft_config_at(replica->raft, replica->applied);
    return has_member(applied, replica->id) ? applied->index : 0;
}

static void ask(struct replica *replica, uint64_t now)
{
    uint64_t index = member_index(replica);
    replica->gone_asked_at = now;
    if (index == 0 && !has_member(raft_config(replica->raft), replica->id)) return;
    for (uint32_t i = 0; i < replica->wish_count; i++) {
        if (replica->wish[i].node == replica->host->options.node) continue;
        send_gone(replica->host, replica->wish[i].node, false, replica->group, replica->id, index);
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

bool remove_tick(struct replica *replica, uint64_t now)
{
    if (stop_removed(replica)) return true;
    bool doubts = replica->wish_known && !is_wished_for(replica) &&
                  raft_role(replica->raft) != RAFT_LEADER &&
                  now - replica->gone_asked_at >= GONE_ASK_US;
    if (doubts) ask(replica, now);
    return false;
}

static void on_question(struct partition_host *host, node_id_t from, struct group_id group,
                        struct replica_id asker, uint64_t index)
{
    struct replica *replica = host_replica(host, group);
    if (replica == NULL || replica->halted || snapshot_holds_core(replica)) return;
    const struct raft_config *config = raft_config_at(replica->raft, replica->applied);
    bool gone = config->index > index && config->index <= replica->applied &&
                config->outgoing_count == 0 && !has_member(config, asker);
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

/* --- deleting what it had ------------------------------------------------------------- */

/* On the flush thread: touches only the job and the engine. */
static void drop_run(struct world_job *job)
{
    struct drop_job *drop = job->context;
    struct engine *engine = drop->host->options.engines[drop->store];
    struct bytes key = bytes_make(drop->record_key, sizeof(drop->record_key));
    struct engine_run *run = NULL;
    drop->status = engine_run_open(engine, &run, &drop->error);
    if (drop->status) return;
    drop->status = engine_run_delete_range(engine, run, bytes_make(drop->range_from, 2),
                                           bytes_make(drop->range_to, 2), &drop->error);
    if (drop->status == STATUS_OK) drop->status = engine_run_delete(engine, run, key, &drop->error);
    if (drop->status) {
        engine_run_abandon(engine, run);
        return;
    }
    drop->status = engine_run_ingest(engine, run, &drop->error);
}

static void drop_done(struct world_job *job)
{
    struct drop_job *drop = job->context;
    struct partition_host *host = drop->host;
    struct host_store *store = &host->stores[drop->store];
    drop->running = false;
    if (drop->status) {
        LOG_ERROR(host_logger(host), "partition",
                  "rows of group %u, removed from this node, cannot be deleted from store %u: %s; "
                  "trying again",
                  drop->group.value, drop->store, drop->error.text);
        store_job_ended(host, drop->store, drop->status, &drop->error);
        return;
    }
    store->drops = drop->next;
    memory_free(drop);
}

/* One at a time, in the order of the removals, and never beside a flush, which may have
 * copied rows of the replica before it went. */
void drop_tick(struct partition_host *host)
{
    for (uint32_t i = 0; i < host->options.store_count; i++) {
        struct drop_job *drop = host->stores[i].drops;
        bool due = drop != NULL && !drop->running && host->stores[i].flush == NULL &&
                   drop->position <= host->durable_position;
        if (!due) continue;
        drop->running = true;
        world_job_start(host->world, LANE_FLUSH, &drop->job);
    }
}

bool drop_is_running(const struct host_store *store)
{
    return store->drops != NULL && store->drops->running;
}

void drops_free(struct host_store *store)
{
    while (store->drops != NULL) {
        struct drop_job *drop = store->drops;
        store->drops = drop->next;
        memory_free(drop);
    }
}

static void drop_push(const struct replica *replica, uint64_t position)
{
    struct drop_job *drop = memory_allocate_zero(sizeof(*drop));
    struct drop_job **at = &replica->host->stores[replica->store].drops;
    drop->job = (struct world_job){.run = drop_run, .done = drop_done, .context = drop};
    drop->host = replica->host;
    drop->store = replica->store;
    drop->group = replica->group;
    drop->position = position;
    replica_row_range(replica, drop->range_from, drop->range_to);
    replica_record_key(replica->group, drop->record_key);
    while (*at != NULL)
        at = &(*at)->next;
    *at = drop;
}

void host_drop_replica(struct partition_host *host, struct group_id group)
{
    struct replica *replica = host_replica(host, group);
    if (replica == NULL) return;
    if (!replica->halted) replica_stop(replica);
    drop_push(replica, log_append_removed(host->queue, group, replica->id));
    world_defer(host->world, &host->turn_end);
    flush_replica_gone(replica);
    replica_unlink(replica);
    replica_free(replica);
}
