#include "sim/sim_inspect.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/memory.h"
#include "partition/host.h"

#include <inttypes.h>
#include <stdio.h>

enum { GROUPS_EVERY_TURN = 8, LOG_EVERY_TURNS = 16 };

struct seen_entry { /* committed, somewhere */
    uint64_t term, hash;
};

struct seen_replica { /* by replica id; survives restarts */
    uint64_t replica;
    uint32_t incarnation;
    uint64_t term, commit, durable, written, checked, last;
    bool led;
    struct seen_replica *next;
};

struct seen_group {
    struct map leaders;         /* term -> replica id */
    struct seen_entry *entries; /* by index */
    uint64_t entry_capacity;
    uint64_t committed, committed_term; /* the term of who was first seen to know it */
    struct seen_replica *replicas;
};

struct sim_inspector {
    struct sim_cluster *cluster;
    struct seen_group *groups;
    uint32_t group_count;
    uint64_t elections, committed;
    uint32_t turn;
    uint32_t every, skipped; /* turns: looks after each such one */
    struct sim_moves *moves; /* NULL: not watched */
};

static struct sim *sim_of_inspector(const struct sim_inspector *inspector)
{
    return inspector->cluster->sim;
}

static struct seen_replica *replica_of(struct seen_group *group, uint64_t id)
{
    for (struct seen_replica *replica = group->replicas; replica; replica = replica->next)
        if (replica->replica == id) return replica;
    struct seen_replica *made = memory_allocate_zero(sizeof(*made));
    made->replica = id;
    made->next = group->replicas;
    group->replicas = made;
    return made;
}

static struct seen_entry *entry_of(struct seen_group *group, uint64_t index)
{
    if (index >= group->entry_capacity) {
        uint64_t capacity = group->entry_capacity ? group->entry_capacity * 2 : 256;
        while (capacity <= index)
            capacity *= 2;
        group->entries = memory_resize(group->entries, capacity * sizeof(*group->entries));
        memset(group->entries + group->entry_capacity, 0,
               (capacity - group->entry_capacity) * sizeof(*group->entries));
        group->entry_capacity = capacity;
    }
    return &group->entries[index];
}

/* --- one replica after a turn --- */

struct view {
    struct sim_inspector *inspector;
    uint32_t group;
    struct sim_incarnation *incarnation;
    const struct raft *raft;
    struct seen_group *seen;
    struct seen_replica *self;
    uint64_t replica;
};

#define WRONG(view, format, ...)                                                                   \
    sim_violation(sim_of_inspector((view)->inspector),                                             \
                  format ": group %u, node %u, replica %" PRIu64 ", term %" PRIu64, __VA_ARGS__,   \
                  (view)->group, (view)->incarnation->of->id, (view)->replica,                     \
                  raft_term((view)->raft))

/* R-5, and after a restart: what was claimed durable is there again. */
static void check_monotone(struct view *view)
{
    struct seen_replica *self = view->self;
    uint64_t term = raft_term(view->raft);
    bool restarted = self->incarnation != view->incarnation->number;

    /* A term that was never durable, and so never told to anyone, may be lost by a crash. */
    if (!restarted && term < self->term)
        WRONG(view, "R-5: the term went back from %" PRIu64, self->term);
    bool wound_back = view->incarnation->of->old_image;
    if (!wound_back && restarted && self->incarnation &&
        raft_last_index(view->raft) < self->durable)
        WRONG(view, "R-5/R-6: %" PRIu64 " was durable, the restart found only %" PRIu64,
              self->durable, raft_last_index(view->raft));
    if (!restarted && raft_commit_index(view->raft) < self->commit)
        WRONG(view, "R-5: commit went back from %" PRIu64, self->commit);
    self->incarnation = view->incarnation->number;
    self->term = term;
    self->commit = raft_commit_index(view->raft);
    self->durable = raft_durable_index(view->raft);
    self->written = raft_written_index(view->raft);
    self->last = raft_last_index(view->raft);
}

