/* txn_turn.h - one evaluation for a transaction; what the files of txn_evaluate() share.
 *
 *   txn_evaluate.c     answers, pieces, and those that are only read
 *   txn_participant.c  PREPARE, RESOLVE
 *   txn_primary.c      DECIDE, QUERY, FORGET */
#ifndef HOLON_TXN_TXN_TURN_H
#define HOLON_TXN_TXN_TURN_H

#include "partition/row_context.h"
#include "txn/txn_frame.h"

/* What cannot be understood, as a newer node has sent or stored it: nothing is executed. */
#define NOT_UNDERSTOOD EVALUATE_OVER_BUDGET

struct turn {
    struct row_context *rows;
    const struct request *request;
    struct txn_frame frame;
    struct buffer *reply;
    size_t reply_at; /* where the answer begins in `reply` */
};

struct turn_key { /* of a row of SERVICE_TXN */
    uint8_t memory[TXN_ROW_KEY_SIZE];
};

/* Of the row of that kind that the frame is about; in `key`. */
struct bytes turn_key(const struct turn *turn, enum txn_row_kind kind, struct turn_key *key);
/* With what the piece replied. */
enum evaluate_result turn_answer(struct turn *turn, enum txn_status status);
/* Nothing is changed, and no reply follows. */
enum evaluate_result turn_answer_nothing(struct turn *turn, enum txn_status status);
/* The piece, by its service; what it consults goes to `reads`. */
enum evaluate_result turn_piece(struct turn *turn, struct row_reads *reads);
/* Of a piece that locks, or decides. True: there is nothing to be done any more, and *ret_result
 * says how it ends. */
bool turn_is_over(struct turn *turn, enum evaluate_result result, enum evaluate_result *ret_result);

enum evaluate_result turn_prepare(struct turn *turn);
enum evaluate_result turn_resolve(struct turn *turn);
enum evaluate_result turn_decide(struct turn *turn);
enum evaluate_result turn_query(struct turn *turn);
enum evaluate_result turn_forget(struct turn *turn);

#endif
