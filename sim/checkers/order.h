/* order.h - appended tokens: nothing acknowledged lost (S-5), nothing twice, and the
 * order in which one connection sent them kept (WHY 1.6). Each APPEND's reply is the length
 * after it, so an acknowledgement names the exact place of its token. */
#ifndef HOLON_SIM_CHECKERS_ORDER_H
#define HOLON_SIM_CHECKERS_ORDER_H

#include "sim/sim_history.h"

/* Token of an operation, without its NUL; returns its size. */
size_t check_order_token(const struct sim_op *op, char token[32]);
bool check_order(const struct sim_history *history, char *text, size_t text_size);

#endif
