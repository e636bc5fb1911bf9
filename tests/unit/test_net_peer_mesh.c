/* The peer mesh over loopback: several nodes of several workers in one process. */
#include "real_world.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "net/peer_mesh.h"

enum { NODES = 3, WORKERS = 2, WAIT_LIMIT_S = 60, LINES_SIZE = 16 << 10 };

static const struct cluster_id cluster_a = {.high = 0xaaaa, .low = 1};
static const struct cluster_id cluster_b = {.high = 0xbbbb, .low = 2};

struct test_node;

struct test_worker {
    struct test_node *node;
    struct world *world;
    struct peer_mesh *mesh;
    pthread_t thread;
    /* Under the bench's mutex from here on. */
    uint32_t ups[NODES + 1], downs[NODES + 1];
    uint32_t received[NODES + 1][WORKERS]; /* by sender */
    uint32_t wrong;                        /* out of order or with wrong bytes */
};

struct test_node {
    struct bench *bench;
    node_id_t id;
    boot_epoch_t epoch;
    store_id_t store;
    struct cluster_id cluster;
    uint16_t port; /* 0 until it has listened once */
    bool running;
    struct host *host;
    struct peer_mesh_group *group;
    struct test_worker workers[WORKERS];
};

struct bench {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct logger logger;
    struct buffer lines; /* all warnings */
    struct test_node nodes[NODES + 1];
};

/* --- what the meshes report ------------------------------------------------------------------ */

static void bench_lock(struct bench *bench)
{
    pthread_mutex_lock(&bench->mutex);
}

static void bench_unlock(struct bench *bench)
{
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->mutex);
}

static void on_log_line(void *context, enum log_level level, const char *line)
{
    struct bench *bench = context;

    if (level < LOG_LEVEL_WARN) return;
    bench_lock(bench);
    buffer_append(&bench->lines, bytes_of(line));
    buffer_append(&bench->lines, bytes_make("\n", 1));
    bench_unlock(bench);
}

/* A frame carries its number and then that number's low byte again and again. */
static void on_frame(void *context, const struct transport_peer *from, uint8_t kind,
                     struct bytes payload)
{
    struct test_worker *worker = context;
    struct bench *bench = worker->node->bench;
    uint32_t number, expected;
    bool good = kind == PEER_FRAME_REQUESTS && payload.size >= sizeof(number);

    bench_lock(bench);
    expected = worker->received[from->node][from->worker]++;
    if (good) {
        number = load_u32(payload.data);
        good = number == expected && from->epoch == bench->nodes[from->node].epoch &&
               from->store == bench->nodes[from->node].store;
        for (size_t i = sizeof(number); i < payload.size; i++)
            good = good && payload.data[i] == (uint8_t)number;
    }
    if (!good) worker->wrong++;
    bench_unlock(bench);
}

static void on_peer_up(void *context, node_id_t node)
{
    struct test_worker *worker = context;

    bench_lock(worker->node->bench);
    worker->ups[node]++;
    bench_unlock(worker->node->bench);
}

static void on_peer_down(void *context, node_id_t node)
{
    struct test_worker *worker = context;

    bench_lock(worker->node->bench);
    worker->downs[node]++;
    bench_unlock(worker->node->bench);
}

/* --- waiting --------------------------------------------------------------------------------- */

static void bench_wait(struct bench *bench, bool (*condition)(struct bench *), const char *what)
{
    struct timespec limit;
    bool holds;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += WAIT_LIMIT_S;
    pthread_mutex_lock(&bench->mutex);
    while (!(holds = condition(bench)))
        if (pthread_cond_timedwait(&bench->changed, &bench->mutex, &limit) == ETIMEDOUT) break;
    pthread_mutex_unlock(&bench->mutex);
    if (!holds) fail_msg("waited in vain until %s", what);
}

/* Calls a function on a worker's thread and waits for it. */
struct call {
    struct world_post post;
    struct test_worker *worker;
    void (*function)(struct test_worker *worker, void *argument);
    void *argument;
    bool done;
};

