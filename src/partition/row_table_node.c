#include "partition/row_table_tree.h"

#include "base/assert.h"

enum { LINE_HEADS = 8 };

struct bytes node_key(const struct node *node, uint32_t slot)
{
    if (node->leaf) return row_key(node->items[slot]);
    const struct separator *separator = node->items[slot];
    return bytes_make(separator->data, separator->size);
}

/* 8 bytes of the key from `offset` on as a number of the same order; zeros after the end. */
static inline uint64_t head_of(struct bytes key, size_t offset)
{
    if (key.size >= offset + 8) return load_u64_be(key.data + offset);
    if (key.size <= offset) return 0;
    size_t size = key.size - offset;
    uint64_t head = 0;
    for (size_t i = 0; i < size; i++)
        head = head << 8 | key.data[offset + i];
    return head << (8 * (8 - size));
}

static size_t common_size(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    size_t same = 0;
    while (same < size && a.data[same] == b.data[same])
        same++;
    return same;
}

/* First slot whose head is >= head: by the last head of each line of cache, then within a line.
 * Nothing here waits for something before it, and there is no branch to be guessed wrong. */
static inline uint32_t search_heads(const uint64_t *heads, uint64_t head)
{
    uint32_t line = 0;
    for (uint32_t i = 0; i < TREE_ITEMS / LINE_HEADS - 1; i++)
        line += heads[i * LINE_HEADS + LINE_HEADS - 1] < head;
    heads += line * LINE_HEADS;
    uint32_t slot = 0;
    for (uint32_t i = 0; i < LINE_HEADS; i++)
        slot += heads[i] < head;
    return line * LINE_HEADS + slot;
}

/* The heads of slots that are not used are never less than a key's. */
static void pad_heads(struct node *node, uint32_t used_before)
{
    for (uint32_t i = node->count; i < used_before; i++)
        node->heads[i] = UINT64_MAX;
}

void node_init(struct node *node, bool leaf)
{
    node->count = 0;
    node->leaf = leaf;
    node->prefix_size = 0;
    node->next = NULL;
    node->previous = NULL;
    node->unclean = 0;
    pad_heads(node, TREE_ITEMS);
}

void node_cut(struct node *node, uint32_t count)
{
    uint32_t before = node->count;
    node->count = (uint16_t)count;
    pad_heads(node, before);
}

/* Short and mostly equal: memcmp() would cost more than it saves. */
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, size_t size)
{
    for (; size >= 8; a += 8, b += 8, size -= 8) {
        if (load_u64(a) != load_u64(b)) return false;
    }
    for (; size > 0; a++, b++, size--) {
        if (*a != *b) return false;
    }
    return true;
}

/* The slot of a key that does not begin with the node's prefix. */
static uint32_t search_outside(const struct node *node, struct bytes key)
{
    struct bytes prefix = bytes_make(node->prefix, node->prefix_size);
    return bytes_compare(key, prefix) < 0 ? 0 : node->count;
}

/* The common case of a read, the only item of this head and the key itself, without finding out
 * about any order. */
static inline bool is_key(const struct node *node, uint32_t slot, struct bytes key)
{
    bool alone = slot + 1 == node->count || node->heads[slot + 1] != node->heads[slot];
    if (!alone) return false;
    size_t from = node->prefix_size;
    struct bytes there = node_key(node, slot);
    return there.size == key.size &&
           same_bytes(there.data + from, key.data + from, key.size - from);
}

/* Among the items from `low` on whose heads are equal to that of the key. */
static uint32_t search_equal_heads(const struct node *node, uint32_t low, struct bytes key,
                                   bool *ret_equal)
{
    uint32_t high = low + 1;
    while (high < node->count && node->heads[high] == node->heads[low])
        high++;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = bytes_compare(node_key(node, middle), key);
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

uint32_t node_search(const struct node *node, struct bytes key, bool *ret_equal)
{
    *ret_equal = false;
    size_t prefix_size = node->prefix_size;
    bool inside = key.size >= prefix_size && same_bytes(key.data, node->prefix, prefix_size);
    if (!inside) return search_outside(node, key);

    uint64_t head = head_of(key, prefix_size);
    uint32_t low = search_heads(node->heads, head);
    if (low >= node->count) return node->count;
    if (node->heads[low] != head) return low;

    __builtin_prefetch((const uint8_t *)node->items[low] + 64); /* a key may lie on two lines */
    *ret_equal = is_key(node, low, key);
    return *ret_equal ? low : search_equal_heads(node, low, key, ret_equal);
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
    node_cut(node, node->count - 1u);

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
    node_cut(leaf, kept);
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
    node_cut(node, slot);
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
