/* Clients that open a snapshot, let others go on for a while, and then read at it. For the checkers
 * that is a transaction which only reads: it happened while the snapshot was being opened. */
#include "sim/sim_txns_internal.h"

enum { WAIT_MIN_US = 100, WAIT_MAX_US = 2 * 1000 * 1000, SHORT_LIVED = 4 /* one in so many */ };

static void command(struct buffer *output, const char *what)
{
    sim_resp_array(output, 2);
    sim_resp_text(output, "HOLON.SNAPSHOT");
    sim_resp_text(output, what);
}

void sim_txn_snapshot_open(struct sim_txn_client *client)
{
    struct buffer *output = stream_output(client->stream);

    if (sim_below(client->txns->sim, SIM_RANDOM_WORKLOAD, SHORT_LIVED) == 0) {
        sim_resp_array(output, 4);
        sim_resp_text(output, "HOLON.SNAPSHOT");
        sim_resp_text(output, "OPEN");
        sim_resp_text(output, "EX");
        sim_resp_text(output, "1"); /* it may be over before it is read */
    } else {
        command(output, "OPEN");
    }
    client->phase = SIM_TXN_OPENS;
    client->replies_due = 1;
    client->replies_taken = 0;
    client->read_failed = false;
    stream_flush(client->stream);
}

void sim_txn_snapshot_read(struct sim_txn_client *client)
{
    struct buffer *output = stream_output(client->stream);

    for (uint32_t i = 0; i < client->step_count; i++)
        sim_txn_send_step(output, &client->steps[i]);
    command(output, "CLOSE");
    client->phase = SIM_TXN_READS;
    client->replies_due = client->step_count + 1;
    client->replies_taken = 0;
    stream_flush(client->stream);
}

static bool is_gone(struct bytes text)
{
    return sim_resp_is_refusal(text) || bytes_starts_with(text, bytes_of("SNAPSHOTGONE")) ||
           bytes_starts_with(text, bytes_of("UNKNOWN")) ||
           bytes_starts_with(text, bytes_of("SNAPSHOTFULL"));
}

static bool opened(struct sim_txn_client *client, const struct sim_reply *reply)
{
    struct sim_txns *txns = client->txns;

    if (reply->kind == SIM_REPLY_ERROR) {
        if (!is_gone(reply->text)) sim_txn_unexpected(client, reply);
        sim_txn_ended(client, SIM_TXN_FAILED, txns->sim->now);
        return true;
    }
    if (reply->kind != SIM_REPLY_BULK || reply->text.size != 16) {
        sim_txn_unexpected(client, reply);
        return false;
    }
    client->snapshot_at = txns->sim->now;
    client->phase = SIM_TXN_WAITS;
    world_timer_start(sim_process_world(txns->process, 0), &client->next,
                      sim_log_uniform(txns->sim, SIM_RANDOM_WORKLOAD, WAIT_MIN_US, WAIT_MAX_US));
    return true;
}

static bool read_one(struct sim_txn_client *client, const struct sim_reply *reply)
{
    struct sim_txn_step *step = &client->steps[client->replies_taken - 1];

    if (reply->kind == SIM_REPLY_ERROR && is_gone(reply->text)) {
        client->read_failed = true;
        return true;
    }
    if (sim_txn_take_result(client, step, reply)) return true;
    sim_txn_unexpected(client, reply);
    return false;
}

bool sim_txn_snapshot_reply(struct sim_txn_client *client, const struct sim_reply *reply)
{
    if (client->phase == SIM_TXN_OPENS) return opened(client, reply);
    if (client->replies_taken < client->replies_due) return read_one(client, reply);
    if (reply->kind != SIM_REPLY_STATUS) {
        sim_txn_unexpected(client, reply);
        return false;
    }
    client->txns->snapshots += !client->read_failed;
    sim_txn_ended(client, client->read_failed ? SIM_TXN_FAILED : SIM_TXN_COMMITTED,
                  client->read_failed ? client->txns->sim->now : client->snapshot_at);
    return true;
}
