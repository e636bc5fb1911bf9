/* Files of the real world, in a directory of their own. */
#include "real_world.h"

#include <stdio.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>

#include "base/assert.h"
#include "base/memory.h"

struct file_fixture {
    struct real_fixture real;
    struct world *world;
    char directory[64];
    char path[128];
};

static int directory_make(void **state)
{
    struct file_fixture *fixture = memory_allocate_zero(sizeof(*fixture));

    real_fixture_start(&fixture->real);
    fixture->world = fixture->real.world;
    snprintf(fixture->directory, sizeof(fixture->directory), "/tmp/holon-test-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof(fixture->path), "%s/file", fixture->directory);
    *state = fixture;
    return 0;
}

static void remove_name(void *context, const char *name)
{
    struct file_fixture *fixture = context;
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", fixture->directory, name);
    assert_int_equal(world_remove(fixture->world, path, NULL), STATUS_OK);
}

static int directory_remove(void **state)
{
    struct file_fixture *fixture = *state;

    assert_int_equal(world_list_dir(fixture->world, fixture->directory, fixture, remove_name, NULL),
                     STATUS_OK);
    assert_int_equal(world_remove(fixture->world, fixture->directory, NULL), STATUS_OK);
    real_fixture_stop(&fixture->real);
    memory_free(fixture);
    return 0;
}

static struct file *file_made(struct file_fixture *fixture)
{
    struct file *file = NULL;
    struct error error;

    assert_int_equal(
        file_open(fixture->world, fixture->path, FILE_WRITE | FILE_CREATE, &file, &error),
        STATUS_OK);
    return file;
}

static void test_what_is_written_can_be_read(void **state)
{
    struct file *file = file_made(*state);
    char into[16] = {0};
    uint64_t size;
    size_t got;

    assert_int_equal(file_write(file, 0, bytes_of("hello world"), NULL), STATUS_OK);
    assert_int_equal(file_write(file, 6, bytes_of("there"), NULL), STATUS_OK);
    assert_int_equal(file_sync(file, NULL), STATUS_OK);
    assert_int_equal(file_read(file, 0, into, sizeof(into), &got, NULL), STATUS_OK);
    assert_int_equal(got, 11);
    assert_string_equal(into, "hello there");
    assert_int_equal(file_read(file, 11, into, sizeof(into), &got, NULL), STATUS_OK);
    assert_int_equal(got, 0);
    assert_int_equal(file_truncate(file, 5, NULL), STATUS_OK);
    assert_int_equal(file_size(file, &size, NULL), STATUS_OK);
    assert_int_equal(size, 5);
    file_close(file);
    file_close(NULL);
}

static void test_allocated_space_reads_as_zeros_and_keeps_what_was_there(void **state)
{
    struct file *file = file_made(*state);
    enum { SIZE = 3 * 1024 * 1024 + 17 };
    uint8_t *into = memory_allocate(SIZE);
    uint64_t size;
    size_t got;

    assert_int_equal(file_write(file, 0, bytes_of("abc"), NULL), STATUS_OK);
    assert_int_equal(file_allocate(file, SIZE, NULL), STATUS_OK);
    assert_int_equal(file_size(file, &size, NULL), STATUS_OK);
    assert_int_equal(size, SIZE);
    assert_int_equal(file_read(file, 0, into, SIZE, &got, NULL), STATUS_OK);
    assert_int_equal(got, SIZE);
    assert_memory_equal(into, "abc", 3);
    for (size_t i = 3; i < SIZE; i++)
        if (into[i] != 0) fail_msg("byte %zu is not zero", i);
    assert_int_equal(file_allocate(file, 10, NULL), STATUS_OK); /* never shrinks */
    assert_int_equal(file_size(file, &size, NULL), STATUS_OK);
    assert_int_equal(size, SIZE);
    memory_free(into);
    file_close(file);
}

/* Blocks past the page cache, then a size that cannot go that way: the content is the same. */
static void test_direct_writes_are_read_like_others(void **state)
{
    struct file_fixture *fixture = *state;
    enum { BLOCK = 4096, SIZE = 300 * BLOCK };
    struct file *file = NULL;
    uint8_t *bytes = memory_allocate(SIZE), *into = memory_allocate(SIZE + 1);
    unsigned flags = FILE_WRITE | FILE_CREATE | FILE_DIRECT;
    size_t got;

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(file_open(fixture->world, fixture->path, flags, &file, NULL), STATUS_OK);
    assert_int_equal(file_allocate(file, SIZE, NULL), STATUS_OK);
    assert_int_equal(file_write(file, 0, bytes_make(bytes, SIZE), NULL), STATUS_OK);
    assert_int_equal(file_write(file, 5 * BLOCK, bytes_make(bytes, BLOCK), NULL), STATUS_OK);
    assert_int_equal(file_write(file, SIZE - 7, bytes_of("odd tail"), NULL), STATUS_OK);
    assert_int_equal(file_write(file, 9 * BLOCK, bytes_make(bytes, BLOCK), NULL), STATUS_OK);
    assert_int_equal(file_sync(file, NULL), STATUS_OK);
    file_close(file);

    assert_int_equal(file_open(fixture->world, fixture->path, flags, &file, NULL), STATUS_OK);
    assert_int_equal(file_read(file, 0, into, SIZE + 1, &got, NULL), STATUS_OK);
    assert_int_equal(got, SIZE + 1);
    memcpy(bytes + 5 * BLOCK, bytes, BLOCK);
    memcpy(bytes + 9 * BLOCK, bytes, BLOCK);
    assert_memory_equal(into, bytes, SIZE - 7);
    assert_memory_equal(into + SIZE - 7, "odd tail", 8);
    file_close(file);
    memory_free(bytes);
    memory_free(into);
}

/* What this process has caused to be read from devices. */
static uint64_t bytes_from_devices(void)
{
    char line[128];
    unsigned long long bytes = 0;
    FILE *file = fopen("/proc/self/io", "re");

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "read_bytes: %llu", &bytes) == 1) break;
    fclose(file);
    return bytes;
}

