/* fuzz_resp.c - requests fed whole and in pieces, in memory that moves: the same commands, the
 * same verdict. And our own replies, read back, are never read outside of the input. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "wire/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMMANDS_MAX = 4096 };

struct verdict {
    uint64_t hash; /* of all commands */
    uint32_t commands;
    size_t used;
    enum resp_result last;
};

static void take(struct verdict *verdict, const struct resp_parser *parser, size_t used)
{
    verdict->commands++;
    verdict->used += used;
    ASSERT(used > 0 && used <= RESP_COMMAND_SIZE_MAX + RESP_LINE_SIZE_MAX);
    for (uint32_t i = 0; i < parser->argument_count; i++) {
        verdict->hash = hash64(verdict->hash + i, parser->arguments[i]);
        ASSERT(parser->arguments[i].size <= used);
    }
}

static struct verdict feed_whole(struct bytes input)
{
    struct verdict verdict = {0};
    struct resp_parser parser = {0};
    size_t used = 0;

    while (verdict.commands < COMMANDS_MAX) {
        verdict.last = resp_parse(&parser, bytes_from(input, verdict.used), &used);
        if (verdict.last != RESP_COMMAND) break;
        take(&verdict, &parser, used);
        if (verdict.used == input.size) break;
    }
    resp_parser_free(&parser);
    return verdict;
}

/* Each step shows more of the input, in a fresh copy of exactly that size. */
static struct verdict feed_pieces(struct bytes input, size_t step)
{
    struct verdict verdict = {0};
    struct resp_parser parser = {0};
    size_t shown = 0, used = 0;

    verdict.last = RESP_MORE;
    while (verdict.commands < COMMANDS_MAX) {
        if (verdict.last == RESP_MORE) {
            if (shown == input.size) break;
            shown = shown + step < input.size ? shown + step : input.size;
        }
        size_t size = shown - verdict.used;
        uint8_t *copy = malloc(size ? size : 1);
        if (size) memcpy(copy, input.data + verdict.used, size);
        verdict.last = resp_parse(&parser, bytes_make(copy, size), &used);
        if (verdict.last == RESP_COMMAND) take(&verdict, &parser, used);
        free(copy);
        if (verdict.last == RESP_INVALID) break;
        if (verdict.last == RESP_COMMAND && verdict.used == input.size) break;
    }
    resp_parser_free(&parser);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 16384) return 0;
    size_t step = 1 + data[0] % 32;
    struct bytes input = bytes_make(data + 1, size - 1);

    if (input.size) {
        struct verdict whole = feed_whole(input), pieces = feed_pieces(input, step);
        ASSERT(whole.commands == pieces.commands && whole.hash == pieces.hash);
        ASSERT(whole.used == pieces.used && whole.last == pieces.last);
    }
    size_t value = resp_value_size(input);
    ASSERT(value <= input.size);
    struct bytes rest = input, text;
    uint64_t count;
    int64_t number;
    if (resp_read_array(&rest, &count)) ASSERT(rest.size < input.size);
    if (resp_read_bulk(&rest, &text)) ASSERT(text.size < input.size);
    resp_read_integer(&rest, &number);
    return 0;
}
