#include "partition/row_table_tree.h"

#include "base/assert.h"

/* A leaf with fewer rows joins its neighbour, if both together leave room to grow. */
enum { MERGE_BELOW = TREE_ITEMS / 4, MERGED_MAX = TREE_ITEMS * 3 / 4 };
enum { SEPARATOR_ALIKE_MAX = 2 + TREE_MIDDLE_MAX, LINE_SIZE = 64 };

static size_t node_size(bool leaf)
{
    return slabs_size(sizeof(struct node) + (leaf ? 0 : (TREE_ITEMS + 1) * sizeof(struct node *)));
}

static struct node *node_make(struct tree *tree, bool leaf)
{
    struct node *node = slabs_allocate(tree->slabs, node_size(leaf));
    node_init(node, leaf);
    tree->bytes += node_size(leaf);
    tree->leaves += leaf;
    return node;
}

static void node_free(struct tree *tree, struct node *node)
{
    tree->bytes -= node_size(node->leaf);
    tree->leaves -= node->leaf;
    slabs_release(tree->slabs, node, node_size(node->leaf));
}

/* The shortest key k with left < k <= right that goes on after the hash slot as far as both do
 * alike: so that it does not shorten the middle of its node. */
static struct separator *separator_make(struct tree *tree, struct bytes left, struct bytes right)
{
    size_t size = 0;
    while (size < left.size && size < right.size && left.data[size] == right.data[size])
        size++;
    ASSERT(size < right.size);
    size++;
    if (size <= 2) {
        while (size < right.size && size < left.size && size < SEPARATOR_ALIKE_MAX &&
               (size < 2 || left.data[size] == right.data[size]))
            size++;
    }
    struct separator *separator = slabs_allocate(tree->slabs, sizeof(*separator) + size);
    separator->size = (uint32_t)size;
    memcpy(separator->data, right.data, size);
    tree->bytes += slabs_size(sizeof(*separator) + size);
    return separator;
}

static void separator_free(struct tree *tree, struct separator *separator)
{
    size_t size = sizeof(*separator) + separator->size;
    tree->bytes -= slabs_size(size);
    slabs_release(tree->slabs, separator, size);
}

void tree_init(struct tree *tree, struct slabs *slabs)
{
    *tree = (struct tree){.slabs = slabs};
    tree->root = node_make(tree, true);
    tree->first = tree->root;
}

static void free_below(struct tree *tree, struct node *node)
{
    if (!node->leaf) {
        for (uint32_t i = 0; i < node->count; i++)
            separator_free(tree, node->items[i]);
        for (uint32_t i = 0; i <= node->count; i++)
            free_below(tree, node->children[i]);
    }
    node_free(tree, node);
}

void tree_free(struct tree *tree)
{
    free_below(tree, tree->root);
    ASSERT(tree->bytes == 0);
}

/* The child whose range holds the key: a key equal to a separator is right of it. */
static uint32_t child_of(const struct node *node, struct bytes key)
{
    bool equal;
    uint32_t child = node_search(node, key, &equal);
    return child + equal;
}

/* Asks for all that a search of the next node may read, at once: a search would wait for line
 * after line. */
static inline void prefetch_node(const struct node *node, bool leaf)
{
    const char *line = (const char *)node;
    for (size_t i = 0; i <= sizeof(node->heads); i += 64) /* the first line is before them */
        __builtin_prefetch(line + i);
    line = leaf ? (const char *)node->items : (const char *)node->children;
    for (size_t i = 0; i < sizeof(node->items); i += 64)
        __builtin_prefetch(line + i);
}

void tree_find(const struct tree *tree, struct bytes key, struct tree_place *ret_place)
{
    struct node *node = tree->root;
    ret_place->depth = 0;
    for (uint32_t above = tree->height; above > 0; above--) {
        ASSERT(ret_place->depth < TREE_HEIGHT_MAX);
        uint32_t child = child_of(node, key);
        ret_place->nodes[ret_place->depth] = node;
        ret_place->child[ret_place->depth] = child;
        ret_place->depth++;
        node = node->children[child];
        prefetch_node(node, above == 1);
    }
    ret_place->leaf = node;
    ret_place->slot = node_search(node, key, &ret_place->found);
}

