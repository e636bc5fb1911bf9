#include "sim/sim_salvage.h"

#include "base/hash.h"
#include "base/memory.h"
#include "partition/salvage.h"
#include "sim/sim_disk.h"
#include "storage/log/salvage.h"

#include <stdio.h>

static const uint64_t UNDISTURBED = UINT64_C(1) << 40;

struct course {
    struct sim_node *node;
    struct sim_process *process;
    struct sim_salvage *result;
};

static struct engine_memory_disk *engine_disk(struct sim_node *node, const char *directory)
{
    struct sim_inode *inode = sim_names_get(&node->machine.disk->now, directory);
    return inode ? inode->engine : NULL;
}

/* An engine takes a run in whole or not at all: one effect. */
static bool may_ingest(void *context)
{
    return !sim_process_file_effect(context);
}

static enum status open_engine(void *context, const char *directory, bool read_only,
                               struct engine **ret_engine, struct error *error)
{
    struct course *course = context;
    struct sim_inode *inode = sim_names_get(&course->node->machine.disk->now, directory);

    if (inode == NULL || (read_only && inode->engine == NULL))
        return error_set(error, STATUS_CORRUPT, "%s: no store is there", directory);
    if (inode->engine == NULL) inode->engine = engine_memory_disk_make();
    if (engine_memory_disk_is_damaged(inode->engine))
        return error_set(error, STATUS_CORRUPT, "%s: cannot be opened", directory);
    engine_memory_disk_guard(inode->engine, may_ingest, course->process);
    *ret_engine = engine_memory_open(inode->engine);
    return STATUS_OK;
}

static void say(void *context, const char *text)
{
    const struct course *course = context;

    course->result->told = hash64(course->result->told, bytes_of(text));
    sim_trace_text(course->process->sim, "salvage of node %u: %s", course->node->id, text);
}

static void on_end(void *context, struct sim_process *process, enum sim_end how)
{
}

static void unguard_engines(struct sim_node *node)
{
    const struct sim_names *names = &node->machine.disk->now;

    for (uint32_t i = 0; i < names->count; i++)
        if (names->names[i].inode->engine)
            engine_memory_disk_guard(names->names[i].inode->engine, NULL, NULL);
}

void sim_salvage_run(struct sim_node *node, enum salvage_wish wish, uint64_t effects,
                     enum sim_end how, struct sim_salvage *ret)
{
    struct sim_process *process = sim_process_make(&node->machine, 1, NULL, on_end);
    struct course course = {.node = node, .process = process, .result = ret};
    struct salvage_platform platform = {.world = sim_process_world(process, 0),
                                        .context = &course,
                                        .engine_open = open_engine,
                                        .log_segment_size = node->options.log_segment_size,
                                        .say = say};

    memset(ret, 0, sizeof(*ret));
    if (effects == 0) effects = UNDISTURBED;
    process->file_effects_left = effects;
    process->file_effects_end = how;
    process->in_event = true; /* it ends when it has returned, not in the middle of a call */
    ret->status = salvage_run(&platform, node->options.data, wish, &ret->outcome, &ret->error);
    process->in_event = false;
    unguard_engines(node);
    ret->effects = effects - process->file_effects_left;
    ret->died = process->doomed;
    how = process->doomed ? process->doom : SIM_END_CLEAN;
    sim_process_end(process, how);
    if (how == SIM_END_POWER) sim_node_power_loss(node);
}

/* --- what a directory holds ------------------------------------------------------------------- */

static void fold(uint64_t *hash, uint64_t value)
{
    *hash = hash_u64(*hash ^ value) + 1;
}

static void fold_bytes(uint64_t *hash, struct bytes bytes)
{
    fold(hash, hash64(bytes.size, bytes));
}

static void fold_log(uint64_t *hash, const struct log_salvage *log)
{
    for (size_t i = 0; i < log->group_count; i++) {
        const struct salvaged_group *group = &log->groups[i];
        if (group->group.value < GROUP_DATA_FIRST || group->removed) continue;
        fold(hash, group->group.value);
        fold(hash, group->base_index);
        for (size_t e = 0; e < group->entry_count; e++) {
            if (group->entries[e].type == RAFT_ENTRY_CONFIG) continue; /* names replicas */
            fold(hash, group->entries[e].index);
            fold_bytes(hash, group->entries[e].body);
        }
    }
}

static void fold_store(uint64_t *hash, struct sim_node *node, uint32_t store)
{
    char path[SIM_PATH_SIZE_MAX];
    struct bytes key, value;
    struct salvage_record record;

    snprintf(path, sizeof(path), "%.150s/store-%u", node->options.data, store);
    struct engine_memory_disk *disk = engine_disk(node, path);
    if (disk == NULL) return;
    struct engine *engine = engine_memory_open(disk);
    struct engine_iterator *iterator =
        engine_iterate(engine, bytes_make(NULL, 0), bytes_make(NULL, 0));
    while (engine_iterator_next(engine, iterator, &key, &value)) {
        if (key.data[0] == 0xff) continue; /* records of replicas */
        fold_bytes(hash, key);
        fold_bytes(hash, value);
    }
    engine_iterator_close(engine, iterator, NULL);
    for (uint32_t g = 0; g < GROUP_DATA_FIRST + node->cluster->options.partitions; g++)
        if (salvage_record_read(engine, (struct group_id){g}, &record, NULL) == STATUS_OK)
            fold(hash, record.applied * 1000 + g);
    engine_close(engine);
}

uint64_t sim_salvage_digest(struct sim_node *node)
{
    struct sim_process *process = sim_process_make(&node->machine, 1, NULL, on_end);
    char path[SIM_PATH_SIZE_MAX];
    struct log_salvage log;
    uint64_t hash = 0;

    snprintf(path, sizeof(path), "%.150s/log", node->options.data);
    log_salvage_read(sim_process_world(process, 0), path, &log, NULL);
    fold_log(&hash, &log);
    log_salvage_free(&log);
    for (uint32_t store = 0; store < node->options.stores; store++)
        fold_store(&hash, node, store);
    sim_process_end(process, SIM_END_CLEAN);
    return hash;
}
