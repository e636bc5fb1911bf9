/* cut.c - a partition's part in a cut through the whole cluster: its leader stops, and says so;
 * logs the cut; goes on. Then who asks for the part. The parts themselves: cut_part.c, cut_read.c.
 */
#include "partition/cut_internal.h"

#include "base/assert.h"

/* --- frozen --- */

static void reply_status(struct buffer *reply, enum cut_status status)
{
    struct writer writer = writer_make(reply);

    write_u8(&writer, (uint8_t)status);
}

static bool is_others(const struct replica_freeze *freeze, uint64_t cut, uint64_t now)
{
    if (cut_is_frozen(freeze)) return freeze->cut != cut;
    return freeze->claim != 0 && freeze->claim != cut && now < freeze->claim_until;
}

static enum cut_status claim(struct replica *replica, const struct cut_request *request,
                             uint64_t now)
{
    struct replica_freeze *freeze = &replica->freeze;

    if (is_others(freeze, request->cut, now)) return CUT_REFUSED;
    if (cut_count(replica) >= CUTS_MAX) return CUT_FULL;
    freeze->claim = request->cut;
    freeze->claim_until = now + (uint64_t)request->freeze_ms * 1000;
    return CUT_OK;
}

static enum cut_status freeze(struct replica *replica, const struct cut_request *request,
                              uint64_t now)
{
    struct partition_host *host = replica->host;
    struct replica_freeze *freeze = &replica->freeze;
    bool same = freeze->cut == request->cut;

    if (is_others(freeze, request->cut, now)) return CUT_REFUSED;
    if (cut_count(replica) >= CUTS_MAX) return CUT_FULL;
    if (replica->receive != NULL || host->stopping || replica->group.value == GROUP_META)
        return CUT_REFUSED;
    /* Others are copied still, for which this replica's flush waits already. */
    if (cut_holds_flush(replica) && flush_is_urgent(host)) return CUT_REFUSED;
    if (same) return CUT_OK; /* asked again: the freeze goes on, no longer than it would */
    *freeze = (struct replica_freeze){.cut = request->cut,
                                      .freeze = world_random(host->world) | 1,
                                      .since = now,
                                      .until = now + (uint64_t)request->freeze_ms * 1000};
    if (host->frozen_until == 0 || freeze->until < host->frozen_until) {
        host->frozen_until = freeze->until;
        world_timer_start(host->world, &host->freeze_timer, freeze->until - now);
    }
    host->statistics.cut_freezes++;
    return CUT_OK;
}

void cut_proposed(struct replica *replica, const struct effect *effect)
{
    const struct replica_freeze *freeze = &replica->freeze;

    if (effect->takes || effect->cut == freeze->cut || effect->cut == freeze->claim)
        cut_unfreeze(replica);
}

void cut_unfreeze(struct replica *replica)
{
    struct partition_host *host = replica->host;

    replica->freeze.claim = 0;
    if (!cut_is_frozen(&replica->freeze)) return;
    uint64_t lasted = world_now(host->world) - replica->freeze.since;
    if (host->frozen_last != replica->freeze.cut) host->statistics.cut_frozen_last_us = 0;
    host->frozen_last = replica->freeze.cut;
    if (lasted > host->statistics.cut_frozen_last_us) host->statistics.cut_frozen_last_us = lasted;
    if (lasted > host->statistics.cut_frozen_max_us) host->statistics.cut_frozen_max_us = lasted;
    replica->freeze = (struct replica_freeze){.cut = 0};
    cold_unlocked(replica);
}

void cut_freeze_over(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    uint64_t now = world_now(host->world), next = 0;

    for (uint32_t i = 0; i < host->replicas_capacity; i++) {
        struct replica *replica = host->replicas[i];
        if (replica == NULL || !cut_is_frozen(&replica->freeze)) continue;
        uint64_t until = replica->freeze.until;
        if (until > now) {
            next = next == 0 || until < next ? until : next;
            continue;
        }
        SOMETIMES(host->world, "a partition was frozen for a cut that nobody took");
        cut_unfreeze(replica);
    }
    host->frozen_until = next;
    if (next != 0) world_timer_start(host->world, timer, next - now);
}

enum evaluate_result cut_evaluate(struct row_context *rows, const struct request *request,
                                  struct reply *reply)
{
    struct cut_request body;
    enum cut_status status = CUT_FAILED;
    bool sound = cut_request_decode(request->body, &body);