/* */
static void check_leader(struct view *view)
{
    uint64_t term = raft_term(view->raft);
    uint64_t known = (uint64_t)(uintptr_t)map_get(&view->seen->leaders, term);

    if (raft_role(view->raft) != RAFT_LEADER) {
        view->self->led = false;
        return;
    }
    if (known && known != view->replica)
        WRONG(view, "R-1: a second leader in this term, besides replica %" PRIu64, known);
    if (known) return;
    map_put(&view->seen->leaders, term, (void *)(uintptr_t)view->replica);
    view->inspector->elections++;
    uint64_t committed = view->seen->committed;
    /* One that was stopped while it was elected may begin late, in a term long past. */
    if (committed == 0 || term <= view->seen->committed_term) return;
    if (raft_last_index(view->raft) < committed) {
        WRONG(view, "R-3: elected without the committed entry %" PRIu64, committed);
        return;
    }
    uint64_t has = raft_term_at(view->raft, committed);
    uint64_t must = entry_of(view->seen, committed)->term;
    if (has && must && has != must)
        WRONG(view, "R-3: elected with term %" PRIu64 " at the committed index %" PRIu64, has,
              committed);
}

/* a committed index holds the same entry for ever and everywhere. */
static void check_entries(struct view *view)
{
    uint64_t commit = raft_commit_index(view->raft);
    uint64_t from = view->self->checked + 1;

    if (from < raft_first_index(view->raft)) from = raft_first_index(view->raft);
    for (uint64_t index = from; index <= commit; index++) {
        const struct raft_entry *entry = raft_entry_at(view->raft, index);
        if (entry == NULL) continue;
        uint64_t hash = hash64(entry->type, bytes_make(entry->body, entry->size)) | 1;
        struct seen_entry *seen = entry_of(view->seen, index);
        if (seen->hash == 0) {
            *seen = (struct seen_entry){.term = entry->term, .hash = hash};
            view->inspector->committed++;
        } else if (seen->hash != hash || seen->term != entry->term) {
            WRONG(view,
                  "R-4: another entry at the committed index %" PRIu64 ", of term %" PRIu64
                  " and not %" PRIu64,
                  index, entry->term, seen->term);
        }
    }
    view->self->checked = commit;
    if (commit <= view->seen->committed) return;
    view->seen->committed = commit;
    view->seen->committed_term = raft_term(view->raft);
}

const struct raft *sim_inspect_raft(struct sim_incarnation *incarnation, uint32_t group)
{
    for (uint32_t worker = 0; worker < incarnation->platform.worker_count; worker++) {
        struct partition_host *host = node_host(incarnation->node, worker);
        const struct raft *raft = host ? host_raft(host, (struct group_id){group}) : NULL;
        if (raft) return raft;
    }
    return NULL;
}

/* As it is now, or as it was when the replica was last seen alive. */
static uint64_t durable_of(const struct view *view, const struct raft_member *member)
{
    struct sim_cluster *cluster = view->inspector->cluster;
    struct seen_replica *seen = replica_of(view->seen, member->replica.value);
    struct sim_node *node = &cluster->nodes[member->node];

    bool sampled = view->inspector->group_count > GROUPS_EVERY_TURN;

    /* With many groups a dead replica may have got further than when it was last looked at. */
    if (sampled && (!sim_node_is_up(node) || seen->incarnation != node->now->number))
        return UINT64_MAX;
    if (sim_node_is_up(node) && seen->incarnation == node->now->number) {
        const struct raft *raft = sim_inspect_raft(node->now, view->group);
        if (raft == NULL && sampled) return UINT64_MAX; /* the same, of a node that is stopping */
        if (raft) seen->durable = raft_durable_index(raft);
        if (raft) seen->written = raft_written_index(raft);
    }
    return seen->durable;
}

/* R-7 for entries for which written is enough: they are of that kind, and on a majority, as they
 * were when each was last seen. */
