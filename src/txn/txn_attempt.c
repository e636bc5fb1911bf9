/* txn_attempt.c - one attempt with locks (C2, C3). It never waits for locks of others while it
 * holds some: who meets one gives up all of it, and another attempt begins, with another id. */
#include "txn/txn_internal.h"

/* --- giving up --- */

/* DECIDE is open, or its outcome is not known, or it did it: nothing may be aborted (C5). */
static bool may_be_decided(const struct txn_attempt *attempt)
{
    const struct txn_part *primary = attempt->primary;
    return primary != NULL && primary->op == TXN_DECIDE && primary->state != PART_IDLE &&
           primary->state != PART_CLEAN;
}

/* Nobody waits for it: if it gets lost, the participant will ask. */
static void abort_part(const struct txn_attempt *attempt, const struct txn_part *part)
{
    struct txn_frame frame = {.op = TXN_RESOLVE, .id = attempt->id, .outcome = TXN_ABORT};
    struct errand_options options = {
        .slot = part->request.slot, .client = attempt->client, .ordered = true};

    txn_errand_send(attempt->worker, &frame, &options);
}

static void part_give_up(struct txn_attempt *attempt, struct txn_part *part, bool aborts)
{
    bool holds = part->op == TXN_PREPARE && part->state != PART_IDLE && part->state != PART_CLEAN;

    if (part->state == PART_ASKED) {
        gateway_forget(attempt->worker->gateway, &part->request);
        attempt->waiting--;
    }
    part->state = PART_IDLE;
    if (holds && aborts) abort_part(attempt, part);
}

/* Its identity was used, and the primary has not logged an answer to DECIDE. */
static bool is_not_over(const struct txn_attempt *attempt)
{
    const struct txn_part *primary = attempt->primary;
    if (attempt->reserved) return true;
    if (primary == NULL || attempt->part_count == 1 || primary->op != TXN_DECIDE) return false;
    return primary->state != PART_IDLE && primary->state != PART_ANSWERED;
}

void txn_give_up(struct txn_attempt *attempt)
{
    bool aborts = !may_be_decided(attempt), retires = is_not_over(attempt);

    world_timer_stop(attempt->worker->world, &attempt->timer);
    if (attempt->reserved) gateway_forget(attempt->worker->gateway, &attempt->primary->request);
    attempt->reserved = false;
    for (uint32_t i = 0; i < attempt->part_count; i++)
        part_give_up(attempt, &attempt->parts[i], aborts);
    if (retires) txn_retire(attempt->worker, attempt->id);
}

/* --- prepare --- */

/* The lowest group that is written; of those that only read, if none is (C1). */
static struct txn_part *choose_primary(struct txn_attempt *attempt)
{
    struct txn_part *primary = &attempt->parts[0];

    for (uint32_t i = 1; i < attempt->part_count; i++) {
        struct txn_part *part = &attempt->parts[i];
        bool writes = part->piece->write, known = primary->piece->write;
        bool lower = part->group.value < primary->group.value;
        if ((writes && !known) || (writes == known && lower)) primary = part;
    }
    return primary;
}

/* Its identity is the seq of what it will send at last. */
static bool take_identity(struct txn_attempt *attempt)
{
    struct gateway *gateway = attempt->worker->gateway;
    struct txn_part *primary = attempt->primary = choose_primary(attempt);

    primary->op = TXN_DECIDE;
    primary->request.body = bytes_make(NULL, 0);
    if (!gateway_reserve(gateway, &primary->request)) return false;
    attempt->reserved = true;
    attempt->id = (struct txn_id){.gateway = gateway_identity(gateway),
                                  .primary = primary->group,
                                  .seq = gateway_request_seq(&primary->request)};
    return true;
}

static void wait_for_prepared(struct txn_attempt *attempt)
{
    struct world *world = attempt->worker->world;
    uint64_t now = world_now(world);
    uint64_t left = attempt->ends > now ? attempt->ends - now : 0;
    uint64_t limit = attempt->prepare_limit;

    world_timer_start(world, &attempt->timer, limit < left ? limit : left);
}

void txn_lock_all(struct txn_attempt *attempt)
{
    struct gateway *gateway = attempt->worker->gateway;

    attempt->stage = STAGE_PREPARE;
    for (uint32_t i = 0; i < attempt->part_count; i++)
        attempt->parts[i].state = PART_IDLE;
    if (!take_identity(attempt)) {
        bool fenced = gateway_is_fenced(gateway);
        txn_fail_for_good(attempt, fenced ? TXN_UNAVAILABLE : TXN_BUSY, NULL);
        return;
    }
    wait_for_prepared(attempt);
    for (uint32_t i = 0; i < attempt->part_count && txn_goes_on(attempt); i++) {
        struct txn_part *part = &attempt->parts[i];
        if (part == attempt->primary) continue;
        txn_part_make(part, (struct txn_frame){.op = TXN_PREPARE});
        txn_part_submit(part);
    }
}

static void conflict(struct txn_attempt *attempt)
{
    SOMETIMES(attempt->worker->world, "a transaction met a lock of another");
    attempt->worker->statistics.conflicts++;
    txn_together_note(attempt);
    attempt->overdue = false;
    txn_fail(attempt);
}

static void take_refusal(struct txn_part *part, struct bytes reply)
{
    struct txn_attempt *attempt = part->attempt;

    if (attempt->failed) return;
    bool fits = txn_part_take_reply(part, reply);
    txn_fail_for_good(attempt, fits ? TXN_REFUSED : TXN_TOO_BIG, part->piece);
}

