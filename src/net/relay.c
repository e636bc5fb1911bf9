#include "net/relay.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "wire/peer_frame.h"
#include "wire/relay_frame.h"
#include "world/probe.h"

_Static_assert((int)RELAY_INSIDE_SIZE_MAX == (int)TRANSPORT_FRAME_SIZE_MAX,
               "what is sent can be passed on");
_Static_assert(RELAYED_HEADER_SIZE + RELAY_INSIDE_SIZE_MAX <= (int)TRANSPORT_RELAYED_SIZE_MAX,
               "what is passed on fits");

struct way {
    node_id_t node;
    node_id_t via;           /* 0: directly, for want of better */
    uint64_t via_heard_at;   /* the node, through it; or taken */
    node_id_t offered;       /* another through whom an answer came last; 0: nobody yet */
    uint64_t offered_number; /* the round that it answered, */
    uint64_t offered_at;     /* and when */
    node_id_t asked_last;
    uint32_t workers; /* of the node; 0: not known */
    uint64_t number;  /* of the last round. It begins at the time: no answer to a former way fits */
    uint64_t direct_last;   /* the latest round that was answered directly, */
    uint64_t direct_rounds; /* and how many in a row, with it */
    uint64_t heard_at;      /* the node, in any way; or begun */
    bool waits;             /* nobody was asked yet: it may just not be connected, as at a start */
};

struct relay_whole {
    struct relay head; /* first: a struct relay * is a struct relay_whole * */
    struct relay_options options;
    struct world *world;
    struct transport *transport;
    struct way *ways[NODES_MAX + 1]; /* by node; NULL: directly */
    uint32_t way_count;
    struct map answers;           /* (node, worker): through whom it asked last */
    struct buffer frame, own_way; /* scratch */
    struct world_timer timer;
    struct relay_statistics statistics;
};

static struct relay_whole *whole_of(struct relay *relay)
{
    return (struct relay_whole *)(void *)relay;
}

static const struct way *way_of(const struct relay *relay, node_id_t node)
{
    return node <= NODES_MAX ? ((const struct relay_whole *)(const void *)relay)->ways[node] : NULL;
}

static void count_busy(struct relay_whole *relay)
{
    relay->head.busy = relay->way_count + (uint32_t)relay->answers.count;
}

/* --- sending --- */

static uint64_t answers_key(node_id_t node, uint32_t worker)
{
    return (uint64_t)node << 16 | worker;
}

static void send_through(struct relay_whole *relay, node_id_t via, node_id_t node, uint32_t worker,
                         uint8_t kind, struct bytes payload)
{
    struct relay_header header = {.node = node, .worker = (uint16_t)worker, .kind = kind};
    struct writer writer = writer_make(&relay->frame);

    buffer_clear(&relay->frame);
    relay_header_encode(&writer, &header);
    write_bytes(&writer, payload);
    ASSERT(!writer.failed);
    relay->statistics.sent++;
    transport_send(relay->transport, via, TRANSPORT_ANY_WORKER, PEER_FRAME_RELAY,
                   buffer_bytes(&relay->frame));
}

/* `via` 0: directly. */
static void send_by(struct relay_whole *relay, node_id_t via, node_id_t node, uint32_t worker,
                    uint8_t kind, struct bytes payload)
{
    if (via != 0)
        send_through(relay, via, node, worker, kind, payload);
    else
        transport_send(relay->transport, node, worker, kind, payload);
}

void relay_send_slowly(struct relay *head, node_id_t node, uint32_t worker, uint8_t kind,
                       struct bytes payload)
{
    struct relay_whole *relay = whole_of(head);
    const struct way *way = way_of(head, node);
    node_id_t via = way != NULL ? way->via : 0;

    if (kind == PEER_FRAME_REPLIES)
        via = (node_id_t)(uintptr_t)map_get(&relay->answers, answers_key(node, worker));
    if (kind == PEER_FRAME_REPLIES && PLANTED(relay->world, "relay_answers_directly")) via = 0;
    send_by(relay, via, node, worker, kind, payload);
}

