/* Scrubbing (FAULTS F21): what lies on the disk and nobody asks for is read in the background, so
 * that damage is found while peers, and the rows in memory, can still heal it. Slowly:
 * --scrub-rate bytes per second, in jobs on LANE_READ of NODE_SCRUB_PIECE at most; a pass begins
 * --scrub-every after the one before it began. An idle node writes nothing for it.
 *
 * Damage of a sealed segment of the log heals by itself (storage/log/damage.c): what is left of it
 * is a file that is no part of the log any more, and that is moved to the quarantine from here. A
 * store in which it finds damage goes the way of node_stores.c. The small files, which a pass
 * begins with, are compared with what is in memory (node_sealed.c). A pass ends with the rows of
 * the groups that are led here, which are compared with those of the other members
 * (partition/verify.h). An operator may have a pass begun at once (node_scrub_now()). */
#include <inttypes.h>
#include <stdio.h>

#include "node/node_internal.h"
#include "world/probe.h"

enum {
    MOVE_RETRY_US = 60 * 1000 * 1000,
    READ_FAILURES_MAX = 5, /* of one place in a store, a second apart: then it is damaged */
    PLACE_SIZE_MAX = 1 << 20,
};

/* --- evidence ----------------------------------------------------------------------------- */

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static void move_explain(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;
    char text[LOG_DAMAGED_MAX * (LOG_DAMAGE_FILE_SIZE + 128)];
    size_t size = 0;

    for (uint32_t i = 0; i < scrub->damaged_count; i++) {
        const struct log_damaged *damaged = &scrub->damaged[i];
        int more = snprintf(text + size, sizeof(text) - size, "%s offset %" PRIu64 "\n%s\n",
                            damaged->file, damaged->offset, damaged->what);
        if (more > 0 && size + (size_t)more < sizeof(text)) size += (size_t)more;
    }
    quarantine_explain(node->world, node->options.data, scrub->quarantine, text);
}

/* All of them into one set: it is one disk that fails. The same one with each try, which must not
 * fill the quarantine. */
static void move_run(struct world_job *job)
{
    struct node *node = job->context;
    struct node_scrub *scrub = &node->scrub;
    const char *data = node->options.data;

    scrub->moved = 0;
    scrub->status = STATUS_OK;
    if (scrub->quarantine[0] == '\0')
        scrub->status =
            quarantine_name(node->world, data, "segment", scrub->quarantine, &scrub->error);
    while (scrub->status == STATUS_OK && scrub->moved < scrub->damaged_count) {
        scrub->status =
            quarantine_take(node->world, data, scrub->quarantine, "log",
                            last_part(scrub->damaged[scrub->moved].file), &scrub->error);
        scrub->moved += scrub->status == STATUS_OK;
    }
    if (scrub->moved > 0) move_explain(node);
    quarantine_measure(node->world, data, &scrub->measured);
}

static void move_done(struct world_job *job)
{
    struct node *node = job->context;
    struct node_scrub *scrub = &node->scrub;

    scrub->busy = false;
    node->repair.quarantine = scrub->measured;
    for (uint32_t i = 0; i < scrub->moved; i++) {
        const struct log_damaged *damaged = &scrub->damaged[i];
        log_damage_moved(node->log, damaged->segment);
        scrub->healed = *damaged;
        memcpy(scrub->healed_in, scrub->quarantine, sizeof(scrub->healed_in));
        SOMETIMES(node->world, "a damaged segment was healed while the node ran");
        LOG_WARN(node_logger(node), "repair",
                 "%s offset %" PRIu64 " was damaged; nothing was lost, it is in %s/quarantine/%s",
                 damaged->file, damaged->offset, node->options.data, scrub->quarantine);
    }
    if (scrub->status == STATUS_OK) scrub->quarantine[0] = '\0';
    if (scrub->status) {
        scrub->move_at = world_now(node->world) + MOVE_RETRY_US;
        LOG_ERROR(node_logger(node), "repair", "a damaged segment stays in %s/log: %s",
                  node->options.data, scrub->error.text);
    }
    if (node->state == NODE_RUNNING) world_timer_start(node->world, &scrub->timer, NODE_SCRUB_US);
}

