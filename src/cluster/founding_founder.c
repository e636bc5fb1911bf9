/* The smallest name leads the founding: it proposes, counts who has accepted, and says START. */
#include <stdio.h>

#include "base/assert.h"
#include "cluster/founding_internal.h"
#include "cluster/view_codec.h"

enum { FOUNDING_LINGER_US = 10 * 1000 }; /* lets START leave before connections begin afresh */

static void founding_send_start(struct founding *founding)
{
    struct founding_message start = {.kind = FOUNDING_START,
                                     .cluster = founding->result.identity.cluster,
                                     .proposal = founding->result.identity.proposal};

    for (node_id_t node = 1; node <= founding->options.member_count; node++)
        if (node != founding->options.self) founding_send(founding, node, &start);
}

static void view_node_fill(struct view_node *node, node_id_t id, store_id_t store,
                           struct cluster_id cluster)
{
    node->id = id;
    node->store = store;
    node->epoch = 0;
    uint64_t parts[3];
    for (uint64_t i = 0; i < ARRAY_COUNT(parts); i++)
        parts[i] = hash_u64(cluster.high ^ hash_u64(cluster.low + ((uint64_t)id << 8) + i));
    snprintf(node->hex_id, sizeof(node->hex_id), "%016llx%016llx%08llx",
             (unsigned long long)parts[0], (unsigned long long)parts[1],
             (unsigned long long)(parts[2] & 0xffffffffu));
}

static void founding_make_proposal(struct founding *founding)
{
    const struct founding_options *options = &founding->options;
    struct cluster_view *view = &founding->file.view;
    uint8_t secret[32];
    uint32_t number = founding->file.proposal;

    for (node_id_t node = 1; node <= options->member_count; node++)
        if (founding->peers[node].proposal > number) number = founding->peers[node].proposal;
    founding->file.proposal = number + 1;

    cluster_view_free(view);
    world_random_secret(options->world, secret, sizeof(secret));
    view->cluster = (struct cluster_id){load_u64(secret) | 1, load_u64(secret + 8)};
    view->hash_secret[0] = load_u64(secret + 16);
    view->hash_secret[1] = load_u64(secret + 24);
    view->table_epoch = 1;
    view->cluster_version = options->cluster_version;
    view->next_node_id = options->member_count + 1;
    view->partition_count = options->settings.partitions;
    view->replicas = options->settings.replicas;
    view->reads = options->settings.reads;
    view->node_count = options->member_count;
    for (uint32_t i = 0; i < options->member_count; i++) {
        struct view_node *node = &view->nodes[i];
        const struct founding_peer *peer = &founding->peers[i + 1];
        bool self = i + 1 == options->self;

        view_node_fill(node, i + 1, self ? founding->file.store : peer->store, view->cluster);
        memcpy(node->name, options->members[i].name, sizeof(node->name));
        memcpy(node->peer, options->members[i].peer, sizeof(node->peer));
        memcpy(node->redis, self ? options->redis : peer->redis, sizeof(node->redis));
        memcpy(node->redis_cluster, self ? options->redis_cluster : peer->redis_cluster,
               sizeof(node->redis_cluster));
        memcpy(node->admin, self ? options->admin : peer->admin, sizeof(node->admin));
    }
    cluster_view_place(view);
}

/* Every member still has the disk and the addresses that the proposal names, and the line and
 * the settings are those of this start: an earlier one may have had others. */
static bool founding_proposal_fits(const struct founding *founding)
{
    const struct founding_options *options = &founding->options;
    const struct cluster_view *view = &founding->file.view;

    if (founding->file.proposal == 0) return false;
    if (view->node_count != options->member_count ||
        view->partition_count != options->settings.partitions ||
        view->replicas != options->settings.replicas || view->reads != options->settings.reads)
        return false;
    for (node_id_t id = 1; id <= options->member_count; id++) {
        const struct view_node *node = &view->nodes[id - 1];
        const struct founding_peer *peer = &founding->peers[id];
        if (strcmp(node->name, options->members[id - 1].name) != 0 ||
            strcmp(node->peer, options->members[id - 1].peer) != 0)
            return false;
        if (id == options->self) {
            if (node->store != founding->file.store) return false;
            continue;
        }
        if (node->store != peer->store || strcmp(node->redis, peer->redis) != 0 ||
            strcmp(node->redis_cluster, peer->redis_cluster) != 0 ||
            strcmp(node->admin, peer->admin) != 0)
            return false;
    }
    return true;
}

