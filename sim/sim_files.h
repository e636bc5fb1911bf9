/* sim_files.h - the disk of a simulated machine, with honest crash semantics.
 *
 * A file is pages; reads see the newest content (the page cache). What was written since the
 * last sync keeps the content it replaced, sector by sector (512 bytes), until a sync forgets
 * it. kill -9 loses nothing that a completed call wrote. A power loss lets any subset of the
 * unsynced sectors, sizes and names survive (F03, F20, F30). A failed sync (F26) loses any
 * subset of what was dirty, now or at the next power loss. Names: any subset of the creates,
 * renames and removals since the last sync of their directory, in order, each atomic.
 * Thread: one. */
#ifndef HOLON_SIM_SIM_FILES_H
#define HOLON_SIM_SIM_FILES_H

#include "sim/sim_process.h"

enum { SIM_PAGE_SIZE = 4096, SIM_SECTOR_SIZE = 512, SIM_PATH_SIZE_MAX = 192 };
enum { SIM_DISK_CAPACITY = 1 << 30 }; /* unless a fault makes it less */

struct sim_disk_options {
    uint64_t capacity;        /* F27; bytes */
    uint32_t sync_fail_ppm;   /* F26: chance per sync */
    uint32_t run_fail_ppm;    /* F26: the same for runs of engines */
    uint32_t survive_percent; /* of unsynced sectors at a power loss; > 100: drawn each time */
    bool torn;                /* F20: about half of them at the next power loss */
    /* Power fails at the next sync that would make something durable: of a file, torn; or of a
     * directory, and the names are lost. */
    bool power_at_sync, power_at_names;
};

struct sim_disk *sim_disk_make(struct sim *sim);
void sim_disk_free(struct sim_disk *disk);
struct sim_disk_options *sim_disk_options(struct sim_disk *disk);
/* No process may have files open. */
void sim_disk_power_loss(struct sim_disk *disk);
void sim_disk_wipe(struct sim_disk *disk);
/* `to` becomes what `from` holds now, durably (F11). No process may have files of `to` open. */
void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from);
/* An empty directory, durably, as an operator makes it before the first start. */
void sim_disk_make_dir(struct sim_disk *disk, const char *path);
/* F22: flips a bit of a durable byte in a file whose path contains `part`, at `offset`.
 * False: no such byte. */
bool sim_disk_flip(struct sim_disk *disk, const char *part, uint64_t offset);
/* Size of the first file whose path contains `part`; 0 if there is none. */
uint64_t sim_disk_file_size(struct sim_disk *disk, const char *part);
/* Bytes of all files whose path contains `part`, but not `without`. */
uint64_t sim_disk_bytes_of(struct sim_disk *disk, const char *part, const char *without);
/* The offset behind the last nonzero byte of that file, or 0. */
uint64_t sim_disk_content_end(struct sim_disk *disk, const char *part);
/* The content of the first file whose path contains `part`, allocated; data NULL: none. And back:
 * as an operator copies one file of an older image, durably (F11). */
struct bytes sim_disk_take_copy(struct sim_disk *disk, const char *part);
bool sim_disk_put_copy(struct sim_disk *disk, const char *part, struct bytes content);
uint64_t sim_disk_used(const struct sim_disk *disk);
uint64_t sim_disk_syncs(const struct sim_disk *disk);

void sim_files_end(struct sim_process *process);

enum status sim_file_open(struct world *world, const char *path, unsigned flags,
                          struct file **ret_file, struct error *error);
enum status sim_file_read(struct file *file, uint64_t offset, void *into, size_t size,
                          size_t *ret_size, struct error *error);
enum status sim_file_write(struct file *file, uint64_t offset, struct bytes bytes,
                           struct error *error);
enum status sim_file_sync(struct file *file, struct error *error);
enum status sim_file_allocate(struct file *file, uint64_t size, struct error *error);
enum status sim_file_truncate(struct file *file, uint64_t size, struct error *error);
enum status sim_file_size(struct file *file, uint64_t *ret_size, struct error *error);
enum status sim_file_lock(struct file *file, struct error *error);
void sim_file_close(struct file *file);
enum status sim_rename(struct world *world, const char *from, const char *to, struct error *error);
enum status sim_remove(struct world *world, const char *path, struct error *error);
enum status sim_make_dir(struct world *world, const char *path, struct error *error);
enum status sim_sync_dir(struct world *world, const char *path, struct error *error);
enum status sim_list_dir(struct world *world, const char *path, void *context,
                         void (*on_name)(void *, const char *), struct error *error);
enum status sim_free_space(struct world *world, const char *path, uint64_t *ret_bytes,
                           struct error *error);

#endif
