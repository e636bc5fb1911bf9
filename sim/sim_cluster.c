#include "sim/sim_cluster.h"

#include "base/assert.h"
#include "base/memory.h"
#include "net/peer_mesh.h"
#include "sim/sim_disk.h"
#include "sim/sim_feature.h"

#include <stdio.h>

enum { WAIT_STEP_US = 20000 };

void sim_cluster_options_default(struct sim_cluster_options *options)
{
    struct node_options defaults;

    node_options_default(&defaults);
    *options = (struct sim_cluster_options){.nodes = 3,
                                            .replicas = 3,
                                            .partitions = 4,
                                            .workers = 1,
                                            .stores = 1,
                                            .patience = 10 * 1000 * 1000,
                                            .timing = defaults.timing,
                                            .log_segment_size = 1 << 20,
                                            .flush_bytes = 64 << 10,
                                            .entries_bytes_max = 64 << 10,
                                            .scrub_rate = 0,
                                            .scrub_every = 4 * 1000 * 1000,
                                            .redis_limits = redis_limits_default()};
}

/* --- the platform of a node --- */

static struct sim_identity identity_of(const struct node_identity *identity)
{
    return (struct sim_identity){.cluster = identity->cluster,
                                 .node = identity->node,
                                 .epoch = identity->epoch,
                                 .store = identity->store};
}

static struct transport *open_mesh(struct sim_incarnation *incarnation, uint32_t worker,
                                   const struct node_identity *identity)
{
    const struct node_options *options = &incarnation->of->options;
    struct peer_mesh_peer peers[SIM_NODES_MAX];
    struct error error;
    uint32_t count = 0, used = 0;

    const struct node_member *members = node_members(incarnation->node, &count);
    for (uint32_t i = 0; i < count; i++)
        if (members[i].name[0] != '\0')
            peers[used++] = (struct peer_mesh_peer){
                .node = i + 1, .name = members[i].name, .address = members[i].peer};
    struct peer_mesh_options mesh = {.world = incarnation->worlds[worker],
                                     .group = incarnation->group,
                                     .listen_address = options->peer,
                                     .cluster = identity->cluster,
                                     .node = incarnation->of->id,
                                     .name = options->name,
                                     .epoch = identity->epoch,
                                     .store = identity->store,
                                     .peers = peers,
                                     .peer_count = used};
    if (peer_mesh_create(&mesh, &incarnation->meshes[worker], &error)) {
        sim_violation(incarnation->of->cluster->sim, "node %u has no mesh: %s", incarnation->of->id,
                      error.text);
        return NULL;
    }
    return peer_mesh_transport(incarnation->meshes[worker]);
}

static struct transport *platform_transport_open(void *context, uint32_t worker,
                                                 const struct node_identity *identity)
{
    struct sim_incarnation *incarnation = context;
    struct sim_identity known = identity_of(identity);

    if (incarnation->group) return open_mesh(incarnation, worker, identity);

    if (known.node == 0) known.node = incarnation->of->id;
    incarnation->transports[worker] = sim_transport_open(
        incarnation->of->cluster->network, &incarnation->process->worlds[worker], &known);
    return incarnation->transports[worker];
}

static void platform_transport_set_identity(void *context, uint32_t worker,
                                            const struct node_identity *identity)
{
    struct sim_incarnation *incarnation = context;
    struct sim_identity known = identity_of(identity);

    if (incarnation->group) {
        peer_mesh_set_identity(incarnation->meshes[worker], identity->cluster, identity->epoch,
                               identity->store);
        return;
    }
    sim_transport_set_identity(incarnation->transports[worker], &known);
}

static void platform_transport_set_peer(void *context, uint32_t worker, node_id_t node,
                                        const struct node_member *member)
{
    struct sim_incarnation *incarnation = context;
    struct peer_mesh_peer peer = {.node = node};
    struct error error;

    if (incarnation->group == NULL) return; /* frames are carried by number */
    if (member == NULL) {
        peer_mesh_forget_peer(incarnation->meshes[worker], node);
        return;
    }
    peer.name = member->name;
    peer.address = member->peer;
    if (peer_mesh_set_peer(incarnation->meshes[worker], &peer, &error))
        sim_violation(incarnation->of->cluster->sim, "node %u has no peer %u: %s",
                      incarnation->of->id, node, error.text);
}

static void platform_transport_close(void *context, uint32_t worker)
{
    struct sim_incarnation *incarnation = context;

    if (incarnation->group) { /* the mesh goes with the process */
        peer_mesh_transport(incarnation->meshes[worker])->events = (struct transport_events){0};
        return;
    }
    sim_transport_close(incarnation->transports[worker]);
}

