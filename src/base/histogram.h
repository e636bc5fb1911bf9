/* histogram.h - counts durations in buckets of fixed memory, log-linear as HdrHistogram does it:
 * exact below 256 us, then 128 buckets for each power of two, so that a reported value is at
 * most 1/128 (0.8 %) above the recorded one. 20 KiB. Thread: one; merge the ones of others. */
#ifndef HOLON_BASE_HISTOGRAM_H
#define HOLON_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_LINEAR = 256,         /* values below it have a bucket each */
    HISTOGRAM_PER_POWER = 128,      /* buckets for each power of two from there on */
    HISTOGRAM_VALUE_MAX = 60000000, /* us; larger ones count as this */
    HISTOGRAM_BUCKETS = HISTOGRAM_LINEAR + 18 * HISTOGRAM_PER_POWER,
};

struct histogram {
    uint64_t count;
    uint64_t sum; /* of the recorded values, in us */
    uint64_t min; /* of the recorded values; meaningless when count is 0 */
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *histogram);
void histogram_record(struct histogram *histogram, uint64_t value_us);
/* Adds what `from` counted. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/* The value that `percent` (0 to 100) of the recorded ones do not exceed; 0 if there is none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);
double histogram_mean(const struct histogram *histogram);

/* For exposition in cumulative buckets: how many recorded values are <= value_us, with the
 * precision above. */
uint64_t histogram_count_at_most(const struct histogram *histogram, uint64_t value_us);

#endif
