/* The file calls of struct world over a simulated disk. */
#include "sim/sim_files.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_disk.h"
#include "sim/sim_sweep.h"

#include <stdlib.h>

struct sim_file {
    struct file base;
    struct sim_disk *disk;
    struct sim_inode *inode;
    struct sim_process *process;
    unsigned flags;
    bool locked;
    bool broken; /* a sync failed */
    char path[SIM_PATH_SIZE_MAX];
    struct sim_file *next, **link;
};

static struct sim_process *process_of(struct world *world)
{
    return sim_world_of(world)->process;
}

static struct sim_disk *disk_of(struct world *world)
{
    return process_of(world)->machine->disk;
}

static enum status dead(struct error *error)
{
    return error_set(error, STATUS_IO, "the process is dead");
}

static enum status open_inode(struct world *world, struct sim_inode *inode, const char *path,
                              unsigned flags, struct file **ret_file)
{
    struct sim_process *process = process_of(world);
    struct sim_file *file = memory_allocate_zero(sizeof(*file));

    inode->references++;
    *file = (struct sim_file){.base.world = world,
                              .disk = disk_of(world),
                              .inode = inode,
                              .process = process,
                              .flags = flags,
                              .next = process->files,
                              .link = &process->files};
    snprintf(file->path, sizeof(file->path), "%s", path);
    if (file->next) file->next->link = &file->next;
    process->files = file;
    *ret_file = &file->base;
    return STATUS_OK;
}

static bool parent_exists(const struct sim_disk *disk, const char *path)
{
    char parent[SIM_PATH_SIZE_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path) return true;
    snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
    return sim_names_get(&disk->now, parent) != NULL;
}

enum status sim_file_open(struct world *world, const char *path, unsigned flags,
                          struct file **ret_file, struct error *error)
{
    struct sim_disk *disk = disk_of(world);

    if (process_of(world)->dead || process_of(world)->doomed) return dead(error);
    struct sim_inode *inode = sim_names_get(&disk->now, path);
    if (inode && inode->directory) return error_set(error, STATUS_IO, "%s: is a directory", path);
    if (inode && (flags & FILE_CREATE) && (flags & FILE_EXCLUSIVE))
        return error_set(error, STATUS_EXISTS, "%s: exists", path);
    if (inode) return open_inode(world, inode, path, flags, ret_file);
    if (!(flags & FILE_CREATE) || !parent_exists(disk, path))
        return error_set(error, STATUS_NOT_FOUND, "%s: no such file", path);
    if (sim_process_file_effect(process_of(world))) return dead(error);
    inode = sim_inode_make(false);
    sim_names_put(disk, &disk->now, path, inode);
    sim_disk_name_op(disk, SIM_NAME_CREATE, path, NULL, inode);
    return open_inode(world, inode, path, flags, ret_file);
}

enum status sim_file_read(struct file *base, uint64_t offset, void *into, size_t size,
                          size_t *ret_size, struct error *error)
{
    struct sim_file *file = (struct sim_file *)(void *)base;
    uint64_t left = offset < file->inode->size ? file->inode->size - offset : 0;

    if (size > left) size = (size_t)left;
    uint64_t bad = (file->inode->bad_sector - 1) * SIM_SECTOR_SIZE;
    if (file->inode->bad_sector && offset < bad + SIM_SECTOR_SIZE && bad < offset + size)
        return error_set(error, STATUS_IO, "cannot read %s: input/output error", file->path);
    sim_inode_read(file->inode, offset, into, size);
    *ret_size = size;
    return STATUS_OK;
}

/* Room for `size` as the new size of the inode. */
static bool fits(const struct sim_file *file, uint64_t size)
{
    const struct sim_disk *disk = file->disk;

    return size <= file->inode->size ||
           disk->used + (size - file->inode->size) <= disk->options.capacity;
}

static enum status no_space(struct sim_file *file, struct error *error)
{
    sim_fault_hit(file->disk->sim, SIM_FAULT_DISK_FULL);
    return error_set(error, STATUS_NO_SPACE, "%s: no space left", file->path);
}

enum status sim_file_write(struct file *base, uint64_t offset, struct bytes bytes,
                           struct error *error)
{
    struct sim_file *file = (struct sim_file *)(void *)base;
    struct sim *sim = file->disk->sim;

