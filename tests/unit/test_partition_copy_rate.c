#include "unit.h"

#include "partition/copy_rate.h"

enum {
    MS = 1000,
    SECOND = 1000 * MS,
    MIB = 1 << 20,
    STEP = 1 * MIB,
    SYNC_EACH = 10 * MS,
    HURT = 6
};

/* A disk with a knee: a sync takes `alone_us`, a little more beside copies, and a lot more once
 * these are above 80 % of its bandwidth; beyond it a queue builds up, which must be emptied. Every
 * so many syncs one is late for other reasons. */
struct disk {
    struct copy_rate copy;
    uint64_t now, bandwidth; /* bytes a second */
    uint64_t alone_us, noise_each;
    uint64_t queue;  /* bytes */
    uint64_t recent; /* bytes a second, of the last 100 ms or so */
    uint64_t copied, syncs, late_syncs, worst_us;
    uint64_t hurt_syncs;   /* took HURT times what they take alone, whatever the control thinks */
    uint64_t copying_most; /* bytes a second that there is to copy */
    bool no_syncs;
    uint64_t drawn;
};

static void disk_start(struct disk *disk, uint64_t bandwidth, uint64_t alone_us)
{
    *disk = (struct disk){.now = 77 * SECOND, .bandwidth = bandwidth, .alone_us = alone_us};
    copy_rate_init(&disk->copy, 0, 0, disk->now);
}

static uint64_t draw(struct disk *disk, uint64_t below)
{
    disk->drawn = disk->drawn * 6364136223846793005u + 1442695040888963407u;
    return (disk->drawn >> 33) % below;
}

static uint64_t sync_us(struct disk *disk)
{
    uint64_t share = disk->recent * 100 / disk->bandwidth; /* percent */
    uint64_t us = disk->alone_us + draw(disk, disk->alone_us / 2 + 1);
    us += disk->alone_us * share / 200;
    if (share > 80) us += disk->alone_us * (share - 80) * draw(disk, 100) / 100;
    if (disk->queue > STEP) us += (disk->queue - STEP) * SECOND / disk->bandwidth;
    if (disk->noise_each != 0 && draw(disk, disk->noise_each) == 0) us += 20 * disk->alone_us;
    return us;
}

/* Copies whatever may be, for so long, with a sync each 10 ms. */
static void run(struct disk *disk, uint64_t us)
{
    struct copy_rate *copy = &disk->copy;
    uint64_t room = 0;

    disk->copied = disk->syncs = disk->late_syncs = disk->hurt_syncs = disk->worst_us = 0;
    for (uint64_t end = disk->now + us; disk->now < end; disk->now += MS) {
        uint64_t here = 0, written = disk->bandwidth / 1000;
        room += disk->copying_most / 1000;
        while (room >= STEP && copy_rate_pause_us(copy, disk->now) == 0) {
            copy_rate_took(copy, STEP, disk->now);
            room -= STEP;
            here += STEP;
        }
        if (room > 2 * STEP) room = 2 * STEP;
        disk->copied += here;
        disk->queue = disk->queue + here > written ? disk->queue + here - written : 0;
        disk->recent = (disk->recent * 99 + here * 1000) / 100;
        if (disk->no_syncs || disk->now % SYNC_EACH != 0) continue;
        uint64_t took = sync_us(disk);
        disk->syncs++;
        disk->late_syncs += took > copy->late_us;
        disk->hurt_syncs += took > HURT * disk->alone_us && took > COPY_LATE_LEAST_US;
        if (took > disk->worst_us) disk->worst_us = took;
        copy_rate_synced(copy, took, disk->now);
    }
}

static void learn_alone(struct disk *disk)
{
    disk->copying_most = 0;
    run(disk, 5 * SECOND);
    disk->copying_most = (uint64_t)4096 * MIB;
}

static uint64_t share_of_disk(const struct disk *disk, uint64_t us)
{
    return disk->copied * 100 / (disk->bandwidth / MS * (us / MS));
}

static void test_it_stays_below_the_knee_and_uses_half_of_the_disk(void **state)
{
    const uint64_t bandwidths[] = {60, 240, 2000}; /* MiB/s */
    const uint64_t alone[] = {8 * MS, 800, 60};

    for (int i = 0; i < 3; i++) {
        struct disk disk;
        disk_start(&disk, bandwidths[i] * MIB, alone[i]);
        learn_alone(&disk);
        run(&disk, 10 * SECOND);
        run(&disk, 30 * SECOND);
        assert_in_range(share_of_disk(&disk, 30 * SECOND), 50, 95);
        assert_true(disk.late_syncs * 100 < disk.syncs * 3);
        assert_true(disk.hurt_syncs * 100 < disk.syncs * 3);
    }
}

