/* serializable.h - is there one order of all transactions that explains what each of them read, and
 * in which none comes before another that had returned when it was called (T-1)?
 *
 * Adya's dependencies ("Weak Consistency: A Generalized Theory and Optimistic Implementations for
 * Distributed Transactions", MIT 1999), found from the outside as Kingsbury and Alvaro do ("Elle:
 * Inferring Isolation Anomalies from Experimental Observations", VLDB 2020):
 *
 *   ww   T2 replaced the version that T1 wrote        wr   T2 read the version that T1 wrote
 *   rw   T2 replaced the version that T1 read         process, real time   T1 returned before T2
 *
 * Each of them says that T1 is before T2, so a cycle proves that there is no such order. A list
 * that was read tells the order of all versions of its key, as values are unique. Of registers less
 * is known: what a transaction read is just before what it wrote to the same key; all writes are
 * behind 0; what one read of a key is behind what those wrote there of whom it read other keys; and
 * of two versions in real time, the order is that.
 *
 * What can be seen, and its name here:
 *   garbage, duplicate append, internal (a transaction against itself), G1a (of a failed one), G1b
 *   (of a half-done one), incompatible order (of two reads neither is a prefix of the other), lost
 *   update (two replaced the same version that they had read); cycles: G0 (of ww alone), G1c (with
 *   wr), G-single (with one rw), G2 (with more), and each of them "-process" or "-realtime" if it
 *   takes such an edge, too.
 *
 * A transaction of unknown outcome counts if something it wrote was read by one that counts; then
 * it is before nobody in real time. Without that, nothing follows from it.
 *
 * Never wrong about an anomaly; blind to some orders of registers that are only written blindly.
 * Takes O(n log n) for n operations, and a bounded search for a short cycle if there is one. */
#ifndef HOLON_SIM_CHECKERS_SERIALIZABLE_H
#define HOLON_SIM_CHECKERS_SERIALIZABLE_H

#include "sim/checkers/txn_history.h"

/* Cycles are last: four each of dependencies alone, with process and with real time. */
#define SIM_ANOMALY_MAP(X)                                                                         \
    X(NONE, "none")                                                                                \
    X(MALFORMED, "malformed history")                                                              \
    X(GARBAGE, "garbage")                                                                          \
    X(DUPLICATE, "duplicate append")                                                               \
    X(INTERNAL, "internal")                                                                        \
    X(G1A, "G1a")                                                                                  \
    X(G1B, "G1b")                                                                                  \
    X(INCOMPATIBLE, "incompatible order")                                                          \
    X(LOST_UPDATE, "lost update")                                                                  \
    X(G0, "G0")                                                                                    \
    X(G1C, "G1c")                                                                                  \
    X(G_SINGLE, "G-single")                                                                        \
    X(G2, "G2")                                                                                    \
    X(G0_PROCESS, "G0-process")                                                                    \
    X(G1C_PROCESS, "G1c-process")                                                                  \
    X(G_SINGLE_PROCESS, "G-single-process")                                                        \
    X(G2_PROCESS, "G2-process")                                                                    \
    X(G0_REALTIME, "G0-realtime")                                                                  \
    X(G1C_REALTIME, "G1c-realtime")                                                                \
    X(G_SINGLE_REALTIME, "G-single-realtime")                                                      \
    X(G2_REALTIME, "G2-realtime")

enum sim_anomaly {
#define X(name, text) SIM_ANOMALY_##name,
    SIM_ANOMALY_MAP(X)
#undef X
};

struct sim_serializable_report {
    enum sim_anomaly anomaly;
    uint32_t cycle_count;   /* transactions in the cycle; 0: it is no cycle */
    uint32_t txns_counted;  /* committed, or found to be */
    uint32_t txns_revealed; /* of those: of unknown outcome */
    uint64_t edges;         /* dependencies and orders; 0 if it did not get that far */
};

const char *sim_anomaly_name(enum sim_anomaly anomaly);

/* The first anomaly, of the worst kind among cycles. `text` (always ended by a NUL) tells which
 * transactions, keys, values and edges; it is empty if there is none. MALFORMED: the workload is
 * wrong (a value written twice, a key of both kinds, 0 written to a register). */
struct sim_serializable_report check_serializable(const struct sim_txn_history *history, char *text,
                                                  size_t text_size);

#endif
