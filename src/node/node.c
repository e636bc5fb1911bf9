/* Creation and end, calls between workers, failure. */
#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"
#include "cluster/view_codec.h"
#include "net/admission.h"
#include "node/node_snapshot.h"

void node_listed_address(const char *announced, const char *listens, char ret[ADDRESS_SIZE_MAX])
{
    struct address own, given;

    bool whole = announced[0] == '\0' || parse_address(bytes_of(announced), false, &given);
    if (whole || !parse_address(bytes_of(listens), true, &own))
        snprintf(ret, ADDRESS_SIZE_MAX, "%s", announced[0] != '\0' ? announced : listens);
    else
        snprintf(ret, ADDRESS_SIZE_MAX, "%s:%u", announced, (unsigned)own.port);
}

void node_options_default(struct node_options *options)
{
    *options = (struct node_options){
        .workers = 1,
        .patience = 10 * 1000 * 1000,
        .repair_after = REPAIR_AFTER_DEFAULT_US,
        .max_connections = 10000,
        .request_timeout = 60 * 1000 * 1000,
        .output_timeout = 60 * 1000 * 1000,
        .timing = {.heartbeat = 50 * 1000,
                   .election_timeout_min = 300 * 1000,
                   .election_timeout_max = 600 * 1000,
                   .lease = 200 * 1000},
        .log_bytes_max = 1 << 30,
        .flush_bytes = 32 << 20,
        .entries_bytes_max = 4 << 20,
        .disk_reserve = 128 << 20,
        .scrub_rate = 512 << 10,
        .scrub_every = UINT64_C(86400) * 1000 * 1000,
        .redis_limits = redis_limits_default(),
    };
    snprintf(options->name, sizeof(options->name), "n1");
}

const struct logger *node_logger(const struct node *node)
{
    return world_logger(node->world);
}

/* --- calls between workers ------------------------------------------------------------ */

struct node_post {
    struct world_post post;
    struct node_worker *to;
    void (*run)(struct node_worker *worker, void *argument);
    void *argument;
    void (*drop)(void *argument); /* what frees it if a simulated process died before; or NULL */
};

static void node_post_run(struct world_post *post)
{
    struct node_post *call = CONTAINER_OF(post, struct node_post, post);

    call->run(call->to, call->argument);
    memory_free(call);
}

static void node_post_dropped(struct world_post *post)
{
    struct node_post *call = CONTAINER_OF(post, struct node_post, post);

    if (call->drop != NULL) call->drop(call->argument);
    memory_free(call);
}

void node_call(struct node_worker *from, struct node_worker *to,
               void (*run)(struct node_worker *worker, void *argument), void *argument)
{
    node_call_with(from, to, run, argument, NULL);
}

void node_call_with(struct node_worker *from, struct node_worker *to,
                    void (*run)(struct node_worker *worker, void *argument), void *argument,
                    void (*drop)(void *argument))
{
    if (from == to) {
        run(to, argument);
        return;
    }
    struct node_post *call = memory_allocate_zero(sizeof(*call));
    call->post.run = node_post_run;
    call->post.dropped = node_post_dropped;
    call->drop = drop;
    call->to = to;
    call->run = run;
    call->argument = argument;
    world_post(to->world, &call->post);
}

/* --- failure -------------------------------------------------------------------------- */

static void node_failure_run(struct world_deferred *deferred)
{
    struct node *node = deferred->context;

    if (node->state == NODE_STOPPED) return;
    node_boot_stop(node);
    node->state = NODE_STOPPED;
    node_admin_close(node);
    node->platform.on_stopped(node->platform.context, &node->failure);
}

/* The node cannot go on. Told at the end of the turn: callers may hold what would be freed. */
void node_fail(struct node *node, const struct error *error)
{
    if (node->fail_pending || node->state == NODE_STOPPED) return;
    if (error->status == STATUS_NO_SPACE && node->state < NODE_RUNNING) node_reserve_drop(node);
    node->fail_pending = true;
    node->failure = *error;
    world_defer(node->world, &node->failure_out);
}

/* --- creation ------------------------------------------------------------------------- */

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct node_member *)a)->name, ((const struct node_member *)b)->name);
}

struct node *node_create(const struct node_options *options, const struct node_platform *platform)
{
    struct node *node = memory_allocate_zero(sizeof(*node));

