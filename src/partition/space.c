/* Disks that run full (F27, WHY 5.10): a leader refuses requests that add data when it, or so many
 * of its voters that no majority is left, is below its reserve. Without that, writes would hang
 * and not fail, and the log would take the last bytes that votes and deletes need.
 *
 * A log near --log-bytes-max counts as such a disk. When it is full a leader refuses deletes too,
 * since each of them is an entry: what is left is for votes, terms, changes of members, and for
 * what frees segments, and for what nodes ask meta when they start. A follower whose log has no
 * room at all takes small entries only, as long as half of a segment is left, and is brought up by
 * a snapshot later. Small ones, since the no-op of a new leader may be all that a group lacks to
 * commit, and so to free, what fills the log.
 *
 * While it frees segments the answer is BUSY: stores are flushed slower than was written, and
 * asking again will do. When none was freed for LOG_STUCK_US it is MISCONF, as for a disk.
 *
 * Every heartbeat and every acknowledgement says how its sender stands. */
#include <stdio.h>

#include "partition/host_internal.h"

enum { LOG_STUCK_US = 10 * 1000 * 1000 }; /* without a freed segment, while it is short */

void host_set_disk(struct partition_host *host, bool low, const char *text)
{
    host->disk_low = low;
    snprintf(host->disk_text, sizeof(host->disk_text), "%s", text);
}

bool space_is_low_here(const struct partition_host *host)
{
    return host->disk_low || log_is_short(host->options.log);
}

bool space_is_low(const struct partition_host *host, node_id_t node)
{
    if (node == host->options.node) return space_is_low_here(host);
    return node <= NODES_MAX && node > 0 && host->walls[node - 1].disk_low;
}

bool space_log_is_full_here(const struct partition_host *host)
{
    return log_pressure(host->options.log) >= LOG_PRESSURE_FULL;
}

bool space_log_takes_small_here(const struct partition_host *host)
{
    return log_pressure(host->options.log) < LOG_PRESSURE_SPENT;
}

/* What the core does not have yet costs room. */
static uint64_t new_bytes(const struct replica *replica, const struct raft_entry *entry)
{
    const struct raft_entry *own = raft_entry_at(replica->raft, entry->index);
    return own != NULL && own->term == entry->term ? 0 : entry->size;
}

static bool fits(enum log_pressure pressure, const struct raft_entry *entry, uint64_t bytes)
{
    if (entry->type == RAFT_ENTRY_NOOP) return true; /* one of each election, as votes are */
    return bytes == 0 || (pressure == LOG_PRESSURE_CLOSED && bytes <= APPEND_SMALL_BYTES_MAX);
}

bool space_cut_append(const struct replica *replica, struct raft_message *message)
{
    struct world *world = replica->host->world;
    enum log_pressure pressure = log_pressure(replica->host->options.log);
    uint32_t count = 0;
    uint64_t bytes = 0;

    if (message->entry_count == 0 || pressure < LOG_PRESSURE_CLOSED) return true;
    for (; count < message->entry_count; count++) {
        bytes += new_bytes(replica, message->entries[count]);
        if (!fits(pressure, message->entries[count], bytes)) break;
    }
    if (count < message->entry_count)
        SOMETIMES(world, "entries were not taken because the log is full");
    if (count > 0) SOMETIMES(world, "small entries were taken by a full log");
    while (message->entry_count > count)
        raft_entry_free(message->entries[--message->entry_count]);
    return count > 0;
}

void space_heard(struct partition_host *host, node_id_t node, bool low, bool log_full)
{
    if (node > NODES_MAX || node == 0) return;
    host->walls[node - 1].disk_low = low;
    host->walls[node - 1].log_full = log_full;
}

static bool log_is_full(const struct partition_host *host, node_id_t node)
{
    if (node == host->options.node) return space_log_is_full_here(host);
    return node <= NODES_MAX && node > 0 && host->walls[node - 1].log_full;
}

