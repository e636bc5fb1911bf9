/* sim_sweep.h - the crash sweep: every effect of a scripted scenario is crashed once by kill, by
 * power loss and by a torn write (FAULTS.md section 4).
 *
 * A first run of the scenario counts the effects between sim_sweep_begin() and sim_sweep_end();
 * each further run is the same up to one of them, at which its node ends. Effects are calls that
 * change a disk, and frames or bytes on their way to another node. A torn write reaches the disk in
 * part; for an effect that writes nothing it is a loss of power. Whoever died starts again, the
 * script goes on, and all checkers decide. Scenarios that can be swept are named sweep_... */
#ifndef HOLON_SIM_SIM_SWEEP_H
#define HOLON_SIM_SIM_SWEEP_H

#include "sim/sim_campaign.h"

void sim_sweep_begin(struct sim *sim);
void sim_sweep_end(struct sim *sim);

struct sim_process;
/* Counts an effect of a process; true: it is ended at this one. */
bool sim_sweep_effect(struct sim_process *process);
/* Whether what ends now is a torn write. */
bool sim_sweep_tears(const struct sim *sim);

struct sim_sweep_options {
    const char *scenario; /* NULL: all that begin with "sweep_" */
    uint64_t seed, stride;
    uint32_t jobs;
    uint64_t processor_seconds_max; /* per run */
};

/* Prints one line per scenario and mode. True: no violation. `total` may be NULL. */
bool sim_sweep_run(const struct sim_sweep_options *options, struct sim_campaign_result *total);
bool sim_sweep_mode_parse(const char *text, enum sim_sweep_mode *ret_mode);

#endif
