#include "sim/sim_disk.h"

#include "base/assert.h"
#include "base/memory.h"

#include <stdio.h>

enum { SECTORS_PER_PAGE = SIM_PAGE_SIZE / SIM_SECTOR_SIZE };
_Static_assert(SECTORS_PER_PAGE == 8, "struct sim_page has one bit per sector in a byte");

/* --- content --- */

struct sim_inode *sim_inode_make(bool directory)
{
    struct sim_inode *inode = memory_allocate_zero(sizeof(*inode));

    inode->directory = directory;
    return inode;
}

static void free_pages(struct sim_inode *inode, uint32_t from)
{
    for (uint32_t i = from; i < inode->page_count; i++) {
        memory_free(inode->pages[i].now);
        memory_free(inode->pages[i].before);
        inode->pages[i] = (struct sim_page){0};
    }
}

void sim_inode_release(struct sim_disk *disk, struct sim_inode *inode)
{
    ASSERT(inode->references > 0);
    if (--inode->references > 0) return;
    disk->used -= inode->size;
    free_pages(inode, 0);
    memory_free(inode->pages);
    memory_free(inode->dirty);
    engine_memory_disk_free(inode->engine);
    memory_free(inode);
}

static void make_dirty(struct sim_inode *inode, uint32_t number, uint8_t sectors)
{
    struct sim_page *page = &inode->pages[number];

    if (page->dirty == 0) {
        ASSERT(page->before == NULL);
        if (page->now) {
            page->before = memory_allocate(SIM_PAGE_SIZE);
            memcpy(page->before, page->now, SIM_PAGE_SIZE);
        }
        if (inode->dirty_count == inode->dirty_capacity) {
            inode->dirty_capacity = inode->dirty_capacity ? inode->dirty_capacity * 2 : 16;
            inode->dirty =
                memory_resize(inode->dirty, inode->dirty_capacity * sizeof(*inode->dirty));
        }
        inode->dirty[inode->dirty_count++] = number;
    }
    page->dirty |= sectors;
}

void sim_inode_resize(struct sim_disk *disk, struct sim_inode *inode, uint64_t size)
{
    uint32_t pages = (uint32_t)((size + SIM_PAGE_SIZE - 1) / SIM_PAGE_SIZE);

    if (pages > inode->page_count) {
        inode->pages = memory_resize(inode->pages, pages * sizeof(*inode->pages));
        memset(inode->pages + inode->page_count, 0,
               (pages - inode->page_count) * sizeof(*inode->pages));
        inode->page_count = pages;
    }
    /* A cut page is dirty zeros, so that a power loss may bring its content back. */
    for (uint64_t at = size; at < inode->size; at = (at / SIM_PAGE_SIZE + 1) * SIM_PAGE_SIZE) {
        uint32_t number = (uint32_t)(at / SIM_PAGE_SIZE);
        if (inode->pages[number].now == NULL) continue;
        make_dirty(inode, number, 0xff);
        memset(inode->pages[number].now + at % SIM_PAGE_SIZE, 0,
               SIM_PAGE_SIZE - at % SIM_PAGE_SIZE);
    }
    disk->used += size - inode->size;
    inode->size = size;
}

void sim_inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                     struct bytes bytes)
{
    uint64_t end = offset + bytes.size;
    uint64_t bad = (inode->bad_sector - 1) * SIM_SECTOR_SIZE;

    if (inode->bad_sector && offset < bad + SIM_SECTOR_SIZE && bad < end) inode->bad_sector = 0;
    if (end > inode->size) sim_inode_resize(disk, inode, end);
    while (offset < end) {
        uint32_t number = (uint32_t)(offset / SIM_PAGE_SIZE);
        uint32_t from = (uint32_t)(offset % SIM_PAGE_SIZE);
        uint32_t size = SIM_PAGE_SIZE - from;
        if (size > end - offset) size = (uint32_t)(end - offset);
        uint8_t sectors = 0;
        for (uint32_t s = from / SIM_SECTOR_SIZE; s <= (from + size - 1) / SIM_SECTOR_SIZE; s++)
            sectors |= (uint8_t)(1u << s);
        make_dirty(inode, number, sectors);
        struct sim_page *page = &inode->pages[number];
        if (page->now == NULL) page->now = memory_allocate_zero(SIM_PAGE_SIZE);
        memcpy(page->now + from, bytes.data, size);
        bytes = bytes_from(bytes, size);
        offset += size;
    }
}

void sim_inode_read(const struct sim_inode *inode, uint64_t offset, uint8_t *into, size_t size)
{
    while (size > 0) {
        uint32_t number = (uint32_t)(offset / SIM_PAGE_SIZE);
        uint32_t from = (uint32_t)(offset % SIM_PAGE_SIZE);
        size_t part = SIM_PAGE_SIZE - from;
        if (part > size) part = size;
        const uint8_t *page = number < inode->page_count ? inode->pages[number].now : NULL;
        if (page)
            memcpy(into, page + from, part);
        else
            memset(into, 0, part);
        into += part;
        offset += part;
        size -= part;
    }
}

