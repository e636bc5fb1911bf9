/* sim_client_internal.h - shared by sim_client.c (connections), sim_request.c (requests and
 * replies) and sim_workload.c (what to do next). */
#ifndef HOLON_SIM_SIM_CLIENT_INTERNAL_H
#define HOLON_SIM_SIM_CLIENT_INTERNAL_H

#include "base/buffer.h"
#include "sim/sim_client.h"

struct sim_client {
    struct sim_clients *clients;
    uint32_t number;
    bool manual, judge;
    bool connecting;
    uint32_t node;
    struct stream *stream;
    uint32_t session, position;
    struct buffer input;
    uint32_t pending[SIM_PIPELINE_MAX * 4]; /* numbers in the history, a ring */
    uint32_t pending_first, pending_count;
    struct world_timer next;    /* think, or connect again */
    struct world_timer give_up; /* of the oldest request */
    uint32_t judge_key;
};

struct sim_clients {
    struct sim *sim;
    struct sim_machine machine;
    struct sim_process *process;
    struct sim_workload workload;
    char addresses[SIM_ADDRESSES_MAX][64];
    uint32_t address_count;
    uint32_t nodes; /* bits: may be connected to */
    struct sim_client *all[SIM_CLIENTS_MAX];
    uint32_t count;
    bool running;
    uint32_t sessions;
    int64_t value_last; /* values are unique over the run */
    uint32_t tokens_sent;
    struct sim_history history;
    uint64_t busy_replies, no_space_replies;
    uint64_t excused_until[SIM_ADDRESSES_MAX + 1];
};

static inline struct world *sim_clients_world(struct sim_clients *clients)
{
    return sim_process_world(clients->process, 0);
}

/* sim_request.c */
/* Appends the request to the stream's output and the history. */
uint32_t sim_request_send(struct sim_client *client, const struct sim_op *op);
/* Takes the replies in `input`; false: the stream is to be closed. */
bool sim_request_replies(struct sim_client *client);
/* What is outstanding stays unknown. */
void sim_request_connection_lost(struct sim_client *client);

/* sim_workload.c */
void sim_workload_keys(struct sim_clients *clients);
/* Sends a burst of what the workload wants next. */
void sim_workload_burst(struct sim_client *client);
uint64_t sim_workload_think(struct sim_client *client);
uint32_t sim_key_first(const struct sim_workload *workload, enum sim_key_kind kind);

#endif
