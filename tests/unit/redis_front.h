/* redis_front.h - the Redis front-end with a gateway that the test plays, in a world that it plays:
 * requests wait until the test answers them. */
#ifndef HOLON_TESTS_UNIT_REDIS_FRONT_H
#define HOLON_TESTS_UNIT_REDIS_FRONT_H

#include "play_world.h"

#include <stdlib.h>

#include "base/hash.h"
#include "services/redis/command.h"
#include "services/redis/redis_service.h"
#include "services/redis/request_body.h"
#include "txn/txn.h"
#include "txn/txn_cut.h"
#include "wire/resp.h"

enum { REQUESTS_MAX = 8192, PARTITIONS = 4, BYTES_MAX = 40 << 20 };

struct fixture {
    struct play play;
    struct cluster_view view;
    struct redis_service *service;
    struct txn_cuts *cuts; /* the true coordinator, over the gateway below */
    /* The gateway: */
    struct gateway_request *requests[REQUESTS_MAX]; /* in order; NULL when answered */
    char *bodies[REQUESTS_MAX];
    size_t body_sizes[REQUESTS_MAX];
    size_t request_count, open_count, forgotten;
    bool at_once;             /* answers inside gateway_submit() */
    uint32_t stale_joined[8]; /* bounds of connections that read stale; 0: free */
    void (*on_submit)(struct fixture *fixture, size_t index); /* answers inside gateway_submit() */
    /* The coordinator of transactions: */
    struct txn_request *txn; /* open; one at a time for each connection, and the tests have one */
    uint32_t txn_count, txns_forgotten;
    void (*on_txn)(struct fixture *fixture, struct txn_request *request); /* inside txn_run() */
    void *whole;                                                          /* redis_whole.h */
    /* Other workers of the node: */
    struct redis_question *question; /* the last one asked */
    uint32_t questions;
};

static inline void fixture_ask(void *context, struct redis_question *question)
{
    struct fixture *fixture = context;

    fixture->question = question;
    fixture->questions++;
}

/* --- a gateway ------------------------------------------------------------------------------- */

static inline struct redis_body body_of(const struct fixture *fixture, size_t index,
                                        struct arena *arena)
{
    struct redis_body body;
    struct bytes bytes = bytes_make(fixture->bodies[index], fixture->body_sizes[index]);
    assert_int_equal(redis_body_decode(bytes, arena, &body), STATUS_OK);
    return body;
}

static inline void answer(struct fixture *fixture, size_t index, enum gateway_outcome outcome,
                          const char *reply)
{
    struct gateway_request *request = fixture->requests[index];

    assert_non_null(request);
    fixture->requests[index] = NULL;
    fixture->open_count--;
    request->on_reply(request, outcome, bytes_of(reply));
}

