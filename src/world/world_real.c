#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "world/world_real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/memory.h"
#include "world/world_real_internal.h"

enum { MICROSECONDS = 1000 * 1000, ALARM_AT_ONCE = 1, ALARM_NONE = 0, ALARM_LONG_MS = 50 };

struct world_signal {
    uv_signal_t handle;
    struct list link;
    void *context;
    void (*on_signal)(void *context, int signum);
};

/* --- clock and random numbers ---------------------------------------------------------------- */

static uint64_t real_now(struct world *world)
{
    struct timespec time;

    (void)world;
    clock_gettime(CLOCK_BOOTTIME, &time);
    return (uint64_t)time.tv_sec * MICROSECONDS + (uint64_t)time.tv_nsec / 1000;
}

static uint64_t real_job_rest(struct world *world, uint64_t until)
{
    uint64_t now = real_now(world);

    if (until <= now) return now;
    if (host_lane_is_wanted(real_world_of(world)->host, LANE_FLUSH, world->worker)) return until;
    uint64_t rest = until - now < WORLD_REST_MOST_US ? until - now : WORLD_REST_MOST_US;
    nanosleep(&(struct timespec){.tv_nsec = (long)rest * 1000}, NULL);
    return real_now(world);
}

static void real_thread_rest(struct world *world, uint64_t us)
{
    uint64_t rest = us < WORLD_REST_MOST_US ? us : WORLD_REST_MOST_US;
    nanosleep(&(struct timespec){.tv_nsec = (long)rest * 1000}, NULL);
}

static int64_t real_wall_time(struct world *world)
{
    struct timespec time;

    (void)world;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * MICROSECONDS + time.tv_nsec / 1000;
}

static uint64_t real_random(struct world *world)
{
    return random_u64(&real_world_of(world)->random);
}

static void real_random_secret(struct world *world, uint8_t *bytes, size_t size)
{
    while (size) {
        ssize_t got = getrandom(bytes, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            world_fatal(world,
                        "the operating system gives no random bytes (getrandom, errno %d); "
                        "identities and tokens cannot be made without them",
                        errno);
            return;
        }
        bytes += got;
        size -= (size_t)got;
    }
}

/* The kernel's boot id: a UUID, drawn at each start of it. */
static uint64_t real_machine_start(struct world *world)
{
    char text[64];
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    (void)world;
    if (file < 0) return 0;
    ssize_t size = read(file, text, sizeof(text));
    close(file);
    return size > 0 ? hash64(0, bytes_make(text, (size_t)size)) | 1 : 0;
}

static void real_fatal(struct world *world, const char *text)
{
    LOG_ERROR(world->logger, "world", "fatal, the process ends now: %s", text);
    _exit(WORLD_FATAL_EXIT_CODE); /* no exit handlers, no flushing: nothing may be written */
}

/* --- timers and deferred work ---------------------------------------------------------------- */

static void real_timer_start(struct world *world, struct world_timer *timer, uint64_t delay)
{
    uint64_t now = real_now(world);
    uint64_t deadline = delay > UINT64_MAX - now ? UINT64_MAX : now + delay;

    timer_heap_start(&real_world_of(world)->timers, timer, deadline);
}

static void real_timer_stop(struct world *world, struct world_timer *timer)
{
    timer_heap_stop(&real_world_of(world)->timers, timer);
}

static void real_defer(struct world *world, struct world_deferred *deferred)
{
    struct real_world *real = real_world_of(world);

    if (deferred->queued) return;
    deferred->queued = true;
    deferred->next = NULL;
    if (real->deferred_last)
        real->deferred_last->next = deferred;
    else
        real->deferred_first = deferred;
    real->deferred_last = deferred;
}

static void timers_run(struct real_world *real)
{
    uint64_t now = real_now(&real->head);
    struct world_timer *timer;

    /* Against one reading of the clock: a timer that restarts itself cannot keep us here. */
    while ((timer = timer_heap_first(&real->timers)) != NULL && timer->deadline <= now) {
        timer_heap_stop(&real->timers, timer);
        timer->fire(timer);
    }
}

static void deferred_run(struct real_world *real)
{
    struct world_deferred *deferred;

    while ((deferred = real->deferred_first) != NULL) {
        real->deferred_first = deferred->next;
        if (real->deferred_first == NULL) real->deferred_last = NULL;
        deferred->queued = false;
        deferred->run(deferred);
    }
}

/* --- posts and jobs -------------------------------------------------------------------------- */

static void loop_wake(struct real_world *real)
{
    int result = uv_async_send(&real->wake);
    ASSERT(result == 0);
}

static void real_post(struct world *to, struct world_post *post)
{
    struct real_world *real = real_world_of(to);
    struct world_post *newest = atomic_load_explicit(&real->posts, memory_order_relaxed);

    ASSERT(post->run != NULL);
    do {
        post->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&real->posts, &newest, post,
                                                    memory_order_release, memory_order_relaxed));
    if (newest == NULL) loop_wake(real); /* else whoever pushed the first one has done so */
}

