/* txn_cut_ask.c - questions of the coordinator of cuts to the parts, and what answers mean. */
#include "txn/txn_cut_internal.h"

uint16_t cut_part_slot(const struct txn_cuts *cuts, uint32_t part)
{
    return cuts->options.view->groups[GROUP_DATA_FIRST + part].slot_first;
}

/* --- answers --------------------------------------------------------------------------------- */

static bool take_freeze(struct cut_part *part, struct bytes rest)
{
    struct reader reader = reader_make(rest);

    part->freeze = read_u64(&reader);
    return !reader.failed;
}

static bool take_rest(struct cut_part *part, struct bytes rest)
{
    switch (part->op) {
    case CUT_FREEZE:
        return take_freeze(part, rest);
    case CUT_STATE:
        return cut_take_state(part, rest);
    case CUT_OUTCOMES:
        return cut_take_outcomes(part, rest);
    case CUT_TAKE:
    case CUT_CLOSE:
    case CUT_READ:
    case CUT_CLAIM:
        break;
    }
    return true;
}

static void take_answer(struct cut_part *part, struct bytes reply)
{
    struct txn_cut *cut = part->cut;
    enum cut_status status;
    struct bytes rest;

    if (!cut_reply_read(reply, &status, &rest)) status = CUT_FAILED;
    switch (status) {
    case CUT_OK:
        if (!take_rest(part, rest)) cut_fail(cut, TXN_CUT_UNAVAILABLE, false);
        return;
    case CUT_OPENING:
        part->again = part->op == CUT_STATE || part->op == CUT_OUTCOMES;
        if (!part->again) cut_fail(cut, TXN_CUT_BUSY, false);
        return;
    case CUT_REFUSED:
        cut_fail(cut, TXN_CUT_BUSY, false);
        return;
    case CUT_GONE:
        cut_fail(cut, TXN_CUT_GONE, false);
        return;
    case CUT_FULL:
        cut_fail(cut, TXN_CUT_FULL, true);
        return;
    case CUT_FAILED:
        break;
    }
    cut_fail(cut, TXN_CUT_UNAVAILABLE, false);
}

static void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply)
{
    struct cut_part *part = CONTAINER_OF(request, struct cut_part, request);
    struct txn_cut *cut = part->cut;

    ASSERT(part->asked && cut->waiting > 0);
    part->asked = false;
    cut->waiting--;
    if (outcome == GATEWAY_REPLY)
        take_answer(part, reply);
    else
        cut_fail(cut, TXN_CUT_UNAVAILABLE, false);
    cut_step(cut);
}

/* --- questions ------------------------------------------------------------------------------- */

void cut_part_ask_again(struct cut_part *part)
{
    struct txn_cut *cut = part->cut;
    uint32_t index = (uint32_t)(part - cut->parts);

    part->again = false;
    part->request = (struct gateway_request){.service = SERVICE_CUT,
                                             .slot = cut_part_slot(cut->cuts, index),
                                             .write = part->op == CUT_TAKE,
                                             .client = (uint16_t)cut->id,
                                             .body = buffer_bytes(&part->body),
                                             .body_stays = true,
                                             .on_reply = on_reply};
    part->asked = true;
    cut->waiting++;
    gateway_submit(cut->cuts->options.gateway, &part->request);
}

void cut_part_ask(struct cut_part *part, enum cut_op op, struct bytes txns, uint32_t txn_count)
{
    struct txn_cut *cut = part->cut;
    struct cut_request request = {.op = (uint8_t)op,
                                  .cut = cut->id,
                                  .freeze_ms = CUT_FREEZE_MS,
                                  .freeze = part->freeze,
                                  .lifetime = (int64_t)cut->lifetime,
                                  .txn_count = txn_count,
                                  .txns = txns};

    ASSERT(!part->asked);
    part->op = op;
    buffer_clear(&part->body);
    struct writer writer = writer_make(&part->body);
    cut_request_encode(&writer, &request);
    ASSERT(!writer.failed);
    cut_part_ask_again(part);
}

/* One that was sent may still be evaluated: a freeze ends by itself, and a TAKE is refused when it
 * has ended. What both left is closed. */
void cut_forget_all(struct txn_cut *cut)
{
    for (uint32_t i = 0; i < cut->part_count; i++) {
        struct cut_part *part = &cut->parts[i];
        part->again = false;
        if (!part->asked) continue;
        gateway_forget(cut->cuts->options.gateway, &part->request);
        part->asked = false;
        cut->waiting--;
    }
    ASSERT(cut->waiting == 0);
}

/* --- CLOSE ----------------------------------------------------------------------------------- */

static void errand_free(struct cut_errand *errand)
{
    list_remove(&errand->link);
    errand->cuts->errand_count--;
    memory_free(errand);
}

static void on_closed(struct gateway_request *request, enum gateway_outcome outcome,
                      struct bytes reply)
{
    errand_free(CONTAINER_OF(request, struct cut_errand, request));
}

static void close_part(struct txn_cut *cut, uint32_t part)
{
    struct txn_cuts *cuts = cut->cuts;
    struct cut_request request = {.op = CUT_CLOSE, .cut = cut->id};
    struct buffer buffer;

    if (cuts->errand_count == CUT_ERRANDS_MAX) return; /* its lifetime ends it */
    struct cut_errand *errand = memory_allocate_zero(sizeof(*errand));
    buffer_init(&buffer, sizeof(errand->body));
    struct writer writer = writer_make(&buffer);
    cut_request_encode(&writer, &request);
    ASSERT(!writer.failed);
    size_t size = buffer_size(&buffer);
    memcpy(errand->body, buffer_bytes(&buffer).data, size);
    buffer_free(&buffer);
    errand->cuts = cuts;
    errand->request = (struct gateway_request){.service = SERVICE_CUT,
                                               .slot = cut_part_slot(cuts, part),
                                               .write = true,
                                               .client = (uint16_t)cut->id,
                                               .body = bytes_make(errand->body, size),
                                               .body_stays = true,
                                               .on_reply = on_closed};
    list_insert_before(&cuts->errands, &errand->link);
    cuts->errand_count++;
    gateway_submit(cuts->options.gateway, &errand->request);
}

void cut_close_all(struct txn_cut *cut)
{
    uint32_t count = cut->stage == CUT_CLAIMING ? 1 : cut->part_count; /* others know nothing */

    for (uint32_t i = 0; i < count; i++)
        close_part(cut, i);
}

void cut_errands_drop(struct txn_cuts *cuts)
{
    while (!list_empty(&cuts->errands)) {
        struct cut_errand *errand = CONTAINER_OF(cuts->errands.next, struct cut_errand, link);
        gateway_forget(cuts->options.gateway, &errand->request);
        errand_free(errand);
    }
}
