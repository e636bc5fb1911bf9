#include "cli/process.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "net/peer_mesh.h"
#include "partition/host.h"
#include "world/world_real.h"

enum {
    BLOCK_CACHE_PART = 8, /* of --memory is for the block caches of all stores */
    BLOCK_CACHE_LEAST = 256 << 10,
    /* Descriptors that clients never get, so that peers, admin, log and stores go on (F08): */
    DESCRIPTORS_KEPT = 256,
    DESCRIPTORS_STORES_MAX = 2048, /* and a quarter of all, up to so many */
    CLIENTS_LEAST = 8,
};
#define FREE_AT_ONCE_LEAST (1ULL << 30) /* bytes left of a disk that are few in any case */

struct process {
    const struct cli_options *options;
    struct logger logger;
    struct host *host;
    uint32_t worker_count;
    struct world *worlds[WORKERS_MAX];
    pthread_t threads[WORKERS_MAX]; /* [0] is unused: worker 0 has the main thread */
    struct peer_mesh_group *group;
    struct peer_mesh *meshes[WORKERS_MAX]; /* each set by its worker's thread */
    struct node *node;
    bool stopping;
    bool failed;
    struct error mesh_error; /* of the mesh that could not be opened; under `mutex` */
    pthread_mutex_t mutex;
};

/* --- what the node asks of the platform ----------------------------------------------- */