static void test_direct_reads_see_the_device_and_not_the_cache(void **state)
{
    struct file_fixture *fixture = *state;
    enum { BLOCK = 4096, SIZE = 400 * BLOCK + 123 };
    static const struct {
        uint64_t offset;
        size_t size;
    } ranges[] = {{0, SIZE},
                  {1, 1},
                  {BLOCK - 1, 2},
                  {5, SIZE},
                  {300 * BLOCK, 5 * BLOCK},
                  {7, 70 * BLOCK},
                  {SIZE - 1, 100},
                  {SIZE, 1},
                  {SIZE + BLOCK, 1}};
    uint8_t *bytes = memory_allocate(SIZE), *into = memory_allocate(SIZE);
    struct file *file = file_made(fixture);
    size_t got;

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(file_write(file, 0, bytes_make(bytes, SIZE), NULL), STATUS_OK);
    assert_int_equal(file_sync(file, NULL), STATUS_OK);
    file_close(file);
    uint64_t before = bytes_from_devices();
    assert_int_equal(file_open(fixture->world, fixture->path, FILE_READ | FILE_DIRECT, &file, NULL),
                     STATUS_OK);
    for (size_t i = 0; i < ARRAY_COUNT(ranges); i++) {
        uint64_t left = ranges[i].offset < SIZE ? SIZE - ranges[i].offset : 0;
        size_t wanted = ranges[i].size < left ? ranges[i].size : left;
        assert_int_equal(file_read(file, ranges[i].offset, into, ranges[i].size, &got, NULL),
                         STATUS_OK);
        assert_int_equal(got, wanted);
        if (wanted) assert_memory_equal(into, bytes + ranges[i].offset, wanted);
    }
    /* The page cache holds all of it. On tmpfs there is no device. */
    struct statfs system;
    assert_int_equal(statfs(fixture->directory, &system), 0);
    if (system.f_type != TMPFS_MAGIC) assert_true(bytes_from_devices() - before >= 2 * SIZE);
    file_close(file);
    memory_free(bytes);
    memory_free(into);
}

static void test_a_second_lock_is_refused_with_advice(void **state)
{
    struct file_fixture *fixture = *state;
    struct file *first = file_made(fixture), *second = file_made(fixture);
    struct error error;

    assert_int_equal(file_lock(first, &error), STATUS_OK);
    assert_int_equal(file_lock(second, &error), STATUS_REFUSED);
    assert_non_null(strstr(error.text, fixture->path));
    assert_non_null(strstr(error.text, "another"));
    file_close(first);
    assert_int_equal(file_lock(second, &error), STATUS_OK);
    file_close(second);
}

static void test_open_tells_absent_from_present(void **state)
{
    struct file_fixture *fixture = *state;
    struct file *file = NULL;
    struct error error;

    assert_int_equal(file_open(fixture->world, fixture->path, FILE_READ, &file, &error),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(error.text, fixture->path));
    assert_null(file);
    file_close(file_made(fixture));
    assert_int_equal(file_open(fixture->world, fixture->path,
                               FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &file, &error),
                     STATUS_EXISTS);
    assert_int_equal(file_open(fixture->world, fixture->path, FILE_READ, &file, &error), STATUS_OK);
    assert_int_equal(file_write(file, 0, bytes_of("x"), &error), STATUS_IO); /* not for writing */
    file_close(file);
}

static void test_a_full_disk_has_a_status_of_its_own(void **state)
{
    struct file_fixture *fixture = *state;
    struct file *file = NULL;
    struct error error;

    assert_int_equal(file_open(fixture->world, "/dev/full", FILE_WRITE, &file, &error), STATUS_OK);
    assert_int_equal(file_write(file, 0, bytes_of("x"), &error), STATUS_NO_SPACE);
    assert_int_equal(error.status, STATUS_NO_SPACE);
    assert_non_null(strstr(error.text, "free space"));
    file_close(file);
}

