/* raft_codec.h - raft messages on the wire, many groups in one frame.
 *
 * Frame payload: messages one after the other. Message: u8 type | u8 flags (1 reject, 2
 * transfer) | u32 group | u64 from replica | u64 to replica | u32 from node | u32 to node |
 * then varints: term, index, log_term, commit, everywhere (all members have the entries up to
 * there), hint_index, hint_term, promise, entry count | entries: varint term, u8 type, varint size,
 * body. Entry indexes follow from `index`.
 * Thread: any. */
#ifndef HOLON_RAFT_RAFT_CODEC_H
#define HOLON_RAFT_RAFT_CODEC_H

#include "base/codec.h"
#include "raft/raft.h"

enum { RAFT_ENTRY_BODY_MAX = 320 << 10 };

/* STATUS_FULL: the buffer's limit; nothing was appended. */
enum status raft_message_encode(const struct raft_message *message, struct buffer *buffer);
/* Decodes the next message of a frame. Allocates its entries (owned by ret_message; give them
 * to raft_step() or raft_message_clear()) from `memory` or NULL (raft.h). STATUS_CORRUPT on
 * anything out of bounds. */
enum status raft_message_decode(struct reader *reader, struct slabs *memory,
                                struct raft_message *ret_message);
void raft_message_clear(struct raft_message *message);

#endif