    ASSERT(file->flags & FILE_WRITE);
    if (file->process->dead || file->process->doomed) return dead(error);
    if (!fits(file, offset + bytes.size)) return no_space(file, error);
    if (sim_process_file_effect(file->process)) {
        /* Killed inside the call: any part of it may have reached the page cache. */
        if (sim_sweep_tears(sim)) sim_disk_options(file->disk)->torn = true;
        uint64_t part = bytes.size ? sim_below(sim, SIM_RANDOM_DISK, bytes.size + 1) : 0;
        sim_inode_write(file->disk, file->inode, offset, bytes_make(bytes.data, (size_t)part));
        return dead(error);
    }
    if (sim_disk_write_goes_wrong(file->disk, file->inode, file->path, offset, bytes))
        return STATUS_OK;
    sim_inode_write(file->disk, file->inode, offset, bytes);
    return STATUS_OK;
}

static void power_fails_now(struct sim_process *process)
{
    process->file_effects_left = 1;
    process->file_effects_end = SIM_END_POWER;
}

enum status sim_file_sync(struct file *base, struct error *error)
{
    struct sim_file *file = (struct sim_file *)(void *)base;
    struct sim *sim = file->disk->sim;
    struct sim_disk_options *options = &file->disk->options;

    if (options->power_at_sync && file->inode->dirty_count > 0) {
        options->power_at_sync = false;
        options->torn = true;
        power_fails_now(file->process);
    }
    if (sim_process_file_effect(file->process)) return dead(error);
    if (sim_chance(sim, SIM_RANDOM_DISK, file->disk->options.sync_fail_ppm, 1000000)) {
        sim_fault_hit(sim, SIM_FAULT_SYNC_FAILS);
        sim_trace_text(sim, "node %u: sync of %s fails", file->process->machine->number,
                       file->path);
        sim_inode_lose(file->disk, file->inode, 50);
        file->broken = true;
        world_fatal(base->world, "%s: sync failed", file->path);
        return error_set(error, STATUS_IO, "%s: sync failed", file->path);
    }
    file->disk->syncs++;
    sim_inode_sync(file->inode);
    return STATUS_OK;
}

enum status sim_file_allocate(struct file *base, uint64_t size, struct error *error)
{
    struct sim_file *file = (struct sim_file *)(void *)base;

    if (file->inode->size >= size) return STATUS_OK;
    if (!fits(file, size)) return no_space(file, error);
    if (sim_process_file_effect(file->process)) return dead(error);
    sim_inode_resize(file->disk, file->inode, size);
    return STATUS_OK;
}

enum status sim_file_truncate(struct file *base, uint64_t size, struct error *error)
{
    struct sim_file *file = (struct sim_file *)(void *)base;

    if (!fits(file, size)) return no_space(file, error);
    if (sim_process_file_effect(file->process)) return dead(error);
    sim_inode_resize(file->disk, file->inode, size);
    return STATUS_OK;
}

enum status sim_file_size(struct file *base, uint64_t *ret_size, struct error *error)
{
    *ret_size = ((struct sim_file *)(void *)base)->inode->size;
    return STATUS_OK;
}

enum status sim_file_lock(struct file *base, struct error *error)
{
    struct sim_file *file = (struct sim_file *)(void *)base;

    if (file->inode->locked_by && !file->locked) /* of the open file: see F_OFD_SETLK */
        return error_set(error, STATUS_REFUSED, "%s: another process has it", file->path);
    file->inode->locked_by = file->process;
    file->locked = true;
    return STATUS_OK;
}

static void close_file(struct sim_file *file)
{
    if (file->locked) file->inode->locked_by = NULL;
    *file->link = file->next;
    if (file->next) file->next->link = file->link;
    sim_inode_release(file->disk, file->inode);
    memory_free(file);
}

void sim_file_close(struct file *base)
{
    if (base) close_file((struct sim_file *)(void *)base);
}

void sim_files_end(struct sim_process *process)
{
    while (process->files)
        close_file(process->files);
}

static bool has_names_below(const struct sim_disk *disk, const char *directory)
{
    size_t size = strlen(directory);

    for (uint32_t i = 0; i < disk->now.count; i++) {
        const char *path = disk->now.names[i].path;
        if (strncmp(path, directory, size) == 0 && path[size] == '/') return true;
    }
    return false;
}

