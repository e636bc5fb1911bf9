/* progress_line.h - how far a long command is: one line that changes on a terminal, else a line now
 * and then. */
#ifndef HOLON_CLI_PROGRESS_LINE_H
#define HOLON_CLI_PROGRESS_LINE_H

#include <stdbool.h>
#include <stdint.h>

enum { PROGRESS_LINE_SIZE = 160, PROGRESS_PLAIN_S = 5 };

struct progress_line {
    const char *what; /* "backup" */
    bool terminal;
    int64_t began_ms, said_ms;
    uint64_t done_first; /* units that were done when it began: of an earlier run */
    bool open;           /* a line on the terminal is not ended */
};

void progress_line_begin(struct progress_line *line, const char *what, uint64_t done);
/* `done` of `total` units say how long it takes; parts, keys and bytes are only told. */
void progress_line_say(struct progress_line *line, uint64_t done, uint64_t total, uint64_t keys,
                       uint64_t bytes);
/* Before anything else is printed. */
void progress_line_end(struct progress_line *line);
/* The text alone, for tests. `ms`: since it began. */
void progress_line_print(const struct progress_line *line, int64_t ms, uint64_t done,
                         uint64_t total, uint64_t keys, uint64_t bytes,
                         char ret_text[PROGRESS_LINE_SIZE]);

#endif
