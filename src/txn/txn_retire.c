/* txn_retire.c - says to primaries that attempts which were given up cannot be decided any more
 * (C6).
 *
 * A participant that was not told of the end asks the primary, and may get a tombstone, which stays
 * until the window of the primary says that DECIDE is over. If its seq was not used for anything,
 * the window learns that by the watermark of a later entry of this gateway, and there may be none.
 * So one is made, for each group at most so often, and only behind attempts that were given up. */
#include "txn/txn_internal.h"

enum { RETIRE_US = 500 * 1000 };

struct retired {
    struct list link;
    struct txn_worker *worker;
    struct txn_id id; /* the newest; those before it are as much over */
    uint64_t told_seq;
    struct txn_errand *errand;
};

static struct retired *retired_at(struct list *link)
{
    return CONTAINER_OF(link, struct retired, link);
}

static void retired_free(struct retired *retired)
{
    txn_errand_forget(retired->errand);
    list_remove(&retired->link);
    memory_free(retired);
}

static struct retired *find(struct txn_worker *worker, struct group_id group)
{
    for (struct list *at = worker->retired.next; at != &worker->retired; at = at->next)
        if (retired_at(at)->id.primary.value == group.value) return retired_at(at);
    return NULL;
}

static void arm(struct txn_worker *worker)
{
    if (worker->retire_runs || worker->closing || list_empty(&worker->retired)) return;
    worker->retire_runs = true;
    world_timer_start(worker->world, &worker->retire_timer, RETIRE_US);
}

void txn_retire(struct txn_worker *worker, struct txn_id id)
{
    struct retired *retired = find(worker, id.primary);

    if (worker->closing) return;
    if (retired == NULL) {
        retired = memory_allocate_zero(sizeof(*retired));
        retired->worker = worker;
        list_insert_before(&worker->retired, &retired->link);
        retired->id = id;
    }
    if (id.seq > retired->id.seq) retired->id = id;
    arm(worker);
}

static void on_told(void *context, const struct txn_answer *answer)
{
    struct retired *retired = context;

    if (answer != NULL && retired->told_seq == retired->id.seq) retired_free(retired);
}

/* An earlier request of the stream may be open still: then later. */
static void tell(struct retired *retired)
{
    struct txn_worker *worker = retired->worker;
    struct txn_frame frame = {.op = TXN_QUERY, .id = retired->id};
    struct errand_options options = {
        .write = true, .handle = &retired->errand, .done = on_told, .context = retired};

    if (retired->errand != NULL || !txn_slot_of(worker, retired->id.primary, &options.slot)) return;
    if (gateway_watermark(worker->gateway, options.slot) < retired->id.seq) return;
    retired->told_seq = retired->id.seq;
    txn_errand_send(worker, &frame, &options);
}

static void on_timer(struct world_timer *timer)
{
    struct txn_worker *worker = timer->context;

    worker->retire_runs = false;
    for (struct list *at = worker->retired.next; at != &worker->retired;) {
        struct retired *retired = retired_at(at);
        at = at->next;
        tell(retired); /* may free it */
    }
    arm(worker);
}

void txn_retire_open(struct txn_worker *worker)
{
    list_init(&worker->retired);
    worker->retire_timer = (struct world_timer){.fire = on_timer, .context = worker};
}

void txn_retire_close(struct txn_worker *worker)
{
    world_timer_stop(worker->world, &worker->retire_timer);
    while (!list_empty(&worker->retired))
        retired_free(retired_at(worker->retired.next));
}
