/* txn_coordinator.c - transactions of a worker's clients, from txn_run() to on_done().
 *
 *   only reads ─▶ READ ─▶ READ ... equal ─────────────────────────▶ done
 *                   └─ too often not, or an expired row ─▶ with locks
 *   with locks ─▶ PREPARE all others ─▶ DECIDE ───────────────────▶ done
 *                   └─ conflict ─▶ give all up ─▶ pause ─▶ again, until patience is over
 *
 * The gateway may answer from inside of what submits, and a client may go meanwhile: news only
 * change the state, and one loop, txn_step(), goes on with it. */
#include "txn/txn_internal.h"

/* --- parts --- */

/* In the queue for a lock, as it holds none meanwhile; not at once, for then it would not be seen
 * that many want the same (txn_together.c). Nodes of before do not understand it. */
static bool may_wait(const struct txn_attempt *attempt)
{
    bool known = attempt->worker->options.view->cluster_version >= VIEW_VERSION_TOGETHER;

    return known && attempt->part_count == 2 && (attempt->once || attempt->met_lock);
}

void txn_part_make(struct txn_part *part, struct txn_frame frame)
{
    struct txn_attempt *attempt = part->attempt;
    struct writer writer = writer_make(&part->body);

    frame.id = attempt->id;
    frame.service = attempt->request->service;
    frame.several = attempt->request->several;
    frame.waits = frame.op == TXN_PREPARE && may_wait(attempt);
    frame.body = part->piece->body;
    buffer_clear(&part->body);
    txn_frame_encode(&writer, &frame);
    ASSERT(!writer.failed);
    part->op = frame.op;
    part->request.write = frame.op == TXN_DECIDE;
    part->request.grows = frame.op != TXN_READ && part->piece->grows;
    part->request.ordered = frame.op == TXN_PREPARE; /* and so is its RESOLVE, behind it */
    part->request.body = buffer_bytes(&part->body);
}

void txn_part_submit(struct txn_part *part)
{
    struct txn_attempt *attempt = part->attempt;

    part->state = PART_ASKED;
    attempt->waiting++;
    if (attempt->reserved && part == attempt->primary) {
        attempt->reserved = false;
        gateway_submit_reserved(attempt->worker->gateway, &part->request);
    } else {
        gateway_submit(attempt->worker->gateway, &part->request);
    }
}

bool txn_part_take_reply(struct txn_part *part, struct bytes reply)
{
    buffer_clear(&part->piece->reply);
    return buffer_append(&part->piece->reply, reply) == STATUS_OK;
}

static void part_on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                          struct bytes reply)
{
    struct txn_part *part = request->context;
    struct txn_attempt *attempt = part->attempt;

    attempt->waiting--;
    if (attempt->request == NULL)
        part->state = PART_UNSURE; /* its client has gone meanwhile */
    else if (part->op == TXN_READ)
        txn_on_read(part, outcome, reply);
    else if (part->op == TXN_PREPARE)
        txn_on_prepared(part, outcome, reply);
    else
        txn_on_decided(part, outcome, reply);
    txn_step(attempt);
}

/* --- failures --- */

void txn_fail(struct txn_attempt *attempt)
{
    if (attempt->failed) return;
    attempt->failed = true;
    attempt->final = false;
}

void txn_fail_for_good(struct txn_attempt *attempt, enum txn_result result,
                       const struct txn_piece *refused)
{
    if (attempt->failed) return;
    attempt->failed = true;
    attempt->final = true;
    attempt->result = result;
    attempt->refused = refused;
}

void txn_fail_by_outcome(struct txn_attempt *attempt, struct txn_part *part,
                         enum gateway_outcome outcome, struct bytes text)
{
    enum txn_result result = TXN_UNAVAILABLE;

    if (attempt->failed) return;
    if (outcome == GATEWAY_BUSY) result = TXN_BUSY;
    if (outcome == GATEWAY_NO_SPACE) result = TXN_NO_SPACE;
    if (outcome == GATEWAY_TOO_BIG) result = TXN_TOO_BIG;
    if (!txn_part_take_reply(part, text)) buffer_clear(&part->piece->reply);
    txn_fail_for_good(attempt, result, part->piece);
}

/* --- life --- */

static void attempt_free(struct txn_attempt *attempt)
{
    struct txn_worker *worker = attempt->worker;

    world_timer_stop(worker->world, &attempt->timer);
    txn_together_left(attempt);
    for (uint32_t i = 0; i < attempt->part_count; i++)
        buffer_free(&attempt->parts[i].body);
    list_remove(&attempt->link);
    worker->open -= !attempt->once;
    memory_free(attempt);
}

static void count_result(struct txn_statistics *statistics, enum txn_result result, bool read)
{
    statistics->committed += (result == TXN_DONE && !read) || result == TXN_LOST_REPLY;
    statistics->reads += result == TXN_DONE && read;
    statistics->refused += result == TXN_REFUSED;
    statistics->unknown += result == TXN_UNKNOWN;
    statistics->unavailable += result == TXN_UNAVAILABLE;
    statistics->busy += result == TXN_BUSY;
}