void sim_inode_sync(struct sim_inode *inode)
{
    for (uint32_t i = 0; i < inode->dirty_count; i++) {
        struct sim_page *page = &inode->pages[inode->dirty[i]];
        memory_free(page->before);
        page->before = NULL;
        page->dirty = 0;
    }
    inode->dirty_count = 0;
    inode->size_durable = inode->size;
}

void sim_inode_lose(struct sim_disk *disk, struct sim_inode *inode, uint32_t percent)
{
    struct sim *sim = disk->sim;

    for (uint32_t i = 0; i < inode->dirty_count; i++) {
        struct sim_page *page = &inode->pages[inode->dirty[i]];
        if (page->now == NULL) page->now = memory_allocate_zero(SIM_PAGE_SIZE);
        uint32_t kept = 0, lost = 0;
        for (uint32_t s = 0; s < SECTORS_PER_PAGE; s++) {
            if (!(page->dirty & (1u << s))) continue;
            if (sim_chance(sim, SIM_RANDOM_DISK, percent, 100)) {
                kept++;
                continue;
            }
            uint8_t *at = page->now + s * SIM_SECTOR_SIZE;
            if (page->before)
                memcpy(at, page->before + s * SIM_SECTOR_SIZE, SIM_SECTOR_SIZE);
            else
                memset(at, 0, SIM_SECTOR_SIZE);
            lost++;
            sim_fault_hit(sim, SIM_FAULT_SECTOR_LOST);
        }
        if (kept && lost) sim_fault_hit(sim, SIM_FAULT_TORN);
        memory_free(page->before);
        page->before = NULL;
        page->dirty = 0;
    }
    inode->dirty_count = 0;
    if (inode->size != inode->size_durable && !sim_chance(sim, SIM_RANDOM_DISK, percent, 100)) {
        uint64_t size = inode->size_durable;
        sim_fault_hit(sim, SIM_FAULT_SECTOR_LOST);
        sim_inode_resize(disk, inode, size);
        sim_inode_sync(inode);
    }
    inode->size_durable = inode->size;
}

/* --- the disk --- */

struct sim_disk *sim_disk_make(struct sim *sim)
{
    struct sim_disk *disk = memory_allocate_zero(sizeof(*disk));

    disk->sim = sim;
    disk->options =
        (struct sim_disk_options){.capacity = SIM_DISK_CAPACITY, .survive_percent = 101};
    return disk;
}

static void names_clear(struct sim_disk *disk, struct sim_names *names)
{
    while (names->count > 0)
        sim_inode_release(disk, names->names[--names->count].inode);
}

void sim_disk_wipe(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->op_count; i++)
        if (disk->ops[i].inode) sim_inode_release(disk, disk->ops[i].inode);
    disk->op_count = 0;
    names_clear(disk, &disk->now);
    names_clear(disk, &disk->durable);
    ASSERT(disk->used == 0);
}

void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from)
{
    sim_disk_wipe(to);
    for (uint32_t i = 0; i < from->now.count; i++) {
        const struct sim_name *name = &from->now.names[i];
        struct sim_inode *inode = sim_inode_make(name->inode->directory);
        uint8_t page[SIM_PAGE_SIZE];
        sim_inode_resize(to, inode, name->inode->size);
        for (uint64_t at = 0; at < inode->size; at += SIM_PAGE_SIZE) {
            uint64_t left = inode->size - at;
            size_t size = left < SIM_PAGE_SIZE ? (size_t)left : SIM_PAGE_SIZE;
            sim_inode_read(name->inode, at, page, size);
            sim_inode_write(to, inode, at, bytes_make(page, size));
        }
        sim_inode_sync(inode);
        if (name->inode->engine) inode->engine = engine_memory_disk_copy(name->inode->engine);
        sim_names_put(to, &to->now, name->path, inode);
        sim_names_put(to, &to->durable, name->path, inode);
    }
}

void sim_disk_free(struct sim_disk *disk)
{
    if (disk == NULL) return;
    sim_disk_wipe(disk);
    memory_free(disk->now.names);
    memory_free(disk->durable.names);
    memory_free(disk->ops);
    memory_free(disk);
}

struct sim_disk_options *sim_disk_options(struct sim_disk *disk)
{
    return &disk->options;
}

/* What was synced in a directory that is itself lost. */
static void drop_unreachable(struct sim_disk *disk)
{
    for (uint32_t i = 0; i < disk->durable.count;) {
        if (sim_names_has_parent(&disk->durable, disk->durable.names[i].path)) {
            i++;
            continue;
        }
        sim_names_remove(disk, &disk->durable, disk->durable.names[i].path);
        i = 0;
    }
}

