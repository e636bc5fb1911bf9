/* snapshot.c - HOLON.SNAPSHOT OPEN, USE, INFO, CLOSE. */
#include "services/redis/snapshot.h"

#include <stdio.h>

#include "base/memory.h"
#include "base/parse.h"
#include "base/assert.h"
#include "services/redis/local_functions.h"

enum { ID_DIGITS = 16 };

/* --- arguments ------------------------------------------------------------------------------- */

static bool parse_id(struct bytes text, uint64_t *ret_id)
{
    uint64_t id = 0;

    if (text.size != ID_DIGITS) return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        bool digit = c >= '0' && c <= '9';
        uint8_t letter = (uint8_t)(c | 0x20);
        if (!digit && (letter < 'a' || letter > 'f')) return false;
        id = id << 4 | (uint64_t)(digit ? c - '0' : letter - 'a' + 10);
    }
    *ret_id = id;
    return id != 0;
}

struct question {
    bool opens, uses;
    uint64_t id, lifetime; /* us */
};

/* NULL: it is OPEN or USE, and right. */
static const char *question_parse(const struct bytes *arguments, uint32_t count,
                                  struct question *ret_question)
{
    struct question question = {.lifetime = (uint64_t)SNAPSHOT_LIFETIME_S * 1000000};
    int64_t seconds;

    question.opens = redis_word_is(arguments[1], "open");
    question.uses = redis_word_is(arguments[1], "use");
    if (question.uses) {
        if (count != 3) return "ERR syntax error: HOLON.SNAPSHOT USE id";
        if (!parse_id(arguments[2], &question.id))
            return "ERR the id of a snapshot has 16 hex digits, as HOLON.SNAPSHOT OPEN gave them";
    } else if (count != 2) {
        if (count != 4 || !redis_word_is(arguments[2], "ex"))
            return "ERR syntax error: HOLON.SNAPSHOT OPEN [EX seconds]";
        if (!parse_i64(arguments[3], &seconds))
            return "ERR value is not an integer or out of range";
        if (seconds < 1 || seconds > SNAPSHOT_LIFETIME_MAX_S)
            return "ERR a snapshot is open for 1 to 86400 seconds";
        question.lifetime = (uint64_t)seconds * 1000000;
    }
    *ret_question = question;
    return NULL;
}

static bool is_ready(const struct redis_service *service)
{
    return service->options.cuts != NULL && service_has_view(service) &&
           service->options.view->cluster_version >= VIEW_VERSION_CUT;
}

bool snapshot_starts(const struct connection *connection, const struct redis_command *command,
                     const struct bytes *arguments, uint32_t count)
{
    struct question question;

    if (command->id != REDIS_HOLON_SNAPSHOT || !is_ready(connection->service)) return false;
    bool starts = redis_word_is(arguments[1], "open") || redis_word_is(arguments[1], "use");
    return starts && question_parse(arguments, count, &question) == NULL;
}

/* --- OPEN, USE ------------------------------------------------------------------------------- */

static void on_done(void *context, struct txn_cut *cut, enum txn_cut_result result)
{
    struct snapshot *snapshot = context;

    snapshot->answered = true;
    snapshot->result = result;
    if (result != TXN_CUT_OPEN) snapshot->cut = NULL; /* it is freed behind this */
    connection_wake(snapshot->connection);
}

void snapshot_drop(struct connection *connection)
{
    struct snapshot *snapshot = connection->snapshot;

    if (snapshot == NULL) return;
    if (snapshot->cut != NULL) txn_cut_leave(snapshot->cut, snapshot->opener);
    connection->snapshot = NULL;
    memory_free(snapshot);
}

void snapshot_start(struct connection *connection, const struct bytes *arguments, uint32_t count)
{
    struct txn_cuts *cuts = connection->service->options.cuts;
    struct question question;

    question_parse(arguments, count, &question); /* right: snapshot_starts() */
    connection->last_subcommand = question.opens ? "open" : "use";
    snapshot_drop(connection);
    struct snapshot *snapshot = memory_allocate_zero(sizeof(*snapshot));
    snapshot->connection = connection;
    snapshot->opener = question.opens;
    snapshot->opening = true;
    snapshot->id = question.id;
    snapshot->silent = connection->reply_mode == REPLY_OFF || connection->reply_mode == REPLY_SKIP;
    list_init(&snapshot->asks);
    connection->snapshot = snapshot;
    snapshot->cut = question.opens ? txn_cut_take(cuts, question.lifetime, snapshot, on_done)
                                   : txn_cut_use(cuts, question.id, snapshot, on_done);
}

