/* txn_bench.h - a coordinator over a real gateway and host, which leads two partitions; OTHER leads
 * two more (coord, and LAST) and is played by hand. */
#ifndef HOLON_TESTS_UNIT_TXN_BENCH_H
#define HOLON_TESTS_UNIT_TXN_BENCH_H

#include <stdlib.h>

#include "cluster/gateway_internal.h"
#include "host_bed.h"
#include "txn/txn.h"
#include "txn/txn_frame.h"
#include "wire/peer_frame.h"
#include "wire/request_frame.h"

enum {
    OTHER = 2,
    SECOND = GROUP + 1,
    LAST = GROUP + 2,
    PARTITIONS = 3,
    SLOTS_EACH = 4096,
    PATIENCE_US = 4 * 1000 * 1000,
    SEEN_MAX = 256,
};

struct seen { /* what OTHER was asked */
    struct request_section section;
    struct request_item item;
    struct txn_frame frame;
};

struct txn_bench {
    struct gateway *gateway;
    struct txn_worker *worker;
    struct cluster_view view;
    struct view_group groups[GROUP_DATA_FIRST + PARTITIONS];
    struct seen seen[SEEN_MAX];
    uint8_t bodies[SEEN_MAX][128];
    uint32_t seen_count, taken;                                  /* taken: looked at by the test */
    struct request_section asked[GROUP_DATA_FIRST + PARTITIONS]; /* last */
    uint64_t answered_route[GROUP_DATA_FIRST + PARTITIONS];
    uint32_t answered[GROUP_DATA_FIRST + PARTITIONS];
};

static struct txn_bench *bench;

/* --- OTHER --- */

static inline void see(const struct request_section *section, const struct request_item *item)
{
    assert_true(bench->seen_count < SEEN_MAX && item->body.size <= sizeof(bench->bodies[0]));
    struct seen *seen = &bench->seen[bench->seen_count];
    uint8_t *body = bench->bodies[bench->seen_count++];
    memcpy(body, item->body.data, item->body.size);
    *seen = (struct seen){.section = *section, .item = *item};
    seen->item.body = bytes_make(body, item->body.size);
    assert_int_equal(item->service, SERVICE_TXN);
    assert_int_equal(txn_frame_decode(seen->item.body, &seen->frame), STATUS_OK);
}

static inline void bench_send(struct transport *transport, node_id_t node, uint32_t worker,
                              uint8_t kind, struct bytes payload)
{
    struct reader reader = reader_make(payload);
    struct request_section section;
    struct request_item item;

    if (kind != PEER_FRAME_REQUESTS) return;
    while (request_section_decode(&reader, &section) == STATUS_OK) {
        bench->asked[section.group.value] = section;
        for (uint32_t i = 0; i < section.count; i++) {
            assert_int_equal(request_item_decode(&reader, &item), STATUS_OK);
            see(&section, &item);
        }
    }
}

static inline uint32_t bench_worker_count(struct transport *transport, node_id_t node)
{
    return 1;
}

static inline bool bench_is_up(struct transport *transport, node_id_t node)
{
    return true;
}

static const struct transport_table bench_table = {
    .send = bench_send, .worker_count = bench_worker_count, .is_up = bench_is_up};

/* The next that OTHER was asked, of that kind; those of other kinds are passed. NULL: none. */
static inline const struct seen *next_seen(enum txn_op op)
{
    while (bench->taken < bench->seen_count) {
        const struct seen *seen = &bench->seen[bench->taken++];
        if (seen->frame.op == op) return seen;
    }
    return NULL;
}

/* The last one; what is sent again is seen again. */
static inline const struct seen *last_seen(enum txn_op op)
{
    const struct seen *last = NULL, *seen;
    while ((seen = next_seen(op)) != NULL)
        last = seen;
    return last;
}

struct said {
    const struct seen *to;
    uint8_t outcome;
    struct bytes bytes;
};

static inline void say_inside(void *context)
{
    const struct said *said = context;
    uint32_t group = said->to->section.group.value;
    struct reply_section section = {.group = said->to->section.group,
                                    .term = said->to->section.term,
                                    .route = bench->asked[group].route,
                                    .code = REPLY_CODE_REPLIES};
    struct transport_peer peer = {.node = OTHER, .epoch = 1};
    struct reply_item item = {
        .seq = said->to->item.seq, .outcome = said->outcome, .bytes = said->bytes};
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    struct writer writer = writer_make(&buffer);
    if (bench->answered_route[group] != section.route) bench->answered[group] = 0;
    bench->answered_route[group] = section.route;
    section.number = bench->answered[group]++;
    reply_section_encode(&writer, &section);
    store_u16(buffer.memory + buffer.end - 2, 1);
    reply_item_encode(&writer, &item);
    gateway_on_frame(bench->gateway, &peer, buffer_bytes(&buffer));
    buffer_free(&buffer);
}

