#include "partition/dedup.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/map.h"
#include "base/memory.h"

enum {
    DEDUP_FORMAT = 1,
    OUTCOME_INLINE_MAX = 12,
    DEDUP_WINDOWS_MAX = NODES_MAX * WORKERS_MAX,
    DEDUP_SLOTS_MAX = 1 << 16, /* a seq spread is a u16 */
    SLOTS_KEPT = 64,           /* a window that is not full keeps so many */
};

struct dedup_slot {
    _Alignas(8) uint8_t outcome[OUTCOME_INLINE_MAX]; /* or a pointer to it */
    uint32_t size : 31;
    uint32_t too_big : 1;
    uint64_t seq;
    uint64_t index;
};
_Static_assert(sizeof(struct dedup_slot) == 32, "two in a line of cache");
_Static_assert(OUTCOME_SIZE_MAX < 1u << 31, "its size has 31 bits");

struct dedup_window { /* a line of cache */
    struct gateway_id gateway;
    uint64_t watermark; /* applied: seqs <= it are stale */
    uint64_t highest;   /* of all seqs in the window, proposed included */
    struct dedup_slot *slots;
    uint32_t first, applied_end, end, capacity; /* [first, applied_end) applied, then proposed */
    uint32_t outcome_bytes;                     /* beside the slots */
    bool unordered;                             /* seqs do not rise along the slots */
    bool fences;                                /* the least epoch alive of its node is its own */
};
_Static_assert(sizeof(struct dedup_window) <= 64, "it is cold whenever it is needed");
_Static_assert(DEDUP_SLOTS_MAX <= UINT32_MAX / 2 / OUTCOME_SIZE_MAX, "outcome_bytes");

struct dedup {
    struct dedup_window *last; /* asked for last: mostly the next as well */
    struct map windows;        /* by node, worker, epoch */
    struct map fences;         /* node -> least epoch alive */
};

static uint64_t window_key(struct gateway_id gateway)
{
    return ((uint64_t)gateway.node << 48) | ((uint64_t)gateway.worker << 32) | gateway.epoch;
}

static uint8_t *slot_memory(const struct dedup_slot *slot)
{
    uint8_t *memory;
    memcpy(&memory, slot->outcome, sizeof(memory));
    return memory;
}

static struct bytes slot_outcome(const struct dedup_slot *slot)
{
    bool here = slot->size <= OUTCOME_INLINE_MAX;
    return bytes_make(here ? slot->outcome : slot_memory(slot), slot->size);
}

static void slot_clear(struct dedup_window *window, struct dedup_slot *slot)
{
    if (slot->size > OUTCOME_INLINE_MAX) {
        window->outcome_bytes -= slot->size;
        memory_free(slot_memory(slot));
    }
    slot->size = 0;
}

static void slot_fill(struct dedup_window *window, struct dedup_slot *slot, uint64_t seq,
                      uint64_t index, struct bytes outcome, bool too_big)
{
    *slot = (struct dedup_slot){.seq = seq, .index = index, .too_big = too_big};
    slot->size = (uint32_t)outcome.size & 0x7fffffff;
    uint8_t *at = slot->outcome;
    if (outcome.size > OUTCOME_INLINE_MAX) {
        at = memory_allocate(outcome.size);
        memcpy(slot->outcome, &at, sizeof(at));
        window->outcome_bytes += (uint32_t)outcome.size;
    }
    if (outcome.size > 0) memcpy(at, outcome.data, outcome.size);
}

static void window_free(struct dedup_window *window)
{
    for (size_t i = window->first; i < window->end; i++)
        slot_clear(window, &window->slots[i]);
    memory_free(window->slots);
    memory_free(window);
}

static void window_resize(struct dedup_window *window, uint32_t capacity)
{
    uint32_t count = window->end - window->first;
    ASSERT(count <= capacity);
    if (capacity == window->capacity) {
        memmove(window->slots, window->slots + window->first, count * sizeof(*window->slots));
    } else {
        struct dedup_slot *slots = memory_allocate_lines(capacity * sizeof(*slots));
        if (count > 0) memcpy(slots, window->slots + window->first, count * sizeof(*slots));
        memory_free(window->slots);
        window->slots = slots;
        window->capacity = capacity;
    }
    window->applied_end -= window->first;
    window->end = count;
    window->first = 0;
}

