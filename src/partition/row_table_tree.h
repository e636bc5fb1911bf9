/* row_table_tree.h - the B+-tree under a row table: rows in key order, found with few cache
 * misses. Private to row_table*.c.
 *
 *   inner   | heads | separators |      child i: separator[i - 1] <= key < separator[i]
 *             /         |
 *   leaf    | heads | rows |  -> | heads | rows |  -> ...    linked in key order
 *
 * Comparisons rarely leave the node: beside each item is a head, 32 bits of its key in the order
 * of the keys, and only items of an equal head are compared in full. The head leaves out what the
 * keys of a node share, which is at two places: they lie in a range of hash slots, and what
 * follows the slot often begins alike (service, namespace, the id of a collection or "user:00"):
 *
 *   key   | slot: slot_first + d, d < 2^slot_bits | middle | tail ...
 *   head  | d: slot_bits | the first 32 - slot_bits bits of the tail |
 *
 * All keys of a node contain its middle. One that does not lies in front of or behind all those
 * of its slot. The middle need not be the longest one, nor the range the smallest: the node
 * adapts when a key without it comes, and at a split if heads had become equal. (Graefe, "Modern
 * B-Tree Techniques", 3.4, 3.5, has the prefix; a leaf of keys of two slots has a short one.)
 *
 * Each leaf has a bit per row that may be other than clean, so that a flush reads only those; and
 * one per row that was read, so that eviction reads only what it takes, and a reader leaves the
 * row's line of cache as it is. */
#ifndef HOLON_PARTITION_ROW_TABLE_TREE_H
#define HOLON_PARTITION_ROW_TABLE_TREE_H

#include "base/slabs.h"
#include "partition/row_table.h"

enum { TREE_ITEMS = 64, TREE_MIDDLE_MAX = 32, TREE_HEIGHT_MAX = 16 };

/* One version of a row: one allocation, key then value in data. */
struct row {
    struct row *below; /* the version that this one hides, or NULL; only while proposed */
    uint64_t version;
    uint64_t expiry;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t capacity; /* of data */
    uint8_t type;
    uint8_t flags;
    uint8_t state; /* enum row_state */
    bool tombstone : 1;
    bool covered : 1;      /* a newer version is on top */
    bool hides_engine : 1; /* proposed, nothing below: a live row that only the engine has */
    uint8_t data[];
};

/* A key between two children, just long enough to tell them apart and to have their middle. */
struct separator {
    uint32_t size;
    uint8_t data[];
};

struct node {
    uint16_t count;
    bool leaf;
    uint8_t middle_size;
    uint16_t slot_first;
    uint8_t slot_bits;
    uint8_t middle[TREE_MIDDLE_MAX];
    struct node *next; /* leaf */
    uint64_t unclean;  /* leaf: bit i clear: rows[i] is clean, and has nothing below */
    uint64_t spared;   /* leaf: rows that the next pass of eviction lets stay: they were read */
    uint32_t heads[TREE_ITEMS];
    void *items[TREE_ITEMS]; /* leaf: struct row *; inner: struct separator * */
    struct node *children[]; /* inner: TREE_ITEMS + 1 */
};

_Static_assert(offsetof(struct node, heads) == 64, "a leaf takes 13 lines of cache, not 14");
_Static_assert(TREE_ITEMS <= 64, "a leaf's bits are one word");

struct tree {
    struct node *root;
    uint32_t height; /* inner nodes above a leaf */
    struct slabs *slabs;
    uint64_t bytes; /* of nodes and separators */
    uint64_t leaves;
    struct node *first; /* leaf */
    struct node *hand;  /* leaf where eviction goes on; NULL: the first */
};

/* Where a key is or belongs, and how the descent went there. */
struct tree_place {
    struct node *leaf;
    uint32_t slot;
    bool found;
    uint32_t depth; /* of inner nodes above the leaf */
    struct node *nodes[TREE_HEIGHT_MAX];
    uint32_t child[TREE_HEIGHT_MAX]; /* which child was taken */
};

static inline struct bytes row_key(const struct row *row)
{
    return bytes_make(row->data, row->key_size);
}

static inline struct row *leaf_row(const struct node *leaf, uint32_t slot)
{
    return leaf->items[slot];
}

void tree_init(struct tree *tree, struct slabs *slabs);
/* Frees nodes and separators, not rows. */
void tree_free(struct tree *tree);

void tree_find(const struct tree *tree, struct bytes key, struct tree_place *ret_place);
/* Like tree_find() without the way there: leaf and slot of the first key >= `key`; the slot
 * may be one past the leaf's last. True if it is `key`. */
bool tree_seek(const struct tree *tree, struct bytes key, struct node **ret_leaf,
               uint32_t *ret_slot);
/* Has the processor fetch what these searches will read, all at once: one search after the other
 * waits for a leaf, for its item and for the row. Changes nothing. */
struct tree_search {
    const struct tree *tree;
    struct bytes key;
};
void tree_foresee(const struct tree_search *searches, uint32_t count);
/* Inserts a row of a key that is not there, at its place; sets place to where it went. */
void tree_insert(struct tree *tree, struct tree_place *place, struct row *row);
/* Takes the row at a found place out of the tree; the place is used up. */
void tree_remove(struct tree *tree, struct tree_place *place);
/* Takes the rows of these bits, one at least, out of a leaf; it may be gone then. */
void tree_remove_many(struct tree *tree, struct node *leaf, uint64_t slots);

/* row_table_node.c: items of one node. */

void node_init(struct node *node, bool leaf);
/* Keeps the first `count` items. */
void node_cut(struct node *node, uint32_t count);
/* First item whose key is >= `key`; *ret_equal: it is `key`. */
uint32_t node_search(const struct node *node, struct bytes key, bool *ret_equal);
/* Where node_search() begins to compare whole keys; NULL: it most likely compares none. */
void *const *node_foresee(const struct node *node, struct bytes key);
/* Makes room at `slot` and puts the item there; count < TREE_ITEMS. A leaf's bit is set. */
void node_insert(struct node *node, uint32_t slot, void *item, struct bytes key);
void node_remove(struct node *node, uint32_t slot);
void node_remove_many(struct node *leaf, uint64_t slots);
/* Appends the items from `slot` on to `to`, which may be new, and drops them here. */
void node_move_tail(struct node *node, uint32_t slot, struct node *to);
/* Lengthens the prefix if that tells apart items whose heads are equal. */
void node_sharpen(struct node *node);
struct bytes node_key(const struct node *node, uint32_t slot);

#endif