static void call_run(struct world_post *post)
{
    struct call *call = CONTAINER_OF(post, struct call, post);
    struct bench *bench = call->worker->node->bench;

    call->function(call->worker, call->argument);
    bench_lock(bench);
    call->done = true;
    bench_unlock(bench);
}

static void call_on(struct test_worker *worker,
                    void (*function)(struct test_worker *worker, void *argument), void *argument)
{
    struct bench *bench = worker->node->bench;
    struct call call = {
        .post = {.run = call_run}, .worker = worker, .function = function, .argument = argument};

    world_post(worker->world, &call.post);
    pthread_mutex_lock(&bench->mutex);
    while (!call.done)
        pthread_cond_wait(&bench->changed, &bench->mutex);
    pthread_mutex_unlock(&bench->mutex);
}

/* --- nodes ----------------------------------------------------------------------------------- */

static void bench_start(struct bench *bench)
{
    *bench = (struct bench){0};
    pthread_mutex_init(&bench->mutex, NULL);
    pthread_cond_init(&bench->changed, NULL);
    buffer_init(&bench->lines, LINES_SIZE);
    bench->logger =
        (struct logger){.level = LOG_LEVEL_WARN, .context = bench, .write = on_log_line};
    for (node_id_t id = 1; id <= NODES; id++)
        bench->nodes[id] = (struct test_node){
            .bench = bench, .id = id, .epoch = 10, .store = 1000 + id, .cluster = cluster_a};
}

/* Makes the meshes, without peers yet and without running. */
static void node_prepare(struct test_node *node)
{
    struct world_real_options options = {.logger = &node->bench->logger};
    struct transport_events events = {
        .on_frame = on_frame, .on_peer_down = on_peer_down, .on_peer_up = on_peer_up};
    struct error error = {0};
    char address[64], name[16];

    assert_int_equal(host_create(&options, &node->host, &error), STATUS_OK);
    node->group = peer_mesh_group_create(WORKERS);
    snprintf(address, sizeof(address), "127.0.0.1:%u", node->port);
    snprintf(name, sizeof(name), "n%u", node->id);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct test_worker *worker = &node->workers[i];
        *worker = (struct test_worker){.node = node, .world = world_real_create(node->host, i)};
        struct peer_mesh_options mesh = {.world = worker->world,
                                         .group = node->group,
                                         .listen_address = address,
                                         .cluster = node->cluster,
                                         .node = node->id,
                                         .name = name,
                                         .epoch = node->epoch,
                                         .store = node->store,
                                         .events = events,
                                         .context = worker};
        if (peer_mesh_create(&mesh, &worker->mesh, &error)) fail_msg("%s", error.text);
        if (node->port) assert_int_equal(peer_mesh_port(worker->mesh), node->port);
        if (i == 0) node->port = peer_mesh_port(worker->mesh);
        assert_int_equal(peer_mesh_port(worker->mesh), node->port);
    }
}

static void *worker_main(void *argument)
{
    struct test_worker *worker = argument;
    world_real_run(worker->world);
    return NULL;
}

static void node_run(struct test_node *node)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct test_worker *worker = &node->workers[i];
        for (node_id_t id = 1; id <= NODES; id++) {
            char address[64], name[16];
            snprintf(address, sizeof(address), "127.0.0.1:%u", node->bench->nodes[id].port);
            snprintf(name, sizeof(name), "n%u", id);
            struct peer_mesh_peer peer = {.node = id, .name = name, .address = address};
            if (node->bench->nodes[id].port)
                assert_int_equal(peer_mesh_set_peer(worker->mesh, &peer, NULL), STATUS_OK);
        }
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(
            pthread_create(&node->workers[i].thread, NULL, worker_main, &node->workers[i]), 0);
    node->running = true;
}

