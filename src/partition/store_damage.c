/* A store whose engine cannot be trusted any more (FAULTS F21-F25): it failed to read what it was
 * given, or refuses to take more. All replicas of that store stop at once, voting and answering;
 * the others go on. What then happens to store and replicas is the node's business (node_stores.c):
 * it takes them out with host_detach_store(), exchanges the engine and adds replicas with new ids.
 *
 * An engine that says "damaged" is believed at once. One that failed to write is not damaged: what
 * it had is there, rows and log are kept. But what a failed write or sync left behind nobody
 * knows, so the process ends, as with the log (FAULTS rule 6), and the next start reads what is
 * there. A full disk, and what is wrong around the store (rights, limits), are waited for. */
#include "partition/host_internal.h"

void store_damaged(struct partition_host *host, uint32_t store, const struct error *cause)
{
    struct host_store *at = &host->stores[store];
    if (at->damaged || host->closing) return;
    at->damaged = true;
    SOMETIMES(host->world, "a store was found damaged");
    LOG_ERROR(host_logger(host), "partition", "store %u is damaged, its replicas stop: %s", store,
              cause->text);
    for (struct list *l = at->replicas.next; l != &at->replicas; l = l->next) {
        struct replica *replica = CONTAINER_OF(l, struct replica, by_store);
        if (!replica->halted && replica->raft != NULL) replica_stop(replica);
    }
    world_defer(host->world, &host->turn_end); /* NACKs of what waited */
    if (host->options.events.on_damaged != NULL)
        host->options.events.on_damaged(host->options.context, store, cause);
}

void store_job_ended(struct partition_host *host, uint32_t store, enum status status,
                     const struct error *error)
{
    if (status == STATUS_CORRUPT) store_damaged(host, store, error);
    if (status != STATUS_IO || PLANTED(host->world, "failed_run_survived")) return;
    world_fatal(host->world, "%s; rows are kept in the log: look at the disk, then start again",
                error->text);
}

void host_store_damaged(struct partition_host *host, uint32_t store, const struct error *cause)
{
    ASSERT(store < host->options.store_count);
    store_damaged(host, store, cause);
}

bool host_detach_store(struct partition_host *host, uint32_t store)
{
    struct host_store *at = &host->stores[store];
    ASSERT(at->damaged);
    while (!list_empty(&at->replicas)) {
        struct replica *replica = CONTAINER_OF(at->replicas.next, struct replica, by_store);
        flush_replica_gone(replica);
        replica_unlink(replica);
        replica_free(replica);
    }
    bool idle = flush_abandon(host, store) && !drop_is_running(at) && host->orphans == 0 &&
                !cold_uses_store(host, store) && collect_is_idle(host) && warm_is_idle(host) &&
                host->snapshot_jobs == 0 && host->verify.jobs == 0;
    if (!idle) return false;
    drops_free(at); /* their rows go with the engine */
    return true;
}

void host_attach_store(struct partition_host *host, uint32_t store)
{
    struct host_store *at = &host->stores[store];
    ASSERT(list_empty(&at->replicas) && at->flush == NULL && at->drops == NULL);
    at->damaged = false;
    if (at->flush_delay == 0) return;
    at->flush_delay = 0; /* what failed was a flush of the one before it */
    if (host->options.events.on_flush != NULL)
        host->options.events.on_flush(host->options.context, store, NULL);
}
