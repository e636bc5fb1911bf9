/* The tree under a row table against a sorted array, with its structure looked at: heads, what
 * nodes leave out of them, separators, links, and the bits of rows, which answers of a table would
 * show late or never. Keys are as unlike and as alike as can be. */
#include "partition/row_table_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/random.h"

enum { ITEMS_MAX = 3000, TAIL_MAX = 70, KEY_MAX = ROW_PREFIX_SIZE + TAIL_MAX + 1, PARTS = 16 };

struct item {
    uint8_t key[KEY_MAX];
    size_t size;
    struct row *row;
    bool unclean, spared;
};

struct bench {
    struct random random;
    struct slabs *slabs;
    struct tree tree;
    struct item items[ITEMS_MAX]; /* sorted */
    size_t count;
    /* Of the keys: range of slots, one namespace or some, and what they begin with behind it. */
    uint32_t slot_first, slot_span;
    bool alike;
    uint8_t parts[PARTS][TAIL_MAX];
    size_t part_sizes[PARTS];
    /* Of a walk: */
    size_t at;
    uint64_t leaves;
    const struct node *last;
    bool hand_seen;
};

static uint32_t below(struct bench *bench, uint32_t bound)
{
    return (uint32_t)random_below(&bench->random, bound);
}

static struct bytes key_of(const struct item *item)
{
    return bytes_make(item->key, item->size);
}

/* --- keys ------------------------------------------------------------------------------------ */

enum { FILLS = 6 };

static uint8_t fill(struct bench *bench, uint32_t kind)
{
    switch (kind) {
    case 0:
        return 0;
    case 1:
        return 0xff;
    case 2:
        return below(bench, 2) ? 0xff : 0;
    case 3:
        return (uint8_t)('0' + below(bench, 10));
    case 4:
        return (uint8_t)below(bench, 256);
    default:
        return 'a';
    }
}

static void draw(struct bench *bench, struct item *item)
{
    static const uint8_t services[] = {1, 1, 1, 0, 2, 0xff};
    static const uint32_t namespaces[] = {0, 1, 2, UINT32_MAX};
    uint32_t slot = bench->slot_first + below(bench, bench->slot_span);
    if (!bench->alike && below(bench, 5) == 0) slot = below(bench, 2) ? 0 : UINT16_MAX;
    uint8_t service = bench->alike ? 1 : services[below(bench, ARRAY_COUNT(services))];
    uint32_t namespace = bench->alike ? 1 : namespaces[below(bench, ARRAY_COUNT(namespaces))];
    row_prefix_store(item->key, (uint16_t)slot, service, namespace);

    uint32_t part = below(bench, PARTS), kind = below(bench, FILLS);
    size_t tail = bench->part_sizes[part];
    if (below(bench, 3) == 0) tail = below(bench, (uint32_t)tail + 1); /* it begins another */
    memcpy(item->key + ROW_PREFIX_SIZE, bench->parts[part], tail);
    size_t more = below(bench, below(bench, 4) ? 8 : TAIL_MAX);
    for (; more > 0 && tail < TAIL_MAX; more--)
        item->key[ROW_PREFIX_SIZE + tail++] = fill(bench, kind);
    item->size = ROW_PREFIX_SIZE + tail;
}