static void node_stop(struct test_node *node)
{
    if (!node->running) return;
    node->running = false;
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_stop(node->workers[i].world);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(node->workers[i].thread, NULL);
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_drain(node->workers[i].world);
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_drain(node->workers[i].world);
    for (uint32_t i = 0; i < WORKERS; i++)
        peer_mesh_destroy(node->workers[i].mesh);
    for (uint32_t i = 0; i < WORKERS; i++)
        world_real_destroy(node->workers[i].world);
    peer_mesh_group_destroy(node->group);
    host_destroy(node->host);
}

static void bench_run(struct bench *bench, node_id_t count)
{
    for (node_id_t id = 1; id <= count; id++)
        node_prepare(&bench->nodes[id]);
    for (node_id_t id = 1; id <= count; id++)
        node_run(&bench->nodes[id]);
}

static void bench_stop(struct bench *bench)
{
    for (node_id_t id = 1; id <= NODES; id++)
        node_stop(&bench->nodes[id]);
    buffer_free(&bench->lines);
    pthread_mutex_destroy(&bench->mutex);
    pthread_cond_destroy(&bench->changed);
}

/* Up as seen by all workers of `a`. */
static bool sees_up(struct bench *bench, node_id_t a, node_id_t b)
{
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct test_worker *worker = &bench->nodes[a].workers[i];
        if (worker->ups[b] != worker->downs[b] + 1) return false;
    }
    return true;
}

static bool all_up(struct bench *bench)
{
    for (node_id_t a = 1; a <= NODES; a++)
        for (node_id_t b = 1; b <= NODES; b++)
            if (a != b && !sees_up(bench, a, b)) return false;
    return true;
}

static bool one_and_two_up(struct bench *bench)
{
    return sees_up(bench, 1, 2) && sees_up(bench, 2, 1);
}

/* --- frames ---------------------------------------------------------------------------------- */

enum { FRAMES_EACH = 200, FRAME_STEP = 977, BIG_FRAMES = 3 };

static void send_numbered(struct transport *transport, node_id_t node, uint32_t worker,
                          uint32_t number, size_t size)
{
    uint8_t *payload = memory_allocate(size);

    memset(payload, (int)(uint8_t)number, size);
    store_u32(payload, number);
    transport_send(transport, node, worker, PEER_FRAME_REQUESTS, bytes_make(payload, size));
    memory_free(payload);
}

static void send_to_all(struct test_worker *worker, void *argument)
{
    struct transport *transport = peer_mesh_transport(worker->mesh);

    (void)argument;
    for (node_id_t node = 1; node <= NODES; node++) {
        if (!transport_is_up(transport, node)) fail_msg("node %u is down", node);
        if (transport_worker_count(transport, node) != WORKERS) fail_msg("worker count");
        for (uint32_t to = 0; to < WORKERS; to++) {
            for (uint32_t i = 0; i < FRAMES_EACH; i++)
                send_numbered(transport, node, to, i, 4 + (i * FRAME_STEP) % 30000);
            for (uint32_t i = 0; i < BIG_FRAMES; i++)
                send_numbered(transport, node, to, FRAMES_EACH + i, TRANSPORT_FRAME_SIZE_MAX);
        }
    }
}

static bool all_received(struct bench *bench)
{
    for (node_id_t a = 1; a <= NODES; a++)
        for (uint32_t i = 0; i < WORKERS; i++)
            for (node_id_t b = 1; b <= NODES; b++)
                for (uint32_t j = 0; j < WORKERS; j++)
                    if (bench->nodes[a].workers[i].received[b][j] < FRAMES_EACH + BIG_FRAMES)
                        return false;
    return true;
}

static void test_every_worker_reaches_every_worker_of_every_node(void **state)
{
    struct bench bench;

    bench_start(&bench);
    bench_run(&bench, NODES);
    bench_wait(&bench, all_up, "all nodes see each other");
    for (node_id_t id = 1; id <= NODES; id++)
        for (uint32_t i = 0; i < WORKERS; i++)
            call_on(&bench.nodes[id].workers[i], send_to_all, NULL);
    bench_wait(&bench, all_received, "all frames arrived");
    for (node_id_t id = 1; id <= NODES; id++)
        for (uint32_t i = 0; i < WORKERS; i++)
            assert_int_equal(bench.nodes[id].workers[i].wrong, 0);
    bench_stop(&bench);
}

