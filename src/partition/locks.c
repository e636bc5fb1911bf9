#include "partition/locks.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/memory.h"

/* Keys are found by their hash; those of one hash are a chain. */
struct lock {
    struct lock *next; /* of the same hash */
    struct holder *holder;
    struct bytes key; /* of the holder */
    uint64_t hash;
    bool exclusive;
};

struct holder { /* a prepared transaction */
    struct list link;
    struct txn_id id;
    uint32_t lock_count, range_count, namespace_count;
    struct lock *locks;
    struct bytes *ranges; /* from, to */
    uint64_t *namespaces; /* service << 32 | namespace: counted */
    uint64_t bytes;
    uint8_t memory[]; /* of keys and ranges */
};

struct locks {
    struct map by_hash;         /* struct lock */
    struct list holders;        /* in the order in which they came */
    uint32_t count, wide_count; /* the latter hold ranges or counts, too */
    uint64_t bytes, keys;
};

static bool is_wide(const struct holder *holder)
{
    return holder->range_count > 0 || holder->namespace_count > 0;
}

struct locks *locks_make(void)
{
    struct locks *locks = memory_allocate_zero(sizeof(*locks));
    map_init(&locks->by_hash);
    list_init(&locks->holders);
    return locks;
}

static struct holder *holder_at(const struct list *link)
{
    return CONTAINER_OF(link, struct holder, link);
}

static void holder_free(struct holder *holder)
{
    list_remove(&holder->link);
    memory_free(holder->locks);
    memory_free(holder->ranges);
    memory_free(holder->namespaces);
    memory_free(holder);
}

void locks_free(struct locks *locks)
{
    if (locks == NULL) return;
    while (!list_empty(&locks->holders))
        holder_free(holder_at(locks->holders.next));
    map_free(&locks->by_hash);
    memory_free(locks);
}

uint32_t locks_count(const struct locks *locks)
{
    return locks == NULL ? 0 : locks->count;
}

uint64_t locks_keys(const struct locks *locks)
{
    return locks == NULL ? 0 : locks->keys;
}

uint64_t locks_bytes(const struct locks *locks)
{
    return locks == NULL ? 0 : locks->bytes;
}

static struct holder *find(const struct locks *locks, struct txn_id id)
{
    for (struct list *at = locks->holders.next; at != &locks->holders; at = at->next)
        if (txn_id_equal(holder_at(at)->id, id)) return holder_at(at);
    return NULL;
}

/* --- adding --- */

static uint32_t written_count(struct bytes effects)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    uint32_t count = 0;
    while (effect_decode(&reader, &effect) == STATUS_OK)
        count += effect.key.size > 0;
    return count;
}

static struct bytes keep(uint8_t **at, struct bytes key)
{
    uint8_t *here = *at;
    if (key.size > 0) memcpy(here, key.data, key.size);
    *at += key.size;
    return bytes_make(here, key.size);
}

static void lock_key(struct locks *locks, struct holder *holder, struct bytes key, bool exclusive)
{
    struct lock *lock = &holder->locks[holder->lock_count++];
    uint64_t hash = hash64(0, key);
    *lock = (struct lock){.holder = holder, .key = key, .hash = hash, .exclusive = exclusive};
    lock->next = map_put(&locks->by_hash, hash, lock);
}

static void lock_written(struct locks *locks, struct holder *holder, struct bytes effects,
                         uint8_t **at)
{
    struct reader reader = reader_make(effects);
    struct effect effect;
    while (effect_decode(&reader, &effect) == STATUS_OK)
        if (effect.key.size > 0) lock_key(locks, holder, keep(at, effect.key), true);
}

static void lock_read(struct locks *locks, struct holder *holder,
                      const struct txn_prepared *prepared, uint8_t **at)
{
    struct reader reader = reader_make(prepared->keys);
    for (uint32_t i = 0; i < prepared->key_count; i++)
        lock_key(locks, holder, keep(at, read_sized(&reader)), false);
    reader = reader_make(prepared->ranges);
    for (uint32_t i = 0; i < 2 * prepared->range_count; i++)
        holder->ranges[i] = keep(at, read_sized(&reader));
    holder->range_count = prepared->range_count;
    reader = reader_make(prepared->namespaces);
    for (uint32_t i = 0; i < prepared->namespace_count; i++) {
        uint64_t service = read_u8(&reader);
        holder->namespaces[i] = service << 32 | read_u32(&reader);
    }
    holder->namespace_count = prepared->namespace_count;
}

