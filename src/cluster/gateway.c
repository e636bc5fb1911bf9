/* One numbered stream of requests per partition (B2), one active route each (B5).
 *
 *   submit -> seq -> sent on the route (leader, its term, route number, position)
 *   NACK, timeout, broken link -> a new route: all that is unresolved again, in order
 *   reply on the present route -> resolved, once
 *   patience over -> UNKNOWN or UNAVAILABLE (B7); the seq is below the watermark from then on
 *
 * A reply of an older route is never taken: what it answers was asked again. */
#include "cluster/gateway.h"

#include "base/assert.h"
#include "base/map.h"
#include "base/memory.h"
#include "wire/peer_frame.h"
#include "wire/request_frame.h"
#include "world/probe.h"

enum {
    INFLIGHT_MAX_DEFAULT = 8192,
    RETRY_FIRST_US = 5 * 1000,
    RETRY_LAST_US = 100 * 1000,
    ROUTE_TIMEOUT_US = 400 * 1000, /* nothing heard on a route with requests open: at first, */
    ROUTE_TIMEOUT_LAST_US = 3200 * 1000, /* and after a few: the leader's disk may be slow */
    SWEEP_US = 50 * 1000,
    OUT_FLUSH_BYTES = 256 << 10,
};

struct gateway_stream {
    struct gateway *gateway;
    struct group_id group;
    uint64_t next_seq;
    uint64_t watermark; /* all seqs <= it are resolved */
    uint64_t route;
    uint32_t position;
    uint32_t replies; /* taken on this route: the next one's number */
    node_id_t target; /* 0: no route at present */
    uint64_t target_term;
    bool target_local;
    uint64_t heard_at; /* last sign of life on this route */
    uint64_t timeout;  /* a silence longer than that ends it */
    uint64_t retry_at; /* a new route is due then; 0: not */
    uint64_t retry_delay;
    uint32_t probe; /* which replica to ask next when the leader is unknown */
    /* Ring by seq over (watermark, next_seq): NULL where resolved. */
    struct gateway_request **ring;
    uint32_t capacity;
    uint32_t open; /* not NULL in the ring */
    bool active;   /* in gateway->active */
    bool routing;  /* all that is open is being sent again: new requests go in behind it */
    struct gateway_stream *next_active;
};

struct gateway_out { /* for one worker of one node */
    node_id_t node;
    uint32_t worker;
    struct buffer buffer;
    bool section_open;
    struct group_id section_group;
    uint64_t section_route;
    size_t count_at;
    struct gateway_out *next;
};

struct gateway {
    struct gateway_options options;
    struct world *world;
    struct gateway_stream **streams; /* by group */
    uint32_t stream_capacity;
    struct gateway_stream *active; /* streams with open requests */
    struct map outs;
    struct gateway_out *out_list;
    struct list by_age; /* open requests, oldest first */
    uint64_t open_bytes;
    uint32_t open;
    bool fenced, closing, sweep_runs;
    struct world_deferred turn_end;
    struct world_timer sweep_timer, retry_timer;
    uint64_t retry_timer_at;
    struct gateway_statistics statistics;
};

static void stream_route(struct gateway_stream *stream, uint64_t now);
static void retry_later(struct gateway_stream *stream, uint64_t delay, uint64_t now);

static struct gateway_request **ring_at(struct gateway_stream *stream, uint64_t seq)
{
    return &stream->ring[seq & (stream->capacity - 1)];
}

static struct gateway_stream *stream_of(struct gateway *gateway, struct group_id group)
{
    ASSERT(group.value < PARTITIONS_MAX + GROUP_DATA_FIRST);
    if (group.value >= gateway->stream_capacity) {
        uint32_t capacity = group.value + 64;
        gateway->streams = memory_resize(gateway->streams, capacity * sizeof(void *));
        memset(gateway->streams + gateway->stream_capacity, 0,
               (capacity - gateway->stream_capacity) * sizeof(void *));
        gateway->stream_capacity = capacity;
    }
    struct gateway_stream *stream = gateway->streams[group.value];
    if (stream != NULL) return stream;
    stream = memory_allocate_zero(sizeof(*stream));
    stream->gateway = gateway;
    stream->group = group;
    stream->next_seq = 1;
    /* So that no reply to an earlier life of this node can pass for one to this. */
    stream->route = (uint64_t)gateway->options.epoch << 32;
    stream->retry_delay = RETRY_FIRST_US;
    stream->timeout = ROUTE_TIMEOUT_US;
    gateway->streams[group.value] = stream;
    return stream;
}

