/* txn_together.c - transactions that contend become one.
 *
 * While a transaction over partitions holds its locks, for two commits and a message, nobody else
 * gets on who needs the same rows: one after the other they would be as slow as the disks. So those
 * of a worker that met locks, or come where others just did, and go to the same partitions, are
 * executed in one attempt: it prepares and decides all of them at once, in the order in which they
 * came, each seeing what those before it wrote. All of them commit or none, which is no weaker than
 * one after the other. If one of them cannot be executed so, each is tried alone.
 *
 * Of one set of partitions one such attempt of a worker is under way at a time: those that come
 * meanwhile are the next one. More of them would only wait for each other's locks, each with fewer
 * in it, as when what is written meanwhile shares the next sync.
 *
 * What is executed is a request of its own; who is in it waits in STAGE_JOINED, and may go at any
 * time: then nobody hears its replies. */
#include "base/hash.h"
#include "txn/txn_internal.h"

struct txn_together {
    struct txn_worker *worker;
    struct list link; /* of the worker: those under way */
    uint64_t groups_hash;
    struct txn_request request;
    uint32_t count;
    struct txn_attempt *members[TXN_TOGETHER_MAX]; /* NULL: gone */
    struct buffer *bodies;                         /* for each piece */
    struct group_id *groups;                       /* the same */
    struct txn_piece *pieces;
};

/* --- where there is contention --- */

static struct txn_contention *contention(struct txn_worker *worker, uint64_t groups_hash)
{
    return &worker->contended[groups_hash % TXN_CONTENDED_SETS];
}

/* There were others to share an attempt with. That alone does not say that they are in each other's
 * way: it counts for a while. */
static void note_shared(struct txn_worker *worker, uint64_t groups_hash)
{
    struct txn_contention *found = contention(worker, groups_hash);
    uint64_t until = world_now(worker->world) + TXN_CONTENDED_US;
    uint64_t last = found->met_at + TXN_CONTENDED_LAST_US;

    if (until > last) until = last;
    if (until > found->until) found->until = until;
}

/* With too little time left for an attempt of many, which would be over with it. */
static bool is_late(const struct txn_attempt *attempt)
{
    return world_now(attempt->worker->world) + attempt->prepare_limit > attempt->ends;
}

static bool may_join(const struct txn_attempt *attempt)
{
    const struct txn_worker *worker = attempt->worker;
    bool known = worker->options.view->cluster_version >= VIEW_VERSION_TOGETHER;

    return known && attempt->request != NULL && attempt->request->together && !attempt->alone &&
           attempt->part_count > 1 && !is_late(attempt);
}

uint64_t txn_together_hash(const struct txn_attempt *attempt)
{
    uint64_t hash = 0;

    for (uint32_t i = 0; i < attempt->part_count; i++)
        hash ^= hash_u64(attempt->parts[i].group.value);
    return hash;
}

void txn_together_note(struct txn_attempt *attempt)
{
    uint64_t now = world_now(attempt->worker->world);

    attempt->met_lock = true;
    *contention(attempt->worker, attempt->groups_hash) =
        (struct txn_contention){.until = now + TXN_CONTENDED_US, .met_at = now};
}

/* --- who is in it --- */

/* Of that partition, or NULL. */
static struct txn_part *part_at(struct txn_attempt *attempt, struct group_id group)
{
    for (uint32_t i = 0; i < attempt->part_count; i++)
        if (attempt->parts[i].group.value == group.value) return &attempt->parts[i];
    return NULL;
}

/* Of the same partitions, and the same service. */
static bool fits(const struct txn_together *together, struct txn_attempt *attempt)
{
    const struct txn_request *request = &together->request;

    if (together->groups_hash != attempt->groups_hash) return false;
    if (request->piece_count != attempt->part_count) return false;
    if (request->service != attempt->request->service) return false;
    for (uint32_t i = 0; i < request->piece_count; i++)
        if (part_at(attempt, together->groups[i]) == NULL) return false;
    return true;
}

static bool waits_for(const struct txn_together *together, struct txn_attempt *attempt)
{
    return attempt->stage == STAGE_PAUSE && !attempt->failed && !attempt->stepping &&
           may_join(attempt) && fits(together, attempt);
}

/* One that is under way, and which it would have to wait for. */
static bool is_held(struct txn_attempt *attempt)
{
    struct list *head = &attempt->worker->together;

    for (struct list *at = head->next; at != head; at = at->next)
        if (fits(CONTAINER_OF(at, struct txn_together, link), attempt)) return true;
    return false;
}