static void posts_run(struct real_world *real)
{
    struct world_post *newest = atomic_exchange_explicit(&real->posts, NULL, memory_order_acquire);
    struct world_post *oldest = NULL;

    while (newest) {
        struct world_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct world_post *next = oldest->next;
        oldest->run(oldest); /* may free it */
        oldest = next;
    }
}

static void real_job_start(struct world *world, enum world_lane lane, struct world_job *job)
{
    struct real_world *real = real_world_of(world);

    ASSERT(job->run != NULL && job->done != NULL);
    job->world = world;
    job->next = NULL;
    real->jobs_unfinished++;
    host_job_start(real->host, lane, job);
}

void real_world_job_done(struct world_job *job)
{
    struct real_world *real = real_world_of(job->world);
    struct world_job *newest = atomic_load_explicit(&real->jobs_done, memory_order_relaxed);

    do {
        job->next = newest;
    } while (!atomic_compare_exchange_weak_explicit(&real->jobs_done, &newest, job,
                                                    memory_order_release, memory_order_relaxed));
    if (newest == NULL) loop_wake(real);
}

static void jobs_report_done(struct real_world *real)
{
    struct world_job *newest =
        atomic_exchange_explicit(&real->jobs_done, NULL, memory_order_acquire);
    struct world_job *oldest = NULL;

    while (newest) {
        struct world_job *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct world_job *next = oldest->next;
        ASSERT(real->jobs_unfinished > 0);
        real->jobs_unfinished--;
        oldest->done(oldest); /* may free it */
        oldest = next;
    }
}

/* --- the loop -------------------------------------------------------------------------------- */

static bool turn_has_more(const struct real_world *real)
{
    return real->deferred_first != NULL || !list_empty(&real->streams_flushed) ||
           !list_empty(&real->streams_ended);
}

/* After input and posts. What the writes lead to (a stream that ended or drained) comes at
 * the end of the next turn, which then does not wait for input: a stream that is refilled
 * whenever it drains cannot keep the others from being served. */
static void turn_end(struct real_world *real)
{
    timers_run(real);
    do {
        deferred_run(real);
        real_streams_report_ended(real);
    } while (real->deferred_first != NULL || !list_empty(&real->streams_ended));
    real_streams_write(real);
    real->head.turn++;
}

static void on_wake(uv_async_t *handle)
{
    struct real_world *real = handle->data;

    if (atomic_exchange(&real->stop_asked, false)) uv_stop(&real->loop);
    jobs_report_done(real);
    posts_run(real);
}

static void on_check(uv_check_t *handle)
{
    turn_end(handle->data);
}

static void on_alarm(uv_timer_t *handle)
{
    (void)handle;
}

static void on_prepare(uv_prepare_t *handle)
{
    struct real_world *real = handle->data;
    struct world_timer *first = timer_heap_first(&real->timers);
    uint64_t deadline = ALARM_NONE;
    uint64_t now, delay_ms;

    if (first) deadline = first->deadline;
    if (turn_has_more(real)) deadline = ALARM_AT_ONCE;
    if (deadline == ALARM_NONE) {
        if (real->alarm_deadline != ALARM_NONE) uv_timer_stop(&real->alarm);
        real->alarm_deadline = ALARM_NONE;
        return;
    }
    if (deadline == real->alarm_deadline && uv_is_active((uv_handle_t *)&real->alarm)) return;

    now = real_now(&real->head);
    delay_ms = deadline > now ? (deadline - now + 999) / 1000 : 0;
    /* The loop's clock is cut to milliseconds: the alarm could ring early, and again for the rest.
     */
    if (delay_ms >= ALARM_LONG_MS) delay_ms++;
    uv_update_time(&real->loop); /* uv_timer_start() counts from the time the loop cached */
    uv_timer_start(&real->alarm, on_alarm, delay_ms, 0);
    real->alarm_deadline = deadline;
}

void world_real_run(struct world *world)
{
    struct real_world *real = real_world_of(world);
    uv_run(&real->loop, UV_RUN_DEFAULT);
}

void world_real_stop(struct world *world)
{
    struct real_world *real = real_world_of(world);

    atomic_store(&real->stop_asked, true);
    loop_wake(real);
}

void world_real_drain(struct world *world)
{
    struct real_world *real = real_world_of(world);

    for (;;) {
        bool posts = atomic_load_explicit(&real->posts, memory_order_relaxed) != NULL;
        if (real->jobs_unfinished > 0)
            uv_run(&real->loop, UV_RUN_ONCE);
        else if (posts || turn_has_more(real))
            uv_run(&real->loop, UV_RUN_NOWAIT);
        else
            break;
    }
}

/* --- signals --------------------------------------------------------------------------------- */

static void on_uv_signal(uv_signal_t *handle, int signum)
{
    struct world_signal *signal_watch = CONTAINER_OF(handle, struct world_signal, handle);
    signal_watch->on_signal(signal_watch->context, signum);
}

