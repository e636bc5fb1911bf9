/* Time, deferred work, posts, jobs and signals of the real world. */
#include "real_world.h"

#include <pthread.h>
#include <signal.h>

#include "base/assert.h"
#include "base/ids.h"
#include "base/memory.h"
#include "base/random.h"
#include "world/timer_heap.h"

/* --- the heap -------------------------------------------------------------------------------- */

enum { HEAP_TIMERS = 300 };

static void never_fires(struct world_timer *timer)
{
    (void)timer;
    fail_msg("a timer of the heap test fired");
}

static void heap_check_order(struct timer_heap *heap)
{
    uint64_t deadline = 0, sequence = 0;
    struct world_timer *timer;

    while ((timer = timer_heap_first(heap)) != NULL) {
        assert_true(timer->deadline > deadline ||
                    (timer->deadline == deadline && timer->sequence > sequence));
        deadline = timer->deadline;
        sequence = timer->sequence;
        timer_heap_stop(heap, timer);
        assert_int_equal(timer->heap_index, 0);
    }
}

static void test_timers_leave_the_heap_by_deadline_then_by_start(void **state)
{
    struct world_timer timers[HEAP_TIMERS] = {0};
    struct timer_heap heap;
    struct random random;

    timer_heap_init(&heap);
    random_seed(&random, 7);
    for (int round = 0; round < 50; round++) {
        for (int step = 0; step < 2000; step++) {
            struct world_timer *timer = &timers[random_below(&random, HEAP_TIMERS)];
            timer->fire = never_fires;
            if (random_chance(&random, 1, 3))
                timer_heap_stop(&heap, timer);
            else
                timer_heap_start(&heap, timer, random_below(&random, 50));
        }
        heap_check_order(&heap);
        assert_int_equal(heap.count, 0);
    }
    timer_heap_free(&heap);
}

/* --- timers ---------------------------------------------------------------------------------- */

struct fired {
    struct world *world;
    struct world_timer *timers[8];
    uint64_t times[8];
    size_t count;
    size_t wanted;
};

static void note_fired(struct world_timer *timer)
{
    struct fired *fired = timer->context;

    fired->timers[fired->count] = timer;
    fired->times[fired->count++] = world_now(fired->world);
    if (fired->count == fired->wanted) world_real_stop(fired->world);
}

static bool all_fired(void *context)
{
    struct fired *fired = context;
    return fired->count >= fired->wanted;
}

static void test_timers_fire_in_order_and_never_early(void **state)
{
    struct real_fixture fixture;
    struct fired fired = {0};
    struct world_timer timers[4] = {0};
    uint64_t delays[4] = {30000, 5000, 5000, 1500};
    uint64_t start;

    real_fixture_start(&fixture);
    fired.world = fixture.world;
    fired.wanted = 4;
    start = world_now(fixture.world);
    for (int i = 0; i < 4; i++) {
        timers[i].fire = note_fired;
        timers[i].context = &fired;
        world_timer_start(fixture.world, &timers[i], delays[i]);
    }
    assert_true(real_wait(fixture.world, all_fired, &fired));
    assert_ptr_equal(fired.timers[0], &timers[3]);
    assert_ptr_equal(fired.timers[1], &timers[1]);
    assert_ptr_equal(fired.timers[2], &timers[2]); /* same delay, started later */
    assert_ptr_equal(fired.timers[3], &timers[0]);
    assert_true(fired.times[0] >= start + 1500);
    assert_true(fired.times[1] >= start + 5000);
    assert_true(fired.times[3] >= start + 30000);
    real_fixture_stop(&fixture);
}

static void test_a_stopped_timer_does_not_fire_and_a_restarted_one_fires_once(void **state)
{
    struct real_fixture fixture;
    struct fired fired = {.wanted = 1};
    struct world_timer stopped = {.fire = never_fires};
    struct world_timer restarted = {.fire = note_fired, .context = &fired};

    real_fixture_start(&fixture);
    fired.world = fixture.world;
    world_timer_start(fixture.world, &stopped, 1000);
    world_timer_start(fixture.world, &restarted, 1000);
    world_timer_start(fixture.world, &restarted, 8000);
    world_timer_stop(fixture.world, &stopped);
    world_timer_stop(fixture.world, &stopped); /* harmless */
    uint64_t start = world_now(fixture.world);
    assert_true(real_wait(fixture.world, all_fired, &fired));
    assert_int_equal(fired.count, 1);
    assert_true(fired.times[0] + 100 >= start + 8000);
    real_fixture_stop(&fixture);
}