static void ring_make_room(struct gateway_stream *stream)
{
    uint64_t span = stream->next_seq - stream->watermark; /* seqs watermark+1 .. next_seq */
    if (span < stream->capacity) return;
    uint32_t capacity = stream->capacity == 0 ? 16 : stream->capacity * 2;
    struct gateway_request **ring = memory_allocate_zero(capacity * sizeof(*ring));
    for (uint64_t seq = stream->watermark + 1; seq < stream->next_seq; seq++) {
        ring[seq & (capacity - 1)] = *ring_at(stream, seq);
    }
    memory_free(stream->ring);
    stream->ring = ring;
    stream->capacity = capacity;
}

static void watermark_advance(struct gateway_stream *stream)
{
    while (stream->watermark + 1 < stream->next_seq &&
           *ring_at(stream, stream->watermark + 1) == NULL) {
        stream->watermark++;
    }
}

/* Takes the request out of all books; its seq is resolved from now on. */
static void request_remove(struct gateway_request *request)
{
    struct gateway_stream *stream = request->stream;
    struct gateway *gateway = stream->gateway;
    ASSERT(*ring_at(stream, request->seq) == request);
    *ring_at(stream, request->seq) = NULL;
    stream->open--;
    gateway->open--;
    gateway->open_bytes -= request->size;
    list_remove(&request->by_age);
    watermark_advance(stream);
    memory_free(request->copy);
    request->copy = NULL;
    request->stream = NULL;
}

static void request_finish(struct gateway_request *request, enum gateway_outcome outcome,
                           struct bytes reply)
{
    request_remove(request);
    request->on_reply(request, outcome, reply);
}

/* --- sending --- */

static struct gateway_out *out_for(struct gateway *gateway, node_id_t node, uint32_t worker)
{
    uint64_t key = ((uint64_t)node << 16) | worker;
    struct gateway_out *out = map_get(&gateway->outs, key);
    if (out != NULL) return out;
    out = memory_allocate_zero(sizeof(*out));
    out->node = node;
    out->worker = worker;
    buffer_init(&out->buffer, TRANSPORT_FRAME_SIZE_MAX);
    out->next = gateway->out_list;
    gateway->out_list = out;
    map_put(&gateway->outs, key, out);
    return out;
}

static void out_send(struct gateway *gateway, struct gateway_out *out)
{
    out->section_open = false;
    if (buffer_size(&out->buffer) == 0) return;
    transport_send(gateway->options.transport, out->node, out->worker, PEER_FRAME_REQUESTS,
                   buffer_bytes(&out->buffer));
    buffer_clear(&out->buffer);
}

static void turn_end(struct world_deferred *deferred)
{
    struct gateway *gateway = deferred->context;
    for (struct gateway_out *out = gateway->out_list; out != NULL; out = out->next) {
        out_send(gateway, out);
    }
}

static uint32_t remote_worker(struct gateway *gateway, node_id_t node, struct group_id group)
{
    uint32_t workers = transport_worker_count(gateway->options.transport, node);
    return group_worker(group, gateway->options.store_count, workers);
}