static void check_written(struct view *view, const struct raft_config *config)
{
    uint64_t commit = raft_commit_index(view->raft);
    uint32_t written = 0;

    for (uint64_t i = raft_commit_durable_index(view->raft) + 1; i <= commit; i++) {
        const struct raft_entry *entry = raft_entry_at(view->raft, i);
        if (entry == NULL || entry->type != RAFT_ENTRY_WRITTEN)
            WRONG(view, "R-7: %" PRIu64 " committed when it was only written", i);
    }
    for (uint32_t i = 0; i < config->incoming_count; i++) {
        uint64_t durable = durable_of(view, &config->incoming[i]);
        struct seen_replica *seen = replica_of(view->seen, config->incoming[i].replica.value);
        written += durable >= commit || seen->written >= commit;
    }
    if (written * 2 <= config->incoming_count)
        WRONG(view, "R-7: committed %" PRIu64 ", written on only %u of %u", commit, written,
              config->incoming_count);
}

/* a leader's commit index is durable on a majority, as the disks have it, as far as it says.
 */
static void check_quorum(struct view *view)
{
    const struct raft_config *config = raft_config(view->raft);
    uint64_t commit = raft_commit_durable_index(view->raft);
    uint32_t durable = 0;

    if (raft_role(view->raft) != RAFT_LEADER || config->outgoing_count || commit == 0) return;
    if (commit < config->index || raft_term_at(view->raft, commit) != raft_term(view->raft)) return;
    for (uint32_t i = 0; i < config->incoming_count; i++)
        durable += durable_of(view, &config->incoming[i]) >= commit ||
                   view->inspector->cluster->nodes[config->incoming[i].node].old_image;
    if (durable * 2 <= config->incoming_count)
        WRONG(view, "R-7: committed %" PRIu64 ", durable on only %u of %u", commit, durable,
              config->incoming_count);
    if (raft_commit_index(view->raft) > commit) check_written(view, config);
}

uint64_t sim_inspect_local_now(const struct sim_node *node)
{
    return sim_machine_local_time(&node->machine, node->cluster->sim->now);
}

/* D1: while one replica may serve by its lease, nobody serves in a later term. */
static void check_lease(struct view *view)
{
    struct sim_cluster *cluster = view->inspector->cluster;
    uint64_t term = raft_term(view->raft);

    if (raft_role(view->raft) != RAFT_LEADER ||
        !raft_can_evaluate(view->raft, sim_inspect_local_now(view->incarnation->of)))
        return;
    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        struct sim_node *node = &cluster->nodes[i];
        if (!sim_node_is_up(node) || node == view->incarnation->of) continue;
        const struct raft *other = sim_inspect_raft(node->now, view->group);
        if (other == NULL || raft_role(other) != RAFT_LEADER || raft_term(other) >= term) continue;
        if (raft_can_evaluate(other, sim_inspect_local_now(node)) &&
            raft_lease_valid(other, sim_inspect_local_now(node)))
            WRONG(view, "D1: node %u still holds a lease of term %" PRIu64, i, raft_term(other));
    }
}

static struct view view_of(struct sim_inspector *inspector, struct sim_incarnation *incarnation,
                           uint32_t group, const struct raft *raft, uint64_t replica)
{
    return (struct view){.inspector = inspector,
                         .group = group,
                         .incarnation = incarnation,
                         .raft = raft,
                         .seen = &inspector->groups[group],
                         .self = replica_of(&inspector->groups[group], replica),
                         .replica = replica};
}

static void check_replica(struct view *view)
{
    check_monotone(view);
    check_leader(view);
    check_entries(view);
    check_quorum(view);
    check_lease(view);
}

/* What a start has found is looked at before anything is changed, so none of its turns is skipped.
 */
static bool is_skipped(struct sim_inspector *inspector, const struct sim_incarnation *incarnation)
{
    if (!incarnation->ready || ++inspector->skipped >= inspector->every) {
        inspector->skipped = 0;
        return false;
    }
    return true;
}

/* Every turn with few groups; with many, a part of them, all at the latest after some turns. But
 * entries leave memory in the turn after all members have them: those of all, while they are there.
 */
