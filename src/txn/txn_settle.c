/* txn_settle.c - rows that transactions left in the groups led here: the primary's leader tells the
 * participants what was decided (C4), a participant's asks the primary if it is not told (C11), and
 * decisions that nobody will ask for any more go (C6).
 *
 * The rows themselves are the state: what is known of them here is dropped with the leadership, and
 * the next leader finds them in its table. Each change of them, and each thing that is due, leads
 * to a look at the group's rows in the next turn; only what is still there then is acted
 * upon. Every row has a timer of its own, so nothing runs when there are none. */
#include "txn/txn_settle.h"

/* --- books --- */

static struct unsettled *row_at(const struct list *link)
{
    return CONTAINER_OF(link, struct unsettled, link);
}

static void group_changed(struct settled_group *group)
{
    struct txn_worker *worker = group->worker;

    if (list_empty(&group->changed)) list_insert_before(&worker->changed_groups, &group->changed);
    world_timer_start(worker->world, &worker->look_timer, 0);
}

static struct settled_group *group_of(struct txn_worker *worker, struct group_id id)
{
    struct settled_group *group = map_get(&worker->settled_groups, id.value);

    if (group != NULL) return group;
    group = memory_allocate_zero(sizeof(*group));
    group->worker = worker;
    group->group = id;
    list_init(&group->changed);
    list_init(&group->rows);
    list_init(&group->due);
    map_put(&worker->settled_groups, id.value, group);
    return group;
}

void unsettled_free(struct unsettled *row)
{
    struct txn_worker *worker = row->group->worker;

    world_timer_stop(worker->world, &row->timer);
    txn_errand_forget(row->errand);
    for (uint32_t i = 0; i < row->target_count; i++)
        txn_errand_forget(row->targets[i].errand);
    list_remove(&row->link);
    list_remove(&row->due);
    worker->unsettled--;
    memory_free(row);
}

void unsettled_due(struct unsettled *row)
{
    if (list_empty(&row->due)) list_insert_before(&row->group->due, &row->due);
    group_changed(row->group);
}

static void on_row_timer(struct world_timer *timer)
{
    unsettled_due(timer->context);
}

void unsettled_later(struct unsettled *row, uint64_t delay)
{
    world_timer_start(row->group->worker->world, &row->timer, delay);
}

void unsettled_retry(struct unsettled *row)
{
    unsettled_later(row, delay_doubled(&row->retry, RETRY_LAST_US));
}

static void rows_drop(struct settled_group *group)
{
    while (!list_empty(&group->rows))
        unsettled_free(row_at(group->rows.next));
}

/* --- a look at the rows of a group ---
 *
 * It goes over the keys of all of them, which is little, and reads those that are new. */

/* What cannot be seen now. */
static void look_later(struct settled_group *group)
{
    group->partial = true;
    world_timer_start(group->worker->world, &group->worker->full_timer, FULL_RETRY_US);
}

struct walk {
    struct settled_group *group;
    struct list *at; /* the first of those known that is not before what was shown */
};

static struct unsettled *row_make(struct settled_group *group, struct bytes key, uint32_t targets)
{
    size_t size = sizeof(struct unsettled) + targets * sizeof(struct target);
    struct unsettled *row = memory_allocate_zero(size);

    row->group = group;
    list_init(&row->due);
    memcpy(row->key, key.data, sizeof(row->key));
    row->since = world_now(group->worker->world);
    row->timer = (struct world_timer){.fire = on_row_timer, .context = row};
    row->retry = RETRY_FIRST_US;
    row->forget = FORGET_FIRST_US;
    row->target_count = row->untold = targets;
    group->worker->unsettled++;
    return row;
}

static struct unsettled *decision_make(struct settled_group *group, struct bytes key)
{
    struct txn_decision decision;
    struct bytes value;

    if (!host_txn_row(group->worker->options.host, group->group, key, &value)) {
        look_later(group);
        return NULL;
    }
    if (txn_decision_decode(value, &decision)) return NULL; /* of a newer node */
    struct unsettled *row = row_make(group, key, decision.group_count);
    row->decided = true;
    row->outcome = decision.outcome;
    for (uint32_t i = 0; i < row->target_count; i++)
        row->targets[i] = (struct target){.row = row, .group = txn_decision_group(&decision, i)};
    return row;
}

