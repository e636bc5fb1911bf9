#include "partition/row_table_tree.h"

#include "base/assert.h"

enum { LINE_HEADS = 16, SLOT_SIZE = 2 };

struct bytes node_key(const struct node *node, uint32_t slot)
{
    if (node->leaf) return row_key(node->items[slot]);
    const struct separator *separator = node->items[slot];
    return bytes_make(separator->data, separator->size);
}

/* The hash slot of a key; of what is too short to have one, the least of those that begin so. */
static inline uint32_t slot_of(struct bytes key)
{
    if (key.size >= SLOT_SIZE) return load_u16_be(key.data);
    return key.size ? (uint32_t)key.data[0] << 8 : 0;
}

static inline struct bytes after_slot(struct bytes key)
{
    if (key.size <= SLOT_SIZE) return bytes_make(NULL, 0);
    return bytes_make(key.data + SLOT_SIZE, key.size - SLOT_SIZE);
}

/* 4 bytes of the key from `offset` on as a number of the same order; zeros after the end. */
static inline uint32_t tail_of(struct bytes key, size_t offset)
{
    if (key.size >= offset + 4) return load_u32_be(key.data + offset);
    uint32_t tail = 0;
    for (size_t i = 0; i < 4; i++)
        tail = tail << 8 | (offset + i < key.size ? key.data[offset + i] : 0);
    return tail;
}

/* Of a key that is in the node's range of slots, from its tail. */
static inline uint32_t head_make(const struct node *node, uint32_t slot, uint32_t tail)
{
    uint64_t behind = (uint64_t)(slot - node->slot_first) << 32 | tail;
    return (uint32_t)(behind >> node->slot_bits);
}

static inline uint32_t head_of(const struct node *node, struct bytes key)
{
    return head_make(node, slot_of(key), tail_of(key, SLOT_SIZE + (size_t)node->middle_size));
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
static inline uint32_t search_heads(const uint32_t *heads, uint32_t head)
{
    uint32_t line = 0;
#pragma GCC unroll 4
    for (uint32_t i = 0; i < TREE_ITEMS / LINE_HEADS - 1; i++)
        line += heads[i * LINE_HEADS + LINE_HEADS - 1] < head;
    heads += line * LINE_HEADS;
    uint32_t slot = 0;
#pragma GCC unroll 16
    for (uint32_t i = 0; i < LINE_HEADS; i++)
        slot += heads[i] < head;
    return line * LINE_HEADS + slot;
}

/* The heads of slots that are not used are never less than a key's. */
static void pad_heads(struct node *node, uint32_t used_before)
{
    for (uint32_t i = node->count; i < used_before; i++)
        node->heads[i] = UINT32_MAX;
}

void node_init(struct node *node, bool leaf)
{
    node->count = 0;
    node->leaf = leaf;
    node->middle_size = 0;
    node->slot_first = 0;
    node->slot_bits = 0;
    node->next = NULL;
    node->unclean = 0;
    node->spared = 0;
    pad_heads(node, TREE_ITEMS);
}

void node_cut(struct node *node, uint32_t count)
{
    uint32_t before = node->count;
    node->count = (uint16_t)count;
    pad_heads(node, before);
}

/* Short and mostly equal: memcmp() would cost more than it saves. The last words may overlap. */
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, size_t size)
{
    if (size < 8) {
        if (size >= 4)
            return load_u32(a) == load_u32(b) && load_u32(a + size - 4) == load_u32(b + size - 4);
        for (size_t i = 0; i < size; i++) {
            if (a[i] != b[i]) return false;
        }
        return true;
    }
    for (size_t i = 0; i + 8 < size; i += 8) {
        if (load_u64(a + i) != load_u64(b + i)) return false;
    }
    return load_u64(a + size - 8) == load_u64(b + size - 8);
}

/* The slot of a key that does not have the node's middle: before or behind all of its hash slot,
 * as all of those have it. */
static uint32_t search_outside(const struct node *node, uint32_t slot, struct bytes key)
{
    struct bytes middle = bytes_make(node->middle, node->middle_size);
    if (bytes_compare(after_slot(key), middle) <= 0) /* equal: both empty, half a slot of a key */
        return search_heads(node->heads, head_make(node, slot, 0));
    uint32_t last = head_make(node, slot, UINT32_MAX);
    return last == UINT32_MAX ? node->count : search_heads(node->heads, last + 1);
}

