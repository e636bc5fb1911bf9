/* Background work of services: removing what was dropped, expiring what nobody reads.
 *
 * A leader runs a service's chore in steps, each an evaluation whose effects are one entry like
 * a request's. Only one step is under way per partition, and the steps of all partitions of a
 * worker are CHORE_STEP_US apart: that bounds what clients feel. A step is small by the service's
 * own limits. The times are in memory only, for one term: after an election every chore runs
 * once and finds by itself what is left. When nobody wants anything, no timer runs. */
#include "partition/host_internal.h"

#include "base/hash.h"

enum {
    CHORE_STEP_US = 4000,
    CHORE_AGAIN_US = 1000 * 1000, /* after a step that could not be done, */
    CHORE_LOCKED_US = 20 * 1000,  /* for a lock of a transaction was in the way */
    CHORE_UNCOMMITTED_BYTES_MAX = 2 << 20,
    CHORE_BEHIND_US = 5000 * 1000, /* so long behind: light ones are spared no longer, at first */
    CHORE_FORCED_US = 32 * 1000,   /* by a step in such a time; each CHORE_BEHIND_US halves it */
};

static bool has_chores(const struct replica *replica)
{
    for (unsigned service = 0; service < SERVICE_COUNT; service++)
        if (replica->host->options.chore[service] != NULL) return true;
    return false;
}

static void arm(struct partition_host *host, uint64_t at, uint64_t now)
{
    if (host->closing || (host->chore_timer_at != 0 && host->chore_timer_at <= at)) return;
    host->chore_timer_at = at;
    world_timer_start(host->world, &host->chore_timer, at > now ? at - now : 0);
}

/* Entry time to boot clock; not before the next step may run. */
static uint64_t boot_time(struct replica *replica, int64_t at, uint64_t now)
{
    int64_t wait = at - replica_time(replica, now);
    return now + (wait > CHORE_STEP_US ? (uint64_t)wait : CHORE_STEP_US);
}

void chore_note(struct replica *replica, uint8_t service, int64_t at, uint64_t now)
{
    if (replica->host->options.chore[service] == NULL || at >= replica->chore_at[service]) return;
    replica->chore_at[service] = at;
    arm(replica->host, boot_time(replica, at, now), now);
}

void chore_leads(struct replica *replica, uint64_t now)
{
    chore_stops(replica);
    if (replica->group.value == GROUP_META) return;
    for (uint8_t service = 0; service < SERVICE_COUNT; service++)
        chore_note(replica, service, 0, now);
}

void chore_stops(struct replica *replica)
{
    replica->chore_index = 0;
    replica->chore_parked = false;
    for (unsigned service = 0; service < SERVICE_COUNT; service++)
        replica->chore_at[service] = INT64_MAX;
    memset(replica->chore_behind_at, 0, sizeof(replica->chore_behind_at));
}

/* What is deleted must not pile up because light ones go first: it is they that delete. */
static bool is_overdue(const struct replica *replica, uint8_t service, uint64_t now)
{
    uint64_t since = replica->chore_behind_at[service];
    uint64_t level = since == 0 ? 0 : (now - since) / CHORE_BEHIND_US;

    if (level == 0) return false;
    uint64_t pause = level > 4 ? CHORE_STEP_US : CHORE_FORCED_US >> (level - 1);
    return now - replica->host->chore_ran_at >= pause;
}

uint64_t chore_behind_count(const struct partition_host *host, uint64_t now)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        const struct replica *replica = host->replicas[i];
        bool behind = false;
        for (unsigned service = 0; replica != NULL && service < SERVICE_COUNT; service++) {
            uint64_t since = replica->chore_behind_at[service];
            behind = behind || (since != 0 && now - since >= CHORE_BEHIND_US);
        }
        count += behind;
    }
    return count;
}

/* Clients go first: not while their requests wait, or while the last step is not committed. */
static bool may_run(const struct replica *replica, uint64_t now)
{
    return replica_may_evaluate(replica, now) && replica->held_first == NULL &&
           !space_refuses_all(replica) && !cut_is_frozen(&replica->freeze) &&
           replica->uncommitted_bytes < CHORE_UNCOMMITTED_BYTES_MAX &&
           replica->chore_index <= raft_commit_index(replica->raft) && !replica->chore_parked;
}

/* A step whose rows are not in memory waits for them like a request (cold.h), of a gateway that
 * does not exist. */
static bool park(struct replica *replica, uint8_t service, int64_t time, struct parked *parked,
                 const struct evaluate_scratch *scratch)
{
    struct session session = {.gateway = {.node = 0, .worker = service}, .local = true};
    struct request_item item = {.seq = 1, .service = service, .slot = replica->slot_first};

    replica->chore_parked = cold_park(replica, &session, 0, &item, time, parked, &scratch->wanted);
    return replica->chore_parked;
}