static struct transport *open_transport(void *context, uint32_t worker,
                                        const struct node_identity *identity)
{
    struct process *process = context;
    struct peer_mesh_peer peers[NODES_MAX];
    struct error error;
    uint32_t count = 0, used = 0;

    const struct node_member *members = node_members(process->node, &count);
    ASSERT(count <= NODES_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (members[i].name[0] != '\0')
            peers[used++] = (struct peer_mesh_peer){
                .node = i + 1, .name = members[i].name, .address = members[i].peer};
    struct peer_mesh_options options = {
        .world = process->worlds[worker],
        .group = process->group,
        .listen_address = process->options->node.peer,
        .cluster = identity->cluster,
        .node = identity->node,
        .name = identity->name,
        .epoch = identity->epoch,
        .store = identity->store,
        .peers = peers,
        .peer_count = used,
    };
    if (peer_mesh_create(&options, &process->meshes[worker], &error)) {
        pthread_mutex_lock(&process->mutex);
        process->mesh_error = error;
        pthread_mutex_unlock(&process->mutex);
        return NULL;
    }
    return peer_mesh_transport(process->meshes[worker]);
}

static void set_identity(void *context, uint32_t worker, const struct node_identity *identity)
{
    struct process *process = context;
    peer_mesh_set_identity(process->meshes[worker], identity->cluster, identity->epoch,
                           identity->store);
}

static void set_peer(void *context, uint32_t worker, node_id_t node,
                     const struct node_member *member)
{
    struct process *process = context;
    struct peer_mesh *mesh = process->meshes[worker];
    struct error error;

    if (member == NULL) {
        peer_mesh_forget_peer(mesh, node);
        return;
    }
    struct peer_mesh_peer peer = {.node = node, .name = member->name, .address = member->peer};
    if (peer_mesh_set_peer(mesh, &peer, &error))
        LOG_WARN(&process->logger, "cli", "node %s cannot be reached: %s", member->name,
                 error.text);
}

/* The mesh itself goes when its loop has returned; until then nobody hears of it. */
static void close_transport(void *context, uint32_t worker)
{
    struct process *process = context;
    peer_mesh_transport(process->meshes[worker])->events = (struct transport_events){0};
}

static void traffic(void *context, uint32_t worker, struct node_traffic *ret_traffic)
{
    const struct process *process = context;
    const struct peer_mesh_statistics *statistics = peer_mesh_statistics(process->meshes[worker]);

    *ret_traffic = (struct node_traffic){.frames_sent = statistics->frames_sent,
                                         .bytes_sent = statistics->bytes_sent,
                                         .frames_received = statistics->frames_received,
                                         .bytes_received = statistics->bytes_received,
                                         .frames_dropped = statistics->frames_dropped,
                                         .strangers_dropped = statistics->strangers_dropped};
}

static uint64_t resident_bytes(void *context)
{
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL) return 0;
    int found = fscanf(file, "%llu %llu", &total, &resident);
    fclose(file);
    return found == 2 ? resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void usage(void *context, struct node_usage *ret_usage)
{
    const struct process *process = context;
    struct rusage used;

    *ret_usage = (struct node_usage){
        .memory_system_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
        .files_kept = world_real_files_kept(process->host),
    };
    if (getrusage(RUSAGE_SELF, &used) != 0) return;
    ret_usage->cpu_user_us = microseconds(used.ru_utime);
    ret_usage->cpu_system_us = microseconds(used.ru_stime);
}

/* Of one store. */
static uint64_t block_cache_bytes(const struct process *process)
{
    const struct node_options *options = &process->options->node;
    uint64_t bytes = options->memory / BLOCK_CACHE_PART / STORES_DEFAULT;
    return bytes > BLOCK_CACHE_LEAST ? bytes : BLOCK_CACHE_LEAST;
}

static enum status open_engine(void *context, uint32_t store, const char *directory,
                               struct engine **ret_engine, struct error *error)
{
    const struct process *process = context;
    return engine_rocksdb_open(process->worlds[0], directory, block_cache_bytes(process),
                               ret_engine, error);
}

struct engine_opening {
    pthread_t thread;
    struct world *world;
    const char *directory;
    uint64_t cache_bytes;
    struct engine *engine;
    enum status status;
    struct error error;
};

static void *run_engine_opening(void *context)
{
    struct engine_opening *opening = context;

    opening->status = engine_rocksdb_open(opening->world, opening->directory, opening->cache_bytes,
                                          &opening->engine, &opening->error);
    return NULL;
}

/* Opening a store is a dozen syncs that wait for the disk; together they share its commits. */
static void open_engines(void *context, uint32_t count, const char *const *directories,
                         struct engine **ret_engines, struct error *ret_errors)
{
    struct engine_opening *openings = memory_allocate_zero(count * sizeof(*openings));
    const struct process *process = context;

    for (uint32_t i = 0; i < count; i++) {
        openings[i].world = process->worlds[0];
        openings[i].directory = directories[i];
        openings[i].cache_bytes = block_cache_bytes(process);
        openings[i].thread = pthread_self();
        if (directories[i] == NULL) continue;
        if (pthread_create(&openings[i].thread, NULL, run_engine_opening, &openings[i]) == 0)
            continue;
        openings[i].thread = pthread_self();
        run_engine_opening(&openings[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (directories[i] == NULL) continue;
        if (!pthread_equal(openings[i].thread, pthread_self()))
            pthread_join(openings[i].thread, NULL);
        ret_engines[i] = openings[i].engine;
        ret_errors[i] = openings[i].error;
        ret_errors[i].status = openings[i].status;
    }
    memory_free(openings);
}

static void on_waiting(void *context, const char *for_whom)
{
    printf("holon: waiting for %s\n", for_whom);
    fflush(stdout);
}

static void on_ready(void *context)
{
    const struct process *process = context;
    const struct node_options *node = &process->options->node;

    printf("holon: ready name=%s redis=%s redis-cluster=%s peer=%s admin=%s\n", node->name,
           node->redis, node->redis_cluster, node->peer, node->admin);
    fflush(stdout);
}

static void on_stopped(void *context, const struct error *error)
{
    struct process *process = context;

    process->failed = error != NULL;
    if (error != NULL) {
        pthread_mutex_lock(&process->mutex);
        bool mesh = process->mesh_error.text[0] != '\0';
        fprintf(stderr, "holon: error: %s\n", mesh ? process->mesh_error.text : error->text);
        pthread_mutex_unlock(&process->mutex);
    }
    for (uint32_t i = 0; i < process->worker_count; i++)
        world_real_stop(process->worlds[i]);
}

/* --- threads and signals -------------------------------------------------------------- */

static void *run_worker(void *context)
{
    world_real_run(context);
    return NULL;
}

static void on_signal(void *context, int signum)
{
    struct process *process = context;

    if (process->stopping) {
        fprintf(stderr, "holon: second signal: ending at once\n");
        _exit(128 + signum);
    }
    process->stopping = true;
    node_stop(process->node);
}

static void start_node(struct world_deferred *deferred)
{
    struct process *process = deferred->context;
    node_start(process->node);
}

static void remove_pid(const struct process *process)
{
    char path[1100];

    snprintf(path, sizeof(path), "%s/holon.pid", process->options->node.data);
    unlink(path);
}

/* After all loops have returned from a clean stop. */
static void process_free(struct process *process)
{
    /* What one world still holds may post to one that was drained already. */
    for (uint32_t i = 0; i < 2 * process->worker_count; i++)
        world_real_drain(process->worlds[i % process->worker_count]);
    node_destroy(process->node);
    for (uint32_t i = 0; i < process->worker_count; i++)
        peer_mesh_destroy(process->meshes[i]);
    for (uint32_t i = 0; i < process->worker_count; i++)
        world_real_destroy(process->worlds[i]);
    peer_mesh_group_destroy(process->group);
    host_destroy(process->host);
    pthread_mutex_destroy(&process->mutex);
}

/* As many descriptors as the clients may need, if the system lets us; else fewer clients, so
 * that they cannot take those that the node itself needs. */
static uint32_t clients_that_fit(uint32_t wanted, const struct logger *logger)
{
    struct rlimit limit;
    rlim_t needed = (rlim_t)wanted + DESCRIPTORS_KEPT + DESCRIPTORS_STORES_MAX +
                    world_real_files_kept_max(UINT64_MAX);

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    if (limit.rlim_cur < needed) {
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_cur = before;
    }
    rlim_t stores = limit.rlim_cur / 4;
    if (stores > DESCRIPTORS_STORES_MAX) stores = DESCRIPTORS_STORES_MAX;
    rlim_t kept = DESCRIPTORS_KEPT + stores + world_real_files_kept_max(limit.rlim_cur);
    rlim_t room = limit.rlim_cur > kept + CLIENTS_LEAST ? limit.rlim_cur - kept : CLIENTS_LEAST;
    if (room >= wanted) return wanted;
    LOG_WARN(logger, "cli",
             "only %llu of --max-connections %u fit into %llu file descriptors, of which %llu are "
             "kept for peers, admin and files; raise LimitNOFILE (ulimit -n) to %llu",
             (unsigned long long)room, wanted, (unsigned long long)limit.rlim_cur,
             (unsigned long long)kept, (unsigned long long)needed);
    return (uint32_t)room;
}

/* Of a disk, below which nothing that was removed may wait for its space to come back. */
static uint64_t few_bytes_left(const struct node_options *options)
{
    uint64_t low = options->disk_reserve + options->disk_reserve / 8; /* as node_disk.c has it */
    return low > FREE_AT_ONCE_LEAST ? low : FREE_AT_ONCE_LEAST;
}

int process_run(const struct cli_options *options)
{
    struct process process = {.options = options, .worker_count = options->node.workers};
    struct world_real_options world_options = {
        .logger = &process.logger, .free_at_once_below = few_bytes_left(&options->node)};
    struct node_options node_options = options->node;
    struct world_deferred start = {.run = start_node, .context = &process};
    struct error error;

    ASSERT(process.worker_count >= 1 && process.worker_count <= WORKERS_MAX);
    logger_to_stderr(&process.logger, options->log_level);
    pthread_mutex_init(&process.mutex, NULL);
    if (host_create(&world_options, &process.host, &error)) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_FAILED;
    }
    for (uint32_t i = 0; i < process.worker_count; i++)
        process.worlds[i] = world_real_create(process.host, i);
    process.group = peer_mesh_group_create(process.worker_count);

    node_options.process_id = (uint32_t)getpid();
    node_options.max_connections = clients_that_fit(node_options.max_connections, &process.logger);
    struct node_platform platform = {
        .context = &process,
        .worker_count = process.worker_count,
        .worlds = process.worlds,
        .transport_open = open_transport,
        .transport_set_identity = set_identity,
        .transport_set_peer = set_peer,
        .transport_close = close_transport,
        .engine_open = open_engine,
        .engines_open = open_engines,
        .transport_traffic = traffic,
        .resident_bytes = resident_bytes,
        .usage = usage,
        .on_waiting = on_waiting,
        .on_ready = on_ready,
        .on_stopped = on_stopped,
    };
    engine_rocksdb_start_threads();
    process.node = node_create(&node_options, &platform);
    world_real_on_signal(process.worlds[0], SIGTERM, &process, on_signal);
    world_real_on_signal(process.worlds[0], SIGINT, &process, on_signal);
    for (uint32_t i = 1; i < process.worker_count; i++) {
        int failed = pthread_create(&process.threads[i], NULL, run_worker, process.worlds[i]);
        if (failed) {
            fprintf(stderr,
                    "holon: error: cannot start thread %u of %u: %s; try fewer "
                    "--workers\n",
                    i, process.worker_count, strerror(failed));
            return EXIT_CODE_FAILED;
        }
    }
    world_defer(process.worlds[0], &start);
    world_real_run(process.worlds[0]);
    for (uint32_t i = 1; i < process.worker_count; i++)
        pthread_join(process.threads[i], NULL);
    /* After a failure what is in flight has no owner to wait for: the process just ends, and
     * the next start recovers, as after a crash. Not by exit(), in which RocksDB waits for its
     * merges. */
    if (process.failed) {
        fflush(NULL);
        _exit(EXIT_CODE_FAILED);
    }
    remove_pid(&process);
    process_free(&process);
    return EXIT_CODE_OK;
}
