/* A log that begins anew, and its way into the directory. Order: everything new lies complete in
 * DIR/salvage; the plan is written; records of stores are renamed, old files go to quarantine;
 * step 2; new files are moved in, the identity last. A crash before the plan leaves the directory
 * as it was; one after it is finished by the next `holon salvage`. */
#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/meta_rows.h"
#include "node/salvage_internal.h"
#include "partition/effects.h"
#include "world/probe.h"
#include "world/world_inline.h"

enum {
    SALVAGE_SEGMENT_SIZE = 64 << 20,
    SALVAGE_QUEUE_MAX = 64 << 20,
    SALVAGE_ROWS_MAX = 128 << 10, /* of meta in one entry */
};

/* --- the new log ---------------------------------------------------------------------- */

struct writing {
    struct salvage *salvage;
    struct world_inline world;
    struct log *log;
    struct log_queue *queue;
    bool failed; /* the log takes no more */
};

static void on_durable(void *context, uint64_t position)
{
}

/* Until all that was appended is on disk. No space: it would wait for somebody to make some. */
static void drain(struct writing *writing)
{
    log_queue_submit(writing->queue);
    while (!writing->failed && !log_queue_idle(writing->queue))
        writing->failed = !world_inline_run(&writing->world);
}

static void append(struct writing *writing, const struct salvage_group *group, uint32_t id,
                   uint64_t index, uint64_t term, uint8_t type, struct bytes body)
{
    struct log_entry entry = {.index = index, .term = term, .type = type, .body = body};
    log_append_entry(writing->queue, (struct group_id){id}, group->to, &entry);
}

/* Rows of meta as they will be: nodes, places and settings, whatever the old ones said. */
struct meta_rows_writer {
    struct writing *writing;
    const struct salvage_group *group;
    struct buffer entry, row;
    uint64_t index, term;
};

static void meta_entry_begin(struct meta_rows_writer *writer)
{
    struct entry_header header = {.attempt = 0};

    buffer_clear(&writer->entry);
    bool fits = entry_header_encode(&header, &writer->entry);
    ASSERT(fits);
}

static void meta_entry_end(struct meta_rows_writer *writer)
{
    append(writer->writing, writer->group, GROUP_META, ++writer->index, writer->term,
           RAFT_ENTRY_NORMAL, buffer_bytes(&writer->entry));
    meta_entry_begin(writer);
}

static void meta_row(struct meta_rows_writer *writer, enum meta_row_kind kind, uint32_t id)
{
    struct meta_key key = meta_key_make(kind, id);
    struct row_header header = {.type = META_ROW_TYPE};

    bool fits = effect_put_encode(&writer->entry, meta_key_bytes(&key), &header,
                                  buffer_bytes(&writer->row));
    ASSERT(fits);
    buffer_clear(&writer->row);
    if (buffer_size(&writer->entry) > SALVAGE_ROWS_MAX) meta_entry_end(writer);
}

static uint64_t meta_entries(struct writing *writing, const struct salvage_group *group,
                             uint64_t index, uint64_t term)
{
    const struct salvage *salvage = writing->salvage;
    const struct cluster_view *view = &salvage->view;
    struct meta_rows_writer writer = {
        .writing = writing, .group = group, .index = index, .term = term};

    buffer_init(&writer.entry, ENTRY_BODY_MAX);
    buffer_init(&writer.row, META_ROW_SIZE_MAX);
    meta_entry_begin(&writer);
    meta_settings_encode(view, &writer.row);
    meta_row(&writer, META_ROW_SETTINGS, 0);
    for (uint32_t i = 0; i < view->node_count; i++) {
        bool self = view->nodes[i].id == salvage->identity.node;
        struct meta_node node = {.node = view->nodes[i], .epoch_last = view->nodes[i].epoch};
        if (self) node.epoch_last = salvage->identity.epoch_last;
        meta_node_encode(view, &node, &writer.row);
        meta_row(&writer, META_ROW_NODE, view->nodes[i].id);
    }
    for (uint32_t g = 0; g < view->group_count; g++) {
        meta_group_encode(view, &view->groups[g], &writer.row);
        meta_row(&writer, META_ROW_GROUP, g);
    }
    meta_entry_end(&writer);
    buffer_free(&writer.entry);
    buffer_free(&writer.row);
    return writer.index;
}

