#include "cluster/founding.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/founding_file.h"
#include "cluster/view_codec.h"
#include "wire/peer_frame.h"

enum {
    FOUNDER = 1,                       /* the smallest name */
    FOUNDING_LINGER_US = 10 * 1000,    /* lets START leave before connections begin afresh */
    FOUNDING_HELLO_SIZE_MAX = 8 << 10, /* encoded */
};

struct founding_peer {
    bool heard;
    enum founding_state state;
    struct cluster_id cluster;
    uint32_t proposal;
    store_id_t store;
    char redis[ADDRESS_SIZE_MAX], redis_cluster[ADDRESS_SIZE_MAX], admin[ADDRESS_SIZE_MAX];
};

struct founding {
    struct founding_options options;
    char line[FOUNDING_LINE_SIZE_MAX];
    struct founding_file file;
    bool accepted; /* identity is that of a proposal, not yet started */
    struct identity identity;
    bool rejoining;
    bool ended;                                           /* an event was given or is about to be */
    struct founding_peer peers[FOUNDING_MEMBERS_MAX + 1]; /* by node id; own one unused */
    struct world_timer resend;
    struct world_timer linger;
    struct founding_result result;
};

void founding_line(const struct founding_member *members, uint32_t count,
                   char ret_line[FOUNDING_LINE_SIZE_MAX])
{
    size_t used = 0;

    ret_line[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        int size = snprintf(ret_line + used, FOUNDING_LINE_SIZE_MAX - used, "%s%s=%s", i ? "," : "",
                            members[i].name, members[i].peer);
        ASSERT(size > 0 && used + (size_t)size < FOUNDING_LINE_SIZE_MAX);
        used += (size_t)size;
    }
}

/* --- ends --------------------------------------------------------------------------------- */

static void founding_fail(struct founding *founding, const struct error *error)
{
    if (founding->ended) return;
    founding->ended = true;
    world_timer_stop(founding->options.world, &founding->resend);
    founding->options.events.on_failed(founding->options.context, error);
}

static void founding_finish(struct founding *founding)
{
    ASSERT(founding->ended);
    founding_file_remove(founding->options.world, founding->options.directory);
    founding->options.events.on_done(founding->options.context, &founding->result);
}

static void founding_linger_over(struct world_timer *timer)
{
    founding_finish(timer->context);
}

/* Makes the identity durable as a member's and takes its first epoch with the same write. */
static bool founding_become_member(struct founding *founding, struct identity *identity,
                                   bool rejoined)
{
    struct error error;

    identity->state = IDENTITY_MEMBER;
    enum status status = identity_take_epoch(founding->options.world, founding->options.directory,
                                             identity, &founding->result.epoch, &error);
    if (status) {
        founding_fail(founding, &error);
        return false;
    }
    founding->ended = true;
    world_timer_stop(founding->options.world, &founding->resend);
    founding->result.identity = *identity;
    founding->result.view = &founding->file.view;
    founding->result.rejoined = rejoined;
    return true;
}

/* --- sending ------------------------------------------------------------------------------ */