static void send_remote(struct gateway_stream *stream, struct gateway_request *request)
{
    struct gateway *gateway = stream->gateway;
    uint32_t worker = remote_worker(gateway, stream->target, stream->group);
    struct gateway_out *out = out_for(gateway, stream->target, worker);
    if (buffer_size(&out->buffer) + request->size > OUT_FLUSH_BYTES) out_send(gateway, out);
    struct writer writer = writer_make(&out->buffer);
    uint8_t *count_at = out->section_open ? out->buffer.memory + out->count_at : NULL;
    bool same = out->section_open && out->section_group.value == stream->group.value &&
                out->section_route == stream->route && load_u16(count_at) < REQUEST_FRAME_COUNT_MAX;
    if (!same) {
        struct request_section section = {
            .group = stream->group,
            .term = stream->target_term,
            .route = stream->route,
            .watermark = stream->watermark,
            .position = stream->position,
            .patience_ms = (uint32_t)(gateway->options.patience / 1000),
        };
        request_section_encode(&writer, &section);
        out->section_open = true;
        out->section_group = stream->group;
        out->section_route = stream->route;
        out->count_at = out->buffer.end - 2;
    }
    const uint8_t *body = request->copy != NULL ? request->copy : request->body.data;
    struct request_item item = {.seq = request->seq,
                                .service = request->service,
                                .write = request->write,
                                .ordered = request->ordered,
                                .slot = request->slot,
                                .body = bytes_make(body, request->size)};
    request_item_encode(&writer, &item);
    ASSERT(!writer.failed);
    count_at = out->buffer.memory + out->count_at;
    store_u16(count_at, (uint16_t)(load_u16(count_at) + 1));
    stream->position++;
    request->sent_ever |= stream->target_term != 0; /* a guess is refused by everybody */
    gateway->statistics.forwarded++;
    world_defer(gateway->world, &gateway->turn_end);
}

/* May answer, or NACK, before it returns. */
static void send_local(struct gateway_stream *stream, struct gateway_request *request, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    const uint8_t *body = request->copy != NULL ? request->copy : request->body.data;
    struct host_request local = {
        .gateway = {.node = gateway->options.node,
                    .epoch = gateway->options.epoch,
                    .worker = (uint16_t)world_worker(gateway->world)},
        .route = stream->route,
        .position = stream->position++,
        .term = stream->target_term,
        .watermark = stream->watermark,
        .seq = request->seq,
        .write = request->write,
        .ordered = request->ordered,
        .service = request->service,
        .slot = request->slot,
        .body = bytes_make(body, request->size),
    };
    request->sent_ever = true;
    gateway->statistics.local++;
    if (!host_request_local(gateway->options.host, stream->group, &local, now)) {
        retry_later(stream, RETRY_FIRST_US, now);
    }
}

static void copy_body(struct gateway_request *request)
{
    if (request->copy != NULL || request->size == 0) return;
    request->copy = memory_allocate(request->size);
    memcpy(request->copy, request->body.data, request->size);
}

/* --- routes --- */

static void route_end(struct gateway_stream *stream)
{
    stream->target = 0;
}

static void retry_timer_arm(struct gateway *gateway, uint64_t at, uint64_t now)
{
    if (gateway->retry_timer_at != 0 && gateway->retry_timer_at <= at) return;
    gateway->retry_timer_at = at;
    world_timer_start(gateway->world, &gateway->retry_timer, at > now ? at - now : 0);
}

static void retry_later(struct gateway_stream *stream, uint64_t delay, uint64_t now)
{
    route_end(stream);
    stream->retry_at = now + delay;
    retry_timer_arm(stream->gateway, stream->retry_at, now);
}

static void retry_backed_off(struct gateway_stream *stream, uint64_t now)
{
    uint64_t delay = stream->retry_delay;
    stream->retry_delay = delay * 2 < RETRY_LAST_US ? delay * 2 : RETRY_LAST_US;
    retry_later(stream, delay, now);
}

/* The leader by what is known, else any replica that is up, in turn: its NACK has a hint. */
static bool choose_target(struct gateway_stream *stream)
{
    struct gateway *gateway = stream->gateway;
    const struct cluster_view *view = gateway->options.view;
    uint64_t led = host_leads(gateway->options.host, stream->group);
    stream->target_local = led != 0;
    if (led != 0) {
        stream->target = gateway->options.node;
        stream->target_term = led;
        return true;
    }
    if (stream->group.value >= view->group_count) return false;
    const struct view_group *group = &view->groups[stream->group.value];
    bool known = group->leader != 0 && (group->leader == gateway->options.node ||
                                        transport_is_up(gateway->options.transport, group->leader));
    if (known) {
        stream->target = group->leader;
        stream->target_term = group->leader_term;
        return true;
    }
    for (uint32_t i = 0; i < group->replica_count; i++) {
        node_id_t node = group->replicas[stream->probe++ % group->replica_count].node;
        if (node == gateway->options.node) continue;
        if (!transport_is_up(gateway->options.transport, node)) continue;
        stream->target = node;
        stream->target_term = 0;
        return true;
    }
    return false;
}