void locks_add(struct locks *locks, struct txn_id id, const struct txn_prepared *prepared)
{
    if (find(locks, id) != NULL) return;
    uint32_t keys = written_count(prepared->effects) + prepared->key_count;
    size_t memory = prepared->keys.size + prepared->ranges.size + prepared->effects.size;
    struct holder *holder = memory_allocate_zero(sizeof(*holder) + memory);
    uint8_t *at = holder->memory;
    holder->id = id;
    holder->locks = memory_allocate((keys + 1) * sizeof(*holder->locks));
    holder->ranges = memory_allocate((2 * prepared->range_count + 1) * sizeof(*holder->ranges));
    holder->namespaces =
        memory_allocate((prepared->namespace_count + 1) * sizeof(*holder->namespaces));
    lock_written(locks, holder, prepared->effects, &at);
    lock_read(locks, holder, prepared, &at);
    ASSERT(holder->lock_count == keys && at <= holder->memory + memory);
    holder->bytes = sizeof(*holder) + memory + keys * sizeof(*holder->locks);
    list_insert_before(&locks->holders, &holder->link);
    locks->count++;
    locks->wide_count += is_wide(holder);
    locks->bytes += holder->bytes;
    locks->keys += keys;
}

/* --- removing --- */

static void unlock(struct locks *locks, struct lock *lock)
{
    struct lock *first = map_get(&locks->by_hash, lock->hash);
    if (first == lock) {
        if (lock->next != NULL)
            map_put(&locks->by_hash, lock->hash, lock->next);
        else
            map_remove(&locks->by_hash, lock->hash);
        return;
    }
    while (first->next != lock)
        first = first->next;
    first->next = lock->next;
}

bool locks_remove(struct locks *locks, struct txn_id id)
{
    struct holder *holder = find(locks, id);
    if (holder == NULL) return false;
    for (uint32_t i = 0; i < holder->lock_count; i++)
        unlock(locks, &holder->locks[i]);
    locks->count--;
    locks->wide_count -= is_wide(holder);
    locks->bytes -= holder->bytes;
    locks->keys -= holder->lock_count;
    holder_free(holder);
    return true;
}

/* --- asking --- */

static bool is_of(const struct holder *holder, const struct txn_id *owner)
{
    return owner != NULL && txn_id_equal(holder->id, *owner);
}

static bool is_locked(const struct locks *locks, struct bytes key, const struct txn_id *owner,
                      bool shared_counts)
{
    const struct lock *lock = map_get(&locks->by_hash, hash64(0, key));
    for (; lock != NULL; lock = lock->next) {
        if (!lock->exclusive && !shared_counts) continue;
        if (bytes_equal(lock->key, key) && !is_of(lock->holder, owner)) return true;
    }
    return false;
}

static bool is_between(struct bytes key, struct bytes from, struct bytes to)
{
    return bytes_compare(from, key) <= 0 && (to.size == 0 || bytes_compare(key, to) < 0);
}

bool locks_stop_read(const struct locks *locks, struct bytes key, const struct txn_id *owner)
{
    return locks != NULL && is_locked(locks, key, owner, false);
}

/* Ranges and counts that it would change. */
static bool is_in_something_read(const struct holder *holder, struct bytes key)
{
    for (uint32_t i = 0; i < holder->range_count; i++)
        if (is_between(key, holder->ranges[2 * i], holder->ranges[2 * i + 1])) return true;
    uint64_t namespace = (uint64_t)key.data[2] << 32 | load_u32_be(key.data + 3);
    for (uint32_t i = 0; i < holder->namespace_count; i++)
        if (holder->namespaces[i] == namespace) return true;
    return false;
}

bool locks_stop_write(const struct locks *locks, struct bytes key, const struct txn_id *owner)
{
    if (locks == NULL) return false;
    if (is_locked(locks, key, owner, true)) return true;
    if (locks->wide_count == 0) return false;
    for (const struct list *at = locks->holders.next; at != &locks->holders; at = at->next) {
        const struct holder *holder = holder_at(at);
        if (!is_of(holder, owner) && is_in_something_read(holder, key)) return true;
    }
    return false;
}

static bool writes_in(const struct holder *holder, struct bytes from, struct bytes to)
{
    for (uint32_t i = 0; i < holder->lock_count; i++) {
        const struct lock *lock = &holder->locks[i];
        if (lock->exclusive && is_between(lock->key, from, to)) return true;
    }
    return false;
}

bool locks_stop_scan(const struct locks *locks, struct bytes from, struct bytes to,
                     const struct txn_id *owner)
{
    if (locks == NULL) return false;
    for (const struct list *at = locks->holders.next; at != &locks->holders; at = at->next)
        if (!is_of(holder_at(at), owner) && writes_in(holder_at(at), from, to)) return true;
    return false;
}

static bool writes_of(const struct holder *holder, uint8_t service, uint32_t namespace)
{
    for (uint32_t i = 0; i < holder->lock_count; i++) {
        const struct lock *lock = &holder->locks[i];
        bool same = lock->key.data[2] == service && load_u32_be(lock->key.data + 3) == namespace;
        if (lock->exclusive && same) return true;
    }
    return false;
}

bool locks_stop_count(const struct locks *locks, uint8_t service, uint32_t namespace,
                      const struct txn_id *owner)
{
    if (locks == NULL) return false;
    for (const struct list *at = locks->holders.next; at != &locks->holders; at = at->next)
        if (!is_of(holder_at(at), owner) && writes_of(holder_at(at), service, namespace))
            return true;
    return false;
}