static void take_prepared(struct txn_part *part, const struct txn_answer *answer)
{
    struct txn_attempt *attempt = part->attempt;

    part->state = answer->status == TXN_STATUS_DONE ? PART_ANSWERED : PART_CLEAN;
    switch (answer->status) {
    case TXN_STATUS_DONE:
        if (!txn_part_take_reply(part, answer->reply))
            txn_fail_for_good(attempt, TXN_TOO_BIG, part->piece);
        return;
    case TXN_STATUS_REFUSED:
        take_refusal(part, answer->reply);
        return;
    case TXN_STATUS_TOO_BIG:
        txn_fail_for_good(attempt, TXN_TOO_BIG, part->piece);
        return;
    default:
        conflict(attempt);
    }
}

/* Prepared, and its reply is lost for ever: another attempt has another. */
static void lost_reply(struct txn_part *part)
{
    struct txn_attempt *attempt = part->attempt;

    if (attempt->lost_replies++ < TXN_LOST_REPLIES_MAX)
        txn_fail(attempt);
    else
        txn_fail_for_good(attempt, TXN_TOO_BIG, part->piece);
}

void txn_on_prepared(struct txn_part *part, enum gateway_outcome outcome, struct bytes reply)
{
    struct txn_attempt *attempt = part->attempt;
    struct txn_answer answer;

    part->state = PART_UNSURE;
    if (attempt->stage != STAGE_PREPARE) return; /* decided without it */
    if (outcome == GATEWAY_REPLY) {
        bool known = txn_answer_decode(reply, TXN_PREPARE, &answer) == STATUS_OK;
        if (known)
            take_prepared(part, &answer);
        else
            txn_fail(attempt);
    } else if (outcome == GATEWAY_TOO_BIG && reply.size == 0) {
        lost_reply(part);
    } else if (outcome == GATEWAY_UNKNOWN) {
        txn_fail(attempt);
    } else {
        txn_fail_by_outcome(attempt, part, outcome, reply);
    }
}

/* --- decide --- */

void txn_decide(struct txn_attempt *attempt)
{
    struct buffer groups;
    struct writer writer = writer_make(&groups);

    buffer_init(&groups, TXN_GROUPS_MAX * sizeof(uint32_t));
    for (uint32_t i = 0; i < attempt->part_count; i++)
        if (&attempt->parts[i] != attempt->primary)
            write_u32(&writer, attempt->parts[i].group.value);
    ASSERT(!writer.failed);
    if (!PLANTED(attempt->worker->world, "txn_decision_timed_out"))
        world_timer_stop(attempt->worker->world, &attempt->timer);
    attempt->stage = STAGE_DECIDE;
    txn_part_make(attempt->primary, (struct txn_frame){.op = TXN_DECIDE,
                                                       .group_count = attempt->part_count - 1,
                                                       .groups = buffer_bytes(&groups)});
    buffer_free(&groups);
    txn_part_submit(attempt->primary);
}

void txn_decide_alone(struct txn_attempt *attempt)
{
    attempt->stage = STAGE_DECIDE;
    attempt->primary = &attempt->parts[0];
    world_timer_stop(attempt->worker->world, &attempt->timer);
    txn_part_make(attempt->primary, (struct txn_frame){.op = TXN_DECIDE});
    txn_part_submit(attempt->primary);
}

static void take_decided(struct txn_part *part, const struct txn_answer *answer)
{
    struct txn_attempt *attempt = part->attempt;

    switch (answer->status) {
    case TXN_STATUS_DONE:
        if (!txn_part_take_reply(part, answer->reply))
            txn_fail_for_good(attempt, TXN_LOST_REPLY, NULL);
        return;
    case TXN_STATUS_COMMITTED:
        txn_fail_for_good(attempt, TXN_LOST_REPLY, NULL);
        return;
    default:
        break;
    }
    part->state = PART_CLEAN; /* it did nothing, and cannot any more */
    switch (answer->status) {
    case TXN_STATUS_REFUSED:
        take_refusal(part, answer->reply);
        return;
    case TXN_STATUS_TOO_BIG:
        txn_fail_for_good(attempt, TXN_TOO_BIG, part->piece);
        return;
    case TXN_STATUS_ABORTED:
        SOMETIMES(attempt->worker->world, "a decision met a tombstone");
        txn_fail(attempt);
        return;
    default:
        conflict(attempt);
    }
}

/* The outcome of this attempt is not known, so there is no other one (C5). */
static void unknown(struct txn_part *part)
{
    struct txn_attempt *attempt = part->attempt;

    part->state = PART_UNSURE;
    if (!PLANTED(attempt->worker->world, "txn_retry_without_outcome")) {
        txn_fail_for_good(attempt, TXN_UNKNOWN, NULL);
        return;
    }
    attempt->ends += attempt->worker->options.patience;
    txn_fail(attempt);
}

void txn_on_decided(struct txn_part *part, enum gateway_outcome outcome, struct bytes reply)
{
    struct txn_attempt *attempt = part->attempt;
    struct txn_answer answer;

    part->state = PART_ANSWERED;
    if (outcome == GATEWAY_REPLY && txn_answer_decode(reply, TXN_DECIDE, &answer) == STATUS_OK) {
        take_decided(part, &answer);
    } else if (outcome == GATEWAY_REPLY || outcome == GATEWAY_UNKNOWN) {
        unknown(part);
    } else if (outcome == GATEWAY_TOO_BIG && reply.size == 0) {
        txn_fail_for_good(attempt, TXN_LOST_REPLY, NULL);
    } else {
        part->state = PART_CLEAN;
        txn_fail_by_outcome(attempt, part, outcome, reply);
    }
}
