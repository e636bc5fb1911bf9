#include "storage/log/span.h"

#include <string.h>

#include "base/assert.h"
#include "base/memory.h"

void log_spans_cut_end(struct log_spans *spans, uint64_t base, uint64_t last)
{
    while (spans->count > 0) {
        struct log_span *span = &spans->spans[spans->count - 1];
        uint64_t before = spans->count > 1 ? spans->spans[spans->count - 2].last_index : base;
        if (span->last_index > last) span->last_index = last;
        if (span->last_index > before) break;
        spans->count--;
    }
}

void log_spans_cut_start(struct log_spans *spans, uint64_t base)
{
    size_t freed = 0;

    while (freed < spans->count && spans->spans[freed].last_index <= base)
        freed++;
    if (freed == 0) return;
    spans->count -= freed;
    memmove(spans->spans, spans->spans + freed, spans->count * sizeof(*spans->spans));
}

static void spans_grow(struct log_spans *spans)
{
    if (spans->capacity == 0) {
        spans->spans = &spans->first;
        spans->capacity = 1;
        return;
    }
    bool is_first = spans->spans == &spans->first;
    spans->capacity = is_first ? 4 : spans->capacity * 2;
    spans->spans =
        memory_resize(is_first ? NULL : spans->spans, spans->capacity * sizeof(*spans->spans));
    if (is_first) spans->spans[0] = spans->first;
}

void log_spans_free(struct log_spans *spans)
{
    if (spans->spans != &spans->first) memory_free(spans->spans);
    *spans = (struct log_spans){0};
}

static void span_insert(struct log_spans *spans, size_t at, struct log_span span)
{
    if (spans->count == spans->capacity) spans_grow(spans);
    memmove(spans->spans + at + 1, spans->spans + at, (spans->count - at) * sizeof(*spans->spans));
    spans->spans[at] = span;
    spans->count++;
}

static void span_remove(struct log_spans *spans, size_t at)
{
    spans->count--;
    memmove(spans->spans + at, spans->spans + at + 1, (spans->count - at) * sizeof(*spans->spans));
}

void log_spans_extend(struct log_spans *spans, uint64_t segment, uint64_t index, uint64_t bytes)
{
    struct log_span *last = spans->count > 0 ? &spans->spans[spans->count - 1] : NULL;

    ASSERT(last == NULL || last->last_index < index);
    if (last == NULL || last->segment != segment) {
        span_insert(spans, spans->count,
                    (struct log_span){.segment = segment, .last_index = index, .bytes = bytes});
        return;
    }
    last->last_index = index;
    last->bytes += bytes;
}

static size_t span_at(const struct log_spans *spans, uint64_t index)
{
    size_t low = 0, high = spans->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (spans->spans[middle].last_index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct log_span *log_spans_find(const struct log_spans *spans, uint64_t index)
{
    size_t at = span_at(spans, index);
    return at < spans->count ? &spans->spans[at] : NULL;
}

/* The entries of span `at` before `index` get a span of their own, in the same segment. */
static void span_split(struct log_spans *spans, size_t at, uint64_t first, uint64_t index)
{
    struct log_span *span = &spans->spans[at];
    uint64_t count = span->last_index - first + 1;
    uint64_t bytes = span->bytes / count * (index - first);

    span->bytes -= bytes;
    span_insert(
        spans, at,
        (struct log_span){.segment = span->segment, .last_index = index - 1, .bytes = bytes});
}

void log_spans_move(struct log_spans *spans, uint64_t base, uint64_t segment, uint64_t index,
                    uint64_t bytes)
{
    size_t at = span_at(spans, index);

    if (at == spans->count) {
        log_spans_extend(spans, segment, index, bytes);
        return;
    }
    if (spans->spans[at].segment == segment) return;
    uint64_t first = (at > 0 ? spans->spans[at - 1].last_index : base) + 1;
    if (index > first) span_split(spans, at++, first, index);

    struct log_span *from = &spans->spans[at];
    struct log_span *before = at > 0 ? &spans->spans[at - 1] : NULL;
    bool joins = before != NULL && before->segment == segment;
    from->bytes -= bytes < from->bytes ? bytes : from->bytes;
    if (joins) {
        before->last_index = index;
        before->bytes += bytes;
    }
    if (from->last_index == index && joins) {
        span_remove(spans, at);
    } else if (from->last_index == index) {
        from->segment = segment;
        from->bytes = bytes;
    } else if (!joins) {
        span_insert(spans, at,
                    (struct log_span){.segment = segment, .last_index = index, .bytes = bytes});
    }
}

uint64_t log_spans_oldest(const struct log_spans *spans, uint64_t none)
{
    uint64_t oldest = none;

    for (size_t i = 0; i < spans->count; i++)
        if (spans->spans[i].segment < oldest) oldest = spans->spans[i].segment;
    return oldest;
}
