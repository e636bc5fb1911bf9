/* The wall clock as the cluster sees it (D3). Heartbeats and their acknowledgements carry the
 * sender's wall clock. A node whose own is more than half a second off the median of its peers
 * does not trust it: it goes by the median. So a clock that was set ten years ahead expires
 * nothing, and nobody has to stop leading because of it.
 *
 * All are held against the boot clock, which nobody can set: so a jump of the own clock is seen
 * at once, not only when the next heartbeat comes.
 *
 * With one peer there is no majority of clocks: the earlier of two that disagree counts,
 * since what expires too late can be asked again and what expires too early is lost. */
#include "partition/host_internal.h"

enum { WALL_OFF_MAX_US = 500 * 1000, WALL_FRESH_US = 2 * 1000 * 1000 };
enum { WALL_WARN_US = 10 * 1000 * 1000 };

void wall_heard(struct partition_host *host, node_id_t node, int64_t wall, uint64_t now)
{
    if (node == 0 || node > NODES_MAX) return;
    struct peer_wall *peer = &host->walls[node - 1];
    peer->offset = wall - (int64_t)now;
    peer->heard_at = now;
}

static int64_t median_offset(const struct partition_host *host, uint64_t now)
{
    int64_t offsets[NODES_MAX + 1] = {world_wall_time(host->world) - (int64_t)now};
    size_t count = 1; /* the own clock is one of them */
    for (size_t i = 0; i < NODES_MAX; i++) {
        const struct peer_wall *peer = &host->walls[i];
        if (peer->heard_at == 0 || now >= peer->heard_at + WALL_FRESH_US) continue;
        size_t at = count++;
        while (at > 0 && offsets[at - 1] > peer->offset) {
            offsets[at] = offsets[at - 1];
            at--;
        }
        offsets[at] = peer->offset;
    }
    return offsets[(count - 1) / 2];
}

int64_t wall_trusted(struct partition_host *host, uint64_t now)
{
    int64_t own = world_wall_time(host->world);
    int64_t off = median_offset(host, now) - (own - (int64_t)now);
    if (off <= WALL_OFF_MAX_US && off >= -WALL_OFF_MAX_US) return own;
    SOMETIMES(host->world, "a wall clock was off and not trusted");
    if (host->wall_warned_at == 0 || now - host->wall_warned_at > WALL_WARN_US) {
        host->wall_warned_at = now;
        LOG_WARN(host_logger(host), "partition",
                 "this machine's clock is %lld ms off the median of its peers and is not used "
                 "for expiry; check its time synchronisation",
                 (long long)(-off / 1000));
    }
    return own + off;
}
