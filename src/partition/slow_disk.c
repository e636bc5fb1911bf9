/* A leader whose own disk stands still or crawls while its followers' do not hands over (F28), and
 * so does one whose loop stands still again and again (F06).
 *
 * A quorum of followers commits without the leader's copy, so clients hardly notice at first; but
 * what the leader has not written gathers in its log queue until that is full, and then everything
 * stands. Heartbeats need no disk and would keep such a leader for ever.
 *
 * The measure is how long the oldest record of this worker has waited to become durable (or, if
 * that is enough for now, to be written), looked at
 * with every tick. It counts as slow at once when that is SLOW_AT_ONCE_US, or when it was more than
 * SLOW_AGE_US for SLOW_TICKS_BEFORE ticks more than it was less. From then on it counts as slow for
 * a while that doubles with each relapse: a disk that is now fast, now slow must not make
 * leaderships swing. Acknowledgements of heartbeats tell it to leaders, which hand nothing to a
 * node with a slow disk. Where all disks are slow, nobody is better and nothing moves.
 *
 * A loop that was away for longer than an election takes has lost its leaderships; those who lead
 * instead would hand them back ten seconds later. So it counts as slow, too. A single absence (the
 * machine was suspended) moves nothing by itself; the next one, or many shorter ones in a row, make
 * it hand over what it still leads. */
#include "partition/host_internal.h"

enum {
    SLOW_AGE_US = 100 * 1000,
    SLOW_AT_ONCE_US = 500 * 1000,
    SLOW_TICKS_BEFORE = 10,
    SLOW_GAP_TICKS = 4, /* so many late ticks an absence of the loop counts for */
    SLOW_HOLD_MIN_US = 10 * 1000 * 1000,
    SLOW_HOLD_MAX_US = 160 * 1000 * 1000,
    SLOW_FORGET_US = 600 * 1000 * 1000, /* after so long without a relapse all begins anew */
    LEAVE_US = 3 * 1000 * 1000, /* so long after the last slow moment leaderships are handed over */
    HANDED_AT_A_TICK_MAX = 16,
    CAUGHT_UP_MAX = 1024, /* entries; the rest is on its way */
};

/* How long the oldest record that is not durable has waited; while the loop was away, nobody could
 * have heard that it is. */
static uint64_t age_of(const struct partition_host *host, size_t wait, uint64_t now)
{
    if (wait >= host->persist_count) return 0;
    size_t at = (host->persist_first + wait) % host->persist_capacity;
    uint64_t queued_at = host->persist[at].queued_at;
    if (host->persist[at].patient) queued_at += LOG_PATIENT_US; /* until then on purpose */
    if (queued_at < host->slow_disk.back_at) queued_at = host->slow_disk.back_at;
    return now > queued_at ? now - queued_at : 0;
}

/* What is written may wait for its sync on purpose (log.h, lazy), but not for longer than that. */
uint64_t slow_disk_oldest_age(const struct partition_host *host, uint64_t now)
{
    uint64_t unwritten = age_of(host, host->persist_written, now);
    uint64_t unsynced = age_of(host, 0, now);
    unsynced = unsynced > LOG_LAZY_SYNC_US ? unsynced - LOG_LAZY_SYNC_US : 0;
    return unwritten > unsynced ? unwritten : unsynced;
}

static void became_slow(struct partition_host *host, uint64_t age, uint64_t away, uint64_t now)
{
    struct slow_disk *disk = &host->slow_disk;
    bool relapse = disk->until != 0 && now - disk->until < SLOW_FORGET_US;
    disk->hold = relapse && disk->hold != 0 ? disk->hold * 2 : SLOW_HOLD_MIN_US;
    if (disk->hold > SLOW_HOLD_MAX_US) disk->hold = SLOW_HOLD_MAX_US;
    disk->slow = true;
    disk->leaves = relapse || away == 0;
    if (away > 0) {
        host->statistics.slow_loops++;
        SOMETIMES(host->world, "a loop was found slow");
        LOG_WARN(
            host_logger(host), "partition",
            "this worker stood still for %llu ms; leaderships stay with other nodes for %llu s",
            (unsigned long long)(away / 1000), (unsigned long long)(disk->hold / 1000000));
        return;
    }
    host->statistics.slow_disks++;
    SOMETIMES(host->world, "a disk was found slow");
    LOG_WARN(host_logger(host), "partition",
             "the log's disk is slow: a record waits for %llu ms; leaderships go to other nodes",
             (unsigned long long)(age / 1000));
}

