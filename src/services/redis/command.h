/* command.h - the table of commands (commands.def) and how one is found in it.
 * Thread: any; the table is constant, the index belongs to its owner. */
#ifndef HOLON_SERVICES_REDIS_COMMAND_H
#define HOLON_SERVICES_REDIS_COMMAND_H

#include "partition/row_context.h"

struct redis_call; /* one evaluation: call.h */

enum redis_command_id {
#define REDIS_COMMAND(id, number, ...) REDIS_##id = (number),
#define REDIS_LOCAL(id, number, ...) REDIS_##id = (number),
#include "services/redis/commands.def"
#undef REDIS_COMMAND
#undef REDIS_LOCAL
    /* Between nodes, no client can name them: of HOLON.LOCK ... WAIT, of RENAME and COPY, of
     * CLUSTER ...KEYSINSLOT, of INFO.
     */
    REDIS_LOCKTRY = 250,
    REDIS_LOCKLEAVE = 251,
    REDIS_READVALUE = 252,
    REDIS_WRITEVALUE = 253,
    REDIS_SLOTSCAN = 254,
    REDIS_KEYSPACE = 255,
    REDIS_COMMAND_ID_END = 256, /* ids are below it */
};

enum redis_command_flags {
    REDIS_READS = 1 << 0,
    REDIS_WRITES = 1 << 1,    /* may have effects: the gateway remembers its outcome */
    REDIS_GROWS = 1 << 2,     /* may need more space */
    REDIS_FAST = 1 << 3,      /* constant time */
    REDIS_MERGES = 1 << 4,    /* reads keys one by one: may be split over partitions */
    REDIS_FANOUT = 1 << 5,    /* about the whole database: asks partitions by itself */
    REDIS_CONTAINER = 1 << 6, /* has subcommands */
    REDIS_ADMIN = 1 << 7,
    REDIS_STAGES = 1 << 8, /* its big values may be sent ahead (stage.h) */
    REDIS_HIDDEN = 1 << 9, /* only nodes ask for it */
    REDIS_LOCKS = 1 << 10, /* of locks: its key is the name of one (lock.h) */
};

struct redis_command {
    const char *name; /* lower case; NULL: no command has this id */
    uint16_t id;
    int16_t arity; /* negative: at least; counts the name */
    uint16_t flags;
    int16_t first_key, last_key, key_step;                     /* first 0: no keys */
    enum evaluate_result (*evaluate)(struct redis_call *call); /* NULL: local */
    const char *group, *since, *complexity, *summary;
};

/* NULL if there is none with this id. */
const struct redis_command *redis_command_by_id(uint32_t id);

static inline bool redis_arity_is_right(const struct redis_command *command, uint32_t count)
{
    return command->arity >= 0 ? count == (uint32_t)command->arity
                               : count >= (uint32_t)-command->arity;
}

/* Number of keys among `count` arguments (name included), by first, last and step. */
static inline uint32_t redis_key_count(const struct redis_command *command, uint32_t count)
{
    if (command->first_key == 0 || count <= (uint32_t)command->first_key) return 0;
    uint32_t last =
        command->last_key < 0 ? count - (uint32_t)-command->last_key : (uint32_t)command->last_key;
    return (last - (uint32_t)command->first_key) / (uint32_t)command->key_step + 1;
}

/* Which argument is the key that argument `index`, a value, belongs to? */
static inline uint32_t redis_key_index_of_value(const struct redis_command *command, uint32_t index)
{
    return command->key_step == 2 ? index - 1 : (uint32_t)command->first_key;
}

enum { REDIS_INDEX_SIZE = 1024, REDIS_NAME_SIZE_MAX = 32 };

/* Name -> command by open addressing; 2 KiB, built once by its owner. */
struct redis_command_index {
    uint16_t slots[REDIS_INDEX_SIZE]; /* id, REDIS_COMMAND_ID_END + i: unsupported, 0: free */
};

void redis_command_index_build(struct redis_command_index *index);
/* Any case. NULL if unknown; *ret_unsupported then tells a command of Redis that Holon lacks
 * (may be NULL). */
const struct redis_command *redis_command_find(const struct redis_command_index *index,
                                               struct bytes name, bool *ret_unsupported);

/* Is `word` the same as `lower`, which is in lower case, in any case? */
bool redis_word_is(struct bytes word, const char *lower);

/* For tables of words by their first letter, in either case: below REDIS_LETTERS. */
enum { REDIS_LETTERS = 32 };
static inline uint32_t redis_letter(struct bytes word)
{
    return word.size > 0 ? word.data[0] % REDIS_LETTERS : 0;
}

#endif