/* What a partition would say: its own number for DBSIZE, the keys for MGET, ... */
static inline void answer_truly(struct fixture *fixture, size_t index)
{
    struct arena arena;
    struct buffer buffer;
    char number[16];

    arena_init(&arena, 1 << 16);
    buffer_init(&buffer, 1 << 20);
    struct redis_body body = body_of(fixture, index, &arena);
    struct resp_writer out = resp_writer_make(&buffer, body.flags & REDIS_BODY_RESP3);
    switch (body.command) {
    case REDIS_DBSIZE:
        resp_write_integer(&out, 1 + fixture->view.slot_partition[fixture->requests[index]->slot]);
        break;
    case REDIS_KEYSPACE: /* a key in database 0 and two expiring ones in 3, of each partition */
        resp_write_array(&out, 2 * REDIS_DATABASES);
        for (unsigned i = 0; i < REDIS_DATABASES; i++) {
            resp_write_integer(&out, i == 0 ? 1 : i == 3 ? 2 : 0);
            resp_write_integer(&out, i == 3 ? 2 : 0);
        }
        break;
    case REDIS_MGET:
        resp_write_array(&out, body.count);
        for (uint32_t i = 0; i < body.count; i++)
            resp_write_bulk(&out, body.arguments[i]);
        break;
    case REDIS_EXISTS:
        resp_write_integer(&out, body.count);
        break;
    case REDIS_SCAN: { /* two calls for each partition, a key each */
        uint64_t cursor = strtoull((const char *)body.arguments[0].data, NULL, 10);
        bool again = (cursor & 1) == 0;
        uint16_t slot = fixture->requests[index]->slot;
        uint64_t next = (uint64_t)(slot + SLOT_COUNT / PARTITIONS) << 48;
        if (slot + SLOT_COUNT / PARTITIONS >= SLOT_COUNT) next = 0;
        resp_write_array(&out, 2);
        resp_write_bulk_u64(&out, again ? cursor + 1 : next);
        resp_write_array(&out, 1);
        snprintf(number, sizeof(number), "%u%c", slot, again ? 'a' : 'b');
        resp_write_bulk_text(&out, number);
        break;
    }
    case REDIS_GET:
        resp_write_bulk(&out, body.arguments[0]);
        break;
    default:
        resp_write_simple(&out, "OK");
        break;
    }
    buffer_append(&buffer, bytes_make("", 1));
    char *reply = strdup((const char *)buffer_bytes(&buffer).data);
    buffer_free(&buffer);
    arena_free(&arena);
    answer(fixture, index, GATEWAY_REPLY, reply);
    free(reply);
}

/* The test is the gateway: these take the place of cluster/gateway.c. */
void gateway_submit(struct gateway *gateway, struct gateway_request *request)
{
    struct fixture *fixture = (struct fixture *)gateway;
    size_t index = fixture->request_count++;

    assert_true(index < REQUESTS_MAX);
    fixture->requests[index] = request;
    fixture->open_count++;
    fixture->bodies[index] = malloc(request->body.size);
    fixture->body_sizes[index] = request->body.size;
    memcpy(fixture->bodies[index], request->body.data, request->body.size);
    if (fixture->at_once) answer_truly(fixture, index);
    if (fixture->on_submit) fixture->on_submit(fixture, index);
}

/* And these that of txn/txn_coordinator.c. */
void txn_run(struct txn_worker *worker, struct txn_request *request)
{
    struct fixture *fixture = (struct fixture *)worker;

    assert_null(fixture->txn);
    fixture->txn = request;
    fixture->txn_count++;
    if (fixture->on_txn) fixture->on_txn(fixture, request);
}

void txn_forget(struct txn_worker *worker, struct txn_request *request)
{
    struct fixture *fixture = (struct fixture *)worker;

    assert_ptr_equal(fixture->txn, request);
    fixture->txn = NULL;
    fixture->txns_forgotten++;
}

static inline void txn_answer(struct fixture *fixture, enum txn_result result,
                              const struct txn_piece *refused)
{
    struct txn_request *request = fixture->txn;

    assert_non_null(request);
    fixture->txn = NULL;
    request->on_done(request, result, refused);
}

void gateway_forget(struct gateway *gateway, struct gateway_request *request)
{
    struct fixture *fixture = (struct fixture *)gateway;

    for (size_t i = 0; i < fixture->request_count; i++) {
        if (fixture->requests[i] != request) continue;
        fixture->requests[i] = NULL;
        fixture->open_count--;
        fixture->forgotten++;
        return;
    }
    fail_msg("an unknown request was forgotten");
}

static inline void stale_replace(struct fixture *fixture, uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < 8; i++) {
        if (fixture->stale_joined[i] != from) continue;
        fixture->stale_joined[i] = to;
        return;
    }
    fail_msg("nobody with that bound");
}

void gateway_stale_join(struct gateway *gateway, uint32_t stale_ms)
{
    stale_replace((struct fixture *)gateway, 0, stale_ms);
}

