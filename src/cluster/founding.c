#include "cluster/founding.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/founding_internal.h"
#include "cluster/view_codec.h"
#include "wire/peer_frame.h"

enum { FOUNDING_HELLO_SIZE_MAX = 8 << 10 }; /* encoded */

void founding_line(const struct founding_member *members, uint32_t count,
                   char ret_line[FOUNDING_LINE_SIZE_MAX])
{
    size_t used = 0;

    ret_line[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].name[0] == '\0') continue; /* of a removed node */
        int size = snprintf(ret_line + used, FOUNDING_LINE_SIZE_MAX - used, "%s%s=%s",
                            used ? "," : "", members[i].name, members[i].peer);
        ASSERT(size > 0 && used + (size_t)size < FOUNDING_LINE_SIZE_MAX);
        used += (size_t)size;
    }
}
/* --- ends ----------------------------------------------------------------------------- */

void founding_fail(struct founding *founding, const struct error *error)
{
    if (founding->ended) return;
    founding->ended = true;
    world_timer_stop(founding->options.world, &founding->resend);
    founding->options.events.on_failed(founding->options.context, error);
}

void founding_finish(struct founding *founding)
{
    ASSERT(founding->ended);
    founding_file_remove(founding->options.world, founding->options.directory);
    founding->options.events.on_done(founding->options.context, &founding->result);
}

static void founding_linger_over(struct world_timer *timer)
{
    founding_finish(timer->context);
}

/* Makes the identity durable as a member's and takes its first epoch with the same write. It asks
 * nobody (node_confirm.c), and so speaks under it. */
bool founding_become_member(struct founding *founding, struct identity *identity, bool rejoined)
{
    struct error error;

    identity->state = IDENTITY_MEMBER;
    identity->epoch_spoken = identity->epoch_next;
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

/* --- sending -------------------------------------------------------------------------- */

void founding_send(struct founding *founding, node_id_t to, const struct founding_message *message)
{
    struct buffer buffer;

    buffer_init(&buffer, FOUNDING_HELLO_SIZE_MAX + VIEW_SIZE_MAX);
    founding_message_encode(message, &buffer);
    transport_send(founding->options.transport, to, 0, PEER_FRAME_FOUNDING, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

void founding_send_hello(struct founding *founding, node_id_t to, enum founding_kind kind)
{
    const struct founding_options *options = &founding->options;
    struct founding_message hello = {
        .kind = kind,
        .state = options->repairing   ? FOUNDING_REPAIRING
                 : founding->accepted ? FOUNDING_ACCEPTED
                                      : FOUNDING_EMPTY,
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

/* --- hearing others ------------------------------------------------------------------- */

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
    if (hello->state == FOUNDING_REPAIRING || founding->options.repairing) {
        /* Who has lost its data founds nothing, and nobody founds without its data. */
        peer->heard = true;
        peer->state = hello->state;
        if (hello->wants_reply) founding_send_hello(founding, from, FOUNDING_HELLO);
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

/* --- life ----------------------------------------------------------------------------- */

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
    if (founding->options.repairing && founding->file.proposal != 0)
        founding->file.proposal = 0; /* of the life before */
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

/* Who was heard and cannot help: it waits itself, or it has nothing. */
static bool founding_peer_lacks(const struct founding *founding, node_id_t node)
{
    const struct founding_peer *peer = &founding->peers[node];

    if (!peer->heard) return true;
    return founding->options.repairing && peer->state != FOUNDING_MEMBER;
}

void founding_missing(const struct founding *founding, char *ret_text, size_t size)
{
    size_t used = 0;

    ret_text[0] = '\0';
    for (node_id_t node = 1; node <= founding->options.member_count; node++) {
        bool missing = node != founding->options.self && founding_peer_lacks(founding, node) &&
                       founding->options.members[node - 1].name[0] != '\0';
        if (!missing) continue;
        int more = snprintf(ret_text + used, size - used, "%s%s", used ? ", " : "",
                            founding->options.members[node - 1].name);
        if (more < 0 || used + (size_t)more >= size) return;
        used += (size_t)more;
    }
}