/* --- the end of a turn ----------------------------------------------------------------------- */

struct turn {
    struct world *world;
    struct world_deferred first, second, late;
    char order[8];
    size_t count;
};

static void note_order(struct turn *turn, char name)
{
    turn->order[turn->count++] = name;
}

static void run_first(struct world_deferred *deferred)
{
    struct turn *turn = deferred->context;
    note_order(turn, '1');
    world_defer(turn->world, &turn->late);
    world_defer(turn->world, &turn->second); /* is queued already */
}

static void run_second(struct world_deferred *deferred)
{
    note_order(deferred->context, '2');
}

static void run_late(struct world_deferred *deferred)
{
    struct turn *turn = deferred->context;
    note_order(turn, '3');
    world_real_stop(turn->world);
}

static bool turn_is_over(void *context)
{
    struct turn *turn = context;
    return turn->count >= 3;
}

static void test_deferred_work_runs_once_in_order_in_the_same_turn(void **state)
{
    struct real_fixture fixture;
    struct turn turn = {0};

    real_fixture_start(&fixture);
    turn.world = fixture.world;
    turn.first = (struct world_deferred){.run = run_first, .context = &turn};
    turn.second = (struct world_deferred){.run = run_second, .context = &turn};
    turn.late = (struct world_deferred){.run = run_late, .context = &turn};
    world_defer(fixture.world, &turn.first);
    world_defer(fixture.world, &turn.second);
    world_defer(fixture.world, &turn.first);
    assert_int_equal(turn.count, 0); /* never inside the call */
    assert_true(real_wait(fixture.world, turn_is_over, &turn));
    assert_string_equal(turn.order, "123");
    real_fixture_stop(&fixture);
}

/* --- posts ----------------------------------------------------------------------------------- */

enum { POSTERS = 4, POSTS_EACH = 5000 };

struct post_note {
    struct world_post post;
    struct posts_seen *seen;
    uint32_t poster;
    uint32_t number;
};

struct posts_seen {
    struct world *world;
    uint32_t next[POSTERS];
    uint32_t count;
    bool in_order;
};

struct poster {
    struct posts_seen *seen;
    uint32_t number;
};

static void post_arrives(struct world_post *post)
{
    struct post_note *note = CONTAINER_OF(post, struct post_note, post);
    struct posts_seen *seen = note->seen;

    if (note->number != seen->next[note->poster]++) seen->in_order = false;
    if (++seen->count == POSTERS * POSTS_EACH) world_real_stop(seen->world);
    memory_free(note);
}

static void *poster_main(void *argument)
{
    struct poster *poster = argument;

    for (uint32_t i = 0; i < POSTS_EACH; i++) {
        struct post_note *note = memory_allocate_zero(sizeof(*note));
        note->post.run = post_arrives;
        note->seen = poster->seen;
        note->poster = poster->number;
        note->number = i;
        world_post(poster->seen->world, &note->post);
    }
    return NULL;
}

static bool all_posts_seen(void *context)
{
    struct posts_seen *seen = context;
    return seen->count == POSTERS * POSTS_EACH;
}

