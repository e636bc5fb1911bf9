/* options_join.h - values of the options by which a node joins a cluster, and says where it stands.
 */
#ifndef HOLON_CLI_OPTIONS_JOIN_H
#define HOLON_CLI_OPTIONS_JOIN_H

#include "node/node.h"

/* "HOST:PORT,HOST:PORT". */
enum status options_take_join(const char *value, struct node_options *node, struct error *error);
/* The token, or "@FILE" with it. The value is overwritten: others on the machine can read the
 * command lines of processes. */
enum status options_take_token(char *value, struct node_options *node, struct error *error);
/* The same from HOLON_TOKEN, if no token was given. */
enum status options_token_of_environment(struct node_options *node, struct error *error);
/* "name=value,name=value", or with `name` not NULL only a value of that. Adds to what was given. */
enum status options_take_label(const char *name, const char *value, struct node_options *node,
                               struct error *error);

#endif