bool txn_together_waits(struct txn_attempt *attempt)
{
    struct txn_worker *worker = attempt->worker;
    uint64_t now = world_now(worker->world);

    return may_join(attempt) &&
           (contention(worker, attempt->groups_hash)->until > now || is_held(attempt));
}

static bool has_room(const struct txn_together *together, struct txn_attempt *attempt)
{
    if (together->count == TXN_TOGETHER_MAX) return false;
    for (uint32_t i = 0; i < attempt->part_count; i++) {
        const struct txn_part *part = part_at(attempt, together->groups[i]);
        size_t size = buffer_size(&together->bodies[i]) + part->piece->body.size;
        if (size > TXN_TOGETHER_BYTES_MAX) return false;
    }
    return true;
}

static void join(struct txn_together *together, struct txn_attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->part_count; i++) {
        const struct txn_piece *piece = part_at(attempt, together->groups[i])->piece;
        struct writer writer = writer_make(&together->bodies[i]);
        write_u32(&writer, (uint32_t)piece->body.size);
        write_bytes(&writer, piece->body);
        together->pieces[i].write |= piece->write;
        together->pieces[i].grows |= piece->grows;
    }
    together->members[together->count++] = attempt;
    attempt->joined = together;
    attempt->stage = STAGE_JOINED;
    world_timer_stop(attempt->worker->world, &attempt->timer);
}

void txn_together_left(struct txn_attempt *attempt)
{
    struct txn_together *together = attempt->joined;

    attempt->joined = NULL;
    for (uint32_t i = 0; together != NULL && i < together->count; i++)
        if (together->members[i] == attempt) together->members[i] = NULL;
}

bool txn_together_decides(const struct txn_attempt *attempt)
{
    const struct txn_together *together = attempt->joined;

    return together != NULL && together->request.attempt != NULL &&
           together->request.attempt->stage == STAGE_DECIDE;
}

/* --- its end --- */

static void together_free(struct txn_together *together)
{
    list_remove(&together->link);
    for (uint32_t i = 0; i < together->request.piece_count; i++) {
        buffer_free(&together->bodies[i]);
        buffer_free(&together->pieces[i].reply);
    }
    memory_free(together->groups);
    memory_free(together->bodies);
    memory_free(together->pieces);
    memory_free(together);
}

/* Of each piece the next reply, to the member's (NULL: it is gone). False: they make no sense, or
 * are too much. */
static bool take_replies(const struct txn_together *together, struct txn_attempt *member,
                         struct bytes *replies)
{
    bool sound = true;

    for (uint32_t i = 0; i < together->request.piece_count; i++) {
        struct bytes reply;
        sound = txn_bodies_next(&replies[i], &reply) && sound;
        if (member != NULL && sound)
            sound = txn_part_take_reply(part_at(member, together->groups[i]), reply);
    }
    return sound;
}

static void end_members(struct txn_together *together, enum txn_result result)
{
    uint32_t count = together->request.piece_count;
    struct bytes *replies = memory_allocate(count * sizeof(*replies));

    for (uint32_t i = 0; i < count; i++)
        replies[i] = buffer_bytes(&together->pieces[i].reply);
    for (uint32_t i = 0; i < together->count; i++) {
        struct txn_attempt *attempt = together->members[i];
        enum txn_result own = result;
        bool heard = attempt != NULL && attempt->request != NULL;
        if (result == TXN_DONE && !take_replies(together, heard ? attempt : NULL, replies))
            own = TXN_LOST_REPLY;
        if (attempt == NULL) continue;
        together->worker->statistics.together += result == TXN_DONE;
        attempt->joined = NULL;
        attempt->stage = STAGE_DECIDE; /* as if it had been alone */
        txn_end(attempt, own, NULL);
    }
    memory_free(replies);
}

/* `slow`: it was not prepared in time; the next one gets more. */
static void begin_again(struct txn_together *together, bool alone, bool slow)
{
    for (uint32_t i = 0; i < together->count; i++) {
        struct txn_attempt *attempt = together->members[i];
        if (attempt == NULL) continue;
        attempt->joined = NULL;
        /* Or maybe one of them is in the way of all others: it is so once, or twice. */
        bool again = ++attempt->met_together >= TXN_TOGETHER_CONFLICTS_MAX;
        attempt->alone = attempt->alone || alone || slow || again;
        attempt->overdue = slow;
        if (slow) attempt->prepare_limit *= 2;
        if (attempt->prepare_limit > TXN_PREPARE_LAST_US)
            attempt->prepare_limit = TXN_PREPARE_LAST_US;
        txn_pause(attempt);
    }
}

/* Those that waited for it are the next one, with those of its own clients that come again. After
 * one that failed not at the same time as those of another node, which failed by it. */