/* Participants are told at once; who prepared is given the time to be told. */
static void row_first(struct unsettled *row)
{
    if (row->untold > 0)
        list_insert_before(&row->group->due, &row->due);
    else
        unsettled_later(row, row->kind == TXN_ROW_DECISION ? row->forget : QUERY_AFTER_US);
}

static void row_found(struct walk *walk, struct bytes key)
{
    struct settled_group *group = walk->group;
    enum txn_row_kind kind;
    struct txn_id id;

    if (!txn_row_key_parse(key, &kind, &id)) return;
    if (group->worker->unsettled >= TXN_UNSETTLED_MAX) {
        look_later(group);
        return;
    }
    bool decision = kind == TXN_ROW_DECISION;
    struct unsettled *row = decision ? decision_make(group, key) : row_make(group, key, 0);
    if (row == NULL) return;
    row->kind = kind;
    row->id = id;
    list_insert_before(walk->at, &row->link);
    row_first(row);
}

/* What is known, and was not shown, is gone. */
static void on_key(void *context, struct bytes key)
{
    struct walk *walk = context;
    int order = 1;

    while (walk->at != &walk->group->rows) {
        struct unsettled *row = row_at(walk->at);
        order = bytes_compare(bytes_make(row->key, sizeof(row->key)), key);
        if (order >= 0) break;
        walk->at = row->link.next;
        unsettled_free(row);
    }
    if (walk->at != &walk->group->rows && order == 0)
        walk->at = walk->at->next;
    else
        row_found(walk, key);
}

static bool look(struct settled_group *group)
{
    struct walk walk = {.group = group, .at = group->rows.next};

    group->partial = false;
    if (!host_txn_rows_each(group->worker->options.host, group->group, &walk, on_key)) return false;
    while (walk.at != &group->rows) {
        struct unsettled *row = row_at(walk.at);
        walk.at = row->link.next;
        unsettled_free(row);
    }
    return true;
}

static void settle(struct settled_group *group)
{
    if (host_leads(group->worker->options.host, group->group) == 0) {
        rows_drop(group);
        return;
    }
    if (!look(group)) { /* there will be news */
        look_later(group);
        return;
    }
    while (!list_empty(&group->due)) {
        struct unsettled *row = CONTAINER_OF(group->due.next, struct unsettled, due);
        list_remove(&row->due);
        unsettled_act(row);
    }
}

static void on_look_timer(struct world_timer *timer)
{
    struct txn_worker *worker = timer->context;

    while (!list_empty(&worker->changed_groups)) {
        struct settled_group *group =
            CONTAINER_OF(worker->changed_groups.next, struct settled_group, changed);
        list_remove(&group->changed);
        settle(group);
    }
}

static void on_full_timer(struct world_timer *timer)
{
    struct txn_worker *worker = timer->context;
    void *value;
    uint64_t key;

    for (size_t i = 0; map_next(&worker->settled_groups, &i, &key, &value);) {
        struct settled_group *group = value;
        if (group->partial) group_changed(group);
    }
}

void txn_rows_changed(struct txn_worker *worker, struct group_id group)
{
    if (!worker->closing) group_changed(group_of(worker, group));
}

void txn_settle_open(struct txn_worker *worker)
{
    map_init(&worker->settled_groups);
    list_init(&worker->changed_groups);
    worker->look_timer = (struct world_timer){.fire = on_look_timer, .context = worker};
    worker->full_timer = (struct world_timer){.fire = on_full_timer, .context = worker};
}

void txn_settle_close(struct txn_worker *worker)
{
    void *value;
    uint64_t key;

    for (size_t i = 0; map_next(&worker->settled_groups, &i, &key, &value);) {
        rows_drop(value);
        memory_free(value);
    }
    map_free(&worker->settled_groups);
    world_timer_stop(worker->world, &worker->look_timer);
    world_timer_stop(worker->world, &worker->full_timer);
}