/* Everything unresolved, in order; also what the answers meanwhile bring to be submitted. */
static void send_open(struct gateway_stream *stream, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    uint64_t route = stream->route;
    for (uint64_t seq = stream->watermark + 1; seq < stream->next_seq; seq++) {
        struct gateway_request *request = seq > stream->watermark ? *ring_at(stream, seq) : NULL;
        if (request == NULL) continue;
        copy_body(request);
        if (request->sent_ever) gateway->statistics.resent++;
        if (stream->target_local) {
            send_local(stream, request, now);
        } else {
            send_remote(stream, request);
        }
        /* A NACK may have ended the route. To find the leader, one request is enough. */
        if (stream->route != route || stream->target == 0 || stream->target_term == 0) return;
    }
}

/* A new route: everything unresolved again, under the next number. */
static void stream_route(struct gateway_stream *stream, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    stream->retry_at = 0;
    if (stream->open == 0 || gateway->fenced) {
        route_end(stream);
        return;
    }
    if (!choose_target(stream)) {
        retry_backed_off(stream, now);
        return;
    }
    stream->route++;
    stream->position = 0;
    stream->replies = 0;
    stream->heard_at = now;
    stream->routing = true;
    send_open(stream, now);
    stream->routing = false;
}

static void on_retry(struct world_timer *timer)
{
    struct gateway *gateway = timer->context;
    uint64_t now = world_now(gateway->world);
    uint64_t next = 0;
    gateway->retry_timer_at = 0;
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        if (stream->retry_at == 0) continue;
        if (stream->retry_at <= now) stream_route(stream, now);
        bool sooner = stream->retry_at != 0 && (next == 0 || stream->retry_at < next);
        if (sooner) next = stream->retry_at;
    }
    if (next != 0) retry_timer_arm(gateway, next, now);
}

/* --- patience and silence --- */

static void give_up(struct gateway_request *request)
{
    struct gateway *gateway = request->stream->gateway;
    bool unknown = request->write && request->sent_ever;
    if (unknown) {
        gateway->statistics.unknown++;
        SOMETIMES(gateway->world, "an outcome stayed unknown");
    } else {
        gateway->statistics.unavailable++;
    }
    request_finish(request, unknown ? GATEWAY_UNKNOWN : GATEWAY_UNAVAILABLE, bytes_make(NULL, 0));
}

static void drop_idle_streams(struct gateway *gateway)
{
    struct gateway_stream **at = &gateway->active;
    while (*at != NULL) {
        struct gateway_stream *stream = *at;
        if (stream->open > 0) {
            at = &stream->next_active;
            continue;
        }
        *at = stream->next_active;
        stream->active = false;
        stream->retry_at = 0;
    }
}

static void on_sweep(struct world_timer *timer)
{
    struct gateway *gateway = timer->context;
    uint64_t now = world_now(gateway->world);
    gateway->sweep_runs = false;
    while (!list_empty(&gateway->by_age)) {
        struct gateway_request *oldest =
            CONTAINER_OF(gateway->by_age.next, struct gateway_request, by_age);
        if (now - oldest->arrived < gateway->options.patience) break;
        give_up(oldest);
    }
    drop_idle_streams(gateway);
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        bool silent = stream->target != 0 && !stream->target_local &&
                      now - stream->heard_at > stream->timeout;
        if (!silent) continue;
        SOMETIMES(gateway->world, "a route timed out");
        stream->timeout *= 2;
        if (stream->timeout > ROUTE_TIMEOUT_LAST_US) stream->timeout = ROUTE_TIMEOUT_LAST_US;
        stream_route(stream, now);
    }
    if (gateway->open > 0) {
        gateway->sweep_runs = true;
        world_timer_start(gateway->world, timer, SWEEP_US);
    }
}

