/* cold_locked.c - requests that wait for locks of transactions. They hold nothing meanwhile, and go
 * on, in the order in which they came, in the turn of the loop behind the one in which a lock of
 * their partition was let go. */
#include "partition/cold_internal.h"

/* Of one transaction. */
static bool is_its(const struct parked *parked, struct bytes body)
{
    enum { ID_AT = 2 };
    const struct request_item *item = &parked->item;
    size_t size = ID_AT + TXN_ID_SIZE;

    return item->service == SERVICE_TXN && item->body.size >= size && body.size >= size &&
           memcmp(item->body.data + ID_AT, body.data + ID_AT, TXN_ID_SIZE) == 0;
}

bool parked_txn_of(struct replica *replica, const struct session *session,
                   const struct request_item *item)
{
    struct list *head = &replica->parked;
    if (*parked_count_of(replica, session->gateway, item->client) == 0) return false;
    for (struct list *at = head->next; at != head; at = at->next) {
        const struct parked *parked = parked_at(at);
        if (parked_is_of(parked, session->gateway) && is_its(parked, item->body)) return true;
    }
    return false;
}

void cold_drop_prepare(struct replica *replica, const struct session *session,
                       const struct request_item *item)
{
    struct list *head = &replica->parked;
    uint64_t now = world_now(replica->host->world);

    if (*parked_count_of(replica, session->gateway, item->client) == 0) return;
    if (PLANTED(replica->host->world, "waiting_prepare_stays")) return;
    for (struct list *at = head->next; at != head; at = at->next) {
        struct parked *parked = parked_at(at);
        if (!parked_is_locked(parked) || !parked_is_of(parked, session->gateway)) continue;
        if (!is_its(parked, item->body) || parked->item.body.data[1] != TXN_PREPARE) continue;
        SOMETIMES(replica->host->world, "a PREPARE that waited was given up");
        execute_parked_busy(replica, parked->gateway, parked->local, parked->route, &parked->item,
                            "BUSY");
        parked_answered(replica->host, parked, now);
        return;
    }
}

static bool park(struct replica *replica, struct session *session, uint64_t route,
                 const struct request_item *item, struct parked *again)
{
    struct partition_host *host = replica->host;
    struct parked *parked = again;
    if (parked == NULL) parked = parked_make(replica, session, route, item);
    if (parked == NULL) return false;
    parked->time = 0; /* it has not seen anything yet */
    parked->state = PARKED_LOCKED;
    host->cold.locked_count++;
    list_insert_before(&host->cold.locked, &parked->by_queue);
    return true;
}

bool cold_park_frozen(struct replica *replica, struct session *session, uint64_t route,
                      const struct request_item *item, struct parked *again)
{
    if (!park(replica, session, route, item, again)) return false;
    replica->host->statistics.cut_waits++;
    SOMETIMES(replica->host->world, "a request waited while its partition was frozen for a cut");
    return true;
}

bool cold_park_locked(struct replica *replica, struct session *session, uint64_t route,
                      const struct request_item *item, struct parked *again)
{
    struct partition_host *host = replica->host;
    if (host->cold.locked_count >= LOCKED_COUNT_MAX) return false;
    if (!park(replica, session, route, item, again)) return false;
    host->statistics.lock_waits++;
    SOMETIMES(host->world, "a request waited for the lock of a transaction");
    return true;
}

void cold_unlocked(struct replica *replica)
{
    struct partition_host *host = replica->host;
    struct list *head = &replica->parked;
    if (host->cold.locked_count == 0) return;
    for (struct list *at = head->next; at != head; at = at->next) {
        struct parked *parked = parked_at(at);
        if (parked->state != PARKED_LOCKED) continue;
        parked->state = PARKED_UNLOCKED;
        list_remove(&parked->by_queue);
        list_insert_before(&host->cold.unlocked, &parked->by_queue);
    }
    if (!list_empty(&host->cold.unlocked) && !host->closing)
        world_timer_start(host->world, &host->cold.unlock_timer, 0);
}

void cold_on_unlocked(struct world_timer *timer)
{
    struct partition_host *host = timer->context;
    struct cold *cold = &host->cold;
    uint64_t now = world_now(host->world);
    uint64_t pause = 0;
    cold->turn_left = COLD_TURN_MAX;
    while (!list_empty(&cold->unlocked) && cold->turn_left > 0) {
        struct parked *parked = CONTAINER_OF(cold->unlocked.next, struct parked, by_queue);
        if (parked_may_go_on(parked) && !execute_has_room(parked->replica, now)) {
            pause = HEAVY_FULL_PAUSE_US; /* A5 */
            break;
        }
        cold->turn_left--;
        cold->locked_count--;
        list_remove(&parked->by_queue);
        parked->state = PARKED_DELAYED;
        if (parked_may_go_on(parked))
            parked_run_again(parked, now); /* else step_down() is about to drop it */
    }
    if (!list_empty(&cold->unlocked)) world_timer_start(host->world, &cold->unlock_timer, pause);
}
