/* Transactions over several partitions, whatever happens meanwhile (rules C). */
#include "sim/scenarios/transactions.h"

#include "partition/host.h"
#include "services/redis/limits.h"
#include "sim/sim_chaos.h"

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
    char addresses[SIM_ADDRESSES_MAX][64];

    sim_cluster_addresses(bed->cluster, addresses);
    struct sim_txns *txns = sim_txns_make(&bed->sim, &options, (const char(*)[64])addresses,
                                          bed->cluster->options.nodes);
    sim_txns_start(txns);
    return txns;
}

static bool all_answered(struct sim_cluster *cluster, void *context)
{
    return sim_txns_idle(context);
}

static bool judge_has_read(struct sim_cluster *cluster, void *context)
{
    return sim_txns_judged(context);
}

static uint64_t rows_of(const struct partition_host *host, uint32_t partitions)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < partitions; i++) {
        const struct row_table *table = host_rows(host, (struct group_id){GROUP_DATA_FIRST + i});
        if (table == NULL) continue;
        rows += row_table_count(table, SERVICE_TXN, TXN_ROW_PREPARED);
        rows += row_table_count(table, SERVICE_TXN, TXN_ROW_DECISION);
    }
    return rows;
}

static uint64_t unsettled_rows(struct sim_cluster *cluster)
{
    uint64_t rows = 0;

    for (uint32_t i = 1; i <= cluster->options.nodes; i++) {
        if (!sim_node_is_up(&cluster->nodes[i])) continue;
        for (uint32_t worker = 0; worker < cluster->options.workers; worker++) {
            struct partition_host *host = node_host(cluster->nodes[i].now->node, worker);
            rows += host == NULL ? 0 : rows_of(host, cluster->options.partitions);
        }
    }
    return rows;
}

static bool all_settled(struct sim_cluster *cluster, void *unused)
{
    return unsettled_rows(cluster) == 0;
}

bool transactions_are_settled(struct sim_cluster *cluster, void *unused)
{
    return all_settled(cluster, unused);
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
    if (bed->sim.failed) return;
    if (!sim_cluster_wait(bed->cluster, SETTLED_US, all_settled, NULL))
        sim_violation(&bed->sim, "V-5: %llu rows of transactions are not settled",
                      (unsigned long long)unsettled_rows(bed->cluster));
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
    uint32_t all = ((1u << plan.cluster.nodes) - 1) << 1;
    for (int i = 0; i < CUTS && !bed->sim.failed; i++) {
        sim_run_for(&bed->sim, stage_draw(bed, 300, 900) * STAGE_MS);
        stage_only(bed, all & ~(1u << stage_draw(bed, 1, plan.cluster.nodes)));
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

    sim_plan_draw(&bed->sim, &plan);
    plan.cluster.partitions = (uint32_t)stage_draw(bed, 2, 12);
    if (plan.workload.clients > 3) plan.workload.clients = 3;
    plan.cluster.redis_limits =
        redis_limits_default(); /* what is sent ahead is in no transaction */
    plan.cluster.big_replies_bytes_max = plan.cluster.partial_bytes_max = 0; /* lists grow */
    if (!stage_open(bed, &plan)) return;
    sim_network_options(bed->cluster->network)->keep_old = plan.keep_old;
    bed->sim.maybe_permille = plan.maybe_permille;
    struct sim_txns *txns = transactions_open(bed, &plan, false);
    struct sim_chaos *chaos = sim_chaos_start(bed->cluster, bed->clients, &plan, NULL, NULL);
    sim_run_for(&bed->sim, plan.chaos_time);
    if (!bed->sim.failed) sim_chaos_heal(chaos, ((1u << plan.cluster.nodes) - 1) << 1);
    if (!bed->sim.failed) sim_run_until(&bed->sim, sim_chaos_stalled_until(chaos));
    bed->judge_expiry_times = !sim_chaos_clocks_jumped(chaos);
    if (!bed->sim.failed) stage_repair(bed);
    transactions_judge(bed, txns);
    if (!bed->sim.failed) stage_judge(bed);
    sim_chaos_free(chaos);
    sim_txns_free(txns);
}