void txn_end(struct txn_attempt *attempt, enum txn_result result, const struct txn_piece *refused)
{
    struct txn_worker *worker = attempt->worker;
    bool read = attempt->stage == STAGE_READ;

    txn_give_up(attempt);
    struct txn_request *request = attempt->request;
    attempt_free(attempt);
    if (request == NULL) return; /* its client has gone, maybe meanwhile */
    if (!request->several) count_result(&worker->statistics, result, read);
    request->attempt = NULL;
    request->on_done(request, result, refused);
}

static void pause_for(struct txn_attempt *attempt, uint64_t pause, uint64_t now)
{
    uint64_t left = attempt->ends - now;

    attempt->stage = STAGE_PAUSE;
    attempt->failed = false;
    world_timer_start(attempt->worker->world, &attempt->timer, pause < left ? pause : left);
}

static void attempt_pause(struct txn_attempt *attempt, uint64_t now)
{
    pause_for(attempt, world_random(attempt->worker->world) % (attempt->pause + 1), now);
    attempt->pause *= 2;
    if (attempt->pause > TXN_PAUSE_LAST_US) attempt->pause = TXN_PAUSE_LAST_US;
}

/* False: it is gone. */
static bool attempt_failed(struct txn_attempt *attempt)
{
    uint64_t now = world_now(attempt->worker->world);

    if (attempt->final) {
        txn_end(attempt, attempt->result, attempt->refused);
        return false;
    }
    if (now >= attempt->ends || attempt->once) {
        txn_end(attempt, attempt->overdue ? TXN_UNAVAILABLE : TXN_BUSY, NULL);
        return false;
    }
    txn_give_up(attempt);
    attempt_pause(attempt, now);
    return true;
}

void txn_pause(struct txn_attempt *attempt)
{
    txn_fail(attempt);
    txn_step(attempt);
}

static bool first_is_prepared(const struct txn_attempt *attempt)
{
    if (!PLANTED(attempt->worker->world, "txn_decide_before_prepared")) return false;
    for (uint32_t i = 0; i < attempt->part_count; i++)
        if (attempt->parts[i].state == PART_ANSWERED) return true;
    return false;
}

static bool is_due(const struct txn_attempt *attempt)
{
    if (!txn_goes_on(attempt)) return true;
    switch (attempt->stage) {
    case STAGE_READ:
        return attempt->waiting == 0;
    case STAGE_PREPARE:
        return attempt->waiting == 0 || first_is_prepared(attempt);
    case STAGE_DECIDE:
        return attempt->primary->state != PART_ASKED;
    case STAGE_PAUSE:
    case STAGE_JOINED:
        return false;
    }
    return false;
}

static const struct txn_piece *first_refused(const struct txn_attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->part_count; i++)
        if (attempt->parts[i].status == TXN_STATUS_REFUSED) return attempt->parts[i].piece;
    return NULL;
}

/* False: it is gone. */
static bool go_on(struct txn_attempt *attempt)
{
    const struct txn_piece *refused = NULL;

    if (attempt->request != NULL && attempt->failed) return attempt_failed(attempt);
    if (attempt->request != NULL && attempt->stage == STAGE_PREPARE) {
        txn_decide(attempt);
        return true;
    }
    if (attempt->request != NULL && attempt->stage == STAGE_READ) {
        if (!txn_read_over(attempt)) return true;
        refused = first_refused(attempt);
    }
    txn_end(attempt, refused != NULL ? TXN_REFUSED : TXN_DONE, refused);
    return false;
}

void txn_step(struct txn_attempt *attempt)
{
    if (attempt->stepping) return;
    attempt->stepping = true;
    while (is_due(attempt))
        if (!go_on(attempt)) return;
    attempt->stepping = false;
}

void txn_attempt_begin(struct txn_attempt *attempt, void (*begin)(struct txn_attempt *attempt))
{
    attempt->stepping = true;
    begin(attempt);
    attempt->stepping = false;
    txn_step(attempt);
}

static void on_timer(struct world_timer *timer)
{
    struct txn_attempt *attempt = timer->context;
    bool over = world_now(attempt->worker->world) >= attempt->ends;

    if (attempt->request == NULL || (attempt->stage == STAGE_PAUSE && over)) {
        txn_fail(attempt);
        txn_step(attempt);
        return;
    }
    if (attempt->stage == STAGE_PAUSE && txn_together_begin(attempt)) return;
    if (attempt->stage == STAGE_PAUSE) {
        txn_attempt_begin(attempt, attempt->part_count > 1 ? txn_lock_all : txn_decide_alone);
        return;
    }
    if (attempt->stage == STAGE_READ) {
        txn_fail_for_good(attempt, TXN_UNAVAILABLE, NULL);
    } else {
        SOMETIMES(attempt->worker->world, "a transaction was not prepared in time");
        attempt->overdue = true;
        attempt->prepare_limit *= 2;
        if (attempt->prepare_limit > TXN_PREPARE_LAST_US)
            attempt->prepare_limit = TXN_PREPARE_LAST_US;
        txn_fail(attempt);
    }
    txn_step(attempt);
}

