/* Databases with durability memory: may this node acknowledge what is only written, and what has a
 * loss of power taken from it? (decision 0012, cluster/memory_file.h)
 *
 * Once a database is of that kind DIR/memory says so, durably, and then the workers are told that
 * what is written counts. Once none is any more the workers are told, and when nothing is left
 * unsynced the file goes.
 *
 * A start after power was lost names the replicas that may have forgotten something. They are out,
 * as those that differed from their peers (node_fence.c): meta gives new ids once their group has
 * had a leader without them. If it gets none they stay as they are, until `holon salvage` takes
 * them back.
 *
 * Worker 0. */
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

enum { MEMORY_POLL_US = 100 * 1000, MEMORY_RETRY_US = 5 * 1000 * 1000 };

/* --- at a start --------------------------------------------------------------------------- */

static bool born_anew(const struct node *node, const struct memory_lost *lost)
{
    for (size_t i = 0; i < node->recovered_count; i++)
        if (node->recovered[i].group.value == lost->group.value)
            return node->recovered[i].replica.value > lost->replica.value;
    return false;
}

/* True: some were. */
static bool drop_born_anew(const struct node *node, struct memory_file *file)
{
    uint32_t kept = 0, count = file->count;

    for (uint32_t i = 0; i < count; i++)
        if (!born_anew(node, &file->lost[i])) file->lost[kept++] = file->lost[i];
    file->count = kept;
    return kept < count;
}

/* Meta acknowledges only what is durable: its replica has forgotten nothing. */
static void note_lost(struct node *node, struct memory_file *file)
{
    for (size_t i = 0; i < node->recovered_count; i++)
        if (node->recovered[i].group.value >= GROUP_DATA_FIRST)
            memory_file_add(file, node->recovered[i].group, node->recovered[i].replica);
    file->used = false;
    SOMETIMES(node->world, "a node that had acknowledged what was only written lost power");
    LOG_WARN(
        node_logger(node), "repair",
        "this machine lost power, or was reset, while a database had durability memory: the %u "
        "replicas of this node may have forgotten what they acknowledged, and stay out. They come "
        "back by themselves where the others have kept it; where too few have, stop the nodes "
        "and run `holon salvage --data %.200s --accept-loss` on each",
        file->count, node->options.data);
}

enum status node_memory_read(struct node *node, struct error *error)
{
    struct node_memory *memory = &node->memory;
    struct error cause;

    memory->lost = false;
    memory->machine = world_machine_start(node->world);
    enum status status = memory_file_load(node->world, node->options.data, &memory->file, &cause);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    if (status != STATUS_OK && status != STATUS_CORRUPT)
        return error_set(error, status, "%.400s", cause.text);
    if (status == STATUS_CORRUPT)
        LOG_ERROR(node_logger(node), "repair", "%.400s: taken for a loss of power", cause.text);
    memory->lost =
        status == STATUS_CORRUPT || memory_file_lost_power(&memory->file, memory->machine);
    return STATUS_OK;
}

bool node_memory_log_may_lack(const struct node *node)
{
    return node->memory.lost || node->memory.file.forgiven;
}

enum status node_memory_load(struct node *node, struct error *error)
{
    struct memory_file *file = &node->memory.file;
    bool lost = node->memory.lost, forgiven = file->forgiven;
    bool unused = file->used && node->workers[0].view.memory_databases == 0; /* all is synced */

    file->forgiven = false; /* the log is cut, and whole */
    if (lost && PLANTED(node->world, "memory_loss_forgotten"))
        file->used = false;
    else if (lost)
        note_lost(node, file);
    else if (unused)
        file->used = false;
    bool dropped = drop_born_anew(node, file);
    if (!lost && !unused && !dropped && !forgiven) return STATUS_OK;
    return memory_file_save(node->world, node->options.data, file, error);
}

/* Of a device that cannot sync nobody knows what it still has: the next start counts as one after
 * a loss of power, on whatever start of the machine. The process ends here; as well as it can be
 * done. On the log's thread: nothing changes the list while the node runs. */