void gateway_stale_leave(struct gateway *gateway, uint32_t stale_ms)
{
    stale_replace((struct fixture *)gateway, stale_ms, 0);
}

/* --- the fixture ------------------------------------------------------------------------------ */

static inline void view_fill(struct cluster_view *view)
{
    view->partition_count = PARTITIONS;
    view->group_count = GROUP_DATA_FIRST + PARTITIONS;
    view->groups = calloc(view->group_count, sizeof(view->groups[0]));
    view->self = 1;
    view->node_count = 1;
    view->nodes[0].id = 1;
    memset(view->nodes[0].hex_id, 'a', 40);
    strcpy(view->nodes[0].redis_cluster, "127.0.0.1:7379");
    strcpy(view->nodes[0].peer, "127.0.0.1:8379");
    for (uint16_t i = 0; i < PARTITIONS; i++) {
        struct view_group *group = &view->groups[GROUP_DATA_FIRST + i];
        group->slot_first = (uint16_t)(i * (SLOT_COUNT / PARTITIONS));
        group->slot_last = (uint16_t)((i + 1) * (SLOT_COUNT / PARTITIONS) - 1);
        group->replica_count = 1;
        group->replicas[0].node = 1;
        for (uint32_t slot = group->slot_first; slot <= group->slot_last; slot++)
            view->slot_partition[slot] = i;
    }
}

static inline struct fixture *fixture_make_with(uint32_t worker, uint32_t worker_count,
                                                bool (*is_linked)(void *, node_id_t))
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    play_start(&fixture->play);
    fixture->play.world.worker = worker;
    view_fill(&fixture->view);
    struct txn_cuts_options cuts = {.world = &fixture->play.world,
                                    .gateway = (struct gateway *)fixture,
                                    .view = &fixture->view,
                                    .patience = 10 * SECOND};
    fixture->cuts = txn_cuts_open(&cuts);
    struct redis_service_options options = {.world = &fixture->play.world,
                                            .gateway = (struct gateway *)fixture,
                                            .view = &fixture->view,
                                            .txn = (struct txn_worker *)fixture,
                                            .cuts = fixture->cuts,
                                            .max_connections = 3,
                                            .request_timeout = 60 * SECOND,
                                            .output_timeout = 20 * SECOND,
                                            .idle_timeout = 300 * SECOND,
                                            .bytes_max = BYTES_MAX,
                                            .context = fixture,
                                            .worker_count = worker_count,
                                            .is_linked = is_linked,
                                            .ask = fixture_ask};
    fixture->service = redis_service_open(&options);
    return fixture;
}

/* One worker of several. */
static inline struct fixture *fixture_make(uint32_t worker, uint32_t worker_count)
{
    struct fixture *fixture = fixture_make_with(worker, worker_count, NULL);

    assert_int_equal(redis_service_listen(fixture->service, "", false, NULL), STATUS_OK);
    return fixture;
}

static inline int make(void **state)
{
    *state = fixture_make(0, 1);
    return 0;
}

static inline int drop(void **state)
{
    struct fixture *fixture = *state;

    redis_service_close(fixture->service);
    txn_cuts_close(fixture->cuts);
    assert_int_equal(fixture->open_count, 0);
    for (size_t i = 0; i < fixture->request_count; i++)
        free(fixture->bodies[i]);
    play_stop(&fixture->play);
    free(fixture->view.groups);
    free(fixture);
    return 0;
}

static inline struct play_stream *connect_client(struct fixture *fixture)
{
    return play_connect(&fixture->play, "127.0.0.1:5000");
}

static inline void turn(struct fixture *fixture)
{
    play_turn(&fixture->play);
}

static inline void pass_time(struct fixture *fixture, unsigned seconds)
{
    play_pass_time(&fixture->play, seconds);
}

static inline struct redis_statistics statistics_of(const struct fixture *fixture)
{
    struct redis_statistics statistics;

    redis_service_statistics(fixture->service, &statistics);
    return statistics;
}

#endif