static void write_group(struct writing *writing, uint32_t id)
{
    const struct salvage *salvage = writing->salvage;
    const struct salvage_group *group = &salvage->groups[id];
    struct group_id group_id = {id};
    uint64_t term = group->record.term;
    struct buffer config;

    if (group->log != NULL && group->log->term_max > term) term = group->log->term_max;
    term++;                          /* above every vote and entry that was seen */
    uint64_t last = group->last + 1; /* the configuration */
    struct log_state state = {.term = term};
    log_append_state(writing->queue, group_id, group->to, &state);
    if (group->stored)
        log_append_snapshot(writing->queue, group_id, group->to, group->record.applied,
                            group->record.term);
    for (uint64_t index = group->keep_from; index <= group->keep_to; index++) {
        const struct log_entry *entry = &group->log->entries[index - group->log->base_index - 1];
        append(writing, group, id, index, entry->term, entry->type, entry->body);
        if (log_queue_full(writing->queue)) drain(writing);
    }
    struct raft_config alone = {.incoming_count = 1};
    alone.incoming[0] = (struct raft_member){.replica = group->to, .node = salvage->identity.node};
    buffer_init(&config, SIZE_MAX / 2);
    raft_config_encode(&alone, &config);
    append(writing, group, id, last, term, RAFT_ENTRY_CONFIG, buffer_bytes(&config));
    buffer_free(&config);
    if (id == GROUP_META) last = meta_entries(writing, group, last, term);
    state.commit = last;
    log_append_state(writing->queue, group_id, group->to, &state);
}

static enum status write_log(struct salvage *salvage, const char *directory, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct writing writing = {.salvage = salvage};
    uint64_t size = salvage->platform->log_segment_size;

    path_join(path, directory, "log");
    struct log_options options = {.directory = path,
                                  .cluster = salvage->identity.cluster,
                                  .node = salvage->identity.node,
                                  .store = salvage->identity.store,
                                  .segment_size = size ? size : SALVAGE_SEGMENT_SIZE,
                                  .queue_bytes_max = SALVAGE_QUEUE_MAX};
    world_inline_init(&writing.world, salvage->world);
    enum status status = log_open(&writing.world.base, &options, &writing.log, error);
    if (status) return status;
    writing.queue = log_queue_open(writing.log, &writing.world.base, NULL, on_durable);
    for (uint32_t g = 0; g < salvage->view.group_count && !writing.failed; g++)
        if (salvage->groups[g].to.value != 0) write_group(&writing, g);
    drain(&writing);
    if (writing.failed) {
        log_abandon(writing.log);
        return error_set(error, STATUS_NO_SPACE,
                         "%.300s cannot be written: make room on its disk and run it again", path);
    }
    log_queue_close(writing.queue);
    log_close(writing.log);
    return STATUS_OK;
}

/* --- finishing ------------------------------------------------------------------------ */

static enum status rename_records(struct salvage *salvage, const struct salvage_plan *plan,
                                  node_id_t node, uint32_t store, struct error *error)
{
    const struct salvage_platform *platform = salvage->platform;
    char name[24], path[PATH_SIZE_MAX];
    struct engine *engine = NULL;
    struct salvage_rename *renames =
        memory_allocate_zero((plan->rename_count + 1) * sizeof(*renames));
    size_t count = 0;

    for (uint32_t i = 0; i < plan->rename_count; i++) {
        const struct salvage_rename_id *from = &plan->renames[i];
        if (group_store((struct group_id){from->group}, plan->stores) != store) continue;
        renames[count++] = (struct salvage_rename){
            .group = {from->group}, .from = from->from, .to = from->to, .node = node};
    }
    snprintf(name, sizeof(name), "store-%u", store);
    path_join(path, salvage->data, name);
    enum status status = platform->engine_open(platform->context, path, false, &engine, error);
    if (status == STATUS_OK) status = salvage_records_rename(engine, renames, count, error);
    if (engine != NULL) engine_close(engine);
    memory_free(renames);
    return status;
}

