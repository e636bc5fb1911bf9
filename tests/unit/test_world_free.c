/* Removed files of the real world: the name goes at once, the space in steps. The files are sparse:
 * sizes are what is looked at, through descriptors that open nothing (O_PATH). */
#include "real_world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "world/world_real_free.h"

enum { LARGE_BYTES = 64 << 20 };
#define ENDLESS_BYTES (1LL << 40) /* minutes: more than the test may take */

struct free_fixture {
    struct real_fixture real;
    char directory[64];
    char path[128];
    size_t descriptors; /* before there was a host */
};

static size_t descriptors_open(void)
{
    DIR *entries = opendir("/proc/self/fd");
    size_t count = 0;

    assert_non_null(entries);
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    return count;
}

/* What libuv opens for the first loop of a process it keeps. And only of many descriptors some are
 * for what is watched. */
static int first_world(void **state)
{
    struct real_fixture first;
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 2 * FREE_WATCHED_FROM) limit.rlim_cur = 2 * FREE_WATCHED_FROM;
    if (limit.rlim_max < limit.rlim_cur) limit.rlim_max = limit.rlim_cur;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

    real_fixture_start(&first);
    real_fixture_stop(&first);
    return 0;
}

static int setup(void **state)
{
    static struct free_fixture fixture;

    fixture.descriptors = descriptors_open();
    real_fixture_start(&fixture.real);
    snprintf(fixture.directory, sizeof(fixture.directory), "/tmp/holon-test-XXXXXX");
    assert_non_null(mkdtemp(fixture.directory));
    snprintf(fixture.path, sizeof(fixture.path), "%s/file", fixture.directory);
    *state = &fixture;
    return 0;
}

/* The host, too: what it was given is freed, or given up. */
static void end(struct free_fixture *fixture)
{
    real_fixture_stop(&fixture->real);
    fixture->real.host = NULL;
}

static int teardown(void **state)
{
    struct free_fixture *fixture = *state;

    if (fixture->real.host != NULL) end(fixture);
    assert_int_equal(descriptors_open(), fixture->descriptors);
    return rmdir(fixture->directory); /* each test removes its files */
}

static void make(const char *path, off_t size)
{
    int descriptor = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(descriptor >= 0);
    assert_int_equal(ftruncate(descriptor, size), 0);
    close(descriptor);
}

/* Of which the kernel does not say that the file is open. */
static int watch(const char *path)
{
    int descriptor = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    assert_true(descriptor >= 0);
    return descriptor;
}

static off_t size_of(int descriptor)
{
    struct stat found;

    assert_int_equal(fstat(descriptor, &found), 0);
    return found.st_size;
}

static bool is_there(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0;
}

static void remove_it(struct free_fixture *fixture, const char *path)
{
    assert_int_equal(world_discard(fixture->real.world, fixture->directory, path, NULL), STATUS_OK);
    assert_false(is_there(path));
}

static uint64_t now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

struct shrinking {
    int watched;
    off_t below;
};

static bool is_below(void *context)
{
    const struct shrinking *shrinking = context;
    off_t size = size_of(shrinking->watched);

    assert_int_equal(size % FREE_STEP_BYTES, 0);
    assert_true(size > 0);
    return size < shrinking->below;
}

/* --- through the world ------------------------------------------------------------------ */

static void test_a_large_file_goes_in_steps_behind_its_name(void **state)
{
    struct free_fixture *fixture = *state;
    const uint64_t rests = LARGE_BYTES / FREE_STEP_BYTES - 2; /* the last step is the close */

    make(fixture->path, LARGE_BYTES);
    struct shrinking shrinking = {watch(fixture->path), FREE_STEP_BYTES + 1};
    uint64_t began = now_us();
    remove_it(fixture, fixture->path);
    assert_true(real_wait(fixture->real.world, is_below, &shrinking));
    assert_true(now_us() - began >= rests * FREE_REST_LEAST_US);
    close(shrinking.watched);
}

