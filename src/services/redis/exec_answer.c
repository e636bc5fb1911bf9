/* What the pieces said, and the reply of it. */
#include "services/redis/exec.h"
#include "services/redis/gather.h"
#include "services/redis/multi.h"

enum redis_batch_outcome exec_outcome(const struct txn_piece *piece)
{
    enum redis_batch_outcome outcome;
    struct bytes rest;

    if (!redis_batch_read_outcome(buffer_bytes(&piece->reply), &outcome, &rest))
        return REDIS_BATCH_REFUSED;
    return outcome;
}

static bool take_piece(const struct exec_piece *piece, const struct txn_piece *txn)
{
    enum redis_batch_outcome outcome;
    struct bytes rest;

    if (!redis_batch_read_outcome(buffer_bytes(&txn->reply), &outcome, &rest)) return false;
    for (struct exec_sub *sub = piece->first; sub; sub = sub->next_of_piece)
        if (!redis_batch_read_reply(&rest, &sub->reply)) return false;
    return rest.size == 0;
}

bool exec_take_replies(struct exec *exec)
{
    for (uint32_t i = 0; i < exec->piece_count; i++)
        if (!take_piece(&exec->pieces[i], &exec->txn_pieces[i])) return false;
    return true;
}

/* --- replies --------------------------------------------------------------------------------- */

static const struct exec_sub *first_error(const struct exec_command *command)
{
    for (const struct exec_sub *sub = command->first; sub; sub = sub->next_of_command)
        if (resp_is_error(sub->reply)) return sub;
    return NULL;
}

static void write_sum(const struct exec_command *command, struct resp_writer *out)
{
    int64_t sum = 0;

    for (const struct exec_sub *sub = command->first; sub; sub = sub->next_of_command) {
        struct bytes reply = sub->reply;
        int64_t value = 0;
        resp_read_integer(&reply, &value);
        sum += value;
    }
    resp_write_integer(out, sum);
}

/* Each sub has the elements of its keys in their order. */
static struct bytes next_element(struct exec_sub *sub)
{
    struct bytes rest = sub->reply;
    uint64_t count;

    if (sub->read == 0) {
        if (!resp_read_array(&rest, &count)) return bytes_make(NULL, 0);
        sub->read = sub->reply.size - rest.size;
    }
    rest = bytes_from(sub->reply, sub->read);
    size_t size = resp_value_size(rest);
    sub->read += size;
    return bytes_make(rest.data, size);
}

static void write_values(const struct exec_command *command, struct resp_writer *out)
{
    resp_write_array(out, command->key_count);
    for (uint32_t k = 0; k < command->key_count; k++) {
        struct bytes element = next_element(command->key_subs[k]);
        if (element.size)
            resp_write_raw(out, element);
        else
            resp_write_null(out);
    }
}

/* Version, existence and namespace of each key. */
static void keep_versions(struct exec *exec, const struct exec_command *command)
{
    for (uint32_t k = 0; k < command->key_count; k++) {
        struct bytes version = next_element(command->key_subs[k]);
        struct bytes exists = next_element(command->key_subs[k]);
        struct bytes namespace = next_element(command->key_subs[k]);
        int64_t number = 0, alive = 0, space = 0;
        resp_read_integer(&version, &number);
        resp_read_integer(&exists, &alive);
        resp_read_integer(&namespace, &space);
        struct redis_watch watch = {.database = command->database,
                                    .existed = alive != 0,
                                    .namespace = (uint32_t)space,
                                    .version = (uint64_t)number,
                                    .key = command->arguments[1 + k]};
        multi_add_watch(exec->connection, &watch);
    }
}

/* INFO is of this worker then, without the keyspace. */
static void run_local(struct exec *exec, const struct exec_command *command,
                      struct resp_writer *out)
{
    struct redis_service *service = exec->connection->service;
    struct info_numbers numbers = {.workers_silent = service->options.worker_count - 1};
    struct local_call call = {.connection = exec->connection,
                              .service = service,
                              .command = command->command,
                              .arguments = command->arguments,
                              .count = command->count,
                              .out = out};

    if (command->command->id != REDIS_INFO) {
        dispatch_local(&call);
        return;
    }
    redis_service_statistics(service, &numbers.statistics);
    info_write(&call, &numbers);
}

