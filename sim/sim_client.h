/* sim_client.h - simulated clients: they speak RESP over simulated streams to any node,
 * pipeline, reconnect, and write down what they asked and what they were told.
 *
 * All live in one process on a machine of their own that never fails, whose clock is true.
 * The rules they hold the cluster to (V-2, B7): no error reply but -UNKNOWN and -UNAVAILABLE
 * after the patience has run out, -BUSY, and what says that nothing was executed. Thread: one. */
#ifndef HOLON_SIM_SIM_CLIENT_H
#define HOLON_SIM_SIM_CLIENT_H

#include "sim/sim_history.h"
#include "sim/sim_process.h"

enum { SIM_CLIENTS_MAX = 32, SIM_PIPELINE_MAX = 64, SIM_ADDRESSES_MAX = 64 };

struct sim_workload {
    uint32_t clients;
    uint32_t registers, counters, orders, expiries; /* numbers of keys */
    uint32_t write_percent;
    uint32_t hot_percent;  /* share that goes to the first key of a kind */
    uint32_t pipeline_max; /* commands sent at once */
    uint64_t think_min, think_max;
    uint32_t pad_min;          /* bytes added to every value */
    uint32_t pad_max;          /* bytes added to values, so that logs and stores fill up */
    uint64_t patience;         /* what the nodes were told */
    uint64_t give_up;          /* a client waits no longer than this for a reply */
    uint32_t order_tokens_max; /* per key, then the next */
    bool reads_by_quorum;      /* what the cluster was founded with */
    bool replies_bounded;      /* the reply of a write may be refused: TOOBIG */
};

struct sim_clients;

/* Address i belongs to node i + 1. */
struct sim_clients *sim_clients_make(struct sim *sim, const struct sim_workload *workload,
                                     const char (*addresses)[64], uint32_t address_count);
void sim_clients_free(struct sim_clients *clients); /* before sim_free() */
void sim_clients_start(struct sim_clients *clients);
/* No new requests; replies still count. */
void sim_clients_stop(struct sim_clients *clients);
/* Writes refused so far because disks were full (F27). */
uint64_t sim_clients_no_space(const struct sim_clients *clients);
/* Nodes (bit 1 << node) that clients may connect to from now on; others are left at once. */
void sim_clients_use(struct sim_clients *clients, uint32_t nodes);
/* Until then errors of a node are no violation: it was told to stop. */
void sim_clients_excuse(struct sim_clients *clients, uint32_t node, uint64_t until);
uint32_t sim_clients_outstanding(const struct sim_clients *clients);
/* Least number of replies (without error) that any client got to requests it sent after
 * `since`. */
uint32_t sim_clients_progress(const struct sim_clients *clients, uint64_t since);
struct sim_history *sim_clients_history(struct sim_clients *clients);
/* Reads every key once more through a client of its own; done when nothing is outstanding. */
void sim_clients_judge(struct sim_clients *clients);
bool sim_clients_judge_done(const struct sim_clients *clients);

/* One client under a scenario's control: sends exactly what it is told. */
struct sim_client;
struct sim_client *sim_client_manual(struct sim_clients *clients, uint32_t node);
void sim_client_connect(struct sim_client *client, uint32_t node);
void sim_client_disconnect(struct sim_client *client);
bool sim_client_connected(const struct sim_client *client);
/* Queues a request for the next flush; returns its number in the history. */
uint32_t sim_client_send(struct sim_client *client, enum sim_op_kind kind, uint32_t key,
                         int64_t argument);
void sim_client_flush(struct sim_client *client);

#endif