/* OTHER answers with a status and what follows it. */
static inline void say_bytes(const struct seen *to, const void *bytes, size_t size)
{
    struct said said = {.to = to, .outcome = OUTCOME_REPLY, .bytes = bytes_make(bytes, size)};
    assert_non_null(to);
    bed_call(say_inside, &said, 1000);
}

static inline void say_status(const struct seen *to, enum txn_status status)
{
    uint8_t byte = (uint8_t)status;
    say_bytes(to, &byte, 1);
}

static inline void say_outcome(const struct seen *to, uint8_t outcome, const char *text)
{
    struct said said = {.to = to, .outcome = outcome, .bytes = bytes_of(text)};
    assert_non_null(to);
    bed_call(say_inside, &said, 1000);
}

/* --- the service --- */

static inline struct bytes row_key(uint8_t memory[ROW_PREFIX_SIZE + 1], uint16_t slot, uint8_t name)
{
    row_prefix_store(memory, slot, SERVICE_REDIS, 1);
    memory[ROW_PREFIX_SIZE] = name;
    return bytes_make(memory, ROW_PREFIX_SIZE + 1);
}

/* "rK" reads, "wK" writes 1 more than was there, "nK" refuses if the key is there. */
static inline enum evaluate_result serve(struct row_context *rows, const struct request *request,
                                         struct reply *reply)
{
    uint8_t memory[ROW_PREFIX_SIZE + 1];
    struct row_view row;

    for (size_t i = 0; i + 1 < request->body.size; i += 2) {
        struct bytes key = row_key(memory, request->slot, request->body.data[i + 1]);
        enum row_result found = row_get(rows, key, &row);
        if (found == ROW_STOP) return row_context_stop(rows);
        uint8_t value = found == ROW_FOUND ? row.value.data[0] : '0';
        if (request->body.data[i] == 'w') value++;
        if (request->body.data[i] == 'w') row_put(rows, key, 1, 0, 0, bytes_make(&value, 1));
        if (request->body.data[i] == 'n' && found == ROW_FOUND) row_refuse(rows);
        buffer_append(reply->buffer, bytes_make(&value, 1));
    }
    return EVALUATE_DONE;
}

/* --- the bench --- */

static inline void bench_on_txn(void *context, struct group_id group)
{
    if (bench->worker != NULL) txn_rows_changed(bench->worker, group);
}

static inline void bench_add(uint32_t group)
{
    struct error error = {0};
    const struct view_group *known = &bench->groups[group];
    const struct raft_config alone = {.incoming_count = 1, .incoming = {{{10 + group}, SELF}}};
    struct replica_options replica = {.group = {group},
                                      .replica = {10 + group},
                                      .slot_first = known->slot_first,
                                      .slot_last = known->slot_last,
                                      .birth_config = &alone,
                                      .vote_at_once = true};
    assert_int_equal(host_add_replica(bed.host, &replica, &error), STATUS_OK);
}

static inline void open_worker(void)
{
    struct txn_worker_options options = {.world = bed.world,
                                         .gateway = bench->gateway,
                                         .view = &bench->view,
                                         .host = bed.host,
                                         .patience = PATIENCE_US,
                                         .open_max = 8};
    bench->worker = txn_open(&options);
}

static inline void bench_open(void *context)
{
    struct host_options host = {.timing = {50000, 300000, 600000, 240000},
                                .evaluate = {[SERVICE_REDIS] = serve, [SERVICE_TXN] = txn_evaluate},
                                .flush_bytes = 32 << 20,
                                .entries_bytes_max = 4 << 20,
                                .events = {.on_txn = bench_on_txn}};
    bed_open(&host, 0, 1 << 20);
    bench_add(GROUP);
    bench_add(SECOND);
    struct gateway_options gateway = {.world = bed.world,
                                      .transport = &bed.transport,
                                      .host = bed.host,
                                      .view = &bench->view,
                                      .node = SELF,
                                      .epoch = 7,
                                      .patience = PATIENCE_US,
                                      .store_count = 1,
                                      .inflight_bytes_max = 1 << 20};
    bench->gateway = gateway_open(&gateway);
    open_worker();
}

