/* linearizable.h - is the history of one key that of one register (L-1)?
 *
 * Wing and Gong's search with Lowe's memory of visited (set of operations, state) pairs
 * ("Testing for linearizability", 2017; Wing and Gong 1993). An operation of unknown outcome
 * may take effect at any moment after its call, or never. Writes of one connection to one key
 * take effect in the order sent, also when pipelined, and before its later reads (WHY 1.6, B5). */
#ifndef HOLON_SIM_CHECKERS_LINEARIZABLE_H
#define HOLON_SIM_CHECKERS_LINEARIZABLE_H

#include "sim/sim_history.h"

enum sim_verdict { SIM_VERDICT_OK, SIM_VERDICT_VIOLATION, SIM_VERDICT_UNDECIDED };

/* `ops`: all of one key, in any order (sorted here by call). steps_max bounds the search.
 * On a violation `text` tells the operations around the place where no order fits. */
enum sim_verdict check_linearizable(struct sim_op *ops, uint32_t count, uint64_t steps_max,
                                    char *text, size_t text_size);
/* All REGISTER and COUNTER keys of a history. Stops at the first violation. */
enum sim_verdict check_history_linearizable(const struct sim_history *history, char *text,
                                            size_t text_size, uint64_t *ret_undecided);

/* "c3 SET k7 42 -> ok [1.000200, 1.000900]" */
void sim_op_text(const struct sim_op *op, char *text, size_t size);

#endif
