/* node_bed.h - nodes of a running cluster in the simulator, whose frames a test reads along. */
#ifndef HOLON_TESTS_NODE_BED_H
#define HOLON_TESTS_NODE_BED_H

#include "base/memory.h"
#include "cluster/identity.h"
#include "node/node_snapshot.h"
#include "sim/sim_cluster.h"
#include "unit.h"

#include <stdlib.h>

enum { MS = 1000, SECOND = 1000 * 1000, SENT_MAX = 64, SENT_BYTES_MAX = 16 << 10 };

struct sent { /* a frame of the kind that is looked for, by worker 0 of a watched node */
    node_id_t to;
    size_t size;
    uint8_t bytes[SENT_BYTES_MAX];
};

struct node_bed {
    struct sim sim;
    struct sim_cluster *cluster;
    struct transport *watched;
    const struct transport_table *table;
    struct transport_table spy;
    uint8_t kind;
    uint32_t sent_count;
    struct sent sent[SENT_MAX];
};

static struct node_bed *bed;

static void bed_send(struct transport *transport, node_id_t node, uint32_t worker, uint8_t kind,
                     struct bytes payload)
{
    if (kind == bed->kind) {
        assert_true(bed->sent_count < SENT_MAX && payload.size <= SENT_BYTES_MAX);
        struct sent *sent = &bed->sent[bed->sent_count++];
        sent->to = node;
        sent->size = payload.size;
        memcpy(sent->bytes, payload.data, payload.size);
    }
    bed->table->send(transport, node, worker, kind, payload);
}

/* From now on bed->sent has what worker 0 of that node sends of this kind. */
static inline void bed_watch(struct node *node, uint8_t kind)
{
    bed->watched = node->workers[0].transport;
    bed->table = bed->watched->table;
    bed->spy = *bed->table;
    bed->spy.send = bed_send;
    bed->watched->table = &bed->spy;
    bed->kind = kind;
    bed->sent_count = 0;
}

static inline bool bed_sent_to(node_id_t to)
{
    for (uint32_t i = 0; i < bed->sent_count; i++)
        if (bed->sent[i].to == to) return true;
    return false;
}

static inline struct node *bed_node(node_id_t id)
{
    return bed->cluster->nodes[id].now->node;
}

/* On the thread of the node's worker 0. */
static inline void bed_call(struct node *node, void (*call)(void *context), void *context)
{
    sim_world_call(sim_world_of(node->world), 0, call, context);
}

static inline void bed_make(const struct sim_cluster_options *options)
{
    bed = calloc(1, sizeof(*bed));
    sim_init(&bed->sim, 1);
    bed->cluster = sim_cluster_make(&bed->sim, options);
    assert_true(sim_cluster_start_all(bed->cluster, 10 * SECOND));
}

/* Two workers, two stores, a second after all are ready. */
static inline int bed_open(uint32_t nodes, uint32_t partitions)
{
    struct sim_cluster_options options;

    sim_cluster_options_default(&options);
    options.nodes = nodes;
    options.replicas = 3;
    options.partitions = partitions;
    options.workers = 2;
    options.stores = 2;
    bed_make(&options);
    sim_run_for(&bed->sim, 1 * SECOND);
    return 0;
}

/* As the simulator has them by default, just ready. */
static inline int bed_open_ready(void **state)
{
    struct sim_cluster_options options;

    sim_cluster_options_default(&options);
    bed_make(&options);
    return 0;
}

/* Of the table in the node's directory. */
static inline uint64_t bed_table_epoch(node_id_t id)
{
    struct sim_node *node = &bed->cluster->nodes[id];
    struct cluster_view view;
    struct error error;

    cluster_view_init(&view);
    assert_int_equal(
        view_file_load(node->now->worlds[0], node->options.data, "table", &view, &error),
        STATUS_OK);
    uint64_t epoch = view.table_epoch;
    cluster_view_free(&view);
    return epoch;
}

static int bed_close(void **state)
{
    if (bed->watched != NULL) bed->watched->table = bed->table;
    if (bed->sim.failed) print_message("%s\n", bed->sim.violation);
    bool failed = bed->sim.failed;
    sim_cluster_free(bed->cluster);
    sim_free(&bed->sim);
    free(bed);
    return failed;
}

#endif
