/* exec.h - one transaction of a client: EXEC, or a command whose keys are in several partitions.
 * Like a fan-out it runs alone on its connection (rule C9).
 *
 *   commands ──plan──▶ subs: commands for one partition each
 *            ──build─▶ pieces: the subs of a partition, in the order of the commands (batch.h)
 *            ──run───▶ txn_run(): all at one instant
 *            ──merge─▶ one reply for each command
 *
 * Where a command writes in one partition by what it read in another (RENAME, COPY, MSETNX), it is
 * first looked at: its reads alone are run behind the commands before it, which changes nothing.
 * What it has to write is known then, and the transaction says which replies it relies on. If one
 * is another, somebody wrote meanwhile, and all of it begins again.
 *
 * What was guarded (guard.h) is run with its guards: each is a piece, or part of one, of the
 * partition of its lock, which reads that lock's row.
 *
 * Also WATCH: a look that asks for versions. Thread: the service's. */
#ifndef HOLON_SERVICES_REDIS_EXEC_H
#define HOLON_SERVICES_REDIS_EXEC_H

#include "base/arena.h"
#include "services/redis/batch.h"
#include "services/redis/frontend.h"
#include "txn/txn.h"

enum {
    EXEC_LOOKS_MAX = 64, /* commands of one transaction that have to be looked at */
    EXEC_ATTEMPTS_MAX = 16,
    EXEC_REPLY_MAX = 32 << 20,   /* of one piece, */
    EXEC_REPLIES_MAX = 64 << 20, /* and of all: more than is sent to a client anyway */
    EXEC_SUBS_MAX = 1 << 16,     /* of one plan */
};

struct multi;

/* How the reply of a command is made. */
enum exec_answer {
    EXEC_LOCAL,    /* run here */
    EXEC_AS_IS,    /* the reply of its sub */
    EXEC_SUM,      /* of integers */
    EXEC_VALUES,   /* elements of arrays, in the order of the keys */
    EXEC_OK,       /* or the first error */
    EXEC_FIXED,    /* known before it is run, if what it relies on is so */
    EXEC_VERSIONS, /* WATCH: kept, then OK */
};

struct exec_sub {
    struct exec_sub *next_of_command, *next_of_piece;
    const struct redis_command *command;
    uint32_t partition;
    struct bytes body;
    bool expects;
    struct hash128 digest;
    struct bytes reply;
    size_t read; /* VALUES: of the reply */
};

struct exec_command {
    const struct redis_command *command;
    const struct bytes *arguments; /* with the name */
    uint32_t count;
    uint8_t database;
    struct bytes body;
    /* What it looked at: the replies of the subs that did. NULL: it has not. */
    struct bytes *looked;
    /* Of the present plan: */
    enum exec_answer answer;
    struct bytes fixed;
    struct exec_sub *first, *last;
    uint32_t key_count;
    struct exec_sub **key_subs; /* VALUES, VERSIONS: of each key */
};

struct exec_piece {
    uint32_t partition;
    struct exec_sub *first, *last;
    uint32_t sub_count, watch_count, guard_count;
    struct buffer body;
};

struct exec {
    struct connection *connection;
    bool multi, silent, writes;
    bool watching;    /* it is WATCH */
    bool open;        /* txn_run() has not said how it ended */
    bool answered;    /* it has */
    bool conditional; /* of the present plan: pieces refuse what is not as they expect it */
    uint64_t started;
    struct guards *guards; /* guard.h; NULL: none */
    struct buffer queue;   /* bodies of the commands */
    struct buffer watches; /* as in a batch */
    uint32_t watch_count;
    struct arena arena; /* commands */
    struct arena plan;  /* subs of this round, */
    uint32_t sub_count;
    struct arena looked; /* replies of this attempt */
    uint32_t command_count;
    struct exec_command *commands;
    struct exec_command *looking; /* this round only looks, for it; NULL: it is the real one */
    uint32_t looks, attempts;
    uint64_t seed;
    uint32_t *numbers; /* by partition; 0 between uses */
    uint32_t piece_count;
    struct exec_piece *pieces;
    struct txn_piece *txn_pieces;
    struct txn_request request;
    enum txn_result result;
    const struct txn_piece *refused;
    const char *wrong; /* an error of this node: nothing was run */
    char wrong_text[256];
};

/* May transactions be run? If not, the other one says why. */
bool exec_is_ready(const struct redis_service *service);
void exec_write_unready(const struct redis_service *service, struct resp_writer *out,
                        const char *what);
void exec_format_too_big(const struct redis_service *service, char *text, size_t size);

/* Takes `multi` over. */
void exec_start_multi(struct connection *connection, struct multi *multi);
void exec_start_one(struct connection *connection, const struct redis_command *command,
                    const struct bytes *arguments, uint32_t count);

/* exec_plan.c */
/* Plans all commands, or those before one that has to be looked at and its reads: exec->looking. */
void exec_plan(struct exec *exec);
struct exec_sub *exec_add(struct exec *exec, struct exec_command *command,
                          const struct redis_command *sub_command, uint16_t slot, uint8_t database,
                          const struct bytes *arguments, uint32_t count);
/* The keys of a command by partition, each with the value behind it if `values`: a sub for each. */
void exec_split(struct exec *exec, struct exec_command *command,
                const struct redis_command *sub_command, bool values);
void exec_fix(struct exec_command *command, const char *reply);

/* exec_look.c */
/* Is the command, over several partitions, one that has to look? */
bool exec_looks(const struct redis_command *command);
/* False: only its reads are planned. */
bool exec_plan_looking(struct exec *exec, struct exec_command *command);

/* exec_build.c */
/* False: exec->wrong says why. */
bool exec_build(struct exec *exec);
void exec_unbuild(struct exec *exec);

/* exec_answer.c */
/* The replies of the pieces to their subs. False: they make no sense. */
bool exec_take_replies(struct exec *exec);
/* Of a piece that has a reply: did it refuse, and how? */
enum redis_batch_outcome exec_outcome(const struct txn_piece *piece);
/* Writes the reply of the whole. */
void exec_write(struct exec *exec, struct resp_writer *out);
/* The error for a transaction that was not executed, or not surely. */
void exec_write_failure(struct exec *exec, struct resp_writer *out);

#endif