static const struct node *foresee_leaf(const struct tree_search *search)
{
    const struct node *node = search->tree->root;
    for (uint32_t above = search->tree->height; above > 0; above--) {
        node = node->children[child_of(node, search->key)];
        if (above > 1) prefetch_node(node, false);
    }
    const char *line = (const char *)node;
    for (size_t i = 0; i <= sizeof(node->heads); i += LINE_SIZE)
        __builtin_prefetch(line + i);
    return node;
}

/* Step by step, and each step for all keys: what one of them waits for comes while the others are
 * looked at. */
void tree_foresee(const struct tree_search *searches, uint32_t count)
{
    const struct node *leaves[ROWS_FORESEEN_MAX];
    void *const *items[ROWS_FORESEEN_MAX];
    ASSERT(count <= ROWS_FORESEEN_MAX);
    for (uint32_t i = 0; i < count; i++) {
        const struct tree *tree = searches[i].tree;
        if (tree->height > 0) prefetch_node(tree->root, false);
    }
    for (uint32_t i = 0; i < count; i++)
        leaves[i] = foresee_leaf(&searches[i]);
    for (uint32_t i = 0; i < count; i++) {
        items[i] = node_foresee(leaves[i], searches[i].key);
        if (items[i] != NULL) __builtin_prefetch(items[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (items[i] == NULL) continue;
        const char *row = *items[i];
        __builtin_prefetch(row);
        __builtin_prefetch(row + LINE_SIZE); /* a key may lie on two lines */
    }
}

bool tree_seek(const struct tree *tree, struct bytes key, struct node **ret_leaf,
               uint32_t *ret_slot)
{
    struct node *node = tree->root;
    for (uint32_t above = tree->height; above > 0; above--) {
        node = node->children[child_of(node, key)];
        prefetch_node(node, above == 1);
    }
    bool found;
    *ret_leaf = node;
    *ret_slot = node_search(node, key, &found);
    return found;
}

/* Puts `right`, split off the child at place->child[depth - 1], into the parents. */
static void insert_child(struct tree *tree, struct tree_place *place, uint32_t depth,
                         struct separator *separator, struct node *right)
{
    if (depth == 0) {
        struct node *root = node_make(tree, false);
        root->children[0] = tree->root;
        root->children[1] = right;
        node_insert(root, 0, separator, bytes_make(separator->data, separator->size));
        tree->root = root;
        tree->height++;
        return;
    }
    struct node *node = place->nodes[depth - 1];
    uint32_t child = place->child[depth - 1];
    if (node->count == TREE_ITEMS) {
        /* The middle separator moves up; what is right of it goes to a new node. */
        uint32_t middle = TREE_ITEMS / 2;
        bool at_end = child == TREE_ITEMS;
        if (at_end) middle = TREE_ITEMS - 2; /* rising keys fill their nodes */
        struct node *sibling = node_make(tree, false);
        size_t count = TREE_ITEMS - middle;
        node_move_tail(node, middle + 1, sibling);
        memcpy(sibling->children, node->children + middle + 1, count * sizeof(struct node *));
        struct separator *up = node->items[middle];
        node_cut(node, middle);
        node_sharpen(node);
        node_sharpen(sibling);
        insert_child(tree, place, depth - 1, up, sibling);
        if (child > middle) {
            node = sibling;
            child -= middle + 1;
        }
    }
    node_insert(node, child, separator, bytes_make(separator->data, separator->size));
    size_t after = node->count - 1u - child;
    memmove(node->children + child + 2, node->children + child + 1, after * sizeof(struct node *));
    node->children[child + 1] = right;
}

static void split_leaf(struct tree *tree, struct tree_place *place)
{
    struct node *leaf = place->leaf;
    struct node *right = node_make(tree, true);
    bool at_end = place->slot == TREE_ITEMS && leaf->next == NULL;
    /* Rising keys (loads, appends) leave full leaves behind. */
    uint32_t middle = at_end ? TREE_ITEMS - 1 : TREE_ITEMS / 2;
    node_move_tail(leaf, middle, right);
    node_sharpen(leaf);
    node_sharpen(right);

    right->next = leaf->next;
    leaf->next = right;

    struct separator *separator =
        separator_make(tree, row_key(leaf_row(leaf, middle - 1)), row_key(leaf_row(right, 0)));
    insert_child(tree, place, place->depth, separator, right);
    if (place->slot > middle) {
        place->leaf = right;
        place->slot -= middle;
    } else if (place->slot == middle) {
        /* Between both leaves the separator decides, as it will for every later search: the
         * caller finds the place again. */
        place->leaf = NULL;
    }
}

void tree_insert(struct tree *tree, struct tree_place *place, struct row *row)
{
    ASSERT(!place->found);
    if (place->leaf->count == TREE_ITEMS) {
        split_leaf(tree, place);
        if (place->leaf == NULL) tree_find(tree, row_key(row), place);
    }
    node_insert(place->leaf, place->slot, row, row_key(row));
    place->found = true;
}

/* Takes child `child` and the separator beside it out of the inner node at `depth - 1`; an
 * inner node without children goes too, and a root with a single child gives way to it. */
static void remove_child(struct tree *tree, struct tree_place *place, uint32_t depth)
{
    struct node *node = place->nodes[depth - 1];
    uint32_t child = place->child[depth - 1];
    if (node->count == 0) { /* it was the only child */
        ASSERT(depth > 1);
        remove_child(tree, place, depth - 1);
        node_free(tree, node);
        return;
    }
    uint32_t slot = child > 0 ? child - 1 : 0;
    separator_free(tree, node->items[slot]);
    size_t after = node->count - child;
    memmove(node->children + child, node->children + child + 1, after * sizeof(struct node *));
    node_remove(node, slot);
    while (tree->height > 0 && tree->root->count == 0) {
        struct node *root = tree->root;
        tree->root = root->children[0];
        tree->height--;
        node_free(tree, root);
    }
}

/* The leaf in front of the one at a place, or NULL. */
static struct node *leaf_before(const struct tree_place *place)
{
    uint32_t depth = place->depth;
    while (depth > 0 && place->child[depth - 1] == 0)
        depth--;
    if (depth == 0) return NULL;
    struct node *node = place->nodes[depth - 1]->children[place->child[depth - 1] - 1];
    while (!node->leaf)
        node = node->children[node->count];
    return node;
}

static void unlink_leaf(struct tree *tree, struct node *leaf, struct node *before)
{
    if (before) {
        before->next = leaf->next;
    } else {
        tree->first = leaf->next;
    }
    if (tree->hand == leaf) tree->hand = leaf->next;
}

/* Moves the rows of the leaf's right neighbour under the same parent into it, if few. */
static void merge_with_next(struct tree *tree, struct tree_place *place, uint32_t child)
{
    struct node *parent = place->nodes[place->depth - 1];
    struct node *leaf = parent->children[child];
    struct node *next = parent->children[child + 1];
    if (leaf->count + next->count > MERGED_MAX) return;
    node_move_tail(next, 0, leaf);
    place->child[place->depth - 1] = child + 1;
    remove_child(tree, place, place->depth);
    unlink_leaf(tree, next, leaf);
    node_free(tree, next);
}

/* A leaf that has lost rows goes if it is empty, and joins a neighbour if it has few. */
static void mend_leaf(struct tree *tree, struct tree_place *place)
{
    struct node *leaf = place->leaf;
    if (place->depth == 0 || leaf->count >= MERGE_BELOW) return;
    if (leaf->count == 0) {
        struct node *before = leaf_before(place);
        remove_child(tree, place, place->depth);
        unlink_leaf(tree, leaf, before);
        node_free(tree, leaf);
        return;
    }
    uint32_t child = place->child[place->depth - 1];
    if (child < place->nodes[place->depth - 1]->count) {
        merge_with_next(tree, place, child);
    } else if (child > 0) {
        merge_with_next(tree, place, child - 1);
    }
}

void tree_remove(struct tree *tree, struct tree_place *place)
{
    ASSERT(place->found);
    node_remove(place->leaf, place->slot);
    mend_leaf(tree, place);
}

void tree_remove_many(struct tree *tree, struct node *leaf, uint64_t slots)
{
    uint32_t left = leaf->count - (uint32_t)__builtin_popcountll(slots);
    struct tree_place place;
    if (left < MERGE_BELOW) tree_find(tree, row_key(leaf_row(leaf, 0)), &place);
    node_remove_many(leaf, slots);
    if (left < MERGE_BELOW) mend_leaf(tree, &place);
}
