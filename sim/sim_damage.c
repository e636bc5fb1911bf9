#include "sim/sim_damage.h"

#include "base/assert.h"
#include "partition/row.h"
#include "base/codec.h"
#include "base/memory.h"
#include "sim/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

static struct sim_inode *find(struct sim_node *node, const char *part)
{
    const struct sim_disk *disk = node->machine.disk;

    for (uint32_t i = 0; i < disk->now.count; i++)
        if (strstr(disk->now.names[i].path, part) &&
            !strstr(disk->now.names[i].path, "quarantine") && !disk->now.names[i].inode->directory)
            return disk->now.names[i].inode;
    return NULL;
}

static void hit(struct sim_node *node, const char *what, const char *part)
{
    sim_fault_hit(node->cluster->sim, SIM_FAULT_BIT_ROT);
    sim_trace_text(node->cluster->sim, "node %u: %s of %s", node->id, what, part);
}

bool sim_damage_flip(struct sim_node *node, const char *part, uint64_t offset, unsigned bit)
{
    struct sim_inode *inode = find(node, part);

    if (inode == NULL || offset >= inode->size) return false;
    struct sim_page *page = &inode->pages[offset / SIM_PAGE_SIZE];
    if (page->now == NULL) page->now = memory_allocate_zero(SIM_PAGE_SIZE);
    page->now[offset % SIM_PAGE_SIZE] ^= (uint8_t)(1u << bit);
    if (page->before) page->before[offset % SIM_PAGE_SIZE] ^= (uint8_t)(1u << bit);
    hit(node, "a bit flips", part);
    return true;
}

bool sim_damage_sector(struct sim_node *node, const char *part, uint64_t offset)
{
    struct sim_inode *inode = find(node, part);

    if (inode == NULL || offset >= inode->size) return false;
    inode->bad_sector = offset / SIM_SECTOR_SIZE + 1;
    hit(node, "a sector is lost", part);
    return true;
}

/* "…/log/000000000000000a.seg" of this node's log: its last part, or NULL. */
static const char *segment_name(const struct sim_node *node, const char *path)
{
    size_t data = strlen(node->options.data);
    bool in_log =
        strncmp(path, node->options.data, data) == 0 && strncmp(path + data, "/log/0", 6) == 0;

    return in_log ? path + data + 5 : NULL;
}

uint64_t sim_damage_batches(const struct sim_node *node, uint64_t n, char ret_name[32],
                            uint64_t *ret_offset)
{
    const struct sim_names *names = &node->machine.disk->now;
    const char *newest = "";
    uint64_t count = 0;

    for (uint32_t i = 0; i < names->count; i++) {
        const char *name = segment_name(node, names->names[i].path);
        if (name != NULL && strcmp(name, newest) > 0) newest = name;
    }
    for (uint32_t i = 0; i < names->count; i++) {
        const char *name = segment_name(node, names->names[i].path);
        const struct sim_inode *inode = names->names[i].inode;
        if (name == NULL || strcmp(name, newest) == 0) continue;
        for (uint32_t p = 0; p < inode->page_count; p++) {
            const uint8_t *page = inode->pages[p].now;
            bool is_batch = page != NULL && memcmp(page, "HOLONLOG", 8) == 0 &&
                            strtoull(name, NULL, 16) == load_u64(page + 16);
            if (!is_batch || count++ != n) continue;
            snprintf(ret_name, 32, "%.31s", name);
            *ret_offset = (uint64_t)p * SIM_PAGE_SIZE;
        }
    }
    return count;
}

bool sim_damage_truncate(struct sim_node *node, const char *part, uint64_t size)
{
    struct sim_inode *inode = find(node, part);

    if (inode == NULL || size >= inode->size) return false;
    sim_inode_resize(node->machine.disk, inode, size);
    sim_inode_sync(inode);
    hit(node, "the end", part);
    return true;
}

static bool is_at_or_below(const char *path, const char *top)
{
    size_t size = strlen(top);
    return strncmp(path, top, size) == 0 && (path[size] == 0 || path[size] == '/');
}

static void remove_below(struct sim_disk *disk, struct sim_names *names, const char *path)
{
    for (uint32_t i = names->count; i-- > 0;)
        if (is_at_or_below(names->names[i].path, path)) {
            sim_names_remove(disk, names, names->names[i].path);
            i = names->count; /* their order may have changed */
        }
}

bool sim_damage_remove(struct sim_node *node, const char *path)
{
    struct sim_disk *disk = node->machine.disk;

    ASSERT(!sim_node_is_up(node));
    if (sim_names_get(&disk->now, path) == NULL) return false;
    remove_below(disk, &disk->now, path);
    remove_below(disk, &disk->durable, path);
    hit(node, "all is gone", path);
    return true;
}

void sim_damage_add(struct sim_node *node, const char *path, uint32_t size)
{
    struct sim_disk *disk = node->machine.disk;
    struct sim_inode *inode = sim_inode_make(false);

    for (uint32_t at = 0; at < size; at += 8) {
        uint64_t word = sim_random(disk->sim, SIM_RANDOM_FAULT);
        sim_inode_write(disk, inode, at, bytes_make(&word, sizeof(word)));
    }
    sim_inode_sync(inode);
    sim_names_put(disk, &disk->now, path, inode);
    sim_names_put(disk, &disk->durable, path, inode);
    hit(node, "a file appears", path);
}