static void release(struct txn_together *together, bool failed)
{
    struct txn_worker *worker = together->worker;
    uint64_t delay = TXN_GATHER_US;

    list_remove(&together->link);
    note_shared(worker, together->groups_hash);
    if (failed) delay += world_random(worker->world) % TXN_GATHER_SPREAD_US;
    for (struct list *at = worker->attempts.next; at != &worker->attempts; at = at->next) {
        struct txn_attempt *attempt = CONTAINER_OF(at, struct txn_attempt, link);
        if (waits_for(together, attempt)) world_timer_start(worker->world, &attempt->timer, delay);
    }
}

static void on_done(struct txn_request *request, enum txn_result result,
                    const struct txn_piece *refused)
{
    struct txn_together *together = request->context;

    (void)refused;
    release(together, result == TXN_UNAVAILABLE || result == TXN_BUSY);
    switch (result) {
    case TXN_DONE:
    case TXN_UNKNOWN:
    case TXN_LOST_REPLY:
        end_members(together, result);
        break;
    case TXN_UNAVAILABLE:
        begin_again(together, false, true);
        break;
    case TXN_BUSY:
        begin_again(together, false, false);
        break;
    case TXN_REFUSED:
    case TXN_NO_SPACE:
    case TXN_TOO_BIG:
        SOMETIMES(together->worker->world, "transactions could not be executed together");
        begin_again(together, true, false);
        break;
    }
    together_free(together);
}

/* --- its beginning --- */

static struct txn_together *together_make(struct txn_attempt *first)
{
    struct txn_together *together = memory_allocate_zero(sizeof(*together));
    uint32_t count = first->part_count;

    together->worker = first->worker;
    together->groups_hash = first->groups_hash;
    list_init(&together->link);
    together->bodies = memory_allocate_zero(count * sizeof(*together->bodies));
    together->pieces = memory_allocate_zero(count * sizeof(*together->pieces));
    together->groups = memory_allocate_zero(count * sizeof(*together->groups));
    for (uint32_t i = 0; i < count; i++) {
        buffer_init(&together->bodies[i], SIZE_MAX / 2);
        buffer_init(&together->pieces[i].reply, SIZE_MAX / 2);
        together->pieces[i].slot = first->parts[i].piece->slot;
        together->groups[i] = first->parts[i].group;
    }
    together->request = (struct txn_request){.service = first->request->service,
                                             .client = first->client,
                                             .several = true,
                                             .piece_count = count,
                                             .pieces = together->pieces,
                                             .on_done = on_done,
                                             .context = together};
    return together;
}

/* `first`, and all that wait like it. NULL: there is nobody, or no room for two. */
static struct txn_together *gather(struct txn_attempt *first)
{
    struct list *head = &first->worker->attempts;
    struct txn_together *together = together_make(first);

    if (has_room(together, first)) join(together, first);
    for (struct list *at = head->next; at != head && together->count > 0; at = at->next) {
        struct txn_attempt *other = CONTAINER_OF(at, struct txn_attempt, link);
        if (waits_for(together, other) && has_room(together, other)) join(together, other);
    }
    if (together->count > 1) return together;
    if (together->count == 1) {
        first->joined = NULL;
        first->stage = STAGE_PAUSE;
    }
    together_free(together);
    return NULL;
}

static void begin(struct txn_together *together, uint32_t part_count)
{
    struct txn_worker *worker = together->worker;

    SOMETIMES(worker->world, "transactions were executed together");
    list_insert_before(&worker->together, &together->link);
    for (uint32_t i = 0; i < part_count; i++)
        together->pieces[i].body = buffer_bytes(&together->bodies[i]);
    struct txn_attempt *all = txn_attempt_make(worker, &together->request);
    for (uint32_t i = 0; i < together->count; i++) {
        const struct txn_attempt *member = together->members[i];
        if (member->prepare_limit > all->prepare_limit) all->prepare_limit = member->prepare_limit;
        if (member->ends < all->ends) all->ends = member->ends; /* nobody waits longer than alone */
    }
    txn_attempt_begin(all, txn_lock_all);
}

bool txn_together_begin(struct txn_attempt *attempt)
{
    struct txn_worker *worker = attempt->worker;
    uint64_t now = world_now(worker->world);

    if (!may_join(attempt) || worker->closing) return false;
    if (is_held(attempt)) { /* at the latest until it is late */
        uint64_t until = attempt->ends - attempt->prepare_limit + 1;
        world_timer_start(worker->world, &attempt->timer, until > now ? until - now : 0);
        return true;
    }
    struct txn_together *together = gather(attempt);
    if (together == NULL) return false;
    begin(together, attempt->part_count);
    return true;
}
