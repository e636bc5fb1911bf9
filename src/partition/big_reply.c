/* Replies that are too big for one frame, on their way to the gateway of another node. They leave
 * in parts, so many bytes unacknowledged at a time that other frames are not held up for long,
 * and wait here meanwhile. The sum of what waits is bounded: beyond it a request whose answer is
 * big is refused as busy before it is consumed (big_reply_fits()).
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

bool big_reply_fits(const struct partition_host *host, size_t size)
{
    uint64_t limit = host->options.big_replies_bytes_max ? host->options.big_replies_bytes_max
                                                         : BIG_REPLIES_BYTES_MAX;
    return !big_reply_is(host, size) || host->big_bytes + size <= limit;
}

void big_reply_hold(struct partition_host *host, struct bytes reply)
{
    if (big_reply_is(host, reply.size)) host->big_bytes += reply.size;
}

void big_reply_let_go(struct partition_host *host, struct bytes reply)
{
    if (!big_reply_is(host, reply.size)) return;
    ASSERT(host->big_bytes >= reply.size);
    host->big_bytes -= reply.size;
}

static void bytes_free(struct big_reply *big)
{
    struct partition_host *host = big->replica->host;

    if (big->bytes == NULL) return;
    ASSERT(host->big_bytes >= big->size);
    host->big_bytes -= big->size;
    memory_free(big->bytes);
    big->bytes = NULL;
}

static void big_free(struct big_reply *big)
{
    struct partition_host *host = big->replica->host;

    bytes_free(big);
    ASSERT(host->big_unacked >= big->sent - big->acked);
    host->big_unacked -= big->sent - big->acked;
    list_remove(&big->link);
    memory_free(big);
}

static bool is_over(const struct big_reply *big, uint64_t now)
{
    return big->route != big->session->route || big->seq <= big->session->watermark ||
           now - big->moved_at > BIG_REPLY_AGE_MAX_US;
}

/* False: the window is full. */
static bool send_parts(struct big_reply *big, uint64_t now)
{
    struct partition_host *host = big->replica->host;

    while (big->sent < big->size) {
        size_t left = big->size - big->sent;
        size_t size = left < part_bytes(host) ? left : part_bytes(host);
        size_t window = BIG_UNACKED_PARTS_MAX * part_bytes(host);
        if (host->big_unacked + size > window) return false;
        bool last = size == left;
        struct bytes part = bytes_make(big->bytes + big->sent, size);
        big->sent += size;
        big->moved_at = now;
        host->big_unacked += size;
        remote_reply(big->replica, big->session, big->seq, last ? OUTCOME_REPLY : OUTCOME_PART,
                     part);
    }
    bytes_free(big);
    return true;
}

static void pump(struct partition_host *host, uint64_t now)
{
    struct list *link = host->big_replies.next;

    while (link != &host->big_replies) {
        struct big_reply *big = CONTAINER_OF(link, struct big_reply, link);
        link = link->next;
        if (is_over(big, now)) {
            big_free(big);
        } else if (!send_parts(big, now)) {
            return;
        }
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
    host->big_bytes += bytes.size;
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
                host->big_unacked -= ack.bytes - big->acked;
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
        if (big->replica == replica || big->session->gateway.node == node) big_free(big);
    }
}
