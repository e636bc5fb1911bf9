/* txn_cut.c - attempts to take a cut, until one succeeds or patience is over. */
#include "txn/txn_cut_internal.h"

/* --- life of a cut --------------------------------------------------------------------------- */

static void on_timer(struct world_timer *timer);

static struct txn_cut *cut_make(struct txn_cuts *cuts, void *context,
                                void (*on_done)(void *context, struct txn_cut *cut,
                                                enum txn_cut_result result))
{
    uint32_t count = cuts->options.view->partition_count;
    struct txn_cut *cut = memory_allocate_zero(sizeof(*cut) + count * sizeof(cut->parts[0]));

    cut->cuts = cuts;
    cut->context = context;
    cut->on_done = on_done;
    cut->ends = world_now(cuts->world) + cuts->options.patience;
    cut->pause = CUT_PAUSE_FIRST_US;
    cut->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        cut->parts[i].cut = cut;
        buffer_init(&cut->parts[i].body, CUT_BODY_MAX);
        buffer_init(&cut->parts[i].committed, CUT_BODY_MAX);
    }
    cut->timer = (struct world_timer){.fire = on_timer, .context = cut};
    list_insert_before(&cuts->opening, &cut->link);
    if (cuts->opening_count++ >= CUTS_OPENING_MAX) cut_fail(cut, TXN_CUT_UNAVAILABLE, true);
    world_timer_start(cuts->world, &cut->timer, 0);
    return cut;
}

static void cut_free(struct txn_cut *cut)
{
    world_timer_stop(cut->cuts->world, &cut->timer);
    if (cut->stage == CUT_IS_OPEN)
        cut->cuts->statistics.open--;
    else
        cut->cuts->opening_count--;
    list_remove(&cut->link);
    for (uint32_t i = 0; i < cut->part_count; i++) {
        buffer_free(&cut->parts[i].body);
        buffer_free(&cut->parts[i].committed);
    }
    memory_free(cut->sightings);
    memory_free(cut);
}

static void finish_open(struct txn_cut *cut)
{
    struct txn_cuts *cuts = cut->cuts;

    world_timer_stop(cuts->world, &cut->timer);
    cut->stage = CUT_IS_OPEN;
    list_remove(&cut->link);
    list_insert_before(&cuts->open, &cut->link);
    cuts->opening_count--;
    cuts->statistics.open++;
    cuts->statistics.taken += !cut->uses;
    for (uint32_t i = 0; i < cut->part_count; i++)
        buffer_release(&cut->parts[i].body);
    cut->on_done(cut->context, cut, TXN_CUT_OPEN);
}

static void finish_failed(struct txn_cut *cut)
{
    cut->on_done(cut->context, cut, cut->why);
    cut_free(cut);
}

/* --- one attempt ----------------------------------------------------------------------------- */

static void ask(struct txn_cut *cut, enum cut_stage stage, enum cut_op op, uint32_t first,
                uint32_t end)
{
    cut->stage = stage;
    cut->asking = true;
    for (uint32_t i = first; i < end && !cut->failed; i++)
        cut_part_ask(&cut->parts[i], op, bytes_make(NULL, 0), 0);
    cut->asking = false;
}

static void ask_all(struct txn_cut *cut, enum cut_stage stage, enum cut_op op)
{
    ask(cut, stage, op, 0, cut->part_count);
}

static void attempt_clear(struct txn_cut *cut)
{
    cut->failed = false;
    cut->time = 0;
    cut->frozen_at = 0;
    cut->sighting_count = 0;
}

static void look(struct txn_cut *cut)
{
    cut->poll = CUT_POLL_FIRST_US;
    cut->copying_ends = world_now(cut->cuts->world) + CUT_COPYING_US;
    ask_all(cut, CUT_LOOKING, CUT_STATE);
}

static void attempt_begin(struct txn_cut *cut)
{
    struct txn_cuts *cuts = cut->cuts;

    attempt_clear(cut);
    if (cut->uses) {
        look(cut);
        return;
    }
    do
        cut->id = world_random(cuts->world);
    while (cut->id == 0);
    cuts->statistics.attempts++;
    world_timer_start(cuts->world, &cut->timer, (uint64_t)CUT_FREEZE_MS * 1000);
    ask(cut, CUT_CLAIMING, CUT_CLAIM, 0, 1);
}

