#include "sim/checkers/serializable_internal.h"

#include "base/memory.h"

#include <inttypes.h>

struct history_of_register {
    struct check *check;
    struct key *key;
    uint32_t number; /* of the key */
    const struct access *accesses;
    uint32_t count;
    struct member *members[2];
    struct fan later;   /* who wrote, by call: edges to them */
    struct fan earlier; /* who wrote, by return: edges from them */
};

static uint64_t value_of(const struct history_of_register *self, uint32_t op)
{
    return self->check->history->ops[op].value;
}

static uint32_t writer_of(const struct history_of_register *self, const struct write *write)
{
    return self->check->history->ops[write->op].txn;
}

static void add_edge(struct history_of_register *self, uint32_t from, uint32_t to,
                     enum edge_kind kind, uint64_t value)
{
    if (from == to) return;
    graph_add(&self->check->graph,
              (struct edge){
                  .from = from, .to = to, .key = self->key->name, .kind = kind, .value = value});
}

static bool wrong(struct history_of_register *self, enum sim_anomaly anomaly, uint32_t reader,
                  uint32_t writer, uint64_t value, const char *what)
{
    check_found(self->check, anomaly, "T%" PRIu32 " read %" PRIu64 " in k%" PRIu32 ", %s", reader,
                value, self->key->name, what);
    check_say_txn(self->check, reader);
    if (writer != SIM_TXN_NONE && writer != reader) check_say_txn(self->check, writer);
    return false;
}

/* Who reads v and writes w leaves no room for a version between them. */
static bool replace(struct history_of_register *self, uint32_t *replaced_by,
                    const struct access *access)
{
    if (*replaced_by == SIM_TXN_NONE) {
        *replaced_by = access->txn;
        return true;
    }
    check_found(self->check, SIM_ANOMALY_LOST_UPDATE,
                "T%" PRIu32 " and T%" PRIu32 " replaced %" PRIu64 " in k%" PRIu32, *replaced_by,
                access->txn, value_of(self, access->read), self->key->name);
    check_say_txn(self->check, *replaced_by);
    check_say_txn(self->check, access->txn);
    return false;
}

static bool follow_read(struct history_of_register *self, const struct access *access)
{
    uint64_t value = value_of(self, access->read);
    uint64_t invoked = self->check->history->txns[access->txn].invoked;
    bool replaces = access->write != SIM_TXN_NONE;

    if (value == 0) return !replaces || replace(self, &self->key->replaced_by, access);
    struct write *write = check_find_write(self->check, self->number, value);
    if (write == NULL)
        return wrong(self, SIM_ANOMALY_GARBAGE, access->txn, SIM_TXN_NONE, value,
                     "which nobody wrote");
    uint32_t writer = writer_of(self, write);
    if (self->check->history->txns[writer].outcome == SIM_TXN_FAILED)
        return wrong(self, SIM_ANOMALY_G1A, access->txn, writer, value,
                     "of a transaction that failed");
    if (writer == access->txn)
        return wrong(self, SIM_ANOMALY_INTERNAL, access->txn, writer, value,
                     "which it wrote only later");
    if (!write->is_final)
        return wrong(self, SIM_ANOMALY_G1B, access->txn, writer, value,
                     "which its transaction overwrote");
    if (invoked > write->read_last) {
        write->read_last = invoked;
        write->read_last_by = access->txn;
    }
    add_edge(self, writer, access->txn, EDGE_WR, value);
    if (!replaces) return true;
    add_edge(self, writer, access->txn, EDGE_WW, value_of(self, access->write));
    return replace(self, &write->replaced_by, access);
}

/* What a transaction left in this register. */
static uint64_t last_value(const struct history_of_register *self, uint32_t txn)
{
    const struct sim_txn_op *ops = self->check->history->ops;
    uint64_t value = 0;

    for (uint32_t i = self->check->history->txns[txn].first; i != SIM_TXN_NONE; i = ops[i].next)
        if (ops[i].kind == SIM_TXN_WRITE && ops[i].key == self->key->name) value = ops[i].value;
    return value;
}

