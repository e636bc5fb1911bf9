/* patient.c - entries for which nobody waits (decision 0022): they are written with what comes
 * next, or after LOG_PATIENT_US. What ends transactions is of that kind, unless somebody does wait.
 */
#include "partition/host_internal.h"

bool patient_may_be(const struct replica *replica, const struct request_item *item)
{
    if (item->service != SERVICE_TXN || !txn_request_is_patient(item->body)) return false;
    /* For a lock that it lets go of, or for a row. */
    return replica->host->cold.locked_count == 0 && replica->row_waits == 0;
}

bool patient_is_all_of(const struct raft_message *message)
{
    for (uint32_t i = 0; i < message->entry_count; i++) {
        const struct raft_entry *entry = message->entries[i];
        if (entry->type != RAFT_ENTRY_NORMAL) return false;
        if (!entry_is_patient(bytes_make(entry->body, entry->size))) return false;
    }
    return message->entry_count > 0;
}

void patient_is_awaited(struct replica *replica)
{
    SOMETIMES(replica->host->world, "a read hurried an entry that was patient");
    replica->patient_last = 0;
    log_queue_hurry(replica->host->queue);
    raft_send_empty(replica->raft);
    host_mark_dirty(replica);
}

void patient_is_awaited_elsewhere(struct replica *replica)
{
    if (raft_durable_index(replica->raft) == raft_last_index(replica->raft)) return;
    if (PLANTED(replica->host->world, "patient_not_hurried")) return;
    log_queue_hurry(replica->host->queue);
    host_mark_dirty(replica);
}