/* The common case of a read, the only item of this head and the key itself, without finding out
 * about any order. */
static inline bool is_key(const struct node *node, uint32_t slot, struct bytes key)
{
    bool alone = slot + 1 == node->count || node->heads[slot + 1] != node->heads[slot];
    if (!alone) return false;
    struct bytes there = node_key(node, slot);
    return there.size == key.size && same_bytes(there.data, key.data, key.size);
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
    uint32_t slot = slot_of(key);
    if (slot < node->slot_first) return 0;
    if ((slot - node->slot_first) >> node->slot_bits) return node->count;
    size_t middle_size = node->middle_size;
    bool inside = key.size >= SLOT_SIZE + middle_size &&
                  same_bytes(key.data + SLOT_SIZE, node->middle, middle_size);
    uint32_t low;
    if (!inside) {
        low = search_outside(node, slot, key);
        return low < node->count ? low : node->count;
    }
    uint32_t head = head_of(node, key);
    low = search_heads(node->heads, head);
    if (low >= node->count) return node->count;
    if (node->heads[low] != head) return low;

    __builtin_prefetch((const uint8_t *)node->items[low] + 64); /* a key may lie on two lines */
    *ret_equal = is_key(node, low, key);
    return *ret_equal ? low : search_equal_heads(node, low, key, ret_equal);
}

void *const *node_foresee(const struct node *node, struct bytes key)
{
    uint32_t slot = slot_of(key);
    bool outside = slot < node->slot_first || (slot - node->slot_first) >> node->slot_bits ||
                   key.size < SLOT_SIZE + (size_t)node->middle_size;
    if (outside) return NULL;
    uint32_t head = head_of(node, key);
    uint32_t low = search_heads(node->heads, head);
    return low < node->count && node->heads[low] == head ? &node->items[low] : NULL;
}

static void make_heads(struct node *node)
{
    for (uint32_t i = 0; i < node->count; i++)
        node->heads[i] = head_of(node, node_key(node, i));
}

/* How many bits the slots of a range take, counted from its first. */
static uint8_t bits_of_range(uint32_t first, uint32_t last)
{
    return last == first ? 0 : (uint8_t)(32 - __builtin_clz(last - first));
}

static void set_slots(struct node *node, uint32_t first, uint32_t last)
{
    node->slot_first = (uint16_t)first;
    node->slot_bits = bits_of_range(first, last);
}

static void set_middle(struct node *node, struct bytes middle)
{
    size_t size = middle.size < TREE_MIDDLE_MAX ? middle.size : TREE_MIDDLE_MAX;
    if (size) memmove(node->middle, middle.data, size);
    node->middle_size = (uint8_t)size;
}

/* Widens the range of slots and shortens the middle to what the key shares with the others. */
static void admit_key(struct node *node, struct bytes key)
{
    uint32_t slot = slot_of(key);
    if (node->count == 0) {
        set_slots(node, slot, slot);
        set_middle(node, after_slot(key));
        return;
    }
    struct bytes middle = bytes_make(node->middle, node->middle_size);
    size_t shared = common_size(middle, after_slot(key));
    uint32_t first = node->slot_first;
    bool out = slot < first || (slot - first) >> node->slot_bits;
    if (shared == middle.size && !out) return;
    if (out) {
        first = slot_of(node_key(node, 0));
        uint32_t last = slot_of(node_key(node, node->count - 1u));
        set_slots(node, slot < first ? slot : first, slot > last ? slot : last);
    }
    node->middle_size = (uint8_t)shared;
    make_heads(node);
}

/* The bits of slots when one comes in, clear, at `slot`, or goes. */
static inline uint64_t bits_open(uint64_t bits, uint32_t slot)
{
    uint64_t below = ((uint64_t)1 << slot) - 1;
    return (bits & below) | ((bits & ~below) << 1);
}
static inline uint64_t bits_close(uint64_t bits, uint32_t slot)
{
    uint64_t below = ((uint64_t)1 << slot) - 1;
    return (bits & below) | ((bits >> 1) & ~below);
}

