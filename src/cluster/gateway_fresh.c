/* gateway_fresh.c - the replicas of this worker are kept fresh while anybody on this node wants to
 * read them: each one's leader is asked how far it is (partition/stale.h), at the pace of whoever
 * wants it most. All of them, read or not: when the leaders are out of reach, what counts is when
 * they were asked last. Where nobody wants it nothing runs and nothing is asked.
 *
 * A worker tells the others of its node what its own connections want, each second; what was not
 * told for three is over. */
#include "cluster/gateway_internal.h"
#include "partition/stale.h"

struct fresh_question {
    struct gateway_request request;
    struct gateway *gateway;
    struct list link; /* in stale->questions */
    struct stale_question about;
    uint64_t asked_at;
};

static uint64_t pace_us(uint32_t pace)
{
    return (uint64_t)STALE_PACE_LEAST_US << pace;
}

/* The longest that is no more than half of the bound; the shortest, if none is. */
static uint32_t pace_of(uint32_t stale_ms)
{
    uint32_t pace = STALE_PACES - 1;
    while (pace > 0 && pace_us(pace) * 2 > (uint64_t)stale_ms * 1000)
        pace--;
    return pace;
}

uint8_t fresh_pace_joined(const struct gateway_stale *stale)
{
    for (uint32_t pace = 0; pace < STALE_PACES; pace++) {
        if (stale->joined[pace] > 0) return (uint8_t)(pace + 1);
    }
    return 0;
}

/* STALE_PACES: nobody wants any. */
static uint32_t pace_wanted(const struct gateway_stale *stale, uint64_t now)
{
    uint32_t pace = 0;
    while (pace < STALE_PACES && stale->joined[pace] == 0 && stale->wished_until[pace] <= now)
        pace++;
    return pace;
}

static void on_told(struct gateway_request *request, enum gateway_outcome outcome,
                    struct bytes reply)
{
    struct fresh_question *question = CONTAINER_OF(request, struct fresh_question, request);
    struct gateway *gateway = question->gateway;
    bool told = outcome == GATEWAY_REPLY;
    uint64_t asked_at = question->asked_at;

    if (PLANTED(gateway->world, "stale_stamp_late")) asked_at = world_now(gateway->world);
    stale_told(gateway->options.host, &question->about, asked_at,
               told ? reply : bytes_make(NULL, 0));
    list_remove(&question->link);
    memory_free(question);
}

static void question_ask(struct gateway *gateway, const struct stale_question *about)
{
    struct fresh_question *question = memory_allocate_zero(sizeof(*question));

    question->gateway = gateway;
    question->about = *about;
    question->request.service = SERVICE_SYSTEM;
    question->request.slot = about->slot;
    question->request.body_stays = true;
    question->request.on_reply = on_told;
    list_insert_before(&gateway->stale->questions, &question->link);
    gateway->statistics.stale_questions++;
    question->asked_at = world_now(gateway->world); /* before anybody can answer */
    gateway_submit(gateway, &question->request);
}

static void tell_others(struct gateway *gateway, uint64_t now)
{
    struct gateway_stale *stale = gateway->stale;

    bool lately = stale->told_at != 0 && now - stale->told_at < STALE_WISH_US / 3;
    if (fresh_pace_joined(stale) == 0 || lately) return;
    stale->told_at = now;
    for (uint32_t worker = 0; worker < stale->worker_count; worker++) {
        if (worker != world_worker(gateway->world)) stale_asks_to(gateway, worker);
    }
}

/* Goes on where the last tick ended, once around. */
static void ask_those_due(struct gateway *gateway, uint64_t interval)
{
    struct gateway_stale *stale = gateway->stale;
    struct stale_question about;
    uint32_t left = STALE_QUESTIONS_PER_TICK;

    for (int round = 0; round < 2; round++) {
        while (left > 0 &&
               stale_next(gateway->options.host, &stale->fresh_next, interval, &about)) {
            question_ask(gateway, &about);
            left--;
        }
        if (left == 0) return;
        stale->fresh_next = 0;
    }
}

void fresh_timer_fire(struct world_timer *timer)
{
    struct gateway *gateway = timer->context;
    struct gateway_stale *stale = gateway->stale;
    uint64_t now = world_now(gateway->world);
    uint32_t pace = pace_wanted(stale, now);

    stale->fresh_runs = pace < STALE_PACES;
    if (!stale->fresh_runs || gateway->fenced) return;
    tell_others(gateway, now);
    ask_those_due(gateway, pace_us(pace));
    world_timer_start(gateway->world, timer, pace_us(pace) / 2);
}

/* At once: a pace that is wanted from now on may be much shorter. */
static void run_now(struct gateway *gateway)
{
    gateway->stale->fresh_runs = true;
    world_timer_start(gateway->world, &gateway->stale->fresh_timer, 0);
}

void fresh_wished(struct gateway *gateway, uint8_t pace)
{
    struct gateway_stale *stale = gateway->stale;
    uint64_t now = world_now(gateway->world);

    if (pace == 0 || pace > STALE_PACES) return;
    uint32_t before = stale->fresh_runs ? pace_wanted(stale, now) : STALE_PACES;
    stale->wished_until[pace - 1] = now + STALE_WISH_US;
    if ((uint32_t)pace - 1 < before) run_now(gateway);
}

void gateway_stale_join(struct gateway *gateway, uint32_t stale_ms)
{
    struct gateway_stale *stale = gateway_stale_of(gateway);

    if (stale->joined[pace_of(stale_ms)]++ > 0) return;
    stale->told_at = 0;
    run_now(gateway);
}

void gateway_stale_leave(struct gateway *gateway, uint32_t stale_ms)
{
    struct gateway_stale *stale = gateway_stale_of(gateway);

    ASSERT(stale->joined[pace_of(stale_ms)] > 0);
    stale->joined[pace_of(stale_ms)]--;
}