static void test_replacing_a_file_leaves_the_new_body_and_nothing_else(void **state)
{
    struct file_fixture *fixture = *state;
    struct file *file = NULL;
    char path_new[160], into[16] = {0};
    size_t got;

    /* Left over from a crash, longer than what comes. */
    snprintf(path_new, sizeof(path_new), "%s.new", fixture->path);
    assert_int_equal(file_open(fixture->world, path_new, FILE_WRITE | FILE_CREATE, &file, NULL),
                     STATUS_OK);
    assert_int_equal(file_write(file, 0, bytes_of("torn and too long"), NULL), STATUS_OK);
    file_close(file);

    assert_int_equal(world_replace_file(fixture->world, fixture->path, bytes_of("one"), NULL),
                     STATUS_OK);
    assert_int_equal(world_replace_file(fixture->world, fixture->path, bytes_of("two"), NULL),
                     STATUS_OK);
    assert_int_equal(file_open(fixture->world, fixture->path, FILE_READ, &file, NULL), STATUS_OK);
    assert_int_equal(file_read(file, 0, into, sizeof(into), &got, NULL), STATUS_OK);
    file_close(file);
    assert_string_equal(into, "two");
    assert_int_equal(file_open(fixture->world, path_new, FILE_READ, &file, NULL), STATUS_NOT_FOUND);
}

static void test_replacing_in_a_missing_directory_fails(void **state)
{
    struct file_fixture *fixture = *state;
    struct error error;
    char path[160];

    snprintf(path, sizeof(path), "%s/absent/file", fixture->directory);
    assert_int_equal(world_replace_file(fixture->world, path, bytes_of("x"), &error),
                     STATUS_NOT_FOUND);
}

static void append_name(void *context, const char *name)
{
    struct buffer *names = context;
    buffer_append_format(names, "%s ", name);
}

static void test_names_are_listed_in_bytewise_order(void **state)
{
    struct file_fixture *fixture = *state;
    const char *made[] = {"b", "a", "B", "a0", "10", "9"};
    struct buffer names;

    for (size_t i = 0; i < 6; i++) {
        struct file *file = NULL;
        snprintf(fixture->path, sizeof(fixture->path), "%s/%s", fixture->directory, made[i]);
        file = file_made(fixture);
        file_close(file);
    }
    buffer_init(&names, 1000);
    assert_int_equal(world_list_dir(fixture->world, fixture->directory, &names, append_name, NULL),
                     STATUS_OK);
    assert_true(bytes_equal(buffer_bytes(&names), bytes_of("10 9 B a a0 b ")));
    buffer_free(&names);
}

static void test_directories(void **state)
{
    struct file_fixture *fixture = *state;
    uint64_t space = 0;
    char other[160];

    snprintf(other, sizeof(other), "%s/other", fixture->directory);
    assert_int_equal(world_make_dir(fixture->world, fixture->path, NULL), STATUS_OK);
    assert_int_equal(world_make_dir(fixture->world, fixture->path, NULL), STATUS_EXISTS);
    assert_int_equal(world_rename(fixture->world, fixture->path, other, NULL), STATUS_OK);
    assert_int_equal(world_sync_dir(fixture->world, fixture->directory, NULL), STATUS_OK);
    assert_int_equal(world_sync_dir(fixture->world, fixture->path, NULL), STATUS_NOT_FOUND);
    /* It has no sync for directories: an error, and the process goes on. */
    assert_int_equal(world_sync_dir(fixture->world, "/proc", NULL), STATUS_IO);
    assert_int_equal(world_remove(fixture->world, fixture->path, NULL), STATUS_NOT_FOUND);
    assert_int_equal(world_free_space(fixture->world, fixture->directory, &space, NULL), STATUS_OK);
    assert_true(space > 0);
}

int main(void)
{
#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, directory_make, directory_remove)
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_what_is_written_can_be_read),
        FILE_TEST(test_allocated_space_reads_as_zeros_and_keeps_what_was_there),
        FILE_TEST(test_direct_writes_are_read_like_others),
        FILE_TEST(test_direct_reads_see_the_device_and_not_the_cache),
        FILE_TEST(test_a_second_lock_is_refused_with_advice),
        FILE_TEST(test_open_tells_absent_from_present),
        FILE_TEST(test_a_full_disk_has_a_status_of_its_own),
        FILE_TEST(test_replacing_a_file_leaves_the_new_body_and_nothing_else),
        FILE_TEST(test_replacing_in_a_missing_directory_fails),
        FILE_TEST(test_names_are_listed_in_bytewise_order),
        FILE_TEST(test_directories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