static void send_to_self(struct test_worker *worker, void *argument)
{
    struct transport *transport = peer_mesh_transport(worker->mesh);
    uint32_t *received_inside = argument;
    uint32_t own = world_worker(worker->world);

    send_numbered(transport, worker->node->id, own, 0, 100);
    bench_lock(worker->node->bench);
    *received_inside = worker->received[worker->node->id][own];
    bench_unlock(worker->node->bench);
}

static bool one_has_its_own(struct bench *bench)
{
    return bench->nodes[1].workers[0].received[1][0] == 1;
}

static void test_a_frame_to_oneself_is_never_delivered_inside_send(void **state)
{
    struct bench bench;
    uint32_t received_inside = 99;

    bench_start(&bench);
    bench_run(&bench, 1);
    call_on(&bench.nodes[1].workers[0], send_to_self, &received_inside);
    assert_int_equal(received_inside, 0);
    bench_wait(&bench, one_has_its_own, "the frame arrived");
    bench_stop(&bench);
}

static void statistics_get(struct test_worker *worker, void *argument)
{
    *(struct peer_mesh_statistics *)argument = *peer_mesh_statistics(worker->mesh);
}

static void send_to_two(struct test_worker *worker, void *argument)
{
    (void)argument;
    send_numbered(peer_mesh_transport(worker->mesh), 2, 0, 0, 100);
}

static void test_frames_to_a_peer_that_is_down_are_dropped(void **state)
{
    struct bench bench;
    struct peer_mesh_statistics statistics;

    bench_start(&bench);
    bench_run(&bench, 1);
    call_on(&bench.nodes[1].workers[0], send_to_two, NULL);
    call_on(&bench.nodes[1].workers[0], statistics_get, &statistics);
    assert_int_equal(statistics.frames_dropped, 1);
    assert_int_equal(statistics.frames_sent, 0);
    bench_stop(&bench);
}

/* --- coming and going ------------------------------------------------------------------------ */

static bool one_sees_two_down(struct bench *bench)
{
    for (uint32_t i = 0; i < WORKERS; i++)
        if (bench->nodes[1].workers[i].downs[2] != 1) return false;
    return true;
}

static void test_a_restarted_node_is_reported_down_and_up(void **state)
{
    struct bench bench;

    bench_start(&bench);
    bench_run(&bench, NODES);
    bench_wait(&bench, all_up, "all nodes see each other");
    node_stop(&bench.nodes[2]);
    bench_wait(&bench, one_sees_two_down, "node 1 sees node 2 down");

    bench.nodes[2].epoch++;
    node_prepare(&bench.nodes[2]);
    node_run(&bench.nodes[2]);
    bench_wait(&bench, all_up, "all nodes see each other again");
    for (uint32_t i = 0; i < WORKERS; i++)
        assert_int_equal(bench.nodes[1].workers[i].downs[2], 1); /* once, not once per socket */
    assert_int_equal(bench.nodes[1].workers[0].downs[3], 0);
    bench_stop(&bench);
}

static bool log_has(struct bench *bench, const char *text)
{
    struct bytes lines = buffer_bytes(&bench->lines);
    return lines.size && memmem(lines.data, lines.size, text, strlen(text)) != NULL;
}

static bool log_tells_of_older_epoch(struct bench *bench)
{
    return log_has(bench, "boot epoch 9 of node 2 is older than 10");
}

static void test_an_older_incarnation_is_refused(void **state)
{
    struct bench bench;

    bench_start(&bench);
    bench_run(&bench, 2);
    bench_wait(&bench, one_and_two_up, "nodes 1 and 2 see each other");
    node_stop(&bench.nodes[2]);
    bench_wait(&bench, one_sees_two_down, "node 1 sees node 2 down");
    bench.nodes[2].epoch = 9;
    node_prepare(&bench.nodes[2]);
    node_run(&bench.nodes[2]);
    bench_wait(&bench, log_tells_of_older_epoch, "the older epoch is refused");
    assert_int_equal(bench.nodes[2].workers[0].ups[1], 0);
    bench_stop(&bench);
}

