/* join_file.h - DIR/joining ("HOLONJN1", see sealed_file.h): a node that has asked a cluster for a
 * place, or is about to, and has not written down that it has one. While it is there the directory
 * founds nothing: the cluster may have given it a place already, which it gets again when it asks
 * with the same store, nonce and name.
 *   u64 store | u64 nonce | name | u8 count, each: address
 * Calls block; only while starting. */
#ifndef HOLON_CLUSTER_JOIN_FILE_H
#define HOLON_CLUSTER_JOIN_FILE_H

#include "cluster/sealed_file.h"
#include "cluster/view.h"

enum { JOIN_ADDRESSES_MAX = 16 };

struct join_file {
    store_id_t store;
    uint64_t nonce;
    char name[NODE_NAME_SIZE_MAX];
    uint32_t address_count;
    char addresses[JOIN_ADDRESSES_MAX][ADDRESS_SIZE_MAX];
};

/* STATUS_NOT_FOUND: there is none. STATUS_CORRUPT and others: the error says what to do. */
enum status join_file_load(struct world *world, const char *directory, struct join_file *ret_file,
                           struct error *error);
enum status join_file_save(struct world *world, const char *directory, const struct join_file *file,
                           struct error *error);
/* Durably; none there is fine. */
enum status join_file_remove(struct world *world, const char *directory, struct error *error);

#endif