static void test_a_file_that_is_open_stays_as_it_is_for_its_reader(void **state)
{
    struct free_fixture *fixture = *state;
    static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR};

    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        make(fixture->path, LARGE_BYTES);
        int reader = open(fixture->path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pwrite(reader, "head", 4, 0), 4);
        assert_int_equal(pwrite(reader, "tail", 4, LARGE_BYTES - 4), 4);
        if (modes[i] != O_RDWR) {
            int other = open(fixture->path, modes[i] | O_CLOEXEC);
            close(reader);
            reader = other;
        }
        int watched = watch(fixture->path);
        remove_it(fixture, fixture->path);
        if (i + 1 == ARRAY_COUNT(modes)) end(fixture); /* had it been given, a step was taken now */
        assert_int_equal(size_of(watched), LARGE_BYTES);
        char text[4] = "";
        if (modes[i] != O_WRONLY) {
            assert_int_equal(pread(reader, text, 4, LARGE_BYTES - 4), 4);
            assert_memory_equal(text, "tail", 4);
            assert_int_equal(pread(reader, text, 4, 0), 4);
            assert_memory_equal(text, "head", 4);
        }
        close(watched);
        close(reader);
    }
}

static void test_another_name_keeps_the_file(void **state)
{
    struct free_fixture *fixture = *state;
    char other[160];

    snprintf(other, sizeof(other), "%s/other", fixture->directory);
    make(fixture->path, LARGE_BYTES);
    assert_int_equal(link(fixture->path, other), 0);
    remove_it(fixture, fixture->path);
    end(fixture);
    int watched = watch(other);
    assert_int_equal(size_of(watched), LARGE_BYTES);
    close(watched);
    assert_int_equal(unlink(other), 0);
}

/* What a symbolic link leads to is not what is removed. */
static void test_a_link_goes_and_not_what_it_leads_to(void **state)
{
    struct free_fixture *fixture = *state;
    char other[160];

    snprintf(other, sizeof(other), "%s/other", fixture->directory);
    make(fixture->path, LARGE_BYTES);
    assert_int_equal(symlink(fixture->path, other), 0);
    remove_it(fixture, other);
    end(fixture);
    int watched = watch(fixture->path);
    assert_int_equal(size_of(watched), LARGE_BYTES);
    close(watched);
    assert_int_equal(unlink(fixture->path), 0);
}

/* As many as may wait do, behind one that takes minutes; the end is at once all the same. */
static void test_more_files_than_may_wait_and_an_end_meanwhile(void **state)
{
    struct free_fixture *fixture = *state;
    enum { MORE = 8 };
    int watched[FREE_FILES_MAX + MORE];

    make(fixture->path, ENDLESS_BYTES);
    struct shrinking shrinking = {watch(fixture->path), ENDLESS_BYTES};
    remove_it(fixture, fixture->path);
    assert_true(real_wait(fixture->real.world, is_below, &shrinking)); /* it waits no more */
    for (size_t i = 0; i < ARRAY_COUNT(watched); i++) {
        make(fixture->path, LARGE_BYTES);
        watched[i] = watch(fixture->path);
        remove_it(fixture, fixture->path);
    }
    for (size_t i = 0; i < ARRAY_COUNT(watched); i++)
        assert_int_equal(size_of(watched[i]), LARGE_BYTES);
    assert_true(size_of(shrinking.watched) > LARGE_BYTES);
    end(fixture);
    assert_true(size_of(shrinking.watched) > LARGE_BYTES);
    for (size_t i = 0; i < ARRAY_COUNT(watched); i++) {
        bool waited = i < FREE_FILES_MAX; /* it had its first step, then all ended */
        assert_int_equal(size_of(watched[i]), LARGE_BYTES - (waited ? FREE_STEP_BYTES : 0));
        close(watched[i]);
    }
    close(shrinking.watched);
}

/* --- files that others remove -------------------------------------------------------------- */

static void remove_by_another(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void test_what_others_remove_goes_in_steps(void **state)
{
    struct free_fixture *fixture = *state;

    make(fixture->path, LARGE_BYTES);
    size_t before = descriptors_open();
    world_discard_once_removed(fixture->real.world, fixture->path);
    world_discard_once_removed(fixture->real.world, fixture->path);
    assert_int_equal(descriptors_open(), before + 1);
    struct shrinking shrinking = {watch(fixture->path), FREE_STEP_BYTES + 1};
    remove_by_another(fixture->path);
    assert_true(real_wait(fixture->real.world, is_below, &shrinking));
    close(shrinking.watched);
}

/* The last of three files has no name any more: when it is freed, the others were looked at. */
static void test_what_has_a_name_or_a_reader_is_left_alone(void **state)
{
    struct free_fixture *fixture = *state;
    char named[160], renamed[160], read[160];

    snprintf(named, sizeof(named), "%s/named", fixture->directory);
    snprintf(renamed, sizeof(renamed), "%s/renamed", fixture->directory);
    snprintf(read, sizeof(read), "%s/read", fixture->directory);
    const char *const paths[] = {named, read, fixture->path};
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        make(paths[i], LARGE_BYTES);
        world_discard_once_removed(fixture->real.world, paths[i]);
    }
    int reader = open(read, O_RDONLY | O_CLOEXEC);
    struct shrinking of_named = {watch(named), LARGE_BYTES}, of_read = {watch(read), LARGE_BYTES};
    struct shrinking last = {watch(fixture->path), FREE_STEP_BYTES + 1};
    assert_int_equal(rename(named, renamed), 0);
    remove_by_another(read);
    remove_by_another(fixture->path);
    assert_true(real_wait(fixture->real.world, is_below, &last));
    assert_int_equal(size_of(of_named.watched), LARGE_BYTES);
    assert_int_equal(size_of(of_read.watched), LARGE_BYTES);
    close(reader);
    assert_true(real_wait(fixture->real.world, is_below, &of_read));
    remove_by_another(renamed);
    assert_true(real_wait(fixture->real.world, is_below, &of_named));
    close(of_named.watched);
    close(of_read.watched);
    close(last.watched);
}

