/* batch.h - several commands in one request, evaluated one after the other in one entry: MULTI
 * whose keys are all in one partition, and the pieces of transactions (txn/txn.h).
 *
 *   body: u8 format (2) | u8 flags (0) | varint count, watches: u8 database, u8 existed,
 *         u64 version, varint size, key | varint count, commands: u8 flags (1: expects) |
 *         with 1: u64, u64 digest of the reply it must give | varint size, body of
 *         request_body.h (format 1, no references)
 *   reply: u8 redis_batch_outcome | EXECUTED: for each command varint size, reply (RESP)
 *
 * Each command sees what those before it wrote. A watch that fails, or a reply that is not the
 * expected one: nothing is changed (row_refuse()). Errors of commands are replies like others, and
 * change nothing by themselves, as in redis-server.
 *
 * Thread: any; redis_batch_evaluate() the partition's worker. */
#ifndef HOLON_SERVICES_REDIS_BATCH_H
#define HOLON_SERVICES_REDIS_BATCH_H

#include "partition/row_context.h"
#include "services/redis/request_body.h"

enum { REDIS_BATCH_FORMAT = 2 };

enum redis_batch_outcome {
    REDIS_BATCH_EXECUTED = 0,
    REDIS_BATCH_WATCH_FAILED = 1,
    REDIS_BATCH_UNEXPECTED = 2,
};

struct redis_watch {
    uint8_t database;
    bool existed;     /* when it was watched: one that expires since fails */
    uint64_t version; /* of its row; 0: absent */
    struct bytes key;
};

/* Called by redis_evaluate() for bodies of this format. */
enum evaluate_result redis_batch_evaluate(struct row_context *rows, const struct request *request,
                                          struct reply *reply);

#endif
