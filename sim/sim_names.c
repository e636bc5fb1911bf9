/* Names on a simulated disk: those that are there, those that are durable, and the changes
 * between the two that a power loss may take. */
#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_disk.h"

#include <stdio.h>

struct sim_inode *sim_names_get(const struct sim_names *names, const char *path)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i].path, path) == 0) return names->names[i].inode;
    return NULL;
}

void sim_names_remove(struct sim_disk *disk, struct sim_names *names, const char *path)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->names[i].path, path) != 0) continue;
        struct sim_inode *inode = names->names[i].inode;
        names->names[i] = names->names[--names->count];
        sim_inode_release(disk, inode);
        return;
    }
}

void sim_names_put(struct sim_disk *disk, struct sim_names *names, const char *path,
                   struct sim_inode *inode)
{
    inode->references++;
    sim_names_remove(disk, names, path);
    if (names->count == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 16;
        names->names = memory_resize(names->names, names->capacity * sizeof(*names->names));
    }
    struct sim_name *name = &names->names[names->count++];
    snprintf(name->path, sizeof(name->path), "%s", path);
    name->inode = inode;
}

void sim_disk_name_op(struct sim_disk *disk, enum sim_name_change change, const char *path,
                      const char *to, struct sim_inode *inode)
{
    if (disk->op_count == disk->op_capacity) {
        disk->op_capacity = disk->op_capacity ? disk->op_capacity * 2 : 16;
        disk->ops = memory_resize(disk->ops, disk->op_capacity * sizeof(*disk->ops));
    }
    struct sim_name_op *op = &disk->ops[disk->op_count++];
    *op = (struct sim_name_op){.change = change, .inode = inode};
    snprintf(op->path, sizeof(op->path), "%s", path);
    if (to) snprintf(op->to, sizeof(op->to), "%s", to);
    if (inode) inode->references++;
}

bool sim_path_move(char *path, const char *from, const char *to)
{
    char moved[SIM_PATH_SIZE_MAX * 2];
    size_t size = strlen(from);

    if (strncmp(path, from, size) != 0 || path[size] != '/') return false;
    snprintf(moved, sizeof(moved), "%s%s", to, path + size);
    ASSERT(strlen(moved) < SIM_PATH_SIZE_MAX);
    memcpy(path, moved, strlen(moved) + 1);
    return true;
}

bool sim_names_has_parent(const struct sim_names *names, const char *path)
{
    char parent[SIM_PATH_SIZE_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path) return true;
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    return sim_names_get(names, parent) != NULL;
}

void sim_disk_make_durable(struct sim_disk *disk, const struct sim_name_op *op)
{
    struct sim_inode *inode;

    switch (op->change) {
    case SIM_NAME_CREATE:
        sim_names_put(disk, &disk->durable, op->path, op->inode);
        return;
    case SIM_NAME_RENAME:
        inode = sim_names_get(&disk->durable, op->path);
        if (inode == NULL) return;
        sim_names_put(disk, &disk->durable, op->to, inode);
        sim_names_remove(disk, &disk->durable, op->path);
        for (uint32_t i = 0; inode->directory && i < disk->durable.count; i++)
            sim_path_move(disk->durable.names[i].path, op->path, op->to);
        return;
    case SIM_NAME_REMOVE:
        sim_names_remove(disk, &disk->durable, op->path);
        return;
    }
}

static bool is_in_dir(const char *path, const char *dir)
{
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 0;

    return strlen(dir) == size && strncmp(path, dir, size) == 0;
}

void sim_disk_sync_dir(struct sim_disk *disk, const char *path)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < disk->op_count; i++) {
        struct sim_name_op op = disk->ops[i];
        if (!is_in_dir(op.path, path) && !(op.to[0] && is_in_dir(op.to, path))) {
            disk->ops[kept++] = op;
            continue;
        }
        sim_disk_make_durable(disk, &op);
        if (op.inode) sim_inode_release(disk, op.inode);
    }
    disk->op_count = kept;
}