static bool majority_is_not(const struct partition_host *host,
                            bool (*is)(const struct partition_host *host, node_id_t node),
                            const struct raft_member *members, uint32_t count)
{
    uint32_t good = 0;
    for (uint32_t i = 0; i < count; i++)
        good += !is(host, members[i].node);
    return count == 0 || good > count / 2;
}

static bool refuses(const struct replica *replica,
                    bool (*is)(const struct partition_host *host, node_id_t node))
{
    const struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    return is(host, host->options.node) ||
           !majority_is_not(host, is, config->incoming, config->incoming_count) ||
           !majority_is_not(host, is, config->outgoing, config->outgoing_count);
}

bool space_refuses(const struct replica *replica)
{
    return refuses(replica, space_is_low);
}

bool space_refuses_all(const struct replica *replica)
{
    return refuses(replica, log_is_full);
}

static void look_again(struct space_log *seen, const struct log_statistics *log, uint64_t now)
{
    seen->oldest = log->oldest_segment;
    seen->copied = log->copied_bytes;
    seen->since = now;
}

/* Segments are also freed by what is copied out of them, which is no way on for ever. */
void space_tick(struct partition_host *host, uint64_t now)
{
    struct space_log *seen = &host->space_log;
    struct log_statistics log;

    seen->is_short = false;
    if (log_pressure(host->options.log) < LOG_PRESSURE_FLUSH) return;
    log_statistics(host->options.log, &log);
    uint64_t freed = (log.oldest_segment - seen->oldest) * log.segment_size;
    uint64_t copied = log.copied_bytes - seen->copied;
    bool frees = freed > 2 * copied;
    seen->is_short = log_pressure(host->options.log) >= LOG_PRESSURE_SHORT;
    seen->no_space = log.no_space;
    bool anew = seen->is_short && (seen->short_at == 0 || now - seen->short_at >= LOG_STUCK_US);
    if (frees || anew) seen->freed_at = now;
    if (seen->is_short) seen->short_at = now;
    if (frees || now - seen->since >= LOG_STUCK_US) look_again(seen, &log, now);
}

static bool is_low_elsewhere(const struct partition_host *host, node_id_t node)
{
    return node != host->options.node && space_is_low(host, node);
}

static bool is_full_elsewhere(const struct partition_host *host, node_id_t node)
{
    return node != host->options.node && log_is_full(host, node);
}

bool space_comes_back(struct replica *replica, bool grows, uint64_t now)
{
    struct partition_host *host = replica->host;

    space_tick(host, now);
    if (host->disk_low || !host->space_log.is_short || host->space_log.no_space) return false;
    for (uint32_t i = 0; i < host->options.store_count; i++)
        if (host->stores[i].flush_delay != 0) return false; /* it has failed */
    if (refuses(replica, grows ? is_low_elsewhere : is_full_elsewhere)) return false;
    return now - host->space_log.freed_at < LOG_STUCK_US;
}

/* Why the log is short, in one line. */
static void log_text(const struct partition_host *host, char *text, size_t size)
{
    struct log_statistics log;
    log_statistics(host->options.log, &log);
    if (log.no_space || log.bytes_max == 0) {
        snprintf(text, size, "the log has no room for a segment");
        return;
    }
    snprintf(text, size,
             "node %u has %llu MiB of log, --log-bytes-max is %llu MiB, and partition %u still "
             "needs the oldest",
             host->options.node, (unsigned long long)log.bytes_on_disk >> 20,
             (unsigned long long)log.bytes_max >> 20, log.oldest_group.value);
}

void space_text(const struct replica *replica, char *text, size_t size)
{
    const struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    if (space_is_low_here(host)) {
        if (host->disk_low)
            snprintf(text, size, "%s", host->disk_text);
        else
            log_text(host, text, size);
        return;
    }
    int used = snprintf(text, size,
                        "below their --disk-reserve or near their --log-bytes-max are the nodes "
                        "with ids");
    for (uint32_t i = 0; i < config->incoming_count && used > 0 && (size_t)used < size; i++) {
        if (!space_is_low(host, config->incoming[i].node)) continue;
        used += snprintf(text + used, size - (size_t)used, " %u", config->incoming[i].node);
    }
}