static void founding_send(struct founding *founding, node_id_t to,
                          const struct founding_message *message)
{
    struct buffer buffer;

    buffer_init(&buffer, FOUNDING_HELLO_SIZE_MAX + VIEW_SIZE_MAX);
    founding_message_encode(message, &buffer);
    transport_send(founding->options.transport, to, 0, PEER_FRAME_FOUNDING, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

static void founding_send_hello(struct founding *founding, node_id_t to, enum founding_kind kind)
{
    const struct founding_options *options = &founding->options;
    struct founding_message hello = {
        .kind = kind,
        .state = founding->accepted ? FOUNDING_ACCEPTED : FOUNDING_EMPTY,
        .wants_reply = !founding->peers[to].heard,
        .store = founding->file.store,
        .token = founding->file.token,
        .settings = options->settings,
    };

    if (founding->accepted) {
        hello.cluster = founding->identity.cluster;
        hello.proposal = founding->identity.proposal;
    }
    snprintf(hello.name, sizeof(hello.name), "%s", options->members[options->self - 1].name);
    snprintf(hello.line, sizeof(hello.line), "%s", founding->line);
    snprintf(hello.redis, sizeof(hello.redis), "%s", options->redis);
    snprintf(hello.redis_cluster, sizeof(hello.redis_cluster), "%s", options->redis_cluster);
    snprintf(hello.admin, sizeof(hello.admin), "%s", options->admin);
    founding_send(founding, to, &hello);
}

static void founding_send_start(struct founding *founding)
{
    struct founding_message start = {.kind = FOUNDING_START,
                                     .cluster = founding->result.identity.cluster,
                                     .proposal = founding->result.identity.proposal};

    for (node_id_t node = 1; node <= founding->options.member_count; node++)
        if (node != founding->options.self) founding_send(founding, node, &start);
}

/* --- the founder -------------------------------------------------------------------------- */

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
    view->cluster_version = 1;
    view->partition_count = options->settings.partitions;
    view->replicas = options->settings.replicas;
    view->reads = options->settings.reads;
    view->node_count = options->member_count;
    for (uint32_t i = 0; i < options->member_count; i++) {
        struct view_node *node = &view->nodes[i];
        const struct founding_peer *peer = &founding->peers[i + 1];
        bool self = i + 1 == options->self;

        view_node_fill(node, i + 1, self ? founding->file.store : peer->store, view->cluster);
        snprintf(node->name, sizeof(node->name), "%s", options->members[i].name);
        snprintf(node->peer, sizeof(node->peer), "%s", options->members[i].peer);
        snprintf(node->redis, sizeof(node->redis), "%s", self ? options->redis : peer->redis);
        snprintf(node->redis_cluster, sizeof(node->redis_cluster), "%s",
                 self ? options->redis_cluster : peer->redis_cluster);
        snprintf(node->admin, sizeof(node->admin), "%s", self ? options->admin : peer->admin);
    }
    cluster_view_place(view);
}

/* Every member still has the disk and the addresses that the proposal names. */
static bool founding_proposal_fits(const struct founding *founding)
{
    if (founding->file.proposal == 0) return false;
    for (node_id_t id = 1; id <= founding->options.member_count; id++) {
        const struct view_node *node = &founding->file.view.nodes[id - 1];
        const struct founding_peer *peer = &founding->peers[id];
        if (id == founding->options.self) {
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

static void founding_identity_make(const struct founding *founding, uint32_t proposal,
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

static enum status founding_save_tables(struct founding *founding, struct error *error)
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
static void founding_advance(struct founding *founding)
{
    const struct founding_options *options = &founding->options;
    bool all_accepted = true;
    struct error error;

    if (options->self != FOUNDER || founding->ended || founding->rejoining) return;
    for (node_id_t node = 1; node <= options->member_count; node++)
        if (node != options->self && !founding->peers[node].heard) return;

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

/* --- the others --------------------------------------------------------------------------- */

static void founding_on_propose(struct founding *founding, node_id_t from,
                                const struct founding_message *message)
{
    const struct founding_options *options = &founding->options;
    struct cluster_view view;
    struct error error;

    if (from != FOUNDER || founding->rejoining) return;
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

static void founding_on_start(struct founding *founding, const struct founding_message *message)
{
    bool ours = founding->accepted && message->proposal == founding->identity.proposal &&
                cluster_id_equal(message->cluster, founding->identity.cluster);

    if (!ours) return;
    if (founding_become_member(founding, &founding->identity, false)) founding_finish(founding);
}

/* --- rejoining ---------------------------------------------------------------------------- */

/* A member of `cluster` was met: this directory is that of a wiped node. */
static void founding_begin_rejoin(struct founding *founding, struct cluster_id cluster)
{
    const struct founding_options *options = &founding->options;
    struct error error;

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

static void founding_on_joined(struct founding *founding, const struct founding_message *message)
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
                message->epoch_last >= message->epoch_first && message->settings.stores >= 1 &&
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

/* --- hearing others ----------------------------------------------------------------------- */

static bool founding_check_hello(struct founding *founding, node_id_t from,
                                 const struct founding_message *hello, struct error *error)
{
    const struct founding_options *options = &founding->options;
    const char *name = options->members[from - 1].name;
    const struct founding_settings *ours = &options->settings;
    const struct founding_settings *theirs = &hello->settings;

    if (strcmp(hello->line, founding->line) != 0) {
        error_set(error, STATUS_REFUSED,
                  "--cluster differs: here it is `%.180s`, at %s `%.180s`. Give every node the "
                  "same line",
                  founding->line, name, hello->line);
        return false;
    }
    bool same = ours->partitions == theirs->partitions && ours->replicas == theirs->replicas &&
                ours->reads == theirs->reads && ours->stores == theirs->stores;
    if (!same) {
        error_set(error, STATUS_REFUSED,
                  "the settings of the new cluster differ: here partitions=%u replicas=%u "
                  "reads=%s stores=%u, at %s partitions=%u replicas=%u reads=%s stores=%u. Give "
                  "every node the same",
                  ours->partitions, ours->replicas, reads_mode_name(ours->reads), ours->stores,
                  name, theirs->partitions, theirs->replicas, reads_mode_name(theirs->reads),
                  theirs->stores);
        return false;
    }
    return true;
}

static void founding_on_hello(struct founding *founding, node_id_t from,
                              const struct founding_message *hello)
{
    struct founding_peer *peer = &founding->peers[from];
    struct error error;

    if (hello->state == FOUNDING_MEMBER) {
        bool known =
            founding->accepted && cluster_id_equal(hello->cluster, founding->identity.cluster);
        if (founding->accepted && !known) {
            error_set(&error, STATUS_REFUSED,
                      "%s is a member of another cluster than the one whose founding this "
                      "directory took part in: start with an empty directory",
                      founding->options.members[from - 1].name);
            founding_fail(founding, &error);
            return;
        }
        peer->heard = true;
        peer->state = FOUNDING_MEMBER;
        if (!known) {
            founding_begin_rejoin(founding, hello->cluster);
            if (!founding->ended) founding_send_hello(founding, from, FOUNDING_REJOIN);
        }
        return;
    }
    if (!founding_check_hello(founding, from, hello, &error)) {
        founding_fail(founding, &error);
        return;
    }
    *peer = (struct founding_peer){.heard = true,
                                   .state = hello->state,
                                   .cluster = hello->cluster,
                                   .proposal = hello->proposal,
                                   .store = hello->store};
    snprintf(peer->redis, sizeof(peer->redis), "%s", hello->redis);
    snprintf(peer->redis_cluster, sizeof(peer->redis_cluster), "%s", hello->redis_cluster);
    snprintf(peer->admin, sizeof(peer->admin), "%s", hello->admin);
    if (hello->wants_reply) founding_send_hello(founding, from, FOUNDING_HELLO);
    founding_advance(founding);
}

void founding_on_frame(struct founding *founding, const struct transport_peer *from,
                       struct bytes payload)
{
    struct founding_message message;
    struct error error;

    if (founding->ended) return;
    if (from->node == 0 || from->node > founding->options.member_count ||
        from->node == founding->options.self)
        return;
    if (founding_message_decode(payload, &message)) {
        LOG_WARN(world_logger(founding->options.world), "founding",
                 "node=%u sent a founding frame that is damaged or of another version", from->node);
        return;
    }
    switch (message.kind) {
    case FOUNDING_HELLO:
        if (strcmp(message.name, founding->options.members[from->node - 1].name) == 0)
            founding_on_hello(founding, from->node, &message);
        break;
    case FOUNDING_PROPOSE:
        founding_on_propose(founding, from->node, &message);
        break;
    case FOUNDING_START:
        founding_on_start(founding, &message);
        break;
    case FOUNDING_REFUSED:
        error_set(&error, STATUS_REFUSED, "%s refuses this node: %.400s",
                  founding->options.members[from->node - 1].name, message.text);
        founding_fail(founding, &error);
        break;
    case FOUNDING_JOINED:
        founding_on_joined(founding, &message);
        break;
    case FOUNDING_REJOIN:
        break; /* only a member can help */
    }
}

/* --- life --------------------------------------------------------------------------------- */

static void founding_resend(struct world_timer *timer)
{
    struct founding *founding = timer->context;

    for (node_id_t node = 1; node <= founding->options.member_count; node++) {
        if (node == founding->options.self) continue;
        bool member = founding->peers[node].state == FOUNDING_MEMBER;
        bool rejoin = founding->rejoining && member;
        founding_send_hello(founding, node, rejoin ? FOUNDING_REJOIN : FOUNDING_HELLO);
    }
    founding_advance(founding);
    if (!founding->ended) world_timer_start(founding->options.world, timer, FOUNDING_RESEND_US);
}

void founding_on_peer_up(struct founding *founding, node_id_t node)
{
    bool listed = node >= 1 && node <= founding->options.member_count;
    if (founding->ended || !listed || node == founding->options.self) return;
    founding_send_hello(founding, node, FOUNDING_HELLO);
}

struct founding *founding_open(const struct founding_options *options)
{
    struct founding *founding = memory_allocate_zero(sizeof(*founding));

    ASSERT(options->member_count >= 1 && options->member_count <= FOUNDING_MEMBERS_MAX);
    ASSERT(options->self >= 1 && options->self <= options->member_count);
    ASSERT(options->member_count == 1 || options->transport != NULL);
    founding->options = *options;
    founding_line(options->members, options->member_count, founding->line);
    founding->resend = (struct world_timer){.fire = founding_resend, .context = founding};
    founding->linger = (struct world_timer){.fire = founding_linger_over, .context = founding};
    return founding;
}

/* What an earlier start on this directory left, or a new store id. */
static enum status founding_resume(struct founding *founding, struct error *error)
{
    const struct founding_options *options = &founding->options;
    uint8_t secret[16];

    enum status status =
        founding_file_load(options->world, options->directory, &founding->file, error);
    if (status == STATUS_NOT_FOUND) {
        world_random_secret(options->world, secret, sizeof(secret));
        founding->file.store = load_u64(secret) | 1;
        founding->file.token = load_u64(secret + 8) | 1;
    } else if (status) {
        return status;
    }
    founding->file.settings = options->settings;
    founding->file.member_count = options->member_count;
    memcpy(founding->file.members, options->members, sizeof(founding->file.members));
    status = founding_file_save(options->world, options->directory, &founding->file, error);
    if (status) return status;

    status = identity_load(options->world, options->directory, &founding->identity, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    if (status) return status;
    ASSERT(founding->identity.state == IDENTITY_ACCEPTED);
    cluster_view_free(&founding->file.view);
    status =
        view_file_load(options->world, options->directory, "table", &founding->file.view, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_CORRUPT,
                         "%.300s/table is missing: empty the directory and start again",
                         options->directory);
    founding->accepted = status == STATUS_OK;
    return status;
}

void founding_begin(struct founding *founding)
{
    struct error error;

    if (founding_resume(founding, &error)) {
        founding_fail(founding, &error);
        return;
    }
    if (founding->options.member_count == 1) {
        founding_advance(founding);
        return;
    }
    founding_resend(&founding->resend);
}

void founding_close(struct founding *founding)
{
    if (founding == NULL) return;
    world_timer_stop(founding->options.world, &founding->resend);
    world_timer_stop(founding->options.world, &founding->linger);
    founding_file_free(&founding->file);
    memory_free(founding);
}

void founding_missing(const struct founding *founding, char *ret_text, size_t size)
{
    size_t used = 0;

    ret_text[0] = '\0';
    for (node_id_t node = 1; node <= founding->options.member_count; node++) {
        bool missing = node != founding->options.self && !founding->peers[node].heard;
        if (!missing) continue;
        int more = snprintf(ret_text + used, size - used, "%s%s", used ? ", " : "",
                            founding->options.members[node - 1].name);
        if (more < 0 || used + (size_t)more >= size) return;
        used += (size_t)more;
    }
}
