/* The course of a salvage: what is there is read and judged, told, and done when it was accepted.
 */
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "node/salvage_internal.h"

enum {
    REPLICA_IDS_SKIPPED = 1000 * 1000, /* ids and epochs that others may have given out since */
    EPOCHS_SKIPPED = 1024,
    TABLE_EPOCHS_SKIPPED = 1000,
};

/* --- reading -------------------------------------------------------------------------- */

static enum status read_view(struct salvage *salvage, struct error *error)
{
    bool copy;

    enum status status =
        view_table_load(salvage->world, salvage->data, &salvage->view, &copy, error);
    if (status == STATUS_OK) return status;
    cluster_view_free(&salvage->view);
    cluster_view_init(&salvage->view);
    status = view_file_load(salvage->world, salvage->data, "birth", &salvage->view, error);
    if (status == STATUS_OK) return status;
    return error_set(
        error, STATUS_CORRUPT,
        "neither %.300s/table nor its copy nor birth can be read, so nobody knows which keys the "
        "data belongs to: put one of them back from a backup",
        salvage->data);
}

static uint32_t count_stores(struct salvage *salvage)
{
    char name[24], path[PATH_SIZE_MAX];
    uint32_t count = 0;

    for (; count < STORES_MAX; count++) {
        struct error error;
        struct file *file = NULL;
        snprintf(name, sizeof(name), "store-%u", count);
        path_join(path, salvage->data, name);
        enum status status = file_open(salvage->world, path, FILE_READ, &file, &error);
        file_close(file);
        if (status == STATUS_NOT_FOUND) break;
    }
    return count;
}

/* The identity as it was, or as table and log tell it. */
static enum status read_identity(struct salvage *salvage, struct error *error)
{
    struct identity *identity = &salvage->identity;
    const struct cluster_view *view = &salvage->view;
    struct error cause;

    enum status status = identity_load(salvage->world, salvage->data, identity, &cause);
    if (status == STATUS_OK && identity->state == IDENTITY_MEMBER) return STATUS_OK;
    if (status == STATUS_OK || status == STATUS_VERSION || status == STATUS_IO)
        return error_set(error, STATUS_REFUSED, "%.400s",
                         status == STATUS_OK ? "no cluster was founded here yet" : cause.text);
    node_id_t id = view->node_count == 1 ? view->nodes[0].id : salvage->log.node;
    const struct view_node *self = cluster_view_node(view, id);
    if (self == NULL)
        return error_set(error, STATUS_CORRUPT,
                         "%.300s/identity cannot be read, and the log does not say which node of "
                         "the table this is",
                         salvage->data);
    salvage->identity_lost = true;
    *identity = (struct identity){.state = IDENTITY_MEMBER,
                                  .cluster = view->cluster,
                                  .node = id,
                                  .store = self->store,
                                  .epoch_next = self->epoch + EPOCHS_SKIPPED,
                                  .epoch_spoken = self->epoch,
                                  .stores = count_stores(salvage),
                                  .partitions = view->partition_count,
                                  .replicas = view->replicas,
                                  .reads = view->reads};
    memcpy(identity->name, self->name, sizeof(identity->name));
    if (identity->stores >= 1) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT, "%.300s has no stores", salvage->data);
}

static enum status read_store_records(struct salvage *salvage, struct engine *engine,
                                      uint32_t store, struct error *error)
{
    enum status status = STATUS_OK;

    for (uint32_t g = 0; g < salvage->view.group_count && status == STATUS_OK; g++) {
        struct salvage_group *group = &salvage->groups[g];
        if (group_store((struct group_id){g}, salvage->identity.stores) != store) continue;
        status = salvage_record_read(engine, (struct group_id){g}, &group->record, error);
        group->stored = status == STATUS_OK;
        if (status == STATUS_NOT_FOUND) status = STATUS_OK;
    }
    return status;
}

/* A store counts only if it is there and every row of it can be read; STATUS_CORRUPT: it is lost.
 * Nothing is written. What passes (any other status) is no reason to give a store up. */
static enum status read_store(struct salvage *salvage, uint32_t store, struct error *error)
{
    char name[24], path[PATH_SIZE_MAX];
    struct bytes all = bytes_make(NULL, 0), key, value;
    struct engine *engine = NULL;

    snprintf(name, sizeof(name), "store-%u", store);
    path_join(path, salvage->data, name);
    enum status status = store_owner_check(salvage->world, path, &salvage->identity, store, error);
    if (status == STATUS_NOT_FOUND)
        return error_set(error, STATUS_CORRUPT, "%.300s/owner is missing: the store was lost",
                         path);
    /* One that is damaged says nothing of the rows, and is written anew. */
    if (status == STATUS_OK || status == STATUS_CORRUPT)
        status =
            salvage->platform->engine_open(salvage->platform->context, path, true, &engine, error);
    if (status) return status;
    struct engine_iterator *iterator = engine_iterate(engine, all, all);
    while (engine_iterator_next(engine, iterator, &key, &value))
        continue;
    status = engine_iterator_close(engine, iterator, error);
    if (status == STATUS_OK) status = read_store_records(salvage, engine, store, error);
    engine_close(engine);
    return status;
}

