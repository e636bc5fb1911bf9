/* How many states are on their way to one node at a time, of this worker.
 *
 * A node whose disk was lost needs all of its replicas at once. All at the same time they would
 * fill the connection (heartbeats and entries wait behind them, and beyond TRANSPORT_PENDING_MAX
 * frames are lost), keep a state of each group pinned, and be whole all at the end. So a few go at
 * a time, enough that one is on the network while others are read, written and synced; the rest
 * wait. First those of stores that are not being flushed, and cut no other state.
 */
#include "partition/host_internal.h"
#include "partition/snapshot_internal.h"

static struct snapshot_turn *next_turn(struct partition_host *host)
{
    struct snapshot_turn *first = NULL;
    uint8_t streams_max =
        MAYBE(host->world, "send one snapshot at a time") ? 1 : SNAPSHOT_STREAMS_MAX;
    for (struct list *at = host->snapshots_waiting.next; at != &host->snapshots_waiting;
         at = at->next) {
        struct snapshot_turn *turn = CONTAINER_OF(at, struct snapshot_turn, link);
        if (host->snapshots_to[turn->to] >= streams_max) continue;
        if (snapshot_cut_may_begin(turn->replica)) return turn;
        if (first == NULL) first = turn;
    }
    return first;
}

void snapshot_turns_run(struct partition_host *host)
{
    if (list_empty(&host->snapshots_waiting) || host->stopping) return;
    for (struct snapshot_turn *turn = next_turn(host); turn != NULL; turn = next_turn(host)) {
        list_remove(&turn->link);
        turn->taken = true;
        host->snapshots_to[turn->to]++;
        turn->begin(turn);
    }
}

void snapshot_turn_wait(struct snapshot_turn *turn)
{
    struct partition_host *host = turn->replica->host;
    ASSERT(turn->to <= NODES_MAX && !turn->taken);
    list_insert_before(&host->snapshots_waiting, &turn->link);
    snapshot_turns_run(host);
    if (!turn->taken) SOMETIMES(host->world, "a snapshot waited for its turn");
}

void snapshot_turn_end(struct partition_host *host, struct snapshot_turn *turn)
{
    list_remove(&turn->link);
    if (!turn->taken) return;
    turn->taken = false;
    ASSERT(host->snapshots_to[turn->to] > 0);
    host->snapshots_to[turn->to]--;
    if (!list_empty(&host->snapshots_waiting) && !host->closing)
        world_defer(host->world, &host->turn_end);
}

bool snapshot_node_is_filled(const struct partition_host *host, node_id_t node)
{
    return host->snapshots_to[node] > 0;
}

void snapshot_turns_count(const struct partition_host *host, uint64_t *ret_sending,
                          uint64_t *ret_waiting)
{
    *ret_sending = *ret_waiting = 0;
    for (uint32_t node = 0; node <= NODES_MAX; node++)
        *ret_sending += host->snapshots_to[node];
    for (const struct list *at = host->snapshots_waiting.next; at != &host->snapshots_waiting;
         at = at->next)
        (*ret_waiting)++;
}