/* --- submit --- */

static void refuse(struct gateway_request *request, enum gateway_outcome outcome)
{
    request->stream = NULL;
    request->copy = NULL;
    request->on_reply(request, outcome, bytes_make(NULL, 0));
}

static bool over_limit(const struct gateway *gateway, const struct gateway_stream *stream,
                       const struct gateway_request *request)
{
    return stream->next_seq - stream->watermark > gateway->options.inflight_max ||
           gateway->open_bytes + request->body.size > gateway->options.inflight_bytes_max;
}

static void enlist(struct gateway_stream *stream, struct gateway_request *request, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    ring_make_room(stream);
    request->stream = stream;
    request->seq = stream->next_seq++;
    request->arrived = now;
    request->copy = NULL;
    request->size = (uint32_t)request->body.size;
    request->sent_ever = false;
    *ring_at(stream, request->seq) = request;
    stream->open++;
    gateway->open++;
    gateway->open_bytes += request->size;
    list_insert_before(&gateway->by_age, &request->by_age);
    if (!stream->active) {
        stream->active = true;
        stream->retry_at = 0; /* only active streams are retried */
        stream->next_active = gateway->active;
        gateway->active = stream;
    }
    if (!gateway->sweep_runs) {
        gateway->sweep_runs = true;
        world_timer_start(gateway->world, &gateway->sweep_timer, SWEEP_US);
    }
}

/* The route leads to where it did: leader and term are still what is known. */
static bool route_is_good(const struct gateway_stream *stream)
{
    if (stream->target == 0) return false;
    if (!stream->target_local) return true;
    return host_leads(stream->gateway->options.host, stream->group) == stream->target_term;
}

static void send_new(struct gateway_stream *stream, struct gateway_request *request, uint64_t now)
{
    if (!route_is_good(stream)) {
        if (stream->retry_at == 0) stream_route(stream, now);
    } else if (stream->target_local) {
        send_local(stream, request, now);
    } else {
        if (stream->open == 1) stream->heard_at = now; /* silence counts from here */
        send_remote(stream, request);
    }
}

void gateway_submit(struct gateway *gateway, struct gateway_request *request)
{
    uint64_t now = world_now(gateway->world); /* after the bytes were read (A3) */
    struct group_id group = cluster_view_group_of_slot(gateway->options.view, request->slot);
    struct gateway_stream *stream = stream_of(gateway, group);
    gateway->statistics.requests++;
    if (gateway->fenced || gateway->closing) {
        refuse(request, GATEWAY_UNAVAILABLE);
        return;
    }
    if (over_limit(gateway, stream, request)) {
        gateway->statistics.busy++;
        refuse(request, GATEWAY_BUSY);
        return;
    }
    enlist(stream, request, now);
    uint64_t seq = request->seq;
    /* Inside on_reply while the stream is sent again: what was there before goes first. */
    if (!stream->routing) send_new(stream, request, now);
    /* Still unresolved: the body is needed for as long as it may have to be sent again. The
     * request may be gone, or be another one by now: look it up by its seq. */
    bool unresolved = seq > stream->watermark && *ring_at(stream, seq) == request;
    if (unresolved) copy_body(request);
}

void gateway_forget(struct gateway *gateway, struct gateway_request *request)
{
    (void)gateway;
    if (request->stream != NULL) request_remove(request);
}

/* --- answers --- */

static struct gateway_request *find_request(struct gateway_stream *stream, uint64_t seq)
{
    bool open = seq > stream->watermark && seq < stream->next_seq;
    return open ? *ring_at(stream, seq) : NULL;
}

