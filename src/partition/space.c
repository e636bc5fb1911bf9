/* Disks that run full (F27, WHY 5.10): a leader refuses requests that add data when it, or so many
 * of its voters that no majority is left, is below its reserve. Without that, writes would hang
 * and not fail, and the log would take the last bytes that votes and deletes need.
 *
 * Every heartbeat and every acknowledgement says whether its sender is below its reserve. */
#include <stdio.h>

#include "partition/host_internal.h"

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

void space_heard(struct partition_host *host, node_id_t node, bool low)
{
    if (node <= NODES_MAX && node > 0) host->walls[node - 1].disk_low = low;
}

static bool majority_has_space(const struct partition_host *host, const struct raft_member *members,
                               uint32_t count)
{
    uint32_t good = 0;
    for (uint32_t i = 0; i < count; i++)
        good += !space_is_low(host, members[i].node);
    return count == 0 || good > count / 2;
}

bool space_refuses(const struct replica *replica)
{
    const struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    return space_is_low_here(host) ||
           !majority_has_space(host, config->incoming, config->incoming_count) ||
           !majority_has_space(host, config->outgoing, config->outgoing_count);
}

void space_text(const struct replica *replica, char *text, size_t size)
{
    const struct partition_host *host = replica->host;
    const struct raft_config *config = raft_config(replica->raft);
    if (space_is_low_here(host)) {
        bool told = host->disk_low;
        snprintf(text, size, "%s", told ? host->disk_text : "the log has no room for a segment");
        return;
    }
    int used = snprintf(text, size, "below their --disk-reserve are the nodes with ids");
    for (uint32_t i = 0; i < config->incoming_count && used > 0 && (size_t)used < size; i++) {
        if (!space_is_low(host, config->incoming[i].node)) continue;
        used += snprintf(text + used, size - (size_t)used, " %u", config->incoming[i].node);
    }
}