static void test_an_end_leaves_what_is_watched(void **state)
{
    struct free_fixture *fixture = *state;

    make(fixture->path, LARGE_BYTES);
    world_discard_once_removed(fixture->real.world, fixture->path);
    end(fixture);
    int watched = watch(fixture->path);
    assert_int_equal(size_of(watched), LARGE_BYTES);
    close(watched);
    remove_by_another(fixture->path);
}

/* --- called directly -------------------------------------------------------------------- */

static void test_only_large_files_with_one_name_are_taken(void **state)
{
    struct free_fixture *fixture = *state;
    char other[160];

    snprintf(other, sizeof(other), "%s/other", fixture->directory);
    assert_int_equal(free_files_open(fixture->path), -1); /* none there */
    assert_int_equal(free_files_open(fixture->directory), -1);
    make(fixture->path, FREE_AT_ONCE_MAX);
    assert_int_equal(free_files_open(fixture->path), -1);
    assert_int_equal(truncate(fixture->path, FREE_AT_ONCE_MAX + 1), 0);
    int taken = free_files_open(fixture->path);
    assert_true(taken >= 0);
    close(taken);
    assert_int_equal(link(fixture->path, other), 0);
    assert_int_equal(free_files_open(fixture->path), -1);
    remove_it(fixture, other);
    assert_int_equal(symlink(fixture->path, other), 0);
    assert_int_equal(free_files_open(other), -1);
    remove_it(fixture, other);
    assert_int_equal(mkfifo(other, 0600), 0); /* it would wait for a reader */
    assert_int_equal(free_files_open(other), -1);
    remove_it(fixture, other);
    remove_it(fixture, fixture->path);
}

/* Between the look at the file and the removal of its name. */
static void test_a_name_that_came_late_keeps_the_file(void **state)
{
    struct free_fixture *fixture = *state;
    struct free_files files;
    char other[160];

    snprintf(other, sizeof(other), "%s/other", fixture->directory);
    make(fixture->path, LARGE_BYTES);
    free_files_init(&files, 0);
    int freed = free_files_open(fixture->path);
    assert_int_equal(link(fixture->path, other), 0);
    assert_int_equal(unlink(fixture->path), 0);
    free_files_give(&files, freed);
    free_files_destroy(&files);
    int watched = watch(other);
    assert_int_equal(size_of(watched), LARGE_BYTES);
    close(watched);
    assert_int_equal(unlink(other), 0);
}

static bool is_open(int descriptor)
{
    return fcntl(descriptor, F_GETFD) >= 0;
}

static bool is_closed(void *context)
{
    return !is_open(*(const int *)context);
}

static int watch_one(struct free_fixture *fixture, struct free_files *files)
{
    make(fixture->path, LARGE_BYTES);
    free_files_init(files, 0);
    int watched = free_files_open(fixture->path);
    free_files_watch(files, watched);
    assert_true(is_open(watched));
    return watched;
}

/* Nothing is kept on a disk that is nearly full, and what was goes when it is looked at. */
static void test_in_a_hurry_nothing_is_watched(void **state)
{
    struct free_fixture *fixture = *state;
    struct free_files files;

    int watched = watch_one(fixture, &files);
    pthread_mutex_lock(&files.watched_mutex);
    files.hurry_bytes = UINT64_MAX;
    pthread_mutex_unlock(&files.watched_mutex);
    assert_true(real_wait(fixture->real.world, is_closed, &watched));
    int late = free_files_open(fixture->path);
    free_files_watch(&files, late);
    assert_false(is_open(late));
    free_files_destroy(&files);
    remove_by_another(fixture->path);
}