/* --- judging -------------------------------------------------------------------------- */

void salvage_judge_group(struct salvage *salvage, uint32_t id)
{
    struct salvage_group *group = &salvage->groups[id];
    const struct salvaged_group *log = log_salvage_group(&salvage->log, id);
    uint64_t applied = 0;

    group->keep_from = 1;
    group->log = log;
    /* Replica ids rise. A gap may hide all that the log had of the newest. */
    bool other =
        log != NULL && group->stored && !replica_id_equal(log->replica, group->record.replica);
    bool log_is_older = other && log->replica.value < group->record.replica.value;
    if (other && !log_is_older) group->stored = false;
    if (group->stored) {
        group->from = group->record.replica;
        applied = group->last = group->seen = group->record.applied;
    }
    if (log == NULL || log_is_older) return;
    group->from = log->replica;
    uint64_t last = log->base_index + log->entry_count;
    if (log->seen_index > group->seen) group->seen = log->seen_index;
    bool joins = log->base_index <= applied && last > applied;
    if (applied > log->base_index && joins)
        joins = log->entries[applied - log->base_index - 1].term == group->record.term;
    if (!joins) return;
    group->keep_from = applied + 1;
    group->keep_to = last;
    group->last = last;
}

static void judge(struct salvage *salvage)
{
    struct cluster_view *view = &salvage->view;
    uint64_t next = view->next_replica_id;

    for (uint32_t g = 0; g < view->group_count; g++) {
        salvage_judge_group(salvage, g);
        if (salvage->groups[g].from.value > next) next = salvage->groups[g].from.value;
    }
    next += REPLICA_IDS_SKIPPED;
    for (uint32_t g = 0; g < view->group_count; g++) {
        struct view_group *group = &view->groups[g];
        struct salvage_group *kept = &salvage->groups[g];
        if (group->replica_count == 0) continue;
        for (uint32_t k = 0; k < group->replica_count; k++) {
            group->replicas[k].replica.value = next++;
            if (group->replicas[k].node != salvage->identity.node) continue;
            kept->here = true;
            kept->to = group->replicas[k].replica;
        }
        if (!kept->here) { /* nothing of it is left: it begins empty, here */
            uint32_t at = group->replica_count < VIEW_REPLICAS_MAX ? group->replica_count++ : 0;
            group->replicas[at] =
                (struct view_replica){.node = salvage->identity.node, .replica = {next++}};
            kept->to = group->replicas[at].replica;
        }
        salvage->incomplete += !kept->here || kept->seen > kept->last;
    }
    view->next_replica_id = next;
}

/* Everything that tells this directory from the one before: ids, epochs, cluster. */
static void renew(struct salvage *salvage)
{
    struct identity *identity = &salvage->identity;
    struct cluster_view *view = &salvage->view;
    uint8_t secret[24];

    world_random_secret(salvage->world, secret, sizeof(secret));
    salvage->majority_lost = view->node_count > 1;
    if (salvage->majority_lost)
        view->cluster = (struct cluster_id){load_u64(secret) | 1, load_u64(secret + 8)};
    view->table_epoch += TABLE_EPOCHS_SKIPPED;
    identity->cluster = view->cluster;
    identity->store = load_u64(secret + 16) | 1;
    for (uint32_t i = 0; i < view->node_count; i++) {
        struct view_node *node = &view->nodes[i];
        node->epoch += EPOCHS_SKIPPED;
        node->store = hash_u64(identity->store + node->id) | 1; /* old disks are refused */
        if (node->id != identity->node) continue;
        if (identity->epoch_next > node->epoch) node->epoch = identity->epoch_next;
        node->store = identity->store;
        identity->epoch_next = identity->epoch_first = node->epoch + 1;
        identity->epoch_spoken = node->epoch;
        identity->epoch_last = node->epoch + EPOCH_BLOCK_SIZE;
    }
    identity->proposal = 0;
    identity->born = identity->made = true;
    identity->clean = false;
}

/* --- the course ----------------------------------------------------------------------- */

static enum status read_all(struct salvage *salvage, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct error cause;

    enum status status = read_view(salvage, error);
    if (status) return status;
    path_join(path, salvage->data, "log");
    status = log_salvage_read(salvage->world, path, &salvage->log, error);
    if (status == STATUS_NOT_FOUND) salvage->log.mark_lost = true;
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) return status;
    status = read_identity(salvage, error);
    if (status) return status;
    salvage->groups = memory_allocate_zero(salvage->view.group_count * sizeof(*salvage->groups));
    for (uint32_t store = 0; store < salvage->identity.stores; store++) {
        status = read_store(salvage, store, &cause);
        if (status == STATUS_OK) continue;
        if (status != STATUS_CORRUPT) return error_set(error, status, "%.400s", cause.text);
        salvage->stores_lost |= UINT64_C(1) << store;
        for (uint32_t g = 0; g < salvage->view.group_count; g++)
            if (group_store((struct group_id){g}, salvage->identity.stores) == store)
                salvage->groups[g].stored = false;
        salvage_say(salvage, "store %u: %s\n", store, cause.text);
    }
    judge(salvage);
    renew(salvage);
    return STATUS_OK;
}

