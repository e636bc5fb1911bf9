#include "fake_disk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"

struct fake_file {
    struct file head;
    struct fake_inode *inode;
};

static struct fake_disk *disk_of(struct world *world)
{
    return (struct fake_disk *)world;
}

static struct fake_names *names_now(struct fake_disk *disk)
{
    return &disk->history[disk->history_count - 1];
}

static struct fake_name *name_find(struct fake_disk *disk, const char *path)
{
    struct fake_names *names = names_now(disk);
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->names[i].path, path) == 0) return &names->names[i];
    return NULL;
}

/* Before each change of the disk: false if it must not happen. */
static bool effect(struct fake_disk *disk)
{
    if (disk->dead) return false;
    if (disk->effects_left == 0) {
        disk->dead = true;
        return false;
    }
    disk->effects_left--;
    disk->effects++;
    return true;
}

static enum status dead(struct error *error)
{
    return error_set(error, STATUS_IO, "the disk is gone");
}

/* --- files -------------------------------------------------------------------------------- */

/* A copy of the present names, to be changed. */
static struct fake_names *names_change(struct fake_disk *disk)
{
    ASSERT(disk->history_count < FAKE_NAMES_MAX);
    disk->history[disk->history_count] = disk->history[disk->history_count - 1];
    disk->history_count++;
    return names_now(disk);
}

static void name_add(struct fake_names *names, const char *path, struct fake_inode *inode)
{
    ASSERT(names->count < FAKE_NAMES_MAX);
    struct fake_name *name = &names->names[names->count++];
    snprintf(name->path, sizeof(name->path), "%s", path);
    name->inode = inode;
}

static void name_drop(struct fake_disk *disk, const char *path)
{
    struct fake_name *name = name_find(disk, path);
    if (name != NULL) *name = names_now(disk)->names[--names_now(disk)->count];
}

static enum status fake_open(struct world *world, const char *path, unsigned flags,
                             struct file **ret_file, struct error *error)
{
    struct fake_disk *disk = disk_of(world);
    struct fake_name *name = name_find(disk, path);
    struct fake_inode *inode = name ? name->inode : NULL;

    if (disk->dead) return dead(error);
    if (inode == NULL) {
        if (!(flags & FILE_CREATE)) return error_set(error, STATUS_NOT_FOUND, "no %s", path);
        if (!effect(disk)) return dead(error);
        inode = memory_allocate_zero(sizeof(*inode));
        inode->next = disk->inodes;
        disk->inodes = inode;
        name_add(names_change(disk), path, inode);
    } else if (flags & FILE_EXCLUSIVE) {
        return error_set(error, STATUS_EXISTS, "%s", path);
    }
    struct fake_file *file = memory_allocate_zero(sizeof(*file));
    file->head.world = world;
    file->inode = inode;
    *ret_file = &file->head;
    return STATUS_OK;
}

static struct fake_inode *inode_of(struct file *file)
{
    return ((struct fake_file *)file)->inode;
}

static enum status fake_read(struct file *file, uint64_t offset, void *into, size_t size,
                             size_t *ret_size, struct error *error)
{
    struct fake_inode *inode = inode_of(file);

    if (disk_of(file->world)->dead) return dead(error);
    size_t left = offset < inode->size ? inode->size - (size_t)offset : 0;
    *ret_size = size < left ? size : left;
    if (*ret_size) memcpy(into, inode->bytes + offset, *ret_size);
    return STATUS_OK;
}

static bool inode_grow(struct fake_disk *disk, struct fake_inode *inode, size_t size)
{
    if (size <= inode->size) return true;
    if (size - inode->size > disk->space_left) return false;
    disk->space_left -= size - inode->size;
    if (size > inode->capacity) {
        inode->bytes = memory_resize(inode->bytes, size);
        inode->durable_bytes = memory_resize(inode->durable_bytes, size);
        memset(inode->bytes + inode->capacity, 0, size - inode->capacity);
        memset(inode->durable_bytes + inode->capacity, 0, size - inode->capacity);
        inode->capacity = size;
    }
    inode->size = size;
    return true;
}

static enum status fake_write(struct file *file, uint64_t offset, struct bytes bytes,
                              struct error *error)
{
    struct fake_disk *disk = disk_of(file->world);
    struct fake_inode *inode = inode_of(file);

    if (!effect(disk)) return dead(error);
    if (!inode_grow(disk, inode, (size_t)offset + bytes.size))
        return error_set(error, STATUS_NO_SPACE, "full");
    memcpy(inode->bytes + offset, bytes.data, bytes.size);
    return STATUS_OK;
}

