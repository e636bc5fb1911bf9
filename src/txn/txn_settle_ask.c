/* txn_settle_ask.c - what is done about rows that transactions left. Each answer leads to another
 * look at the group's rows before anything else is done. */
#include "txn/txn_settle.h"

static void send(struct unsettled *row, struct group_id to, struct txn_frame frame,
                 struct errand_options options)
{
    struct txn_worker *worker = row->group->worker;

    frame.id = row->id;
    if (txn_slot_of(worker, to, &options.slot))
        txn_errand_send(worker, &frame, &options);
    else
        unsettled_retry(row);
}

static void on_told(void *context, const struct txn_answer *answer)
{
    struct target *target = context;
    struct unsettled *row = target->row;

    if (answer == NULL || answer->status != TXN_STATUS_DONE) {
        unsettled_retry(row);
        return;
    }
    target->told = true;
    if (--row->untold == 0) unsettled_due(row);
}

static void tell(struct unsettled *row)
{
    struct txn_frame frame = {.op = TXN_RESOLVE, .outcome = row->outcome};

    /* What is answered meanwhile does not end the row: that takes another look. */
    for (uint32_t i = 0; i < row->target_count; i++) {
        struct target *target = &row->targets[i];
        if (target->told || target->errand != NULL) continue;
        if (PLANTED(row->group->worker->world, "txn_forgotten_untold")) {
            target->told = true;
            if (--row->untold == 0) unsettled_due(row);
            continue;
        }
        send(
            row, target->group, frame,
            (struct errand_options){.handle = &target->errand, .done = on_told, .context = target});
    }
}

static void on_forgotten(void *context, const struct txn_answer *answer)
{
    struct unsettled *row = context;

    if (answer != NULL && answer->status == TXN_STATUS_DONE)
        unsettled_free(row);
    else
        unsettled_later(row, delay_doubled(&row->forget, FORGET_LAST_US));
}

static void forget(struct unsettled *row)
{
    const struct cluster_view *view = row->group->worker->options.view;
    struct gateway_id gateway = row->id.gateway;
    struct txn_frame frame = {.op = TXN_FORGET,
                              .epoch = cluster_view_later_epoch(view, gateway.node, gateway.epoch)};

    send(row, row->group->group, frame,
         (struct errand_options){.handle = &row->errand, .done = on_forgotten, .context = row});
}

static void on_resolved(void *context, const struct txn_answer *answer)
{
    struct unsettled *row = context;

    if (answer != NULL && answer->status == TXN_STATUS_DONE)
        unsettled_free(row);
    else
        unsettled_retry(row);
}

static void resolve(struct unsettled *row)
{
    struct txn_frame frame = {.op = TXN_RESOLVE, .outcome = row->outcome};

    send(row, row->group->group, frame,
         (struct errand_options){.handle = &row->errand, .done = on_resolved, .context = row});
}

static void learn(struct unsettled *row, enum txn_outcome outcome)
{
    struct txn_worker *worker = row->group->worker;

    if (outcome == TXN_ABORT) {
        worker->statistics.orphaned++;
        SOMETIMES(worker->world, "a participant heard of an abort by asking");
    } else {
        SOMETIMES(worker->world, "a participant heard of a commit by asking");
    }
    bool wrong = outcome == TXN_ABORT && PLANTED(worker->world, "txn_absent_means_committed");
    row->outcome = wrong ? TXN_COMMIT : outcome;
    row->decided = true;
    unsettled_due(row);
}

static void on_queried(void *context, const struct txn_answer *answer)
{
    struct unsettled *row = context;

    if (answer != NULL && answer->status == TXN_STATUS_COMMITTED)
        learn(row, TXN_COMMIT);
    else if (answer != NULL && answer->status == TXN_STATUS_ABORTED)
        learn(row, TXN_ABORT);
    else if (answer != NULL && answer->status == TXN_STATUS_UNDECIDED)
        unsettled_later(row, QUERY_AFTER_US);
    else
        unsettled_retry(row);
}

static void query(struct unsettled *row)
{
    struct txn_worker *worker = row->group->worker;
    uint64_t age = world_now(worker->world) - row->since;
    bool old = age >= ABORT_AFTER_US || PLANTED(worker->world, "txn_query_aborts");
    struct txn_frame frame = {.op = TXN_QUERY, .may_abort = old};

    worker->statistics.queried++;
    send(row, row->id.primary, frame,
         (struct errand_options){.handle = &row->errand, .done = on_queried, .context = row});
}

void unsettled_act(struct unsettled *row)
{
    if (row->errand != NULL) return; /* its answer goes on */
    if (row->untold > 0)
        tell(row);
    else if (row->kind == TXN_ROW_DECISION)
        forget(row);
    else if (row->decided)
        resolve(row);
    else
        query(row);
}
