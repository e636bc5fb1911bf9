/* evaluate.h - the Redis service at the leader of a partition: one request in, reply and
 * effects out. A pure function over the row context (DESIGN.md 15). */
#ifndef HOLON_SERVICES_REDIS_EVALUATE_H
#define HOLON_SERVICES_REDIS_EVALUATE_H

#include "partition/row_context.h"

/* An evaluate_fn: request->body as in request_body.h, the reply as the client gets it. */
enum evaluate_result redis_evaluate(struct row_context *rows, const struct request *request,
                                    struct reply *reply);

#endif