static void inode_sync(struct fake_inode *inode)
{
    if (inode->capacity) memcpy(inode->durable_bytes, inode->bytes, inode->capacity);
    inode->durable_size = inode->size;
}

static enum status fake_sync(struct file *file, struct error *error)
{
    struct fake_disk *disk = disk_of(file->world);

    if (!effect(disk)) return dead(error);
    disk->syncs++;
    if (disk->syncs_until_failure > 0 && --disk->syncs_until_failure == 0)
        return error_set(error, STATUS_IO, "sync failed");
    inode_sync(inode_of(file));
    return STATUS_OK;
}

static enum status fake_allocate(struct file *file, uint64_t size, struct error *error)
{
    struct fake_disk *disk = disk_of(file->world);

    if (!effect(disk)) return dead(error);
    if (!inode_grow(disk, inode_of(file), (size_t)size))
        return error_set(error, STATUS_NO_SPACE, "full");
    return STATUS_OK;
}

static enum status fake_truncate(struct file *file, uint64_t size, struct error *error)
{
    struct fake_disk *disk = disk_of(file->world);
    struct fake_inode *inode = inode_of(file);

    if (!effect(disk)) return dead(error);
    if (size < inode->size) {
        memset(inode->bytes + size, 0, inode->size - (size_t)size);
        inode->size = (size_t)size;
    }
    return STATUS_OK;
}

static enum status fake_size(struct file *file, uint64_t *ret_size, struct error *error)
{
    if (disk_of(file->world)->dead) return dead(error);
    *ret_size = inode_of(file)->size;
    return STATUS_OK;
}

static enum status fake_lock(struct file *file, struct error *error)
{
    (void)file;
    (void)error;
    return STATUS_OK;
}

static void fake_close(struct file *file)
{
    memory_free(file);
}

/* --- names -------------------------------------------------------------------------------- */

static enum status fake_rename(struct world *world, const char *from, const char *to,
                               struct error *error)
{
    struct fake_disk *disk = disk_of(world);
    struct fake_name *name = name_find(disk, from);

    if (name == NULL) return error_set(error, STATUS_NOT_FOUND, "no %s", from);
    if (!effect(disk)) return dead(error);
    struct fake_inode *inode = name->inode;
    names_change(disk);
    name_drop(disk, from);
    name_drop(disk, to);
    name_add(names_now(disk), to, inode);
    return STATUS_OK;
}

static enum status fake_remove(struct world *world, const char *path, struct error *error)
{
    struct fake_disk *disk = disk_of(world);
    struct fake_name *name = name_find(disk, path);

    if (name == NULL) return error_set(error, STATUS_NOT_FOUND, "no %s", path);
    if (!effect(disk)) return dead(error);
    disk->space_left += name->inode->size;
    names_change(disk);
    name_drop(disk, path);
    return STATUS_OK;
}

static enum status fake_make_dir(struct world *world, const char *path, struct error *error)
{
    (void)path;
    return disk_of(world)->dead ? dead(error) : STATUS_OK;
}

static enum status fake_sync_dir(struct world *world, const char *path, struct error *error)
{
    struct fake_disk *disk = disk_of(world);

    (void)path;
    if (!effect(disk)) return dead(error);
    disk->history[0] = *names_now(disk);
    disk->history_count = 1;
    return STATUS_OK;
}

static int path_compare(const void *a, const void *b)
{
    return strcmp(((const struct fake_name *)a)->path, ((const struct fake_name *)b)->path);
}

static enum status fake_list(struct world *world, const char *path, void *context,
                             void (*on_name)(void *, const char *), struct error *error)
{
    struct fake_disk *disk = disk_of(world);
    struct fake_names names = *names_now(disk);
    size_t prefix = strlen(path);

    if (disk->dead) return dead(error);
    qsort(names.names, names.count, sizeof(names.names[0]), path_compare);
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.names[i].path;
        if (strncmp(name, path, prefix) == 0 && name[prefix] == '/')
            on_name(context, name + prefix + 1);
    }
    return STATUS_OK;
}

/* --- the rest of the world ---------------------------------------------------------------- */

static uint64_t fake_now(struct world *world)
{
    return disk_of(world)->now;
}

static void fake_fatal(struct world *world, const char *text)
{
    (void)text;
    disk_of(world)->fatal_count++;
    disk_of(world)->dead = true;
}

