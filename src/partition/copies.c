#include "partition/copies.h"

#include "partition/host_internal.h"
#include "partition/snapshot_internal.h"

#define SECOND_US UINT64_C(1000000)

/* --- one node ------------------------------------------------------------------------------- */

/* Seconds between the last look and now have seen nothing. */
static void advance(struct copy_tally *tally, uint64_t now)
{
    uint64_t second = now / SECOND_US;

    if (second >= tally->last_s + COPY_WINDOW_S) {
        memset(tally->kib, 0, sizeof(tally->kib));
    } else {
        for (uint64_t s = tally->last_s + 1; s <= second; s++)
            tally->kib[s % COPY_WINDOW_S] = 0;
    }
    if (second > tally->last_s) tally->last_s = second;
}

void copy_tally_begin(struct copy_tally *tally, uint64_t now)
{
    uint64_t second = now / SECOND_US;

    if (tally->begun && second < tally->last_s + COPY_PAUSE_S) return;
    *tally = (struct copy_tally){.begun = true, .began_s = second, .last_s = second};
}

void copy_tally_sent(struct copy_tally *tally, uint64_t bytes, uint64_t now)
{
    uint64_t all = tally->bytes_rest + bytes;

    advance(tally, now);
    tally->kib[tally->last_s % COPY_WINDOW_S] += (uint32_t)(all >> 10);
    tally->bytes_rest = (uint32_t)(all & 1023);
}

void copy_tally_done(struct copy_tally *tally, uint64_t bytes, uint64_t now)
{
    advance(tally, now);
    tally->done++;
    tally->bytes_done += bytes;
}

uint64_t copy_tally_rate(const struct copy_tally *tally, uint64_t now)
{
    uint64_t second = now / SECOND_US, kib = 0;
    uint64_t first = second >= COPY_WINDOW_S ? second - COPY_WINDOW_S + 1 : 0;

    if (!tally->begun) return 0;
    if (first < tally->began_s) first = tally->began_s;
    if (second - first < COPY_RATE_AFTER_S) return 0;
    for (uint64_t s = first; s <= second && s <= tally->last_s; s++)
        kib += tally->kib[s % COPY_WINDOW_S];
    return (kib << 10) / (second - first + 1);
}

/* --- all members that leaders of this worker have to bring up ------------------------------- */

static void add_rows(void *context, uint8_t service, uint32_t namespace, uint64_t rows)
{
    *(uint64_t *)context += rows;
}

/* Of a group's state as it is sent; 0: cannot be told. */
static uint64_t size_of(const struct replica *replica)
{
    const struct partition_host *host = replica->host;
    uint64_t rows = 0, held = row_table_rows(replica->table);

    row_table_counts_each(replica->table, &rows, add_rows);
    if (rows == 0) return 1; /* its record alone */
    if (host->copied_rows > 0)
        return (uint64_t)((double)rows * (double)host->copied_bytes / (double)host->copied_rows);
    if (held == 0) return 0;
    return (uint64_t)((double)rows * (double)row_table_bytes(replica->table) / (double)held);
}

static void add_copy(struct host_copies *copies, uint64_t sent, uint64_t total)
{
    copies->left++;
    copies->unsized += total == 0;
    copies->bytes_sent += sent < total ? sent : total;
    copies->bytes_total += total;
}

/* A learner that has anything has its state, and gets on by entries. */
static bool is_empty(const struct replica *replica, struct replica_id learner, uint64_t now)
{
    bool active;

    return raft_match_of(replica->raft, learner, now, &active) == 0;
}

static void add_members(struct replica *replica, uint64_t now,
                        struct host_copies ret[NODES_MAX + 1])
{
    const struct raft_config *config = raft_config(replica->raft);
    uint64_t size = config->learner_count > 0 || replica->sends != NULL ? size_of(replica) : 0;
    struct snapshot_progress progress;

    for (uint32_t i = 0; i < config->learner_count; i++) {
        const struct raft_member *learner = &config->learners[i];
        bool sends = snapshot_progress_to(replica, learner->replica, &progress);
        bool known = learner->node <= NODES_MAX; /* else of a peer that is no correct one */
        if (known && !sends && is_empty(replica, learner->replica, now))
            add_copy(&ret[learner->node], 0, size);
    }
    for (uint32_t i = 0; snapshot_progress_at(replica, i, &progress); i++) {
        if (progress.to > NODES_MAX) continue;
        bool known = progress.produced > 0 && progress.ended;
        uint64_t total = known || progress.produced > size ? progress.produced : size;
        add_copy(&ret[progress.to], progress.acked, total);
    }
}

void host_copies(struct partition_host *host, struct host_copies ret[NODES_MAX + 1])
{
    uint64_t now = world_now(host->world);

    memset(ret, 0, (NODES_MAX + 1) * sizeof(*ret));
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || replica->halted || raft_role(replica->raft) != RAFT_LEADER) continue;
        add_members(replica, now, ret);
    }
    for (uint32_t id = 0; id <= NODES_MAX; id++) {
        ret[id].done = host->copy_tallies[id].done;
        ret[id].bytes_done = host->copy_tallies[id].bytes_done;
        ret[id].bytes_per_second = copy_tally_rate(&host->copy_tallies[id], now);
    }
}