static void test_posts_of_each_thread_arrive_in_order(void **state)
{
    struct real_fixture fixture;
    struct posts_seen seen = {.in_order = true};
    struct poster posters[POSTERS];
    pthread_t threads[POSTERS];

    real_fixture_start(&fixture);
    seen.world = fixture.world;
    for (uint32_t i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.seen = &seen, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
    }
    assert_true(real_wait(fixture.world, all_posts_seen, &seen));
    assert_true(seen.in_order);
    for (uint32_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    real_fixture_stop(&fixture);
}

static void test_draining_runs_what_was_posted_after_the_loop(void **state)
{
    struct real_fixture fixture;
    struct posts_seen seen = {.in_order = true};
    struct post_note *note = memory_allocate_zero(sizeof(*note));

    real_fixture_start(&fixture);
    seen.world = fixture.world;
    note->post.run = post_arrives;
    note->seen = &seen;
    world_post(fixture.world, &note->post);
    world_real_drain(fixture.world);
    assert_int_equal(seen.count, 1);
    real_fixture_stop(&fixture);
}

/* --- jobs ------------------------------------------------------------------------------------ */

enum { JOBS = 500, JOB_WORLDS = 2 };

struct counted_job {
    struct world_job job;
    struct jobs *jobs;
    uint32_t number;
};

struct jobs {
    struct world *world;
    struct counted_job list[JOBS];
    uint32_t *next_run; /* shared by the worlds; only the lane's thread touches it */
    uint32_t done;
    uint32_t order_errors;
    pthread_t thread; /* of the world */
};

static void job_run(struct world_job *base)
{
    struct counted_job *job = CONTAINER_OF(base, struct counted_job, job);
    (*job->jobs->next_run)++; /* unprotected: ThreadSanitizer sees if jobs ever overlap */
}

static void job_done(struct world_job *base)
{
    struct counted_job *job = CONTAINER_OF(base, struct counted_job, job);
    struct jobs *jobs = job->jobs;

    if (job->number != jobs->done) jobs->order_errors++;
    if (!pthread_equal(pthread_self(), jobs->thread)) jobs->order_errors++;
    if (++jobs->done == JOBS) world_real_stop(jobs->world);
}

static void *jobs_main(void *argument)
{
    struct jobs *jobs = argument;

    jobs->thread = pthread_self();
    for (uint32_t i = 0; i < JOBS; i++) {
        struct counted_job *job = &jobs->list[i];
        *job = (struct counted_job){
            .job = {.run = job_run, .done = job_done}, .jobs = jobs, .number = i};
        world_job_start(jobs->world, LANE_LOG, &job->job);
    }
    world_real_run(jobs->world);
    return NULL;
}

struct resting {
    struct world *world;
    struct world_job job, patient, hasty;
    atomic_int rests, done;
};

static void rest_for_an_hour(struct world_job *job)
{
    struct resting *resting = job->context;
    uint64_t until = world_job_rest(resting->world, 0) + UINT64_C(3600) * 1000 * 1000;

    while (world_job_rest(resting->world, until) < until)
        resting->rests++;
}

static void rest_not(struct world_job *job)
{
    (void)job;
}

static void rest_done(struct world_job *job)
{
    struct resting *resting = job->context;
    resting->done++;
}

static bool has_rested(void *context)
{
    const struct resting *resting = context;
    return resting->rests >= 3;
}

static bool all_done(void *context)
{
    const struct resting *resting = context;
    return resting->done == 3;
}

static void test_a_job_rests_until_one_waits_that_is_not_patient(void **state)
{
    struct real_fixture fixture;
    struct resting resting = {.rests = 0};

    (void)state;
    real_fixture_start(&fixture);
    resting.world = fixture.world;
    resting.job =
        (struct world_job){.run = rest_for_an_hour, .done = rest_done, .context = &resting};
    resting.patient = (struct world_job){
        .run = rest_not, .done = rest_done, .context = &resting, .patient = true};
    resting.hasty = (struct world_job){.run = rest_not, .done = rest_done, .context = &resting};
    world_job_start(fixture.world, LANE_FLUSH, &resting.job);
    world_job_start(fixture.world, LANE_FLUSH, &resting.patient);
    assert_true(real_wait(fixture.world, has_rested, &resting));
    assert_int_equal(resting.done, 0);
    world_job_start(fixture.world, LANE_FLUSH, &resting.hasty);
    assert_true(real_wait(fixture.world, all_done, &resting));
    real_fixture_stop(&fixture);
}

static void test_jobs_of_a_lane_never_overlap_and_end_on_their_world(void **state)
{
    struct real_fixture fixture;
    struct jobs *jobs = memory_allocate_zero(JOB_WORLDS * sizeof(*jobs));
    uint32_t runs = 0;
    pthread_t threads[JOB_WORLDS];

    real_fixture_start(&fixture);
    for (uint32_t i = 0; i < JOB_WORLDS; i++) {
        jobs[i].world = i == 0 ? fixture.world : world_real_create(fixture.host, i);
        jobs[i].next_run = &runs;
        assert_int_equal(pthread_create(&threads[i], NULL, jobs_main, &jobs[i]), 0);
    }
    for (uint32_t i = 0; i < JOB_WORLDS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(jobs[i].done, JOBS);
        assert_int_equal(jobs[i].order_errors, 0);
    }
    assert_int_equal(runs, JOBS * JOB_WORLDS);
    world_real_destroy(jobs[1].world);
    real_fixture_stop(&fixture);
    memory_free(jobs);
}

static void test_destroying_a_world_waits_for_its_jobs(void **state)
{
    struct real_fixture fixture;
    struct jobs *jobs = memory_allocate_zero(sizeof(*jobs));
    uint32_t runs = 0;

    real_fixture_start(&fixture);
    jobs->world = fixture.world;
    jobs->next_run = &runs;
    jobs->thread = pthread_self();
    for (uint32_t i = 0; i < 10; i++) {
        jobs->list[i] = (struct counted_job){
            .job = {.run = job_run, .done = job_done}, .jobs = jobs, .number = i};
        world_job_start(fixture.world, LANE_FLUSH, &jobs->list[i].job);
    }
    real_fixture_stop(&fixture);
    assert_int_equal(jobs->done, 10);
    memory_free(jobs);
}

/* --- signals, clock, random numbers ---------------------------------------------------------- */

struct signal_seen {
    struct world *world;
    int signum;
};

static void signal_arrives(void *context, int signum)
{
    struct signal_seen *seen = context;
    seen->signum = signum;
    world_real_stop(seen->world);
}

static bool a_signal_was_seen(void *context)
{
    struct signal_seen *seen = context;
    return seen->signum != 0;
}

static void test_signals_arrive_on_the_loop(void **state)
{
    struct real_fixture fixture;
    struct signal_seen seen = {0};

    real_fixture_start(&fixture);
    seen.world = fixture.world;
    world_real_on_signal(fixture.world, SIGUSR1, &seen, signal_arrives);
    raise(SIGUSR1);
    assert_int_equal(seen.signum, 0);
    assert_true(real_wait(fixture.world, a_signal_was_seen, &seen));
    assert_int_equal(seen.signum, SIGUSR1);
    real_fixture_stop(&fixture);
}

static void test_the_clock_never_goes_back_and_random_numbers_differ(void **state)
{
    struct real_fixture fixture;
    uint8_t a[32] = {0}, b[32] = {0};
    uint64_t before = 0;

    real_fixture_start(&fixture);
    for (int i = 0; i < 1000; i++) {
        uint64_t now = world_now(fixture.world);
        assert_true(now >= before);
        before = now;
    }
    assert_true(world_wall_time(fixture.world) > INT64_C(1700000000) * 1000000);
    assert_true(world_random(fixture.world) != world_random(fixture.world));
    world_random_secret(fixture.world, a, sizeof(a));
    world_random_secret(fixture.world, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    real_fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timers_leave_the_heap_by_deadline_then_by_start),
        cmocka_unit_test(test_timers_fire_in_order_and_never_early),
        cmocka_unit_test(test_a_stopped_timer_does_not_fire_and_a_restarted_one_fires_once),
        cmocka_unit_test(test_deferred_work_runs_once_in_order_in_the_same_turn),
        cmocka_unit_test(test_posts_of_each_thread_arrive_in_order),
        cmocka_unit_test(test_draining_runs_what_was_posted_after_the_loop),
        cmocka_unit_test(test_jobs_of_a_lane_never_overlap_and_end_on_their_world),
        cmocka_unit_test(test_a_job_rests_until_one_waits_that_is_not_patient),
        cmocka_unit_test(test_destroying_a_world_waits_for_its_jobs),
        cmocka_unit_test(test_signals_arrive_on_the_loop),
        cmocka_unit_test(test_the_clock_never_goes_back_and_random_numbers_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
