/* Stores whose engine is damaged, and replicas that were lost with one (FAULTS F21-F25, F29): how
 * they come back without an operator while the rest of the node goes on.
 *
 *   HALTED    the engine has said so, or could not be opened: its replicas neither vote nor
 *             answer. DIR/store-N.damaged says it to later starts; until it is durable nothing
 *             is given up (rule 8)
 *   DETACHED  they are out of the host; meta is asked for new replica ids (REPLACE), for those
 *             whose group has a leader without them: such a group has a majority, and this copy
 *             is surely not the last
 *   MOVING    all have new ids: the store goes to quarantine, a fresh engine takes its place
 *   FILLING   the new replicas are learners; the groups' leaders swap them in
 *
 * A group that has no leader without its lost replica keeps what there is, untouched, until its
 * majority is back or somebody runs `holon salvage`.
 *
 * New ids are taken from the table once that is on disk: a replica whose birth a crash prevented
 * is then told from one that lost its log (it counts as lost, and gets another id). */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

enum {
    STORES_POLL_US = 500 * 1000,
    STORES_DETACH_US = 10 * 1000,
    MARK_RETRY_US = 10 * 1000 * 1000,
    MOVE_RETRY_US = 10 * 1000 * 1000,
};

static const char damaged_magic[] = "HOLONDM1";

static void store_path(const struct node *node, uint32_t store, char ret_path[PATH_SIZE_MAX])
{
    char name[16];

    snprintf(name, sizeof(name), "store-%u", store);
    path_join(ret_path, node->options.data, name);
}

/* Not in the store: what fails there must not take its mark along. */
static void mark_path(const struct node *node, uint32_t store, char ret_path[PATH_SIZE_MAX])
{
    char name[32];

    snprintf(name, sizeof(name), "store-%u.damaged", store);
    path_join(ret_path, node->options.data, name);
}

/* --- the worker's side ---------------------------------------------------------------- */

struct store_note {
    uint32_t store;
    struct error error;
};

static void node_store_halted(struct node_worker *zero, void *argument);
static void node_store_detached(struct node_worker *zero, void *argument);

static void worker_detach(struct world_timer *timer)
{
    struct node_worker *worker = timer->context;

    if (worker->host == NULL || worker->closing) return;
    for (uint32_t store = 0; store < worker->node->identity.stores; store++) {
        if (!(worker->stores_detaching >> store & 1)) continue;
        if (!host_detach_store(worker->host, store)) continue;
        worker->stores_detaching &= ~(UINT64_C(1) << store);
        node_call(worker, &worker->node->workers[0], node_store_detached, (void *)(uintptr_t)store);
    }
    if (worker->stores_detaching != 0) world_timer_start(worker->world, timer, STORES_DETACH_US);
}

void worker_on_damaged(void *context, uint32_t store, const struct error *error)
{
    struct node_worker *worker = context;
    struct node *node = worker->node;
    struct store_note *note = memory_allocate(sizeof(*note));

    worker->stores_out |= UINT64_C(1) << store;
    worker->stores_detaching |= UINT64_C(1) << store;
    for (uint32_t g = 0; g < worker->view.group_count; g++) {
        struct replica_id here = host_replica_id(worker->host, (struct group_id){g});
        struct replica_id id = here.value != 0 ? here : worker_own_replica(worker, g);
        bool known = worker->lost != NULL && id.value <= worker->lost[g].value;
        if (id.value == 0 || known ||
            group_store((struct group_id){g}, node->identity.stores) != store)
            continue;
        worker_lost_replica(worker, g, id);
    }
    *note = (struct store_note){.store = store, .error = *error};
    node_call_with(worker, &node->workers[0], node_store_halted, note, memory_free);
    world_timer_stop(worker->world, &worker->detach_timer); /* of another store */
    worker->detach_timer = (struct world_timer){.fire = worker_detach, .context = worker};
    world_timer_start(worker->world, &worker->detach_timer, 0);
}

static void node_store_flush_noted(struct node_worker *zero, void *argument)
{
    struct store_note *note = argument;

    zero->node->stores[note->store].flush_error = note->error;
    memory_free(note);
}

void worker_on_flush(void *context, uint32_t store, const struct error *error)
{
    struct node_worker *worker = context;
    struct store_note *note = memory_allocate_zero(sizeof(*note));

    note->store = store;
    if (error != NULL) note->error = *error;
    node_call_with(worker, &worker->node->workers[0], node_store_flush_noted, note, memory_free);
}