static void test_a_replaced_disk_starts_its_epochs_anew(void **state)
{
    struct bench bench;

    bench_start(&bench);
    bench_run(&bench, 2);
    bench_wait(&bench, one_and_two_up, "nodes 1 and 2 see each other");
    node_stop(&bench.nodes[2]);
    bench_wait(&bench, one_sees_two_down, "node 1 sees node 2 down");
    bench.nodes[2].epoch = 1;
    bench.nodes[2].store = 2002;
    node_prepare(&bench.nodes[2]);
    node_run(&bench.nodes[2]);
    bench_wait(&bench, one_and_two_up, "the node with the new disk is accepted");
    bench_stop(&bench);
}

static bool log_tells_both_clusters(struct bench *bench)
{
    return log_has(bench, "cluster 000000000000aaaa0000000000000001") &&
           log_has(bench, "cluster 000000000000bbbb0000000000000002") &&
           log_has(bench, "it refuses this node");
}

static void test_another_cluster_is_refused_by_name(void **state)
{
    struct bench bench;
    struct peer_mesh_statistics statistics;

    bench_start(&bench);
    bench.nodes[2].cluster = cluster_b;
    bench_run(&bench, 2);
    bench_wait(&bench, log_tells_both_clusters, "both sides say which clusters they are in");
    for (uint32_t i = 0; i < WORKERS; i++) {
        assert_int_equal(bench.nodes[1].workers[i].ups[2], 0);
        call_on(&bench.nodes[1].workers[i], statistics_get, &statistics);
        assert_int_equal(statistics.connects, 0);
    }
    bench_stop(&bench);
}

static void identity_set(struct test_worker *worker, void *argument)
{
    struct test_node *node = worker->node;
    peer_mesh_set_identity(worker->mesh, *(const struct cluster_id *)argument, node->epoch,
                           node->store);
}

static bool reconnected_with_identity(struct bench *bench)
{
    for (node_id_t id = 1; id <= NODES; id++)
        for (node_id_t other = 1; other <= NODES; other++)
            if (id != other && bench->nodes[id].workers[0].ups[other] < 2) return false;
    return all_up(bench);
}

/* Before it, nodes have neither cluster, store nor epoch; then they get all three. */
static void test_founding_gives_all_connections_the_new_identity(void **state)
{
    struct bench bench;
    struct cluster_id founded = cluster_a;

    bench_start(&bench);
    for (node_id_t id = 1; id <= NODES; id++) {
        bench.nodes[id].cluster = (struct cluster_id){0};
        bench.nodes[id].epoch = 0;
        bench.nodes[id].store = 0;
    }
    bench_run(&bench, NODES);
    bench_wait(&bench, all_up, "nodes without a cluster see each other");
    for (node_id_t id = 1; id <= NODES; id++) {
        bench_lock(&bench);
        bench.nodes[id].epoch = 1;
        bench.nodes[id].store = 1000 + id;
        bench_unlock(&bench);
        for (uint32_t i = 0; i < WORKERS; i++)
            call_on(&bench.nodes[id].workers[i], identity_set, &founded);
    }
    bench_wait(&bench, reconnected_with_identity, "they see each other with one");
    for (node_id_t id = 1; id <= NODES; id++)
        for (uint32_t i = 0; i < WORKERS; i++)
            call_on(&bench.nodes[id].workers[i], send_to_all, NULL);
    bench_wait(&bench, all_received, "all frames arrived");
    assert_int_equal(bench.nodes[1].workers[0].wrong, 0);
    bench_stop(&bench);
}

/* --- strangers ------------------------------------------------------------------------------- */

struct stranger {
    struct world *world;
    struct bytes says;
    struct buffer heard;
    bool closed;
};

