/* SIGTERM: leaderships are handed over and clients get their answers, at the same time and for
 * a bounded time; then the workers close, then the log, and the clean mark is written.
 *
 *   stop -> every worker: drain clients, transfer leaderships, wait (NODE_STOP_MAX_US)
 *        -> all drained: every worker closes services and gateway, and waits for its log queue
 *           (NODE_CLOSE_MAX_US: a full or stalled disk is not waited for)
 *        -> all closed: storage, clean mark, on_stopped(NULL) */
#include "node/node_internal.h"

static void node_stopped(struct world_timer *timer)
{
    struct node *node = timer->context;

    if (node->state == NODE_STOPPED || node->fail_pending) return; /* it ends by itself */
    if (node->save.busy || node->disk.busy || node->scrub.busy || node->fence.busy ||
        node->memory.busy || node_stores_busy(node)) { /* its job holds the directory */
        world_timer_start(node->world, timer, NODE_STOP_POLL_US);
        return;
    }
    node->state = NODE_STOPPED;
    node_admin_close(node);
    node_stores_free(node);
    node_lost_free(node);
    node_close_storage(node, true);
    LOG_INFO(node_logger(node), "node", "stopped");
    node->platform.on_stopped(node->platform.context, NULL);
}

/* --- closing -------------------------------------------------------------------------- */

static void node_worker_closed(struct node_worker *zero, void *unused)
{
    struct node *node = zero->node;

    node->workers_closed++;
    if (node->workers_closed < node->platform.worker_count) return;
    node->close_timer = (struct world_timer){.fire = node_stopped, .context = node};
    world_timer_start(node->world, &node->close_timer, 0);
}

/* What waits was acknowledged to nobody, or is durable elsewhere: ending here is as a crash,
 * which the next start recovers from. */
static void worker_give_up(struct node_worker *worker)
{
    const struct node *node = worker->node;
    struct error *error = memory_allocate_zero(sizeof(*error));
    struct log_statistics statistics;

    log_statistics(node->log, &statistics);
    error_set(error, statistics.no_space ? STATUS_NO_SPACE : STATUS_TIMEOUT,
              "this stop is not a clean one: after %d s %.200s/log still has not taken the last "
              "records: %s. Nothing that was acknowledged is lost; the next start recovers as "
              "after a crash%s",
              NODE_CLOSE_MAX_US / 1000000, node->options.data,
              statistics.no_space ? "no space is left on its disk" : "its disk does not answer",
              statistics.no_space ? ", and needs some free space" : "");
    node_call_with(worker, &worker->node->workers[0], node_worker_failed, error, memory_free);
}

static void worker_close_when_idle(struct world_timer *timer)
{
    struct node_worker *worker = timer->context;

    if (worker->host != NULL && !host_is_idle(worker->host)) {
        if (world_now(worker->world) - worker->close_began >= NODE_CLOSE_MAX_US) {
            worker_give_up(worker);
            return;
        }
        world_timer_start(worker->world, timer, NODE_STOP_POLL_US);
        return;
    }
    worker_close(worker);
    node_call(worker, &worker->node->workers[0], node_worker_closed, NULL);
}

static void worker_begin_close(struct node_worker *worker, void *unused)
{
    if (worker->redis != NULL) redis_service_close(worker->redis);
    worker->redis = NULL;
    worker_close_txn(worker);
    if (worker->gateway != NULL) gateway_close(worker->gateway);
    worker->gateway = NULL;
    worker->close_began = world_now(worker->world);
    if (worker->host != NULL) host_begin_close(worker->host);
    worker->closing = true; /* no frames any more: soon the host has nothing under way */
    worker->stop_timer = (struct world_timer){.fire = worker_close_when_idle, .context = worker};
    world_timer_start(worker->world, &worker->stop_timer, 0);
}

/* --- draining ------------------------------------------------------------------------- */

static void node_worker_drained(struct node_worker *zero, void *unused)
{
    struct node *node = zero->node;

    node->workers_drained++;
    if (node->workers_drained < node->platform.worker_count) return;
    meta_question_forget(node, &node->boot);
    meta_question_forget(node, &node->found);
    meta_question_forget(node, &node->epochs);
    meta_question_forget(node, &node->replace);
    node_admit_forget(node);
    node_mover_forget(node);
    node_operate_forget(node);
    for (uint32_t i = 0; i < REJOIN_QUESTIONS_MAX; i++)
        meta_question_forget(node, &node->rejoins[i].question);
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(zero, &node->workers[i], worker_begin_close, NULL);
}

static bool worker_has_peers(const struct node_worker *worker)
{
    const struct cluster_view *view = &worker->view;

    for (uint32_t i = 0; i < view->node_count && worker->transport != NULL; i++)
        if (view->nodes[i].id != view->self &&
            transport_is_up(worker->transport, view->nodes[i].id))
            return true;
    return false;
}

static bool worker_is_drained(struct node_worker *worker)
{
    uint64_t age = world_now(worker->world) - worker->stop_began;
    bool clients_gone = worker->redis == NULL || redis_service_connections(worker->redis) == 0;
    bool answered = worker->gateway == NULL || gateway_pending(worker->gateway) == 0;
    bool led = worker->host != NULL && host_leader_count(worker->host) > 0;
    bool heirs = worker_has_peers(worker);

    if (age >= NODE_STOP_MAX_US) return true;
    if (led && heirs && age < NODE_TRANSFER_MAX_US) return false;
    return clients_gone && answered;
}

static void worker_drain_poll(struct world_timer *timer)
{
    struct node_worker *worker = timer->context;

    if (worker_is_drained(worker)) {
        node_call(worker, &worker->node->workers[0], node_worker_drained, NULL);
        return;
    }
    /* A transfer may fail: the successor was not caught up. */
    if (worker->host != NULL && ++worker->stop_polls % 20 == 0) host_transfer_all(worker->host);
    world_timer_start(worker->world, timer, NODE_STOP_POLL_US);
}

static void worker_begin_drain(struct node_worker *worker, void *unused)
{
    worker->stop_began = world_now(worker->world);
    if (worker->redis != NULL) redis_service_drain(worker->redis);
    if (worker->host != NULL && worker->view.node_count > 1) host_transfer_all(worker->host);
    worker->stop_timer = (struct world_timer){.fire = worker_drain_poll, .context = worker};
    world_timer_start(worker->world, &worker->stop_timer, 0);
}

void node_stop(struct node *node)
{
    struct node_worker *zero = &node->workers[0];

    if (node->state >= NODE_STOPPING || node->fail_pending) return;
    LOG_INFO(node_logger(node), "node", "stopping");
    bool running = node->state == NODE_RUNNING;
    bool opening = node->state == NODE_OPENING;
    node->ready = false;
    node_boot_stop(node);
    node->state = NODE_STOPPING;
    if (running || opening) {
        for (uint32_t i = 0; i < node->platform.worker_count; i++)
            node_call(zero, &node->workers[i], worker_begin_drain, NULL);
        return;
    }
    if (node->founding != NULL) node_founding_end(node);
    node->workers_closed = node->platform.worker_count - 1;
    worker_begin_close(zero, NULL);
}