/* It was here, and is not any more. The table may come back to an id (META_KEEP); what was dropped
 * before this start, it knew of then, and did not name. */
static bool is_used_up(const struct node_worker *worker, uint32_t group, struct replica_id id)
{
    bool lost = worker->lost != NULL && id.value <= worker->lost[group].value;
    bool before =
        id.value < worker->ids_at_start && !replica_id_equal(id, worker->named_at_start[group]);

    return (lost || before) && !PLANTED(worker->world, "used_up_reborn");
}

/* Replicas that the table has given this node since: new ids, in place of lost ones. One that runs
 * is not taken away for its successor: it goes when a committed configuration has removed it, which
 * the group's leader sees to (FAULTS rule 8, reconcile.c). */
void worker_sync_replicas(struct node_worker *worker, void *unused)
{
    const struct node *node = worker->node;
    const struct cluster_view *view = &worker->view;
    bool added = false;

    if (worker->host == NULL || worker->closing) return;
    for (uint32_t g = 0; g < view->group_count; g++) {
        struct group_id group = {g};
        struct replica_id id = worker_own_replica(worker, g);
        uint32_t store = group_store(group, node->identity.stores);
        struct replica_id here = host_replica_id(worker->host, group);
        if (id.value == 0 || (worker->stores_out >> store & 1)) continue;
        if (id.value <= here.value) continue; /* ids rise: this one is here, or older */
        if (here.value == 0 && is_used_up(worker, g, id)) {
            SOMETIMES(worker->world, "a table named a replica that is not there any more");
            worker_lost_replica(worker, g, id);
            continue;
        }
        if (here.value != 0 && host_is_fenced(worker->host, group)) {
            host_drop_replica(worker->host, group); /* to quarantine; then it is called again */
            continue;
        }
        if (here.value != 0) {
            SOMETIMES(worker->world, "the table named another replica than the one that runs");
            if (PLANTED(worker->world, "superseded_dropped"))
                host_drop_replica(worker->host, group);
            continue;
        }
        struct error error;
        enum status status = worker_add_replica(worker, g, id, NULL, &error);
        if (status == STATUS_OK) {
            SOMETIMES(worker->world, "a replica was born in place of a lost one");
            added = true;
            continue;
        }
        LOG_ERROR(node_logger(node), "node", "%s", error.text);
        host_store_damaged(worker->host, store, &error);
    }
    if (added) worker_set_wishes(worker);
}

static void worker_attach(struct node_worker *worker, void *argument)
{
    uint32_t store = (uint32_t)(uintptr_t)argument;

    if (worker->host == NULL || worker->closing) return;
    worker->stores_out &= ~(UINT64_C(1) << store);
    host_attach_store(worker->host, store);
    worker_sync_replicas(worker, NULL);
}

/* --- the node's side ------------------------------------------------------------------ */

static void mark_run(struct world_job *job)
{
    struct node_store *store = job->context;
    char path[PATH_SIZE_MAX];

    mark_path(store->node, store->number, path);
    store->status = sealed_file_write(store->node->world, path, damaged_magic,
                                      bytes_of(store->cause.text), &store->error);
}

static void mark_done(struct world_job *job)
{
    struct node_store *store = job->context;
    struct node *node = store->node;

    store->busy = false;
    store->marked = store->status == STATUS_OK;
    if (store->marked) return;
    store->mark_at = world_now(node->world) + MARK_RETRY_US;
    LOG_ERROR(node_logger(node), "repair",
              "store %u cannot be marked as damaged, and so is not given up yet: %s", store->number,
              store->error.text);
}

static void mark_when_due(struct node_store *store)
{
    bool out = store->state == STORE_HALTED || store->state == STORE_DETACHED;
    if (!out || store->marked || store->busy) return;
    if (store->node->state >= NODE_STOPPING || world_now(store->node->world) < store->mark_at)
        return;
    store->busy = true;
    store->job = (struct world_job){.run = mark_run, .done = mark_done, .context = store};
    world_job_start(store->node->world, LANE_READ, &store->job);
}

static void store_halted(struct node *node, uint32_t number, enum store_state state,
                         const struct error *error)
{
    struct node_store *store = &node->stores[number];

    store->node = node;
    store->number = number;
    store->state = state;
    store->since = world_now(node->world);
    store->cause = *error;
    store->quarantine[0] = '\0';
    store->moved = false;
    store_path(node, number, store->path);
    node_stores_watch(node);
}