static void stranger_connected(void *context, struct stream *stream)
{
    struct stranger *stranger = context;
    buffer_append(stream_output(stream), stranger->says);
    stream_flush(stream);
}

static void stranger_hears(void *context, struct stream *stream, struct bytes data)
{
    struct stranger *stranger = context;
    buffer_append(&stranger->heard, data);
}

static void stranger_closed(void *context, struct stream *stream, enum status reason)
{
    struct stranger *stranger = context;
    stranger->closed = true;
    world_real_stop(stranger->world);
}

static bool stranger_is_closed(void *context)
{
    return ((struct stranger *)context)->closed;
}

static const struct stream_events stranger_events = {
    .on_connected = stranger_connected, .on_data = stranger_hears, .on_closed = stranger_closed};

/* Connects to node 1, says these bytes, and waits until it is closed. */
static void stranger_says(struct bench *bench, struct bytes says, struct buffer *ret_heard)
{
    struct real_fixture fixture;
    struct stranger stranger = {.says = says};
    char address[64];

    real_fixture_start(&fixture);
    stranger.world = fixture.world;
    buffer_init(&stranger.heard, 1 << 20);
    snprintf(address, sizeof(address), "127.0.0.1:%u", bench->nodes[1].port);
    world_connect(fixture.world, address, &stranger_events, &stranger);
    assert_true(real_wait(fixture.world, stranger_is_closed, &stranger));
    real_fixture_stop(&fixture);
    *ret_heard = stranger.heard;
}

static void hello_frame(struct buffer *frame, struct peer_hello hello)
{
    struct buffer payload;

    buffer_init(&payload, 1000);
    buffer_init(frame, 1000);
    peer_hello_encode(&hello, &payload);
    peer_frame_append(frame, 0, PEER_FRAME_HELLO, 0, buffer_bytes(&payload));
    buffer_free(&payload);
}

static void test_garbage_before_the_hello_closes_the_connection(void **state)
{
    uint8_t *big = memory_allocate_zero(200 << 10);
    struct bench bench;
    struct buffer heard;

    bench_start(&bench);
    bench_run(&bench, 1);
    stranger_says(&bench, bytes_of("GET / HTTP/1.1\r\n\r\n"), &heard);
    assert_int_equal(buffer_size(&heard), 0);
    buffer_free(&heard);
    store_u32(big, 300 << 10); /* a hello of 300 KiB */
    store_u32(big + 4, crc32c(0, bytes_make(big, 4)));
    stranger_says(&bench, bytes_make(big, 200 << 10), &heard);
    assert_int_equal(buffer_size(&heard), 0);
    buffer_free(&heard);
    bench_stop(&bench);
    memory_free(big);
}

static void test_a_silent_stranger_is_closed_in_time(void **state)
{
    struct bench bench;
    struct buffer heard;

    bench_start(&bench);
    bench_run(&bench, 1);
    stranger_says(&bench, bytes_make(NULL, 0), &heard);
    assert_int_equal(buffer_size(&heard), 0);
    buffer_free(&heard);
    bench_stop(&bench);
}

static void refused_with(struct bench *bench, struct peer_hello hello, const char *text)
{
    struct buffer frame, heard;
    struct peer_frame refuse;
    size_t used;

    hello_frame(&frame, hello);
    stranger_says(bench, buffer_bytes(&frame), &heard);
    assert_int_equal(peer_frame_parse(buffer_bytes(&heard), 0, 1000, &refuse, &used), STATUS_OK);
    assert_int_equal(refuse.kind, PEER_FRAME_REFUSE);
    if (memmem(refuse.payload.data, refuse.payload.size, text, strlen(text)) == NULL)
        fail_msg("'%.*s' does not say '%s'", (int)refuse.payload.size,
                 (const char *)refuse.payload.data, text);
    buffer_free(&frame);
    buffer_free(&heard);
}