/* Room for one more slot at the end; moves the content down or grows. */
static void window_make_room(struct dedup_window *window)
{
    if (window->end < window->capacity) return;
    bool enough = window->first > window->capacity / 2;
    uint32_t more = window->capacity == 0 ? 4 : window->capacity * 2;
    window_resize(window, enough ? window->capacity : more);
}

static void window_push(struct dedup_window *window, uint64_t seq, uint64_t index,
                        struct bytes outcome, bool too_big)
{
    window_make_room(window);
    bool empty = window->end == window->first;
    bool rises = empty || (!window->unordered && window->slots[window->end - 1].seq < seq);
    window->unordered = !rises;
    slot_fill(window, &window->slots[window->end++], seq, index, outcome, too_big);
    if (seq > window->highest) window->highest = seq;
}

static struct dedup_window *window_make(struct dedup *dedup, struct gateway_id gateway)
{
    struct dedup_window *window = memory_allocate_lines(sizeof(*window));
    window->gateway = gateway;
    void *older = map_put(&dedup->windows, window_key(gateway), window);
    ASSERT(older == NULL);
    return window;
}

static struct dedup_window *window_known(const struct dedup *dedup, struct gateway_id gateway)
{
    struct dedup_window *last = dedup->last;
    if (last != NULL && window_key(last->gateway) == window_key(gateway)) return last;
    return map_get(&dedup->windows, window_key(gateway));
}

static struct dedup_window *window_for(struct dedup *dedup, struct gateway_id gateway)
{
    struct dedup_window *window = window_known(dedup, gateway);
    if (window == NULL) window = window_make(dedup, gateway);
    dedup->last = window;
    return window;
}

static boot_epoch_t fence_of(const struct dedup *dedup, node_id_t node)
{
    return (boot_epoch_t)(uintptr_t)map_get(&dedup->fences, node);
}

struct dedup *dedup_make(void)
{
    struct dedup *dedup = memory_allocate_zero(sizeof(*dedup));
    map_init(&dedup->windows);
    map_init(&dedup->fences);
    return dedup;
}

void dedup_forget_all(struct dedup *dedup)
{
    void *value;
    uint64_t key;
    dedup->last = NULL;
    for (size_t i = 0; map_next(&dedup->windows, &i, &key, &value);)
        window_free(value);
    map_free(&dedup->windows);
    map_init(&dedup->windows);
}

void dedup_free(struct dedup *dedup)
{
    if (dedup == NULL) return;
    dedup_forget_all(dedup);
    map_free(&dedup->windows);
    map_free(&dedup->fences);
    memory_free(dedup);
}