static void node_store_halted(struct node_worker *zero, void *argument)
{
    struct store_note *note = argument;
    struct node *node = zero->node;
    struct node_store *store = &node->stores[note->store];

    store_halted(node, note->store, STORE_HALTED, &note->error);
    mark_when_due(store);
    memory_free(note);
    if (node->ready) node_watch_again(node);
}

static void node_store_detached(struct node_worker *zero, void *argument)
{
    struct node_store *store = &zero->node->stores[(uint32_t)(uintptr_t)argument];
    if (store->state == STORE_HALTED) store->state = STORE_DETACHED;
}

/* STATUS_NOT_FOUND: no mark. Anything else: it is damaged, with `cause` if that can be read. */
static enum status read_mark(struct node *node, uint32_t number, struct buffer *text)
{
    char path[PATH_SIZE_MAX], directory[PATH_SIZE_MAX];
    struct error error;

    mark_path(node, number, path);
    enum status status = sealed_file_read(node->world, path, damaged_magic, text, &error);
    node->stores[number].marked = status == STATUS_OK;
    if (status != STATUS_NOT_FOUND) return status;
    store_path(node, number, directory); /* where it was once */
    path_join(path, directory, "damaged");
    return sealed_file_read(node->world, path, damaged_magic, text, &error);
}

enum status node_store_check(struct node *node, uint32_t number, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer text;
    struct error cause;

    store_path(node, number, path);
    buffer_init(&text, SEALED_SIZE_MAX);
    enum status status = read_mark(node, number, &text);
    struct bytes said = buffer_bytes(&text);
    bool marked = status != STATUS_NOT_FOUND;
    if (marked)
        error_set(error, STATUS_CORRUPT, "%.300s, found at an earlier time: %.*s", path,
                  status == STATUS_OK ? (int)said.size : 10,
                  status == STATUS_OK ? (const char *)said.data : "no details");
    buffer_free(&text);
    if (marked) return STATUS_CORRUPT;

    status = store_owner_check(node->world, path, &node->identity, number, &cause);
    if (status == STATUS_OK) return STATUS_OK;
    if (status == STATUS_NOT_FOUND && !node->identity.made) {
        status = world_make_durable_dir(node->world, path, error);
        if (status) return status;
        return store_owner_save(node->world, path, &node->identity, number, error);
    }
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_CORRUPT, "%.300s/owner is missing: the store was lost",
                         path);
    return error_set(error, status, "%s", cause.text);
}

enum status node_store_found_damaged(struct node *node, uint32_t number, struct error *error)
{
    const char *obstacle = node_repair_obstacle(node);

    if (obstacle != NULL) {
        struct error cause = *error;
        return error_set(error, STATUS_CORRUPT,
                         "%.300s. Store %u cannot be rebuilt by peers (%s) and this node does not "
                         "start; nothing was changed. `holon salvage --data %.60s --dry-run` says "
                         "what can be kept",
                         cause.text, number, obstacle, node->options.data);
    }
    LOG_ERROR(node_logger(node), "repair", "store %u is damaged: %s", number, error->text);
    SOMETIMES(node->world, "a store was damaged at the start");
    store_halted(node, number, STORE_DETACHED, error);
    return STATUS_OK;
}

/* --- a fresh engine ------------------------------------------------------------------- */

/* Once the fresh store is there: what a later start finds is not the damaged one. */
static enum status mark_remove(struct node_store *store)
{
    char path[PATH_SIZE_MAX];

    mark_path(store->node, store->number, path);
    enum status status = world_remove(store->node->world, path, &store->error);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return status;
    return world_sync_dir(store->node->world, store->node->options.data, &store->error);
}

/* Another thread: only files and the engine that nobody else uses. */
static void move_run(struct world_job *job)
{
    struct node_store *store = job->context;
    struct node *node = store->node;
    const char *data = node->options.data;
    char name[16], reason[16];
    const char *const items[] = {name};

    snprintf(name, sizeof(name), "store-%u", store->number);
    snprintf(reason, sizeof(reason), "store-%u", store->number);
    if (store->old_engine != NULL) engine_close(store->old_engine);
    store->old_engine = NULL;
    store->status = STATUS_OK;
    if (store->quarantine[0] == '\0')
        store->status =
            quarantine_name(node->world, data, reason, store->quarantine, &store->error);
    if (store->status == STATUS_OK && !store->moved)
        store->status =
            quarantine_move(node->world, data, store->quarantine, items, 1, &store->error);
    if (store->status == STATUS_OK) {
        store->moved = true; /* a later attempt must not move the fresh one onto it */
        quarantine_explain(node->world, data, store->quarantine, store->cause.text);
        store->status = world_make_durable_dir(node->world, store->path, &store->error);
    }
    if (store->status == STATUS_OK)
        store->status = store_owner_save(node->world, store->path, &node->identity, store->number,
                                         &store->error);
    if (store->status == STATUS_OK) store->status = mark_remove(store);
    if (store->status == STATUS_OK)
        store->status = node->platform.engine_open(node->platform.context, store->number,
                                                   store->path, &store->new_engine, &store->error);
    quarantine_measure(node->world, data, &store->measured);
}

