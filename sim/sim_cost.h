/* sim_cost.h - what a cluster costs by the number of its nodes and of its groups, counted in the
 * simulator: frames, bytes and timers of each node a second where nothing is asked of it, and with
 * a node down; frames and bytes of each operation under load. The table of
 * docs/reference/scaling.md. No faults, no checkers. Thread: one. */
#ifndef HOLON_SIM_SIM_COST_H
#define HOLON_SIM_SIM_COST_H

#include <stdint.h>
#include <stdio.h>

/* Prints a line for each cluster. 0, or 1: a cluster could not be founded or did not rest. */
int sim_cost_print(uint64_t seed, FILE *file);

#endif
