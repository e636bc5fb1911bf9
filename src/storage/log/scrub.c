/* scrub.c - reads sealed segments that nobody has a reason to read, to find damage while it can
 * still be healed (FAULTS F21). A piece at a time, by a job on LANE_READ: the caller sets the pace.
 *
 * The writer may free the segment meanwhile, and use its file again: what is then found to be
 * wrong is none of the log's, and log_damage_found() leaves it out. */
#include "storage/log/log_private.h"
#include "world/probe.h"

void log_scrub_init(struct log_scrub *scrub)
{
    memset(scrub, 0, sizeof(*scrub));
    scrub->walk.flags = FILE_READ | FILE_DIRECT; /* what lies on the medium, not a memory of it */
    buffer_init(&scrub->walk.read, LOG_SEGMENT_SIZE_MAX);
}

void log_scrub_free(struct log_scrub *scrub)
{
    log_walk_close(&scrub->walk);
    buffer_free(&scrub->walk.read);
}

/* The segment to read, or 0: the pass is over. */
static uint64_t scrub_segment(struct log *log, const struct log_scrub *scrub)
{
    pthread_mutex_lock(&log->mutex);
    uint64_t oldest = log->kept_from, sealed_end = log->statistics.active_segment;
    pthread_mutex_unlock(&log->mutex);
    uint64_t segment = scrub->segment < oldest ? oldest : scrub->segment;
    return segment < sealed_end ? segment : 0;
}

/* False: the segment has been read to its end, or as far as it can be. */
static bool scrub_batch(struct log *log, struct log_scrub *scrub)
{
    struct log_walk *walk = &scrub->walk;
    struct bytes bytes;
    struct log_batch batch;
    enum log_walk_found found = log_walk_next(log, walk, &bytes, &batch);

    if (found == LOG_WALK_BATCH) {
        scrub->bytes += log_batch_size(&batch);
        return true;
    }
    if (found != LOG_WALK_END) log_damage_walked(log, walk, found);
    return false;
}

bool log_scrub(struct log *log, struct log_scrub *scrub, uint64_t bytes_max)
{
    struct error error;
    uint64_t until = scrub->bytes + bytes_max;

    while (scrub->bytes < until) {
        uint64_t segment = scrub_segment(log, scrub);
        if (segment == 0) {
            scrub->segment = 0;
            buffer_free(&scrub->walk.read); /* not held until the next pass */
            buffer_init(&scrub->walk.read, LOG_SEGMENT_SIZE_MAX);
            SOMETIMES(log->world, "log: all sealed segments were scrubbed");
            return false;
        }
        scrub->segment = segment;
        enum status status = log_walk_open(log, &scrub->walk, segment, &error);
        bool more = status == STATUS_OK;
        while (more && scrub->bytes < until)
            more = scrub_batch(log, scrub);
        log_walk_close(&scrub->walk);
        if (status == STATUS_NOT_FOUND) log_damage_found(log, segment, 0, "is missing");
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) return true; /* it may pass */
        if (more) continue;
        scrub->segment = segment + 1;
        scrub->walk.segment = 0; /* another pass begins at its start */
    }
    return true;
}
