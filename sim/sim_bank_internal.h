/* sim_bank_internal.h - shared by sim_bank.c (connections), sim_bank_keys.c (names),
 * sim_bank_moves.c (who moves money) and sim_bank_reads.c (who counts it). */
#ifndef HOLON_SIM_SIM_BANK_INTERNAL_H
#define HOLON_SIM_SIM_BANK_INTERNAL_H

#include "base/buffer.h"
#include "sim/sim_bank.h"
#include "sim/sim_resp.h"

enum {
    SIM_BANK_KEY_SIZE_MAX = 32,
    SIM_BANK_GENERATIONS_MAX = 64,                  /* counters of a mover; then it stops */
    SIM_BANK_COUNTED_MAX = 2 * SIM_BANK_MOVERS_MAX, /* counters in one read */
    SIM_BANK_VALUES_MAX = SIM_BANK_ACCOUNTS + SIM_BANK_COUNTED_MAX,
};

enum sim_bank_role { SIM_BANK_MOVES, SIM_BANK_READS, SIM_BANK_SNAPSHOTS };

enum sim_bank_phase {
    SIM_BANK_IDLE,
    SIM_BANK_FOUNDS,   /* all the money was sent */
    SIM_BANK_LOOKS,    /* WATCH and two GETs were sent */
    SIM_BANK_EXECUTES, /* MULTI to EXEC */
    SIM_BANK_COUNTS,   /* a read of everything */
    SIM_BANK_OPENS,    /* HOLON.SNAPSHOT OPEN */
    SIM_BANK_WAITS,    /* it is open; others go on meanwhile */
    SIM_BANK_READS_AT, /* what reads at it, and CLOSE */
};

/* A counter of a mover: absent until its first transfer, retired by one of unknown outcome. So it
 * is `known`, or one more if another may have been done. */
struct sim_bank_counter {
    uint64_t known;          /* transfers that were acknowledged, each with its number */
    uint64_t told;           /* the most that anybody has seen */
    bool in_flight, unknown; /* one more transfer; nothing comes after an unknown one */
};

/* A counter in a read, and what it must be. */
struct sim_bank_counted {
    uint32_t mover, generation;
    uint64_t floor, ceiling;
};

struct sim_bank_client {
    struct sim_bank *bank;
    enum sim_bank_role role;
    uint32_t number; /* of a mover: of its counters, too */
    uint32_t node;
    bool stays; /* at its node */
    bool connecting, audited;
    bool gave_up; /* although its node lives */
    struct stream *stream;
    struct buffer input;
    struct world_timer next, give_up;
    enum sim_bank_phase phase;
    uint64_t sent_at;
    uint32_t turns, replies_due, replies_taken;
    bool queue_failed, read_failed, in_multi;
    /* A transfer. */
    bool watches;
    uint32_t account[2]; /* from, to */
    int64_t balance[2], amount;
    /* A read. */
    struct sim_bank_counted counted[SIM_BANK_COUNTED_MAX];
    uint32_t counted_count, value_count;
    int64_t values[SIM_BANK_VALUES_MAX]; /* of the accounts, then of what is counted */
    uint32_t audit_pass; /* of an audit: it reads counters of this generation, too */
    uint64_t asked_at;   /* for its snapshot */
};

struct sim_bank {
    struct sim *sim;
    struct sim_bank_options options;
    struct sim_machine machine;
    struct sim_process *process;
    char addresses[64][64];
    uint32_t address_count;
    char accounts[SIM_BANK_ACCOUNTS][SIM_BANK_KEY_SIZE_MAX];
    char tags[SIM_BANK_MOVERS_MAX][SIM_BANK_KEY_SIZE_MAX]; /* of a mover's counters */
    struct sim_bank_counter counters[SIM_BANK_MOVERS_MAX][SIM_BANK_GENERATIONS_MAX];
    uint32_t generations[SIM_BANK_MOVERS_MAX]; /* of the counter in use; those before are retired */
    struct sim_bank_client *all[SIM_BANK_CLIENTS_MAX];
    uint32_t count;
    bool open, running, auditing, healed;
    uint64_t healed_at, started_at;
    struct sim_bank_counts counts;
};

/* --- sim_bank.c --- */
uint64_t sim_bank_draw(struct sim_bank *bank, uint64_t bound);
struct world *sim_bank_world(struct sim_bank *bank);
/* What was appended leaves, and so many replies are to come. */
void sim_bank_sent(struct sim_bank_client *client, enum sim_bank_phase phase, uint32_t replies);
/* The client is done with what it did, and thinks. */
void sim_bank_end(struct sim_bank_client *client, const char *how);
void sim_bank_unexpected(struct sim_bank_client *client, const struct sim_reply *reply);
void sim_bank_command(struct buffer *output, uint32_t arguments, const char *name);

/* --- sim_bank_keys.c --- */
void sim_bank_name_keys(struct sim_bank *bank);
void sim_bank_account_key(struct buffer *output, const struct sim_bank *bank, uint32_t account);
void sim_bank_counter_key(struct buffer *output, const struct sim_bank *bank, uint32_t mover,
                          uint32_t generation);
/* The counter that a mover uses. */
struct sim_bank_counter *sim_bank_counter(struct sim_bank *bank, uint32_t mover);

/* --- sim_bank_moves.c --- */
/* MSET of all accounts. */
void sim_bank_send_money(struct sim_bank_client *client);
void sim_bank_send_transfer(struct sim_bank_client *client);
/* These take one reply; false: the connection is to be closed. */
bool sim_bank_take_money(struct sim_bank_client *client, const struct sim_reply *reply);
bool sim_bank_take_look(struct sim_bank_client *client, const struct sim_reply *reply);
bool sim_bank_take_moved(struct sim_bank_client *client, const struct sim_reply *reply,
                         struct bytes whole);
/* Whether it was done will never be told, so it is the last one on its counter. */
void sim_bank_lose_transfer(struct sim_bank_client *client);
/* Every counter that it may use is retired. */
bool sim_bank_is_spent(const struct sim_bank_client *mover);

/* --- sim_bank_reads.c --- */
void sim_bank_send_read(struct sim_bank_client *client);
void sim_bank_send_open(struct sim_bank_client *client);
/* The timer of a client that waits with an open snapshot. */
void sim_bank_send_read_at(struct sim_bank_client *client);
bool sim_bank_take_read(struct sim_bank_client *client, const struct sim_reply *reply,
                        struct bytes whole);
bool sim_bank_take_opened(struct sim_bank_client *client, const struct sim_reply *reply);
bool sim_bank_take_read_at(struct sim_bank_client *client, const struct sim_reply *reply,
                           struct bytes whole);

#endif
