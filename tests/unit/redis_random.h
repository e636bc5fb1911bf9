/* redis_random.h - commands drawn at random, of few keys and with odd arguments. */
#ifndef HOLON_TESTS_UNIT_REDIS_RANDOM_H
#define HOLON_TESTS_UNIT_REDIS_RANDOM_H

#include "unit.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/random.h"

enum { ARGUMENTS_MAX = 12 };

static const char *const keys[] = {"a", "b", "c", "d", "{t}1", "{t}2", "", "key with space"};
static const char *const values[] = {"",
                                     "0",
                                     "1",
                                     "-1",
                                     "10",
                                     "007",
                                     "9223372036854775807",
                                     "-9223372036854775808",
                                     "3.25",
                                     "1e3",
                                     "hello",
                                     "abc",
                                     "inf",
                                     "nan",
                                     " 1",
                                     "1 ",
                                     "9223372036854775808",
                                     "-0",
                                     "0x10",
                                     "5000",
                                     "x\r\ny",
                                     "1.5e308",
                                     "0.1",
                                     "1000000000000000000000",
                                     "a value that is longer than any number",
                                     "and another one: abcdefghijklmnopqrstuvwxyz"};
static const char *const integers[] = {
    "0",   "1",   "-1",   "5", "-3", "100", "9223372036854775807", "-9223372036854775808",
    "abc", "1.5", "-100", "2"};
static const char *const fields[] = {"f1", "f2", "f3", "f4", "", "n"};
static const char *const future_ms[] = {
    "99999999999999", "88888888888888", "1", "-5", "0", "9223372036854775807", "x",
    "77777777777777"};
static const char *const future_s[] = {"99999999999", "88888888888",         "1", "-5",
                                       "0",           "9223372036854775807", "x", "77777777777"};
/* None ends while the test runs: the real server looks at its own clock, a little later than we do.
 * What does end is let_expire()'s. */
static const char *const from_now[] = {"100000000", "10000000",           "-1", "0", "99999999999",
                                       "x",         "9223372036854775807"};
static const char *const conditions[] = {"NX", "XX", "GT", "LT", "xx", "gt", "bad"};
static const char *const patterns[] = {"*", "f?", "f[12]", "[^f]*", "f\\1", "nothing", "*1", "["};

struct command_maker {
    struct random random;
    struct bytes arguments[ARGUMENTS_MAX];
    uint32_t count;
};

#define PICK(maker, list) push(maker, (list)[random_below(&(maker)->random, ARRAY_COUNT(list))])

static inline void push(struct command_maker *maker, const char *word)
{
    assert_true(maker->count < ARGUMENTS_MAX);
    maker->arguments[maker->count++] = bytes_of(word);
}

static inline bool sometimes(struct command_maker *maker, uint32_t of)
{
    return random_chance(&maker->random, 1, of);
}

static inline void push_time(struct command_maker *maker)
{
    switch (random_below(&maker->random, 4)) {
    case 0:
        push(maker, "EX");
        PICK(maker, from_now);
        break;
    case 1:
        push(maker, "px");
        PICK(maker, from_now);
        break;
    case 2:
        push(maker, "EXAT");
        PICK(maker, future_s);
        break;
    default:
        push(maker, "PXAT");
        PICK(maker, future_ms);
        break;
    }
}

static inline void make_set(struct command_maker *maker)
{
    static const char *const options[] = {"NX", "XX",  "GET", "KEEPTTL", "nx",
                                          "xx", "get", "bad", "EX"};
    push(maker, "SET");
    PICK(maker, keys);
    PICK(maker, values);
    for (uint64_t i = random_below(&maker->random, 3); i; i--) {
        if (sometimes(maker, 3))
            push_time(maker);
        else
            PICK(maker, options);
    }
}

static inline void make_getex(struct command_maker *maker)
{
    push(maker, "GETEX");
    PICK(maker, keys);
    if (sometimes(maker, 3)) push(maker, "PERSIST");
    if (sometimes(maker, 2)) push_time(maker);
    if (sometimes(maker, 20)) push(maker, "bad");
}

static inline void make_expire(struct command_maker *maker)
{
    static const char *const names[] = {"EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"};
    uint64_t which = random_below(&maker->random, 4);

    push(maker, names[which]);
    PICK(maker, keys);
    if (which < 2)
        PICK(maker, from_now);
    else if (which == 2)
        PICK(maker, future_s);
    else
        PICK(maker, future_ms);
    /* GT and LT between two times from now would depend on the clocks' milliseconds. */
    for (uint64_t i = random_below(&maker->random, 3); i; i--) {
        if (which < 2)
            push(maker, sometimes(maker, 2) ? "NX" : "xx");
        else
            PICK(maker, conditions);
    }
}

static inline void make_one_key(struct command_maker *maker)
{
    static const char *const names[] = {
        "GET",  "GET",     "GETDEL", "STRLEN", "INCR",  "DECR",    "TYPE",       "TTL",
        "PTTL", "PERSIST", "HLEN",   "HKEYS",  "HVALS", "HGETALL", "EXPIRETIME", "PEXPIRETIME"};
    PICK(maker, names);
    PICK(maker, keys);
}

