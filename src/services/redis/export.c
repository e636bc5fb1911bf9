/* export.c - HOLON.EXPORT: a partition at a cut, as records (docs/reference/cuts.md). */
#include <stdio.h>

#include "base/parse.h"
#include "services/redis/evaluate_functions.h"
#include "services/redis/export_walk.h"

struct export_options {
    uint64_t since;
    bool has_since;
    size_t bytes_max;
};

static bool parse_options(struct redis_call *call, struct export_options *options)
{
    *options = (struct export_options){.bytes_max = EXPORT_BYTES_DEFAULT};
    for (uint32_t i = 3; i < call->count; i += 2) {
        struct bytes word = call->arguments[i];
        int64_t number;
        bool since = redis_word_is(word, "since");

        if (i + 1 == call->count || (!since && !redis_word_is(word, "bytes"))) {
            redis_reply_syntax_error(call);
            return false;
        }
        if (!redis_argument_i64(call, i + 1, &number)) return false;
        if (number < 0 || (!since && number == 0)) {
            redis_reply_error(call, "ERR SINCE and BYTES take numbers from 0 and from 1 on");
            return false;
        }
        if (since && (uint64_t)number > call->rows->commit_index) {
            redis_reply_error(call,
                              "ERR SINCE is a version that this partition has not reached: it "
                              "is of another cluster, or of before a salvage");
            return false;
        }
        if (since) {
            options->since = (uint64_t)number;
            options->has_since = true;
        } else {
            options->bytes_max =
                number < EXPORT_BYTES_MAX ? (size_t)number : (size_t)EXPORT_BYTES_MAX;
        }
    }
    return true;
}

/* Of each database: its namespace, and since when it has had it: SWAPDB gives keys another database
 * and does not write to them. */
static enum row_result find_namespaces(struct export_walk *walk,
                                       const struct export_options *options)
{
    for (uint8_t database = 0; database < EXPORT_DATABASES; database++) {
        uint64_t mapped_at;
        if (redis_namespace_find_version(walk->call, database, &walk->namespaces[database],
                                         &mapped_at) == ROW_STOP)
            return ROW_STOP;
        bool moved = mapped_at > options->since;
        walk->since[database] = options->has_since && !moved ? options->since : 0;
    }
    return ROW_FOUND;
}

static bool begin(struct export_walk *walk, struct redis_call *call,
                  const struct export_options *options)
{
    int64_t slot;
    char text[128];

    walk->bytes_max = options->bytes_max;
    if (!redis_argument_i64(call, 1, &slot)) return false;
    if (slot < call->rows->slot_first || slot > call->rows->slot_last) {
        snprintf(text, sizeof(text), "ERR slot %lld is not of this partition", (long long)slot);
        redis_reply_error(call, text);
        return false;
    }
    if (export_cursor_read(walk, call->arguments[2])) return true;
    redis_reply_error(call, "ERR the cursor is damaged, or of another partition or cluster: it is "
                            "the first element of the reply before, or empty to begin");
    return false;
}

static void reply(struct export_walk *walk)
{
    struct redis_call *call = walk->call;
    struct buffer cursor;

    buffer_init(&cursor, EXPORT_CURSOR_SIZE_MAX);
    bool fits = export_walk_is_over(walk) || export_cursor_write(walk, &cursor);
    if (!fits) walk->damaged = true;
    if (walk->damaged) {
        redis_reply_damaged(call);
    } else {
        resp_write_array(&call->out, 5);
        resp_write_bulk(&call->out, buffer_bytes(&cursor));
        resp_write_integer(&call->out, (int64_t)call->rows->commit_index);
        resp_write_integer(&call->out, call->rows->slot_first);
        resp_write_integer(&call->out, call->rows->slot_last);
        resp_write_bulk(&call->out, buffer_bytes(walk->out));
    }
    buffer_free(&cursor);
}

enum evaluate_result evaluate_export(struct redis_call *call)
{
    struct export_options options;
    struct buffer out, piece;
    struct export_walk walk = {.call = call, .out = &out, .piece = &piece};
    enum row_result result;

    if (!parse_options(call, &options)) return EVALUATE_DONE;
    if (!begin(&walk, call, &options)) return EVALUATE_DONE;
    buffer_init(&out, EXPORT_BYTES_MAX + EXPORT_PIECE_SIZE_MAX);
    buffer_init(&piece, EXPORT_BYTES_MAX + EXPORT_PIECE_SIZE_MAX);
    result = find_namespaces(&walk, &options);
    if (result != ROW_STOP) result = export_walk_on(&walk);
    if (result != ROW_STOP) reply(&walk);
    buffer_free(&out);
    buffer_free(&piece);
    return result == ROW_STOP ? redis_stop(call) : EVALUATE_DONE;
}