static void fake_timer_stop(struct world *world, struct world_timer *timer)
{
    struct fake_disk *disk = disk_of(world);
    for (size_t i = 0; i < disk->timer_count; i++)
        if (disk->timers[i] == timer) disk->timers[i] = disk->timers[--disk->timer_count];
}

static void fake_timer_start(struct world *world, struct world_timer *timer, uint64_t delay)
{
    struct fake_disk *disk = disk_of(world);

    fake_timer_stop(world, timer);
    ASSERT(disk->timer_count < ARRAY_COUNT(disk->timers));
    timer->deadline = disk->now + delay;
    disk->timers[disk->timer_count++] = timer;
}

static void fake_post(struct world *world, struct world_post *post)
{
    struct world_post **last = &disk_of(world)->posts;
    while (*last)
        last = &(*last)->next;
    post->next = NULL;
    *last = post;
}

static void fake_job_start(struct world *world, enum world_lane lane, struct world_job *job)
{
    struct world_job **last = &disk_of(world)->jobs;
    (void)lane;
    while (*last) {
        ASSERT(*last != job);
        last = &(*last)->next;
    }
    job->next = NULL;
    *last = job;
}

static bool fake_maybe(struct world *world, const char *tag)
{
    struct fake_disk *disk = disk_of(world);
    (void)tag;
    return random_chance(&disk->random, disk->maybe_percent, 100);
}

static void fake_reached(struct world *world, const char *tag)
{
    struct fake_disk *disk = disk_of(world);
    if (fake_disk_reached(disk, tag)) return;
    ASSERT(disk->tag_count < FAKE_TAGS_MAX);
    disk->tags[disk->tag_count++] = tag;
}

static bool fake_planted(struct world *world, const char *name)
{
    const char *planted = disk_of(world)->planted;
    return planted != NULL && strcmp(planted, name) == 0;
}

struct fake_disk *fake_disk_make(void)
{
    struct fake_disk *disk = memory_allocate_zero(sizeof(*disk));

    disk->table = (struct world_table){
        .now = fake_now,
        .fatal = fake_fatal,
        .timer_start = fake_timer_start,
        .timer_stop = fake_timer_stop,
        .post = fake_post,
        .job_start = fake_job_start,
        .file_open = fake_open,
        .file_read = fake_read,
        .file_write = fake_write,
        .file_sync = fake_sync,
        .file_allocate = fake_allocate,
        .file_truncate = fake_truncate,
        .file_size = fake_size,
        .file_lock = fake_lock,
        .file_close = fake_close,
        .rename = fake_rename,
        .remove = fake_remove,
        .make_dir = fake_make_dir,
        .sync_dir = fake_sync_dir,
        .list_dir = fake_list,
        .maybe = fake_maybe,
        .reached = fake_reached,
        .planted = fake_planted,
    };
    logger_to_nowhere(&disk->logger);
    disk->world = (struct world){.table = &disk->table, .logger = &disk->logger};
    random_seed(&disk->random, 1);
    disk->history_count = 1;
    disk->effects_left = UINT64_MAX;
    disk->space_left = UINT64_MAX;
    disk->now = 1000 * 1000;
    return disk;
}

void fake_disk_free(struct fake_disk *disk)
{
    while (disk->inodes) {
        struct fake_inode *inode = disk->inodes;
        disk->inodes = inode->next;
        memory_free(inode->bytes);
        memory_free(inode->durable_bytes);
        memory_free(inode);
    }
    memory_free(disk);
}

void fake_disk_run(struct fake_disk *disk)
{
    while (disk->jobs || disk->posts) {
        if (disk->jobs) {
            struct world_job *job = disk->jobs;
            disk->jobs = job->next;
            job->run(job);
            disk->now += 100;
            job->done(job);
        }
        while (disk->posts) {
            struct world_post *post = disk->posts;
            disk->posts = post->next;
            post->run(post);
        }
    }
}

void fake_disk_pass(struct fake_disk *disk, uint64_t us)
{
    disk->now += us;
    for (size_t i = 0; i < disk->timer_count;) {
        struct world_timer *timer = disk->timers[i];
        if (timer->deadline > disk->now) {
            i++;
            continue;
        }
        disk->timers[i] = disk->timers[--disk->timer_count];
        timer->fire(timer);
    }
    fake_disk_run(disk);
}

/* --- crashes ------------------------------------------------------------------------------ */

static bool inode_named(const struct fake_disk *disk, const struct fake_inode *inode)
{
    const struct fake_names *names = &disk->history[0];
    for (size_t i = 0; i < names->count; i++)
        if (names->names[i].inode == inode) return true;
    return false;
}

