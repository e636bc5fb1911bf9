#include "sim/scenarios/scenarios.h"
#include "sim/sim_inspect.h"

/* Goal: the speed of the simulator on the three-node register workload, FAULTS section 4.
 * Method: no faults, a minute of virtual time, then the usual verdict. V-7: without a fault
 * each group is elected once. */
void scenario_speed(struct sim_bed *bed)
{
    struct sim_plan plan;

    sim_plan_calm(&plan);
    sim_bed_open(bed, &plan.cluster, &plan.workload);
    SIM_CHECK(&bed->sim, sim_cluster_start_all(bed->cluster, 30 * 1000000));
    uint64_t elections = sim_inspector_elections(bed->inspector);
    sim_clients_start(bed->clients);
    sim_run_for(&bed->sim, 60 * 1000000);
    if (sim_inspector_elections(bed->inspector) != elections)
        sim_violation(&bed->sim, "V-7: elections without a cause");
    sim_bed_judge(bed, 0xe);
}