    if (sound && body.op == CUT_CLOSE) {
        row_cut_close(rows, body.cut);
        status = CUT_OK;
    } else if (sound && body.op == CUT_TAKE) {
        bool frozen = rows->frozen_for == body.cut && rows->freeze == body.freeze;
        bool fits = body.lifetime > 0 && body.lifetime <= CUT_LIFETIME_MAX_US;
        status = frozen && fits ? CUT_OK : CUT_REFUSED;
        if (status == CUT_OK) row_cut_take(rows, body.cut, body.lifetime);
    }
    reply_status(reply->buffer, status);
    return EVALUATE_DONE;
}

/* --- who asks --- */

static void answer(struct replica *replica, struct session *session, uint64_t route, uint64_t seq,
                   const struct buffer *reply)
{
    reply_deliver(replica, session, route, seq, OUTCOME_REPLY, buffer_bytes(reply));
}

static void answer_freeze(struct replica *replica, const struct cut_request *request, uint64_t now,
                          struct buffer *reply)
{
    enum cut_status status = freeze(replica, request, now);
    struct writer writer = writer_make(reply);

    write_u8(&writer, (uint8_t)status);
    if (status == CUT_OK) write_u64(&writer, replica->freeze.freeze);
}

static void answer_state(const struct replica *replica, const struct cut_request *request,
                         struct buffer *reply)
{
    const struct cut_part *part = cut_part_find(replica, request->cut);

    if (part == NULL)
        reply_status(reply, CUT_GONE);
    else if (part->failed)
        reply_status(reply, CUT_FAILED);
    else if (part->stage != CUT_STAGE_OPEN)
        reply_status(reply, CUT_OPENING);
    else
        buffer_append(reply, buffer_bytes(&part->state));
}

/* Waits for the part's job. False: too much waits. */
static bool wait_for_job(struct replica *replica, struct session *session, uint64_t route,
                         const struct request_item *item, struct cut_part *part)
{
    struct parked *parked = NULL;

    if (part->read_count < CUT_READS_MAX) parked = parked_make(replica, session, route, item);
    if (parked == NULL) return false;
    parked->state = PARKED_FETCHING; /* a job frees it */
    list_insert_before(&part->reads, &parked->by_queue);
    part->read_count++;
    cut_reads_begin(part);
    return true;
}

static enum cut_status may_ask(const struct cut_part *part)
{
    if (part == NULL) return CUT_GONE;
    if (part->failed) return CUT_FAILED;
    return part->stage == CUT_STAGE_OPEN ? CUT_OK : CUT_OPENING;
}

bool cut_takes(struct replica *replica, struct session *session, uint64_t route,
               const struct request_item *item, uint64_t now)
{
    struct cut_request request;
    struct buffer reply;
    bool waits = false;
    bool sound = cut_request_decode(item->body, &request);

    if (sound && (request.op == CUT_TAKE || request.op == CUT_CLOSE)) return false;
    buffer_init(&reply, SIZE_MAX / 2);
    if (!sound) {
        reply_status(&reply, CUT_FAILED);
    } else if (request.op == CUT_FREEZE) {
        answer_freeze(replica, &request, now, &reply);
    } else if (request.op == CUT_CLAIM) {
        reply_status(&reply, claim(replica, &request, now));
    } else if (request.op == CUT_STATE) {
        answer_state(replica, &request, &reply);
    } else {
        struct cut_part *part = cut_part_find(replica, request.cut);
        enum cut_status status = may_ask(part);
        if (status == CUT_OK)
            waits = wait_for_job(replica, session, route, item, part);
        else
            reply_status(&reply, status);
    }
    if (buffer_size(&reply) > 0)
        answer(replica, session, route, item->seq, &reply);
    else if (!waits)
        reply_deliver(replica, session, route, item->seq, OUTCOME_BUSY, bytes_make(NULL, 0));
    buffer_free(&reply);
    return true;
}

/* --- applied --- */

void cut_applied(struct replica *replica, const struct effect *effect, struct gateway_id gateway,
                 uint64_t index)
{
    if (effect->takes) {
        cut_part_begin(replica, effect, gateway, index);
        return;
    }
    struct cut_part *part = cut_part_find(replica, effect->cut);
    if (part != NULL) cut_part_end(part);
}