void node_insert(struct node *node, uint32_t slot, void *item, struct bytes key)
{
    ASSERT(node->count < TREE_ITEMS && slot <= node->count);
    admit_key(node, key);
    size_t after = node->count - slot;
    memmove(node->heads + slot + 1, node->heads + slot, after * sizeof(node->heads[0]));
    memmove(node->items + slot + 1, node->items + slot, after * sizeof(node->items[0]));
    node->heads[slot] = head_of(node, key);
    node->items[slot] = item;
    node->count++;

    node->unclean = bits_open(node->unclean, slot) | ((uint64_t)1 << slot);
    node->spared = bits_open(node->spared, slot);
}

void node_remove(struct node *node, uint32_t slot)
{
    ASSERT(slot < node->count);
    size_t after = node->count - slot - 1u;
    memmove(node->heads + slot, node->heads + slot + 1, after * sizeof(node->heads[0]));
    memmove(node->items + slot, node->items + slot + 1, after * sizeof(node->items[0]));
    node_cut(node, node->count - 1u);

    node->unclean = bits_close(node->unclean, slot);
    node->spared = bits_close(node->spared, slot);
}

void node_remove_many(struct node *leaf, uint64_t slots)
{
    uint32_t kept = 0;
    uint64_t unclean = 0, spared = 0;
    for (uint32_t i = 0; i < leaf->count; i++) {
        if (slots >> i & 1) continue;
        leaf->heads[kept] = leaf->heads[i];
        leaf->items[kept] = leaf->items[i];
        unclean |= (leaf->unclean >> i & 1) << kept;
        spared |= (leaf->spared >> i & 1) << kept;
        kept++;
    }
    node_cut(leaf, kept);
    leaf->unclean = unclean;
    leaf->spared = spared;
}

/* Whether the heads of both nodes are made the same way. */
static bool same_heads(const struct node *a, const struct node *b)
{
    return a->slot_first == b->slot_first && a->slot_bits == b->slot_bits &&
           a->middle_size == b->middle_size && memcmp(a->middle, b->middle, a->middle_size) == 0;
}

static void copy_prefix(const struct node *node, struct node *to)
{
    to->slot_first = node->slot_first;
    to->slot_bits = node->slot_bits;
    set_middle(to, bytes_make(node->middle, node->middle_size));
}

void node_move_tail(struct node *node, uint32_t slot, struct node *to)
{
    uint32_t count = node->count - slot;
    ASSERT(slot <= node->count && to->count + count <= TREE_ITEMS);
    if (count == 0) return;
    uint32_t at = to->count;
    if (at == 0) copy_prefix(node, to);
    bool same = same_heads(node, to);
    memcpy(to->items + at, node->items + slot, count * sizeof(node->items[0]));
    to->count = (uint16_t)(at + count);
    if (same) {
        memcpy(to->heads + at, node->heads + slot, count * sizeof(node->heads[0]));
    } else {
        struct bytes middle = bytes_make(node->middle, node->middle_size);
        to->middle_size = (uint8_t)common_size(middle, bytes_make(to->middle, to->middle_size));
        set_slots(to, slot_of(node_key(to, 0)), slot_of(node_key(to, to->count - 1u)));
        make_heads(to);
    }
    to->unclean |= node->unclean >> slot << at; /* slot < 64, as there are items from it on */
    to->spared |= node->spared >> slot << at;
    node->unclean &= ((uint64_t)1 << slot) - 1;
    node->spared &= ((uint64_t)1 << slot) - 1;
    node_cut(node, slot);
}

void node_sharpen(struct node *node)
{
    bool blunt = false;
    for (uint32_t i = 1; i < node->count && !blunt; i++)
        blunt = node->heads[i] == node->heads[i - 1];
    if (!blunt) return;

    struct bytes first = node_key(node, 0), last = node_key(node, node->count - 1u);
    struct bytes middle = after_slot(first);
    middle.size = common_size(middle, after_slot(last));
    bool longer = middle.size > node->middle_size && node->middle_size < TREE_MIDDLE_MAX;
    bool narrower = bits_of_range(slot_of(first), slot_of(last)) < node->slot_bits;
    if (!longer && !narrower) return;

    set_slots(node, slot_of(first), slot_of(last));
    /* Between two hash slots there may be keys without what the first and the last share. */
    for (uint32_t i = 1; i < node->count && node->slot_bits > 0; i++)
        middle.size = common_size(middle, after_slot(node_key(node, i)));
    set_middle(node, middle);
    make_heads(node);
}
