/* txn_errand.c - small requests of transactions that no client waits for: RESOLVE, QUERY, FORGET.
 */
#include "txn/txn_internal.h"

static void errand_free(struct txn_errand *errand)
{
    list_remove(&errand->link);
    if (errand->handle != NULL) *errand->handle = NULL;
    memory_free(errand);
}

static void on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply)
{
    struct txn_errand *errand = request->context;
    void (*done)(void *context, const struct txn_answer *answer) = errand->done;
    void *context = errand->context;
    struct txn_answer answer;
    bool known =
        outcome == GATEWAY_REPLY && txn_answer_decode(reply, errand->op, &answer) == STATUS_OK;

    errand->worker->statistics.resolved += known && errand->op == TXN_RESOLVE;
    errand_free(errand);
    if (done != NULL) done(context, known ? &answer : NULL);
}

static struct bytes errand_body(struct txn_errand *errand, const struct txn_frame *frame)
{
    struct buffer buffer;
    struct writer writer = writer_make(&buffer);

    buffer_init(&buffer, ERRAND_BODY_MAX);
    txn_frame_encode(&writer, frame);
    ASSERT(!writer.failed);
    size_t size = buffer_size(&buffer);
    memcpy(errand->body, buffer_bytes(&buffer).data, size);
    buffer_free(&buffer);
    return bytes_make(errand->body, size);
}

bool txn_slot_of(const struct txn_worker *worker, struct group_id group, uint16_t *ret_slot)
{
    const struct cluster_view *view = worker->options.view;

    if (group.value >= view->group_count) return false;
    *ret_slot = view->groups[group.value].slot_first;
    if (group.value == GROUP_META) *ret_slot = ROW_SLOT_META;
    if (group.value == GROUP_COORD) *ret_slot = ROW_SLOT_COORD;
    return true;
}

void txn_errand_send(struct txn_worker *worker, const struct txn_frame *frame,
                     const struct errand_options *options)
{
    if (worker->closing) return;
    struct txn_errand *errand = memory_allocate_zero(sizeof(*errand));
    errand->worker = worker;
    errand->op = frame->op;
    errand->handle = options->handle;
    errand->done = options->done;
    errand->context = options->context;
    /* Mostly not a write: what changes nothing is not logged. */
    errand->request = (struct gateway_request){.service = SERVICE_TXN,
                                               .slot = options->slot,
                                               .ordered = options->ordered,
                                               .write = options->write,
                                               .client = options->client,
                                               .body = errand_body(errand, frame),
                                               .body_stays = true,
                                               .on_reply = on_reply,
                                               .context = errand};
    if (errand->handle != NULL) *errand->handle = errand;
    list_insert_before(&worker->errands, &errand->link);
    gateway_submit(worker->gateway, &errand->request);
}

void txn_errand_forget(struct txn_errand *errand)
{
    if (errand == NULL) return;
    gateway_forget(errand->worker->gateway, &errand->request);
    errand_free(errand);
}
