#include "services/redis/slot_keys.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/parse.h"
#include "services/redis/scan.h"

/* Keys that one page looks at, at most: as scan.c bounds it. */
enum { PAGE_KEYS = 10000 };

struct slot_question {
    int64_t slot, most; /* most 0, and counts: how many there are */
    bool counts;
};

/* NULL: right. */
static const char *question_parse(const struct bytes *arguments, struct slot_question *question)
{
    static const char not_integer[] = "ERR value is not an integer or out of range";

    *question = (struct slot_question){.counts = redis_word_is(arguments[1], "countkeysinslot")};
    if (!parse_i64(arguments[2], &question->slot)) return not_integer;
    if (!question->counts && !parse_i64(arguments[3], &question->most)) return not_integer;
    bool slot_exists = question->slot >= 0 && question->slot < SLOT_COUNT;
    if (question->counts) return slot_exists ? NULL : "ERR Invalid slot";
    return slot_exists && question->most >= 0 ? NULL : "ERR Invalid slot or number of keys";
}

static bool is_one(const struct redis_command *command, const struct bytes *arguments,
                   uint32_t count)
{
    if (command->id != REDIS_CLUSTER) return false;
    return (count == 3 && redis_word_is(arguments[1], "countkeysinslot")) ||
           (count == 4 && redis_word_is(arguments[1], "getkeysinslot"));
}

bool slot_keys_wanted(const struct redis_command *command, const struct bytes *arguments,
                      uint32_t count)
{
    struct slot_question question;

    return is_one(command, arguments, count) && question_parse(arguments, &question) == NULL;
}

void cluster_slot_keys_wrong(struct local_call *call)
{
    struct slot_question question;
    const char *wrong = question_parse(call->arguments, &question);

    resp_write_error(call->out, wrong ? wrong : "ERR this command is not run like that");
}

void slot_keys_start(struct connection *connection, const struct redis_command *command,
                     const struct bytes *arguments, uint32_t count)
{
    struct slot_question question;
    char page[24];

    question_parse(arguments, &question); /* right: was wanted */
    connection->last_subcommand = question.counts ? "countkeysinslot" : "getkeysinslot";
    struct redis_cursor start = {.slot = (uint16_t)question.slot};
    enum fanout_kind kind = question.counts ? FAN_SLOT_COUNT : FAN_SLOT_KEYS;
    struct fanout *fanout = fanout_make(connection, command, kind, 1);
    struct part *part = &fanout->parts[0];
    int64_t most = question.most < PAGE_KEYS ? question.most : PAGE_KEYS;
    int size = snprintf(page, sizeof(page), "%lld", (long long)most);
    struct bytes option = bytes_make(page, (size_t)size);

    fanout->keys_most = (uint64_t)question.most;
    fanout_keep_options(fanout, &option, 1);
    part->cursor = redis_cursor_value(start);
    /* Without a key to return there is nothing to ask. */
    part->again = question.counts || question.most > 0;
    fanout_begin(fanout);
}

/* [cursor, keys of this page]; the slot is over at cursor 0. */
bool slot_keys_take_count(struct part *part, struct bytes reply)
{
    struct redis_cursor cursor;
    struct bytes text;
    uint64_t two;
    int64_t keys;

    if (!resp_read_array(&reply, &two) || two != 2 || !resp_read_bulk(&reply, &text) ||
        !redis_cursor_parse(text, &cursor) || !resp_read_integer(&reply, &keys) || keys < 0)
        return false;
    part->cursor = redis_cursor_value(cursor);
    part->number += (uint64_t)keys;
    part->again = part->cursor != 0;
    return true;
}

/* Keys of one hash come together: there may be more than were asked for. */
void slot_keys_write(struct fanout *fanout, struct resp_writer *out)
{
    struct part *part = &fanout->parts[0];
    uint64_t count = part->number < fanout->keys_most ? part->number : fanout->keys_most;
    struct bytes rest = buffer_bytes(&part->reply);
    size_t size = 0;

    for (uint64_t i = 0; i < count; i++)
        size += resp_value_size(bytes_from(rest, size));
    resp_write_array(out, count);
    resp_write_raw(out, bytes_make(rest.data, size));
}