static enum status move_old(struct salvage *salvage, struct salvage_plan *plan, node_id_t node,
                            struct error *error)
{
    struct world *world = salvage->world;
    const char *data = salvage->data;
    const char *items[STORES_MAX + 8] = {"log",    "table",    VIEW_COPY_FILE, "birth",
                                         "memory", "founding", "repair",       "identity"};
    char names[STORES_MAX][24];
    size_t count = 8;
    enum status status = STATUS_OK;

    for (uint32_t i = 0; i < plan->stores && status == STATUS_OK; i++) {
        snprintf(names[i], sizeof(names[i]), "store-%u", i);
        if (plan->stores_lost >> i & 1)
            items[count++] = names[i];
        else
            status = rename_records(salvage, plan, node, i, error);
    }
    if (status == STATUS_OK)
        status = quarantine_move(world, data, plan->quarantine, items, count, error);
    if (status) return status;
    quarantine_explain(world, data, plan->quarantine, "what holon salvage has replaced\n");
    plan->step = SALVAGE_PLACING;
    return salvage_plan_save(world, data, plan, error);
}

static enum status place_new(struct world *world, const char *data, const struct salvage_plan *plan,
                             const struct identity *identity, struct error *error)
{
    static const char *const items[] = {"log", "table", "identity"};
    char from[PATH_SIZE_MAX], to[PATH_SIZE_MAX], directory[PATH_SIZE_MAX], name[32];
    enum status status = STATUS_OK;

    path_join(directory, data, "salvage");
    for (uint32_t i = 0; i < plan->stores && status == STATUS_OK; i++) {
        snprintf(name, sizeof(name), "store-%u", i);
        path_join(to, data, name);
        char damaged[PATH_SIZE_MAX];
        path_join(damaged, to, "damaged");
        world_remove(world, damaged, NULL); /* where the mark was once */
        snprintf(name, sizeof(name), "store-%u.damaged", i);
        path_join(damaged, data, name);
        status = world_remove(world, damaged, error);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) break;
        status = world_make_durable_dir(world, to, error);
        if (status == STATUS_OK) status = store_owner_save(world, to, identity, i, error);
    }
    for (size_t i = 0; i < ARRAY_COUNT(items) && status == STATUS_OK; i++) {
        path_join(from, directory, items[i]);
        path_join(to, data, items[i]);
        status = world_rename(world, from, to, error);
        if (status == STATUS_NOT_FOUND) status = STATUS_OK;
        if (status == STATUS_OK) status = world_sync_dir(world, data, error);
    }
    return status;
}

enum status salvage_finish(struct salvage *salvage, struct salvage_plan *plan, struct error *error)
{
    struct world *world = salvage->world;
    const char *data = salvage->data;
    char directory[PATH_SIZE_MAX];
    struct identity identity;

    path_join(directory, data, "salvage");
    enum status status = identity_load(world, directory, &identity, error);
    if (status == STATUS_NOT_FOUND) status = identity_load(world, data, &identity, error);
    if (status == STATUS_OK && plan->step == SALVAGE_MOVING)
        status = move_old(salvage, plan, identity.node, error);
    if (status == STATUS_OK) status = place_new(world, data, plan, &identity, error);
    if (status) return status;
    status = salvage_plan_remove(world, data, error);
    world_remove(world, directory, NULL); /* empty by now */
    return status;
}