static void write_failure(const struct snapshot *snapshot, struct resp_writer *out)
{
    switch (snapshot->result) {
    case TXN_CUT_OPEN:
        break;
    case TXN_CUT_GONE:
        resp_write_error_format(out,
                                "SNAPSHOTGONE the snapshot %016llx has expired or was closed, or a "
                                "partition has moved to a node that does not have it; this "
                                "connection reads the present. Open a new one",
                                (unsigned long long)snapshot->id);
        break;
    case TXN_CUT_FULL:
        resp_write_error_format(
            out,
            "BUSY %d snapshots are open in the cluster, as many as there may "
            "be; this connection reads the present. Close one (HOLON.SNAPSHOT "
            "CLOSE on the connection that opened it), or wait until one expires",
            CUTS_MAX);
        break;
    case TXN_CUT_BUSY:
        resp_write_error(out, "BUSY the partitions could not be stopped together within the "
                              "patience, so no snapshot was taken; this connection reads the "
                              "present. Try again");
        break;
    case TXN_CUT_UNAVAILABLE:
        resp_write_error(out,
                         "UNAVAILABLE a partition did not answer within the patience, so there "
                         "is no snapshot; this connection reads the present. Try again");
        break;
    }
}

static void write_id(struct resp_writer *out, uint64_t id)
{
    char text[ID_DIGITS + 1];

    snprintf(text, sizeof(text), "%016llx", (unsigned long long)id);
    resp_write_bulk_text(out, text);
}

void snapshot_continue(struct connection *connection)
{
    struct snapshot *snapshot = connection->snapshot;
    enum reply_mode mode = connection->reply_mode;
    struct local_reply reply;

    if (!snapshot->opening || !snapshot->answered) return;
    snapshot->opening = false;
    /* Whether it is wanted was fixed when the command came. */
    connection->reply_mode = snapshot->silent ? REPLY_OFF : REPLY_ON;
    local_reply_begin(connection, &reply);
    if (snapshot->result != TXN_CUT_OPEN)
        write_failure(snapshot, &reply.out);
    else if (snapshot->opener)
        write_id(&reply.out, txn_cut_id(snapshot->cut));
    else
        resp_write_simple(&reply.out, "OK");
    local_reply_end(&reply);
    connection->reply_mode = mode;
    if (snapshot->result != TXN_CUT_OPEN) snapshot_drop(connection);
}

/* --- what is answered here ------------------------------------------------------------------- */

bool snapshot_refuses(struct connection *connection, const struct redis_command *command)
{
    bool changes = (command->flags & REDIS_WRITES) || command->id == REDIS_MULTI ||
                   command->id == REDIS_WATCH || command->id == REDIS_HOLON_GUARD ||
                   (connection->guards != NULL && command->evaluate != NULL);
    struct local_reply reply;

    if (!connection_at_snapshot(connection) || !changes) return false;
    local_reply_begin(connection, &reply);
    resp_write_error_format(&reply.out,
                            "READONLY this connection reads at a snapshot, so '%s' was not "
                            "executed. HOLON.SNAPSHOT CLOSE goes back to the present; or use "
                            "another connection",
                            command->name);
    local_reply_end(&reply);
    return true;
}

static bool needs_snapshot(struct local_call *call)
{
    if (call->connection->snapshot != NULL) return true;
    resp_write_error(call->out, "ERR this connection reads the present: HOLON.SNAPSHOT OPEN or USE "
                                "comes first");
    return false;
}

static void snapshot_info(struct local_call *call)
{
    const struct snapshot *snapshot = call->connection->snapshot;

    if (!needs_snapshot(call)) return;
    resp_write_array(call->out, 8);
    resp_write_bulk_text(call->out, "id");
    write_id(call->out, txn_cut_id(snapshot->cut));
    resp_write_bulk_text(call->out, "time");
    resp_write_integer(call->out, txn_cut_time(snapshot->cut) / 1000);
    resp_write_bulk_text(call->out, "partitions");
    resp_write_integer(call->out, txn_cut_parts(snapshot->cut));
    resp_write_bulk_text(call->out, "opener");
    resp_write_integer(call->out, snapshot->opener);
}

static void snapshot_close(struct local_call *call)
{
    if (!needs_snapshot(call)) return;
    snapshot_drop(call->connection);
    resp_write_simple(call->out, "OK");
}

/* OPEN and USE that do not start. */
static void snapshot_wrong(struct local_call *call)
{
    struct question question;
    const char *wrong = question_parse(call->arguments, call->count, &question);

    if (wrong != NULL)
        resp_write_error(call->out, wrong);
    else if (!service_has_view(call->service) || call->service->options.cuts == NULL)
        resp_write_error(call->out, "UNAVAILABLE the cluster is being formed; no snapshot was "
                                    "taken, try again");
    else
        resp_write_error_format(call->out,
                                "ERR HOLON.SNAPSHOT needs a cluster of version %d, but it still "
                                "runs at version %u; finish the upgrade (holon upgrade finalize)",
                                VIEW_VERSION_CUT,
                                (unsigned)call->service->options.view->cluster_version);
}

void local_holon_snapshot(struct local_call *call)
{
    static const struct local_subcommand list[] = {
        {"close", 2, snapshot_close, {"CLOSE", "Read the present again."}},
        {"info", 2, snapshot_info, {"INFO", "Return what this connection reads at."}},
        {"open",
         -2,
         snapshot_wrong,
         {"OPEN [EX <seconds>]", "Read the whole cluster as of now from now on."}},
        {"use", -3, snapshot_wrong, {"USE <id>", "Read at a snapshot that is open already."}},
    };
    local_run_subcommand(call, list, ARRAY_COUNT(list));
}
