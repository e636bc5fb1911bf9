/* rest_board.h - what all workers of a node know of the workers of other nodes while groups rest
 * (rest.c, decision 0009): who beats, and who rests. The one thing beside the log that workers
 * share; small, behind a mutex, looked at a few times a second, and only where there is news.
 *
 * A beat is for TRANSPORT_ANY_WORKER of a node: whoever gets it writes it down here, and no sibling
 * is woken. It is no heartbeat: no lease and no promise ever comes of it.
 *
 * Times are of the own boot clock. They are compared by addition: a sibling may have written down
 * one that is later than the reader's. Thread: any. */
#ifndef HOLON_PARTITION_REST_BOARD_H
#define HOLON_PARTITION_REST_BOARD_H

#include "partition/rest_frame.h"

struct rest_board;

struct rest_board *rest_board_create(void);
void rest_board_destroy(struct rest_board *board); /* NULL is fine */

/* False: older than what is known of the worker, or nobody's. */
bool rest_board_hear(struct rest_board *board, node_id_t node, boot_epoch_t epoch, uint32_t worker,
                     const struct rest_beat *beat, uint64_t now);

struct rest_node {
    uint64_t heard_at; /* any of its workers; 0: never */
    int64_t wall_offset;
};
void rest_board_node(struct rest_board *board, node_id_t node, struct rest_node *ret);
/* All nodes ever heard of (bit: id - 1), or 0: nobody was heard since *seen, which is set. Takes no
 * lock. */
uint64_t rest_board_news(struct rest_board *board, uint64_t *seen);

struct rest_worker {
    boot_epoch_t epoch; /* of its node */
    uint64_t heard_at;  /* 0: never */
    uint32_t withdrawals;
};
void rest_board_worker(struct rest_board *board, node_id_t node, uint32_t worker,
                       struct rest_worker *ret);

struct rest_vouch {
    bool now;    /* the last beat told this generation */
    uint64_t at; /* when a beat last did; 0: never */
};
/* Does the worker of that start of the node rest as `generation`? */
struct rest_vouch rest_board_vouch(struct rest_board *board, node_id_t node, boot_epoch_t epoch,
                                   uint32_t worker, uint64_t generation);

#endif
