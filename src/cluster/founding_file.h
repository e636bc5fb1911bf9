/* founding_file.h - DIR/founding ("HOLONFD1"): what a start on an empty directory must remember
 * over a crash until it is a member; removed then.
 *   u64 store | u64 token | u32 proposal | settings: u32 u32 u32 u8 | u8 member count |
 *   members: name, peer | view of the proposal until the end (none if proposal is 0) */
#ifndef HOLON_CLUSTER_FOUNDING_FILE_H
#define HOLON_CLUSTER_FOUNDING_FILE_H

#include "cluster/founding.h"

struct founding_file {
    store_id_t store;
    uint64_t token;
    uint32_t proposal; /* made by this node; 0: none */
    struct founding_settings settings;
    uint32_t member_count;
    struct founding_member members[FOUNDING_MEMBERS_MAX];
    struct cluster_view view; /* owned; of the proposal */
};

/* *ret_file is initialised by it; free with founding_file_free(), also after an error. */
enum status founding_file_load(struct world *world, const char *directory,
                               struct founding_file *ret_file, struct error *error);
enum status founding_file_save(struct world *world, const char *directory,
                               const struct founding_file *file, struct error *error);
void founding_file_free(struct founding_file *file);
void founding_file_remove(struct world *world, const char *directory); /* best effort */

#endif