static void arm(struct sim_node *node, const char *part, enum sim_write_fate fate)
{
    struct sim_disk *disk = node->machine.disk;

    disk->fate = fate;
    snprintf(disk->fate_part, sizeof(disk->fate_part), "%s", part);
}

void sim_damage_lose_write(struct sim_node *node, const char *part)
{
    arm(node, part, SIM_WRITE_LOST);
}

void sim_damage_misdirect_write(struct sim_node *node, const char *part)
{
    arm(node, part, SIM_WRITE_MISDIRECTED);
}

bool sim_damage_pending(const struct sim_node *node)
{
    return node->machine.disk->fate != SIM_WRITE_HONEST;
}

static struct sim_inode *store_inode(struct sim_node *node, uint32_t store)
{
    char path[SIM_PATH_SIZE_MAX];

    snprintf(path, sizeof(path), "%.100s/store-%u", node->options.data, store);
    struct sim_inode *inode = sim_names_get(&node->machine.disk->now, path);
    return inode && inode->engine ? inode : NULL;
}

bool sim_damage_empty_store(struct sim_node *node, uint32_t store)
{
    struct sim_inode *inode = store_inode(node, store);

    ASSERT(!sim_node_is_up(node));
    if (inode == NULL) return false;
    engine_memory_disk_free(inode->engine);
    inode->engine = NULL;
    hit(node, "all content", "an engine");
    return true;
}

bool sim_damage_store(struct sim_node *node, uint32_t store)
{
    struct sim_inode *inode = store_inode(node, store);

    if (inode == NULL) return false;
    engine_memory_disk_damage(inode->engine);
    hit(node, "reads and writes", "an engine");
    return true;
}

static bool find_row(struct engine *engine, struct bytes from, struct bytes to, uint64_t n,
                     void *context, bool (*pick)(void *context, struct bytes key),
                     struct buffer *ret_key, struct buffer *ret_value)
{
    struct engine_iterator *iterator = engine_iterate(engine, from, to);
    struct bytes key, value;
    bool found = false;

    while (!found && engine_iterator_next(engine, iterator, &key, &value)) {
        if (value.size <= ROW_HEADER_SIZE || !pick(context, key)) continue;
        found = n-- == 0;
        if (!found) continue;
        buffer_append(ret_key, key);
        buffer_append(ret_value, value);
    }
    engine_iterator_close(engine, iterator, NULL);
    return found;
}

static bool pick_counted(void *context, struct bytes key)
{
    return true;
}

bool sim_damage_row(struct sim_node *node, uint32_t store, struct bytes from, struct bytes to,
                    uint64_t n, void *context, bool (*pick)(void *context, struct bytes key),
                    struct buffer *key)
{
    struct sim_inode *inode = store_inode(node, store);
    struct buffer value;
    uint64_t count = 0;

    if (inode == NULL || engine_memory_disk_is_damaged(inode->engine)) return false;
    struct engine *engine = engine_memory_open(inode->engine);
    buffer_init(&value, SIZE_MAX / 2);
    while (find_row(engine, from, to, count, context, pick ? pick : pick_counted, key, &value)) {
        buffer_clear(key);
        buffer_clear(&value);
        count++;
    }
    if (count > 0)
        find_row(engine, from, to, n % count, context, pick ? pick : pick_counted, key, &value);
    engine_close(engine);
    if (count > 0) {
        struct bytes flipped = buffer_bytes(&value);
        ((uint8_t *)(uintptr_t)flipped.data)[flipped.size - 1] ^= 1;
        engine_memory_disk_put(inode->engine, buffer_bytes(key), flipped);
        hit(node, "a bit of a row", "an engine");
    }
    buffer_free(&value);
    return count > 0;
}

bool sim_damage_is_in_store(struct sim_node *node, uint32_t store)
{
    const struct sim_inode *inode = store_inode(node, store);

    return inode != NULL && engine_memory_disk_is_damaged(inode->engine);
}

bool sim_disk_write_goes_wrong(struct sim_disk *disk, struct sim_inode *inode, const char *path,
                               uint64_t offset, struct bytes bytes)
{
    enum sim_write_fate fate = disk->fate;

    if (fate == SIM_WRITE_HONEST || strstr(path, disk->fate_part) == NULL) return false;
    if (fate == SIM_WRITE_MISDIRECTED && offset < SIM_PAGE_SIZE) return false;
    disk->fate = SIM_WRITE_HONEST;
    sim_fault_hit(disk->sim, SIM_FAULT_BIT_ROT);
    sim_trace_text(disk->sim, "a write of %zu bytes at %llu of %s %s", bytes.size,
                   (unsigned long long)offset, path,
                   fate == SIM_WRITE_LOST ? "is lost" : "goes astray");
    if (fate == SIM_WRITE_MISDIRECTED) sim_inode_write(disk, inode, offset - SIM_PAGE_SIZE, bytes);
    return true;
}