/* The first item that is not below the key. */
static size_t place_of(const struct bench *bench, struct bytes key, bool *ret_equal)
{
    size_t low = 0, high = bench->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(key_of(&bench->items[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret_equal = low < bench->count && bytes_equal(key_of(&bench->items[low]), key);
    return low;
}

/* --- the structure --------------------------------------------------------------------------- */

static uint32_t head_of(const struct node *node, struct bytes key)
{
    uint64_t behind = (uint64_t)(load_u16_be(key.data) - node->slot_first);
    for (size_t i = 0; i < 4; i++) {
        size_t at = 2u + node->middle_size + i;
        behind = behind << 8 | (at < key.size ? key.data[at] : 0);
    }
    return (uint32_t)(behind >> node->slot_bits);
}

static void check_items(const struct node *node)
{
    for (uint32_t i = 0; i < node->count; i++) {
        struct bytes key = node_key(node, i);
        assert_true(key.size >= 2u + node->middle_size);
        assert_memory_equal(key.data + 2, node->middle, node->middle_size);
        assert_true(load_u16_be(key.data) >= node->slot_first);
        assert_true((load_u16_be(key.data) - node->slot_first) >> node->slot_bits == 0);
        assert_int_equal(node->heads[i], head_of(node, key));
        if (i > 0) assert_true(bytes_compare(node_key(node, i - 1), key) < 0);
        if (i > 0) assert_true(node->heads[i - 1] <= node->heads[i]);
    }
    for (uint32_t i = node->count; i < TREE_ITEMS; i++)
        assert_int_equal(node->heads[i], UINT32_MAX);
}

static void check_leaf(struct bench *bench, const struct node *leaf)
{
    uint64_t unclean = 0, spared = 0;
    assert_true(leaf == (bench->last ? bench->last->next : bench->tree.first));
    bench->last = leaf;
    bench->leaves++;
    bench->hand_seen = bench->hand_seen || leaf == bench->tree.hand;
    for (uint32_t i = 0; i < leaf->count; i++) {
        const struct item *item = &bench->items[bench->at++];
        assert_true(leaf_row(leaf, i) == item->row);
        unclean |= (uint64_t)item->unclean << i;
        spared |= (uint64_t)item->spared << i;
    }
    assert_true(leaf->unclean == unclean);
    assert_true(leaf->spared == spared);
}

static void check_node(struct bench *bench, const struct node *node, uint32_t above)
{
    assert_true(node->leaf == (above == 0) && node->count <= TREE_ITEMS);
    check_items(node);
    if (node->leaf) {
        assert_true(node->count > 0 || bench->tree.height == 0);
        check_leaf(bench, node);
        return;
    }
    for (uint32_t i = 0; i <= node->count; i++) {
        size_t first = bench->at;
        check_node(bench, node->children[i], above - 1);
        struct bytes low = key_of(&bench->items[first]),
                     high = key_of(&bench->items[bench->at - 1]);
        if (i > 0) assert_true(bytes_compare(node_key(node, i - 1), low) <= 0);
        if (i < node->count) assert_true(bytes_compare(high, node_key(node, i)) < 0);
    }
}

static void check_tree(struct bench *bench)
{
    bench->at = bench->leaves = 0;
    bench->last = NULL;
    bench->hand_seen = bench->tree.hand == NULL;
    check_node(bench, bench->tree.root, bench->tree.height);
    assert_int_equal(bench->at, bench->count);
    assert_int_equal(bench->leaves, bench->tree.leaves);
    assert_null(bench->last->next);
    assert_true(bench->hand_seen);
}

/* --- steps ----------------------------------------------------------------------------------- */

/* What is asked for ahead is what a search comes to: the first item with the head of a key that is
 * there. */
static void check_foreseen(struct bench *bench, const struct tree_place *place, struct bytes key)
{
    struct tree_search searches[ROWS_FORESEEN_MAX];
    for (uint32_t i = 0; i < ROWS_FORESEEN_MAX; i++)
        searches[i] = (struct tree_search){.tree = &bench->tree, .key = key};
    tree_foresee(searches, 1 + below(bench, ROWS_FORESEEN_MAX));
    void *const *item = node_foresee(place->leaf, key);
    if (place->found) assert_non_null(item);
    if (item == NULL) return;
    size_t first = (size_t)(item - place->leaf->items);
    assert_true(first < place->leaf->count);
    if (!place->found) return;
    assert_true(first <= place->slot);
    for (size_t i = first; i <= place->slot; i++)
        assert_int_equal(place->leaf->heads[i], place->leaf->heads[place->slot]);
    assert_true(first == 0 || place->leaf->heads[first - 1] < place->leaf->heads[first]);
}

static void check_seek(struct bench *bench, struct bytes key)
{
    bool equal;
    size_t want = place_of(bench, key, &equal);
    struct node *leaf;
    uint32_t slot;
    uint8_t *exact = memory_allocate(key.size + 1); /* a sanitizer sees what is read behind it */
    uint8_t *at = exact + 1;
    memcpy(at, key.data, key.size);
    assert_true(tree_seek(&bench->tree, bytes_make(at, key.size), &leaf, &slot) == equal);
    struct tree_place place;
    tree_find(&bench->tree, bytes_make(at, key.size), &place);
    assert_true(place.found == equal && place.leaf == leaf && place.slot == slot);
    check_foreseen(bench, &place, bytes_make(at, key.size));
    memory_free(exact);
    while (leaf && slot >= leaf->count) {
        leaf = leaf->next;
        slot = 0;
    }
    assert_true((leaf == NULL) == (want == bench->count));
    if (leaf) assert_true(leaf_row(leaf, slot) == bench->items[want].row);
}

/* A key that is there or not, or one close to it: shorter, longer, a byte more or less. */
static void seek(struct bench *bench)
{
    struct item item;
    if (bench->count > 0 && below(bench, 4) > 0) {
        item = bench->items[below(bench, (uint32_t)bench->count)];
    } else {
        draw(bench, &item);
    }
    uint32_t at = below(bench, (uint32_t)item.size);
    switch (below(bench, 5)) {
    case 0:
        item.size = at;
        break;
    case 1:
        item.key[item.size++] = below(bench, 2) ? 0xff : 0;
        break;
    case 2:
        item.key[at] = (uint8_t)(item.key[at] + (below(bench, 2) ? 1 : -1));
        break;
    case 3:
        item.size = at + 1;
        item.key[at]++;
        break;
    default:
        break;
    }
    check_seek(bench, key_of(&item));
}

static void insert(struct bench *bench)
{
    struct item item;
    bool equal;
    draw(bench, &item);
    size_t at = place_of(bench, key_of(&item), &equal);
    struct tree_place place;
    tree_find(&bench->tree, key_of(&item), &place);
    assert_true(place.found == equal);
    if (equal || bench->count == ITEMS_MAX) return;

    size_t size = slabs_size(sizeof(struct row) + item.size);
    item.row = slabs_allocate(bench->slabs, size);
    *item.row = (struct row){.key_size = (uint32_t)item.size,
                             .capacity = (uint32_t)(size - sizeof(struct row))};
    memcpy(item.row->data, item.key, item.size);
    tree_insert(&bench->tree, &place, item.row);
    assert_true(leaf_row(place.leaf, place.slot) == item.row);
    uint64_t bit = (uint64_t)1 << place.slot;
    assert_true((place.leaf->unclean & bit) && !(place.leaf->spared & bit));
    item.unclean = below(bench, 2);
    item.spared = below(bench, 2);
    if (!item.unclean) place.leaf->unclean &= ~bit;
    if (item.spared) place.leaf->spared |= bit;
    memmove(bench->items + at + 1, bench->items + at, (bench->count - at) * sizeof(item));
    bench->items[at] = item;
    bench->count++;
}

static void item_drop(struct bench *bench, size_t at)
{
    struct row *row = bench->items[at].row;
    slabs_release(bench->slabs, row, sizeof(*row) + row->capacity);
    bench->count--;
    memmove(bench->items + at, bench->items + at + 1,
            (bench->count - at) * sizeof(bench->items[0]));
}

static void remove_at(struct bench *bench, size_t at)
{
    struct tree_place place;
    tree_find(&bench->tree, key_of(&bench->items[at]), &place);
    assert_true(place.found);
    if (below(bench, 8) == 0) bench->tree.hand = place.leaf;
    tree_remove(&bench->tree, &place);
    item_drop(bench, at);
}

static void remove_many(struct bench *bench)
{
    size_t at = below(bench, (uint32_t)bench->count);
    struct tree_place place;
    tree_find(&bench->tree, key_of(&bench->items[at]), &place);
    uint32_t count = place.leaf->count;
    size_t first = at - place.slot;
    uint64_t slots = random_u64(&bench->random);
    if (below(bench, 3) == 0) slots = UINT64_MAX;
    slots = (slots | (uint64_t)1 << place.slot) & (UINT64_MAX >> (64 - count));
    bench->tree.hand = below(bench, 2) ? place.leaf : place.leaf->next;
    tree_remove_many(&bench->tree, place.leaf, slots);
    for (uint32_t i = count; i-- > 0;)
        if (slots >> i & 1) item_drop(bench, first + i);
}

static void remove_run(struct bench *bench)
{
    size_t at = below(bench, (uint32_t)bench->count);
    for (uint32_t left = below(bench, 300); left > 0 && at < bench->count; left--)
        remove_at(bench, at);
}

static void step(struct bench *bench, uint32_t inserts)
{
    uint32_t dice = below(bench, 1000);
    if (dice < 400) {
        seek(bench);
    } else if (below(bench, 100) < inserts || bench->count == 0) {
        insert(bench);
    } else if (dice < 410) {
        remove_many(bench);
    } else if (dice < 413) {
        remove_run(bench);
    } else {
        remove_at(bench, below(bench, (uint32_t)bench->count));
    }
}

static void bench_make(struct bench *bench, uint64_t seed)
{
    static const uint32_t spans[] = {1, 2, 3, 8, 255, 256, 257, 2048, 16384, 65536};
    memset(bench, 0, sizeof(*bench));
    random_seed(&bench->random, seed);
    bench->slabs = slabs_make();
    tree_init(&bench->tree, bench->slabs);
    bench->slot_span = spans[below(bench, ARRAY_COUNT(spans))];
    bench->slot_first = below(bench, 65536 - bench->slot_span + 1);
    bench->alike = below(bench, 2);
    bool one = below(bench, 3) == 0; /* all begin with the same, more of it or less */
    uint32_t most = below(bench, 3) ? TAIL_MAX + 1 : 6;
    for (uint32_t i = 0; i < PARTS; i++) {
        uint32_t kind = below(bench, FILLS);
        for (uint32_t k = 0; k < TAIL_MAX; k++)
            bench->parts[i][k] = one && i ? bench->parts[0][k] : fill(bench, kind);
        bench->part_sizes[i] = below(bench, most);
    }
}

static void run(struct bench *bench, uint64_t seed, size_t steps)
{
    uint32_t inserts = 0;
    bench_make(bench, seed);
    for (size_t i = 0; i < steps; i++) {
        if (i % 1500 == 0) inserts = i ? 15 + 25 * below(bench, 4) : 90;
        step(bench, inserts);
        if (i % 250 == 0) check_tree(bench);
    }
    check_tree(bench);
    while (bench->count > 0)
        remove_at(bench, below(bench, 2) ? 0 : below(bench, (uint32_t)bench->count));
    check_tree(bench);
    assert_int_equal(bench->tree.height, 0);
    tree_free(&bench->tree);
    slabs_free(bench->slabs);
}

/* HOLON_TREE_SEEDS=n runs more of them. */
static void test_the_tree_is_a_sorted_array_and_keeps_its_structure(void **state)
{
    const char *more = getenv("HOLON_TREE_SEEDS");
    uint64_t seeds = more ? strtoull(more, NULL, 10) : 60;
    struct bench *bench = memory_allocate(sizeof(*bench));
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run(bench, seed, 6000);
    memory_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tree_is_a_sorted_array_and_keeps_its_structure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