/* Little above the least rate, copies are to blame as anywhere. */
static void test_a_knee_near_the_least_rate_is_not_learnt_as_alone(void **state)
{
    const uint64_t most[] = {0, 32 * MIB};
    for (int i = 0; i < 2; i++) {
        struct disk disk;
        disk_start(&disk, (uint64_t)(25 + 3 * i) * MIB, 800);
        copy_rate_init(&disk.copy, 0, most[i], disk.now);
        learn_alone(&disk);
        run(&disk, 10 * SECOND);
        run(&disk, 60 * SECOND);
        assert_in_range(share_of_disk(&disk, 60 * SECOND), 50, 95);
        assert_true(disk.hurt_syncs * 100 < disk.syncs * 5);
        assert_true(disk.copy.alone_us < 3 * disk.alone_us);
    }
}

/* Also where it copies no more than the least rate all the time. */
static void test_what_the_least_rate_does_is_not_learnt_as_alone(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)20 * MIB, 800);
    learn_alone(&disk);
    run(&disk, 10 * SECOND);
    run(&disk, 60 * SECOND);
    assert_true(disk.copy.alone_us < 3 * disk.alone_us);
    assert_true(disk.copied <= (uint64_t)61 * COPY_RATE_LEAST);
}

/* Pieces that go whatever the rate is hold up those that come later by a second at most. */
static void test_a_debt_is_of_a_second_or_one_piece(void **state)
{
    struct copy_rate copy;
    copy_rate_init(&copy, 0, 1 * MIB, 1);
    assert_int_equal(copy_rate_pause_us(&copy, 1), 0);
    for (int i = 0; i < 100; i++)
        copy_rate_took(&copy, 256 << 10, 1);
    assert_true(copy_rate_pause_us(&copy, 900 * MS) > 0);
    assert_int_equal(copy_rate_pause_us(&copy, 1100 * MS), 0);
    copy_rate_took(&copy, 4 * MIB, 1100 * MS);
    assert_true(copy_rate_pause_us(&copy, 4000 * MS) > 0);
}

static void test_half_of_the_disk_from_the_first_seconds_on(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 800);
    learn_alone(&disk);
    run(&disk, 5 * SECOND);
    assert_true(share_of_disk(&disk, 5 * SECOND) >= 50);
}

static void test_it_falls_back_in_bounded_time_when_the_disk_becomes_slow(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 800);
    learn_alone(&disk);
    run(&disk, 10 * SECOND);
    disk.bandwidth = (uint64_t)40 * MIB;
    run(&disk, 1 * SECOND);
    assert_true(disk.copy.rate < (uint64_t)60 * MIB);
    run(&disk, 5 * SECOND);
    run(&disk, 20 * SECOND);
    assert_in_range(share_of_disk(&disk, 20 * SECOND), 40, 100);
    assert_true(disk.late_syncs * 100 < disk.syncs * 5);
}

static void test_it_finds_the_way_back_up(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)40 * MIB, 800);
    learn_alone(&disk);
    run(&disk, 20 * SECOND);
    disk.bandwidth = (uint64_t)400 * MIB;
    run(&disk, 10 * SECOND);
    run(&disk, 10 * SECOND);
    assert_true(share_of_disk(&disk, 10 * SECOND) >= 50);
}

static void test_it_never_falls_below_the_least_rate(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 800);
    learn_alone(&disk);
    for (uint64_t end = disk.now + 10 * SECOND; disk.now < end; disk.now += 10 * MS) {
        if (copy_rate_pause_us(&disk.copy, disk.now) == 0) {
            copy_rate_took(&disk.copy, 256 << 10, disk.now);
            disk.copied += 256 << 10;
        }
        if (disk.now % (100 * MS) == 0) copy_rate_synced(&disk.copy, 400 * MS, disk.now);
    }
    assert_true(disk.copy.rate >= COPY_RATE_LEAST);
    assert_true(disk.copied >= (uint64_t)10 * (COPY_RATE_LEAST * 3 / 4));
}

/* Where syncs are late although almost nothing is copied, copies are not to blame. */
static void test_a_disk_that_is_slow_by_itself_is_not_blamed_on_copies(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 400);
    learn_alone(&disk);
    run(&disk, 5 * SECOND);
    disk.alone_us = 6 * MS;
    run(&disk, 20 * SECOND);
    assert_true(disk.copy.late_us >= 12 * MS);
    run(&disk, 20 * SECOND);
    assert_true(share_of_disk(&disk, 20 * SECOND) >= 50);
}

/* Whatever it takes: a log on a disk that is this slow gets no faster when nothing is copied. */
static void test_a_disk_that_is_very_slow_is_not_blamed_on_copies(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 150 * MS);
    learn_alone(&disk);
    run(&disk, 5 * SECOND);
    run(&disk, 20 * SECOND);
    assert_true(share_of_disk(&disk, 20 * SECOND) >= 50);
}

static void test_rare_late_syncs_of_others_leave_half_of_the_disk(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 800);
    disk.noise_each = 200;
    learn_alone(&disk);
    run(&disk, 5 * SECOND);
    run(&disk, 30 * SECOND);
    assert_true(share_of_disk(&disk, 30 * SECOND) >= 50);
}