static void freeze(struct txn_cut *cut)
{
    struct world *world = cut->cuts->world;

    cut->frozen_at = world_now(world);
    world_timer_start(world, &cut->timer, (uint64_t)CUT_FREEZE_MS * 1000);
    ask_all(cut, CUT_FREEZING, CUT_FREEZE);
}

/* Clients' writes wait no longer. */
static void note_stall(struct txn_cut *cut)
{
    struct txn_cut_statistics *statistics = &cut->cuts->statistics;

    if (cut->frozen_at == 0) return;
    statistics->stall_last_us = world_now(cut->cuts->world) - cut->frozen_at;
    if (statistics->stall_last_us > statistics->stall_max_us)
        statistics->stall_max_us = statistics->stall_last_us;
    cut->frozen_at = 0;
}

static void attempt_failed(struct txn_cut *cut)
{
    struct txn_cuts *cuts = cut->cuts;
    bool began = cut->stage != CUT_PAUSING;

    world_timer_stop(cuts->world, &cut->timer);
    cut_forget_all(cut);
    if (began && !cut->uses) {
        cuts->statistics.failed++;
        note_stall(cut);
        cut_close_all(cut);
    }
    uint64_t spread = cut->pause - CUT_PAUSE_LEAST_US;
    uint64_t pause = CUT_PAUSE_LEAST_US + world_random(cuts->world) % (spread + 1);
    bool over = world_now(cuts->world) + pause >= cut->ends;
    if (cut->hopeless || cut->uses || over) {
        finish_failed(cut);
        return;
    }
    SOMETIMES(cuts->world, "a cut was attempted again");
    cut->pause = 2 * cut->pause < CUT_PAUSE_LAST_US ? 2 * cut->pause : CUT_PAUSE_LAST_US;
    cut->stage = CUT_PAUSING;
    world_timer_start(cuts->world, &cut->timer, pause);
}

/* Some still copy. True: it waits for them. */
static bool wait_for_copies(struct txn_cut *cut)
{
    bool again = false;

    for (uint32_t i = 0; i < cut->part_count; i++)
        again |= cut->parts[i].again;
    if (!again) return false;
    if (world_now(cut->cuts->world) >= cut->copying_ends) {
        cut_fail(cut, TXN_CUT_UNAVAILABLE, true);
        return false;
    }
    world_timer_start(cut->cuts->world, &cut->timer, cut->poll);
    cut->poll += cut->poll / 2;
    if (cut->poll > CUT_POLL_LAST_US) cut->poll = CUT_POLL_LAST_US;
    return true;
}

static void poll_copies(struct txn_cut *cut)
{
    cut->asking = true;
    for (uint32_t i = 0; i < cut->part_count && !cut->failed; i++)
        if (cut->parts[i].again) cut_part_ask_again(&cut->parts[i]);
    cut->asking = false;
}

static void judge(struct txn_cut *cut)
{
    if (cut->stage != CUT_JUDGING) cut_judge_begin(cut);
    cut->stage = CUT_JUDGING;
    cut->asking = true;
    cut_judge_ask(cut);
    cut->asking = false;
}

/* All that was asked is answered, and as it should be. True: it may go on at once. */
static bool next_stage(struct txn_cut *cut)
{
    struct world *world = cut->cuts->world;

    switch (cut->stage) {
    case CUT_CLAIMING:
        freeze(cut);
        return true;
    case CUT_FREEZING: /* all of them: now is the instant */
        world_timer_start(world, &cut->timer, CUT_TAKE_US);
        ask_all(cut, CUT_TAKING, CUT_TAKE);
        return true;
    case CUT_TAKING:
        world_timer_stop(world, &cut->timer);
        note_stall(cut);
        look(cut);
        return true;
    case CUT_LOOKING:
    case CUT_JUDGING:
        if (wait_for_copies(cut)) return false;
        if (!cut->failed) judge(cut);
        return true;
    case CUT_PAUSING:
    case CUT_IS_OPEN:
        break;
    }
    return false;
}

static bool is_judged(const struct txn_cut *cut)
{
    if (cut->stage != CUT_JUDGING) return false;
    for (uint32_t i = 0; i < cut->part_count; i++)
        if (cut->parts[i].again || cut->parts[i].judging < cut->parts[i].end) return false;
    return true;
}

void cut_step(struct txn_cut *cut)
{
    while (!cut->asking) {
        if (cut->failed) {
            attempt_failed(cut);
            return;
        }
        if (cut->waiting > 0) return;
        if (is_judged(cut)) {
            cut_judge_end(cut);
            finish_open(cut);
            return;
        }
        if (!next_stage(cut)) return;
    }
}

