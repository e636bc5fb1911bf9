/* span.h - in which segments the entries of one group lie. Private to src/storage/log.
 *
 *   base   | span 0      | span 1      | span 2       |      indices rise; the segments need not,
 *          | segment 7   | segment 4   | segment 5    |      since entries are copied forward
 *
 * A span holds the entries behind the span before it (or behind the base), up to last_index. What
 * recovery has not seen yet counts to the next span: an estimate from above, until it is seen.
 * Thread: that of the group table. */
#ifndef HOLON_STORAGE_LOG_SPAN_H
#define HOLON_STORAGE_LOG_SPAN_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

struct log_span {
    uint64_t segment;
    uint64_t last_index;
    uint64_t bytes; /* of its records; at least what is still needed of them */
};

struct log_spans {          /* zeroed: empty. Stays where it is. */
    struct log_span *spans; /* last_index rises; owned */
    uint32_t count, capacity;
    struct log_span first; /* most need no more memory than this */
};
void log_spans_free(struct log_spans *spans);

/* Entries > last, or <= base, are in no span any more. */
void log_spans_cut_end(struct log_spans *spans, uint64_t base, uint64_t last);
void log_spans_cut_start(struct log_spans *spans, uint64_t base);
/* The entry behind all others lies in `segment`. */
void log_spans_extend(struct log_spans *spans, uint64_t segment, uint64_t index, uint64_t bytes);
/* The entry `index` lies in `segment`, wherever it was. */
void log_spans_move(struct log_spans *spans, uint64_t base, uint64_t segment, uint64_t index,
                    uint64_t bytes);
/* The span of that entry; NULL: it is behind the last one. */
const struct log_span *log_spans_find(const struct log_spans *spans, uint64_t index);
/* The oldest segment of a span; `none` if all are newer. */
uint64_t log_spans_oldest(const struct log_spans *spans, uint64_t none);

#endif