static void send_way(struct relay_whole *relay, node_id_t via, node_id_t node, uint32_t worker,
                     bool answers, uint64_t number)
{
    struct way_frame way = {
        .answers = answers,
        .number = number,
        .workers = (uint16_t)transport_worker_count(relay->transport, relay->options.node)};
    struct writer writer = writer_make(&relay->own_way);

    buffer_clear(&relay->own_way);
    way_frame_encode(&writer, &way);
    send_by(relay, via, node, worker, PEER_FRAME_WAY, buffer_bytes(&relay->own_way));
}

/* --- ways --- */

static void ask_others(struct relay_whole *relay, struct way *way, uint32_t worker)
{
    uint32_t asked = 0;

    for (uint32_t i = 0; i < NODES_MAX && asked < RELAY_ASKED_MAX; i++) {
        way->asked_last = way->asked_last % NODES_MAX + 1;
        node_id_t other = way->asked_last;
        bool can = other != way->node && other != way->via && other != relay->options.node &&
                   transport_is_up(relay->transport, other);
        if (!can) continue;
        send_way(relay, other, way->node, worker, false, way->number);
        asked++;
    }
}

static bool via_is_silent(const struct way *way, uint64_t now)
{
    return way->via == 0 || now - way->via_heard_at > RELAY_SILENT_US;
}

/* One of its workers at a time: each has connections of its own. */
static void ask(struct relay_whole *relay, struct way *way)
{
    uint64_t now = world_now(relay->world);

    way->number++;
    uint32_t worker = TRANSPORT_ANY_WORKER;
    if (way->workers > 0) worker = (uint32_t)(way->number % way->workers);
    send_way(relay, 0, way->node, worker, false, way->number);
    if (way->via != 0) send_way(relay, way->via, way->node, worker, false, way->number);
    if (via_is_silent(way, now)) ask_others(relay, way, worker);
}

static void way_end(struct relay_whole *relay, struct way *way)
{
    relay->ways[way->node] = NULL;
    relay->way_count--;
    count_busy(relay);
    memory_free(way);
}

static void way_take(struct relay_whole *relay, struct way *way, node_id_t via)
{
    LOG_INFO(world_logger(relay->world), "net", "reaching node=%u through node=%u", way->node, via);
    way->via = via;
    way->via_heard_at = world_now(relay->world);
    way->offered = 0;
    relay->statistics.found++;
    SOMETIMES(relay->world, "a node was reached through another");
    relay->options.on_way(relay->options.context, way->node, true);
}

static void way_lose(struct relay_whole *relay, struct way *way)
{
    SOMETIMES(relay->world, "who was between two nodes was lost");
    way->via = 0;
    relay->options.on_way(relay->options.context, way->node, false);
}

static bool answered_directly(const struct way *way, uint64_t number)
{
    return number <= way->direct_last && way->direct_last - number < way->direct_rounds;
}

/* Another answers, and the present way does not. */
static bool offer_is_better(const struct way *way, uint64_t now)
{
    if (way->offered == 0 || now - way->offered_at > RELAY_OFFER_US) return false;
    return way->via == 0 ? !answered_directly(way, way->offered_number) : via_is_silent(way, now);
}

/* False: the way has ended. */
static bool way_review(struct relay_whole *relay, struct way *way, uint64_t now)
{
    if (way->waits && transport_is_up(relay->transport, way->node)) {
        way_end(relay, way);
        return false;
    }
    way->waits = false;
    uint32_t each = way->workers + 1; /* the first may have been any worker */

    if (way->direct_rounds >= (each > RELAY_DIRECT_ROUNDS ? each : RELAY_DIRECT_ROUNDS)) {
        if (way->via != 0) {
            SOMETIMES(relay->world, "a node is reached directly again");
            LOG_INFO(world_logger(relay->world), "net", "reaching node=%u directly again",
                     way->node);
        }
        way_end(relay, way);
        return false;
    }
    if (offer_is_better(way, now)) way_take(relay, way, way->offered);
    if (now - way->heard_at > RELAY_FORGET_US) {
        if (way->via != 0) way_lose(relay, way);
        way_end(relay, way);
        return false;
    }
    return true;
}

static void on_timer(struct world_timer *timer)
{
    struct relay_whole *relay = timer->context;
    uint64_t now = world_now(relay->world);

    for (node_id_t node = 1; node <= NODES_MAX; node++) {
        struct way *way = relay->ways[node];
        if (way != NULL && way_review(relay, way, now)) ask(relay, way);
    }
    if (relay->way_count > 0) world_timer_start(relay->world, timer, RELAY_ASK_US);
}