/* A route that is sent again asks for everything in the window: not a walk each time. */
static const struct dedup_slot *window_find(const struct dedup_window *window, uint64_t seq)
{
    size_t low = window->first, high = window->end;
    while (low < high && !window->unordered) {
        size_t middle = low + (high - low) / 2;
        if (window->slots[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    while (low < window->end && window->unordered && window->slots[low].seq != seq)
        low++;
    bool found = low < window->end && window->slots[low].seq == seq;
    return found ? &window->slots[low] : NULL;
}

enum dedup_result dedup_find(const struct dedup *dedup, struct gateway_id gateway, uint64_t seq,
                             uint64_t *ret_index, struct bytes *ret_outcome, bool *ret_too_big)
{
    const struct dedup_window *window = window_known(dedup, gateway);
    bool alive = window != NULL && window->fences; /* or it would be gone */
    if (!alive && gateway.epoch < fence_of(dedup, gateway.node)) return DEDUP_FENCED;
    if (window == NULL || seq > window->highest) return DEDUP_NEW;
    const struct dedup_slot *slot = window_find(window, seq);
    if (slot == NULL) return seq <= window->watermark ? DEDUP_STALE : DEDUP_NEW;
    *ret_index = slot->index;
    *ret_outcome = slot_outcome(slot);
    *ret_too_big = slot->too_big;
    return DEDUP_KNOWN;
}

void dedup_propose(struct dedup *dedup, const struct entry_header *header, uint64_t index)
{
    struct dedup_window *window = window_for(dedup, header->gateway);
    ASSERT(window->end == window->first || window->slots[window->end - 1].index < index);
    window_push(window, header->seq, index, header->outcome,
                (header->flags & ENTRY_OUTCOME_TOO_BIG) != 0);
}

static void window_trim(struct dedup_window *window)
{
    while (window->first < window->applied_end &&
           window->slots[window->first].seq <= window->watermark) {
        slot_clear(window, &window->slots[window->first++]);
    }
    size_t count = window->end - window->first;
    if (count == 0) window->first = window->applied_end = window->end = 0; /* memory that is warm */
    if (window->capacity > SLOTS_KEPT && count < window->capacity / 8)
        window_resize(window, window->capacity / 2);
}

void dedup_apply(struct dedup *dedup, const struct entry_header *header, uint64_t index)
{
    struct dedup_window *window = window_known(dedup, header->gateway);
    if (window == NULL || !window->fences) {
        dedup_fence(dedup, header->gateway.node, header->gateway.epoch);
        window = window_for(dedup, header->gateway);
        window->fences = fence_of(dedup, header->gateway.node) == header->gateway.epoch;
    }
    dedup->last = window;
    bool own_proposal =
        window->applied_end < window->end && window->slots[window->applied_end].index == index;
    if (!own_proposal) {
        ASSERT(window->applied_end == window->end);
        window_push(window, header->seq, index, header->outcome,
                    (header->flags & ENTRY_OUTCOME_TOO_BIG) != 0);
    }
    window->applied_end++;
    uint64_t watermark = header->seq - header->watermark_distance;
    if (watermark > window->watermark) window->watermark = watermark;
    window_trim(window);
}

void dedup_fence(struct dedup *dedup, node_id_t node, boot_epoch_t epoch)
{
    if (epoch <= fence_of(dedup, node)) return;
    map_put(&dedup->fences, node, (void *)(uintptr_t)epoch);
    for (bool found = true; found;) {
        found = false;
        void *value;
        uint64_t key;
        for (size_t i = 0; !found && map_next(&dedup->windows, &i, &key, &value);) {
            struct dedup_window *window = value;
            found = window->gateway.node == node && window->gateway.epoch < epoch;
            if (!found) continue;
            map_remove(&dedup->windows, key);
            if (dedup->last == window) dedup->last = NULL;
            window_free(window);
        }
    }
}

static void window_revert(struct dedup_window *window)
{
    for (size_t i = window->applied_end; i < window->end; i++)
        slot_clear(window, &window->slots[i]);
    window->end = window->applied_end;
    window->highest = window->watermark;
    window->unordered = false;
    for (size_t i = window->first; i < window->end; i++) {
        if (i > window->first && window->slots[i].seq < window->slots[i - 1].seq)
            window->unordered = true;
        if (window->slots[i].seq > window->highest) window->highest = window->slots[i].seq;
    }
}

void dedup_revert(struct dedup *dedup)
{
    void *value;
    uint64_t key;
    for (size_t i = 0; map_next(&dedup->windows, &i, &key, &value);)
        window_revert(value);
}

/* Windows in the order of (node, worker), so that equal state gives equal bytes. */
static size_t windows_sorted(const struct dedup *dedup, struct dedup_window ***ret_windows)
{
    struct dedup_window **windows = memory_allocate((dedup->windows.count + 1) * sizeof(*windows));
    size_t count = 0;
    void *value;
    uint64_t key;
    for (size_t i = 0; map_next(&dedup->windows, &i, &key, &value);) {
        struct dedup_window *window = value;
        if (window->watermark == 0 && window->applied_end == window->first) continue;
        size_t at = count++;
        while (at > 0 && window_key(windows[at - 1]->gateway) > key) {
            windows[at] = windows[at - 1];
            at--;
        }
        windows[at] = window;
    }
    *ret_windows = windows;
    return count;
}

static void window_encode(const struct dedup_window *window, struct writer *writer)
{
    write_u32(writer, window->gateway.node);
    write_u32(writer, window->gateway.epoch);
    write_u16(writer, window->gateway.worker);
    write_u64(writer, window->watermark);
    write_u32(writer, (uint32_t)(window->applied_end - window->first));
    for (size_t i = window->first; i < window->applied_end; i++) {
        const struct dedup_slot *slot = &window->slots[i];
        write_u64(writer, slot->seq);
        write_u64(writer, slot->index);
        write_u8(writer, slot->too_big);
        write_sized(writer, slot_outcome(slot));
    }
}

/* u8 format | u32 fence count | (u32 node, u32 epoch)... | u32 window count | windows. */
void dedup_encode(const struct dedup *dedup, struct buffer *buffer)
{
    struct writer writer = writer_make(buffer);
    struct dedup_window **windows;
    size_t count = windows_sorted(dedup, &windows);
    write_u8(&writer, DEDUP_FORMAT);
    write_u32(&writer, (uint32_t)dedup->fences.count);
    uint32_t fences = 0;
    for (node_id_t node = 1; node <= NODES_MAX; node++) {
        if (fence_of(dedup, node) == 0) continue;
        write_u32(&writer, node);
        write_u32(&writer, fence_of(dedup, node));
        fences++;
    }
    ASSERT(fences == dedup->fences.count);
    write_u32(&writer, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        window_encode(windows[i], &writer);
    memory_free(windows);
    ASSERT(!writer.failed);
}

static bool window_decode(struct dedup *dedup, struct reader *reader)
{
    struct gateway_id gateway = {
        .node = read_u32(reader), .epoch = read_u32(reader), .worker = read_u16(reader)};
    uint64_t watermark = read_u64(reader);
    uint32_t slots = read_u32(reader);
    bool sane = !reader->failed && gateway.node >= 1 && gateway.node <= NODES_MAX &&
                gateway.worker < WORKERS_MAX && slots <= DEDUP_SLOTS_MAX &&
                map_get(&dedup->windows, window_key(gateway)) == NULL;
    if (!sane) return false;
    struct dedup_window *window = window_make(dedup, gateway);
    window->watermark = watermark;
    window->highest = watermark;
    for (uint32_t i = 0; i < slots; i++) {
        uint64_t seq = read_u64(reader);
        uint64_t index = read_u64(reader);
        bool too_big = read_u8(reader) != 0;
        struct bytes outcome = read_sized(reader);
        if (reader->failed || outcome.size > OUTCOME_SIZE_MAX) return false;
        window_push(window, seq, index, outcome, too_big);
    }
    window->applied_end = window->end;
    return true;
}

enum status dedup_decode(struct dedup *dedup, struct bytes bytes)
{
    struct reader reader = reader_make(bytes);
    dedup_forget_all(dedup);
    map_free(&dedup->fences);
    map_init(&dedup->fences);
    if (read_u8(&reader) != DEDUP_FORMAT) return STATUS_VERSION;
    uint32_t fences = read_u32(&reader);
    if (fences > NODES_MAX) return STATUS_CORRUPT;
    for (uint32_t i = 0; i < fences; i++) {
        node_id_t node = read_u32(&reader);
        boot_epoch_t epoch = read_u32(&reader);
        if (reader.failed || node == 0 || node > NODES_MAX || epoch == 0) return STATUS_CORRUPT;
        map_put(&dedup->fences, node, (void *)(uintptr_t)epoch);
    }
    uint32_t windows = read_u32(&reader);
    if (reader.failed || windows > DEDUP_WINDOWS_MAX) return STATUS_CORRUPT;
    for (uint32_t i = 0; i < windows; i++) {
        if (!window_decode(dedup, &reader)) return STATUS_CORRUPT;
    }
    return reader_left(&reader) == 0 ? STATUS_OK : STATUS_CORRUPT;
}

uint64_t dedup_bytes(const struct dedup *dedup)
{
    uint64_t key, bytes = 0;
    void *value;

    for (size_t i = 0; map_next(&dedup->windows, &i, &key, &value);) {
        const struct dedup_window *window = value;
        bytes +=
            sizeof(*window) + window->capacity * sizeof(*window->slots) + window->outcome_bytes;
    }
    return bytes;
}

uint64_t dedup_hash(const struct dedup *dedup)
{
    struct buffer buffer;
    buffer_init(&buffer, SIZE_MAX / 2);
    dedup_encode(dedup, &buffer);
    uint64_t hash = hash64(0, buffer_bytes(&buffer));
    buffer_free(&buffer);
    return hash;
}
