#include "base/histogram.h"

#include "base/assert.h"

enum { PER_POWER_BITS = 7 };
_Static_assert(1 << PER_POWER_BITS == HISTOGRAM_PER_POWER, "one bucket per value of these bits");
_Static_assert(HISTOGRAM_LINEAR == 2 * HISTOGRAM_PER_POWER, "the first power follows on");
_Static_assert(HISTOGRAM_VALUE_MAX < 1 << 26, "18 powers of two from 2^8 on reach 2^26");

/* Above the linear part a value is `mantissa << shift` with 128 <= mantissa < 256. */
static size_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_LINEAR) return value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - PER_POWER_BITS;
    uint64_t mantissa = value >> shift;
    return HISTOGRAM_LINEAR + (shift - 1) * HISTOGRAM_PER_POWER + (mantissa - HISTOGRAM_PER_POWER);
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_last(size_t bucket)
{
    if (bucket < HISTOGRAM_LINEAR) return bucket;
    size_t above = bucket - HISTOGRAM_LINEAR;
    unsigned shift = (unsigned)(above / HISTOGRAM_PER_POWER) + 1;
    uint64_t mantissa = above % HISTOGRAM_PER_POWER + HISTOGRAM_PER_POWER;
    return ((mantissa + 1) << shift) - 1;
}

void histogram_init(struct histogram *histogram)
{
    *histogram = (struct histogram){.min = UINT64_MAX};
}

void histogram_record(struct histogram *histogram, uint64_t value_us)
{
    if (value_us > HISTOGRAM_VALUE_MAX) value_us = HISTOGRAM_VALUE_MAX;

    size_t bucket = bucket_of(value_us);
    ASSERT(bucket < HISTOGRAM_BUCKETS);
    histogram->buckets[bucket]++;
    histogram->count++;
    histogram->sum += value_us;
    if (value_us < histogram->min) histogram->min = value_us;
    if (value_us > histogram->max) histogram->max = value_us;
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] += from->buckets[i];
    histogram->count += from->count;
    histogram->sum += from->sum;
    if (from->min < histogram->min) histogram->min = from->min;
    if (from->max > histogram->max) histogram->max = from->max;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    if (histogram->count == 0) return 0;

    /* Round up: the 99th percentile of 50 values is the 50th of them, not the 49th. */
    double exact = (double)histogram->count * percent / 100.0;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0) rank++;
    if (rank > histogram->count) rank = histogram->count;

    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen < rank) continue;
        uint64_t last = bucket_last(i);
        return last < histogram->max ? last : histogram->max;
    }
    ASSERT(!"the buckets hold `count` values");
    return histogram->max;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? (double)histogram->sum / (double)histogram->count : 0;
}

uint64_t histogram_count_at_most(const struct histogram *histogram, uint64_t value_us)
{
    uint64_t count = 0;

    if (value_us >= histogram->max) return histogram->count;
    for (size_t i = 0; i <= bucket_of(value_us); i++)
        count += histogram->buckets[i];
    return count;
}
