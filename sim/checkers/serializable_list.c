#include "sim/checkers/serializable_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

struct list {
    struct check *check;
    struct key *key;
    uint32_t number; /* of the key */
    const struct access *accesses;
    uint32_t count;
    const uint64_t *values; /* the longest that was read */
    uint32_t length;
    uint32_t *writers;   /* transactions, by position in it */
    uint32_t *replacers; /* who read that many values and appended, or SIM_TXN_NONE */
    struct fan unread;   /* who appended behind it: nobody has read that */
};

static bool wrong(struct list *list, enum sim_anomaly anomaly, uint32_t reader, uint32_t writer,
                  uint64_t value, const char *what)
{
    check_found(list->check, anomaly, "T%" PRIu32 " read %" PRIu64 " in k%" PRIu32 ", %s", reader,
                value, list->key->name, what);
    check_say_txn(list->check, reader);
    if (writer != SIM_TXN_NONE && writer != reader) check_say_txn(list->check, writer);
    return false;
}

/* Has each value been written, once, by one that did not fail? */
static bool examine(struct list *list, uint32_t op_number)
{
    const struct sim_txn_history *history = list->check->history;
    const struct sim_txn_op *op = &history->ops[op_number];
    const uint64_t *values = sim_txn_list_values(history, op);

    for (uint32_t i = 0; i < op->list_count; i++) {
        struct write *write = check_find_write(list->check, list->number, values[i]);
        if (write == NULL)
            return wrong(list, SIM_ANOMALY_GARBAGE, op->txn, SIM_TXN_NONE, values[i],
                         "which nobody wrote");
        uint32_t writer = history->ops[write->op].txn;
        if (write->seen_in == op_number)
            return wrong(list, SIM_ANOMALY_DUPLICATE, op->txn, writer, values[i],
                         "which is there twice");
        write->seen_in = op_number;
        if (history->txns[writer].outcome == SIM_TXN_FAILED)
            return wrong(list, SIM_ANOMALY_G1A, op->txn, writer, values[i],
                         "of a transaction that failed");
    }
    return true;
}

static void place_values(struct list *list)
{
    for (uint32_t i = 0; i < list->length; i++) {
        struct write *write = check_find_write(list->check, list->number, list->values[i]);
        write->position = i;
        list->writers[i] = list->check->history->ops[write->op].txn;
    }
}

static bool is_prefix(struct list *list, uint32_t op_number)
{
    const struct sim_txn_history *history = list->check->history;
    const struct sim_txn_op *op = &history->ops[op_number];
    uint32_t longest_txn = history->ops[list->key->longest].txn;

    if (memcmp(sim_txn_list_values(history, op), list->values,
               op->list_count * sizeof(*list->values)) == 0)
        return true;
    if (!examine(list, op_number)) return false;
    check_found(list->check, SIM_ANOMALY_INCOMPATIBLE,
                "T%" PRIu32 " and T%" PRIu32 " read values of k%" PRIu32 " in two orders", op->txn,
                longest_txn, list->key->name);
    check_say_txn(list->check, op->txn);
    if (longest_txn != op->txn) check_say_txn(list->check, longest_txn);
    return false;
}

static bool are_prefixes(struct list *list)
{
    const struct sim_txn_op *ops = list->check->history->ops;

    for (uint32_t i = 0; i < list->count; i++) {
        if (list->accesses[i].read == SIM_TXN_NONE) continue;
        for (uint32_t op = list->accesses[i].read; op != SIM_TXN_NONE; op = ops[op].next) {
            bool is_read = ops[op].kind == SIM_TXN_LIST && ops[op].key == list->key->name;
            if (is_read && ops[op].known && !is_prefix(list, op)) return false;
        }
    }
    return true;
}

/* What one transaction appended is there in its order, and none without those before it. */
static bool are_whole(struct list *list)
{
    const struct sim_txn_history *history = list->check->history;

    for (uint32_t i = 0; i < list->count; i++) {
        const struct access *access = &list->accesses[i];
        const struct write *before = NULL;
        if (access->write == SIM_TXN_NONE) continue;
        for (uint32_t op = history->txns[access->txn].first; op != SIM_TXN_NONE;
             op = history->ops[op].next) {
            const struct sim_txn_op *self = &history->ops[op];
            if (self->kind != SIM_TXN_APPEND || self->key != list->key->name) continue;
            const struct write *write = check_find_write(list->check, list->number, self->value);
            /* An unread one has the greatest position. */
            if (before && write->position != SIM_TXN_NONE && before->position > write->position)
                return wrong(list, SIM_ANOMALY_INTERNAL, history->ops[list->key->longest].txn,
                             access->txn, write->value,
                             "but not what its transaction had appended before that");
            before = write;
        }
    }
    return true;
}

