#include "partition/stale.h"

#include "base/hash.h"
#include "partition/host_internal.h"

/* The leader's part. Its commit index covers all that was ever acknowledged, since it has
 * committed and applied an entry of its own term (A1); that it leads is for the executor to show
 * before the reply leaves, as for any read. */
enum evaluate_result stale_evaluate(struct row_context *rows, const struct request *request,
                                    struct reply *reply)
{
    struct writer writer = writer_make(reply->buffer);

    (void)request;
    write_u64(&writer, rows->commit_index);
    write_i64(&writer, rows->time);
    return EVALUATE_DONE;
}

/* --- stamps --- */

static struct replica *next_replica(struct partition_host *host, uint32_t *at)
{
    uint32_t from = *at > GROUP_DATA_FIRST ? *at : GROUP_DATA_FIRST;

    for (uint32_t i = from; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        *at = i + 1;
        if (replica != NULL && !replica->halted) return replica;
    }
    return NULL;
}

/* What was answered counts once the replica has got there. */
static void stamp_settle(struct replica *replica)
{
    struct replica_fresh *fresh = &replica->fresh;
    bool early = PLANTED(replica->host->world, "stale_before_applied");

    if (fresh->answer_index == 0) return;
    if (replica->applied < fresh->answer_index && !early) {
        SOMETIMES(replica->host->world, "a replica had not applied what its leader had committed");
        return;
    }
    fresh->as_of = fresh->answer_at;
    fresh->time = fresh->answer_time;
    fresh->answer_index = 0;
}

bool stale_next(struct partition_host *host, uint32_t *at, uint64_t interval,
                struct stale_question *ret)
{
    uint64_t now = world_now(host->world);
    struct replica *replica;

    while ((replica = next_replica(host, at)) != NULL) {
        struct replica_fresh *fresh = &replica->fresh;
        stamp_settle(replica);
        bool waits = fresh->asking || fresh->answer_index != 0;
        if (waits || (fresh->asked_at != 0 && now - fresh->asked_at < interval)) continue;
        fresh->asking = true;
        fresh->asked_at = now;
        *ret = (struct stale_question){
            .group = replica->group, .replica = replica->id, .slot = replica->slot_first};
        return true;
    }
    return false;
}

void stale_told(struct partition_host *host, const struct stale_question *question,
                uint64_t asked_at, struct bytes reply)
{
    struct replica *replica = host_replica(host, question->group);
    if (replica == NULL || !replica_id_equal(replica->id, question->replica)) return;
    struct replica_fresh *fresh = &replica->fresh;
    struct reader reader = reader_make(reply);
    uint64_t index = read_u64(&reader);
    int64_t time = read_i64(&reader);

    fresh->asking = false;
    if (reader.failed || index == 0) return;
    ASSERT(fresh->answer_index == 0);
    fresh->answer_at = asked_at;
    fresh->answer_index = index;
    fresh->answer_time = time;
    stamp_settle(replica);
}

/* --- reads --- */

/* A leader with a lease is as fresh as can be, and logs what its reads find expired. */
static bool leads_for_sure(struct replica *replica, uint64_t now)
{
    return !replica->host->options.reads_by_quorum && replica_may_evaluate(replica, now) &&
           raft_lease_valid(replica->raft, now);
}

static bool can_evaluate(const struct replica *replica, const struct stale_ask *ask)
{
    const struct partition_host *host = replica->host;

    return ask->service < SERVICE_COUNT && host->options.evaluate[ask->service] != NULL &&
           ask->slot >= replica->slot_first && ask->slot <= replica->slot_last;
}

/* By what is applied and nothing else: a leader's proposals are not to be seen. */
static enum stale_code
evaluate_committed(struct replica *replica, const struct stale_ask *ask, void *context,
                   void (*on_reply)(void *context, uint64_t as_of, struct bytes reply))
{
    struct partition_host *host = replica->host;
    const struct replica_fresh *fresh = &replica->fresh;
    int64_t time = fresh->time > replica->applied_time ? fresh->time : replica->applied_time;
    struct request request = {.service = ask->service, .slot = ask->slot, .body = ask->body};
    struct evaluate_scratch *scratch = &host->scratch[host->depth++];
    struct row_context rows;
    enum evaluate_result result =
        execute_evaluate(replica, host->options.evaluate[ask->service], &request,
                         hash_u64(ask->id ^ fresh->as_of), time, scratch, &rows, NULL);
    enum stale_code code = STALE_ANSWERED;
    if (result != EVALUATE_DONE || rows.over_budget)
        code = STALE_TO_LEADER; /* rows that are on disk only, or too much */
    else if (rows.dep > 0)
        code = STALE_WAITS;
    if (code == STALE_ANSWERED) on_reply(context, fresh->as_of, buffer_bytes(&scratch->reply));
    if (scratch->reply.capacity > SCRATCH_KEPT_BYTES) buffer_release(&scratch->reply);
    host->depth--;
    return code;
}

enum stale_code stale_read(struct partition_host *host, struct group_id group,
                           const struct stale_ask *ask, void *context,
                           void (*on_reply)(void *context, uint64_t as_of, struct bytes reply),
                           uint64_t *ret_as_of)
{
    struct replica *replica = host_replica(host, group);
    uint64_t now = world_now(host->world); /* after the bytes of the request were read (A3) */

    *ret_as_of = 0;
    if (replica == NULL || replica->halted || !can_evaluate(replica, ask)) return STALE_TO_LEADER;
    if (leads_for_sure(replica, now)) return STALE_TO_LEADER;
    stamp_settle(replica);
    uint64_t as_of = replica->fresh.as_of;
    *ret_as_of = as_of;
    if (as_of < ask->not_before) return STALE_TO_LEADER;
    bool fresh = as_of != 0 && now - as_of <= ask->bound;
    /* What is prepared may be decided elsewhere, and answered. */
    if (txn_has_prepared(replica)) return STALE_TO_LEADER;
    bool busy = snapshot_is_installing(replica) || host->depth >= EVALUATE_DEPTH_MAX;
    if (!fresh || busy) return STALE_WAITS;
    return evaluate_committed(replica, ask, context, on_reply);
}
