/* Replies that are too big for one frame, on their way to the gateway of another node. They leave
 * in parts, so many bytes unacknowledged at a time that other frames are not held up for long,
 * and wait here meanwhile. The sum of what waits is bounded: beyond it a request whose answer is
 * big is refused as busy before it is consumed (big_reply_fits()).
 *
 * Each gateway has a window of its own, and one that has replies waiting may not have more of them
 * than it leaves room for: so one that takes nothing, or asks for very much, never has more than
 * half of the room, unless by a single reply, and never anything of the others' windows.
 *
 * Parts are numbered like replies: a lost one ends the route, and what was unresolved is asked
 * again. What nobody acknowledges any more goes with its route, its node, or its age. */
#include "partition/host_internal.h"

struct big_reply {
    struct list link;
    struct replica *replica;
    struct session *session;
    uint64_t route, seq;
    uint8_t *bytes; /* NULL: all were sent */
    size_t size, sent, acked;
    uint64_t moved_at; /* last sent or acknowledged */
};

static size_t part_bytes(const struct partition_host *host)
{
    return host->options.reply_part_bytes ? host->options.reply_part_bytes : REPLY_PART_BYTES;
}

bool big_reply_is(const struct partition_host *host, size_t size)
{
    return size > part_bytes(host);
}

static uint64_t bytes_limit(const struct partition_host *host)
{
    uint64_t limit = host->options.big_replies_bytes_max;
    return limit ? limit : BIG_REPLIES_BYTES_MAX;
}

static struct peer_out *peer_of(struct partition_host *host, const struct session *session)
{
    return host_peer_out(host, session->gateway.node, session->gateway.worker);
}

bool big_reply_fits(struct partition_host *host, const struct session *session, size_t size)
{
    if (!big_reply_is(host, size)) return true;
    if (host->big_bytes + size > bytes_limit(host)) return false;
    uint64_t own = peer_of(host, session)->big_bytes;
    uint64_t left = bytes_limit(host) - host->big_bytes - size;
    return own == 0 || own + size <= left;
}

static void count_bytes(struct partition_host *host, const struct session *session, size_t size)
{
    host->big_bytes += size;
    peer_of(host, session)->big_bytes += size;
}

static void uncount_bytes(struct partition_host *host, const struct session *session, size_t size)
{
    struct peer_out *peer = peer_of(host, session);

    ASSERT(host->big_bytes >= size && peer->big_bytes >= size);
    host->big_bytes -= size;
    peer->big_bytes -= size;
}

void big_reply_hold(struct partition_host *host, const struct session *session, struct bytes reply)
{
    if (big_reply_is(host, reply.size)) count_bytes(host, session, reply.size);
}

void big_reply_let_go(struct partition_host *host, const struct session *session,
                      struct bytes reply)
{
    if (big_reply_is(host, reply.size)) uncount_bytes(host, session, reply.size);
}

static void bytes_free(struct big_reply *big)
{
    struct partition_host *host = big->replica->host;

    if (big->bytes == NULL) return;
    uncount_bytes(host, big->session, big->size);
    memory_free(big->bytes);
    big->bytes = NULL;
}

static void note_acked(struct partition_host *host, struct big_reply *big, size_t size)
{
    struct peer_out *peer = peer_of(host, big->session);

    ASSERT(host->big_unacked >= size && peer->big_unacked >= size);
    host->big_unacked -= size;
    peer->big_unacked -= size;
}

static void big_free(struct big_reply *big)
{
    struct partition_host *host = big->replica->host;

    bytes_free(big);
    note_acked(host, big, big->sent - big->acked);
    list_remove(&big->link);
    memory_free(big);
}

static bool is_over(const struct big_reply *big, uint64_t now)
{
    return big->route != big->session->route || big->seq <= big->session->watermark ||
           now - big->moved_at > BIG_REPLY_AGE_MAX_US;
}