static const char *change_text(enum sim_name_change change)
{
    return change == SIM_NAME_CREATE   ? "creation"
           : change == SIM_NAME_RENAME ? "renaming"
                                       : "removal";
}

void sim_disk_power_loss(struct sim_disk *disk)
{
    struct sim *sim = disk->sim;
    uint32_t percent = disk->options.survive_percent;

    if (percent > 100) { /* all, none and mixtures are about equally likely */
        uint64_t kind = sim_below(sim, SIM_RANDOM_DISK, 3);
        percent = kind == 0 ? 0 : kind == 1 ? 100 : (uint32_t)sim_below(sim, SIM_RANDOM_DISK, 101);
    }
    if (disk->options.torn) percent = 50;
    if (disk->options.power_at_names) percent = 0;
    disk->options.torn = disk->options.power_at_sync = disk->options.power_at_names = false;
    for (uint32_t i = 0; i < disk->op_count; i++) {
        if (sim_chance(sim, SIM_RANDOM_DISK, percent, 100)) {
            sim_disk_make_durable(disk, &disk->ops[i]);
        } else {
            sim_fault_hit(sim, SIM_FAULT_NAME_LOST);
            sim_trace_text(sim, "lost: %s of %s", change_text(disk->ops[i].change),
                           disk->ops[i].path);
        }
        if (disk->ops[i].inode) sim_inode_release(disk, disk->ops[i].inode);
    }
    disk->op_count = 0;
    drop_unreachable(disk);
    names_clear(disk, &disk->now);
    for (uint32_t i = 0; i < disk->durable.count; i++) {
        struct sim_name *name = &disk->durable.names[i];
        sim_inode_lose(disk, name->inode, percent);
        sim_names_put(disk, &disk->now, name->path, name->inode);
    }
}

void sim_disk_make_dir(struct sim_disk *disk, const char *path)
{
    struct sim_inode *inode = sim_inode_make(true);

    sim_names_put(disk, &disk->now, path, inode);
    sim_names_put(disk, &disk->durable, path, inode);
}

static struct sim_inode *find_part(struct sim_disk *disk, const char *part)
{
    for (uint32_t i = 0; i < disk->now.count; i++)
        if (strstr(disk->now.names[i].path, part) && !disk->now.names[i].inode->directory)
            return disk->now.names[i].inode;
    return NULL;
}

bool sim_disk_flip(struct sim_disk *disk, const char *part, uint64_t offset)
{
    struct sim_inode *inode = find_part(disk, part);

    if (inode == NULL || offset >= inode->size) return false;
    struct sim_page *page = &inode->pages[offset / SIM_PAGE_SIZE];
    if (page->now == NULL) page->now = memory_allocate_zero(SIM_PAGE_SIZE);
    page->now[offset % SIM_PAGE_SIZE] ^= 0x10;
    sim_fault_hit(disk->sim, SIM_FAULT_BIT_ROT);
    return true;
}

uint64_t sim_disk_file_size(struct sim_disk *disk, const char *part)
{
    const struct sim_inode *inode = find_part(disk, part);

    return inode ? inode->size : 0;
}

uint64_t sim_disk_bytes_of(struct sim_disk *disk, const char *part, const char *without)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < disk->now.count; i++) {
        const struct sim_name *name = &disk->now.names[i];
        if (name->inode->directory || !strstr(name->path, part)) continue;
        if (!strstr(name->path, without)) bytes += name->inode->size;
    }
    return bytes;
}

struct bytes sim_disk_take_copy(struct sim_disk *disk, const char *part)
{
    const struct sim_inode *inode = find_part(disk, part);

    if (inode == NULL) return bytes_make(NULL, 0);
    uint8_t *copy = memory_allocate(inode->size + 1);
    sim_inode_read(inode, 0, copy, inode->size);
    return bytes_make(copy, inode->size);
}

bool sim_disk_put_copy(struct sim_disk *disk, const char *part, struct bytes content)
{
    struct sim_inode *inode = find_part(disk, part);

    if (inode == NULL || content.data == NULL) return false;
    sim_inode_resize(disk, inode, 0);
    sim_inode_write(disk, inode, 0, content);
    sim_inode_sync(inode);
    return true;
}

uint64_t sim_disk_content_end(struct sim_disk *disk, const char *part)
{
    const struct sim_inode *inode = find_part(disk, part);

    if (inode == NULL) return 0;
    for (uint32_t i = inode->page_count; i-- > 0;) {
        const uint8_t *page = inode->pages[i].now;
        for (uint32_t b = SIM_PAGE_SIZE; page && b-- > 0;)
            if (page[b]) return (uint64_t)i * SIM_PAGE_SIZE + b + 1;
    }
    return 0;
}

uint64_t sim_disk_used(const struct sim_disk *disk)
{
    return disk->used;
}

uint64_t sim_disk_syncs(const struct sim_disk *disk)
{
    return disk->syncs;
}