static void propose(struct replica *replica, uint8_t service, int64_t time,
                    const struct row_context *rows, struct bytes effects)
{
    struct partition_host *host = replica->host;
    struct entry_header header = {.attempt = 1, .entry_time = time}; /* of the system: node 0 */

    SOMETIMES(host->world, "a chore had effects");
    replica->chore_index = execute_propose(replica, RAFT_ENTRY_NORMAL, &header, effects);
    host->statistics.chore_entries++;
    host->statistics.chore_effects += rows->effect_count;
    /* Leadership is being handed over: the next leader begins anew. */
    if (replica->chore_index == 0) replica->chore_at[service] = time + CHORE_AGAIN_US;
}

static void note_behind(struct replica *replica, uint8_t service, bool behind, uint64_t now)
{
    uint64_t *since = &replica->chore_behind_at[service];

    if (!behind)
        *since = 0;
    else if (*since == 0)
        *since = now;
}

static void run_step(struct replica *replica, uint8_t service, struct parked *parked, bool overdue,
                     uint64_t now)
{
    struct partition_host *host = replica->host;
    struct evaluate_scratch *scratch = &host->scratch[host->depth++];
    struct request request = {.service = service, .slot = replica->slot_first};
    struct row_context rows;
    int64_t time = replica_time(replica, now);
    uint64_t seed = hash_u64(replica->group.value ^ hash_u64(raft_last_index(replica->raft)));
    enum evaluate_result result = execute_evaluate(replica, host->options.chore[service], &request,
                                                   seed, time, scratch, &rows, parked);
    bool done = result == EVALUATE_DONE && !rows.over_budget;

    host->statistics.chores++;
    replica->chore_parked = false;
    bool locked = result == EVALUATE_WAIT;
    replica->chore_at[service] =
        done ? rows.chore_at : time + (locked ? CHORE_LOCKED_US : CHORE_AGAIN_US);
    if (done || locked) note_behind(replica, service, locked || rows.chore_at <= time, now);
    if (result == EVALUATE_NEED_ROWS)
        park(replica, service, time, parked, scratch);
    else if (done && rows.effect_count > 0)
        propose(replica, service, time, &rows, buffer_bytes(&scratch->effects));
    uint64_t cost = governor_cost(rows.effect_count, buffer_size(&scratch->effects));
    host->statistics.heavy_cost += cost;
    host->chore_ran_at = now;
    governor_ran(&host->governor, GOVERNOR_CHORE, cost, overdue, now);
    host->depth--;
}

static void arm_for(struct replica *replica, uint64_t now);

void chore_again(struct replica *replica, uint8_t service, struct parked *parked, uint64_t now)
{
    struct partition_host *host = replica->host;

    replica->chore_parked = false;
    if (!may_run(replica, now) || host->depth >= EVALUATE_DEPTH_MAX) return; /* by the timer */
    run_step(replica, service, parked, false, now);
    arm_for(replica, now);
}

void chore_failed(struct replica *replica, uint8_t service)
{
    (void)service;
    replica->chore_parked = false; /* and again by the timer */
}

/* Runs what is due on this replica, one step. True: a step was run. */
static bool run_due(struct replica *replica, uint64_t now)
{
    for (uint8_t service = 0; service < SERVICE_COUNT; service++) {
        if (replica->chore_at[service] > replica_time(replica, now)) continue;
        if (!may_run(replica, now)) return false;
        struct partition_host *host = replica->host;
        bool may = governor_may(&host->governor, GOVERNOR_CHORE, host->cold.heavy_count > 0, now);
        bool overdue = !may && is_overdue(replica, service, now);
        if (!may) note_behind(replica, service, true, now);
        if (!may && !overdue) return false;
        run_step(replica, service, NULL, overdue, now);
        return true;
    }
    return false;
}

static void arm_for(struct replica *replica, uint64_t now)
{
    int64_t first = INT64_MAX;
    for (unsigned service = 0; service < SERVICE_COUNT; service++)
        if (replica->chore_at[service] < first) first = replica->chore_at[service];
    if (first != INT64_MAX) arm(replica->host, boot_time(replica, first, now), now);
}

void chore_timer_fire(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    uint64_t now = world_now(host->world);
    bool ran = false;

    host->chore_timer_at = 0;
    for (uint32_t i = 0; i < host->replicas_capacity && !ran; i++) {
        uint32_t group = (host->chore_next + i) % host->replicas_capacity;
        struct replica *replica = host->replicas[group];
        if (replica == NULL || replica->halted || !replica->was_leader) continue;
        if (!has_chores(replica)) continue;
        ran = run_due(replica, now);
        if (ran) host->chore_next = group + 1;
    }
    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica != NULL && !replica->halted && replica->was_leader) arm_for(replica, now);
    }
}