static bool move_is_due(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;
    uint32_t kept = 0;

    if (world_now(node->world) < scrub->move_at) return false;
    uint32_t count = log_damages(node->log, scrub->damaged);
    for (uint32_t i = 0; i < count; i++)
        if (scrub->damaged[i].set_aside) scrub->damaged[kept++] = scrub->damaged[i];
    scrub->damaged_count = kept;
    return kept > 0;
}

/* --- reading ------------------------------------------------------------------------------ */

static void scrub_run(struct world_job *job)
{
    struct node *node = job->context;
    struct node_scrub *scrub = &node->scrub;
    uint64_t before = scrub->log.bytes;

    scrub->read_status = STATUS_OK;
    if (scrub->part > 0) {
        scrub->read_status = engine_scrub(scrub->engine, &scrub->place, scrub->wanted, &scrub->read,
                                          &scrub->more, &scrub->read_error);
        return;
    }
    scrub->more = log_scrub(node->log, &scrub->log, scrub->wanted);
    scrub->read = scrub->log.bytes - before;
}

static uint64_t scrub_rate(const struct node *node)
{
    uint64_t rate = node->options.scrub_rate;
    return node->scrub.hurried && rate < NODE_SCRUB_NOW_RATE ? NODE_SCRUB_NOW_RATE : rate;
}

static void pass_over(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;

    scrub->part = 0;
    scrub->under_way = scrub->hurried = false;
    scrub->passes++;
    scrub->whole_began = scrub->began;
    scrub->ended = world_wall_time(node->world);
    SOMETIMES(node->world, "log and stores were scrubbed");
}

/* --- rows, beside those of other nodes ---------------------------------------------------- */

static void node_worker_verified(struct node_worker *zero, void *unused)
{
    struct node_scrub *scrub = &zero->node->scrub;

    if (scrub->verifying > 0 && --scrub->verifying == 0) pass_over(zero->node);
}

void worker_on_verified(void *context)
{
    struct node_worker *worker = context;
    node_call(worker, &worker->node->workers[0], node_worker_verified, NULL);
}

static void worker_verify(struct node_worker *worker, void *argument)
{
    if (worker->host != NULL && !worker->closing)
        host_verify(worker->host, (uint64_t)(uintptr_t)argument);
    else
        worker_on_verified(worker);
}

static void verify_start(struct node *node)
{
    uint32_t workers = node->platform.worker_count;
    uint64_t rate = scrub_rate(node) / workers;

    node->scrub.verifying = workers;
    for (uint32_t i = 0; i < workers; i++)
        node_call(&node->workers[0], &node->workers[i], worker_verify, (void *)(uintptr_t)rate);
}

/* The next store that can be read; behind the last one come the rows. */
static void scrub_next_part(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;

    buffer_clear(&scrub->place);
    scrub->failures = 0;
    do {
        scrub->part++;
    } while (scrub->part <= node->identity.stores &&
             (node->engines[scrub->part - 1] == NULL ||
              node->stores[scrub->part - 1].state != STORE_SOUND));
    if (scrub->part > node->identity.stores) verify_start(node);
}

struct damaged_store {
    uint32_t store;
    struct error error;
};

static void worker_store_damaged(struct node_worker *worker, void *argument)
{
    struct damaged_store *damaged = argument;

    if (worker->host != NULL && !worker->closing)
        host_store_damaged(worker->host, damaged->store, &damaged->error);
    memory_free(damaged);
}

void node_scrub_store_damaged(struct node *node, uint32_t store, const struct error *error)
{
    struct damaged_store *damaged = memory_allocate_zero(sizeof(*damaged));

    damaged->store = store;
    damaged->error = *error;
    node->scrub.stores_damaged++;
    SOMETIMES(node->world, "scrubbing found a damaged store");
    node_call_with(&node->workers[0], &node->workers[store % node->platform.worker_count],
                   worker_store_damaged, damaged, memory_free);
}

/* What an engine calls damaged is believed at once; an error of reading may pass. */
static void scrub_store_failed(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;
    uint32_t store = scrub->part - 1;

    scrub->failures++;
    if (scrub->read_status != STATUS_CORRUPT && scrub->failures < READ_FAILURES_MAX) return;
    if (node->stores[store].state == STORE_SOUND)
        node_scrub_store_damaged(node, store, &scrub->read_error);
    scrub_next_part(node);
}

