/* sim_disk.h - the inside of a simulated disk, shared by sim_files.c (calls of processes) and
 * sim_disk.c (content, crashes). */
#ifndef HOLON_SIM_SIM_DISK_H
#define HOLON_SIM_SIM_DISK_H

#include "sim/sim_files.h"
#include "storage/engine/engine.h"

struct sim_page {
    uint8_t *now;    /* NULL: zeros */
    uint8_t *before; /* content at the last sync; NULL: zeros, if `dirty` */
    uint8_t dirty;   /* one bit per sector written since */
};

struct sim_inode {
    uint32_t references; /* names (present and durable), pending operations, open files */
    bool directory;
    struct sim_process *locked_by;
    uint64_t size, size_durable;
    struct sim_page *pages;
    uint32_t page_count;
    uint32_t *dirty; /* numbers of dirty pages */
    uint32_t dirty_count, dirty_capacity;
    uint64_t bad_sector; /* its number + 1: it cannot be read; 0: all can */
    /* Of a directory in which a store was opened: the content of its engine, which so moves and
     * vanishes with it. Owned. */
    struct engine_memory_disk *engine;
};

enum sim_write_fate { SIM_WRITE_HONEST, SIM_WRITE_LOST, SIM_WRITE_MISDIRECTED };

struct sim_name {
    char path[SIM_PATH_SIZE_MAX];
    struct sim_inode *inode;
};

struct sim_names {
    struct sim_name *names;
    uint32_t count, capacity;
};

enum sim_name_change { SIM_NAME_CREATE, SIM_NAME_RENAME, SIM_NAME_REMOVE };

struct sim_name_op { /* not yet durable */
    enum sim_name_change change;
    char path[SIM_PATH_SIZE_MAX], to[SIM_PATH_SIZE_MAX];
    struct sim_inode *inode; /* create */
};

struct sim_disk {
    struct sim *sim;
    struct sim_disk_options options;
    struct sim_names now, durable;
    struct sim_name_op *ops;
    uint32_t op_count, op_capacity;
    uint64_t used;
    uint64_t syncs;
    enum sim_write_fate fate; /* of the next write to a path with fate_part (sim_damage.c) */
    char fate_part[64];
};

/* sim_damage.c: true if the disk has taken the write and not done it as told. */
bool sim_disk_write_goes_wrong(struct sim_disk *disk, struct sim_inode *inode, const char *path,
                               uint64_t offset, struct bytes bytes);

struct sim_inode *sim_inode_make(bool directory);
void sim_inode_release(struct sim_disk *disk, struct sim_inode *inode);
/* Grows with zeros or cuts; not durable until synced. */
void sim_inode_resize(struct sim_disk *disk, struct sim_inode *inode, uint64_t size);
void sim_inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                     struct bytes bytes);
void sim_inode_read(const struct sim_inode *inode, uint64_t offset, uint8_t *into, size_t size);
void sim_inode_sync(struct sim_inode *inode);
/* Each dirty sector survives `percent` times out of 100; then nothing is dirty. */
void sim_inode_lose(struct sim_disk *disk, struct sim_inode *inode, uint32_t percent);

struct sim_inode *sim_names_get(const struct sim_names *names, const char *path);
/* Takes a reference; replaces what was there. */
void sim_names_put(struct sim_disk *disk, struct sim_names *names, const char *path,
                   struct sim_inode *inode);
void sim_names_remove(struct sim_disk *disk, struct sim_names *names, const char *path);
void sim_disk_name_op(struct sim_disk *disk, enum sim_name_change change, const char *path,
                      const char *to, struct sim_inode *inode);
/* If `path` lies below the directory `from`, it lies below `to` afterwards. */
bool sim_path_move(char *path, const char *from, const char *to);
bool sim_names_has_parent(const struct sim_names *names, const char *path);
void sim_disk_make_durable(struct sim_disk *disk, const struct sim_name_op *op);
/* Pending operations in a directory (path without trailing slash) become durable. */
void sim_disk_sync_dir(struct sim_disk *disk, const char *path);

#endif