void node_memory_written_lost(void *context)
{
    const struct node *node = context;
    struct memory_file file = node->memory.file;
    struct error error;

    file.used = true;
    file.machine = 0;
    if (memory_file_save(node->world, node->options.data, &file, &error))
        LOG_ERROR(node_logger(node), "node", "%s", error.text);
}

bool node_memory_has(const struct node *node, uint32_t group, struct replica_id replica)
{
    return memory_file_has(&node->memory.file, (struct group_id){group}, replica);
}

/* --- while it runs ------------------------------------------------------------------------ */

static void node_memory_told(struct node_worker *zero, void *unused)
{
    zero->node->memory.telling--;
    node_memory_look(zero->node);
}

static void worker_believe(struct node_worker *worker, void *believe)
{
    if (worker->host != NULL) host_believe_written(worker->host, believe != NULL);
    node_call(worker, &worker->node->workers[0], node_memory_told, NULL);
}

static void believe(struct node *node, bool written)
{
    struct node_memory *memory = &node->memory;

    memory->believed = written;
    memory->telling += node->platform.worker_count;
    for (uint32_t i = 0; i < node->platform.worker_count; i++)
        node_call(&node->workers[0], &node->workers[i], worker_believe, written ? node : NULL);
}

static void look_again(struct world_timer *timer)
{
    node_memory_look(timer->context);
}

static void look_later(struct node *node, uint64_t delay)
{
    struct node_memory *memory = &node->memory;

    world_timer_stop(node->world, &memory->poll);
    memory->poll = (struct world_timer){.fire = look_again, .context = node};
    world_timer_start(node->world, &memory->poll, delay);
}

static void save_run(struct world_job *job)
{
    struct node *node = job->context;
    struct node_memory *memory = &node->memory;

    memory->status =
        memory_file_save(node->world, node->options.data, &memory->saved, &memory->error);
}

static void save_done(struct world_job *job)
{
    struct node *node = job->context;
    struct node_memory *memory = &node->memory;

    memory->busy = false;
    if (memory->status) {
        LOG_ERROR(node_logger(node), "node",
                  "writes of databases with durability memory wait for the disk as all others: %s",
                  memory->error.text);
        if (node->state == NODE_RUNNING) look_later(node, MEMORY_RETRY_US);
        return;
    }
    memory->file.used = memory->saved.used;
    memory->file.machine = memory->saved.machine;
    node_memory_look(node);
}

/* The list of those that lost power is not changed by a node that runs. */
static void save(struct node *node, bool used)
{
    struct node_memory *memory = &node->memory;

    if (memory->busy) return;
    memory->busy = true;
    memory->saved = memory->file;
    memory->saved.used = used;
    memory->saved.machine = memory->machine;
    if (!used) memory->file.used = false; /* nobody may rely on it while it goes */
    memory->job = (struct world_job){.run = save_run, .done = save_done, .context = node};
    world_job_start(node->world, LANE_READ, &memory->job);
}

void node_memory_look(struct node *node)
{
    struct node_memory *memory = &node->memory;
    bool wanted = node->workers[0].view.memory_databases != 0 && memory->machine != 0;
    struct log_statistics statistics;

    if (node->state != NODE_RUNNING) return;
    if (wanted && !memory->believed) {
        bool ready = memory->file.used || PLANTED(node->world, "memory_without_mark");
        if (ready)
            believe(node, true);
        else
            save(node, true);
        return;
    }
    if (!wanted && memory->believed) {
        believe(node, false);
        return;
    }
    if (wanted || !memory->file.used || memory->telling > 0) return;
    log_statistics(node->log, &statistics);
    if (statistics.lazy)
        look_later(node, MEMORY_POLL_US);
    else
        save(node, false);
}

/* --- its end ------------------------------------------------------------------------------ */

void node_memory_stop(struct node *node)
{
    world_timer_stop(node->world, &node->memory.poll);
}

void node_memory_clean(struct node *node)
{
    struct memory_file *file = &node->memory.file;
    struct error error;

    if (!file->used) return;
    file->used = false;
    if (memory_file_save(node->world, node->options.data, file, &error))
        LOG_WARN(node_logger(node), "node", "%s", error.text);
}

void node_memory_free(struct node *node)
{
    node_memory_stop(node);
    memory_file_free(&node->memory.file);
}