    _Static_assert((int)ENGINE_GATE_STORES_MAX >= (int)STORES_MAX, "each store has a place");
    ASSERT(platform->worker_count >= 1 && platform->worker_count <= WORKERS_MAX);
    ASSERT(options->member_count <= MEMBERS_MAX);
    node->options = *options;
    uint32_t *stage_timeout_ms = &node->options.redis_limits.stage_timeout_ms;
    uint32_t least = redis_stage_timeout_least_ms(options->patience);
    if (*stage_timeout_ms < least) *stage_timeout_ms = least;
    node->platform = *platform;
    node->world = platform->worlds[0];
    path_join(node->quarantine, node->options.data, "quarantine");
    node->failure_out = (struct world_deferred){.run = node_failure_run, .context = node};
    cluster_view_init(&node->birth);
    buffer_init(&node->save.body, SEALED_SIZE_MAX);
    buffer_init(&node->sealed.table, VIEW_SIZE_MAX);
    buffer_init(&node->sealed.birth, VIEW_SIZE_MAX);

    node->member_count = options->member_count;
    node->members_given = options->member_count > 0;
    memcpy(node->members, options->members, options->member_count * sizeof(*node->members));
    qsort(node->members, node->member_count, sizeof(*node->members), compare_members);

    struct admission_options admission = {.total_max = options->max_connections,
                                          .address_max = options->max_connections_per_address,
                                          .secret = world_random(node->world)};
    node->admission = admission_create(&admission);
    node->rest_board = rest_board_create();
    node->copy_gate =
        copy_gate_create(options->copy_rate_least, options->copy_rate_max, world_now(node->world));
    node->merge_gate = engine_gate_create(node->world, MERGE_PACE);
    node->workers = memory_allocate_zero(platform->worker_count * sizeof(*node->workers));
    for (uint32_t i = 0; i < platform->worker_count; i++)
        worker_init(&node->workers[i], node, i);
    return node;
}

void node_destroy(struct node *node)
{
    if (node == NULL) return;
    founding_close(node->founding);
    node_admin_close(node);
    node_collector_free(node->collector);
    for (uint32_t i = 0; i < node->platform.worker_count; i++) {
        struct node_worker *worker = &node->workers[i];
        worker_close(worker);
        cluster_view_free(&worker->view);
        memory_free(worker->news);
        memory_free(worker->lost);
        memory_free(worker->named_at_start);
    }
    if (node->log != NULL) log_abandon(node->log);
    for (uint32_t i = 0; i < STORES_MAX; i++)
        if (node->engines[i] != NULL) engine_close(node->engines[i]);
    node_stores_free(node);
    node_lost_free(node);
    node_scrub_free(node);
    node_fence_free(node);
    node_memory_free(node);
    file_close(node->lock);
    buffer_free(&node->boot.body);
    buffer_free(&node->found.body);
    buffer_free(&node->epochs.body);
    for (uint32_t i = 0; i < REJOIN_QUESTIONS_MAX; i++)
        buffer_free(&node->rejoins[i].question.body);
    node_admit_free(node);
    buffer_free(&node->join.input);
    node_mover_free(node);
    node_tables_free(node);
    node_operate_free(node);
    buffer_free(&node->save.body);
    cluster_view_free(&node->birth);
    admission_destroy(node->admission);
    rest_board_destroy(node->rest_board);
    copy_gate_destroy(node->copy_gate);
    engine_gate_destroy(node->merge_gate);
    memory_free(node->workers);
    memory_free(node);
}

/* --- what others ask ------------------------------------------------------------------ */

const struct node_member *node_members(const struct node *node, uint32_t *ret_count)
{
    *ret_count = node->member_count;
    return node->members;
}

bool node_is_ready(const struct node *node)
{
    return node->ready;
}

bool node_is_whole(const struct node *node)
{
    return !node->repair.active && node_stores_sound(node) && node_fence_pending(node) == 0;
}

uint16_t node_redis_port(const struct node *node)
{
    return node->workers[0].redis ? redis_service_port(node->workers[0].redis, false) : 0;
}

struct partition_host *node_host(struct node *node, uint32_t worker)
{
    return worker < node->platform.worker_count ? node->workers[worker].host : NULL;
}

struct gateway *node_gateway(struct node *node, uint32_t worker)
{
    return worker < node->platform.worker_count ? node->workers[worker].gateway : NULL;
}
