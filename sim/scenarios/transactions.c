/* Transactions over several partitions, whatever happens meanwhile (rules C). */
#include "sim/scenarios/transactions.h"

#include "partition/host.h"

enum {
    TXN_CLIENTS = 8,
    LISTS = 5,
    REGISTERS = 6,
    ACCOUNTS = 6,
    CALM_US = 5 * STAGE_S,
    CALM_COMMITTED_MIN = 100,
    CUTS = 8,
    PATIENCE_US = 2 * STAGE_S,
    MOVES = 200,
    MOVE_MS_MIN = 5,
    MOVE_MS_MAX = 60,
    SETTLED_US = 30 * STAGE_S, /* V-5: 30 s after healing nobody waits */
    JUDGE_US = 60 * STAGE_S,
};

struct sim_txns *transactions_start(struct sim_bed *bed, const struct sim_txns_options *options)
{
    char addresses[SIM_ADDRESSES_MAX][64];

    sim_cluster_addresses(bed->cluster, addresses);
    struct sim_txns *txns = sim_txns_make(&bed->sim, options, (const char(*)[64])addresses,
                                          bed->cluster->options.nodes);
    sim_txns_start(txns);
    return txns;
}

struct sim_txns *transactions_open(struct sim_bed *bed, const struct sim_plan *plan, bool snapshots)
{
    struct sim_txns_options options = {.clients = TXN_CLIENTS,
                                       .lists = LISTS,
                                       .registers = REGISTERS,
                                       .accounts = ACCOUNTS,
                                       .think_min = 500,
                                       .think_max = 30 * STAGE_MS,
                                       .give_up = plan->workload.give_up,
                                       .snapshots = snapshots};

    return transactions_start(bed, &options);
}

static bool all_answered(struct sim_cluster *cluster, void *context)
{
    return sim_txns_idle(context);
}

static bool judge_has_read(struct sim_cluster *cluster, void *context)
{
    return sim_txns_judged(context);
}

static uint64_t unsettled_rows(struct sim_cluster *cluster)
{
    return stage_rows(cluster, SERVICE_TXN, TXN_ROW_PREPARED) +
           stage_rows(cluster, SERVICE_TXN, TXN_ROW_DECISION);
}

static bool all_settled(struct sim_cluster *cluster, void *unused)
{
    return unsettled_rows(cluster) == 0;
}

bool transactions_are_settled(struct sim_cluster *cluster, void *unused)
{
    return all_settled(cluster, unused);
}

void transactions_settle(struct sim_bed *bed, uint64_t duration)
{
    if (bed->sim.failed) return;
    if (!sim_cluster_wait(bed->cluster, duration, all_settled, NULL) && !bed->sim.failed)
        sim_violation(&bed->sim, "V-5: %llu rows of transactions are not settled",
                      (unsigned long long)unsettled_rows(bed->cluster));
}

void transactions_judge(struct sim_bed *bed, struct sim_txns *txns)
{
    if (bed->sim.failed) return;
    sim_txns_stop(txns);
    if (!sim_cluster_wait(bed->cluster, SETTLED_US, all_answered, txns))
        sim_violation(&bed->sim, "V-5: transactions are without an answer");
    if (bed->sim.failed) return;
    sim_txns_judge(txns);
    if (!sim_cluster_wait(bed->cluster, JUDGE_US, judge_has_read, txns))
        sim_violation(&bed->sim, "V-5: keys of transactions cannot be read");
    transactions_settle(bed, SETTLED_US);
    if (!bed->sim.failed) sim_txns_check(txns);
}

/* Goal: transactions over eight partitions are strictly serializable, and get on, without faults.
 */
void scenario_transactions(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    struct sim_txns *txns = transactions_open(bed, &plan, false);
    sim_run_for(&bed->sim, CALM_US);
    if (!bed->sim.failed && sim_txns_committed(txns) < CALM_COMMITTED_MIN)
        sim_violation(&bed->sim, "V-2: %llu transactions in %u s",
                      (unsigned long long)sim_txns_committed(txns), CALM_US / STAGE_S);
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_txns_free(txns);
}

/* Goal: what is prepared stays locked, shared or not, whoever leads (WHY 3.1, 3.8).
 * Method: leaderships move all the time, so that hardly any transaction ends under the leaders that
 * it began under. */
void scenario_transactions_move(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    struct sim_txns *txns = transactions_open(bed, &plan, false);
    for (int i = 0; i < MOVES && !bed->sim.failed; i++) {
        stage_transfer(bed, (node_id_t)stage_draw(bed, 1, plan.cluster.nodes));
        sim_run_for(&bed->sim, stage_draw(bed, MOVE_MS_MIN, MOVE_MS_MAX) * STAGE_MS);
    }
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_txns_free(txns);
}

/* Goal: a coordinator that does not learn an outcome begins no other attempt (C5, WHY 2.2), and
 * what it had prepared is settled without it (WHY 2.4, 3.7). Method: a node is cut off from both
 * others for longer than its clients' patience, again and again. */
void scenario_transactions_cut_off(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan(&plan);
    plan.cluster.partitions = 8;
    plan.cluster.patience = plan.workload.patience = PATIENCE_US;
    plan.workload.give_up = PATIENCE_US + 3 * STAGE_S;
    plan.workload.clients = 2;
    if (!stage_open(bed, &plan)) return;
    struct sim_txns *txns = transactions_open(bed, &plan, false);
    for (int i = 0; i < CUTS && !bed->sim.failed; i++) {
        sim_run_for(&bed->sim, stage_draw(bed, 300, 900) * STAGE_MS);
        stage_only(bed, stage_all(bed) & ~(1u << stage_draw(bed, 1, plan.cluster.nodes)));
        sim_run_for(&bed->sim, PATIENCE_US + stage_draw(bed, 100, 900) * STAGE_MS);
        sim_network_heal_all(bed->cluster->network);
    }
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_txns_free(txns);
}

/* Goal: the same while nodes die, stop, lose power, are cut off, and clocks jump, as drawn. */
void scenario_transactions_in_chaos(struct sim_bed *bed)
{
    struct sim_plan plan;

    stage_plan_chaos(bed, &plan);
    if (!stage_open(bed, &plan)) return;
    struct sim_txns *txns = transactions_open(bed, &plan, false);
    struct sim_chaos *chaos = stage_chaos(bed, &plan);
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_chaos_free(chaos);
    sim_txns_free(txns);
}
