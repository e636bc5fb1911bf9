#include "partition/governor.h"

enum { SECOND_US = 1000 * 1000, PAUSE_MIN_US = 500, PAUSE_MAX_US = 20 * 1000 };

void governor_init(struct governor *governor, uint64_t rate_least, uint64_t now)
{
    *governor = (struct governor){.rate_least = rate_least,
                                  .rate = GOVERNOR_RATE_MOST,
                                  .quiet_period = GOVERNOR_QUIET_FIRST_US,
                                  .filled_at = now,
                                  .window_at = now};
}

static bool is_recent(uint64_t at, uint64_t now, uint64_t us)
{
    return at != 0 && now - at < us;
}

/* --- quiet windows --- */

/* Nothing waits for tokens. Late ones take the rate below twice what was used: adjust(). */
static bool has_room(const struct governor *governor)
{
    return governor->rate >= GOVERNOR_RATE_MOST || governor->rate > 2 * governor->used;
}

static uint64_t phase_in(const struct governor *governor, uint64_t at, uint64_t period)
{
    return (at + (uint64_t)governor->wall_offset) % period;
}

static uint64_t quiet_phase(const struct governor *governor, uint64_t at)
{
    return phase_in(governor, at, governor->quiet_period);
}

/* Not within a quiet window, nor where one would be with another period: each period is a multiple
 * of the shorter ones, so that nodes which differ in it have windows in common. */
static void choose_period(struct governor *governor, uint64_t now)
{
    if (phase_in(governor, now, GOVERNOR_QUIET_FIRST_US) < GOVERNOR_QUIET_US) return;
    if (governor->learned >= GOVERNOR_LEARN_COUNT)
        governor->quiet_period =
            has_room(governor) ? GOVERNOR_QUIET_SELDOM_US : GOVERNOR_QUIET_PERIOD_US;
    else if (now - governor->learn_at >= GOVERNOR_LEARN_US)
        governor->quiet_period = GOVERNOR_QUIET_PERIOD_US;
}

/* The best of the first windows counts: one that something else had disturbed would let all heavy
 * work through, and as nothing waits then, the next quiet window would be a minute away. */
static void learn(struct governor *governor, uint64_t sum_us, uint64_t late, uint64_t count,
                  uint64_t weight, uint64_t now)
{
    uint64_t known = governor->alone_us;
    uint64_t mean_us = sum_us / count;
    if (governor->learned < GOVERNOR_LEARN_COUNT) {
        bool counts = now - governor->learned_at >= GOVERNOR_QUIET_FIRST_US;
        governor->learned += counts;
        if (counts) governor->learned_at = now;
        if (known != 0 && known <= mean_us) return;
        governor->alone_late = 0;
    } else {
        mean_us = ((weight - 1) * known + mean_us) / weight;
        governor->alone_late = ((weight - 1) * governor->alone_late + 1000 * late / count) / weight;
    }
    governor->alone_us = mean_us + 1;
}

static void quiet_end(struct governor *governor, uint64_t now)
{
    if (governor->quiet_count < GOVERNOR_QUIET_COUNT) return; /* more with the next window */
    learn(governor, governor->quiet_sum, governor->quiet_late, governor->quiet_count, 4, now);
    governor->quiet_sum = governor->quiet_late = governor->quiet_count = 0;
}

/* --- the rate --- */

/* By how far the share of late entries is off: a quarter down at most, a 32nd up. */
static void adjust(struct governor *governor)
{
    int64_t rate = (int64_t)governor->rate;
    int64_t share = 10 * GOVERNOR_LATE_PERCENT + (int64_t)governor->alone_late; /* of 1000 */
    int64_t allowed = (int64_t)governor->window_count * share;
    int64_t off = 256 - (int64_t)governor->window_late * 1000 * 256 / allowed;

    if (off < -8 * 256) off = -8 * 256;
    if (off > 0 ? !governor->held : governor->used < governor->rate_least / 2) return;
    if (off < 0 && rate > 2 * (int64_t)governor->used) rate = 2 * (int64_t)governor->used;
    rate += rate * off / (256 * 32);
    if (rate < (int64_t)governor->rate_least) rate = (int64_t)governor->rate_least;
    if (rate > GOVERNOR_RATE_MOST) rate = GOVERNOR_RATE_MOST;
    governor->rate = (uint64_t)rate;
}

static void window_begin(struct governor *governor, uint64_t now)
{
    governor->window_at = now;
    governor->window_sum = governor->window_count = governor->window_late = 0;
    governor->window_cost = 0;
    governor->held = false;
}

static void window_end(struct governor *governor, uint64_t now)
{
    uint64_t took = now - governor->window_at;
    uint64_t used = governor->window_cost * SECOND_US / took;

    governor->used = (3 * governor->used + used) / 4;
    if (!is_recent(governor->heavy_at, now, 2 * took))
        learn(governor, governor->window_sum, governor->window_late, governor->window_count, 16,
              now);
    else if (governor->alone_us != 0)
        adjust(governor);
    window_begin(governor, now);
}