/* Another job of the store may be under way; and the loop that hears of it may be stuck. */
enum { FAILED_STORE_US = 5 * 1000 * 1000 };

/* An engine takes a run in whole or not at all: one effect, and one sync (F26). */
static bool may_ingest(void *context)
{
    struct sim_store *store = context;
    struct sim_incarnation *incarnation = store->of;
    struct sim *sim = incarnation->of->cluster->sim;
    const struct sim_disk_options *disk = sim_disk_options(incarnation->of->machine.disk);
    uint32_t fails = disk->run_fail_ppm ? disk->run_fail_ppm : disk->sync_fail_ppm;

    if (incarnation->process == NULL) return true; /* ended: whoever stages something */
    if (sim_process_file_effect(incarnation->process)) return false;
    if (store->failed_at != 0 && sim->now > store->failed_at + FAILED_STORE_US)
        sim_violation(sim, "FAULTS rule 6: node %u went on with a store that had failed to write",
                      incarnation->of->id);
    if (fails == 0 || !sim_chance(sim, SIM_RANDOM_DISK, fails, 1000000)) return true;
    sim_fault_hit(sim, SIM_FAULT_SYNC_FAILS);
    sim_trace_text(sim, "node %u: a run is not written", incarnation->of->id);
    store->failed_at = sim->now;
    return false;
}

static enum status platform_engine_open(void *context, uint32_t store, const char *directory,
                                        struct engine **ret_engine, struct error *error)
{
    struct sim_incarnation *incarnation = context;

    if (store >= SIM_STORES_MAX)
        return error_set(error, STATUS_INVALID, "%s: too many stores for a simulation", directory);
    struct sim_inode *inode = sim_names_get(&incarnation->of->machine.disk->now, directory);
    if (inode == NULL)
        return error_set(error, STATUS_NOT_FOUND, "%s: no such directory", directory);
    uint64_t free = 0;
    sim_free_space(incarnation->worlds[0], directory, &free, NULL);
    if (free < SIM_ENGINE_OPEN_BYTES)
        return error_set(error, STATUS_NO_SPACE, "%s: no space left to open it", directory);
    if (inode->engine == NULL) inode->engine = engine_memory_disk_make();
    if (engine_memory_disk_is_damaged(inode->engine))
        return error_set(error, STATUS_CORRUPT, "%s: cannot be opened", directory);
    incarnation->stores[store] = (struct sim_store){.of = incarnation};
    engine_memory_disk_guard(inode->engine, may_ingest, &incarnation->stores[store]);
    *ret_engine = engine_memory_open(inode->engine);
    return STATUS_OK;
}

static void platform_on_waiting(void *context, const char *for_whom)
{
    struct sim_incarnation *incarnation = context;

    sim_trace_text(incarnation->of->cluster->sim, "node %u waits for %s", incarnation->of->id,
                   for_whom);
}

static void platform_on_ready(void *context)
{
    struct sim_incarnation *incarnation = context;
    struct sim_node *node = incarnation->of;

    incarnation->ready = true;
    if (node->now == incarnation) node->ready_since = node->cluster->sim->now;
    sim_trace_text(node->cluster->sim, "node %u is ready", node->id);
}

static void platform_on_stopped(void *context, const struct error *error)
{
    struct sim_incarnation *incarnation = context;

    incarnation->stopped = true;
    if (error) incarnation->error = *error;
    sim_process_end(incarnation->process, SIM_END_CLEAN);
}

/* --- an incarnation --- */

static void judge_end(struct sim_incarnation *incarnation, const struct sim_process *process)
{
    struct sim_node *node = incarnation->of;
    struct sim_cluster *cluster = node->cluster;
    struct sim *sim = cluster->sim;
    bool failed = incarnation->error.status != STATUS_OK;
    /* FAULTS rule 6: a failed sync must end the process; nothing else may. */
    bool sync_failed = sim->fault_counts[SIM_FAULT_SYNC_FAILS] > 0;

    if (!failed && process->fatal_text[0] == 0) return;
    cluster->failures++;
    /* F27: one that starts on a full disk may say so and end, unless it has kept something. */
    if (incarnation->may_find_disk_full && incarnation->error.status == STATUS_NO_SPACE) return;
    /* F28: one that is told to stop while its disk stands still says that it could not wait. */
    bool disk_silent = node->machine.disk_behind_until > sim->now;
    if (disk_silent && incarnation->error.status == STATUS_TIMEOUT) return;
    if (cluster->failures_expected || incarnation->twin || incarnation->fatal_expected) return;
    if (process->fatal_text[0] && !sync_failed)
        sim_violation(sim, "node %u gave up: %s", node->id, process->fatal_text);
    if (failed && !sync_failed)
        sim_violation(sim, "node %u refused to go on: %s", node->id, incarnation->error.text);
}