static inline int bench_setup(void **state)
{
    bench = calloc(1, sizeof(*bench));
    *state = bench;
    bed_make(&bench_table);
    bench->view.group_count = GROUP_DATA_FIRST + PARTITIONS;
    bench->view.groups = bench->groups;
    for (uint32_t i = 0; i < PARTITIONS; i++) {
        bench->groups[GROUP + i].slot_first = (uint16_t)(i * SLOTS_EACH);
        bench->groups[GROUP + i].slot_last = (uint16_t)((i + 1) * SLOTS_EACH - 1);
    }
    for (uint32_t slot = 0; slot < SLOT_COUNT; slot++)
        bench->view.slot_partition[slot] = (uint16_t)(slot / SLOTS_EACH);
    bench->groups[GROUP_COORD].leader = bench->groups[LAST].leader = OTHER;
    bench->groups[GROUP_COORD].leader_term = bench->groups[LAST].leader_term = 5;
    bed_call(bench_open, NULL, 2 * 1000 * 1000);
    return 0;
}

static inline void bench_close(void *context)
{
    txn_close(bench->worker);
    bench->worker = NULL;
    gateway_close(bench->gateway);
    bed_close(NULL);
}

static inline int bench_teardown(void **state)
{
    sim_run_for(&bed.sim, 1000 * 1000);
    bed_call(bench_close, NULL, 1000 * 1000);
    bed_free();
    free(bench);
    return 0;
}

/* --- transactions --- */

enum { PIECES = 4 };

struct ask {
    struct txn_request request;
    struct txn_piece pieces[PIECES];
    uint32_t answers;
    enum txn_result result;
    const struct txn_piece *refused;
};

static inline void ask_done(struct txn_request *request, enum txn_result result,
                            const struct txn_piece *refused)
{
    struct ask *ask = request->context;
    ask->answers++;
    ask->result = result;
    ask->refused = refused;
}

static inline uint16_t slot_in(uint32_t group)
{
    return group == GROUP_COORD ? ROW_SLOT_COORD : (uint16_t)((group - GROUP) * SLOTS_EACH + 5);
}

static inline void ask_init(struct ask *ask)
{
    memset(ask, 0, sizeof(*ask));
    ask->request = (struct txn_request){.service = SERVICE_REDIS,
                                        .client = 3,
                                        .pieces = ask->pieces,
                                        .on_done = ask_done,
                                        .context = ask};
}

static inline void ask_add(struct ask *ask, uint32_t group, const char *body)
{
    struct txn_piece *piece = &ask->pieces[ask->request.piece_count++];
    piece->slot = slot_in(group);
    piece->write = strchr(body, 'w') != NULL;
    piece->grows = piece->write;
    piece->body = bytes_of(body);
    buffer_init(&piece->reply, 1000);
}

static inline void ask_free(struct ask *ask)
{
    for (uint32_t i = 0; i < ask->request.piece_count; i++)
        buffer_free(&ask->pieces[i].reply);
}

static inline void run_inside(void *context)
{
    struct ask *ask = context;
    txn_run(bench->worker, &ask->request);
}

static inline void run(struct ask *ask, uint64_t us)
{
    bed_call(run_inside, ask, us);
}

static inline void assert_said(const struct ask *ask, uint32_t piece, const char *text)
{
    assert_true(bytes_equal(buffer_bytes(&ask->pieces[piece].reply), bytes_of(text)));
}

/* What is committed there; '-': nothing. */
static inline char value_of(uint32_t group, uint8_t name)
{
    uint8_t memory[ROW_PREFIX_SIZE + 1];
    struct row_found found;
    const struct row_table *table = host_rows(bed.host, (struct group_id){group});
    struct bytes key = row_key(memory, slot_in(group), name);
    bool there = row_table_get(table, key, &found) && !found.tombstone;
    return there ? (char)found.value.data[0] : '-';
}

static inline void count_row(void *context, struct bytes key)
{
    ++*(uint32_t *)context;
}

struct counted {
    uint32_t count;
};

static inline void count_inside(void *context)
{
    uint32_t *count = context;
    for (uint32_t group = GROUP; group <= SECOND; group++)
        assert_true(host_txn_rows_each(bed.host, (struct group_id){group}, count, count_row));
}

/* Rows of transactions in the groups led here. */
static inline uint32_t rows_left(void)
{
    uint32_t count = 0;
    bed_call(count_inside, &count, 0);
    return count;
}

static inline struct txn_statistics statistics(void)
{
    struct txn_statistics ret;
    txn_statistics(bench->worker, &ret);
    return ret;
}

#endif