void governor_light(struct governor *governor, uint64_t proposed_at, uint64_t now)
{
    uint64_t us = now - proposed_at;
    bool late = governor->alone_us != 0 &&
                us > GOVERNOR_LATE_FACTOR * governor->alone_us + GOVERNOR_LATE_SLACK_US;
    uint64_t phase = quiet_phase(governor, proposed_at);
    bool sparse = !is_recent(governor->light_at, now, GOVERNOR_SPARSE_US);
    governor->light_at = now;
    if (sparse) { /* the window says nothing of so long a time */
        window_begin(governor, now);
        return;
    }
    if (!is_recent(governor->traffic_at, now, GOVERNOR_ABSENT_US)) governor->traffic_from = now;
    governor->traffic_at = now;
    if (governor->learn_at == 0) governor->learn_at = now;
    choose_period(governor, now);
    if (us > GOVERNOR_SAMPLE_US_MAX) return;
    /* One that stood still by chance tells little of what they take. */
    if (governor->alone_us != 0 && us > 4 * governor->alone_us) us = 4 * governor->alone_us;
    if (phase < GOVERNOR_QUIET_US) {
        /* With none to be spared when it began, the window was not quiet. */
        bool quiet = proposed_at >= governor->traffic_from + GOVERNOR_QUIET_US;
        if (quiet && phase >= GOVERNOR_QUIET_BEGIN_US && phase < GOVERNOR_QUIET_END_US) {
            governor->quiet_sum += us;
            governor->quiet_late += late;
            governor->quiet_count++;
        }
        return;
    }
    if (governor->quiet_count > 0) quiet_end(governor, now);
    governor->window_sum += us;
    governor->window_count++;
    governor->window_late += late;
    uint64_t took = now - governor->window_at;
    bool ends = took >= GOVERNOR_WINDOW_LONG_US ||
                (took >= GOVERNOR_WINDOW_US && governor->window_count >= GOVERNOR_WINDOW_COUNT);
    if (ends) window_end(governor, now);
}

/* --- tokens --- */

static void fill(struct governor *governor, uint64_t now)
{
    uint64_t us = now - governor->filled_at;
    int64_t most = (int64_t)governor->rate * GOVERNOR_BURST_US;

    if (us > SECOND_US) us = SECOND_US;
    governor->filled_at = now;
    governor->tokens += (int64_t)(governor->rate * us);
    if (governor->tokens > most) governor->tokens = most;
}

static bool spares(const struct governor *governor, uint64_t now)
{
    return !governor->off && is_recent(governor->traffic_at, now, GOVERNOR_ABSENT_US);
}

static bool is_turn_of(struct governor *governor, enum governor_kind kind, bool others_wait,
                       uint64_t now)
{
    if (kind == GOVERNOR_CHORE) return !others_wait || governor->ahead > 0;
    return governor->ahead <= 0 || !is_recent(governor->chore_waited_at, now, GOVERNOR_TURN_US);
}

bool governor_may(struct governor *governor, enum governor_kind kind, bool others_wait,
                  uint64_t now)
{
    if (!spares(governor, now)) return true;
    fill(governor, now);
    bool quiet = quiet_phase(governor, now) < GOVERNOR_QUIET_US;
    bool may = !quiet && (governor->tokens > 0 || governor->rate >= GOVERNOR_RATE_MOST) &&
               is_turn_of(governor, kind, others_wait, now);
    governor->heavy_at = now; /* wanted is as good as done: this window tells nothing of alone */
    if (!may) {
        governor->held = true;
        if (kind == GOVERNOR_CHORE) governor->chore_waited_at = now;
    }
    return may;
}

void governor_ran(struct governor *governor, enum governor_kind kind, uint64_t cost, bool overdue,
                  uint64_t now)
{
    int64_t ahead = governor->ahead;

    governor->heavy_at = now;
    governor->window_cost += cost;
    ahead += kind == GOVERNOR_CHORE ? -(int64_t)cost : 2 * (int64_t)cost;
    if (ahead > GOVERNOR_TURN_COST_MAX) ahead = GOVERNOR_TURN_COST_MAX;
    if (ahead < -GOVERNOR_TURN_COST_MAX) ahead = -GOVERNOR_TURN_COST_MAX;
    governor->ahead = ahead;
    if (kind == GOVERNOR_CHORE) governor->chore_waited_at = 0;
    if (overdue || governor->rate >= GOVERNOR_RATE_MOST || !spares(governor, now)) return;
    governor->tokens -= (int64_t)cost * SECOND_US;
}

uint64_t governor_pause_us(struct governor *governor, uint64_t now)
{
    uint64_t pause = PAUSE_MIN_US;
    uint64_t phase = quiet_phase(governor, now);

    if (!spares(governor, now)) return pause;
    if (phase < GOVERNOR_QUIET_US)
        pause = GOVERNOR_QUIET_US - phase;
    else if (governor->tokens <= 0)
        pause = (uint64_t)(-governor->tokens) / governor->rate + 1;
    if (pause < PAUSE_MIN_US) pause = PAUSE_MIN_US;
    return pause > PAUSE_MAX_US ? PAUSE_MAX_US : pause;
}