static void after_event(struct sim *sim, void *context, struct sim_world *world)
{
    struct sim_inspector *inspector = context;

    if (world == NULL || world->process->dead || world->process->machine->number == 0) return;
    struct sim_node *node = &inspector->cluster->nodes[world->process->machine->number];
    struct sim_incarnation *incarnation = node->now;
    if (incarnation == NULL || incarnation->process != world->process || incarnation->node == NULL)
        return;
    struct partition_host *host = node_host(incarnation->node, world->base.worker);
    if (host == NULL || is_skipped(inspector, incarnation)) return;
    uint32_t step = (inspector->group_count + GROUPS_EVERY_TURN - 1) / GROUPS_EVERY_TURN;
    uint32_t first = inspector->turn++ % step;
    if (inspector->turn % LOG_EVERY_TURNS == 0) sim_inspect_log_bound(inspector->cluster, node);
    for (uint32_t group = 0; group < inspector->group_count && !sim->failed; group++) {
        const struct raft *raft = host_raft(host, (struct group_id){group});
        uint64_t replica = host_replica_id(host, (struct group_id){group}).value;
        if (replica == 0) continue;
        struct view view = view_of(inspector, incarnation, group, raft, replica);
        if (group % step == first)
            check_replica(&view);
        else if (view.self->incarnation != incarnation->number)
            check_monotone(&view); /* before it can cut what the restart has found */
        else if (raft_commit_index(raft) != view.self->checked)
            check_entries(&view);
    }
    if (inspector->moves != NULL && !sim->failed)
        sim_moves_look(inspector->moves, incarnation, world->base.worker);
}

void sim_inspector_look_every(struct sim_inspector *inspector, uint32_t turns)
{
    inspector->every = turns;
}

void sim_inspector_watch_moves(struct sim_inspector *inspector)
{
    if (inspector->moves == NULL) inspector->moves = sim_moves_make(inspector->cluster);
}

/* With many groups a replica may have changed since it was last looked at: a tail that was cut
 * since is not missed after a restart. */
static void before_end(struct sim *sim, void *context, struct sim_process *process)
{
    struct sim_inspector *inspector = context;
    struct sim_incarnation *incarnation = inspector->cluster->nodes[process->machine->number].now;

    if (incarnation == NULL || incarnation->process != process || incarnation->node == NULL) return;
    for (uint32_t worker = 0; worker < incarnation->platform.worker_count; worker++) {
        struct partition_host *host = node_host(incarnation->node, worker);
        for (uint32_t group = 0; host && group < inspector->group_count; group++) {
            const struct raft *raft = host_raft(host, (struct group_id){group});
            uint64_t replica = host_replica_id(host, (struct group_id){group}).value;
            if (replica == 0 || sim->failed) continue;
            struct view view = view_of(inspector, incarnation, group, raft, replica);
            check_monotone(&view);
        }
    }
}

struct sim_inspector *sim_inspector_make(struct sim_cluster *cluster)
{
    struct sim_inspector *inspector = memory_allocate_zero(sizeof(*inspector));

    inspector->cluster = cluster;
    inspector->group_count = GROUP_DATA_FIRST + cluster->options.partitions;
    inspector->groups = memory_allocate_zero(inspector->group_count * sizeof(*inspector->groups));
    for (uint32_t i = 0; i < inspector->group_count; i++)
        map_init(&inspector->groups[i].leaders);
    cluster->sim->after_event = after_event;
    cluster->sim->before_end = before_end;
    cluster->sim->after_event_context = inspector;
    return inspector;
}

void sim_inspector_free(struct sim_inspector *inspector)
{
    if (inspector == NULL) return;
    inspector->cluster->sim->after_event = NULL;
    inspector->cluster->sim->before_end = NULL;
    for (uint32_t i = 0; i < inspector->group_count; i++) {
        struct seen_group *group = &inspector->groups[i];
        map_free(&group->leaders);
        memory_free(group->entries);
        while (group->replicas) {
            struct seen_replica *replica = group->replicas;
            group->replicas = replica->next;
            memory_free(replica);
        }
    }
    memory_free(inspector->groups);
    memory_free(inspector->moves);
    memory_free(inspector);
}

uint64_t sim_inspector_elections(const struct sim_inspector *inspector)
{
    return inspector->elections;
}

uint64_t sim_inspector_committed(const struct sim_inspector *inspector)
{
    return inspector->committed;
}
