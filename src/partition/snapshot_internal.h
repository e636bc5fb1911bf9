/* snapshot_internal.h - shared by snapshot.c (the receiver) and snapshot_send.c.
 *
 * PEER_FRAME_SNAPSHOT:     u32 group | u64 from | u64 to | u64 leader's term | u64 transfer id |
 *                          u64 index | u64 term at index | u64 total (0: not known yet) |
 *                          u64 offset | bytes (none only where offset is the total)
 * PEER_FRAME_SNAPSHOT_ACK: u32 group | u64 from | u64 to | u64 transfer id | u64 next offset |
 *                          u8 state (0 receiving, 1 has it) | u64 limit: bytes at and behind it
 * have no room yet (missing in acks of 0.1.0: SNAPSHOT_WINDOW behind the next offset) Content: u32
 * size, record (replica.c) | rows in key order: u32 key size, key | u32 size, stored value. */
#ifndef HOLON_PARTITION_SNAPSHOT_INTERNAL_H
#define HOLON_PARTITION_SNAPSHOT_INTERNAL_H

#include <stdint.h>

#include "base/list.h"
#include "partition/host.h"
#include "partition/row_copies.h"

enum {
    SNAPSHOT_CHUNK = 256 << 10,
    SNAPSHOT_STREAMS_MAX = 2,               /* under way from one worker to one node */
    SNAPSHOT_WINDOW = 4 * SNAPSHOT_CHUNK,   /* sent or read ahead, and not taken yet */
    SNAPSHOT_BACKLOG = 8 * SNAPSHOT_CHUNK,  /* received and not yet given to the sorted run */
    SNAPSHOT_LOAD_NOW = 4 * SNAPSHOT_CHUNK, /* rows of one this small are loaded at once */
    SNAPSHOT_RECORD_MAX = 64 << 20,
    SNAPSHOT_RESEND_US = 500 * 1000,
    SNAPSHOT_GIVE_UP_US = 20 * 1000 * 1000,
    SNAPSHOT_ACK_RECEIVING = 0,
    SNAPSHOT_ACK_INSTALLED = 1,
};
#define SNAPSHOT_BYTES_MAX ((uint64_t)1 << 40)

struct partition_host;
struct replica;

struct snapshot_turn { /* snapshot_turns.c; part of a send */
    struct list link;  /* host->snapshots_waiting */
    struct replica *replica;
    node_id_t to;
    bool taken; /* one of SNAPSHOT_STREAMS_MAX */
    void (*begin)(struct snapshot_turn *turn);
};

struct snapshot_cut { /* snapshot_cut.c; part of a send */
    struct replica *replica;
    struct row_cut cut;
    struct world_timer timer;
    bool under_way;
    struct buffer rows, replaced; /* row_copies.h */
    void (*done)(struct snapshot_cut *cut);
};
void snapshot_cut_init(struct snapshot_cut *cut, void (*done)(struct snapshot_cut *));
/* Now, in this turn; else snapshot_cuts_begin() is called when it may. */
bool snapshot_cut_may_begin(const struct replica *replica);
/* As of what is applied and in the engine in this turn; done() is called now or in a later one. */
void snapshot_cut_begin(struct snapshot_cut *cut, struct replica *replica);
void snapshot_cut_cancel(struct snapshot_cut *cut); /* before the replica's table goes */
void snapshot_cut_free(struct snapshot_cut *cut);
uint64_t snapshot_cut_bytes(const struct snapshot_cut *cut); /* of memory */

struct copy_turn { /* copy_turns.c; part of a send or a receive: for the next piece */
    struct list link;
    uint64_t since;
    uint64_t taken; /* bytes of the rate: it came, and the piece is not there yet */
    void (*go)(struct copy_turn *turn);
};
void copy_turn_init(struct copy_turn *turn, void (*go)(struct copy_turn *turn));
/* Whether the next piece may go now. Otherwise go() is called once it may. It has SNAPSHOT_CHUNK of
 * the rate then, which others do not get meanwhile. */
bool copy_turn_comes(struct partition_host *host, struct copy_turn *turn, struct group_id group);
/* It was of so many bytes. */
void copy_turn_took(struct partition_host *host, struct copy_turn *turn, uint64_t bytes);
/* No piece comes any more: what it took is given back. */
void copy_turn_end(struct partition_host *host, struct copy_turn *turn);

struct snapshot_progress { /* of one that is sent, or waits for its turn */
    node_id_t to;
    uint64_t acked, produced; /* bytes of the content */
    bool ended;               /* produced is the total */
};
/* The `index`-th of a replica; false: there are not so many. */
bool snapshot_progress_at(const struct replica *replica, uint32_t index,
                          struct snapshot_progress *ret);
bool snapshot_progress_to(const struct replica *replica, struct replica_id to,
                          struct snapshot_progress *ret);

/* Calls begin() now or in a later turn. */
void snapshot_turn_wait(struct snapshot_turn *turn);
/* Whether it waits or was begun. */
void snapshot_turn_end(struct partition_host *host, struct snapshot_turn *turn);

#endif
