/* stage.h - values that are sent ahead of their command, because both together are more than
 * one log entry may hold (DESIGN.md 6, staged writes).
 *
 *   gateway                                   leader of the key's partition
 *   stage: key, no id, 0, first bytes   ->    chunks under a fresh id; reply: the id
 *   stage: key, id, offset, more bytes  ->    chunks; each is an entry of its own
 *   the command, with a reference {id, size}  the key's row names the id: visible, at once
 *
 * Until the last step a garbage record of kind STAGED holds how much arrived and when the last of
 * it (stage_clock.h): from then on it is kept for limits.stage_timeout_ms. The command takes the
 * record away, and refuses if it is not there or says another size. A record that nobody came for
 * becomes one of kind PARTS: whole or absent, and nothing is left behind. The id is {index of the
 * first stage's entry, number}. */
#ifndef HOLON_SERVICES_REDIS_STAGE_H
#define HOLON_SERVICES_REDIS_STAGE_H

#include "services/redis/parts.h"
#include "services/redis/request_body.h"

enum {
    REDIS_STAGE_EFFECTS = 128, /* of keeping or taking its record, at most */
};

/* A request with REDIS_BODY_STAGE: arguments key, id (empty, or 10 bytes), offset (u64), bytes. */
enum evaluate_result redis_stage_evaluate(struct redis_call *call);
/* The reply to a first stage. False: it is another reply. */
bool redis_stage_reply_parse(struct bytes reply, struct redis_part_id *ret_id);
bool redis_stage_reply_is_ok(struct bytes reply);

/* The reference that stands for arguments[index], or NULL. */
const struct redis_reference *redis_reference_of(const struct redis_call *call, uint32_t index);
/* Before the evaluation of a command with references: is everything there? If not, the error is
 * the reply. ROW_STOP as always. */
enum row_result redis_stage_check(struct redis_call *call, bool *ret_whole);
/* Takes what arguments[index] refers to: it belongs to the caller's row now. False: ROW_STOP was
 * met, and *ret_result is what to return. */
bool redis_stage_adopt(struct redis_call *call, struct bytes row_key, uint32_t index,
                       struct redis_parts *ret_parts, enum evaluate_result *ret_result);
/* After the evaluation of a command: what it did not adopt becomes garbage. ROW_STOP as always. */
enum row_result redis_stage_drop_rest(struct redis_call *call);

#endif
