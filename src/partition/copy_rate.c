#include "partition/copy_rate.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { SECOND_US = 1000 * 1000 };

void copy_rate_init(struct copy_rate *copy, uint64_t rate_least, uint64_t rate_most, uint64_t now)
{
    uint64_t most = rate_most ? rate_most : COPY_RATE_MOST;
    uint64_t least = rate_least ? rate_least : COPY_RATE_LEAST;
    uint64_t first = rate_least ? 8 * least : COPY_RATE_FIRST;
    if (least > most) least = most;
    ASSERT(most <= COPY_RATE_MOST);
    *copy = (struct copy_rate){.rate_least = least,
                               .rate_most = most,
                               .rate = first < most ? first : most,
                               .filled_at = now,
                               .window_at = now,
                               .knee = UINT64_MAX,
                               .late_us = COPY_LATE_UNKNOWN_US};
}

/* --- what a sync takes by itself --- */

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void learn(struct copy_rate *copy)
{
    uint64_t worst = copy->window_worst_us;
    uint32_t sorted[COPY_QUIET_WINDOWS];

    copy->quiet[copy->quiet_next++ % COPY_QUIET_WINDOWS] =
        worst < COPY_LATE_MOST_US ? (uint32_t)worst : COPY_LATE_MOST_US;
    if (copy->quiet_count < COPY_QUIET_WINDOWS) copy->quiet_count++;
    if (copy->quiet_count < COPY_QUIET_KNOWN) return;
    memcpy(sorted, copy->quiet, copy->quiet_count * sizeof(sorted[0]));
    qsort(sorted, copy->quiet_count, sizeof(sorted[0]), by_size);
    copy->alone_us = sorted[copy->quiet_count * 3 / 4];
    copy->late_us = copy->alone_us * COPY_LATE_FACTOR;
    if (copy->late_us < COPY_LATE_LEAST_US) copy->late_us = COPY_LATE_LEAST_US;
    if (copy->late_us > COPY_LATE_MOST_US) copy->late_us = COPY_LATE_MOST_US;
}

/* Nothing was copied for a while; or syncs are late although almost nothing is. */
static bool is_quiet(const struct copy_rate *copy, uint64_t now)
{
    if (copy->copied_at == 0 || now >= copy->copied_at + COPY_QUIET_AFTER_US) return true;
    return copy->rate == copy->rate_least && now >= copy->least_since + COPY_LEAST_AFTER_US;
}

/* --- the rate --- */

static void set_rate(struct copy_rate *copy, uint64_t rate, uint64_t now)
{
    if (rate > copy->rate_most) rate = copy->rate_most;
    if (rate < copy->rate_least) rate = copy->rate_least;
    if (rate == copy->rate_least && copy->rate != rate) copy->least_since = now;
    copy->rate = rate;
}

static void slow_down(struct copy_rate *copy, uint64_t now)
{
    if (!copy->was_late && !copy->window_slowed) copy->knee = copy->rate;
    set_rate(copy, copy->rate - copy->rate / 100 * COPY_DOWN_PERCENT, now);
    copy->window_slowed = true;
    copy->late_at = now;
    copy->slowed++;
}

static void speed_up(struct copy_rate *copy, uint64_t now)
{
    if (now >= copy->late_at + COPY_KNEE_US) copy->knee = UINT64_MAX;
    bool well_below = copy->rate < copy->knee / 100 * COPY_WELL_BELOW_PERCENT;
    uint64_t percent = well_below ? COPY_BACK_PERCENT : COPY_UP_PERCENT;
    set_rate(copy, copy->rate + copy->rate / 100 * percent, now);
}

static void fill(struct copy_rate *copy, uint64_t now)
{
    if (now <= copy->filled_at) return; /* another worker has read the clock later */
    uint64_t passed = now - copy->filled_at;
    int64_t most = (int64_t)(copy->rate * COPY_BURST_US);
    if (passed > SECOND_US) passed = SECOND_US;
    copy->tokens += (int64_t)(copy->rate * passed);
    if (copy->tokens > most) copy->tokens = most;
    copy->filled_at = now;
}

static void end_window(struct copy_rate *copy, uint64_t now)
{
    uint64_t passed = now - copy->window_at;
    bool late = copy->window_count > 0 && copy->window_worst_us > copy->late_us;
    bool very_late = late && copy->window_worst_us > copy->late_us * COPY_VERY_LATE_FACTOR;
    /* What nobody makes use of says nothing about more. */
    bool used = copy->window_bytes >= copy->rate / 2 * passed / SECOND_US;

    if (copy->window_count > 0 && is_quiet(copy, now)) learn(copy);
    if (copy->window_slowed && very_late) slow_down(copy, now);
    if (!late && copy->window_bytes > 0 && used) speed_up(copy, now);
    if (copy->window_count > 0) copy->worst_us = copy->window_worst_us;
    copy->was_late = late;
    copy->window_at = now;
    copy->window_count = copy->window_worst_us = copy->window_bytes = 0;
    copy->window_slowed = false;
}

static void go_on(struct copy_rate *copy, uint64_t now)
{
    fill(copy, now);
    if (now >= copy->window_at + COPY_WINDOW_US) end_window(copy, now);
}

void copy_rate_synced(struct copy_rate *copy, uint64_t us, uint64_t now)
{
    go_on(copy, now);
    copy->window_count++;
    if (us > copy->window_worst_us) copy->window_worst_us = us;
    /* Not only when the window is over: each piece that goes meanwhile makes it worse. */
    bool ours = copy->copied_at != 0 && now < copy->copied_at + COPY_WINDOW_US + us;
    if (us > copy->late_us && ours && !copy->window_slowed) slow_down(copy, now);
}

uint64_t copy_rate_pause_us(struct copy_rate *copy, uint64_t now)
{
    go_on(copy, now);
    if (copy->tokens >= 0) return 0;
    uint64_t pause = (uint64_t)-copy->tokens / copy->rate + 1;
    return pause < COPY_PAUSE_MOST_US ? pause : COPY_PAUSE_MOST_US;
}

void copy_rate_took(struct copy_rate *copy, uint64_t bytes, uint64_t now)
{
    go_on(copy, now);
    copy->tokens -= (int64_t)(bytes * SECOND_US);
    copy->window_bytes += bytes;
    copy->copied_at = now;
}