static void write_command(struct exec *exec, const struct exec_command *command,
                          struct resp_writer *out)
{
    const struct exec_sub *error = first_error(command);

    switch (command->answer) {
    case EXEC_LOCAL:
        run_local(exec, command, out);
        return;
    case EXEC_FIXED:
        resp_write_raw(out, command->fixed);
        return;
    default:
        break;
    }
    if (error) {
        resp_write_raw(out, error->reply);
        return;
    }
    if (command->answer == EXEC_VERSIONS) keep_versions(exec, command);
    if (command->answer == EXEC_SUM)
        write_sum(command, out);
    else if (command->answer == EXEC_VALUES)
        write_values(command, out);
    else if (command->answer == EXEC_AS_IS)
        resp_write_raw(out, command->first->reply);
    else
        resp_write_simple(out, "OK");
}

void exec_write(struct exec *exec, struct resp_writer *out)
{
    if (exec->multi) resp_write_array(out, exec->command_count);
    for (uint32_t i = 0; i < exec->command_count; i++)
        write_command(exec, &exec->commands[i], out);
}

/* --- failures -------------------------------------------------------------------------------- */

static void write_refusal(struct exec *exec, struct resp_writer *out)
{
    enum redis_batch_outcome outcome;
    struct bytes rest;

    bool sound = redis_batch_read_outcome(buffer_bytes(&exec->refused->reply), &outcome, &rest);
    if (sound && outcome == REDIS_BATCH_WATCH_FAILED) {
        exec->connection->service->statistics.transactions_watched++;
        resp_write_null_array(out);
    } else if (sound && outcome == REDIS_BATCH_UNEXPECTED) {
        exec->connection->service->statistics.busy++;
        resp_write_error(out, "BUSY others keep changing the keys; nothing was executed, try "
                              "again");
    } else if (sound && resp_is_error(rest)) {
        resp_write_raw(out, rest);
    } else {
        resp_write_error(out, "ERR a partition gave an answer that this node does not understand");
    }
}

/* The text of whoever refused, if there is one. */
static struct bytes reason_of(const struct exec *exec)
{
    return exec->refused ? buffer_bytes(&exec->refused->reply) : bytes_make(NULL, 0);
}

static void write_result(struct exec *exec, struct resp_writer *out)
{
    const char *what = exec->multi ? "transaction" : "command";
    struct redis_statistics *statistics = &exec->connection->service->statistics;
    struct bytes reason = reason_of(exec);

    switch (exec->result) {
    case TXN_UNKNOWN:
        statistics->unknown++;
        resp_write_error_format(out,
                                "UNKNOWN outcome: no quorum of a partition answered within the "
                                "patience; the %s may or may not have been executed",
                                what);
        break;
    case TXN_UNAVAILABLE:
        statistics->unavailable++;
        resp_write_error_format(out,
                                "UNAVAILABLE no quorum of a partition answered within the "
                                "patience; the %s was not executed, try again",
                                what);
        break;
    case TXN_BUSY:
        statistics->busy++;
        resp_write_error_format(out,
                                "BUSY too many requests are waiting, or others hold the keys; the "
                                "%s was not executed, try again",
                                what);
        break;
    case TXN_NO_SPACE:
        resp_write_error_format(out,
                                "MISCONF no disk space: %.*s; the %s was not executed. Reads and "
                                "deletes go on",
                                (int)reason.size, (const char *)reason.data, what);
        break;
    case TXN_TOO_BIG:
        statistics->too_big++;
        resp_write_error(out, "TOOBIG what this would change in one partition is larger than a log "
                              "entry may be; nothing was executed");
        break;
    case TXN_LOST_REPLY:
        statistics->too_big++;
        resp_write_error_format(out,
                                "TOOBIG the %s was executed, but its reply was too big to be "
                                "repeated after a change of leader",
                                what);
        break;
    case TXN_DONE:
    case TXN_REFUSED:
        write_refusal(exec, out);
        break;
    }
}

void exec_write_failure(struct exec *exec, struct resp_writer *out)
{
    if (exec->wrong)
        resp_write_error(out, exec->wrong);
    else
        write_result(exec, out);
}
