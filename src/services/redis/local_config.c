/* local_config.c - CONFIG GET of what exists, under the names of redis-server, so that tools
 * which look at it find what is true here. Holon is configured by its own options: SET accepts
 * nothing but the value that is there. */
#include <inttypes.h>
#include <stdio.h>

#include "base/parse.h"
#include "services/redis/glob.h"
#include "services/redis/local.h"
#include "services/redis/local_functions.h"

/* One with wildcards costs up to some microseconds for each parameter that it may mean. */
enum { VALUE_SIZE_MAX = 64, PATTERNS_MAX = 128 };

struct parameter {
    const char *name;
    const char *value; /* NULL: computed by value_of() */
};

static const struct parameter parameters[] = {
    {"appendfsync", "always"}, /* every acknowledged write is synced by a quorum */
    {"appendonly", "yes"},
    {"bind", NULL},
    {"cluster-enabled", "yes"},
    {"databases", "16"},
    {"hash-max-listpack-entries", "128"},
    {"hash-max-ziplist-entries", "128"},
    {"maxclients", NULL},
    {"maxmemory", "0"},
    {"maxmemory-policy", "noeviction"},
    {"port", NULL},
    {"proto-max-bulk-len", "16777216"},
    {"save", ""},
    {"tcp-keepalive", "300"},
    {"timeout", NULL},
};

static const char *value_of(struct local_call *call, const struct parameter *parameter,
                            char room[VALUE_SIZE_MAX])
{
    struct redis_facts facts;
    struct address address;

    if (parameter->value) return parameter->value;
    service_facts(call->service, &facts);
    const char *own = stream_own_address(call->connection->stream);
    bool known = parse_address(bytes_of(own), true, &address);
    if (strcmp(parameter->name, "maxclients") == 0)
        snprintf(room, VALUE_SIZE_MAX, "%u", facts.max_connections);
    else if (strcmp(parameter->name, "timeout") == 0)
        snprintf(room, VALUE_SIZE_MAX, "%" PRIu64, call->service->options.idle_timeout / 1000000);
    else if (strcmp(parameter->name, "port") == 0)
        snprintf(room, VALUE_SIZE_MAX, "%u", known ? (unsigned)address.port : 0);
    else
        snprintf(room, VALUE_SIZE_MAX, "%.*s", VALUE_SIZE_MAX - 1, known ? address.host : "");
    return room;
}

static bool is_glob(struct bytes pattern)
{
    for (size_t i = 0; i < pattern.size; i++) {
        uint8_t c = pattern.data[i];
        if (c == '*' || c == '?' || c == '[' || c == '\\') return true;
    }
    return false;
}

/* What was asked for, and how the reply calls it: as it was asked for, if by its name. */
struct asked {
    uint32_t bits, by_letter[REDIS_LETTERS]; /* a bit by parameter */
    uint32_t patterns;                       /* with wildcards, that were looked at */
    struct bytes names[ARRAY_COUNT(parameters)];
};

_Static_assert(ARRAY_COUNT(parameters) < 32, "a bit each");

/* No other parameter can match, by its first byte. */
static uint32_t candidates_of(const struct asked *asked, struct bytes pattern)
{
    bool any = pattern.size > 0 && memchr("*?[\\", pattern.data[0], 4);
    return ~asked->bits & (any ? UINT32_MAX : asked->by_letter[redis_letter(pattern)]);
}

/* False: there are too many. */
static bool add_pattern(struct asked *asked, struct bytes pattern)
{
    uint32_t left = candidates_of(asked, pattern) & ((1u << ARRAY_COUNT(parameters)) - 1);

    if (left == 0) return true;
    bool glob = is_glob(pattern);
    if (glob && ++asked->patterns > PATTERNS_MAX) return false;
    for (; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        struct bytes name = bytes_of(parameters[i].name);
        bool fits = glob || pattern.size == name.size;
        if (!fits || !glob_matches_lower(pattern, name)) continue;
        asked->bits |= 1u << i;
        asked->names[i] = glob ? name : pattern;
    }
    return true;
}

/* One look at each argument, there may be a million; at those parameters only that begin like it
 * and were not asked for yet. */
static void config_get(struct local_call *call)
{
    char room[VALUE_SIZE_MAX];
    struct asked asked = {0};
    uint32_t every = (1u << ARRAY_COUNT(parameters)) - 1;

    for (uint32_t i = 0; i < ARRAY_COUNT(parameters); i++)
        asked.by_letter[redis_letter(bytes_of(parameters[i].name))] |= 1u << i;
    for (uint32_t i = 2; i < call->count && asked.bits != every; i++) {
        if (add_pattern(&asked, call->arguments[i])) continue;
        resp_write_error_format(call->out,
                                "ERR CONFIG GET matches at most %u patterns with wildcards at "
                                "once in this version of Holon: ask in several commands",
                                PATTERNS_MAX);
        return;
    }
    resp_write_map(call->out, (uint64_t)__builtin_popcount(asked.bits));
    for (uint32_t i = 0; i < ARRAY_COUNT(parameters); i++) {
        if (!(asked.bits & 1u << i)) continue;
        resp_write_bulk(call->out, asked.names[i]);
        resp_write_bulk_text(call->out, value_of(call, &parameters[i], room));
    }
}

static const struct parameter *parameter_find(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_COUNT(parameters); i++) {
        if (redis_word_is(name, parameters[i].name)) return &parameters[i];
    }
    return NULL;
}

static void config_set(struct local_call *call)
{
    char room[VALUE_SIZE_MAX];
    uint64_t seen = 0; /* bits by parameter */

    _Static_assert(ARRAY_COUNT(parameters) <= 64, "a bit each");
    if (call->count % 2) {
        resp_write_error(call->out, "ERR syntax error");
        return;
    }
    for (uint32_t i = 2; i < call->count; i += 2) {
        const struct parameter *parameter = parameter_find(call->arguments[i]);
        struct bytes name = call->arguments[i];
        int shown = name.size < 64 ? (int)name.size : 64;
        if (parameter == NULL) {
            resp_write_error_format(
                call->out, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                shown, (const char *)name.data);
            return;
        }
        const char *value = value_of(call, parameter, room);
        uint64_t bit = UINT64_C(1) << (parameter - parameters);
        if (seen & bit) {
            resp_write_error_format(call->out,
                                    "ERR CONFIG SET failed (possibly related to argument '%s') - "
                                    "duplicate parameter",
                                    parameter->name);
            return;
        }
        seen |= bit;
        if (bytes_equal(bytes_of(value), call->arguments[i + 1])) continue;
        resp_write_error_format(call->out,
                                "ERR CONFIG SET failed (possibly related to argument '%s') - "
                                "can't set immutable config",
                                parameter->name);
        return;
    }
    resp_write_simple(call->out, "OK");
}

/* Counters are shown to operators as ever growing; nothing is reset under their feet. */
static void config_resetstat(struct local_call *call)
{
    resp_write_simple(call->out, "OK");
}

void local_config(struct local_call *call)
{
    static const struct local_subcommand list[] = {
        {"get", -3, config_get, {"GET <pattern>", "Return parameters matching <pattern>."}},
        {"resetstat", 2, config_resetstat, {"RESETSTAT", "Accepted, and does nothing."}},
        {"set",
         -4,
         config_set,
         {"SET <directive> <value>", "Accepts the present value only: use Holon's options."}},
    };
    local_run_subcommand(call, list, ARRAY_COUNT(list));
}