/* What an attempt that never got to its plan has left. */
static enum status clear_leftovers(struct salvage *salvage, const char *quarantine,
                                   struct error *error)
{
    static const char *const items[] = {"salvage"};

    return quarantine_move(salvage->world, salvage->data, quarantine, items, 1, error);
}

struct listed {
    struct world *world;
    const char *directory;
};

static void remove_listed(void *context, const char *name)
{
    const struct listed *listed = context;
    char path[PATH_SIZE_MAX];

    path_join(path, listed->directory, name);
    world_remove(listed->world, path, NULL);
}

static void remove_directory(struct world *world, const char *directory)
{
    struct listed listed = {.world = world, .directory = directory};

    world_list_dir(world, directory, &listed, remove_listed, NULL);
    world_remove(world, directory, NULL);
}

/* What was written in vain, most likely for want of space: none of it is of use to anybody, and a
 * disk that is full must not be filled further by each attempt. The next one moves to quarantine
 * what cannot be removed. */
static void remove_new(struct salvage *salvage, const char *directory)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "log");
    remove_directory(salvage->world, path);
    remove_directory(salvage->world, directory);
}

/* Unless something is there. */
static void remove_set(struct salvage *salvage, const char *quarantine)
{
    char path[PATH_SIZE_MAX], parent[PATH_SIZE_MAX];

    path_join(parent, salvage->data, "quarantine");
    path_join(path, parent, quarantine);
    world_remove(salvage->world, path, NULL);
    world_remove(salvage->world, parent, NULL);
}

/* Everything new, complete in `directory`, where nothing is. */
static enum status write_new(struct salvage *salvage, const char *directory, struct error *error)
{
    struct world *world = salvage->world;

    enum status status = world_make_durable_dir(world, directory, error);
    if (status == STATUS_OK) status = write_log(salvage, directory, error);
    if (status == STATUS_OK)
        status = view_file_save(world, directory, "table", &salvage->view, error);
    if (status == STATUS_OK) status = identity_save(world, directory, &salvage->identity, error);
    return status;
}

static void plan_renames(const struct salvage *salvage, struct salvage_plan *plan)
{
    plan->renames = memory_allocate_zero((salvage->view.group_count + 1) * sizeof(*plan->renames));
    for (uint32_t g = 0; g < salvage->view.group_count; g++) {
        const struct salvage_group *group = &salvage->groups[g];
        if (group->to.value == 0) continue;
        plan->renames[plan->rename_count++] = (struct salvage_rename_id){
            .group = g,
            .from = group->stored ? group->record.replica : (struct replica_id){0},
            .to = group->to};
    }
}

enum status salvage_write(struct salvage *salvage, struct error *error)
{
    struct world *world = salvage->world;
    struct salvage_plan plan = {.step = SALVAGE_MOVING,
                                .stores = salvage->identity.stores,
                                .stores_lost = salvage->stores_lost};
    struct salvage_plan written = {.rename_count = 0};
    char directory[PATH_SIZE_MAX];

    path_join(directory, salvage->data, "salvage");
    enum status status = quarantine_name(world, salvage->data, "salvage", plan.quarantine, error);
    if (status) return status;
    status = clear_leftovers(salvage, plan.quarantine, error);
    if (status) { /* what cannot be moved away is of an earlier attempt, and stays */
        remove_set(salvage, plan.quarantine);
        return status;
    }
    status = write_new(salvage, directory, error);
    plan_renames(salvage, &plan);
    if (status == STATUS_OK && !PLANTED(world, "salvage_without_plan"))
        status = salvage_plan_save(world, salvage->data, &plan, error);
    if (status == STATUS_OK)
        status = salvage_finish(salvage, &plan, error);
    else if (salvage_plan_load(world, salvage->data, &written, NULL) == STATUS_NOT_FOUND) {
        remove_new(salvage, directory);
        remove_set(salvage, plan.quarantine);
    }
    salvage_plan_free(&written);
    salvage_plan_free(&plan);
    return status;
}
