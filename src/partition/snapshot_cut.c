/* The rows of a state that no flush has written, copied as of one applied index.
 *
 * What is sent to a member is what the engine has, seen by an iterator that is made when the cut
 * begins, and over that the rows that are only in memory then. So a state waits for no flush, and
 * what comes behind it is in memory: it is of what is applied.
 *
 * Rows become clean when a flush has written them, and the cut passes clean rows by: so it must not
 * begin while a flush that the iterator does not see is on its way, nor may one begin meanwhile
 * (store_is_held() in flush.c). A cut takes a few turns; a store has one at a time. */
#include "partition/host_internal.h"
#include "partition/snapshot_internal.h"

bool snapshot_cut_may_begin(const struct replica *replica)
{
    struct partition_host *host = replica->host;
    const struct host_store *store = &host->stores[replica->store];

    bool together = replica->receive == NULL && replica->flushed <= replica->applied;
    return together && store->cut == NULL && flush_is_in_engine(store) && !drop_is_of(replica) &&
           !host->stopping;
}

static void on_row(void *context, const struct row_found *row)
{
    struct snapshot_cut *cut = context;

    copied_row_write(&cut->rows, row);
}

static void on_replaced(void *context, const struct row_found *row)
{
    struct snapshot_cut *cut = context;

    SOMETIMES(cut->replica->host->world, "a row was replaced while a state was cut");
    if (PLANTED(cut->replica->host->world, "state_copies_no_replaced")) return;
    copied_row_write(&cut->replaced, row);
}

static void cut_stop(struct snapshot_cut *cut)
{
    struct partition_host *host = cut->replica->host;

    world_timer_stop(host->world, &cut->timer);
    row_table_cut_end(cut->replica->table, &cut->cut);
    host->stores[cut->replica->store].cut = NULL;
    cut->under_way = false;
}

static void cut_step(struct world_timer *timer)
{
    struct snapshot_cut *cut = timer->context;
    struct replica *replica = cut->replica;
    uint32_t work = host_copy_work(replica->host);

    if (row_table_cut_step(replica->table, &cut->cut, &work)) {
        SOMETIMES(replica->host->world, "a state was cut in several turns");
        world_timer_start(replica->host->world, timer, 0);
        return;
    }
    struct partition_host *host = replica->host;
    uint32_t store = replica->store;
    cut_stop(cut);
    cut->done(cut);
    if (host->stores[store].flush_wanted)
        flush_store(host, store);
    else if (flush_is_urgent(host))
        flush_tick(host);
    snapshot_cuts_begin(host, store);
}

void snapshot_cut_begin(struct snapshot_cut *cut, struct replica *replica)
{
    struct partition_host *host = replica->host;
    uint64_t dirty = row_table_dirty_bytes(replica->table);

    ASSERT(!cut->under_way && snapshot_cut_may_begin(replica));
    cut->replica = replica;
    if (dirty == 0) { /* the iterator sees all of it */
        cut->done(cut);
        return;
    }
    cut->under_way = true;
    cut->timer = (struct world_timer){.fire = cut_step, .context = cut};
    cut->cut = (struct row_cut){.context = cut, .on_row = on_row, .on_replaced = on_replaced};
    buffer_reserve(&cut->rows, (size_t)(dirty + dirty / 4));
    host->stores[replica->store].cut = cut;
    host->flush_stepped_at = world_now(host->world);
    row_table_cut_begin(replica->table, &cut->cut, replica->applied);
    world_timer_start(host->world, &cut->timer, 0);
}

void snapshot_cut_init(struct snapshot_cut *cut, void (*done)(struct snapshot_cut *))
{
    *cut = (struct snapshot_cut){.done = done};
    buffer_init(&cut->rows, SIZE_MAX / 2);
    buffer_init(&cut->replaced, SIZE_MAX / 2);
}

void snapshot_cut_cancel(struct snapshot_cut *cut)
{
    if (cut->under_way) cut_stop(cut);
}

void snapshot_cut_free(struct snapshot_cut *cut)
{
    ASSERT(!cut->under_way);
    buffer_free(&cut->rows);
    buffer_free(&cut->replaced);
}

uint64_t snapshot_cut_bytes(const struct snapshot_cut *cut)
{
    return buffer_size(&cut->rows) + buffer_size(&cut->replaced);
}
