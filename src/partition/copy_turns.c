/* Pieces of states, sent or received, wait until the node may copy more (copy_gate.h): then the one
 * that has waited longest goes. And what this worker tells of its records: how long the slowest one
 * waited to be durable.
 *
 * Senders and the receiver each judge by their own log: where they share a disk, or where a sender
 * serves clients while it reads, the slower one of them decides, and nothing is said about it.
 *
 * The meta group is never held back: it is small, and everything waits for it. One that has waited
 * COPY_WAIT_MAX_US goes all the same: so many may share the least rate that others would give it
 * up. */
#include "partition/host_internal.h"
#include "partition/copy_gate.h"
#include "partition/snapshot_internal.h"

enum {
    COPY_TELL_US = 10 * 1000,
    COPY_WAIT_MAX_US = 4 * 1000 * 1000, /* SNAPSHOT_GIVE_UP_US is a lot more */
};

/* --- how long records wait --- */

static void tell(struct partition_host *host, uint64_t now)
{
    struct host_copying *copying = &host->copying;
    if (!copying->heard) return;
    if (copy_gate_synced(host->options.copy_gate, copying->worst_us, now))
        SOMETIMES(host->world, "states were copied more slowly for late syncs");
    copying->heard = false;
    copying->worst_us = 0;
    copying->told_at = now;
}

void copy_record_waited(struct partition_host *host, uint64_t us, uint64_t now)
{
    struct host_copying *copying = &host->copying;
    if (host->options.copy_gate == NULL) return;
    copying->heard = true;
    if (us > copying->worst_us) copying->worst_us = us;
    if (now >= copying->told_at + COPY_TELL_US) tell(host, now);
}

/* Also of records that still wait: a sync that stands still tells nothing by itself. */
static void hear_waiting(struct partition_host *host, uint64_t now)
{
    uint64_t oldest = slow_disk_oldest_age(host, now);
    if (oldest > 0) copy_record_waited(host, oldest, now);
    tell(host, now);
}

/* --- turns --- */

void copy_turn_init(struct copy_turn *turn, void (*go)(struct copy_turn *turn))
{
    *turn = (struct copy_turn){.go = go};
    list_init(&turn->link);
}

/* 0: the piece has its part of the rate before it is read, so that others wait meanwhile. */
static uint64_t take(struct partition_host *host, struct copy_turn *turn, uint64_t now)
{
    hear_waiting(host, now);
    uint64_t pause = copy_gate_take(host->options.copy_gate, SNAPSHOT_CHUNK, now);
    if (pause == 0) turn->taken = SNAPSHOT_CHUNK;
    return pause;
}

static void turns_run(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    while (!list_empty(&host->copying.waiting) && !host->stopping) {
        struct copy_turn *turn = CONTAINER_OF(host->copying.waiting.next, struct copy_turn, link);
        uint64_t now = world_now(host->world), pause = take(host, turn, now);
        if (pause > 0 && now < turn->since + COPY_WAIT_MAX_US) {
            world_timer_start(host->world, timer, pause);
            return;
        }
        if (pause > 0) {
            SOMETIMES(host->world, "a piece of a snapshot had waited long enough");
            copy_gate_force(host->options.copy_gate, SNAPSHOT_CHUNK, now);
            turn->taken = SNAPSHOT_CHUNK;
        }
        list_remove(&turn->link);
        turn->go(turn);
    }
}

bool copy_turn_comes(struct partition_host *host, struct copy_turn *turn, struct group_id group)
{
    struct host_copying *copying = &host->copying;
    if (host->options.copy_gate == NULL || group.value == GROUP_META || turn->taken > 0)
        return true;
    if (!list_empty(&turn->link)) return false;
    uint64_t now = world_now(host->world);
    uint64_t pause = list_empty(&copying->waiting) ? take(host, turn, now) : 1;
    if (pause == 0) return true;
    SOMETIMES(host->world, "a piece of a snapshot waited for the log's syncs");
    if (list_empty(&copying->waiting)) world_timer_start(host->world, &copying->timer, pause);
    turn->since = now;
    list_insert_before(&copying->waiting, &turn->link);
    host->statistics.copies_held++;
    return false;
}

void copy_turn_took(struct partition_host *host, struct copy_turn *turn, uint64_t bytes)
{
    uint64_t taken = turn->taken;
    uint64_t now = world_now(host->world);
    turn->taken = 0;
    if (bytes > 0) host->copying.copied_at = now;
    if (host->options.copy_gate == NULL) return;
    copy_gate_copied(host->options.copy_gate, taken, bytes, now);
}

void copy_turn_end(struct partition_host *host, struct copy_turn *turn)
{
    list_remove(&turn->link);
    if (turn->taken > 0) copy_turn_took(host, turn, 0);
}

void copy_turns_open(struct partition_host *host)
{
    list_init(&host->copying.waiting);
    host->copying.timer = (struct world_timer){.fire = turns_run, .context = host};
}

void copy_turns_close(struct partition_host *host)
{
    world_timer_stop(host->world, &host->copying.timer);
}