static void move_done(struct world_job *job)
{
    struct node_store *store = job->context;
    struct node *node = store->node;

    store->busy = false;
    node->repair.quarantine = store->measured;
    if (store->status) {
        LOG_ERROR(node_logger(node), "repair", "store %u cannot be made anew: %s", store->number,
                  store->error.text);
        store->state = STORE_DETACHED;
        store->retry_at = world_now(node->world) + MOVE_RETRY_US;
        return;
    }
    if (node->state != NODE_RUNNING) return; /* closed with the node */
    engine_set_gate(store->new_engine, node->merge_gate);
    node->engines[store->number] = store->new_engine;
    store->new_engine = NULL;
    store->state = STORE_FILLING;
    store->marked = false;
    store->counted = false;
    LOG_WARN(node_logger(node), "repair",
             "store %u is in %s/quarantine/%s; a fresh one is filled by the peers", store->number,
             node->options.data, store->quarantine);
    uint32_t owner = store->number % node->platform.worker_count;
    node_call(&node->workers[0], &node->workers[owner], worker_attach,
              (void *)(uintptr_t)store->number);
}

static void move_when_due(struct node *node, struct node_store *store)
{
    bool saved = node->save.epoch_saved == node->workers[0].view.table_epoch;
    bool due = store->state == STORE_DETACHED && !store->busy && saved &&
               !node_lost_in(node, store->number) && node_repair_obstacle(node) == NULL &&
               world_now(node->world) >= store->retry_at;

    if (!due || node_scrub_reads(node, store->number)) return;
    store->state = STORE_MOVING;
    store->busy = true;
    store->old_engine = node->engines[store->number];
    node->engines[store->number] = NULL;
    store->job = (struct world_job){.run = move_run, .done = move_done, .context = store};
    world_job_start(node->world, LANE_READ, &store->job);
}

/* --- watching ------------------------------------------------------------------------- */

void node_store_counted(struct node *node, uint32_t number, uint32_t replicas, uint32_t voters)
{
    struct node_store *store = &node->stores[number];

    store->replicas = replicas;
    store->voters = voters;
    if (store->state != STORE_FILLING) return;
    /* The first count after the exchange may have been taken before it. */
    bool whole = store->counted && voters == replicas;
    store->counted = true;
    if (!whole) return;
    store->state = STORE_SOUND;
    SOMETIMES(node->world, "a damaged store was whole again");
    LOG_INFO(node_logger(node), "repair",
             "store %u is whole again: its %u replicas were rebuilt by their peers", number,
             replicas);
}

bool node_stores_sound(const struct node *node)
{
    for (uint32_t i = 0; i < STORES_MAX; i++)
        if (node->stores[i].state != STORE_SOUND) return false;
    return node->lost_count == 0;
}

bool node_stores_busy(const struct node *node)
{
    for (uint32_t i = 0; i < STORES_MAX; i++)
        if (node->stores[i].busy) return true;
    return false;
}

static void stores_poll(struct world_timer *timer)
{
    struct node *node = timer->context;

    if (node->state >= NODE_STOPPING || node_stores_sound(node)) return;
    world_timer_start(node->world, timer, STORES_POLL_US);
    if (node->state != NODE_RUNNING) return;
    node_lost_poll(node);
    node_save_table(node);
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        mark_when_due(&node->stores[i]);
        if (node->stores[i].state == STORE_DETACHED) move_when_due(node, &node->stores[i]);
    }
    node_repair_count(node);
}

void node_stores_watch(struct node *node)
{
    if (node->stores_timer.heap_index != 0) return;
    node->stores_timer = (struct world_timer){.fire = stores_poll, .context = node};
    world_timer_start(node->world, &node->stores_timer, STORES_POLL_US);
}

void node_stores_free(struct node *node)
{
    for (uint32_t i = 0; i < STORES_MAX; i++) {
        struct node_store *store = &node->stores[i];
        if (store->old_engine != NULL) engine_close(store->old_engine);
        if (store->new_engine != NULL) engine_close(store->new_engine);
        store->old_engine = store->new_engine = NULL;
    }
}