static void power_off(struct sim_node *node)
{
    struct sim *sim = node->cluster->sim;

    sim_fault_hit(sim, SIM_FAULT_POWER_LOSS);
    node->machine.power = false;
    node->machine.boots++;
    sim_disk_power_loss(node->machine.disk);
    /* CLOCK_BOOTTIME begins anew; the wall clock goes on. */
    uint64_t local = sim_machine_local_time(&node->machine, sim->now);
    uint64_t fresh = 1000000 + sim_below(sim, SIM_RANDOM_FAULT, 20000000);
    node->machine.clock.wall_offset += (int64_t)local - (int64_t)fresh;
    node->machine.clock.base_global = sim->now;
    node->machine.clock.base_local = fresh;
}

static void on_end(void *context, struct sim_process *process, enum sim_end how)
{
    struct sim_incarnation *incarnation = context;
    struct sim_node *node = incarnation->of;

    struct sim *sim = node->cluster->sim;

    if (how != SIM_END_QUIET && sim->before_end)
        sim->before_end(sim, sim->after_event_context, process);
    sim_network_process_end(node->cluster->network, process, how);
    node_destroy(incarnation->node);
    for (uint32_t i = 0; i < SIM_WORKERS_MAX; i++)
        peer_mesh_abandon(incarnation->meshes[i]);
    memset(incarnation->meshes, 0, sizeof(incarnation->meshes));
    incarnation->node = NULL;
    incarnation->process = NULL;
    if (node->now == incarnation) {
        node->now = NULL;
        node->down_since = node->cluster->sim->now;
        node->up_since = node->ready_since = 0;
    }
    if (how == SIM_END_POWER) power_off(node);
    if (how != SIM_END_QUIET) judge_end(incarnation, process);
}

static void run_start(void *context)
{
    struct sim_incarnation *incarnation = context;

    node_start(incarnation->node);
}

static void free_group(void *group)
{
    peer_mesh_group_destroy(group);
}

static struct sim_incarnation *incarnation_make(struct sim_node *node)
{
    struct sim_cluster *cluster = node->cluster;
    struct sim_incarnation *incarnation = memory_allocate_zero(sizeof(*incarnation));
    uint32_t workers = cluster->options.workers;

    incarnation->of = node;
    incarnation->may_find_disk_full =
        sim_disk_options(node->machine.disk)->capacity >= SIM_DISK_CAPACITY ||
        sim_disk_file_size(node->machine.disk, "/reserve") < SIM_START_BYTES;
    incarnation->number = ++cluster->incarnation_count;
    incarnation->next = cluster->incarnations;
    cluster->incarnations = incarnation;
    incarnation->process = sim_process_make(&node->machine, workers, incarnation, on_end);
    if (cluster->options.mesh) {
        incarnation->group = peer_mesh_group_create(workers);
        incarnation->process->kept = incarnation->group;
        incarnation->process->free_kept = free_group;
    }
    for (uint32_t i = 0; i < workers; i++)
        incarnation->worlds[i] = sim_process_world(incarnation->process, i);
    incarnation->platform =
        (struct node_platform){.context = incarnation,
                               .worker_count = workers,
                               .worlds = incarnation->worlds,
                               .transport_open = platform_transport_open,
                               .transport_set_identity = platform_transport_set_identity,
                               .transport_set_peer = platform_transport_set_peer,
                               .transport_close = platform_transport_close,
                               .engine_open = platform_engine_open,
                               .on_waiting = platform_on_waiting,
                               .on_ready = platform_on_ready,
                               .on_stopped = platform_on_stopped};
    incarnation->node = node_create(&node->options, &incarnation->platform);
    sim_world_call(&incarnation->process->worlds[0], 0, run_start, incarnation);
    return incarnation;
}

