/* txn_read.c - pieces that only read (C7). All are read, and read again when all have answered: if
 * each consulted the same rows in the same versions as before, all of it was so at any instant
 * between the two rounds. A round that differs is the first one of the next comparison. */
#include "txn/txn_internal.h"

void txn_read_all(struct txn_attempt *attempt)
{
    struct world *world = attempt->worker->world;
    uint64_t now = world_now(world);

    attempt->stage = STAGE_READ;
    world_timer_start(world, &attempt->timer, attempt->ends > now ? attempt->ends - now : 0);
    for (uint32_t i = 0; i < attempt->part_count && txn_goes_on(attempt); i++) {
        txn_part_make(&attempt->parts[i], (struct txn_frame){.op = TXN_READ});
        txn_part_submit(&attempt->parts[i]);
    }
}

void txn_on_read(struct txn_part *part, enum gateway_outcome outcome, struct bytes reply)
{
    struct txn_attempt *attempt = part->attempt;
    struct txn_answer answer;

    part->state = PART_CLEAN;
    if (outcome != GATEWAY_REPLY || txn_answer_decode(reply, TXN_READ, &answer)) {
        bool text = outcome != GATEWAY_REPLY;
        txn_fail_by_outcome(attempt, part, outcome, text ? reply : bytes_make(NULL, 0));
        return;
    }
    part->state = PART_ANSWERED;
    part->status = answer.status;
    memcpy(part->digest_before, part->digest, sizeof(part->digest));
    memcpy(part->digest, answer.digest, sizeof(part->digest));
    bool fits = answer.status != TXN_STATUS_TOO_BIG && txn_part_take_reply(part, answer.reply);
    if (!fits) txn_fail_for_good(attempt, TXN_TOO_BIG, part->piece);
}

static bool wants_to_write(const struct txn_attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->part_count; i++)
        if (attempt->parts[i].status == TXN_STATUS_WRITES) return true;
    return false;
}

static bool is_as_before(const struct txn_attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->part_count; i++) {
        const struct txn_part *part = &attempt->parts[i];
        if (memcmp(part->digest, part->digest_before, sizeof(part->digest)) != 0) return false;
    }
    return true;
}

static void read_with_locks(struct txn_attempt *attempt)
{
    if (attempt->part_count > 1)
        txn_lock_all(attempt);
    else
        txn_decide_alone(attempt);
}

static bool is_enough(const struct txn_attempt *attempt)
{
    bool once = attempt->part_count == 1 || PLANTED(attempt->worker->world, "txn_reads_once");
    return once || (attempt->read_rounds > 1 && is_as_before(attempt));
}

/* Locks of many partitions would have to be free at one instant, as they are not waited for while
 * others are held: the more there are, the longer reading again is the better way. */
static uint32_t failures_max(const struct txn_attempt *attempt)
{
    if (attempt->part_count < TXN_READ_FAILURES_MAX) return TXN_READ_FAILURES_MAX;
    bool many = attempt->part_count > TXN_READ_FAILURES_LAST;
    return many ? TXN_READ_FAILURES_LAST : attempt->part_count;
}

bool txn_read_over(struct txn_attempt *attempt)
{
    struct txn_worker *worker = attempt->worker;

    if (attempt->request->look) return true;
    if (wants_to_write(attempt)) {
        read_with_locks(attempt);
        return false;
    }
    attempt->read_rounds++;
    if (is_enough(attempt)) return true;
    if (attempt->read_rounds > 1) {
        attempt->read_failures++;
        worker->statistics.read_retries++;
    }
    if (attempt->read_failures < failures_max(attempt)) {
        txn_read_all(attempt);
    } else {
        SOMETIMES(worker->world, "a transaction of reads took locks");
        read_with_locks(attempt);
    }
    return false;
}