/* Of most file systems it is not known whether they keep what is removed, or can say who reads it.
 */
static void test_on_other_file_systems_nothing_is_watched(void **state)
{
    struct free_files files;

    free_files_init(&files, 0);
    int other = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    assert_true(other >= 0);
    free_files_watch(&files, other);
    assert_false(is_open(other));
    assert_int_equal(free_files_watched(&files), 0);
    free_files_destroy(&files);
}

static void test_what_nobody_removes_is_forgotten(void **state)
{
    struct free_fixture *fixture = *state;
    struct free_files files;

    int watched = watch_one(fixture, &files);
    pthread_mutex_lock(&files.watched_mutex);
    files.keep_us = 1000;
    pthread_mutex_unlock(&files.watched_mutex);
    assert_true(real_wait(fixture->real.world, is_closed, &watched));
    free_files_destroy(&files);
    remove_by_another(fixture->path);
}

static bool some_wait_for_a_place(void *context)
{
    return free_files_watched(context) == 2;
}

/* The other places are for what the log removes. */
static void test_only_some_places_are_for_what_others_removed(void **state)
{
    struct free_fixture *fixture = *state;
    static struct free_files files;
    char paths[FREE_WATCHED_TAKES + 2][160];

    free_files_init(&files, 0);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%zu", fixture->directory, i);
        make(paths[i], ENDLESS_BYTES);
        free_files_watch(&files, free_files_open(paths[i]));
    }
    pthread_mutex_lock(&files.watched_mutex); /* all in one look */
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        remove_by_another(paths[i]);
    pthread_mutex_unlock(&files.watched_mutex);
    assert_true(real_wait(fixture->real.world, some_wait_for_a_place, &files));
    make(fixture->path, LARGE_BYTES);
    int mine = free_files_open(fixture->path);
    remove_by_another(fixture->path);
    free_files_give(&files, mine);
    assert_true(is_open(mine)); /* it waits for its turn */
    free_files_destroy(&files);
    assert_false(is_open(mine));
}

static void test_a_part_of_the_descriptors_is_for_what_is_watched(void **state)
{
    struct free_fixture *fixture = *state;
    struct free_files files;
    struct rlimit before, few;
    char paths[3][160];
    int watched[ARRAY_COUNT(paths)];

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = FREE_WATCHED_FROM + 2 * FREE_WATCHED_PART + FREE_WATCHED_PART / 2;
    free_files_init(&files, 0);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%zu", fixture->directory, i);
        make(paths[i], LARGE_BYTES);
        watched[i] = free_files_open(paths[i]);
        assert_true(watched[i] >= 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        free_files_watch(&files, watched[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(is_open(watched[0]) && is_open(watched[1]));
    assert_false(is_open(watched[2]));
    free_files_destroy(&files);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++)
        remove_by_another(paths[i]);
}

static void test_what_was_never_given_needs_no_thread(void **state)
{
    struct free_files files;

    free_files_init(&files, 0);
    assert_false(files.started);
    free_files_destroy(&files);
}

int main(void)
{
#define FREE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FREE_TEST(test_a_large_file_goes_in_steps_behind_its_name),
        FREE_TEST(test_a_file_that_is_open_stays_as_it_is_for_its_reader),
        FREE_TEST(test_another_name_keeps_the_file),
        FREE_TEST(test_a_link_goes_and_not_what_it_leads_to),
        FREE_TEST(test_more_files_than_may_wait_and_an_end_meanwhile),
        FREE_TEST(test_what_others_remove_goes_in_steps),
        FREE_TEST(test_what_has_a_name_or_a_reader_is_left_alone),
        FREE_TEST(test_an_end_leaves_what_is_watched),
        FREE_TEST(test_only_large_files_with_one_name_are_taken),
        FREE_TEST(test_a_name_that_came_late_keeps_the_file),
        FREE_TEST(test_in_a_hurry_nothing_is_watched),
        FREE_TEST(test_on_other_file_systems_nothing_is_watched),
        FREE_TEST(test_what_nobody_removes_is_forgotten),
        FREE_TEST(test_only_some_places_are_for_what_others_removed),
        FREE_TEST(test_a_part_of_the_descriptors_is_for_what_is_watched),
        FREE_TEST(test_what_was_never_given_needs_no_thread),
    };
    return cmocka_run_group_tests(tests, first_world, NULL);
}
