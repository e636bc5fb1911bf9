/* evaluate_internal.h - what an evaluation of one command (evaluate.c) and of several (batch.c)
 * share. */
#ifndef HOLON_SERVICES_REDIS_EVALUATE_INTERNAL_H
#define HOLON_SERVICES_REDIS_EVALUATE_INTERNAL_H

#include "services/redis/call.h"
#include "services/redis/request_body.h"

/* Makes it the call's command. False: it makes no sense to this version. `body` must outlive the
 * call, and its arguments have room in front for the name (redis_body_decode()). */
bool redis_call_take(struct redis_call *call, const struct redis_body *body);
/* Names all keys: those that are not in memory are fetched together. */
void redis_call_want_keys(struct redis_call *call);
/* Takes the reply back, from `start` on, and replies with the error. */
enum evaluate_result redis_call_refuse(struct redis_call *call, size_t start, const char *text);

#define REDIS_NOT_UNDERSTOOD                                                                       \
    "ERR this node does not understand the request: it may run an older version; nothing was "     \
    "executed"
#define REDIS_MISROUTED "ERR a key is not of this partition; nothing was executed"
#define REDIS_REPLY_TOO_LARGE "ERR the reply is larger than this version of Holon allows"

#endif