static void part_init(struct txn_part *part, struct txn_attempt *attempt, struct txn_piece *piece)
{
    part->attempt = attempt;
    part->piece = piece;
    part->group = cluster_view_group_of_slot(attempt->worker->options.view, piece->slot);
    part->request.service = SERVICE_TXN;
    part->request.slot = piece->slot;
    part->request.client = attempt->client;
    part->request.body_stays = true;
    part->request.on_reply = part_on_reply;
    part->request.context = part;
    buffer_init(&part->body, SIZE_MAX / 2); /* pieces are bounded by who makes them */
}

struct txn_attempt *txn_attempt_make(struct txn_worker *worker, struct txn_request *request)
{
    size_t size = request->piece_count * sizeof(struct txn_part);
    struct txn_attempt *attempt = memory_allocate_zero(sizeof(*attempt) + size);

    attempt->worker = worker;
    attempt->request = request;
    attempt->client = request->client;
    attempt->ends = world_now(worker->world) + worker->options.patience;
    attempt->pause = TXN_PAUSE_FIRST_US;
    attempt->prepare_limit = TXN_PREPARE_FIRST_US;
    attempt->timer = (struct world_timer){.fire = on_timer, .context = attempt};
    attempt->part_count = request->piece_count;
    for (uint32_t i = 0; i < attempt->part_count; i++)
        part_init(&attempt->parts[i], attempt, &request->pieces[i]);
    attempt->groups_hash = txn_together_hash(attempt);
    list_insert_before(&worker->attempts, &attempt->link);
    attempt->once = request->several;
    worker->open += !attempt->once;
    request->attempt = attempt;
    return attempt;
}

static bool writes(const struct txn_request *request)
{
    for (uint32_t i = 0; i < request->piece_count; i++)
        if (request->pieces[i].write) return true;
    return false;
}

void txn_run(struct txn_worker *worker, struct txn_request *request)
{
    ASSERT(request->piece_count > 0);
    request->attempt = NULL;
    if (worker->closing || worker->open >= worker->options.open_max) {
        enum txn_result result = worker->closing ? TXN_UNAVAILABLE : TXN_BUSY;
        count_result(&worker->statistics, result, false);
        request->on_done(request, result, NULL);
        return;
    }
    struct txn_attempt *attempt = txn_attempt_make(worker, request);
    if (request->look || !writes(request))
        txn_attempt_begin(attempt, txn_read_all);
    else if (txn_together_waits(attempt))
        pause_for(attempt, TXN_GATHER_US, world_now(worker->world));
    else
        txn_attempt_begin(attempt, attempt->part_count > 1 ? txn_lock_all : txn_decide_alone);
}

void txn_forget(struct txn_worker *worker, struct txn_request *request)
{
    struct txn_attempt *attempt = request->attempt;

    if (attempt == NULL) return;
    ASSERT(attempt->worker == worker);
    attempt->request = NULL;
    request->attempt = NULL;
    /* Not from inside: whoever closes everything forgets all clients first, and then nothing may
     * be asked of the gateway any more. */
    if (!attempt->stepping) world_timer_start(worker->world, &attempt->timer, 0);
}

struct txn_worker *txn_open(const struct txn_worker_options *options)
{
    struct txn_worker *worker = memory_allocate_zero(sizeof(*worker));

    worker->options = *options;
    if (worker->options.open_max == 0) worker->options.open_max = TXN_OPEN_MAX_DEFAULT;
    worker->world = options->world;
    worker->gateway = options->gateway;
    list_init(&worker->attempts);
    list_init(&worker->together);
    list_init(&worker->errands);
    txn_retire_open(worker);
    txn_settle_open(worker);
    return worker;
}

static void end_open(struct txn_attempt *attempt)
{
    bool decides = attempt->stage == STAGE_DECIDE || txn_together_decides(attempt);

    attempt->stepping = true;
    txn_end(attempt, decides ? TXN_UNKNOWN : TXN_UNAVAILABLE, NULL);
}

void txn_close(struct txn_worker *worker)
{
    if (worker == NULL) return;
    worker->closing = true; /* no errands any more: participants will ask */
    while (!list_empty(&worker->attempts))
        end_open(CONTAINER_OF(worker->attempts.next, struct txn_attempt, link));
    txn_retire_close(worker);
    txn_settle_close(worker);
    while (!list_empty(&worker->errands))
        txn_errand_forget(CONTAINER_OF(worker->errands.next, struct txn_errand, link));
    memory_free(worker);
}

void txn_statistics(const struct txn_worker *worker, struct txn_statistics *ret)
{
    *ret = worker->statistics;
    ret->open = worker->open;
    ret->unsettled = worker->unsettled;
}
