/* pressure.c - how much of --log-bytes-max is in use, and what follows from it.
 *
 *   marks, in segments, of a bound of 16:
 *    4  flush      the store whose group needs the oldest segment is flushed
 *    6  copy       the oldest segment is copied forward, if that is little (copy.c)
 *   10  copy_all   it is copied forward, whatever its groups need
 *   12  short      what adds data is refused, by leaders that see a quorum in that state
 *   14  full       writes are refused, but for those to meta; what keeps groups alive goes on:
 *                  votes, terms, entries without effects, changes of members, whatever frees
 *                  segments
 *   15  closed     of the entries of leaders only small ones are taken, as what would free the
 *                  log may wait for them: else this replica falls behind and is brought up by a
 *                  snapshot later, which needs no room in the log
 *   15 1/2 spent     those are not taken either, but for the no-op of an election
 *
 * Spares are within the bound; what the queues hold counts from the moment it is handed over. */
#include <inttypes.h>

#include "base/assert.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

enum { FLUSH_SEGMENTS_MAX = 6, COPY_BEHIND_FLUSH = 2 };

bool log_marks_set(struct log *log, uint64_t bytes_max)
{
    uint64_t most = bytes_max / log->segment_size;

    if (bytes_max != 0 && most < LOG_SEGMENTS_MIN) return false;
    if (bytes_max == 0) most = LOG_SEGMENTS_UNBOUNDED;
    log->bytes_max = most * log->segment_size;
    log->segments_max = most;
    log->marks.flush = most * 3 / 8 < FLUSH_SEGMENTS_MAX ? most * 3 / 8 : FLUSH_SEGMENTS_MAX;
    log->marks.copy = log->marks.flush + COPY_BEHIND_FLUSH;
    log->marks.copy_all = most * 5 / 8;
    if (bytes_max == 0) log->marks.copy = log->marks.copy_all; /* no need, as it were */
    log->marks.is_short = most * 3 / 4;
    log->marks.full = most * 7 / 8;
    log->marks.closed = most - 1;
    if (log->marks.copy > log->marks.copy_all) log->marks.copy = log->marks.copy_all;
    return true;
}

/* Segments that are used, if what waits is written, and how much of the newest: with the mutex
 * held. */
static uint64_t segments_used(const struct log *log, uint64_t *ret_newest_bytes)
{
    uint64_t active = log->statistics.active_bytes; /* of a larger segment, after the bound fell */
    uint64_t left = active < log->segment_size ? log->segment_size - active : 0;
    uint64_t more = log->pending_bytes > left ? log->pending_bytes - left : 0;
    uint64_t added = (more + log->segment_size - 1) / log->segment_size;

    *ret_newest_bytes =
        added == 0 ? active + log->pending_bytes : more - (added - 1) * log->segment_size;
    return log->statistics.segments + added;
}

void log_pressure_update(struct log *log)
{
    uint64_t newest_bytes;
    uint64_t used = segments_used(log, &newest_bytes);
    bool last_half = used > log->segments_max || newest_bytes > log->segment_size / 2;
    enum log_pressure pressure = LOG_PRESSURE_NONE;

    if (used > log->marks.flush) pressure = LOG_PRESSURE_FLUSH;
    if (used > log->marks.is_short) pressure = LOG_PRESSURE_SHORT;
    if (used > log->marks.full) pressure = LOG_PRESSURE_FULL;
    if (used > log->marks.closed) pressure = LOG_PRESSURE_CLOSED;
    if (used > log->marks.closed && last_half) pressure = LOG_PRESSURE_SPENT;
    if (PLANTED(log->world, "log_bound_ignored") && pressure > LOG_PRESSURE_NONE)
        pressure = LOG_PRESSURE_NONE;
    if (pressure == (enum log_pressure)log->pressure) return;
    if (pressure >= LOG_PRESSURE_SHORT) SOMETIMES(log->world, "log: short, the bound is near");
    if (pressure >= LOG_PRESSURE_FULL) SOMETIMES(log->world, "log: full, the bound is reached");
    log->pressure = (int)pressure;
}

bool log_spare_fits(const struct log *log)
{
    uint64_t files = log->statistics.segments;

    for (uint32_t i = 0; i < LOG_SPARES_MAX; i++)
        files += log->spare_ready[i];
    return files < log->segments_max;
}

enum log_pressure log_pressure(const struct log *log)
{
    return (enum log_pressure)log->pressure;
}

bool log_is_short(const struct log *log)
{
    return log->is_short || log->pressure >= LOG_PRESSURE_SHORT;
}
