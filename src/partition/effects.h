/* effects.h - what goes through the log: effects, not commands (DESIGN.md 2, 15).
 *
 * Entry body (RAFT_ENTRY_NORMAL): header, then effects until the end. Little-endian.
 *   header: u8 format (1; 2: asked for by transactions, see below) | u8 flags | u32 node | u32 boot
 * epoch | u16 worker | u64 seq | u16 attempt | u16 watermark distance (seq - watermark) | i64 entry
 * time (us) | i64 commit time (0 if none) | u32 outcome size | outcome effect: u8 kind | put:
 * varint key size, key, u8 type, u8 flags, u64 expiry, varint size, value insert: as put; the key
 * had no live row, so that counts stay exact on a replica that does not hold all rows in memory. A
 * delete is of a live row. delete: varint key size, key add:    varint key size, key, i64 delta
 * (value is an i64; absent counts as 0) drop:   u8 service, u32 namespace        (all rows of the
 * namespace) fence:  u32 node, u32 boot epoch         (rule B4) cut:    u8 1 (take) or 0 (close),
 * u64 cut, i64 lifetime (us)   (cut.h) On a replica that does not hold all rows an add needs its
 * row in the table. Applying is blind and pure; an unknown kind or format stops the replica
 * (WHY 13.1). */
#ifndef HOLON_PARTITION_EFFECTS_H
#define HOLON_PARTITION_EFFECTS_H

#include "base/codec.h"
#include "base/ids.h"
#include "partition/row_table.h"

/* Entries of transactions differ in this number alone: a replica of before cluster version 4 would
 * apply their rows and pass over the locks that these mean, so it must stop at them (WHY 13.1). */
enum {
    ENTRY_FORMAT = 1,
    ENTRY_FORMAT_TXN = 2,
    ENTRY_HEADER_SIZE = 44,
    OUTCOME_SIZE_MAX = 16 << 10
};
enum { ENTRY_BODY_MAX = 300 << 10 };

enum effect_kind {
    EFFECT_PUT = 1,
    EFFECT_DELETE,
    EFFECT_ADD,
    EFFECT_DROP,
    EFFECT_FENCE,
    EFFECT_INSERT,
    EFFECT_CUT
};
/* Executed, but the reply was too big to keep; with an outcome, a text: the write was too big. */
enum entry_flags {
    ENTRY_OUTCOME_TOO_BIG = 1,
    ENTRY_PATIENT = 2, /* nobody waits for it: its sync may be that of what comes next. A hint,
                        * which nodes that do not know it pass over */
};

struct gateway_id { /* rule B1 */
    node_id_t node;
    boot_epoch_t epoch;
    uint16_t worker;
};

struct entry_header {
    uint8_t format; /* 0: ENTRY_FORMAT */
    uint8_t flags;
    struct gateway_id gateway; /* node 0: the system itself, no dedup */
    uint64_t seq;
    uint16_t attempt;
    uint16_t watermark_distance;
    int64_t entry_time; /* us since 1970 */
    int64_t commit_time;
    struct bytes outcome; /* the reply, for replay; borrowed */
};

struct effect {
    uint8_t kind;
    struct bytes key;
    struct row_header header; /* put, insert: type, flags, expiry */
    struct bytes value;
    union { /* as it has no more than one meaning, it is no larger for those that are seldom */
        int64_t delta;
        uint64_t cut; /* EFFECT_CUT */
    };
    union {
        uint8_t service;
        bool takes; /* EFFECT_CUT: it is taken, else closed */
    };
    uint32_t namespace;
    union {
        struct {
            node_id_t node;
            boot_epoch_t epoch;
        };
        int64_t lifetime; /* EFFECT_CUT, us */
    };
};

/* Encoders append the whole, or nothing and return false if the buffer's size_max forbids. */
bool entry_header_encode(const struct entry_header *header, struct buffer *buffer);
/* ENTRY_PATIENT, of the body of an entry of RAFT_ENTRY_NORMAL. */
bool entry_is_patient(struct bytes body);
/* Header, and *reader left at the first effect. STATUS_CORRUPT, STATUS_VERSION. */
enum status entry_header_decode(struct reader *reader, struct entry_header *ret_header);
/* STATUS_NOT_FOUND at the end; STATUS_VERSION for an unknown kind; STATUS_CORRUPT: cut short,
 * or a key or value of a size that no row has. Keys and values are borrowed from the input. */
enum status effect_decode(struct reader *reader, struct effect *ret_effect);
bool effect_put_encode(struct buffer *buffer, struct bytes key, const struct row_header *header,
                       struct bytes value);
bool effect_insert_encode(struct buffer *buffer, struct bytes key, const struct row_header *header,
                          struct bytes value);
/* Bytes from the end of the key to that of the effect, in a put or an insert: the value is last. */
size_t effect_size_behind_key(struct bytes value);
/* The key is last. */
bool effect_delete_encode(struct buffer *buffer, struct bytes key);
bool effect_add_encode(struct buffer *buffer, struct bytes key, int64_t delta);
bool effect_drop_encode(struct buffer *buffer, uint8_t service, uint32_t namespace);
bool effect_fence_encode(struct buffer *buffer, node_id_t node, boot_epoch_t epoch);
bool effect_cut_encode(struct buffer *buffer, bool takes, uint64_t cut, int64_t lifetime);
/* Applies put, insert, delete, add and drop to the table at `index` (fences and cuts are the
 * caller's). */
void effect_apply(const struct effect *effect, uint64_t index, bool proposed,
                  struct row_table *table);
/* The number that `add` finds in a value: an i64; anything of another size counts as 0. Sums
 * wrap around. A row that an add makes has type 1, no flags and no expiry. */
int64_t effect_add_base(struct bytes value);

#endif