/* Frees files that no name leads to; nothing is open any more. */
static void inodes_collect(struct fake_disk *disk)
{
    for (struct fake_inode **at = &disk->inodes; *at;) {
        struct fake_inode *inode = *at;
        if (inode_named(disk, inode)) {
            at = &inode->next;
            continue;
        }
        *at = inode->next;
        memory_free(inode->bytes);
        memory_free(inode->durable_bytes);
        memory_free(inode);
    }
}

static void revive(struct fake_disk *disk)
{
    disk->jobs = NULL;
    disk->posts = NULL;
    disk->timer_count = 0;
    disk->dead = false;
    disk->effects_left = UINT64_MAX;
    disk->syncs_until_failure = 0;
}

/* Sectors that `keeps` chooses become durable, the others are lost. */
static void inode_crash(struct fake_inode *inode, void *context, bool (*keeps)(void *context))
{
    for (size_t at = 0; at < inode->capacity; at += FAKE_SECTOR_SIZE) {
        size_t left = inode->capacity - at;
        size_t size = left < FAKE_SECTOR_SIZE ? left : FAKE_SECTOR_SIZE;
        if (memcmp(inode->bytes + at, inode->durable_bytes + at, size) == 0) continue;
        if (keeps(context)) memcpy(inode->durable_bytes + at, inode->bytes + at, size);
    }
    if (inode->durable_size != inode->size && keeps(context)) inode->durable_size = inode->size;
    inode->size = inode->durable_size;
    if (inode->capacity > inode->size)
        memset(inode->durable_bytes + inode->size, 0, inode->capacity - inode->size);
    if (inode->capacity) memcpy(inode->bytes, inode->durable_bytes, inode->capacity);
}

struct drawing {
    struct random random;
    uint32_t percent;
};

static bool keep_drawn(void *context)
{
    struct drawing *drawing = context;
    return random_chance(&drawing->random, drawing->percent, 100);
}

void fake_disk_crash(struct fake_disk *disk, uint64_t seed)
{
    struct drawing drawing;

    random_seed(&drawing.random, seed);
    const uint32_t percents[] = {0, 10, 50, 90, 100};
    drawing.percent = percents[random_below(&drawing.random, ARRAY_COUNT(percents))];
    for (struct fake_inode *inode = disk->inodes; inode; inode = inode->next)
        inode_crash(inode, &drawing, keep_drawn);
    size_t kept = (size_t)random_below(&drawing.random, disk->history_count);
    disk->history[0] = disk->history[kept];
    disk->history_count = 1;
    inodes_collect(disk);
    revive(disk);
}

struct mask {
    uint64_t sectors, seen;
};

static bool keep_masked(void *context)
{
    struct mask *mask = context;
    return mask->sectors >> (mask->seen++ % 64) & 1;
}

uint64_t fake_disk_crash_sectors(struct fake_disk *disk, uint64_t sectors)
{
    struct mask mask = {.sectors = sectors};

    for (struct fake_inode *inode = disk->inodes; inode; inode = inode->next)
        inode->durable_size = inode->size;
    for (struct fake_inode *inode = disk->inodes; inode; inode = inode->next)
        inode_crash(inode, &mask, keep_masked);
    disk->history[0] = *names_now(disk);
    disk->history_count = 1;
    revive(disk);
    return mask.seen;
}

void fake_disk_kill(struct fake_disk *disk)
{
    revive(disk);
}

struct fake_inode *fake_disk_find(struct fake_disk *disk, const char *path)
{
    struct fake_name *name = name_find(disk, path);
    return name ? name->inode : NULL;
}

void fake_disk_damage(struct fake_disk *disk, const char *path, uint64_t offset)
{
    struct fake_inode *inode = fake_disk_find(disk, path);

    ASSERT(inode != NULL && offset < inode->size);
    inode->bytes[offset] ^= 0xff;
    inode->durable_bytes[offset] ^= 0xff;
}

void fake_disk_remove(struct fake_disk *disk, const char *path)
{
    ASSERT(fake_disk_find(disk, path) != NULL);
    name_drop(disk, path);
    disk->history[0] = *names_now(disk);
    disk->history_count = 1;
}

bool fake_disk_reached(const struct fake_disk *disk, const char *tag)
{
    for (size_t i = 0; i < disk->tag_count; i++)
        if (strcmp(disk->tags[i], tag) == 0) return true;
    return false;
}
