/* Rolling upgrades (WHY 13.1). Nodes of two versions run beside each other; what only the later one
 * understands is not written until an operator says that the upgrade is over, which meta takes only
 * while every node that it knows runs a version that understands it. Before that each node can go
 * back; after it the earlier version refuses to start on the directory.
 *
 * PEER_FRAME_STATUS supports: u8 7 | varint highest cluster version | text of the version. Said by
 * worker 0 to whoever it gets a link to. 0.1.0 does not say it, and supports 1. Worker 0. */
#include <stdio.h>

#include "base/codec.h"
#include "cluster/view_codec.h"
#include "node/node_snapshot.h"
#include "world/probe.h"

uint32_t node_newest_version(const struct node *node)
{
    return node->options.meta.supports ? node->options.meta.supports : VIEW_VERSION;
}

void node_upgrade_say(struct node *node, node_id_t to)
{
    struct buffer frame;

    if (node_newest_version(node) < VIEW_VERSION_ELASTIC) return; /* as 0.1.0 */
    buffer_init(&frame, 64);
    struct writer writer = writer_make(&frame);
    write_u8(&writer, STATUS_SUPPORTS);
    write_varint(&writer, node_newest_version(node));
    write_sized(&writer, bytes_of(HOLON_VERSION));
    transport_send(node->workers[0].transport, to, 0, PEER_FRAME_STATUS, buffer_bytes(&frame));
    buffer_free(&frame);
}

void node_on_supports(struct node *node, const struct transport_peer *from, struct reader *reader)
{
    uint64_t version = read_varint(reader);
    struct bytes release = read_sized(reader);

    if (reader->failed || from->node > NODES_MAX || version > INT32_MAX) return;
    if (release.size >= NODE_RELEASE_SIZE_MAX) release.size = NODE_RELEASE_SIZE_MAX - 1;
    struct node_supports *supports = &node->supports[from->node];
    *supports = (struct node_supports){.epoch = from->epoch, .version = (uint32_t)version};
    for (size_t i = 0; i < release.size; i++)
        supports->release[i] =
            release.data[i] > ' ' && release.data[i] < 0x7f ? (char)release.data[i] : '?';
}

uint32_t node_upgrade_version(const struct node *node, node_id_t id, const char **ret_release)
{
    const struct view_node *known = cluster_view_node(&node->workers[0].view, id);
    const struct node_supports *supports = &node->supports[id];

    if (ret_release != NULL) *ret_release = "";
    if (id == node->identity.node) {
        if (ret_release != NULL) *ret_release = HOLON_VERSION;
        return node_newest_version(node);
    }
    bool of_this_start = known != NULL && supports->epoch == known->epoch && supports->version > 0;
    if (!of_this_start) return node_is_up(node, id) ? 1 : 0;
    if (ret_release != NULL) *ret_release = supports->release;
    return supports->version;
}

/* What each node runs is known only while it is connected, by this start of it. */
bool node_upgrade_request(const struct node *node, struct meta_request *ret_request, char *ret_why,
                          size_t why_size)
{
    const struct cluster_view *view = &node->workers[0].view;

    *ret_request = (struct meta_request){.kind = META_FINALIZE, .cluster_version = VIEW_VERSION};
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *known = &view->nodes[i];
        uint32_t version = node_upgrade_version(node, known->id, NULL);
        if (!node_is_up(node, known->id) || version == 0) {
            snprintf(ret_why, why_size,
                     "%s is not connected, and may run an earlier version: start it, or remove it",
                     known->name);
            return false;
        }
        if (version < VIEW_VERSION && !PLANTED(node->world, "finalized_early")) {
            snprintf(ret_why, why_size,
                     "%s runs a version that supports cluster version %u, not %d: stop it, and "
                     "start it with this one",
                     known->name, version, VIEW_VERSION);
            return false;
        }
        ret_request->starts[ret_request->start_count++] =
            (struct meta_start){.node = known->id, .epoch = known->epoch};
    }
    return true;
}
