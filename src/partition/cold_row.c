/* cold_row.c - requests whose evaluation waits for somebody else (row_wait()): until this leader
 * writes a row of their key, or until a time. They hold nothing meanwhile.
 *
 * A write wakes one, that with the lowest turn: if it does what it waited for, it writes in its
 * turn and so wakes the next one. All of them are woken by time, at the latest after
 * ROW_WAIT_MAX_US. */
#include "base/hash.h"
#include "partition/cold_internal.h"

enum { WAKE_LEAST_US = 200 }; /* so that a clock which stands still makes nobody spin */

static struct parked *waiting_at(struct list *link)
{
    return CONTAINER_OF(link, struct parked, by_queue);
}

static uint64_t key_hash(const struct replica *replica, struct bytes key)
{
    return hash64(replica->host->options.hash_secret[0] ^ replica->group.value, key);
}

static uint16_t *count_of(struct cold *cold, uint64_t hash)
{
    return &cold->row_waits_of[hash % ROW_WAIT_CLASSES];
}

void parked_leave_row(struct parked *parked)
{
    struct cold *cold = &parked->replica->host->cold;

    ASSERT(parked->state == PARKED_ROW && parked->replica->row_waits > 0);
    parked->replica->row_waits--;
    cold->row_wait_count--;
    --*count_of(cold, parked->row_hash);
    list_remove(&parked->by_queue);
}

static void arm(struct partition_host *host, uint64_t now)
{
    if (list_empty(&host->cold.row_waits) || host->closing) return;
    uint64_t at = waiting_at(host->cold.row_waits.next)->wakes_at;
    world_timer_start(host->world, &host->cold.row_timer, at > now ? at - now : 0);
}

/* By the time at which it is woken: as a rule the latest. */
static void put(struct parked *parked, uint64_t now)
{
    struct cold *cold = &parked->replica->host->cold;
    struct list *at = cold->row_waits.previous;

    while (at != &cold->row_waits && waiting_at(at)->wakes_at > parked->wakes_at)
        at = at->previous;
    list_insert_before(at->next, &parked->by_queue);
    cold->row_wait_count++;
    ++*count_of(cold, parked->row_hash);
    parked->replica->row_waits++;
    parked->state = PARKED_ROW;
    if (cold->row_waits.next == &parked->by_queue) arm(parked->replica->host, now);
}

bool cold_park_row(struct replica *replica, struct session *session, uint64_t route,
                   const struct request_item *item, struct parked *again,
                   const struct row_context *rows, uint64_t now)
{
    struct partition_host *host = replica->host;
    const struct row_wait *wait = rows->wait;
    struct parked *parked = again;

    if (host->cold.row_wait_count >= ROW_WAITS_MAX) return false;
    if (parked == NULL) parked = parked_make(replica, session, route, item);
    if (parked == NULL) return false;
    if (parked->waits_since == 0) parked->waits_since = rows->time;
    int64_t last = parked->waits_since + ROW_WAIT_MAX_US;
    int64_t until = wait->until < last ? wait->until : last;
    int64_t left = until > rows->time ? until - rows->time : 0;
    parked->time = 0; /* it will see what is then */
    parked->wakes_at = now + (uint64_t)(left > WAKE_LEAST_US ? left : WAKE_LEAST_US);
    parked->row_hash = key_hash(replica, wait->key);
    parked->row_turn = wait->turn;
    put(parked, now);
    host->statistics.row_waits++;
    SOMETIMES(host->world, "a request waited for a row to be written");
    return true;
}

int64_t cold_waits_since(const struct parked *parked)
{
    return parked->waits_since;
}

/* It runs in the next turn of the loop, with those that waited for locks of transactions. */
static void wake(struct parked *parked)
{
    struct partition_host *host = parked->replica->host;

    parked_leave_row(parked);
    parked->state = PARKED_UNLOCKED;
    host->cold.locked_count++;
    list_insert_before(&host->cold.unlocked, &parked->by_queue);
    if (!host->closing) world_timer_start(host->world, &host->cold.unlock_timer, 0);
}

void cold_row_written(struct replica *replica, struct bytes key)
{
    struct cold *cold = &replica->host->cold;
    uint64_t hash = key_hash(replica, key);
    struct parked *first = NULL;

    if (*count_of(cold, hash) == 0) return;
    for (struct list *at = cold->row_waits.next; at != &cold->row_waits; at = at->next) {
        struct parked *parked = waiting_at(at);
        bool same = parked->replica == replica && parked->row_hash == hash;
        if (same && (first == NULL || parked->row_turn < first->row_turn)) first = parked;
    }
    if (first == NULL) return;
    SOMETIMES(replica->host->world, "a request was woken by the row it waited for");
    wake(first);
}

void cold_on_row_timer(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    struct cold *cold = &host->cold;
    uint64_t now = world_now(host->world);

    while (!list_empty(&cold->row_waits) && waiting_at(cold->row_waits.next)->wakes_at <= now)
        wake(waiting_at(cold->row_waits.next));
    arm(host, now);
}
