/* meta_fixture.h - meta's rows and one leader that evaluates requests and applies what they do. */
#ifndef HOLON_TESTS_META_FIXTURE_H
#define HOLON_TESTS_META_FIXTURE_H

#include <stdio.h>

#include "cluster/identity.h"
#include "cluster/meta.h"
#include "cluster/view_codec.h"
#include "partition/effects.h"
#include "unit.h"

struct fixture {
    struct row_table *table;
    struct arena arena;
    struct buffer effects, body, reply;
    struct cluster_view founded;
    uint64_t index;
    int64_t time_ms; /* wall clock of the leader */
};

static inline int setup(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    struct cluster_view *view = &fixture->founded;

    fixture->time_ms = 1;
    fixture->table = row_table_make();
    arena_init(&fixture->arena, 1 << 16);
    buffer_init(&fixture->effects, ENTRY_BODY_MAX);
    buffer_init(&fixture->body, META_REQUEST_SIZE_MAX);
    buffer_init(&fixture->reply, META_REPLY_SIZE_MAX);
    cluster_view_init(view);
    view->cluster = (struct cluster_id){1, 2};
    view->table_epoch = 1;
    view->cluster_version = VIEW_VERSION;
    view->partition_count = 16;
    view->replicas = 3;
    view->node_count = 3;
    for (uint32_t i = 0; i < 3; i++) {
        view->nodes[i].id = i + 1;
        view->nodes[i].store = 100 + i;
        snprintf(view->nodes[i].name, NODE_NAME_SIZE_MAX, "n%u", i + 1);
        snprintf(view->nodes[i].peer, ADDRESS_SIZE_MAX, "127.0.0.1:800%u", i);
    }
    view_settings_more_none(view);
    cluster_view_place(view);
    *state = fixture;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *fixture = *state;

    cluster_view_free(&fixture->founded);
    row_table_free(fixture->table);
    arena_free(&fixture->arena);
    buffer_free(&fixture->effects);
    buffer_free(&fixture->body);
    buffer_free(&fixture->reply);
    test_free(fixture);
    return 0;
}

/* Evaluates fixture->body and applies the effects, as a leader of one would. */
static inline struct meta_reply submit(struct fixture *fixture)
{
    struct row_context rows = {0};
    struct meta_reply reply;
    struct reply to = {.buffer = &fixture->reply};
    struct request request = {
        .service = SERVICE_META, .slot = ROW_SLOT_META, .body = buffer_bytes(&fixture->body)};
    struct effect effect;

    arena_reset(&fixture->arena);
    buffer_clear(&fixture->effects);
    buffer_clear(&fixture->reply);
    row_context_begin(&rows, fixture->table, &fixture->arena, &fixture->effects, fixture->index,
                      fixture->time_ms * 1000, 42);
    rows.slot_first = rows.slot_last = ROW_SLOT_META;
    assert_int_equal(meta_evaluate(&rows, &request, &to), EVALUATE_DONE);
    row_context_end(&rows);
    fixture->index++;
    struct reader reader = reader_make(buffer_bytes(&fixture->effects));
    while (effect_decode(&reader, &effect) == STATUS_OK)
        if (effect.kind != EFFECT_FENCE)
            effect_apply(&effect, fixture->index, false, fixture->table);
    assert_int_equal(meta_reply_decode(buffer_bytes(&fixture->reply), &reply), STATUS_OK);
    return reply;
}

static inline struct meta_reply found(struct fixture *fixture)
{
    buffer_clear(&fixture->body);
    meta_found_encode(&fixture->founded, &fixture->body);
    return submit(fixture);
}

static inline struct meta_reply ask_as_is(struct fixture *fixture,
                                          const struct meta_request *request)
{
    buffer_clear(&fixture->body);
    meta_request_encode(request, &fixture->body);
    return submit(fixture);
}

#endif
