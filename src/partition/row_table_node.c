#include "partition/row_table_tree.h"

#include "base/assert.h"

struct bytes node_key(const struct node *node, uint32_t slot)
{
    if (node->leaf) return row_key(node->items[slot]);
    const struct separator *separator = node->items[slot];
    return bytes_make(separator->data, separator->size);
}

/* 8 bytes of the key from `offset` on as a number of the same order; zeros after the end. */
static uint64_t head_of(struct bytes key, size_t offset)
{
    if (key.size >= offset + 8) return load_u64_be(key.data + offset);
    uint8_t padded[8] = {0};
    if (key.size > offset) memcpy(padded, key.data + offset, key.size - offset);
    return load_u64_be(padded);
}

static size_t common_size(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    size_t same = 0;
    while (same < size && a.data[same] == b.data[same])
        same++;
    return same;
}

/* First slot whose head is >= head. */
static uint32_t search_heads(const uint64_t *heads, uint32_t count, uint64_t head)
{
    const uint64_t *base = heads;
    while (count > 1) {
        uint32_t half = count / 2;
        base += (base[half - 1] < head) ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - heads) + (count == 1 && *base < head);
}

uint32_t node_search(const struct node *node, struct bytes key, bool *ret_equal)
{
    *ret_equal = false;
    size_t prefix_size = node->prefix_size;
    size_t shared = key.size < prefix_size ? key.size : prefix_size;
    int order = shared ? memcmp(key.data, node->prefix, shared) : 0;
    if (order == 0 && key.size < prefix_size) order = -1;
    if (order != 0) return order < 0 ? 0 : node->count;

    uint64_t head = head_of(key, prefix_size);
    uint32_t low = search_heads(node->heads, node->count, head);
    if (low == node->count || node->heads[low] != head) return low;

    __builtin_prefetch((const uint8_t *)node->items[low] + 64); /* a key may lie on two lines */
    uint32_t high = low + 1;
    while (high < node->count && node->heads[high] == head)
        high++;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        order = bytes_compare(node_key(node, middle), key);
        if (order == 0) {
            *ret_equal = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void set_prefix(struct node *node, struct bytes prefix)
{
    ASSERT(prefix.size <= TREE_PREFIX_MAX);
    if (prefix.size) memmove(node->prefix, prefix.data, prefix.size);
    node->prefix_size = (uint8_t)prefix.size;
    for (uint32_t i = 0; i < node->count; i++)
        node->heads[i] = head_of(node_key(node, i), prefix.size);
}

/* Shortens the prefix to what `key` shares with it. */
static void admit_key(struct node *node, struct bytes key)
{
    if (node->count == 0) {
        size_t size = key.size < TREE_PREFIX_MAX ? key.size : TREE_PREFIX_MAX;
        set_prefix(node, bytes_make(key.data, size));
        return;
    }
    struct bytes prefix = bytes_make(node->prefix, node->prefix_size);
    size_t shared = common_size(prefix, key);
    if (shared < prefix.size) set_prefix(node, bytes_make(node->prefix, shared));
}

void node_insert(struct node *node, uint32_t slot, void *item, struct bytes key)
{
    ASSERT(node->count < TREE_ITEMS && slot <= node->count);
    admit_key(node, key);
    size_t after = node->count - slot;
    memmove(node->heads + slot + 1, node->heads + slot, after * sizeof(node->heads[0]));
    memmove(node->items + slot + 1, node->items + slot, after * sizeof(node->items[0]));
    node->heads[slot] = head_of(key, node->prefix_size);
    node->items[slot] = item;
    node->count++;

    uint64_t below = ((uint64_t)1 << slot) - 1;
    node->unclean =
        (node->unclean & below) | ((node->unclean & ~below) << 1) | ((uint64_t)1 << slot);
}

void node_remove(struct node *node, uint32_t slot)
{
    ASSERT(slot < node->count);
    size_t after = node->count - slot - 1u;
    memmove(node->heads + slot, node->heads + slot + 1, after * sizeof(node->heads[0]));
    memmove(node->items + slot, node->items + slot + 1, after * sizeof(node->items[0]));
    node->count--;

    uint64_t below = ((uint64_t)1 << slot) - 1;
    node->unclean = (node->unclean & below) | ((node->unclean >> 1) & ~below);
}

void node_remove_many(struct node *leaf, uint64_t slots)
{
    uint32_t kept = 0;
    uint64_t unclean = 0;
    for (uint32_t i = 0; i < leaf->count; i++) {
        if (slots >> i & 1) continue;
        leaf->heads[kept] = leaf->heads[i];
        leaf->items[kept] = leaf->items[i];
        unclean |= (leaf->unclean >> i & 1) << kept;
        kept++;
    }
    leaf->count = (uint16_t)kept;
    leaf->unclean = unclean;
}

void node_move_tail(struct node *node, uint32_t slot, struct node *to)
{
    uint32_t count = node->count - slot;
    ASSERT(slot <= node->count && to->count + count <= TREE_ITEMS);
    if (count == 0) return;
    uint32_t at = to->count;
    struct bytes prefix = bytes_make(node->prefix, node->prefix_size);
    if (at == 0) {
        set_prefix(to, prefix);
    } else {
        struct bytes prefix_to = bytes_make(to->prefix, to->prefix_size);
        size_t shared = common_size(prefix, prefix_to);
        if (shared < prefix_to.size) set_prefix(to, bytes_make(to->prefix, shared));
    }
    memcpy(to->items + at, node->items + slot, count * sizeof(node->items[0]));
    to->count = (uint16_t)(at + count);
    if (to->prefix_size == node->prefix_size) {
        memcpy(to->heads + at, node->heads + slot, count * sizeof(node->heads[0]));
    } else {
        for (uint32_t i = at; i < to->count; i++)
            to->heads[i] = head_of(node_key(to, i), to->prefix_size);
    }
    to->unclean |= (slot < 64 ? node->unclean >> slot : 0) << at;
    node->unclean &= ((uint64_t)1 << slot) - 1;
    node->count = (uint16_t)slot;
}

void node_sharpen(struct node *node)
{
    bool blunt = false;
    for (uint32_t i = 1; i < node->count && !blunt; i++)
        blunt = node->heads[i] == node->heads[i - 1];
    if (!blunt) return;

    struct bytes first = node_key(node, 0);
    size_t shared = common_size(first, node_key(node, node->count - 1u));
    if (shared > TREE_PREFIX_MAX) shared = TREE_PREFIX_MAX;
    if (shared > node->prefix_size) set_prefix(node, bytes_make(first.data, shared));
}