static void take_reply(struct gateway_stream *stream, uint64_t seq, uint8_t outcome,
                       struct bytes bytes)
{
    struct gateway_request *request = find_request(stream, seq);
    if (request == NULL) return;
    stream->retry_delay = RETRY_FIRST_US;
    switch (outcome) {
    case OUTCOME_REPLY:
        request_finish(request, GATEWAY_REPLY, bytes);
        return;
    case OUTCOME_BUSY:
        stream->gateway->statistics.busy++;
        request_finish(request, GATEWAY_BUSY, bytes);
        return;
    case OUTCOME_TOO_BIG:
        request_finish(request, GATEWAY_TOO_BIG, bytes);
        return;
    default: /* OUTCOME_STALE: only for seqs given up before, which are not found here */
        request_finish(request, GATEWAY_UNKNOWN, bytes);
        return;
    }
}

static void take_nack(struct gateway_stream *stream, uint8_t code, node_id_t leader,
                      uint64_t leader_term, uint64_t now)
{
    struct gateway *gateway = stream->gateway;
    struct cluster_view *view = gateway->options.view;
    if (code == NACK_FENCED) {
        bool told = gateway->fenced;
        gateway->fenced = true;
        route_end(stream);
        if (!told && gateway->options.on_fenced != NULL) {
            gateway->options.on_fenced(gateway->options.context);
        }
        return;
    }
    if (stream->open == 0) { /* a late one: nothing to send again, the next request routes */
        route_end(stream);
        return;
    }
    bool news = false;
    if (stream->group.value < view->group_count && leader != 0) {
        struct view_group *group = &view->groups[stream->group.value];
        bool stale = leader_term < group->leader_term;
        if (!stale) {
            group->leader = leader;
            group->leader_term = leader_term;
        }
        /* Only somebody else to ask, whom we can ask, is worth asking at once: a follower that
         * hears a leader which we do not hear names it again and again. */
        bool other = leader != stream->target || leader_term != stream->target_term;
        news = !stale && other &&
               (leader == gateway->options.node ||
                transport_is_up(gateway->options.transport, leader));
    } else if (stream->group.value < view->group_count && code == NACK_NOT_LEADER) {
        struct view_group *group = &view->groups[stream->group.value];
        if (group->leader == stream->target) group->leader = 0;
    }
    if (news && (code == NACK_NOT_LEADER || code == NACK_WRONG_TERM)) {
        retry_later(stream, 0, now);
    } else {
        retry_backed_off(stream, now);
    }
}

static void on_local_reply(void *context, struct group_id group, uint64_t route, uint64_t seq,
                           uint8_t outcome, struct bytes bytes)
{
    struct gateway *gateway = context;
    struct gateway_stream *stream = stream_of(gateway, group);
    if (stream->route == route) take_reply(stream, seq, outcome, bytes);
}

static void on_local_nack(void *context, struct group_id group, uint64_t route, uint8_t code,
                          node_id_t leader, uint64_t leader_term)
{
    struct gateway *gateway = context;
    struct gateway_stream *stream = stream_of(gateway, group);
    if (stream->route != route || stream->target == 0) return;
    take_nack(stream, code, leader, leader_term, world_now(gateway->world));
}

static bool take_section(struct gateway *gateway, const struct transport_peer *from,
                         const struct reply_section *section, struct reader *reader, uint64_t now)
{
    if (section->group.value >= PARTITIONS_MAX + GROUP_DATA_FIRST) return false;
    struct gateway_stream *stream = stream_of(gateway, section->group);
    bool current = stream->route == section->route && stream->target == from->node;
    if (current) {
        stream->heard_at = now;
        stream->timeout = ROUTE_TIMEOUT_US;
    }
    if (section->code != REPLY_CODE_REPLIES) {
        if (current) {
            take_nack(stream, section->code, section->leader, section->leader_term, now);
        }
        return true;
    }
    /* Replies of a route are taken in the order they were given, without a gap: one that was
     * lost is asked again, and so must be all behind it. */
    bool gap = current && section->number > stream->replies;
    for (uint32_t i = 0; i < section->count; i++) {
        struct reply_item item;
        if (reply_item_decode(reader, &item)) return false;
        current = stream->route == section->route && stream->target == from->node;
        if (!current || gap || section->number + i < stream->replies) continue;
        stream->replies++;
        take_reply(stream, item.seq, item.outcome, item.bytes);
    }
    if (gap) {
        SOMETIMES(gateway->world, "a gap in the replies of a route");
        retry_later(stream, 0, now);
    }
    return true;
}

