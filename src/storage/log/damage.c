/* damage.c - damage met in a sealed segment while the log is open (FAULTS F21, F22).
 *
 * A running node never reads what it has logged: rows and entries are in memory, so a damaged
 * segment harms nobody before the next start. It heals as follows:
 *
 *   found      by copy.c, on LANE_LOG, or by scrub.c, on LANE_READ
 *   told       log_damaged_segment() makes all workers flush what the segments up to there are
 *              needed for (partition/flush.c), and releases are written without waiting
 *   set aside  when nobody needs them any more the segments are freed, the oldest first, as ever.
 *              Those that are damaged become damaged-*.seg in the same directory
 *   moved      by whoever opened the log (log_damages()): evidence is not the log's business
 *
 * A crash before the segment is free is found by the next start, and leads to REPAIR. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "storage/log/log_private.h"
#include "world/probe.h"

static const char aside_prefix[] = "damaged-";

void log_aside_path(const struct log *log, uint64_t segment, char path[LOG_PATH_SIZE])
{
    int size = snprintf(path, LOG_PATH_SIZE, "%s/%s%016" PRIx64 ".seg", log->directory,
                        aside_prefix, segment);
    ASSERT(size > 0 && size < LOG_PATH_SIZE); /* log_open() has checked the directory */
}

uint64_t log_aside_parse(const char *name)
{
    size_t prefix = sizeof(aside_prefix) - 1;

    return strncmp(name, aside_prefix, prefix) == 0 ? log_segment_parse(name + prefix) : 0;
}

static struct log_damaged *damaged_find(struct log *log, uint64_t segment)
{
    for (uint32_t i = 0; i < log->damaged_count; i++)
        if (log->damaged[i].segment == segment) return &log->damaged[i];
    return NULL;
}

static struct log_damaged *damaged_add(struct log *log, uint64_t segment)
{
    if (log->damaged_count == LOG_DAMAGED_MAX) return NULL;
    struct log_damaged *damaged = &log->damaged[log->damaged_count++];
    *damaged = (struct log_damaged){.segment = segment};
    return damaged;
}

static void damaged_name(struct log_damaged *damaged, const char *path)
{
    snprintf(damaged->file, sizeof(damaged->file), "%.*s", (int)sizeof(damaged->file) - 1, path);
}

void log_damage_found(struct log *log, uint64_t segment, uint64_t offset, const char *what)
{
    char path[LOG_PATH_SIZE];

    log_segment_path(log, segment, path);
    pthread_mutex_lock(&log->mutex);
    /* What is freed is used again: it was read when nobody needed it any more. */
    bool news = segment >= log->kept_from && damaged_find(log, segment) == NULL;
    struct log_damaged *damaged = news ? damaged_add(log, segment) : NULL;
    if (damaged != NULL) {
        damaged->offset = offset;
        damaged->what = what;
        damaged_name(damaged, path);
        log->damages_found++;
        if (segment > log->damaged_segment) log->damaged_segment = segment;
    }
    pthread_mutex_unlock(&log->mutex);
    if (damaged == NULL) return;
    SOMETIMES(log->world, "log: damage of a sealed segment was met while running");
    LOG_ERROR(world_logger(log->world), "log",
              "%s offset %" PRIu64 ": %s; what it is needed for is flushed to the stores, then it "
              "is set aside",
              path, offset, what);
}

void log_damage_walked(struct log *log, const struct log_walk *walk, enum log_walk_found found)
{
    bool next = found == LOG_WALK_NEXT_DAMAGED;

    log_damage_found(log, walk->segment + next, next ? 0 : walk->offset,
                     "cannot be read as it was written");
}

void log_damage_listed(struct log *log, uint64_t segment)
{
    struct log_damaged *damaged = damaged_add(log, segment);
    char path[LOG_PATH_SIZE];

    if (damaged == NULL) return; /* left where it is */
    log_aside_path(log, segment, path);
    damaged_name(damaged, path);
    damaged->what = "found damaged at an earlier time";
    damaged->set_aside = true;
}

void log_damage_keep_from(struct log *log, uint64_t segment)
{
    pthread_mutex_lock(&log->mutex);
    log->kept_from = segment;
    if (log->damaged_segment < segment) log->damaged_segment = 0;
    pthread_mutex_unlock(&log->mutex);
}

bool log_damage_is_known(struct log *log, uint64_t segment)
{
    pthread_mutex_lock(&log->mutex);
    bool known = damaged_find(log, segment) != NULL;
    pthread_mutex_unlock(&log->mutex);
    return known;
}

enum status log_damage_set_aside(struct log *log, uint64_t segment, struct error *error)
{
    char path[LOG_PATH_SIZE], aside[LOG_PATH_SIZE];

    log_segment_path(log, segment, path);
    log_aside_path(log, segment, aside);
    enum status status = world_rename(log->world, path, aside, error);
    bool gone = status == STATUS_NOT_FOUND; /* that was the damage */
    if (status == STATUS_OK || gone) status = world_sync_dir(log->world, log->directory, error);
    if (status) return status;
    SOMETIMES(log->world, "log: a damaged segment was set aside");
    LOG_INFO(world_logger(log->world), "log", "%s: damaged, and needed by nobody any more%s", path,
             gone ? "" : "; set aside");
    pthread_mutex_lock(&log->mutex);
    struct log_damaged *damaged = damaged_find(log, segment);
    damaged->set_aside = true;
    if (!gone) damaged_name(damaged, aside);
    if (gone) *damaged = log->damaged[--log->damaged_count];
    pthread_mutex_unlock(&log->mutex);
    return STATUS_OK;
}

/* --- for those who opened the log ----------------------------------------------------------- */

uint64_t log_damaged_segment(const struct log *log)
{
    return log->damaged_segment;
}

uint32_t log_damages(struct log *log, struct log_damaged ret[LOG_DAMAGED_MAX])
{
    pthread_mutex_lock(&log->mutex);
    uint32_t count = log->damaged_count;
    memcpy(ret, log->damaged, count * sizeof(*ret));
    pthread_mutex_unlock(&log->mutex);
    return count;
}

void log_damage_moved(struct log *log, uint64_t segment)
{
    pthread_mutex_lock(&log->mutex);
    struct log_damaged *damaged = damaged_find(log, segment);
    if (damaged != NULL) *damaged = log->damaged[--log->damaged_count];
    pthread_mutex_unlock(&log->mutex);
}
