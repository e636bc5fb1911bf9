/* identity.h - who a data directory is: DIR/identity, and the tables kept beside it.
 *
 * DIR/identity ("HOLONID1", see sealed_file.h), replaced durably as one step:
 *   u8 state | u64 u64 cluster | u32 node | u64 store | u32 epoch first, last, next |
 *   u32 proposal | u32 stores | u32 partitions | u32 replicas | u8 reads | u8 flags | name |
 *   u32 epoch spoken (0.1.0 does not write or read it)
 * DIR/table ("HOLONTB1"): the newest cluster view this node has seen (view_codec.h).
 * DIR/store-N/owner ("HOLONOW1"): u64 u64 cluster | u32 node | u64 store | u32 N: whose engine
 *   lies beside it, so that stores of other nodes and other numbers are told apart (F32).
 * DIR/birth ("HOLONTB1"): the view of the founding, never changed: what its replicas were born
 *   with. Absent in a directory that joined later: its replicas are born as learners.
 *
 * Every start takes the next boot epoch and makes that durable before any group runs (rule
 * B1): epochs never repeat. They come in blocks from meta, so that a node can start while
 * meta has no quorum: its replicas vote and lead, its clients are served once meta has registered
 * the epoch. Calls block; only while starting, or in jobs. */
#ifndef HOLON_CLUSTER_IDENTITY_H
#define HOLON_CLUSTER_IDENTITY_H

#include "cluster/sealed_file.h"
#include "cluster/view.h"

enum {
    EPOCH_BLOCK_SIZE = 16,
    EPOCH_BLOCK_LOW = 8, /* fewer left than this: ask meta for a new block */
};

enum identity_state {
    IDENTITY_ACCEPTED = 1, /* a founding was accepted, not yet every member has (founding.h) */
    IDENTITY_MEMBER = 2,
};

struct identity {
    enum identity_state state;
    struct cluster_id cluster;
    node_id_t node;
    store_id_t store;
    char name[NODE_NAME_SIZE_MAX];
    /* Reserved block, both included, and the next one to take. next > last: the block is used
     * up; then epochs go on. */
    boot_epoch_t epoch_first, epoch_last, epoch_next;
    /* The last one that meta may have heard of, durable before: a start of this directory spoke
     * under it. If a table knows a later one, this disk is an older image (F11, node_confirm.c).
     * Starts that ended while they were mute took epochs, but did not speak. */
    boot_epoch_t epoch_spoken;
    uint32_t proposal; /* of the founding that made it; 0: it joined as a wiped node */
    uint32_t stores;   /* number of engine stores that the data is spread over; never changes */
    uint32_t partitions, replicas; /* settings of the founding */
    enum reads_mode reads;
    /* All replicas were born, durably: from now on one that is missing in the log is lost and
     * must not be born again (FAULTS rule 9). */
    bool born;
    /* Log and stores were made, and say whose they are: from now on they are missed. */
    bool made;
    bool clean; /* the last process ended by a clean stop */
};

/* STATUS_NOT_FOUND: there is none. STATUS_CORRUPT, STATUS_VERSION, STATUS_IO: *error says what
 * is wrong with which file and what to do. */
enum status identity_load(struct world *world, const char *directory, struct identity *ret_identity,
                          struct error *error);
enum status identity_save(struct world *world, const char *directory,
                          const struct identity *identity, struct error *error);
/* Takes the next boot epoch; durable when it returns. */
enum status identity_take_epoch(struct world *world, const char *directory,
                                struct identity *identity, boot_epoch_t *ret_epoch,
                                struct error *error);

/* The file "owner" in the directory of store `number`. Check: STATUS_NOT_FOUND, STATUS_CORRUPT
 * (damaged, or of another node or store), STATUS_VERSION. */
enum status store_owner_save(struct world *world, const char *store_directory,
                             const struct identity *identity, uint32_t number, struct error *error);
enum status store_owner_check(struct world *world, const char *store_directory,
                              const struct identity *identity, uint32_t number,
                              struct error *error);

/* As sealed_file_compare(), of DIR/identity and of the file "owner". */
enum status identity_compare(struct world *world, const char *directory,
                             const struct identity *identity, uint64_t *ret_offset,
                             struct error *error);
enum status store_owner_compare(struct world *world, const char *store_directory,
                                const struct identity *identity, uint32_t number,
                                uint64_t *ret_offset, struct error *error);

#define VIEW_MAGIC "HOLONTB1"
#define VIEW_COPY_FILE "table-copy"

/* `file`: "table", its copy or "birth". *ret_view must be initialised; its `self` is left alone. */
enum status view_file_load(struct world *world, const char *directory, const char *file,
                           struct cluster_view *ret_view, struct error *error);
enum status view_file_save(struct world *world, const char *directory, const char *file,
                           const struct cluster_view *view, struct error *error);
/* DIR/table and then its copy; `body` is an encoded view. */
enum status view_table_save(struct world *world, const char *directory, struct bytes body,
                            struct error *error);
/* DIR/table, or its copy if that is damaged or missing: then *ret_copy, and *error says what was
 * wrong. STATUS_CORRUPT: neither can be read, *ret_view is empty. Else as view_file_load(). */
enum status view_table_load(struct world *world, const char *directory,
                            struct cluster_view *ret_view, bool *ret_copy, struct error *error);

/* What a directory without DIR/identity holds. */
enum directory_content {
    DIRECTORY_EMPTY,           /* it may found a cluster */
    DIRECTORY_QUARANTINE_ONLY, /* evidence of an earlier life: it rejoins and never founds */
    DIRECTORY_LOST_IDENTITY,   /* log, stores or tables: the identity is missing (F29) */
};
/* STATUS_REFUSED: files are there that no node has written; the error names one (F32). */
enum status directory_check_empty(struct world *world, const char *directory,
                                  enum directory_content *ret_content, struct error *error);

/* "0123456789abcdef0123456789abcdef". */
enum { CLUSTER_ID_TEXT_SIZE = 33 };
void cluster_id_print(struct cluster_id id, char ret_text[CLUSTER_ID_TEXT_SIZE]);
static inline bool cluster_id_is_none(struct cluster_id id)
{
    return id.high == 0 && id.low == 0;
}

const char *reads_mode_name(enum reads_mode reads);

#endif
