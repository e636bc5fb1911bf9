/* redis_whole.h - the Redis front-end over partitions that evaluate: what it submits is executed at
 * once by a table for each partition, and so are the pieces of transactions, all or none. */
#ifndef HOLON_TESTS_UNIT_REDIS_WHOLE_H
#define HOLON_TESTS_UNIT_REDIS_WHOLE_H

#include "redis_front.h"
#include "redis_harness.h"

struct whole {
    struct fixture *front;
    struct play_stream *client;
    struct redis_harness *partitions[PARTITIONS];
    uint32_t looks, runs;
    /* Said by somebody else behind a look, so many times. */
    const char *meanwhile;
    uint32_t meanwhile_times;
};

static inline struct whole *whole_of(struct fixture *front)
{
    return front->whole;
}

static inline struct redis_harness *whole_partition(struct whole *whole, uint16_t slot)
{
    return whole->partitions[whole->front->view.slot_partition[slot]];
}

static inline struct bytes whole_evaluate(struct whole *whole, uint16_t slot, struct bytes body)
{
    return redis_harness_evaluate(
        whole_partition(whole, slot), redis_evaluate,
        (struct request){.service = SERVICE_REDIS, .slot = slot, .body = body});
}

static inline void whole_on_submit(struct fixture *front, size_t index)
{
    struct gateway_request *request = front->requests[index];
    struct bytes reply = whole_evaluate(front->whole, request->slot, request->body);

    assert_int_equal(whole_partition(front->whole, request->slot)->result, EVALUATE_DONE);
    front->requests[index] = NULL;
    front->open_count--;
    assert_int_equal(index, --front->request_count); /* its place is free: there may be many */
    free(front->bodies[index]);
    request->on_reply(request, GATEWAY_REPLY, reply);
}

/* A command of somebody else, of one partition. */
static inline void whole_line(struct whole *whole, const char *line)
{
    uint8_t room[512];
    struct bytes words[16];
    uint32_t count = 0;

    assert_true(resp_split_line(bytes_of(line), room, words, 16, &count));
    redis_harness_run(whole_partition(whole, key_slot(words[1])), words, count);
}

static inline void whole_piece(struct whole *whole, struct txn_piece *piece, bool dry)
{
    struct redis_harness *partition = whole_partition(whole, piece->slot);

    partition->dry = dry;
    struct bytes reply = whole_evaluate(whole, piece->slot, piece->body);
    partition->dry = false;
    buffer_clear(&piece->reply);
    buffer_append(&piece->reply, reply);
}

static inline void whole_on_txn(struct fixture *front, struct txn_request *request)
{
    struct whole *whole = front->whole;
    const struct txn_piece *refused = NULL;
    enum txn_result result = TXN_DONE;

    for (uint32_t i = 0; i < request->piece_count; i++) {
        struct txn_piece *piece = &request->pieces[i];
        struct redis_harness *partition = whole_partition(whole, piece->slot);
        whole_piece(whole, piece, true);
        if (partition->result == EVALUATE_OVER_BUDGET) result = TXN_TOO_BIG;
        assert_true(request->look || piece->write || partition->effect_count == 0);
        if (refused == NULL && partition->refused) refused = piece;
    }
    if (refused) result = TXN_REFUSED;
    for (uint32_t i = 0; i < request->piece_count && result == TXN_DONE && !request->look; i++)
        whole_piece(whole, &request->pieces[i], false);
    whole->looks += request->look;
    whole->runs += !request->look;
    if (request->look && whole->meanwhile && whole->meanwhile_times) {
        whole->meanwhile_times--;
        whole_line(whole, whole->meanwhile);
    }
    txn_answer(front, result, refused);
}

static inline struct whole *whole_make(void)
{
    struct whole *whole = calloc(1, sizeof(*whole));

    whole->front = fixture_make(0, 1);
    whole->front->whole = whole;
    whole->front->view.cluster_version = VIEW_VERSION_TXN;
    whole->front->on_submit = whole_on_submit;
    whole->front->on_txn = whole_on_txn;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        const struct view_group *group = &whole->front->view.groups[GROUP_DATA_FIRST + i];
        whole->partitions[i] = redis_harness_make();
        whole->partitions[i]->slot_first = group->slot_first;
        whole->partitions[i]->slot_last = group->slot_last;
    }
    whole->client = connect_client(whole->front);
    return whole;
}

static inline void whole_free(struct whole *whole)
{
    void *front = whole->front;

    drop(&front);
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        struct redis_rows rows;
        for (int step = 0; step < 10000 && redis_harness_chore(whole->partitions[i]); step++)
            continue;
        redis_rows_check(whole->partitions[i]->table, &rows);
        assert_int_equal(rows.orphans + rows.twice + rows.wrong_sizes + rows.unreminded, 0);
        redis_harness_free(whole->partitions[i]);
    }
    free(whole);
}

#endif