void world_real_on_signal(struct world *world, int signum, void *context,
                          void (*on_signal)(void *context, int signum))
{
    struct real_world *real = real_world_of(world);
    struct world_signal *signal_watch = memory_allocate_zero(sizeof(*signal_watch));
    int result;

    signal_watch->context = context;
    signal_watch->on_signal = on_signal;
    list_insert_before(&real->signals, &signal_watch->link);
    result = uv_signal_init(&real->loop, &signal_watch->handle);
    ASSERT(result == 0);
    result = uv_signal_start(&signal_watch->handle, on_uv_signal, signum);
    ASSERT(result == 0);
}

static void on_signal_handle_closed(uv_handle_t *handle)
{
    struct world_signal *signal_watch =
        CONTAINER_OF((uv_signal_t *)handle, struct world_signal, handle);
    memory_free(signal_watch);
}

static void signals_close(struct real_world *real)
{
    while (!list_empty(&real->signals)) {
        struct world_signal *signal_watch =
            CONTAINER_OF(real->signals.next, struct world_signal, link);
        list_remove(&signal_watch->link);
        uv_close((uv_handle_t *)&signal_watch->handle, on_signal_handle_closed);
    }
}

/* --- life ------------------------------------------------------------------------------------ */

static void table_fill(struct world_table *table)
{
    *table = (struct world_table){
        .now = real_now,
        .wall_time = real_wall_time,
        .random = real_random,
        .random_secret = real_random_secret,
        .machine_start = real_machine_start,
        .fatal = real_fatal,
        .timer_start = real_timer_start,
        .timer_stop = real_timer_stop,
        .defer = real_defer,
        .post = real_post,
        .job_start = real_job_start,
        .job_rest = real_job_rest,
        .thread_rest = real_thread_rest,
        .listen = real_listen,
        .listener_port = real_listener_port,
        .listener_close = real_listener_close,
        .connect = real_connect,
        .stream_flush = real_stream_flush,
        .stream_read_pause = real_stream_read_pause,
        .stream_read_resume = real_stream_read_resume,
        .stream_close = real_stream_close,
        .stream_abort = real_stream_abort,
        .stream_delivered = real_stream_delivered,
    };
    real_file_table(table);
}

static void loop_make(struct real_world *real)
{
    int result = uv_loop_init(&real->loop);

    if (result == 0) result = uv_async_init(&real->loop, &real->wake, on_wake);
    if (result != 0) {
        world_fatal(&real->head,
                    "cannot make the event loop of worker %u: %s; raise the limit of "
                    "open files",
                    real->head.worker, uv_strerror(result));
        return;
    }
    uv_prepare_init(&real->loop, &real->prepare);
    uv_check_init(&real->loop, &real->check);
    uv_timer_init(&real->loop, &real->alarm);
    real->wake.data = real;
    real->prepare.data = real;
    real->check.data = real;
    uv_prepare_start(&real->prepare, on_prepare);
    uv_check_start(&real->check, on_check);
}

struct world *world_real_create(struct host *host, uint32_t worker)
{
    struct real_world *real = memory_allocate_zero(sizeof(*real));
    struct world_table *table = memory_allocate_zero(sizeof(*table));
    uint64_t seed = 0;

    ASSERT(worker < WORKERS_MAX);
    table_fill(table);
    real->head = (struct world){.table = table, .logger = real_host_logger(host), .worker = worker};
    real->host = host;
    timer_heap_init(&real->timers);
    list_init(&real->streams);
    list_init(&real->streams_flushed);
    list_init(&real->streams_ended);
    list_init(&real->listeners);
    list_init(&real->signals);
    real->read_memory = memory_allocate(WORLD_READ_SIZE);
    real->reserve_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    real_random_secret(&real->head, (uint8_t *)&seed, sizeof(seed));
    random_seed(&real->random, seed);
    loop_make(real);
    host_world_set(host, worker, &real->head);
    return &real->head;
}

static void loop_close(struct real_world *real)
{
    int result;

    signals_close(real);
    uv_close((uv_handle_t *)&real->wake, NULL);
    uv_close((uv_handle_t *)&real->prepare, NULL);
    uv_close((uv_handle_t *)&real->check, NULL);
    uv_close((uv_handle_t *)&real->alarm, NULL);
    uv_run(&real->loop, UV_RUN_DEFAULT); /* ends when all close callbacks have run */
    result = uv_loop_close(&real->loop);
    ASSERT(result == 0);
}

void world_real_destroy(struct world *world)
{
    struct real_world *real;

    if (world == NULL) return;
    real = real_world_of(world);
    world_real_drain(world);
    real_listeners_close_all(real); /* first, then no sibling has a listener here to hand to */
    host_world_set(real->host, world->worker, NULL);
    real_streams_drop_all(real);
    /* Connections handed over by a sibling just before it learned that we are gone. */
    posts_run(real);
    real_streams_drop_all(real);
    loop_close(real);
    if (real->reserve_descriptor >= 0) close(real->reserve_descriptor);
    timer_heap_free(&real->timers);
    memory_free(real->read_memory);
    memory_free((void *)(uintptr_t)world->table);
    memory_free(real);
}