static bool founding_peer_accepted(const struct founding *founding, node_id_t node)
{
    const struct founding_peer *peer = &founding->peers[node];
    return peer->heard && peer->state == FOUNDING_ACCEPTED &&
           peer->proposal == founding->file.proposal &&
           cluster_id_equal(peer->cluster, founding->file.view.cluster);
}

void founding_identity_make(const struct founding *founding, uint32_t proposal,
                            const struct cluster_view *view, struct identity *ret_identity)
{
    const struct founding_options *options = &founding->options;

    *ret_identity = (struct identity){
        .state = IDENTITY_ACCEPTED,
        .cluster = view->cluster,
        .node = options->self,
        .store = founding->file.store,
        .epoch_first = 1,
        .epoch_last = EPOCH_BLOCK_SIZE,
        .epoch_next = 1,
        .proposal = proposal,
        .stores = options->settings.stores,
        .partitions = view->partition_count,
        .replicas = view->replicas,
        .reads = view->reads,
    };
    snprintf(ret_identity->name, sizeof(ret_identity->name), "%s",
             options->members[options->self - 1].name);
}

enum status founding_save_tables(struct founding *founding, struct error *error)
{
    const struct founding_options *options = &founding->options;

    enum status status =
        view_file_save(options->world, options->directory, "birth", &founding->file.view, error);
    if (status) return status;
    return view_file_save(options->world, options->directory, "table", &founding->file.view, error);
}

static void founding_complete(struct founding *founding)
{
    struct error error;
    struct identity identity;

    if (founding_save_tables(founding, &error)) {
        founding_fail(founding, &error);
        return;
    }
    founding_identity_make(founding, founding->file.proposal, &founding->file.view, &identity);
    if (!founding_become_member(founding, &identity, false)) return;
    if (founding->options.member_count == 1) {
        founding_finish(founding);
        return;
    }
    founding_send_start(founding);
    world_timer_start(founding->options.world, &founding->linger, FOUNDING_LINGER_US);
}

static void founding_propose(struct founding *founding, node_id_t to)
{
    struct buffer view;

    buffer_init(&view, VIEW_SIZE_MAX);
    cluster_view_encode(&founding->file.view, &view);
    struct founding_message propose = {
        .kind = FOUNDING_PROPOSE, .proposal = founding->file.proposal, .view = buffer_bytes(&view)};
    founding_send(founding, to, &propose);
    buffer_free(&view);
}

/* The founder's next step, after anything that it heard. */
void founding_advance(struct founding *founding)
{
    const struct founding_options *options = &founding->options;
    bool all_accepted = true;
    struct error error;

    if (options->self != FOUNDER || founding->ended || founding->rejoining || options->repairing)
        return;
    for (node_id_t node = 1; node <= options->member_count; node++) {
        const struct founding_peer *peer = &founding->peers[node];
        bool ready = peer->heard && peer->state != FOUNDING_REPAIRING;
        if (node != options->self && !ready) return;
    }

    if (!founding_proposal_fits(founding)) {
        founding_make_proposal(founding);
        if (founding_file_save(options->world, options->directory, &founding->file, &error)) {
            founding_fail(founding, &error);
            return;
        }
    }
    for (node_id_t node = 1; node <= options->member_count; node++) {
        if (node == options->self || founding_peer_accepted(founding, node)) continue;
        founding_propose(founding, node);
        all_accepted = false;
    }
    if (all_accepted) founding_complete(founding);
}