void sim_node_start(struct sim_node *node)
{
    ASSERT(!sim_node_is_up(node));
    sim_trace_text(node->cluster->sim, "node %u starts", node->id);
    sim_feature_seen(node->cluster->sim, SIM_FEATURE_START);
    for (struct sim_incarnation *i = node->cluster->incarnations; i; i = i->next)
        if (i->of == node && i->process) sim_process_end(i->process, SIM_END_KILL); /* a twin */
    node->machine.power = true;
    node->now = incarnation_make(node);
    node->machine.process = node->now->process;
    node->up_since = node->cluster->sim->now;
    node->down_since = 0;
}

struct sim_incarnation *sim_node_start_twin(struct sim_node *node)
{
    struct sim_incarnation *twin = incarnation_make(node);

    twin->twin = true;
    sim_fault_hit(node->cluster->sim, SIM_FAULT_TWIN);
    return twin;
}

void sim_node_kill(struct sim_node *node)
{
    if (!sim_node_is_up(node)) return;
    sim_fault_hit(node->cluster->sim, SIM_FAULT_KILL);
    sim_process_end(node->now->process, SIM_END_KILL);
}

void sim_node_power_loss(struct sim_node *node)
{
    if (sim_node_is_up(node))
        sim_process_end(node->now->process, SIM_END_POWER); /* on_end() does the rest */
    else
        power_off(node);
}

static void run_stop(void *context)
{
    struct sim_incarnation *incarnation = context;

    if (incarnation->node) node_stop(incarnation->node);
}

void sim_node_stop(struct sim_node *node)
{
    if (!sim_node_is_up(node)) return;
    sim_world_call(&node->now->process->worlds[0], 0, run_stop, node->now);
}

void sim_node_wipe(struct sim_node *node)
{
    ASSERT(!sim_node_is_up(node));
    sim_fault_hit(node->cluster->sim, SIM_FAULT_WIPE);
    sim_disk_wipe(node->machine.disk);
    sim_disk_make_dir(node->machine.disk, node->options.data);
    node->wipes++;
    node->old_image = false;
}

void sim_node_take_image(struct sim_node *node, struct sim_image *ret_image)
{
    ASSERT(!sim_node_is_up(node));
    ret_image->disk = sim_disk_make(node->cluster->sim);
    sim_disk_copy(ret_image->disk, node->machine.disk);
}

void sim_node_restore_image(struct sim_node *node, const struct sim_image *image)
{
    ASSERT(!sim_node_is_up(node));
    sim_fault_hit(node->cluster->sim, SIM_FAULT_OLD_IMAGE);
    sim_disk_copy(node->machine.disk, image->disk);
    node->old_image = true;
}

void sim_image_free(struct sim_image *image)
{
    sim_disk_free(image->disk);
}

bool sim_node_is_ready(const struct sim_node *node)
{
    return sim_node_is_up(node) && node->now->node && node_is_ready(node->now->node);
}

/* --- the cluster --- */

static bool *power_of_address(void *context, const char *address)
{
    struct sim_cluster *cluster = context;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        if (strcmp(cluster->nodes[i].options.redis, address) == 0 ||
            strcmp(cluster->nodes[i].options.peer, address) == 0)
            return &cluster->nodes[i].machine.power;
    return NULL;
}

/* Founders are numbered by the order of their names. */
static void print_name(const struct sim_cluster *cluster, node_id_t id,
                       char ret_name[NODE_NAME_SIZE_MAX])
{
    snprintf(ret_name, NODE_NAME_SIZE_MAX, cluster->options.nodes > 9 ? "n%02u" : "n%u", id);
}