/* Whom the reader is before: who replaced what it read, and who began to write when the writer of
 * that had returned; of 0, all writers. */
static void add_anti_dependencies(struct history_of_register *self, const struct access *access)
{
    const struct sim_txn *txns = self->check->history->txns;
    uint64_t value = value_of(self, access->read);
    struct member reader = {.txn = access->txn, .time = txns[access->txn].invoked};

    if (value == 0) {
        fan_draw(&self->later, reader, 0, self->later.count, EDGE_RW);
        return;
    }
    const struct write *write = check_find_write(self->check, self->number, value);
    uint32_t replacer = write->replaced_by;
    if (replacer != SIM_TXN_NONE)
        add_edge(self, access->txn, replacer, EDGE_RW, last_value(self, replacer));
    uint32_t over = write->overwritten_by;
    if (over != SIM_TXN_NONE && over != access->txn && over != replacer)
        graph_add(&self->check->graph, (struct edge){.from = access->txn,
                                                     .to = over,
                                                     .key = self->key->name,
                                                     .kind = EDGE_RW_READ,
                                                     .value = last_value(self, over),
                                                     .witness = write->overwritten_witness});
    uint64_t returned = txns[writer_of(self, write)].returned;
    if (returned == UINT64_MAX) return;
    fan_draw(&self->later, reader, fan_first_at(&self->later, returned + 1), self->later.count,
             EDGE_RW_REALTIME);
}

/* Who had returned before this value was read, has been overwritten by it. */
static void add_overwritten(struct history_of_register *self, const struct access *access)
{
    uint64_t value = value_of(self, access->write);
    const struct write *write = check_find_write(self->check, self->number, value);
    struct member writer = {.txn = access->txn,
                            .time = self->check->history->txns[access->txn].returned,
                            .value = value,
                            .witness = write->read_last_by + 1};

    fan_draw(&self->earlier, writer, 0, fan_first_at(&self->earlier, write->read_last),
             EDGE_WW_REALTIME);
}

static void open_fans(struct history_of_register *self)
{
    const struct sim_txn *txns = self->check->history->txns;
    uint32_t count = 0;

    for (uint32_t i = 0; i < self->count; i++) {
        const struct access *access = &self->accesses[i];
        if (access->write == SIM_TXN_NONE) continue;
        struct member member = {.txn = access->txn, .value = value_of(self, access->write)};
        member.time = txns[access->txn].invoked;
        self->members[0][count] = member;
        member.time = txns[access->txn].returned;
        self->members[1][count++] = member;
    }
    fan_sort(self->members[0], count);
    fan_sort(self->members[1], count);
    fan_open(&self->later, &self->check->graph, self->key->name, self->members[0], count, 0);
    fan_open(&self->earlier, &self->check->graph, self->key->name, self->members[1], count,
             EDGE_WW_REALTIME);
}

bool check_register(struct check *check, struct key *key, const struct access *accesses,
                    uint32_t count)
{
    struct history_of_register self = {.check = check,
                                       .key = key,
                                       .number = accesses[0].key,
                                       .accesses = accesses,
                                       .count = count};
    bool good = true;

    for (uint32_t i = 0; i < count && good; i++)
        if (accesses[i].read != SIM_TXN_NONE) good = follow_read(&self, &accesses[i]);
    if (!good) return false;

    for (uint32_t i = 0; i < 2; i++)
        self.members[i] = memory_allocate(count * sizeof(*self.members[i]));
    open_fans(&self);
    for (uint32_t i = 0; i < count; i++) {
        if (accesses[i].read != SIM_TXN_NONE) add_anti_dependencies(&self, &accesses[i]);
        if (accesses[i].write != SIM_TXN_NONE) add_overwritten(&self, &accesses[i]);
    }
    for (uint32_t i = 0; i < 2; i++)
        memory_free(self.members[i]);
    return true;
}
