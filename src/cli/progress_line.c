#include "cli/progress_line.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { MS_PER_S = 1000, NS_PER_MS = 1000000, TIME_TEXT_SIZE = 32 };

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / NS_PER_MS;
}

void progress_line_begin(struct progress_line *line, const char *what, uint64_t done)
{
    *line = (struct progress_line){.what = what,
                                   .terminal = isatty(STDOUT_FILENO) != 0,
                                   .began_ms = now_ms(),
                                   .done_first = done};
    line->said_ms = line->began_ms;
}

static void print_left(double seconds, char ret_text[TIME_TEXT_SIZE])
{
    if (seconds < 0)
        snprintf(ret_text, TIME_TEXT_SIZE, "time left unknown");
    else if (seconds < 120)
        snprintf(ret_text, TIME_TEXT_SIZE, "about %.0f s left", seconds);
    else if (seconds < 120 * 60)
        snprintf(ret_text, TIME_TEXT_SIZE, "about %.0f min left", seconds / 60);
    else
        snprintf(ret_text, TIME_TEXT_SIZE, "about %.0f h left", seconds / 3600);
}

void progress_line_print(const struct progress_line *line, int64_t ms, uint64_t done,
                         uint64_t total, uint64_t keys, uint64_t bytes,
                         char ret_text[PROGRESS_LINE_SIZE])
{
    char left[TIME_TEXT_SIZE];
    double seconds = (double)(ms > 0 ? ms : 1) / MS_PER_S;
    uint64_t now = done > line->done_first ? done - line->done_first : 0;
    uint64_t rest = total > done ? total - done : 0;
    uint64_t percent = total ? 100 * done / total : 0;

    print_left(now ? seconds * (double)rest / (double)now : -1, left);
    if (percent > 99) percent = 99; /* never whole before it is */
    snprintf(ret_text, PROGRESS_LINE_SIZE, "%s: %llu %%, %llu keys, %.1f MiB, %.1f MiB/s, %s",
             line->what, (unsigned long long)percent, (unsigned long long)keys,
             (double)bytes / (1 << 20), (double)bytes / (1 << 20) / seconds, left);
}

void progress_line_say(struct progress_line *line, uint64_t done, uint64_t total, uint64_t keys,
                       uint64_t bytes)
{
    char text[PROGRESS_LINE_SIZE];
    int64_t now = now_ms();

    if (!line->terminal && now - line->said_ms < PROGRESS_PLAIN_S * MS_PER_S) return;
    line->said_ms = now;
    progress_line_print(line, now - line->began_ms, done, total, keys, bytes, text);
    printf(line->terminal ? "\r\033[K%s" : "%s\n", text);
    fflush(stdout);
    line->open = line->terminal;
}

void progress_line_end(struct progress_line *line)
{
    if (line->open) printf("\r\033[K");
    line->open = false;
}