/* One sync in twenty is late whatever is copied: two windows in five are. */
static void test_a_busy_machine_does_not_stop_copies(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 800);
    learn_alone(&disk);
    run(&disk, 5 * SECOND);
    disk.noise_each = 20;
    run(&disk, 15 * SECOND);
    run(&disk, 30 * SECOND);
    assert_true(share_of_disk(&disk, 30 * SECOND) >= 50);
    disk.noise_each = 0;
    run(&disk, 40 * SECOND);
    assert_true(disk.copy.late_us <= 6 * MS); /* and it is noticed that it is over */
}

static void test_without_syncs_the_rate_rises_and_falls_quickly_when_they_begin(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)240 * MIB, 800);
    learn_alone(&disk);
    disk.no_syncs = true;
    run(&disk, 5 * SECOND);
    assert_true(disk.copy.rate > (uint64_t)200 * MIB);
    disk.no_syncs = false;
    disk.copying_most = (uint64_t)300 * MIB;
    run(&disk, 2 * SECOND);
    assert_true(disk.copy.rate < (uint64_t)240 * MIB);
}

static void test_what_is_not_used_does_not_raise_the_rate(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)1000 * MIB, 800);
    learn_alone(&disk);
    disk.copying_most = (uint64_t)20 * MIB;
    run(&disk, 10 * SECOND);
    assert_int_equal(disk.copy.rate, COPY_RATE_FIRST);
}

static void test_the_bound_that_is_set_holds(void **state)
{
    struct disk disk;
    disk_start(&disk, (uint64_t)1000 * MIB, 800);
    copy_rate_init(&disk.copy, 0, 32 * MIB, disk.now);
    learn_alone(&disk);
    run(&disk, 10 * SECOND);
    assert_in_range(disk.copied, (uint64_t)300 * MIB, (uint64_t)325 * MIB);
}

static void test_a_bound_below_the_least_rate_is_kept(void **state)
{
    struct copy_rate copy;
    copy_rate_init(&copy, 0, 1 * MIB, 1);
    assert_int_equal(copy.rate, 1 * MIB);
    copy_rate_took(&copy, 1 * MIB, 1);
    assert_int_equal(copy_rate_pause_us(&copy, 1), COPY_PAUSE_MOST_US);
    assert_int_equal(copy_rate_pause_us(&copy, 1 + 900 * MS), COPY_PAUSE_MOST_US);
    assert_int_equal(copy_rate_pause_us(&copy, 2 * SECOND), 0);
}

static void test_a_clock_of_another_worker_that_is_behind_does_no_harm(void **state)
{
    struct copy_rate copy;
    copy_rate_init(&copy, 0, 0, 5 * SECOND);
    copy_rate_took(&copy, 1 * MIB, 5 * SECOND);
    copy_rate_synced(&copy, 40 * MS, 5 * SECOND - 3);
    assert_true(copy_rate_pause_us(&copy, 5 * SECOND - 2) > 0);
    assert_int_equal(copy.slowed, 1);
}

static void test_what_is_given_back_may_be_copied(void **state)
{
    struct copy_rate copy;
    copy_rate_init(&copy, 0, 1 * MIB, 1);
    assert_int_equal(copy_rate_pause_us(&copy, 1), 0);
    copy_rate_took(&copy, 1 * MIB, 1);
    assert_true(copy_rate_pause_us(&copy, 1) > 0);
    copy_rate_gave_back(&copy, 1 * MIB);
    assert_int_equal(copy_rate_pause_us(&copy, 1), 0);
    assert_int_equal(copy.window_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_stays_below_the_knee_and_uses_half_of_the_disk),
        cmocka_unit_test(test_a_knee_near_the_least_rate_is_not_learnt_as_alone),
        cmocka_unit_test(test_what_the_least_rate_does_is_not_learnt_as_alone),
        cmocka_unit_test(test_a_debt_is_of_a_second_or_one_piece),
        cmocka_unit_test(test_half_of_the_disk_from_the_first_seconds_on),
        cmocka_unit_test(test_it_falls_back_in_bounded_time_when_the_disk_becomes_slow),
        cmocka_unit_test(test_it_finds_the_way_back_up),
        cmocka_unit_test(test_it_never_falls_below_the_least_rate),
        cmocka_unit_test(test_a_disk_that_is_slow_by_itself_is_not_blamed_on_copies),
        cmocka_unit_test(test_a_disk_that_is_very_slow_is_not_blamed_on_copies),
        cmocka_unit_test(test_rare_late_syncs_of_others_leave_half_of_the_disk),
        cmocka_unit_test(test_a_busy_machine_does_not_stop_copies),
        cmocka_unit_test(test_without_syncs_the_rate_rises_and_falls_quickly_when_they_begin),
        cmocka_unit_test(test_what_is_not_used_does_not_raise_the_rate),
        cmocka_unit_test(test_the_bound_that_is_set_holds),
        cmocka_unit_test(test_a_bound_below_the_least_rate_is_kept),
        cmocka_unit_test(test_what_is_given_back_may_be_copied),
        cmocka_unit_test(test_a_clock_of_another_worker_that_is_behind_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