void relay_seek(struct relay *head, node_id_t node)
{
    struct relay_whole *relay = whole_of(head);

    if (node == 0 || node > NODES_MAX || node == relay->options.node) return;
    if (relay->ways[node] != NULL) return;
    struct way *way = memory_allocate_zero(sizeof(*way));
    way->node = node;
    way->heard_at = way->number = world_now(relay->world);
    way->asked_last = relay->options.node; /* each begins with another */
    way->waits = !transport_is_up(relay->transport, node);
    relay->ways[node] = way;
    if (relay->way_count++ == 0) world_timer_start(relay->world, &relay->timer, RELAY_ASK_US);
    count_busy(relay);
    relay->statistics.sought++;
    if (!way->waits) ask(relay, way);
}

bool relay_is_detour(const struct relay *relay, node_id_t node)
{
    if (relay == NULL || relay->busy == 0) return false;
    return way_of(relay, node) != NULL && way_of(relay, node)->via != 0;
}

bool relay_is_answered_through_another(const struct relay *relay, node_id_t node, uint32_t worker)
{
    const struct relay_whole *whole = (const struct relay_whole *)(const void *)relay;

    if (relay == NULL || relay->busy == 0) return false;
    return map_get(&whole->answers, answers_key(node, worker)) != NULL;
}

uint32_t relay_worker_count(const struct relay *relay, node_id_t node)
{
    return way_of(relay, node)->workers;
}

/* --- frames --- */

static void note_direct(struct way *way, uint64_t number)
{
    if (number <= way->direct_last) return; /* doubled, or overtaken: a gap */
    way->direct_rounds = number == way->direct_last + 1 ? way->direct_rounds + 1 : 1;
    way->direct_last = number;
}

static void note_via(struct way *way, node_id_t via, uint64_t now)
{
    way->heard_at = now;
    if (way->via == via) way->via_heard_at = now;
}

/* Whose connection only seems to be up is told by the next review, if it was wrong. */
static void way_answered(struct relay_whole *relay, const struct way_frame *answer, node_id_t node,
                         node_id_t via)
{
    struct way *way = relay->ways[node];
    uint64_t now = world_now(relay->world);
    bool fits = way != NULL && answer->number <= way->number &&
                way->number - answer->number < RELAY_ROUNDS_KEPT;

    if (!fits) return;
    if (way->workers != answer->workers) way->direct_rounds = way->direct_last = 0;
    way->workers = answer->workers;
    note_via(way, via, now);
    if (via == 0) {
        note_direct(way, answer->number);
        return;
    }
    if (way->via == via) return;
    way->offered = via;
    way->offered_number = answer->number;
    way->offered_at = now;
    if (way->via == 0 && !transport_is_up(relay->transport, node)) way_take(relay, way, via);
}

static void take_way(struct relay_whole *relay, const struct transport_peer *from, node_id_t via,
                     struct bytes payload)
{
    struct way_frame way;

    if (way_frame_decode(payload, &way) || from->node > NODES_MAX) return;
    if (way.answers)
        way_answered(relay, &way, from->node, via);
    else
        send_way(relay, via, from->node, from->worker, true, way.number);
}

static void pass_on(struct relay_whole *relay, const struct transport_peer *from,
                    struct bytes frame)
{
    struct relay_header header;
    struct bytes payload;

    if (relay_header_decode(frame, &header, &payload)) return;
    bool can = header.node != relay->options.node && header.node != from->node &&
               transport_is_up(relay->transport, header.node) &&
               transport_pending(relay->transport, header.node) <= RELAY_PENDING_MAX;
    if (!can || MAYBE(relay->world, "a frame is not passed on")) {
        relay->statistics.refused++;
        return;
    }
    struct relayed_header passed = {.node = from->node,
                                    .epoch = from->epoch,
                                    .store = from->store,
                                    .worker = (uint16_t)from->worker,
                                    .kind = header.kind};
    struct writer writer = writer_make(&relay->frame);
    buffer_clear(&relay->frame);
    relayed_header_encode(&writer, &passed);
    write_bytes(&writer, payload);
    ASSERT(!writer.failed);
    relay->statistics.passed++;
    transport_send(relay->transport, header.node, header.worker, PEER_FRAME_RELAYED,
                   buffer_bytes(&relay->frame));
}