/* Replicas that a loss of power has put out, of an otherwise sound node (decision 0012): what their
 * logs and stores hold was durable on a quorum or came after that, so they may vote with it, and an
 * election finds the longest log. STATUS_NOT_FOUND: it is nothing of that kind. */
static enum status take_back(struct salvage *salvage, enum salvage_wish wish,
                             enum salvage_outcome *ret_outcome, struct error *error)
{
    struct memory_file file;
    struct error cause;

    enum status status = memory_file_load(salvage->world, salvage->data, &file, &cause);
    if (status == STATUS_NOT_FOUND) return status;
    if (status != STATUS_OK && status != STATUS_CORRUPT)
        return error_set(error, status, "%.400s", cause.text);
    /* The log was not opened since: what of it is gone is no damage. */
    bool unseen = status == STATUS_CORRUPT || file.forgiven ||
                  memory_file_lost_power(&file, world_machine_start(salvage->world));
    bool lost = unseen || file.count > 0;
    memory_file_free(&file);
    if (!lost) return STATUS_NOT_FOUND;
    status = read_all(salvage, error);
    if (status) return status;
    salvage_report_power(salvage);
    *ret_outcome = SALVAGE_NOTHING_CHANGED;
    if (wish == SALVAGE_ASK)
        salvage_say(salvage,
                    "\nNothing was changed. To go on: holon salvage --data %s --accept-loss\n",
                    salvage->data);
    if (wish != SALVAGE_ACCEPT_LOSS) return STATUS_OK;
    status = memory_file_save(salvage->world, salvage->data,
                              &(struct memory_file){.forgiven = unseen}, error);
    if (status) return status;
    salvage_say(salvage, "\ndone: start the node\n");
    *ret_outcome = SALVAGE_DONE;
    return STATUS_OK;
}

/* What an interrupted one has begun. STATUS_NOT_FOUND: nothing. */
static enum status finish(struct salvage *salvage, enum salvage_wish wish,
                          enum salvage_outcome *ret_outcome, struct error *error)
{
    struct salvage_plan plan;
    struct error cause;

    enum status status = salvage_plan_load(salvage->world, salvage->data, &plan, &cause);
    if (status == STATUS_NOT_FOUND) return status;
    if (status) return error_set(error, status, "%s", cause.text);
    if (wish == SALVAGE_LOOK) {
        salvage_say(salvage,
                    "an interrupted salvage is to be finished: run it without --dry-run\n");
        *ret_outcome = SALVAGE_HALF_DONE;
    } else {
        status = salvage_finish(salvage, &plan, error);
        if (status == STATUS_OK) {
            salvage_say(salvage,
                        "finished what an interrupted salvage had begun: start the node\n");
            *ret_outcome = SALVAGE_DONE;
        }
    }
    salvage_plan_free(&plan);
    return status;
}

static enum status run(struct salvage *salvage, enum salvage_wish wish,
                       enum salvage_outcome *ret_outcome, struct error *error)
{
    enum status status = finish(salvage, wish, ret_outcome, error);
    if (status != STATUS_NOT_FOUND) return status;
    status = take_back(salvage, wish, ret_outcome, error);
    if (status != STATUS_NOT_FOUND) return status;
    status = read_all(salvage, error);
    if (status) return status;
    salvage_report(salvage);
    *ret_outcome = SALVAGE_NOTHING_CHANGED;
    if (wish == SALVAGE_ASK)
        salvage_say(salvage,
                    "\nNothing was changed. To go on: holon salvage --data %s --accept-loss\n",
                    salvage->data);
    if (wish != SALVAGE_ACCEPT_LOSS) return STATUS_OK;
    status = salvage_write(salvage, error);
    if (status) return status;
    salvage_say(salvage, "\ndone: start the node\n");
    *ret_outcome = SALVAGE_DONE;
    return STATUS_OK;
}

enum status salvage_run(const struct salvage_platform *platform, const char *data,
                        enum salvage_wish wish, enum salvage_outcome *ret_outcome,
                        struct error *error)
{
    struct salvage *salvage = memory_allocate_zero(sizeof(*salvage));
    struct file *lock = NULL;
    char path[PATH_SIZE_MAX];

    salvage->platform = platform;
    salvage->world = platform->world;
    salvage->data = data;
    cluster_view_init(&salvage->view);
    path_join(path, data, "lock");
    enum status status = file_open(salvage->world, path, FILE_WRITE, &lock, error);
    if (status == STATUS_OK) status = file_lock(lock, error);
    if (status == STATUS_REFUSED)
        error_set(error, status, "a node runs in %.300s: stop it first", data);
    if (status == STATUS_OK) status = run(salvage, wish, ret_outcome, error);
    file_close(lock);
    log_salvage_free(&salvage->log);
    memory_free(salvage->groups);
    cluster_view_free(&salvage->view);
    memory_free(salvage);
    return status;
}