enum status sim_rename(struct world *world, const char *from, const char *to, struct error *error)
{
    struct sim_disk *disk = disk_of(world);
    struct sim_inode *inode = sim_names_get(&disk->now, from);

    if (inode == NULL) return error_set(error, STATUS_NOT_FOUND, "%s: no such file", from);
    if (inode->directory && has_names_below(disk, to))
        return error_set(error, STATUS_IO, "%s: a directory that is not empty is there", to);
    if (sim_process_file_effect(process_of(world))) return dead(error);
    if (inode->directory) { /* every name below moves along */
        for (uint32_t i = 0; i < disk->now.count; i++)
            sim_path_move(disk->now.names[i].path, from, to);
        for (uint32_t i = 0; i < disk->op_count; i++) {
            sim_path_move(disk->ops[i].path, from, to);
            sim_path_move(disk->ops[i].to, from, to);
        }
    }
    sim_names_put(disk, &disk->now, to, inode);
    sim_names_remove(disk, &disk->now, from);
    sim_disk_name_op(disk, SIM_NAME_RENAME, from, to, NULL);
    return STATUS_OK;
}

enum status sim_remove(struct world *world, const char *path, struct error *error)
{
    struct sim_disk *disk = disk_of(world);

    if (sim_names_get(&disk->now, path) == NULL)
        return error_set(error, STATUS_NOT_FOUND, "%s: no such file", path);
    if (sim_process_file_effect(process_of(world))) return dead(error);
    sim_names_remove(disk, &disk->now, path);
    sim_disk_name_op(disk, SIM_NAME_REMOVE, path, NULL, NULL);
    return STATUS_OK;
}

enum status sim_make_dir(struct world *world, const char *path, struct error *error)
{
    struct sim_disk *disk = disk_of(world);

    if (sim_names_get(&disk->now, path)) return error_set(error, STATUS_EXISTS, "%s: exists", path);
    if (!parent_exists(disk, path))
        return error_set(error, STATUS_NOT_FOUND, "%s: no parent directory", path);
    if (sim_process_file_effect(process_of(world))) return dead(error);
    struct sim_inode *inode = sim_inode_make(true);
    sim_names_put(disk, &disk->now, path, inode);
    sim_disk_name_op(disk, SIM_NAME_CREATE, path, NULL, inode);
    return STATUS_OK;
}

enum status sim_sync_dir(struct world *world, const char *path, struct error *error)
{
    char dir[SIM_PATH_SIZE_MAX];
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        size--;
    snprintf(dir, sizeof(dir), "%.*s", (int)size, path);
    struct sim_disk *disk = disk_of(world);
    if (disk->options.power_at_names && disk->op_count > 0) power_fails_now(process_of(world));
    if (sim_process_file_effect(process_of(world))) return dead(error);
    sim_disk_sync_dir(disk, dir);
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

enum status sim_list_dir(struct world *world, const char *path, void *context,
                         void (*on_name)(void *, const char *), struct error *error)
{
    struct sim_disk *disk = disk_of(world);
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        size--;
    char(*names)[SIM_PATH_SIZE_MAX] = memory_allocate_zero((disk->now.count + 1) * sizeof(*names));
    uint32_t count = 0;
    bool exists = false;
    for (uint32_t i = 0; i < disk->now.count; i++) {
        const char *name = disk->now.names[i].path;
        if (strncmp(name, path, size) != 0) continue;
        if (name[size] == 0) exists = disk->now.names[i].inode->directory;
        if (name[size] != '/' || strchr(name + size + 1, '/')) continue;
        snprintf(names[count++], sizeof(names[0]), "%s", name + size + 1);
    }
    qsort(names, count, sizeof(names[0]), compare_names);
    for (uint32_t i = 0; exists && i < count; i++)
        on_name(context, names[i]);
    memory_free(names);
    return exists ? STATUS_OK : error_set(error, STATUS_NOT_FOUND, "%s: no such directory", path);
}

enum status sim_free_space(struct world *world, const char *path, uint64_t *ret_bytes,
                           struct error *error)
{
    const struct sim_disk *disk = disk_of(world);

    *ret_bytes = disk->options.capacity > disk->used ? disk->options.capacity - disk->used : 0;
    return STATUS_OK;
}
