#include "services/redis/command.h"

#include "base/assert.h"
#include "services/redis/evaluate_functions.h"

enum {
    READS = REDIS_READS,
    WRITES = REDIS_WRITES,
    GROWS = REDIS_GROWS,
    FAST = REDIS_FAST,
    MERGES = REDIS_MERGES,
    FANOUT = REDIS_FANOUT,
    CONTAINER = REDIS_CONTAINER,
    ADMIN = REDIS_ADMIN,
    STAGES = REDIS_STAGES,
    LOCKS = REDIS_LOCKS,
};

static const struct redis_command commands[REDIS_COMMAND_ID_END] = {
#define REDIS_COMMAND(id, number, name, arity, flags, first, last, step, evaluate, ...)            \
    [number] = {name, number, arity, flags, first, last, step, evaluate, __VA_ARGS__},
#define REDIS_LOCAL(id, number, name, arity, flags, local, ...)                                    \
    [number] = {name, number, arity, flags, 0, 0, 0, NULL, __VA_ARGS__},
#include "services/redis/commands.def"
#undef REDIS_COMMAND
#undef REDIS_LOCAL
    [REDIS_LOCKTRY] = {"locktry", REDIS_LOCKTRY, 6, WRITES | GROWS | LOCKS | REDIS_HIDDEN, 1, 1, 1,
                       evaluate_locktry, "lock", "7.0.0", "O(N) where N is the number of waiters.",
                       "An attempt of a client that waits for a lock."},
    [REDIS_LOCKLEAVE] = {"lockleave", REDIS_LOCKLEAVE, 3, WRITES | LOCKS | REDIS_HIDDEN, 1, 1, 1,
                         evaluate_lockleave, "lock", "7.0.0",
                         "O(N) where N is the number of waiters.",
                         "A client waits for a lock no longer."},
    [REDIS_READVALUE] = {"readvalue", REDIS_READVALUE, 2, READS | REDIS_HIDDEN, 1, 1, 1,
                         evaluate_readvalue, "generic", "7.0.0", "O(N)",
                         "A value as it goes to another partition."},
    [REDIS_WRITEVALUE] = {"writevalue", REDIS_WRITEVALUE, 4, WRITES | GROWS | REDIS_HIDDEN, 1, 1, 1,
                          evaluate_writevalue, "generic", "7.0.0", "O(N)",
                          "Sets a key to what readvalue gave."},
    [REDIS_SLOTSCAN] = {"slotscan", REDIS_SLOTSCAN, 3, READS | FANOUT | REDIS_HIDDEN, 0, 0, 0,
                        evaluate_slotscan, "cluster", "3.0.0", "O(N)",
                        "Counts or iterates over the keys of a slot."},
    [REDIS_KEYSPACE] = {"keyspace", REDIS_KEYSPACE, 1, READS | FAST | FANOUT | REDIS_HIDDEN, 0, 0,
                        0, evaluate_keyspace, "server", "7.0.0", "O(1)",
                        "Keys and expiring keys of each database in a partition."},
};

static const char *const unsupported[] = {
#define REDIS_UNSUPPORTED(name) name,
#include "services/redis/unsupported.def"
#undef REDIS_UNSUPPORTED
};

_Static_assert((ARRAY_COUNT(unsupported) + REDIS_COMMAND_ID_END) * 2 < REDIS_INDEX_SIZE,
               "the index stays at most half full");

const struct redis_command *redis_command_by_id(uint32_t id)
{
    if (id >= REDIS_COMMAND_ID_END || commands[id].name == NULL) return NULL;
    return &commands[id];
}

bool redis_word_is(struct bytes word, const char *lower)
{
    size_t i = 0;

    for (; i < word.size && lower[i]; i++) {
        uint8_t c = word.data[i];
        if (c >= 'A' && c <= 'Z') c |= 0x20;
        if (c != (uint8_t)lower[i]) return false;
    }
    return i == word.size && lower[i] == 0;
}

/* Bit 0x20 set makes letters lower case; what it does to other bytes does not matter, since
 * the name is compared afterwards. */
static uint32_t name_hash(struct bytes name)
{
    uint64_t hash = name.size;

    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (name.data[i] | 0x20u)) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(hash >> 40) % REDIS_INDEX_SIZE;
}

static const char *name_of(uint16_t entry)
{
    return entry < REDIS_COMMAND_ID_END ? commands[entry].name
                                        : unsupported[entry - REDIS_COMMAND_ID_END];
}

static void index_insert(struct redis_command_index *index, uint16_t entry)
{
    struct bytes name = bytes_of(name_of(entry));
    uint32_t at = name_hash(name);

    ASSERT(name.size <= REDIS_NAME_SIZE_MAX);
    while (index->slots[at]) {
        ASSERT(!redis_word_is(name, name_of(index->slots[at]))); /* no name twice */
        at = (at + 1) % REDIS_INDEX_SIZE;
    }
    index->slots[at] = entry;
}

void redis_command_index_build(struct redis_command_index *index)
{
    *index = (struct redis_command_index){0};
    for (uint16_t id = 0; id < REDIS_COMMAND_ID_END; id++) {
        if (commands[id].name && !(commands[id].flags & REDIS_HIDDEN)) index_insert(index, id);
    }
    for (size_t i = 0; i < ARRAY_COUNT(unsupported); i++)
        index_insert(index, (uint16_t)(REDIS_COMMAND_ID_END + i));
}

const struct redis_command *redis_command_find(const struct redis_command_index *index,
                                               struct bytes name, bool *ret_unsupported)
{
    if (ret_unsupported) *ret_unsupported = false;
    if (name.size == 0 || name.size > REDIS_NAME_SIZE_MAX) return NULL;

    for (uint32_t at = name_hash(name); index->slots[at]; at = (at + 1) % REDIS_INDEX_SIZE) {
        uint16_t entry = index->slots[at];
        if (!redis_word_is(name, name_of(entry))) continue;
        if (entry < REDIS_COMMAND_ID_END) return &commands[entry];
        if (ret_unsupported) *ret_unsupported = true;
        return NULL;
    }
    return NULL;
}
