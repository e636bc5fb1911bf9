#include "services/redis/rows_check.h"

#include <stdlib.h>

#include "base/memory.h"
#include "services/redis/parts.h"

struct owner { /* of an id: a key or a record */
    uint8_t prefix[REDIS_PART_PREFIX_SIZE];
    uint64_t fields; /* of a hash; UINT64_MAX: not to be checked */
    uint64_t rows;   /* found */
};

struct reminder {
    uint32_t namespace;
    uint8_t place[2 + REDIS_HASH_SIZE];
    uint64_t second;
};

struct check {
    struct redis_rows *rows;
    struct owner *owners;
    size_t owner_count, owner_capacity;
    struct reminder *reminders;
    size_t reminder_count, reminder_capacity;
    uint32_t *dropped; /* namespaces */
    size_t dropped_count;
};

#define PUSH(check, list, value)                                                                   \
    do {                                                                                           \
        if ((check)->list##_count == (check)->list##_capacity) {                                   \
            (check)->list##_capacity = (check)->list##_count * 2 + 64;                             \
            (check)->list##s = memory_resize((check)->list##s, (check)->list##_capacity *          \
                                                                   sizeof((check)->list##s[0]));   \
        }                                                                                          \
        (check)->list##s[(check)->list##_count++] = (value);                                       \
    } while (0)

static uint32_t namespace_of(struct bytes key)
{
    return load_u32_be(key.data + 3);
}

static bool is_redis(struct bytes key)
{
    return key.size >= ROW_PREFIX_SIZE && key.data[2] == SERVICE_REDIS;
}

static void push_owner(struct check *check, struct bytes row_key, struct redis_part_id id,
                       uint64_t fields)
{
    struct owner owner = {.fields = fields};

    redis_part_prefix_store(owner.prefix, row_key, id);
    PUSH(check, owner, owner);
}

static void take_garbage(struct check *check, struct bytes key, const struct row_found *row)
{
    struct redis_garbage garbage;
    uint8_t row_key[ROW_PREFIX_SIZE];
    uint8_t kind = key.data[ROW_PREFIX_SIZE];

    check->rows->garbage++;
    check->rows->staged += kind == REDIS_GARBAGE_STAGED;
    if (!redis_garbage_decode(row->value, &garbage)) return;
    if (kind == REDIS_GARBAGE_NAMESPACE) {
        check->dropped =
            memory_resize(check->dropped, (check->dropped_count + 1) * sizeof(check->dropped[0]));
        check->dropped[check->dropped_count++] = garbage.namespace;
        return;
    }
    row_prefix_store(row_key, garbage.slot, SERVICE_REDIS, garbage.namespace);
    push_owner(check, bytes_make(row_key, sizeof(row_key)), garbage.id, UINT64_MAX);
}

static void take_reminder(struct check *check, struct bytes key)
{
    const uint8_t *at = key.data + ROW_PREFIX_SIZE;
    struct reminder reminder = {.namespace = namespace_of(key) & REDIS_NAMESPACE_BITS,
                                .second = (uint64_t)at[0] << 32 | load_u32_be(at + 1)};

    check->rows->reminders++;
    memcpy(reminder.place, at + 5, sizeof(reminder.place));
    PUSH(check, reminder, reminder);
}

static void take_key(struct check *check, const struct row_found *row)
{
    struct redis_parts parts;

    check->rows->keys++;
    if (!(row->header.flags & REDIS_ROW_PARTS) || !redis_parts_decode(row->value, &parts)) return;
    check->rows->big_keys++;
    push_owner(check, row->key, parts.id,
               row->header.type == REDIS_ROW_HASH ? parts.size : UINT64_MAX);
}

static bool on_first_pass(void *context, const struct row_found *row)
{
    struct check *check = context;

    if (!is_redis(row->key)) return true;
    uint32_t namespace = namespace_of(row->key);
    if (namespace == REDIS_NAMESPACE_GARBAGE)
        take_garbage(check, row->key, row);
    else if (namespace == REDIS_NAMESPACE_FRONTS)
        return true;
    else if (namespace & REDIS_NAMESPACE_PARTS)
        check->rows->parts++;
    else if (namespace & REDIS_NAMESPACE_REMINDERS)
        take_reminder(check, row->key);
    else
        take_key(check, row);
    return true;
}

static int compare_owners(const void *a, const void *b)
{
    return memcmp(a, b, REDIS_PART_PREFIX_SIZE);
}

static int compare_reminders(const void *a, const void *b)
{
    const struct reminder *x = a, *y = b;
    int order = memcmp(x->place, y->place, sizeof(x->place));

    if (order) return order;
    if (x->namespace != y->namespace) return x->namespace < y->namespace ? -1 : 1;
    return x->second < y->second ? -1 : x->second > y->second;
}

static bool is_dropped(const struct check *check, uint32_t namespace)
{
    for (size_t i = 0; i < check->dropped_count; i++)
        if (check->dropped[i] == (namespace & REDIS_NAMESPACE_BITS)) return true;
    return false;
}

/* Is there one for the key at its expiry or before? */
static bool is_reminded(const struct check *check, struct bytes key, uint64_t expiry_ms)
{
    struct reminder wanted = {.namespace = namespace_of(key)};
    size_t low = 0, high = check->reminder_count;

    memcpy(wanted.place, key.data, 2);
    memcpy(wanted.place + 2, key.data + ROW_PREFIX_SIZE, REDIS_HASH_SIZE);
    while (low < high) { /* the first that is not before (place, namespace, 0) */
        size_t middle = (low + high) / 2;
        if (compare_reminders(&check->reminders[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == check->reminder_count) return false;
    const struct reminder *found = &check->reminders[low];
    return memcmp(found->place, wanted.place, sizeof(wanted.place)) == 0 &&
           found->namespace == wanted.namespace &&
           found->second <= redis_reminder_second(expiry_ms);
}

static bool on_second_pass(void *context, const struct row_found *row)
{
    struct check *check = context;

    if (!is_redis(row->key)) return true;
    uint32_t namespace = namespace_of(row->key);
    if (namespace >= REDIS_NAMESPACE_FRONTS || is_dropped(check, namespace)) return true;
    if (namespace & REDIS_NAMESPACE_PARTS) {
        struct owner *owner = NULL;
        if (row->key.size >= REDIS_PART_PREFIX_SIZE && check->owner_count)
            owner = bsearch(row->key.data, check->owners, check->owner_count, sizeof(struct owner),
                            compare_owners);
        if (owner)
            owner->rows++;
        else
            check->rows->orphans++;
    } else if (!(namespace & REDIS_NAMESPACE_REMINDERS)) {
        bool expires = row->header.expiry != 0 && row->header.expiry / 1000 >> 40 == 0;
        if (expires && !is_reminded(check, row->key, row->header.expiry)) check->rows->unreminded++;
    }
    return true;
}

bool redis_rows_check_from(const struct redis_rows_source *source, struct redis_rows *ret_rows)
{
    struct check check = {.rows = ret_rows};

    *ret_rows = (struct redis_rows){0};
    bool whole = source->each(source->context, &check, on_first_pass);
    if (check.owner_count)
        qsort(check.owners, check.owner_count, sizeof(check.owners[0]), compare_owners);
    if (check.reminder_count)
        qsort(check.reminders, check.reminder_count, sizeof(check.reminders[0]), compare_reminders);
    whole = whole && source->each(source->context, &check, on_second_pass);
    for (size_t i = 0; i < check.owner_count; i++) {
        const struct owner *owner = &check.owners[i];
        bool twice = i > 0 && compare_owners(owner, owner - 1) == 0;
        bool dropped = is_dropped(&check, load_u32_be(owner->prefix + 3));
        if (dropped) continue;
        ret_rows->twice += twice;
        ret_rows->wrong_sizes += owner->fields != UINT64_MAX && owner->fields != owner->rows;
    }
    memory_free(check.owners);
    memory_free(check.reminders);
    memory_free(check.dropped);
    return whole;
}

static bool each_of_table(void *context, void *row_context,
                          bool (*on_row)(void *row_context, const struct row_found *row))
{
    const struct row_table *const *table = context;
    row_table_committed_each(*table, bytes_make(NULL, 0), row_context, on_row);
    return true;
}

void redis_rows_check(const struct row_table *table, struct redis_rows *ret_rows)
{
    struct redis_rows_source source = {.context = &table, .each = each_of_table};
    redis_rows_check_from(&source, ret_rows);
}

uint64_t redis_garbage_waiting(const struct row_table *table)
{
    return row_table_count(table, SERVICE_REDIS, REDIS_NAMESPACE_GARBAGE);
}