static bool take_relayed(struct relay_whole *relay, const struct transport_peer *via,
                         struct bytes frame, struct relay_delivery *ret)
{
    struct relayed_header header;
    struct bytes payload;

    if (relayed_header_decode(frame, &header, &payload)) return false;
    if (header.node == relay->options.node || header.node == via->node) return false;
    struct transport_peer from = {
        .node = header.node, .epoch = header.epoch, .store = header.store, .worker = header.worker};
    if (header.kind == PEER_FRAME_WAY) {
        take_way(relay, &from, via->node, payload);
        return false;
    }
    if (header.kind == PEER_FRAME_REQUESTS && PLANTED(relay->world, "relay_in_own_name"))
        from = *via;
    else if (header.kind != PEER_FRAME_REPLIES &&
             header.kind != PEER_FRAME_STATUS) { /* answers go back the way questions come */
        map_put(&relay->answers, answers_key(from.node, from.worker), (void *)(uintptr_t)via->node);
        count_busy(relay);
    }
    struct way *way = relay->ways[from.node];
    if (header.kind == PEER_FRAME_REPLIES && way != NULL)
        note_via(way, via->node, world_now(relay->world));
    *ret = (struct relay_delivery){.from = from, .kind = header.kind, .payload = payload};
    return true;
}

bool relay_on_frame(struct relay *head, const struct transport_peer *from, uint8_t kind,
                    struct bytes payload, struct relay_delivery *ret)
{
    struct relay_whole *relay = whole_of(head);

    if (kind == PEER_FRAME_RELAYED) return take_relayed(relay, from, payload, ret);
    if (kind == PEER_FRAME_RELAY) pass_on(relay, from, payload);
    if (kind == PEER_FRAME_WAY) take_way(relay, from, 0, payload);
    return false;
}

void relay_came_directly_slowly(struct relay *head, const struct transport_peer *from)
{
    struct relay_whole *relay = whole_of(head);

    map_remove(&relay->answers, answers_key(from->node, from->worker));
    count_busy(relay);
}

static bool one_answers_through(const struct relay_whole *relay, node_id_t via, uint64_t *ret_key)
{
    void *value;

    for (size_t i = 0; map_next(&relay->answers, &i, ret_key, &value);)
        if ((node_id_t)(uintptr_t)value == via) return true;
    return false;
}

void relay_peer_down(struct relay *head, node_id_t node)
{
    struct relay_whole *relay = whole_of(head);
    uint64_t key;

    while (one_answers_through(relay, node, &key))
        map_remove(&relay->answers, key);
    count_busy(relay);
    for (node_id_t other = 1; other <= NODES_MAX; other++) {
        struct way *way = relay->ways[other];
        if (way == NULL) continue;
        if (way->offered == node) way->offered = 0;
        if (way->via != node) continue;
        way_lose(relay, way);
        ask(relay, way);
    }
}

/* --- life --- */

void relay_statistics(const struct relay *head, struct relay_statistics *ret)
{
    const struct relay_whole *relay = (const struct relay_whole *)(const void *)head;

    *ret = relay->statistics;
    for (node_id_t node = 1; node <= NODES_MAX; node++)
        ret->detours += relay->ways[node] != NULL && relay->ways[node]->via != 0;
}

struct relay *relay_open(const struct relay_options *options)
{
    struct relay_whole *relay = memory_allocate_zero(sizeof(*relay));

    ASSERT(options->on_way != NULL && options->node > 0 && options->node <= NODES_MAX);
    relay->options = *options;
    relay->world = options->world;
    relay->transport = options->transport;
    relay->timer = (struct world_timer){.fire = on_timer, .context = relay};
    map_init(&relay->answers);
    buffer_init(&relay->frame, TRANSPORT_RELAYED_SIZE_MAX);
    buffer_init(&relay->own_way, WAY_FRAME_SIZE);
    return &relay->head;
}

void relay_close(struct relay *head)
{
    if (head == NULL) return;
    struct relay_whole *relay = whole_of(head);

    world_timer_stop(relay->world, &relay->timer);
    for (node_id_t node = 1; node <= NODES_MAX; node++)
        memory_free(relay->ways[node]);
    map_free(&relay->answers);
    buffer_free(&relay->frame);
    buffer_free(&relay->own_way);
    memory_free(relay);
}