/* Of those that appended what nobody has read. Their last value: no own one is behind it. */
static void open_unread(struct list *list, struct member *members)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < list->count; i++) {
        const struct access *access = &list->accesses[i];
        if (access->write == SIM_TXN_NONE) continue;
        uint64_t value = list->check->history->ops[access->write].value;
        const struct write *write = check_find_write(list->check, list->number, value);
        if (write->position != SIM_TXN_NONE) continue;
        members[count++] = (struct member){.txn = access->txn, .value = value};
    }
    fan_sort(members, count);
    fan_open(&list->unread, &list->check->graph, list->key->name, members, count, 0);
}

static void add_edge(struct list *list, uint32_t from, uint32_t to, enum edge_kind kind,
                     uint64_t value)
{
    if (from == to) return;
    graph_add(&list->check->graph,
              (struct edge){
                  .from = from, .to = to, .key = list->key->name, .kind = kind, .value = value});
}

/* From `txn` to all that appended behind the longest list, but itself. */
static void add_edges_to_unread(struct list *list, uint32_t txn, enum edge_kind kind)
{
    fan_draw(&list->unread, (struct member){.txn = txn}, 0, list->unread.count, kind);
}

/* The order of versions. */
static void add_writes(struct list *list)
{
    for (uint32_t i = 1; i < list->length; i++)
        add_edge(list, list->writers[i - 1], list->writers[i], EDGE_WW, list->values[i]);
    if (list->length > 0) add_edges_to_unread(list, list->writers[list->length - 1], EDGE_WW);
}

static bool saw_own_future(const struct list *list, const struct access *access, uint32_t seen)
{
    const struct sim_txn_op *ops = list->check->history->ops;

    if (access->write == SIM_TXN_NONE) return false;
    for (uint32_t i = list->check->history->txns[access->txn].first; i != SIM_TXN_NONE;
         i = ops[i].next) {
        if (ops[i].kind != SIM_TXN_APPEND || ops[i].key != list->key->name) continue;
        if (check_find_write(list->check, list->number, ops[i].value)->position < seen) return true;
    }
    return false;
}

/* What one transaction read before it wrote itself: `seen` values. */
static bool add_read(struct list *list, const struct access *access)
{
    uint32_t txn = access->txn;
    uint32_t seen = list->check->history->ops[access->read].list_count - access->own_before;

    if (saw_own_future(list, access, seen))
        return wrong(list, SIM_ANOMALY_INTERNAL, txn, txn, list->values[seen - 1],
                     "and there or before it what it appended only later");
    if (seen > 0) {
        uint64_t last = list->values[seen - 1];
        uint32_t writer = list->writers[seen - 1];
        if (!check_find_write(list->check, list->number, last)->is_final)
            return wrong(list, SIM_ANOMALY_G1B, txn, writer, last,
                         "behind which its transaction appended more");
        add_edge(list, writer, txn, EDGE_WR, last);
    }
    if (access->write != SIM_TXN_NONE) {
        uint32_t *replacer = &list->replacers[seen];
        if (*replacer != SIM_TXN_NONE) {
            check_found(list->check, SIM_ANOMALY_LOST_UPDATE,
                        "T%" PRIu32 " and T%" PRIu32 " appended to the same state of k%" PRIu32,
                        *replacer, txn, list->key->name);
            check_say_txn(list->check, *replacer);
            check_say_txn(list->check, txn);
            return false;
        }
        *replacer = txn;
    }
    if (seen < list->length)
        add_edge(list, txn, list->writers[seen], EDGE_RW, list->values[seen]);
    else
        add_edges_to_unread(list, txn, EDGE_RW);
    return true;
}

static bool add_reads(struct list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->accesses[i].read != SIM_TXN_NONE && !add_read(list, &list->accesses[i]))
            return false;
    return true;
}

bool check_list(struct check *check, struct key *key, const struct access *accesses, uint32_t count)
{
    struct list list = {.check = check,
                        .key = key,
                        .number = accesses[0].key,
                        .accesses = accesses,
                        .count = count};

    if (key->longest == SIM_TXN_NONE) return true; /* nobody knows */
    list.values = sim_txn_list_values(check->history, &check->history->ops[key->longest]);
    list.length = check->history->ops[key->longest].list_count;
    list.writers = memory_allocate(((size_t)list.length + 1) * sizeof(*list.writers));
    list.replacers = memory_allocate(((size_t)list.length + 1) * sizeof(*list.replacers));
    memset(list.replacers, 0xff, ((size_t)list.length + 1) * sizeof(*list.replacers));
    struct member *members = memory_allocate(count * sizeof(*members));

    bool good = examine(&list, key->longest);
    if (good) place_values(&list);
    good = good && are_prefixes(&list) && are_whole(&list);
    if (good) {
        open_unread(&list, members);
        add_writes(&list);
        good = add_reads(&list);
    }
    memory_free(members);
    memory_free(list.replacers);
    memory_free(list.writers);
    return good;
}
