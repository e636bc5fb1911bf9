/* batch.h - several commands in one request, evaluated one after the other in one entry: MULTI
 * whose keys are all in one partition, and the pieces of transactions (txn/txn.h).
 *
 *   body: u8 format (2) | u8 flags (1: guards) | with 1: varint count, guards: u8 database,
 *         u64 token, varint size, name of a lock | varint count, watches: u8 database, u8 existed,
 *         u32 namespace, u64 version, varint size, key | u64 seed | varint count, commands: u8
 * flags (1: expects) | with 1: u64, u64 digest of the reply it must give, keyed with the seed |
 * varint size, body of request_body.h (format 1, no references) reply: u8 redis_batch_outcome |
 * EXECUTED: for each command u32 size, reply (RESP); REFUSED: an error (RESP)
 *
 * Each command sees what those before it wrote. A lock that is not held with that token any more
 * (lock.h), a watch that fails, or a reply that is not the
 * expected one: nothing is changed (row_refuse()). Errors of commands are replies like others, and
 * change nothing by themselves, as in redis-server. What makes no sense, or does not fit, is
 * refused as a whole: half of a transaction must not be executed.
 *
 * The seed is drawn for each batch, so that nobody can choose values that have one digest.
 *
 * Thread: any; redis_batch_evaluate() the partition's worker. */
#ifndef HOLON_SERVICES_REDIS_BATCH_H
#define HOLON_SERVICES_REDIS_BATCH_H

#include "base/hash.h"
#include "partition/row_context.h"
#include "services/redis/lock.h"
#include "services/redis/request_body.h"

enum { REDIS_BATCH_FORMAT = 2, REDIS_BATCH_GUARDS = 1 /* a flag */ };

enum redis_batch_outcome {
    REDIS_BATCH_EXECUTED = 0,
    REDIS_BATCH_WATCH_FAILED = 1,
    REDIS_BATCH_UNEXPECTED = 2,
    REDIS_BATCH_REFUSED = 3,
};

struct redis_watch {
    uint8_t database;
    bool existed;       /* when it was watched: one that expires since fails */
    uint32_t namespace; /* of the database then: FLUSHDB and SWAPDB change it */
    uint64_t version;   /* of its row, or of its deletion: watch.h */
    struct bytes key;
};

struct redis_batch_command {
    bool expects;
    struct hash128 digest;
    struct bytes body;
};

/* Called by redis_evaluate() for bodies of this format. */
enum evaluate_result redis_batch_evaluate(struct row_context *rows, const struct request *request,
                                          struct reply *reply);
/* Of what a command must reply, `reply`. */
struct hash128 redis_batch_digest(uint64_t seed, uint16_t command, struct bytes reply);

/* The body: a head with its guards, if there are any; its watches, then
 * redis_batch_begin_commands() and its commands. */
void redis_batch_begin(struct writer *writer, uint64_t watch_count); /* without guards */
void redis_batch_begin_guards(struct writer *writer, uint64_t guard_count);
void redis_batch_write_guard(struct writer *writer, const struct redis_guard *guard);
bool redis_batch_read_guard(struct reader *reader, struct redis_guard *ret_guard);
void redis_batch_begin_watches(struct writer *writer, uint64_t watch_count); /* after guards */
void redis_batch_write_watch(struct writer *writer, const struct redis_watch *watch);
void redis_batch_begin_commands(struct writer *writer, uint64_t seed, uint64_t command_count);
void redis_batch_write_command(struct writer *writer, const struct redis_batch_command *command);

/* The reply. False: it makes no sense. *ret_rest: replies of the commands, or the error. */
bool redis_batch_read_outcome(struct bytes reply, enum redis_batch_outcome *ret_outcome,
                              struct bytes *ret_rest);
/* The next command's; *rest is left behind it. */
bool redis_batch_read_reply(struct bytes *rest, struct bytes *ret_reply);

#endif
