#include "partition/copy_rate.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { SECOND_US = 1000 * 1000 };

/* --- what a sync takes by itself --- */

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void remember(struct copy_windows *windows, uint64_t us)
{
    windows->worst[windows->next] =
        us < COPY_REMEMBERED_MOST_US ? (uint32_t)us : COPY_REMEMBERED_MOST_US;
    windows->next = (windows->next + 1) % COPY_WINDOWS;
    if (windows->count < COPY_WINDOWS) windows->count++;
}

/* Nine in ten took less. */
static uint64_t most_of(const struct copy_windows *windows)
{
    uint32_t sorted[COPY_WINDOWS];

    if (windows->count < COPY_WINDOWS_KNOWN) return COPY_ALONE_UNKNOWN_US;
    memcpy(sorted, windows->worst, windows->count * sizeof(sorted[0]));
    qsort(sorted, windows->count, sizeof(sorted[0]), by_size);
    return sorted[windows->count * 9 / 10];
}

/* Nothing was copied for a while. */
static bool is_quiet(const struct copy_rate *copy, uint64_t now)
{
    return copy->copied_at == 0 || now >= copy->copied_at + COPY_QUIET_AFTER_US;
}

/* A window that was inside of a rest. */
static bool is_rest(const struct copy_rate *copy)
{
    return copy->window_at + COPY_REST_US >= copy->rest_until + COPY_REST_BEGIN_US &&
           copy->window_at < copy->rest_until && copy->window_bytes == 0;
}

static void learn(struct copy_rate *copy, uint64_t now)
{
    uint32_t weight = is_rest(copy) ? COPY_REST_WEIGHT : is_quiet(copy, now) ? 1 : 0;
    while (weight-- > 0)
        remember(&copy->quiet, copy->window_worst_us);
    remember(&copy->all, copy->window_worst_us);
    uint64_t quiet = most_of(&copy->quiet), all = most_of(&copy->all);
    copy->alone_us = quiet < all ? quiet : all;
    copy->late_us = copy->alone_us * COPY_LATE_FACTOR;
    if (copy->late_us < COPY_LATE_LEAST_US) copy->late_us = COPY_LATE_LEAST_US;
}

/* --- the rate --- */

static void set_rate(struct copy_rate *copy, uint64_t rate)
{
    if (rate > copy->rate_most) rate = copy->rate_most;
    if (rate < copy->rate_least) rate = copy->rate_least;
    copy->rate = rate;
}

static void slow_down(struct copy_rate *copy, uint64_t now)
{
    if (!copy->was_late && !copy->window_slowed) copy->knee = copy->rate;
    set_rate(copy, copy->rate - copy->rate / 100 * COPY_DOWN_PERCENT);
    copy->window_slowed = true;
    copy->late_at = now;
    copy->slowed++;
}

static void speed_up(struct copy_rate *copy, uint64_t now)
{
    if (now >= copy->late_at + COPY_KNEE_US) copy->knee = UINT64_MAX;
    bool well_below = copy->rate < copy->knee / 100 * COPY_WELL_BELOW_PERCENT;
    uint64_t percent = well_below ? COPY_BACK_PERCENT : COPY_UP_PERCENT;
    set_rate(copy, copy->rate + copy->rate / 100 * percent);
}

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
                               .alone_us = COPY_ALONE_UNKNOWN_US,
                               .late_us = COPY_ALONE_UNKNOWN_US * COPY_LATE_FACTOR};
    set_rate(copy, copy->rate);
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
    /* What nobody makes use of says nothing about more. */
    bool used = copy->window_bytes >= copy->rate / 2 * passed / SECOND_US;

    if (copy->window_count > 0) learn(copy, now);
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

static void rest_now_and_then(struct copy_rate *copy, uint64_t now)
{
    if (is_quiet(copy, now)) copy->rest_at = now + COPY_REST_EVERY_US;
    if (now < copy->rest_at) return;
    copy->rest_until = now + COPY_REST_US;
    copy->rest_at = now + COPY_REST_EVERY_US;
}

uint64_t copy_rate_pause_us(struct copy_rate *copy, uint64_t now)
{
    go_on(copy, now);
    rest_now_and_then(copy, now);
    uint64_t pause = 0;
    if (copy->tokens < 0) pause = (uint64_t)-copy->tokens / copy->rate + 1;
    if (now < copy->rest_until && pause < copy->rest_until - now) pause = copy->rest_until - now;
    return pause < COPY_PAUSE_MOST_US ? pause : COPY_PAUSE_MOST_US;
}

void copy_rate_took(struct copy_rate *copy, uint64_t bytes, uint64_t now)
{
    go_on(copy, now);
    copy->tokens -= (int64_t)(bytes * SECOND_US);
    uint64_t debt_most = copy->rate > bytes ? copy->rate : bytes; /* of one second, or this piece */
    if (copy->tokens < -(int64_t)(debt_most * SECOND_US))
        copy->tokens = -(int64_t)(debt_most * SECOND_US);
    copy->window_bytes += bytes;
    copy->copied_at = now;
}

void copy_rate_gave_back(struct copy_rate *copy, uint64_t bytes)
{
    copy->tokens += (int64_t)(bytes * SECOND_US);
    copy->window_bytes -= bytes < copy->window_bytes ? bytes : copy->window_bytes;
}