static void test_a_wrong_hello_is_refused_with_a_reason(void **state)
{
    struct peer_hello good = {.version = PEER_FRAME_VERSION,
                              .cluster = cluster_a,
                              .node = 2,
                              .to_node = 1,
                              .epoch = 1,
                              .store = 5,
                              .worker_count = 1,
                              .name = "n2"};
    struct peer_hello hello;
    struct bench bench;

    bench_start(&bench);
    bench_run(&bench, 2);
    bench_wait(&bench, one_and_two_up, "nodes 1 and 2 see each other");
    hello = good;
    hello.to_node = 3;
    refused_with(&bench, hello, "wants node 3, but this is node 1 (n1)");
    hello = good;
    hello.node = 1;
    refused_with(&bench, hello, "two processes have the node id 1");
    hello = good;
    hello.node = 7;
    refused_with(&bench, hello, "not in the member list");
    hello = good;
    hello.version = 2;
    refused_with(&bench, hello, "version 2");
    hello = good;
    memcpy(hello.name, "other", 6);
    refused_with(&bench, hello, "is named other, but n2");
    hello = good; /* the right node, but another store while the first is connected */
    refused_with(&bench, hello, "another process with node id 2");
    hello = good;
    hello.store = 1002;
    refused_with(&bench, hello, "boot epoch 1 of node 2 is older than 10");
    assert_true(bench.nodes[1].workers[0].downs[2] == 0); /* none of them disturbed node 2 */
    bench_stop(&bench);
}

/* The peer sends good frames behind it all the time, so nothing but the check of the size can tell
 * (F46). */
static void test_a_damaged_size_closes_the_connection(void **state)
{
    struct peer_hello hello = {.version = PEER_FRAME_VERSION,
                               .cluster = cluster_a,
                               .node = 2,
                               .to_node = 1,
                               .epoch = 11,
                               .store = 1002,
                               .worker_count = 1,
                               .name = "n2"};
    const char *damaged = "broken input, closing the connection node=2 name=n2: damaged data";
    uint32_t seed = peer_frame_seed(cluster_a, 2, hello.epoch, 1);
    struct bench bench;
    struct buffer frames, heard;
    size_t hello_size;

    bench_start(&bench);
    hello_frame(&frames, hello);
    hello_size = buffer_size(&frames);
    for (int i = 0; i < 3; i++)
        peer_frame_append(&frames, seed, PEER_FRAME_STATUS, 0, bytes_of("good"));
    frames.memory[frames.start + hello_size + 1] ^= 0x40; /* 8 bytes become 16 KiB */
    bench_run(&bench, 2);
    node_stop(&bench.nodes[2]); /* a member, whose next start is played here */
    stranger_says(&bench, buffer_bytes(&frames), &heard);
    bench_lock(&bench);
    if (memmem(buffer_bytes(&bench.lines).data, buffer_size(&bench.lines), damaged,
               strlen(damaged)) == NULL)
        fail_msg("closed for another reason: %.*s", (int)buffer_size(&bench.lines),
                 (const char *)buffer_bytes(&bench.lines).data);
    bench_unlock(&bench);
    buffer_free(&frames);
    buffer_free(&heard);
    bench_stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_worker_reaches_every_worker_of_every_node),
        cmocka_unit_test(test_a_frame_to_oneself_is_never_delivered_inside_send),
        cmocka_unit_test(test_frames_to_a_peer_that_is_down_are_dropped),
        cmocka_unit_test(test_a_restarted_node_is_reported_down_and_up),
        cmocka_unit_test(test_an_older_incarnation_is_refused),
        cmocka_unit_test(test_a_replaced_disk_starts_its_epochs_anew),
        cmocka_unit_test(test_another_cluster_is_refused_by_name),
        cmocka_unit_test(test_founding_gives_all_connections_the_new_identity),
        cmocka_unit_test(test_garbage_before_the_hello_closes_the_connection),
        cmocka_unit_test(test_a_silent_stranger_is_closed_in_time),
        cmocka_unit_test(test_a_damaged_size_closes_the_connection),
        cmocka_unit_test(test_a_wrong_hello_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
