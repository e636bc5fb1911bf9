/* fanout_internal.h - a running fan-out: fanout.c asks, fanout_answer.c gathers. */
#ifndef HOLON_SERVICES_REDIS_FANOUT_INTERNAL_H
#define HOLON_SERVICES_REDIS_FANOUT_INTERNAL_H

#include "services/redis/frontend.h"

enum {
    KEYS_BYTES_MAX = 32 << 20, /* of one KEYS or split MGET reply */
};

enum fanout_kind {
    FAN_VALUES,
    FAN_SUM,
    FAN_ALL,
    FAN_KEYS,
    FAN_RANDOM,
    FAN_SCAN,
    FAN_SLOT_COUNT, /* these two: slot_keys.h */
    FAN_SLOT_KEYS,
    FAN_CLIENTS, /* these two: gather.h */
    FAN_INFO,
};

struct gathering;

struct part {
    struct gateway_request request;
    struct fanout *fanout;
    uint32_t partition; /* asked; of a fan-out over partitions */
    bool open;          /* the gateway has it */
    bool again;         /* KEYS, SCAN: go on from `cursor` */
    uint64_t cursor;
    uint64_t number;     /* SUM, RANDOM: the answer; KEYS: keys so far */
    struct buffer reply; /* VALUES: elements; KEYS: keys; others: the reply */
    uint32_t key_count;  /* VALUES, SUM: keys of this partition */
    size_t read;         /* VALUES: offset of the next element while merging */
};

struct fanout {
    struct connection *connection;
    const struct redis_command *command;
    enum fanout_kind kind;
    bool submitting, silent, failed, picking;
    uint64_t started;
    size_t bytes; /* kept in all parts */
    uint32_t open_count, part_count;
    uint64_t answered; /* parts, in all rounds */
    struct part *parts;
    uint32_t key_count;
    uint32_t *key_parts;         /* VALUES: part of each key */
    struct gathering *gathering; /* CLIENTS, INFO */
    uint64_t keys_most;          /* SLOT_KEYS: how many are wanted */
    /* KEYS, SCAN: arguments of each step, copied; the first is the cursor. INFO: its own. */
    struct bytes *scan_arguments;
    uint32_t scan_count;
    struct buffer scan_text;
    struct buffer error; /* the first one */
};

/* fanout.c */
struct fanout *fanout_make(struct connection *connection, const struct redis_command *command,
                           enum fanout_kind kind, uint32_t part_count);
/* Copies arguments that are needed again, behind the first one. */
void fanout_keep_options(struct fanout *fanout, const struct bytes *options, uint32_t count);
/* With a part for each partition that a command about the whole database is about: all, on the
 * cluster port those that this node leads. What flushes asks those without a leader, too: no
 * node would. */
struct fanout *fanout_make_over_partitions(struct connection *connection,
                                           const struct redis_command *command,
                                           enum fanout_kind kind);
/* Sends what is to be sent first: to parts that go on, from their cursor. */
void fanout_begin(struct fanout *fanout);
/* The same, without arguments, to each partition. */
void fanout_submit_everywhere(struct fanout *fanout, const struct redis_command *command);

/* fanout_answer.c */
void fanout_on_reply(struct gateway_request *request, enum gateway_outcome outcome,
                     struct bytes reply);
/* The first error is the answer; later ones are not looked at. */
void fanout_fail(struct fanout *fanout, const char *text);
/* Writes the reply and ends the fan-out. */
void fanout_finish(struct fanout *fanout);
void fanout_free(struct fanout *fanout);

#endif