void gateway_on_frame(struct gateway *gateway, const struct transport_peer *from,
                      struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct reply_section section;
    uint64_t now = world_now(gateway->world);
    while (reply_section_decode(&reader, &section) == STATUS_OK) {
        if (!take_section(gateway, from, &section, &reader, now)) return;
    }
}

/* --- news --- */

void gateway_peer_down(struct gateway *gateway, node_id_t node)
{
    uint64_t now = world_now(gateway->world);
    struct cluster_view *view = gateway->options.view;
    for (uint32_t i = 0; i < view->group_count; i++) {
        if (view->groups[i].leader == node) view->groups[i].leader = 0;
    }
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        if (stream->target == node) retry_later(stream, RETRY_FIRST_US, now);
    }
}

void gateway_leader_changed(struct gateway *gateway, struct group_id group)
{
    if (group.value >= gateway->stream_capacity) return;
    struct gateway_stream *stream = gateway->streams[group.value];
    if (stream == NULL || stream->open == 0) return;
    const struct view_group *known = &gateway->options.view->groups[group.value];
    bool same = stream->target == known->leader && stream->target_term == known->leader_term;
    if (same || known->leader == 0) return;
    retry_later(stream, 0, world_now(gateway->world));
}

void gateway_view_changed(struct gateway *gateway)
{
    uint64_t now = world_now(gateway->world);
    for (struct gateway_stream *stream = gateway->active; stream != NULL;
         stream = stream->next_active) {
        if (stream->target == 0 && stream->open > 0) retry_later(stream, 0, now);
    }
}

uint32_t gateway_pending(const struct gateway *gateway)
{
    return gateway->open;
}

bool gateway_is_fenced(const struct gateway *gateway)
{
    return gateway->fenced;
}

void gateway_statistics(const struct gateway *gateway, struct gateway_statistics *ret)
{
    *ret = gateway->statistics;
}

struct gateway *gateway_open(const struct gateway_options *options)
{
    struct gateway *gateway = memory_allocate_zero(sizeof(*gateway));
    gateway->options = *options;
    gateway->world = options->world;
    if (gateway->options.inflight_max == 0) gateway->options.inflight_max = INFLIGHT_MAX_DEFAULT;
    ASSERT(gateway->options.inflight_max < UINT16_MAX && options->store_count > 0);
    map_init(&gateway->outs);
    list_init(&gateway->by_age);
    gateway->turn_end = (struct world_deferred){.run = turn_end, .context = gateway};
    gateway->sweep_timer = (struct world_timer){.fire = on_sweep, .context = gateway};
    gateway->retry_timer = (struct world_timer){.fire = on_retry, .context = gateway};
    struct host_gateway local = {
        .context = gateway, .on_reply = on_local_reply, .on_nack = on_local_nack};
    host_set_gateway(options->host, &local);
    return gateway;
}

void gateway_close(struct gateway *gateway)
{
    if (gateway == NULL) return;
    gateway->closing = true;
    struct host_gateway none = {0};
    host_set_gateway(gateway->options.host, &none);
    while (!list_empty(&gateway->by_age)) {
        give_up(CONTAINER_OF(gateway->by_age.next, struct gateway_request, by_age));
    }
    world_timer_stop(gateway->world, &gateway->sweep_timer);
    world_timer_stop(gateway->world, &gateway->retry_timer);
    while (gateway->out_list != NULL) {
        struct gateway_out *out = gateway->out_list;
        gateway->out_list = out->next;
        buffer_free(&out->buffer);
        memory_free(out);
    }
    map_free(&gateway->outs);
    for (uint32_t i = 0; i < gateway->stream_capacity; i++) {
        if (gateway->streams[i] == NULL) continue;
        memory_free(gateway->streams[i]->ring);
        memory_free(gateway->streams[i]);
    }
    memory_free(gateway->streams);
    memory_free(gateway);
}