static inline void make_many_keys(struct command_maker *maker)
{
    static const char *const names[] = {"DEL", "UNLINK", "EXISTS", "TOUCH", "MGET"};
    PICK(maker, names);
    for (uint64_t i = 1 + random_below(&maker->random, 3); i; i--)
        PICK(maker, keys);
}

static inline void make_pairs(struct command_maker *maker)
{
    static const char *const names[] = {"MSET", "MSETNX"};
    PICK(maker, names);
    for (uint64_t i = 1 + random_below(&maker->random, 3); i; i--) {
        PICK(maker, keys);
        PICK(maker, values);
    }
    if (maker->count > 3 && sometimes(maker, 10)) maker->count--;
}

static inline void make_string(struct command_maker *maker)
{
    static const char *const with_value[] = {"SETNX", "GETSET", "APPEND", "INCRBYFLOAT"};
    static const char *const with_integer[] = {"INCRBY", "DECRBY"};

    switch (random_below(&maker->random, 6)) {
    case 0:
        PICK(maker, with_integer);
        PICK(maker, keys);
        PICK(maker, integers);
        break;
    case 1:
        push(maker, "GETRANGE");
        PICK(maker, keys);
        PICK(maker, integers);
        PICK(maker, integers);
        break;
    case 2:
        push(maker, "SETRANGE");
        PICK(maker, keys);
        push(maker, sometimes(maker, 2) ? "3" : sometimes(maker, 2) ? "-1" : "0");
        PICK(maker, values);
        break;
    case 3:
        push(maker, sometimes(maker, 2) ? "SETEX" : "PSETEX");
        PICK(maker, keys);
        PICK(maker, from_now);
        PICK(maker, values);
        break;
    default:
        PICK(maker, with_value);
        PICK(maker, keys);
        PICK(maker, values);
        break;
    }
}

static inline void make_hash(struct command_maker *maker)
{
    static const char *const one_field[] = {"HGET", "HEXISTS", "HSTRLEN", "HDEL", "HMGET"};
    static const char *const field_value[] = {"HSETNX", "HINCRBY", "HINCRBYFLOAT", "HSET"};

    switch (random_below(&maker->random, 5)) {
    case 0:
        push(maker, sometimes(maker, 3) ? "HMSET" : "HSET");
        PICK(maker, keys);
        for (uint64_t i = 1 + random_below(&maker->random, 3); i; i--) {
            PICK(maker, fields);
            PICK(maker, values);
        }
        if (maker->count > 4 && sometimes(maker, 10)) maker->count--;
        break;
    case 1:
        push(maker, sometimes(maker, 2) ? "HMGET" : "HDEL");
        PICK(maker, keys);
        PICK(maker, fields);
        PICK(maker, fields);
        break;
    case 2:
        push(maker, "HSCAN");
        PICK(maker, keys);
        push(maker, sometimes(maker, 10) ? "x" : "0");
        if (sometimes(maker, 2)) {
            push(maker, "MATCH");
            PICK(maker, patterns);
        }
        if (sometimes(maker, 3)) {
            push(maker, "COUNT");
            PICK(maker, integers);
        }
        break;
    case 3:
        PICK(maker, one_field);
        PICK(maker, keys);
        PICK(maker, fields);
        break;
    default:
        PICK(maker, field_value);
        PICK(maker, keys);
        PICK(maker, fields);
        if (sometimes(maker, 2))
            PICK(maker, values);
        else
            PICK(maker, integers);
        break;
    }
}

static inline void make_relocation(struct command_maker *maker)
{
    static const char *const names[] = {"RENAME", "RENAMENX", "COPY", "COPY"};
    static const char *const databases[] = {"0", "1", "2", "2", "16", "x"};

    PICK(maker, names);
    PICK(maker, keys);
    PICK(maker, keys);
    if (maker->arguments[0].size > 4) return; /* no options */
    if (sometimes(maker, 2)) push(maker, "REPLACE");
    if (sometimes(maker, 2)) {
        push(maker, "DB");
        PICK(maker, databases);
    }
    if (sometimes(maker, 20)) push(maker, "bad");
}

static inline void make_command(struct command_maker *maker)
{
    maker->count = 0;
    switch (random_below(&maker->random, 11)) {
    case 10:
        make_relocation(maker);
        break;
    case 0:
    case 1:
        make_set(maker);
        break;
    case 2:
        make_getex(maker);
        break;
    case 3:
        make_expire(maker);
        break;
    case 4:
        make_many_keys(maker);
        break;
    case 5:
        make_pairs(maker);
        break;
    case 6:
        make_string(maker);
        break;
    case 7:
    case 8:
        make_hash(maker);
        break;
    default:
        make_one_key(maker);
        break;
    }
    if (sometimes(maker, 500)) {
        maker->count = 0;
        push(maker, sometimes(maker, 2) ? "FLUSHDB" : "FLUSHALL");
    } else if (sometimes(maker, 300)) {
        maker->count = 0;
        push(maker, "SWAPDB");
        push(maker, "0");
        push(maker, sometimes(maker, 2) ? "1" : "2");
    }
}

#endif
