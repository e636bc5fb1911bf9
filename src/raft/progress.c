/* progress.c - what the leader knows of each member, and how much it may send ahead.
 *
 *   match <= next - 1 <= last: (match, next) is on its way or lost. Losses show as refusals of
 *   what follows; the loss of the very last message, or of the answer, shows when heartbeat
 *   acknowledgements go on without progress. Then an empty append asks what arrived: asking
 *   is cheap where sending again would bury a member whose disk is merely slow. */
#include "raft/raft_internal.h"

struct progress *raft_progress_find(const struct raft *raft, struct replica_id replica)
{
    for (size_t i = 0; i < raft->progress_count; i++) {
        if (replica_id_equal(raft->progress[i].member.replica, replica)) return &raft->progress[i];
    }
    return NULL;
}

static struct progress progress_make(const struct raft *raft, struct raft_member member)
{
    return (struct progress){
        .member = member, .state = PROGRESS_PROBE, .next = last_index(raft) + 1};
}

void raft_progress_free(struct raft *raft)
{
    for (size_t i = 0; i < raft->progress_room; i++)
        memory_free(raft->progress[i].inflight_more);
    memory_free(raft->progress);
    raft->progress = NULL;
    raft->progress_room = 0;
}

void raft_progress_update(struct raft *raft)
{
    struct raft_member members[RAFT_ALL_MEMBERS_MAX];
    size_t count = raft_other_members(raft, members);
    struct progress *fresh = memory_allocate_lines((count + 1) * sizeof(*fresh));

    for (size_t i = 0; i < count; i++) {
        struct progress *known = raft_progress_find(raft, members[i].replica);
        fresh[i] = known ? *known : progress_make(raft, members[i]);
        if (known) known->inflight_more = NULL; /* moved */
        ASSERT(fresh[i].match < fresh[i].next);
    }
    raft_progress_free(raft);
    raft->progress = fresh;
    raft->progress_room = (uint32_t)count;
    raft->progress_count = (uint32_t)count;
    raft->send_wanted = true;
}

void raft_progress_reset(struct raft *raft)
{
    ASSERT(raft->role == RAFT_LEADER);
    raft->progress_count = 0;
    raft_progress_update(raft);
}

bool raft_progress_active(const struct raft *raft, const struct progress *progress, uint64_t now)
{
    if (progress->acked_at == 0) return false;
    return now < progress->acked_at + raft->timing.election_timeout_max;
}

void raft_progress_probe(struct progress *progress, uint64_t next)
{
    ASSERT(next > progress->match);
    progress->state = PROGRESS_PROBE;
    progress->next = next;
    progress->probe_sent = false;
    progress->probe_empty = false;
    progress->check_wanted = false;
    progress->offer_open = false;
    progress->silent_acks = 0;
    progress->inflight_start = 0;
    progress->inflight_count = 0;
    progress->inflight_bytes = 0;
}

static uint32_t inflight_room(const struct progress *progress)
{
    bool first = progress->inflight_more == NULL;
    return first ? ARRAY_COUNT(progress->inflight_first) : progress->inflight_capacity;
}

/* The i-th oldest. */
static struct inflight *inflight_at(struct progress *progress, uint32_t i)
{
    struct inflight *ring =
        progress->inflight_more ? progress->inflight_more : progress->inflight_first;
    return &ring[(progress->inflight_start + i) % inflight_room(progress)];
}

static void inflight_grow(struct progress *progress)
{
    uint32_t capacity = 4 * inflight_room(progress);
    struct inflight *ring = memory_allocate(capacity * sizeof(*ring));
    for (uint32_t i = 0; i < progress->inflight_count; i++)
        ring[i] = *inflight_at(progress, i);
    memory_free(progress->inflight_more);
    progress->inflight_more = ring;
    progress->inflight_capacity = capacity;
    progress->inflight_start = 0;
}

static void inflight_free(struct progress *progress, uint64_t match)
{
    while (progress->inflight_count > 0) {
        const struct inflight *oldest = inflight_at(progress, 0);
        if (oldest->last_index > match) break;
        ASSERT(progress->inflight_bytes >= oldest->bytes);
        progress->inflight_bytes -= oldest->bytes;
        progress->inflight_start = (progress->inflight_start + 1) % inflight_room(progress);
        progress->inflight_count--;
    }
    if (progress->inflight_count == 0) progress->inflight_start = 0; /* where memory is warm */
}

void raft_progress_matched(struct raft *raft, struct progress *progress, uint64_t match)
{
    ASSERT(match <= last_index(raft));
    bool reachable = match >= raft->base_index; /* its next entry is still in memory */
    bool advanced = match > progress->match;

    if (advanced) progress->match = match;
    if (progress->next <= progress->match) progress->next = progress->match + 1;
    inflight_free(progress, progress->match);
    /* In a probe only an answer to what was asked shows that the logs agree up to `next`. */
    bool probed = progress->state == PROGRESS_PROBE && progress->match + 1 >= progress->next;
    bool installed = progress->state == PROGRESS_SNAPSHOT && advanced && reachable;
    if (probed || installed) {
        raft_progress_probe(progress, progress->match + 1);
        progress->state = PROGRESS_REPLICATE;
    }
    raft->send_wanted = true;
}

void raft_progress_written(struct raft *raft, struct progress *progress, uint64_t written)
{
    ASSERT(written <= last_index(raft));
    if (written <= progress->written) return;
    progress->written = written;
    inflight_free(progress, written); /* it has arrived; its sync is no reason to send no more */
    raft->send_wanted = true;
}

void raft_progress_sent(struct progress *progress, uint64_t last_index, uint64_t bytes)
{
    ASSERT(progress->state == PROGRESS_REPLICATE);
    ASSERT(raft_progress_has_room(progress));
    if (progress->inflight_count == inflight_room(progress)) inflight_grow(progress);
    *inflight_at(progress, progress->inflight_count++) =
        (struct inflight){.last_index = last_index, .bytes = bytes};
    progress->inflight_bytes += bytes;
    progress->next = last_index + 1;
}

bool raft_progress_has_room(const struct progress *progress)
{
    return progress->inflight_count < RAFT_INFLIGHT_APPENDS_MAX &&
           progress->inflight_bytes < RAFT_INFLIGHT_BYTES_MAX;
}

void raft_progress_heard(struct raft *raft, struct progress *progress)
{
    bool sending = progress->state == PROGRESS_REPLICATE && progress->match + 1 < progress->next;
    bool probing = progress->state == PROGRESS_PROBE && progress->probe_sent;
    bool moved = progress->match != progress->silent_match;

    progress->silent_match = progress->match;
    if (progress->state == PROGRESS_SNAPSHOT) raft->send_wanted = true; /* offer again? */
    /* Its connection broke and is there again: it may lack what was on the way. */
    if (progress->state == PROGRESS_PROBE && !progress->probe_sent) raft->send_wanted = true;
    if ((!sending && !probing) || moved) {
        progress->silent_acks = 0;
        return;
    }
    progress->silent_acks++;
    if (progress->silent_acks < RAFT_SILENT_ACKS_MAX) return;
    progress->silent_acks = 0;
    if (probing) {
        progress->probe_sent = false;
        progress->probe_empty = true;
    }
    progress->check_wanted = sending;
    raft->send_wanted = true;
}
