#include "cli/progress.h"

#include <stdio.h>

enum { BAR_WIDTH = 24, TIME_TEXT_SIZE = 32 };

static uint64_t number(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 ? (uint64_t)value : 0;
}

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* Sizes are estimated until all is sent: never whole before it is. */
static uint32_t percent_of(uint64_t done, uint64_t total)
{
    if (total == 0) return 0;
    uint64_t percent = (uint64_t)(100.0 * (double)done / (double)total);
    return percent < 99 ? (uint32_t)percent : 99;
}

static void append_bar(struct buffer *out, uint32_t percent)
{
    char bar[BAR_WIDTH + 1];
    uint32_t full = percent * BAR_WIDTH / 100;

    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', full);
    bar[BAR_WIDTH] = '\0';
    buffer_append_format(out, "[%s] ", bar);
}

static void print_time(const json_t *seconds, char ret_text[TIME_TEXT_SIZE])
{
    uint64_t left = (uint64_t)json_integer_value(seconds);

    if (!json_is_integer(seconds))
        snprintf(ret_text, TIME_TEXT_SIZE, "time left unknown");
    else if (left < 120)
        snprintf(ret_text, TIME_TEXT_SIZE, "about %u s left", (unsigned)left);
    else if (left < 120 * 60)
        snprintf(ret_text, TIME_TEXT_SIZE, "about %u min left", (unsigned)(left / 60));
    else
        snprintf(ret_text, TIME_TEXT_SIZE, "about %u h left", (unsigned)(left / 3600));
}

/* The same end of a line for a node and for all. */
static void append_bytes(struct buffer *out, const json_t *progress)
{
    char time[TIME_TEXT_SIZE];
    uint64_t rate = number(progress, "bytes_per_second");

    print_time(json_object_get(progress, "seconds_left"), time);
    buffer_append_format(out, "%.1f of %.1f MiB", mebibytes(number(progress, "bytes_sent")),
                         mebibytes(number(progress, "bytes_total")));
    if (rate > 0) buffer_append_format(out, ", %.1f MiB/s", mebibytes(rate));
    buffer_append_format(out, ", %s\n", time);
}

static void append_groups(struct buffer *out, const json_t *moves, bool bars)
{
    uint64_t left = number(moves, "groups_left"), total = number(moves, "groups_total");

    buffer_append_format(out, "\n  moves: ");
    if (left > 0 && total >= left) {
        if (bars) append_bar(out, percent_of(total - left, total));
        buffer_append_format(out, "%llu of %llu groups are where they should be, ",
                             (unsigned long long)(total - left), (unsigned long long)total);
    }
    append_bytes(out, moves);
}

static void append_node(struct buffer *out, const json_t *node, bool bars)
{
    uint64_t left = number(node, "replicas_left"), total = number(node, "replicas_total");
    uint32_t percent = percent_of(number(node, "bytes_sent"), number(node, "bytes_total"));
    const char *name = json_string_value(json_object_get(node, "node"));

    buffer_append_format(out, "  to %-12s ", name ? name : "");
    if (bars) append_bar(out, percent);
    buffer_append_format(out, "%2u %%, %llu of %llu replicas, ", percent,
                         (unsigned long long)(total > left ? total - left : 0),
                         (unsigned long long)total);
    append_bytes(out, node);
}

void progress_append(const json_t *moves, bool bars, struct buffer *out)
{
    const json_t *node;
    size_t i;

    if (!json_is_object(moves)) return;
    append_groups(out, moves, bars);
    json_array_foreach(json_object_get(moves, "nodes"), i, node) append_node(out, node, bars);
}
