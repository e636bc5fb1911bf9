#include "sim/checkers/serializable_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { LIST_SHOWN = 8 }; /* last values of a list that was read */

const char *sim_anomaly_name(enum sim_anomaly anomaly)
{
    static const char *const names[] = {
#define X(name, text) text,
        SIM_ANOMALY_MAP(X)
#undef X
    };
    return names[anomaly];
}

static void say(struct check *check, const char *format, va_list arguments)
{
    if (check->text_used >= check->text_size) return;
    size_t room = check->text_size - check->text_used;
    int size = vsnprintf(check->text + check->text_used, room, format, arguments);
    if (size > 0) check->text_used += (size_t)size;
}

void check_say(struct check *check, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(check, format, arguments);
    va_end(arguments);
}

bool check_found(struct check *check, enum sim_anomaly anomaly, const char *format, ...)
{
    va_list arguments;

    check->report.anomaly = anomaly;
    check_say(check, "%s: ", sim_anomaly_name(anomaly));
    va_start(arguments, format);
    say(check, format, arguments);
    va_end(arguments);
    return false;
}

static void say_time(struct check *check, uint64_t time)
{
    check_say(check, "%" PRIu64 ".%06" PRIu64, time / 1000000, time % 1000000);
}

static void say_list(struct check *check, const struct sim_txn_op *op)
{
    const uint64_t *values = sim_txn_list_values(check->history, op);
    uint32_t first = op->list_count > LIST_SHOWN ? op->list_count - LIST_SHOWN : 0;

    check_say(check, " [%s", first > 0 ? "... " : "");
    for (uint32_t i = first; i < op->list_count; i++)
        check_say(check, "%s%" PRIu64, i > first ? " " : "", values[i]);
    check_say(check, first > 0 ? "] (%" PRIu32 ")" : "]", op->list_count);
}

static void say_op(struct check *check, const struct sim_txn_op *op)
{
    static const char *const names[] = {"append", "list", "write", "read"};
    bool is_read = op->kind == SIM_TXN_LIST || op->kind == SIM_TXN_READ;

    check_say(check, " %s k%" PRIu32, names[op->kind], op->key);
    if (is_read && !op->known)
        check_say(check, " ?");
    else if (op->kind == SIM_TXN_LIST)
        say_list(check, op);
    else
        check_say(check, " %" PRIu64, op->value);
}

void check_say_txn(struct check *check, uint32_t txn)
{
    static const char *const outcomes[] = {"open", "committed", "failed", "unknown"};
    const struct sim_txn *self = &check->history->txns[txn];

    check_say(check, "\n  T%" PRIu32 " c%" PRIu32 " %s [", txn, self->client,
              outcomes[self->outcome]);
    say_time(check, self->invoked);
    check_say(check, ", ");
    if (self->returned != UINT64_MAX) say_time(check, self->returned);
    check_say(check, "]:");
    for (uint32_t i = self->first; i != SIM_TXN_NONE; i = check->history->ops[i].next) {
        say_op(check, &check->history->ops[i]);
        if (check->history->ops[i].next != SIM_TXN_NONE) check_say(check, ",");
    }
}