static void scrub_done(struct world_job *job)
{
    struct node *node = job->context;
    struct node_scrub *scrub = &node->scrub;
    uint64_t pause = scrub->read * 1000 * 1000 / scrub_rate(node);

    scrub->busy = false;
    scrub->bytes += scrub->read;
    if (scrub->read_status != STATUS_OK)
        scrub_store_failed(node);
    else if (!scrub->more)
        scrub_next_part(node);
    /* The end, or what cannot be read now. */
    if (!scrub->under_way || scrub->verifying > 0 || scrub->failures > 0 ||
        (scrub->more && scrub->read == 0))
        pause = NODE_SCRUB_US;
    scrub->read_at = world_now(node->world) + pause;
    if (node->state == NODE_RUNNING)
        world_timer_start(node->world, &scrub->timer,
                          pause < NODE_SCRUB_US ? pause : NODE_SCRUB_US);
}

/* A node at rest is not woken each second: who would have met damage? */
static uint64_t next_look(const struct node *node)
{
    const struct node_scrub *scrub = &node->scrub;
    bool waits = scrub->under_way || scrub->passes == 0 || scrub->damaged_count > 0;

    if (!node->disk.idle || waits || node->options.scrub_every < 2 * NODE_DISK_IDLE_US)
        return NODE_SCRUB_US;
    return NODE_DISK_IDLE_US;
}

static bool scrub_is_due(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;
    uint64_t now = world_now(node->world), rate = scrub_rate(node);

    if (scrub->verifying > 0 || now < scrub->read_at) return false;
    if (!scrub->under_way) {
        bool first = scrub->passes == 0;
        bool due = rate > 0 && (first || now - scrub->began >= node->options.scrub_every);
        if (!due && !scrub->wanted_now) return false;
        scrub->hurried = scrub->wanted_now;
        scrub->wanted_now = false;
        rate = scrub_rate(node);
        scrub->under_way = true;
        scrub->began = now;
        node_sealed_want(node);
    }
    bool gone = scrub->part > 0 && scrub->part <= node->identity.stores &&
                node->stores[scrub->part - 1].state != STORE_SOUND;
    if (gone) scrub_next_part(node); /* it was damaged meanwhile */
    if (scrub->verifying > 0) return false;
    scrub->wanted = rate < NODE_SCRUB_PIECE ? rate : NODE_SCRUB_PIECE;
    return true;
}

static void scrub_timer_fired(struct world_timer *timer)
{
    struct node *node = timer->context;
    struct node_scrub *scrub = &node->scrub;

    if (node->state != NODE_RUNNING || scrub->busy) return;
    if (node_sealed_start(node)) {
        scrub->busy = true;
        return;
    }
    if (move_is_due(node)) {
        scrub->job = (struct world_job){.run = move_run, .done = move_done, .context = node};
    } else if (scrub_is_due(node)) {
        scrub->engine = scrub->part > 0 ? node->engines[scrub->part - 1] : NULL;
        scrub->job = (struct world_job){.run = scrub_run, .done = scrub_done, .context = node};
    } else {
        world_timer_start(node->world, timer, next_look(node));
        return;
    }
    scrub->busy = true;
    world_job_start(node->world, LANE_READ, &scrub->job);
}

void node_scrub_go_on(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;

    scrub->busy = false;
    if (node->state == NODE_RUNNING) world_timer_start(node->world, &scrub->timer, 0);
}

void node_scrub_now(struct node *node)
{
    struct node_scrub *scrub = &node->scrub;

    scrub->wanted_now = !scrub->under_way || !scrub->hurried;
    scrub->read_at = 0;
    if (scrub->under_way) return; /* behind that one */
    if (node->state != NODE_RUNNING || scrub->busy) return;
    world_timer_stop(node->world, &scrub->timer);
    world_timer_start(node->world, &scrub->timer, 0);
}

void node_scrub_start(struct node *node)
{
    log_scrub_init(&node->scrub.log);
    buffer_init(&node->scrub.place, PLACE_SIZE_MAX);
    node->scrub.timer = (struct world_timer){.fire = scrub_timer_fired, .context = node};
    world_timer_start(node->world, &node->scrub.timer, NODE_SCRUB_US);
}

void node_scrub_free(struct node *node)
{
    log_scrub_free(&node->scrub.log);
    buffer_free(&node->scrub.place);
    node_sealed_free(node);
}

bool node_scrub_reads(const struct node *node, uint32_t store)
{
    return node->scrub.busy && (node->sealed.busy || node->scrub.part == store + 1);
}
