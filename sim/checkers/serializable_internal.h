/* serializable_internal.h - what the files of serializable.h share: the evidence, found by key and
 * by value, and the graph of dependencies. Nodes 0 <= n < txn_count are transactions; those above
 * are helpers, which stand for sets of transactions so that the edges stay few. */
#ifndef HOLON_SIM_CHECKERS_SERIALIZABLE_INTERNAL_H
#define HOLON_SIM_CHECKERS_SERIALIZABLE_INTERNAL_H

#include "base/map.h"
#include "sim/checkers/serializable.h"

/* --- the graph (serializable_graph.c) --- */

enum edge_kind {
    EDGE_WW = 1,
    EDGE_WR = 2,
    EDGE_RW = 4,
    EDGE_PROCESS = 8,
    EDGE_REALTIME = 16,
    EDGE_WW_REALTIME = 32, /* versions of a register that only real time puts in order */
    EDGE_RW_REALTIME = 64,
    EDGE_WW_READ = 128, /* versions of a register that are in order because of what one read */
    EDGE_RW_READ = 256,
    EDGE_FREE = 512, /* out of a helper: the edge into it says what it means */
};

struct edge {
    uint32_t from, to;
    uint32_t key;
    uint32_t kind;    /* enum edge_kind */
    uint64_t value;   /* WW, RW: what `to` wrote; WR: what it read; into a helper: 0 */
    uint32_t witness; /* the transaction whose read tells that it is so, + 1; or 0 */
};

struct graph {
    uint32_t txn_count, node_count;
    struct edge *edges; /* by `from`, once sealed */
    size_t edge_count, edge_capacity;
    size_t *starts; /* by node, and one more; NULL: not sealed */
};

void graph_init(struct graph *graph, uint32_t txn_count);
void graph_free(struct graph *graph);
void graph_add(struct graph *graph, struct edge edge);
uint32_t graph_add_node(struct graph *graph);
/* No edges are added from here on. */
void graph_seal(struct graph *graph);

/* A row of transactions, to draw an edge to (or from) each in a range of it with O(log n) edges:
 * a tree of helpers over the row. Node i has the children 2i and 2i + 1; from `count` on they are
 * the members. */
struct member {
    uint32_t txn;
    uint64_t time; /* the row is sorted by time, then txn */
    uint64_t value;
    uint32_t witness; /* of the edges, if they are inwards */
};
struct fan {
    struct graph *graph;
    struct member *members;
    uint32_t count;
    uint32_t key;        /* of all its edges */
    bool inwards;        /* from the members to one; otherwise from one to them */
    uint32_t first_node; /* of the helpers, less 1 */
};

void fan_sort(struct member *members, uint32_t count);
/* Borrows the members. `inwards`: the kind of its edges, if they come from the members; or 0. */
void fan_open(struct fan *fan, struct graph *graph, uint32_t key, struct member *members,
              uint32_t count, enum edge_kind inwards);
/* The first member whose time is not less. */
uint32_t fan_first_at(const struct fan *fan, uint64_t time);
/* Edges between self.txn and the members first <= i < end, but for itself. self.time: as it is, or
 * would be, among the members; self.value: of the edges, if they are inwards. */
void fan_draw(struct fan *fan, struct member self, uint32_t first, uint32_t end,
              enum edge_kind kind);

/* --- the evidence (serializable.c) --- */

struct write {
    uint32_t key;            /* number in `keys` */
    uint32_t op;             /* SIM_TXN_NONE: a free slot */
    uint32_t position;       /* in the longest list that was read, or SIM_TXN_NONE */
    uint32_t seen_in;        /* private to serializable_list.c */
    uint32_t replaced_by;    /* of a register: who read it and wrote the next, or SIM_TXN_NONE */
    uint32_t overwritten_by; /* of a register: one known to be behind it, or SIM_TXN_NONE */
    uint32_t overwritten_witness; /* who tells, + 1 */
    uint64_t read_last;    /* of a register: greatest call of a transaction that read it, or 0 */
    uint32_t read_last_by; /* that transaction */
    uint64_t value;
    bool is_final; /* the last one of its transaction to this key */
};

struct key {
    uint32_t name;
    bool is_list;
    uint32_t longest;     /* read, or SIM_TXN_NONE */
    uint32_t replaced_by; /* as in struct write, of 0 */
};

/* What one transaction that counts did to one key. */
struct access {
    uint32_t key; /* number in `keys` */
    uint32_t txn;
    uint32_t read; /* first read with a result, not behind an own write of a register; or NONE */
    uint32_t own_before; /* appends before that read */
    uint32_t write;      /* last one, or SIM_TXN_NONE */
};

struct check {
    const struct sim_txn_history *history;
    struct sim_serializable_report report;
    char *text;
    size_t text_size, text_used;
    struct map key_numbers; /* name -> number + 1 */
    struct key *keys;
    uint32_t key_count;
    uint32_t *op_keys;    /* number of the key, by operation */
    struct write *writes; /* open addressing */
    size_t write_capacity;
    bool *counts;            /* by transaction */
    struct access *accesses; /* by key, then transaction */
    size_t access_count;
    struct graph graph;
};

/* NULL: nobody wrote it. */
struct write *check_find_write(const struct check *check, uint32_t key, uint64_t value);
/* Orders of versions of registers that follow from what one transaction read, or read and wrote
 * (serializable_versions.c). `accesses` are those of one transaction that counts. */
bool check_versions(struct check *check, const struct access *accesses, uint32_t count);
/* Edges of one key (serializable_list.c, serializable_register.c). False: an anomaly was found. */
bool check_list(struct check *check, struct key *key, const struct access *accesses,
                uint32_t count);
bool check_register(struct check *check, struct key *key, const struct access *accesses,
                    uint32_t count);
/* Process order and real time (serializable_graph.c). */
void check_add_times(struct check *check);
/* False: there is a cycle, and it was told (serializable_cycle.c). */
bool check_cycles(struct check *check);

/* --- texts (serializable_text.c) --- */

/* Begins the text with the name of the anomaly. Returns false. */
bool check_found(struct check *check, enum sim_anomaly anomaly, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_say(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "\n  T5 c2 committed [1.000200, 1.000900]: append k3 7, list k4 [1 2 9]" */
void check_say_txn(struct check *check, uint32_t txn);

#endif