static bool window_has_room(const struct partition_host *host, const struct peer_out *peer,
                            size_t size)
{
    size_t one = BIG_UNACKED_PARTS_MAX * part_bytes(host);
    size_t all = BIG_UNACKED_ALL_PARTS_MAX * part_bytes(host);

    if (peer->big_unacked == 0) return true; /* whatever others do */
    return peer->big_unacked + size <= one && host->big_unacked + size <= all;
}

/* As far as the window goes. */
static void send_parts(struct big_reply *big, uint64_t now)
{
    struct partition_host *host = big->replica->host;
    struct peer_out *peer = peer_of(host, big->session);

    while (big->sent < big->size) {
        size_t left = big->size - big->sent;
        size_t size = left < part_bytes(host) ? left : part_bytes(host);
        if (!window_has_room(host, peer, size)) return;
        bool last = size == left;
        struct bytes part = bytes_make(big->bytes + big->sent, size);
        big->sent += size;
        big->moved_at = now;
        host->big_unacked += size;
        peer->big_unacked += size;
        remote_reply(big->replica, big->session, big->seq, last ? OUTCOME_REPLY : OUTCOME_PART,
                     part);
    }
    bytes_free(big);
}

static void pump(struct partition_host *host, uint64_t now)
{
    struct list *link = host->big_replies.next;

    while (link != &host->big_replies) {
        struct big_reply *big = CONTAINER_OF(link, struct big_reply, link);
        link = link->next;
        if (is_over(big, now))
            big_free(big);
        else
            send_parts(big, now);
    }
}

void big_reply_send(struct replica *replica, struct session *session, uint64_t seq,
                    struct bytes bytes)
{
    struct partition_host *host = replica->host;
    uint64_t now = world_now(host->world);
    struct big_reply *big = memory_allocate_zero(sizeof(*big));

    *big = (struct big_reply){.replica = replica,
                              .session = session,
                              .route = session->route,
                              .seq = seq,
                              .bytes = memory_allocate(bytes.size),
                              .size = bytes.size,
                              .moved_at = now};
    memcpy(big->bytes, bytes.data, bytes.size);
    count_bytes(host, session, bytes.size);
    host->statistics.big_replies++;
    list_insert_before(&host->big_replies, &big->link);
    SOMETIMES(host->world, "a reply left in parts");
    pump(host, now);
}

/* PEER_FRAME_REPLY_ACKS. */
void big_reply_on_acks(struct partition_host *host, const struct transport_peer *from,
                       struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct part_ack ack;
    uint64_t now = world_now(host->world);

    while (part_ack_decode(&reader, &ack) == STATUS_OK) {
        struct list *link = host->big_replies.next;
        for (; link != &host->big_replies; link = link->next) {
            struct big_reply *big = CONTAINER_OF(link, struct big_reply, link);
            const struct gateway_id *gateway = &big->session->gateway;
            bool same = big->replica->group.value == ack.group.value && big->seq == ack.seq &&
                        big->route == ack.route && gateway->node == from->node &&
                        gateway->worker == from->worker && gateway->epoch == from->epoch;
            if (!same) continue;
            if (ack.bytes <= big->sent && ack.bytes > big->acked) {
                note_acked(host, big, ack.bytes - big->acked);
                big->acked = ack.bytes;
                big->moved_at = now;
            }
            if (big->acked == big->size) big_free(big);
            break;
        }
    }
    pump(host, now);
}

void big_reply_tick(struct partition_host *host, uint64_t now)
{
    if (!list_empty(&host->big_replies)) pump(host, now);
}

void big_replies_drop(struct partition_host *host, const struct replica *replica, node_id_t node)
{
    struct list *link = host->big_replies.next;

    while (link != &host->big_replies) {
        struct big_reply *big = CONTAINER_OF(link, struct big_reply, link);
        link = link->next;
        const struct gateway_id *gateway = &big->session->gateway;
        /* Its link may be cut for long, and only be given up now. */
        bool gone = gateway->node == node &&
                    !relay_is_answered_through_another(host->options.relay, node, gateway->worker);
        if (big->replica == replica || gone) big_free(big);
    }
}