static void judge_disk(struct partition_host *host, uint64_t now)
{
    struct slow_disk *disk = &host->slow_disk;
    uint64_t away = disk->away, age = slow_disk_oldest_age(host, now);
    disk->away = 0;
    if (away > 0 || age >= SLOW_AGE_US) {
        disk->late_ticks += away > 0 ? SLOW_GAP_TICKS : 1;
        if (disk->late_ticks > SLOW_TICKS_BEFORE) disk->late_ticks = SLOW_TICKS_BEFORE;
    } else if (disk->late_ticks > 0) {
        disk->late_ticks--;
    }
    /* Followers' timers end between the least and the most after the last beat. */
    uint64_t election = host->options.timing.election_timeout_max;
    bool deposed = away >= election;
    if (deposed) disk->calm_until = now + election;
    bool slow = age >= SLOW_AT_ONCE_US || deposed || disk->late_ticks == SLOW_TICKS_BEFORE;
    if (slow && disk->slow) disk->leaves = true;
    if (slow && !disk->slow) became_slow(host, age, away, now);
    if (slow) disk->until = now + disk->hold;
    if (disk->slow && now >= disk->until) {
        disk->slow = disk->leaves = false;
        LOG_INFO(host_logger(host), "partition", "this worker and the log's disk are fast again");
    }
}

void slow_loop_was_away(struct partition_host *host, uint64_t away, uint64_t now)
{
    host->slow_disk.back_at = now;
    if (!PLANTED(host->world, "stuck_loop_forgotten")) host->slow_disk.away = away;
}

void slow_disk_heard(struct partition_host *host, const struct transport_peer *from, bool slow)
{
    if (from->node == 0 || from->node > NODES_MAX || from->worker >= WORKERS_MAX) return;
    uint64_t *workers = &host->walls[from->node - 1].slow_workers;
    uint64_t bit = UINT64_C(1) << from->worker;
    *workers = slow ? *workers | bit : *workers & ~bit;
}

bool slow_disk_of(struct partition_host *host, node_id_t node, struct group_id group)
{
    if (node == 0 || node > NODES_MAX) return false;
    return host->walls[node - 1].slow_workers >> host_remote_worker(host, node, group) & 1;
}

/* Its next process may have another number of workers. */
void slow_disk_peer_down(struct partition_host *host, node_id_t node)
{
    if (node != 0 && node <= NODES_MAX) host->walls[node - 1].slow_workers = 0;
}

/* A voter that acknowledges, has nearly all, and has no slow disk itself; 0: there is none. */
static struct replica_id successor(struct replica *replica, uint64_t now)
{
    const struct raft_config *config = raft_config(replica->raft);
    uint64_t last = raft_last_index(replica->raft);
    struct replica_id best = {0};
    uint64_t best_match = 0;
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        const struct raft_member *member = &config->incoming[i];
        bool active = false;
        if (replica_id_equal(member->replica, replica->id)) continue;
        if (slow_disk_of(replica->host, member->node, replica->group)) continue;
        uint64_t match = raft_match_of(replica->raft, member->replica, now, &active);
        if (!active || match + CAUGHT_UP_MAX < last || match < best_match) continue;
        best = member->replica;
        best_match = match;
    }
    return best;
}

static bool hand_over(struct replica *replica, uint64_t now)
{
    bool leads = !replica->halted && raft_role(replica->raft) == RAFT_LEADER;
    uint64_t pause = replica->host->options.timing.election_timeout_max * 2;
    if (!leads || (replica->handed_at != 0 && now - replica->handed_at < pause)) return false;
    struct replica_id to = successor(replica, now);
    if (to.value == 0 || raft_transfer(replica->raft, to, now) != STATUS_OK) return false;
    replica->handed_at = now;
    SOMETIMES(replica->host->world, "a slow leader handed over");
    replica->host->statistics.slow_disk_handovers++;
    host_mark_dirty(replica);
    return true;
}

/* After a pause of all nodes none is better, but what others say of themselves is from before it
 * until they have spoken again. And as long as the hold lasts nobody is handed over who came later:
 * holds of several nodes do not end in the same moment, and the last would give everything to the
 * first. */
static bool may_leave(const struct slow_disk *disk, uint64_t now)
{
    return disk->leaves && now >= disk->calm_until && disk->until + LEAVE_US >= now + disk->hold;
}

void slow_disk_tick(struct partition_host *host, uint64_t now)
{
    judge_disk(host, now);
    if (!may_leave(&host->slow_disk, now) || PLANTED(host->world, "slow_disk_keeps_leading"))
        return;
    uint32_t handed = 0;
    for (uint32_t i = 0; i < host->replicas_capacity && handed < HANDED_AT_A_TICK_MAX; i++)
        if (host->replicas[i] != NULL) handed += hand_over(host->replicas[i], now);
}
