/* multi.h - MULTI, EXEC, DISCARD, WATCH and UNWATCH of one connection: commands are kept until EXEC
 * runs them as one transaction (exec.h), and what WATCH saw until then.
 *
 * What cannot be queued is refused at once, and EXEC then refuses the whole (EXECABORT), as in
 * redis-server. Inside MULTI nobody is MOVED: the node executes everything by itself.
 *
 * Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_MULTI_H
#define HOLON_SERVICES_REDIS_MULTI_H

#include "services/redis/batch.h"
#include "services/redis/frontend.h"

enum {
    MULTI_COMMANDS_MAX = 16384,
    MULTI_OWN_MAX = 128, /* of which the node answers by itself, all in one turn of the loop */
    MULTI_WATCHES_MAX = 16384,
    MULTI_BYTES_MAX = 1 << 20, /* of commands; the same again of watches */
};

struct multi {
    bool open;        /* MULTI was said; otherwise there are only watches */
    bool spoilt;      /* EXEC will be refused */
    uint8_t database; /* of the next command: SELECT is followed while it is queued */
    uint32_t command_count, watch_count;
    uint32_t own_count;     /* commands that this node answers by itself */
    struct buffer commands; /* each: varint size, body of request_body.h */
    struct buffer watches;  /* each as in a batch */
};

/* Is the command to be queued, not to be run? */
static inline bool multi_takes(const struct connection *connection,
                               const struct redis_command *command)
{
    if (connection->multi == NULL || !connection->multi->open) return false;
    return command->id != REDIS_EXEC && command->id != REDIS_DISCARD &&
           command->id != REDIS_MULTI && command->id != REDIS_WATCH && command->id != REDIS_QUIT &&
           command->id != REDIS_RESET;
}
void multi_queue(struct connection *connection, const struct redis_command *command,
                 const struct bytes *arguments, uint32_t count);
/* A command was refused. */
static inline void multi_spoil(struct connection *connection)
{
    if (connection->multi && connection->multi->open) connection->multi->spoilt = true;
}
/* EXEC with arguments: it ends the transaction all the same. */
void multi_refuse_exec(struct connection *connection);

/* EXEC and WATCH run alone. False: they wait. */
bool multi_exec(struct connection *connection);
bool multi_watch(struct connection *connection, const struct redis_command *command,
                 const struct bytes *arguments, uint32_t count);
/* WATCH has seen this. */
void multi_add_watch(struct connection *connection, const struct redis_watch *watch);

/* For CLIENT LIST: commands, -1: no MULTI. */
static inline int64_t multi_commands(const struct connection *connection)
{
    bool open = connection->multi && connection->multi->open;
    return open ? (int64_t)connection->multi->command_count : -1;
}
static inline uint32_t multi_watches(const struct connection *connection)
{
    return connection->multi ? connection->multi->watch_count : 0;
}

#endif
