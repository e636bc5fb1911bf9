/* Reads that meet an expired row while nothing is to be deleted, as the log is full (F27: reads go
 * on). Such a read answers as if the row were gone, and so must every later one, of later leaders
 * too, whose clocks may be behind (D3). The delete would see to that; so does an entry that is as
 * late as the row's expiry, for no entry, and no leader that knows it, is ever earlier: each will
 * find the row expired by itself.
 *
 * Often there is such an entry. If not, one without effects is logged, a mark: one for all rows
 * that expired until then, and few of them, as the log has little room. */
#include "partition/host_internal.h"

/* At most EXPIRY_MARKS_BURST at once, then one each EXPIRY_MARK_US, of all partitions of the
 * worker. */
static bool may_mark(struct partition_host *host, uint64_t now)
{
    uint64_t from = host->marks_until > now ? host->marks_until : now;

    if (log_pressure(host->options.log) >= LOG_PRESSURE_CLOSED) return false;
    if (from - now > (EXPIRY_MARKS_BURST - 1) * EXPIRY_MARK_US) return false;
    host->marks_until = from + EXPIRY_MARK_US;
    return true;
}

/* 0: leadership is being handed over. */
static uint64_t mark(struct replica *replica, int64_t time)
{
    struct entry_header header = {.attempt = 1, .entry_time = time}; /* of the system: node 0 */
    uint64_t index = execute_propose(replica, RAFT_ENTRY_NORMAL, &header, bytes_make(NULL, 0));

    if (index != 0) replica->host->statistics.expiry_marks++;
    return index;
}

bool expired_for_good(struct replica *replica, const struct row_context *rows, uint64_t now,
                      uint64_t *ret_dep)
{
    struct world *world = replica->host->world;

    if (PLANTED(world, "expiry_without_mark")) return true;
    if (rows->expired_at <= replica->applied_time) {
        SOMETIMES(world, "a read met a row that an applied entry shows to be expired");
        return true;
    }
    bool known = rows->expired_at <= replica->proposed_time;
    if (!known && !may_mark(replica->host, now)) return false;
    uint64_t index = known ? raft_last_index(replica->raft) : mark(replica, rows->time);
    if (index == 0) return false;
    if (!known) SOMETIMES(world, "the time was logged for a read of an expired row");
    if (index > *ret_dep) *ret_dep = index;
    return true;
}
