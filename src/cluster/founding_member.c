/* The other members of a founding: accept, start. And the wiped node that finds a cluster where
 * it looked for founders. */
#include "base/assert.h"
#include "cluster/founding_internal.h"

/* --- the others ----------------------------------------------------------------------- */

void founding_on_propose(struct founding *founding, node_id_t from,
                         const struct founding_message *message)
{
    const struct founding_options *options = &founding->options;
    struct cluster_view view;
    struct error error;

    if (from != FOUNDER || founding->rejoining || options->repairing) return;
    if (founding->accepted && message->proposal < founding->identity.proposal) return;

    cluster_view_init(&view);
    if (cluster_view_decode(message->view, &view)) goto out;
    bool same = founding->accepted && message->proposal == founding->identity.proposal &&
                cluster_id_equal(view.cluster, founding->identity.cluster);
    const struct view_node *self = cluster_view_node(&view, options->self);
    bool fits = self != NULL && self->store == founding->file.store &&
                view.node_count == options->member_count &&
                strcmp(self->name, options->members[options->self - 1].name) == 0;
    if (!fits) goto out; /* our next HELLO tells the founder what has changed */

    if (!same) {
        cluster_view_assign(&founding->file.view, &view);
        founding->accepted = false;
        struct identity identity;
        founding_identity_make(founding, message->proposal, &view, &identity);
        enum status status = founding_save_tables(founding, &error);
        if (status == STATUS_OK)
            status = identity_save(options->world, options->directory, &identity, &error);
        if (status) {
            founding_fail(founding, &error);
            goto out;
        }
        founding->identity = identity;
        founding->accepted = true;
    }
    founding_send_hello(founding, from, FOUNDING_HELLO);

out:
    cluster_view_free(&view);
}

void founding_on_start(struct founding *founding, const struct founding_message *message)
{
    bool ours = founding->accepted && message->proposal == founding->identity.proposal &&
                cluster_id_equal(message->cluster, founding->identity.cluster);

    if (!ours) return;
    if (founding_become_member(founding, &founding->identity, false)) founding_finish(founding);
}

/* --- rejoining ------------------------------------------------------------------------ */

/* A member of `cluster` was met: this directory is that of a wiped node. */
void founding_begin_rejoin(struct founding *founding, struct cluster_id cluster)
{
    const struct founding_options *options = &founding->options;
    struct error error;

    bool lost = options->repairing && !cluster_id_is_none(options->repairing_cluster) &&
                !cluster_id_equal(cluster, options->repairing_cluster);
    if (lost) {
        char one[CLUSTER_ID_TEXT_SIZE], other[CLUSTER_ID_TEXT_SIZE];
        cluster_id_print(cluster, one);
        cluster_id_print(options->repairing_cluster, other);
        error_set(&error, STATUS_REFUSED,
                  "this node is in repair and belongs to cluster %s, but the nodes of --cluster "
                  "are of %s: check the addresses of %.300s",
                  other, one, founding->line);
        founding_fail(founding, &error);
        return;
    }
    if (founding->rejoining && !cluster_id_equal(cluster, founding->identity.cluster)) {
        char one[CLUSTER_ID_TEXT_SIZE], other[CLUSTER_ID_TEXT_SIZE];
        cluster_id_print(cluster, one);
        cluster_id_print(founding->identity.cluster, other);
        error_set(&error, STATUS_REFUSED,
                  "the nodes of --cluster belong to different clusters, %s and %s: check the "
                  "addresses of %.300s",
                  one, other, founding->line);
        founding_fail(founding, &error);
        return;
    }
    if (founding->rejoining) return;
    LOG_INFO(world_logger(options->world), "founding",
             "this directory is empty but its node is a member: it rejoins as a new store");
    founding->rejoining = true;
    founding->identity.cluster = cluster;
    if (founding->file.proposal != 0) { /* that store may be known: a wiped one is a new one */
        world_random_secret(options->world, (uint8_t *)&founding->file.store,
                            sizeof(founding->file.store));
        founding->file.store |= 1;
        founding->file.token = world_random(options->world);
        founding->file.proposal = 0;
        if (founding_file_save(options->world, options->directory, &founding->file, &error))
            founding_fail(founding, &error);
    }
}

void founding_on_joined(struct founding *founding, const struct founding_message *message)
{
    const struct founding_options *options = &founding->options;
    struct cluster_view view;
    struct identity identity;
    struct error error;

    if (!founding->rejoining || message->token != founding->file.token) return;
    cluster_view_init(&view);
    if (cluster_view_decode(message->view, &view)) goto out;
    const struct view_node *self = cluster_view_node(&view, options->self);
    bool ours = self != NULL && self->store == founding->file.store && message->epoch_first >= 1 &&
                message->epoch_last >= message->epoch_first && message->epoch_last < UINT32_MAX &&
                message->settings.stores >= 1 && message->settings.stores <= STORES_MAX &&
                cluster_id_equal(view.cluster, founding->identity.cluster);
    if (!ours) goto out;

    cluster_view_assign(&founding->file.view, &view);
    founding_identity_make(founding, 0, &view, &identity);
    identity.epoch_first = message->epoch_first;
    identity.epoch_last = message->epoch_last;
    identity.epoch_next = message->epoch_first;
    identity.stores = message->settings.stores;
    if (view_file_save(options->world, options->directory, "table", &view, &error)) {
        founding_fail(founding, &error);
        goto out;
    }
    cluster_view_free(&view);
    if (founding_become_member(founding, &identity, true)) founding_finish(founding);
    return;

out:
    cluster_view_free(&view);
}