static void node_init(struct sim_cluster *cluster, node_id_t id)
{
    const struct sim_cluster_options *options = &cluster->options;
    struct sim_node *node = &cluster->nodes[id];
    struct node_options *of = &node->options;

    node->cluster = cluster;
    node->id = id;
    sim_machine_init(&node->machine, cluster->sim, id);
    node->machine.disk = sim_disk_make(cluster->sim);
    node_options_default(of);
    print_name(cluster, id, of->name);
    snprintf(of->data, sizeof(of->data), "data-n%u", id);
    sim_disk_make_dir(node->machine.disk, of->data);
    snprintf(of->redis, sizeof(of->redis), "127.0.0.1:%u", 7000 + id);
    snprintf(of->peer, sizeof(of->peer), "127.0.0.1:%u", 7200 + id);
    of->redis_cluster[0] = of->admin[0] = 0;
    uint32_t founders = options->founders ? options->founders : options->nodes;
    node->absent = id > founders;
    of->member_count = founders > 1 && !node->absent ? founders : 0;
    for (uint32_t i = 0; i < of->member_count; i++) {
        print_name(cluster, i + 1, of->members[i].name);
        snprintf(of->members[i].peer, sizeof(of->members[i].peer), "127.0.0.1:%u", 7201 + i);
    }
    of->join_count = node->absent ? founders : 0;
    for (uint32_t i = 0; i < of->join_count; i++)
        snprintf(of->join[i], sizeof(of->join[i]), "127.0.0.1:%u", 7201 + i);
    of->workers = options->workers;
    of->patience = options->patience;
    if (options->repair_after) of->repair_after = options->repair_after;
    of->partitions = options->partitions;
    of->replicas = options->replicas;
    of->reads_given = true;
    of->reads = options->reads;
    of->timing = options->timing;
    of->stores = options->stores;
    of->log_segment_size = options->log_segment_size;
    of->log_bytes_max = options->log_bytes_max;
    of->flush_bytes = options->flush_bytes;
    of->entries_bytes_max = options->entries_bytes_max;
    of->memory = options->memory;
    of->disk_reserve = SIM_DISK_RESERVE;
    of->scrub_rate = options->scrub_rate;
    of->copy_rate_least = options->copy_rate_least;
    of->scrub_every = options->scrub_every;
    of->raft_planted_bugs = options->raft_planted_bugs;
    of->meta.planted = options->meta_planted_bugs;
    of->meta.supports = options->supports;
    of->redis_limits = options->redis_limits;
    of->reply_part_bytes = options->reply_part_bytes;
    of->cold_job_bytes_max = options->cold_job_bytes_max;
    of->heavy_bytes = options->heavy_bytes;
    of->heavy_rate_least = options->heavy_rate_least;
    of->big_replies_bytes_max = options->big_replies_bytes_max;
    of->partial_bytes_max = options->partial_bytes_max;
}

struct sim_cluster *sim_cluster_make(struct sim *sim, const struct sim_cluster_options *options)
{
    struct sim_cluster *cluster = memory_allocate_zero(sizeof(*cluster));

    ASSERT(options->nodes >= 1 && options->nodes <= SIM_NODES_MAX);
    ASSERT(options->stores <= SIM_STORES_MAX);
    cluster->sim = sim;
    cluster->options = *options;
    cluster->network = sim_network_make(sim, options->nodes);
    sim->power_of_address = power_of_address;
    sim->power_context = cluster;
    for (uint32_t i = 1; i <= options->nodes; i++)
        node_init(cluster, i);
    return cluster;
}

void sim_cluster_free(struct sim_cluster *cluster)
{
    if (cluster == NULL) return;
    for (struct sim_incarnation *i = cluster->incarnations; i; i = i->next)
        if (i->process) sim_process_end(i->process, SIM_END_QUIET);
    while (cluster->incarnations) {
        struct sim_incarnation *incarnation = cluster->incarnations;
        cluster->incarnations = incarnation->next;
        memory_free(incarnation);
    }
    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        sim_disk_free(cluster->nodes[i].machine.disk);
    cluster->sim->power_of_address = NULL;
    sim_network_free(cluster->network);
    memory_free(cluster);
}

void sim_cluster_addresses(const struct sim_cluster *cluster, char (*addresses)[64])
{
    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        snprintf(addresses[i - 1], 64, "%.63s", cluster->nodes[i].options.redis);
}

bool sim_cluster_wait(struct sim_cluster *cluster, uint64_t duration,
                      bool (*condition)(struct sim_cluster *cluster, void *context), void *context)
{
    struct sim *sim = cluster->sim;
    uint64_t end = sim->now + duration;

    while (!condition(cluster, context)) {
        if (sim->now >= end) return false;
        uint64_t next = sim->now + WAIT_STEP_US < end ? sim->now + WAIT_STEP_US : end;
        if (!sim_run_until(sim, next)) return false;
    }
    return true;
}

bool sim_cluster_all_ready(struct sim_cluster *cluster, void *unused)
{
    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        if (!cluster->nodes[i].absent && !sim_node_is_ready(&cluster->nodes[i])) return false;
    return true;
}

bool sim_cluster_start_all(struct sim_cluster *cluster, uint64_t duration)
{
    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        if (!cluster->nodes[i].absent && !sim_node_is_up(&cluster->nodes[i]))
            sim_node_start(&cluster->nodes[i]);
    cluster->is_founded = sim_cluster_wait(cluster, duration, sim_cluster_all_ready, NULL);
    return cluster->is_founded;
}

uint32_t sim_cluster_up_count(const struct sim_cluster *cluster)
{
    uint32_t count = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++)
        count += sim_node_is_up(&cluster->nodes[i]);
    return count;
}