/* Who has not answered in time is without a leader, or just slow. */
static void fail_late(struct txn_cut *cut)
{
    const struct cluster_view *view = cut->cuts->options.view;
    bool headless = false;

    for (uint32_t i = 0; i < cut->part_count; i++)
        headless |= cut->parts[i].asked && view->groups[GROUP_DATA_FIRST + i].leader == 0;
    cut_fail(cut, headless ? TXN_CUT_UNAVAILABLE : TXN_CUT_BUSY, false);
}

static void on_timer(struct world_timer *timer)
{
    struct txn_cut *cut = timer->context;

    switch (cut->stage) {
    case CUT_PAUSING:
        if (cut->part_count == 0) cut_fail(cut, TXN_CUT_UNAVAILABLE, true); /* no view yet */
        if (!cut->hopeless) attempt_begin(cut);
        break;
    case CUT_CLAIMING:
    case CUT_FREEZING:
    case CUT_TAKING:
        fail_late(cut);
        break;
    case CUT_LOOKING:
    case CUT_JUDGING:
        poll_copies(cut);
        break;
    case CUT_IS_OPEN:
        return;
    }
    cut_step(cut);
}

/* --- public ---------------------------------------------------------------------------------- */

struct txn_cuts *txn_cuts_open(const struct txn_cuts_options *options)
{
    struct txn_cuts *cuts = memory_allocate_zero(sizeof(*cuts));

    cuts->options = *options;
    cuts->world = options->world;
    list_init(&cuts->opening);
    list_init(&cuts->open);
    list_init(&cuts->errands);
    return cuts;
}

void txn_cuts_close(struct txn_cuts *cuts)
{
    if (cuts == NULL) return;
    while (!list_empty(&cuts->opening)) {
        struct txn_cut *cut = CONTAINER_OF(cuts->opening.next, struct txn_cut, link);
        cut_forget_all(cut);
        cut->why = TXN_CUT_UNAVAILABLE;
        finish_failed(cut);
    }
    ASSERT(list_empty(&cuts->open)); /* whoever holds one has left it */
    cut_errands_drop(cuts);
    memory_free(cuts);
}

struct txn_cut *txn_cut_take(struct txn_cuts *cuts, uint64_t lifetime, void *context,
                             void (*on_done)(void *context, struct txn_cut *cut,
                                             enum txn_cut_result result))
{
    struct txn_cut *cut = cut_make(cuts, context, on_done);

    cut->lifetime = lifetime;
    return cut;
}

struct txn_cut *txn_cut_use(struct txn_cuts *cuts, uint64_t id, void *context,
                            void (*on_done)(void *context, struct txn_cut *cut,
                                            enum txn_cut_result result))
{
    struct txn_cut *cut = cut_make(cuts, context, on_done);

    cut->id = id;
    cut->uses = true;
    return cut;
}

void txn_cut_leave(struct txn_cut *cut, bool close)
{
    bool exists = cut->stage != CUT_PAUSING;

    cut_forget_all(cut);
    if (close && exists) {
        cut->cuts->statistics.closed++;
        cut_close_all(cut);
    }
    cut_free(cut);
}

uint64_t txn_cut_id(const struct txn_cut *cut)
{
    return cut->id;
}

int64_t txn_cut_time(const struct txn_cut *cut)
{
    return cut->time;
}

uint32_t txn_cut_parts(const struct txn_cut *cut)
{
    return cut->part_count;
}

void txn_cut_write_read(const struct txn_cut *cut, uint16_t slot, uint8_t service,
                        struct bytes body, struct buffer *out)
{
    uint32_t index = cut->cuts->options.view->slot_partition[slot];
    const struct cut_part *part = &cut->parts[index];
    struct cut_request request = {.op = CUT_READ,
                                  .cut = cut->id,
                                  .txn_count = part->committed_count,
                                  .txns = buffer_bytes(&part->committed),
                                  .service = service,
                                  .body = body};
    struct writer writer = writer_make(out);

    ASSERT(cut->stage == CUT_IS_OPEN && index < cut->part_count);
    cut_request_encode(&writer, &request);
    ASSERT(!writer.failed);
}

void txn_cut_statistics(const struct txn_cuts *cuts, struct txn_cut_statistics *ret)
{
    *ret = cuts->statistics;
}
