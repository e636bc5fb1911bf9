#include "engine_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/memory.h"
#include "storage/engine/engine_rocksdb_internal.h"

enum { CACHE_BYTES = 1 << 20 };

struct fixture {
    char directory[64];
    struct engine *engine;
};

/* A world that only hears of files that may be dropped, from RocksDB's thread. */
struct told {
    struct world world; /* first */
    pthread_mutex_t mutex;
    char *paths[256];
    size_t count;
};

static void told_of(struct world *world, const char *path)
{
    struct told *told = (struct told *)world;

    pthread_mutex_lock(&told->mutex);
    if (told->count < ARRAY_COUNT(told->paths))
        told->paths[told->count++] = memory_copy_string(path);
    pthread_mutex_unlock(&told->mutex);
}

static bool was_told_of(struct told *told, const char *path)
{
    bool found = false;

    pthread_mutex_lock(&told->mutex);
    for (size_t i = 0; i < told->count; i++)
        found |= strcmp(told->paths[i], path) == 0;
    pthread_mutex_unlock(&told->mutex);
    return found;
}

static struct engine *engine_in(struct world *world, const char *directory)
{
    struct engine *engine = NULL;
    struct error error = {0};
    enum status status = engine_rocksdb_open(world, directory, CACHE_BYTES, &engine, &error);
    if (status) print_message("%s\n", error.text);
    assert_int_equal(status, STATUS_OK);
    return engine;
}

static struct engine *engine_of(const char *directory)
{
    return engine_in(NULL, directory);
}

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_directory_make(fixture.directory);
    fixture.engine = engine_of(fixture.directory);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->engine) engine_close(fixture->engine);
    fixture_directory_remove(fixture->directory);
    return 0;
}

static void reopen(struct fixture *fixture)
{
    engine_close(fixture->engine);
    fixture->engine = engine_of(fixture->directory);
}

static void expect(struct fixture *fixture, const char *key, const char *value)
{
    char room[256];
    const char *got = fixture_get(fixture->engine, key, room);
    if (value == NULL) {
        assert_null(got);
    } else {
        assert_non_null(got);
        assert_string_equal(got, value);
    }
}

static void run(struct fixture *fixture, const char *script)
{
    struct error error = {0};
    enum status status = fixture_run(fixture->engine, script, &error);
    if (status) print_message("%s\n", error.text);
    assert_int_equal(status, STATUS_OK);
}

static unsigned files_with(const char *directory, const char *suffix)
{
    unsigned count = 0;
    DIR *entries = opendir(directory);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        size_t size = strlen(entry->d_name);
        count +=
            size >= strlen(suffix) && strcmp(entry->d_name + size - strlen(suffix), suffix) == 0;
    }
    closedir(entries);
    return count;
}

static void test_a_run_is_there_whole_and_after_reopening(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "put a 1;put b 2;put c 3");
    run(fixture, "put a 10;del b");
    expect(fixture, "a", "10");
    expect(fixture, "b", NULL);
    expect(fixture, "c", "3");
    assert_true(engine_bytes_on_disk(fixture->engine) > 0);
    assert_int_equal(engine_level0_files(fixture->engine), 1); /* the first fell to the bottom */
    reopen(fixture);
    expect(fixture, "a", "10");
    expect(fixture, "b", NULL);
    assert_int_equal(files_with(fixture->directory, ".run"), 0);
}

static uint64_t property(struct fixture *fixture, const char *name)
{
    uint64_t value = UINT64_MAX;
    rocksdb_property_int(engine_rocksdb_of(fixture->engine)->database, name, &value);
    return value;
}

/* In this order: what was pending and is not any more runs, and what has run has left no files. */
static void expect_no_compaction(struct fixture *fixture, unsigned level0_files)
{
    assert_int_equal(property(fixture, "rocksdb.compaction-pending"), 0);
    assert_int_equal(property(fixture, "rocksdb.num-running-compactions"), 0);
    assert_int_equal(engine_level0_files(fixture->engine), level0_files);
}

/* A compaction deletes the files that it has merged when it is done. */
static bool level0_is_empty_in_time(struct fixture *fixture)
{
    enum { LIMIT_MS = 30 * 1000 };
    struct pollfd deleted = {.fd = inotify_init1(IN_CLOEXEC), .events = POLLIN};
    char events[4096];
    assert_true(inotify_add_watch(deleted.fd, fixture->directory, IN_DELETE) >= 0);
    while (engine_level0_files(fixture->engine) > 0 && poll(&deleted, 1, LIMIT_MS) > 0)
        assert_true(read(deleted.fd, events, sizeof(events)) > 0);
    close(deleted.fd);
    return engine_level0_files(fixture->engine) == 0;
}

/* Run `number` changes the row between two that stay, all over the range of what is there. */
static void run_over_the_store(struct fixture *fixture, unsigned number)
{
    char script[64];
    snprintf(script, sizeof(script), "put a %u;put r%02u %u;put z %u", number, number, number,
             number);
    run(fixture, script);
}

static void expect_runs(struct fixture *fixture, unsigned last)
{
    char key[8], value[8];
    snprintf(value, sizeof(value), "%u", last);
    expect(fixture, "a", value);
    expect(fixture, "z", value);
    expect(fixture, "m", "below");
    for (unsigned i = 1; i <= last; i++) {
        snprintf(key, sizeof(key), "r%02u", i);
        snprintf(value, sizeof(value), "%u", i);
        expect(fixture, key, value);
    }
}

/* Filling a node makes many runs of a few rows in the others. */
static void test_rows_below_are_rewritten_for_many_runs_and_not_for_few(void **state)
{
    struct fixture *fixture = *state;
    unsigned number = 0;
    run(fixture, "put a 0;put m below;put z 0"); /* falls to the bottom */
    expect_no_compaction(fixture, 0);
    while (number < ENGINE_LEVEL0_FILES - 1) {
        run_over_the_store(fixture, ++number);
        expect_no_compaction(fixture, number);
    }
    expect_runs(fixture, number);
    run_over_the_store(fixture, ++number);
    assert_true(level0_is_empty_in_time(fixture));
    expect_runs(fixture, number);
    reopen(fixture);
    expect_runs(fixture, number);
}

static unsigned told_and_gone(struct fixture *fixture, struct told *told)
{
    unsigned gone = 0;
    char path[512];

    for (unsigned number = 1; number < 64; number++) { /* as RocksDB names files */
        snprintf(path, sizeof(path), "%s/%06u.sst", fixture->directory, number);
        if (was_told_of(told, path) && access(path, F_OK) != 0) gone++;
    }
    return gone;
}

/* The space of what is merged away comes back in steps, if it is known which files may go. */
static void test_files_that_are_merged_away_were_told_of_before(void **state)
{
    static const struct world_table table = {.discard_once_removed = told_of};
    struct fixture *fixture = *state;
    struct told told = {.world = {.table = &table}, .mutex = PTHREAD_MUTEX_INITIALIZER};

    engine_close(fixture->engine);
    fixture->engine = engine_in(&told.world, fixture->directory);
    run(fixture, "put a 0;put m below;put z 0");
    for (unsigned number = 1; number < ENGINE_LEVEL0_FILES; number++)
        run_over_the_store(fixture, number);
    expect_no_compaction(fixture, ENGINE_LEVEL0_FILES - 1);
    assert_int_equal(told.count, 0); /* nothing can go */
    run_over_the_store(fixture, ENGINE_LEVEL0_FILES);
    assert_true(level0_is_empty_in_time(fixture));
    expect_runs(fixture, ENGINE_LEVEL0_FILES);
    engine_close(fixture->engine); /* all that were merged are removed by now */
    assert_int_equal(told_and_gone(fixture, &told), ENGINE_LEVEL0_FILES + 1);
    assert_int_equal(told.count, ENGINE_LEVEL0_FILES + 1);
    fixture->engine = engine_of(fixture->directory);
    expect_runs(fixture, ENGINE_LEVEL0_FILES);
    for (size_t i = 0; i < told.count; i++)
        memory_free(told.paths[i]);
}

/* A store that has only a number of files. */
struct other_store {
    struct engine engine; /* first */
    _Atomic uint64_t files;
};

/* A world whose clock stands still until the test lets it go, and whose threads rest as often as it
 * says, with a gate for two stores. */
struct gate_world {
    struct world world; /* first */
    atomic_bool runs;
    _Atomic uint64_t now, rests, rests_allowed;
    struct other_store other;
    struct engine_gate *gate;
};

static uint64_t gate_now(struct world *world)
{
    struct gate_world *gate = (struct gate_world *)world;
    if (gate->runs) gate->now += 1000 * 1000;
    return gate->now;
}

static void gate_rest(struct world *world, uint64_t us)
{
    struct gate_world *gate = (struct gate_world *)world;
    uint64_t number = ++gate->rests;

    for (int i = 0; number > gate->rests_allowed && i < 60 * 1000; i++) /* a test may have failed */
        poll(NULL, 0, 1);
}

static uint64_t files_of_other(struct engine *engine)
{
    return ((struct other_store *)engine)->files;
}

static struct engine_gate_statistics gate_statistics(struct gate_world *gate)
{
    struct engine_gate_statistics statistics;

    engine_gate_statistics(gate->gate, &statistics);
    return statistics;
}

enum { RUN_PIECES = 3 }; /* of 512 KiB */

/* The same rows in each run. */
static void run_of_pieces(struct fixture *fixture)
{
    enum { ROWS = RUN_PIECES * 32, VALUE_BYTES = 16 << 10 };
    static uint8_t value[VALUE_BYTES];
    struct engine_run *run = NULL;
    char key[16];

    assert_int_equal(engine_run_open(fixture->engine, &run, NULL), STATUS_OK);
    for (unsigned i = 0; i < ROWS; i++) {
        for (unsigned at = 0; at < VALUE_BYTES; at++) /* hardly to be compressed */
            value[at] = (uint8_t)((at * 2654435761U + i * 40503U) >> 13);
        snprintf(key, sizeof(key), "k%02u", i);
        assert_int_equal(engine_run_put(fixture->engine, run, bytes_of(key),
                                        bytes_make(value, VALUE_BYTES), NULL),
                         STATUS_OK);
    }
    assert_int_equal(engine_run_ingest(fixture->engine, run, NULL), STATUS_OK);
}

static bool in_time(_Atomic uint64_t *counter, uint64_t least)
{
    for (int i = 0; i < 3000 && *counter < least; i++)
        poll(NULL, 0, 10);
    return *counter >= least;
}

static void gate_open(struct fixture *fixture, struct gate_world *gate)
{
    static const struct world_table table = {.now = gate_now, .thread_rest = gate_rest};
    static const struct engine_table other = {.level0_files = files_of_other};

    *gate = (struct gate_world){.world = {.table = &table}, .other = {.engine = {&other}}};
    gate->gate = engine_gate_create(&gate->world, 1 << 20);
    engine_gate_enter(gate->gate, &gate->other.engine);
    engine_close(fixture->engine);
    fixture->engine = engine_in(&gate->world, fixture->directory);
    engine_set_gate(fixture->engine, gate->gate);
}

static void gate_close(struct fixture *fixture, struct gate_world *gate)
{
    if (fixture->engine != NULL) engine_close(fixture->engine);
    fixture->engine = NULL;
    engine_gate_leave(gate->gate, &gate->other.engine);
    engine_gate_destroy(gate->gate);
}

/* The first of its pieces fits the pace, the others wait. */
static void begin_a_merge(struct fixture *fixture)
{
    run_of_pieces(fixture);
    for (unsigned number = 0; number < ENGINE_LEVEL0_FILES; number++)
        run_of_pieces(fixture);
}

enum { RESTS_OF_A_PIECE = 100 }; /* of 10 ms: a second */

static void test_a_merge_goes_on_when_its_gate_says_so(void **state)
{
    struct fixture *fixture = *state;
    struct gate_world gate;

    gate_open(fixture, &gate);
    begin_a_merge(fixture);
    assert_true(in_time(&gate.rests, 1)); /* it asked and waits */
    uint64_t first = gate_statistics(&gate).bytes;
    assert_true(first >= 512 << 10 && first < 600 << 10);
    assert_int_equal(engine_level0_files(fixture->engine), ENGINE_LEVEL0_FILES);
    gate.runs = true;
    gate.rests_allowed = UINT64_MAX;
    assert_true(level0_is_empty_in_time(fixture));
    struct engine_gate_statistics last = gate_statistics(&gate);
    assert_int_equal(last.hurried, 0);
    assert_true(last.bytes >= RUN_PIECES * first && last.bytes < (RUN_PIECES + 1) * first);
    assert_true(last.waited_us >= 1);
    gate_close(fixture, &gate);
}

static void *close_it(void *fixture)
{
    engine_close(((struct fixture *)fixture)->engine);
    return NULL;
}

static bool is_closing(struct fixture *fixture)
{
    const struct engine_rocksdb *rocks = engine_rocksdb_of(fixture->engine);

    for (int i = 0; i < 3000 && !rocks->closing; i++)
        poll(NULL, 0, 10);
    return rocks->closing;
}

static void test_a_merge_waits_neither_for_ever_nor_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    struct gate_world gate;
    pthread_t closes;

    gate_open(fixture, &gate);
    gate.rests_allowed = RESTS_OF_A_PIECE;
    begin_a_merge(fixture);
    assert_true(in_time(&gate.rests, RESTS_OF_A_PIECE + 1)); /* for the third piece, by now */
    assert_int_equal(gate_statistics(&gate).hurried, 1);
    assert_int_equal(pthread_create(&closes, NULL, close_it, fixture), 0);
    assert_true(is_closing(fixture));
    gate.rests_allowed = UINT64_MAX;
    assert_int_equal(pthread_join(closes, NULL), 0);
    fixture->engine = NULL;
    assert_int_equal(gate.rests, RESTS_OF_A_PIECE + 1);
    gate_close(fixture, &gate);
    fixture->engine = engine_of(fixture->directory);
}

static void test_a_store_with_many_runs_is_merged_without_waiting(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t rests = (RUN_PIECES - 1) * RESTS_OF_A_PIECE; /* of the first merge */
    struct gate_world gate;

    gate_open(fixture, &gate);
    begin_a_merge(fixture);
    assert_true(in_time(&gate.rests, 1)); /* this merge began with few */
    for (unsigned number = 0; number < ENGINE_CROWDED_FILES; number++)
        run_of_pieces(fixture);
    gate.rests_allowed = rests; /* the next one finds many */
    assert_true(level0_is_empty_in_time(fixture));
    assert_int_equal(gate.rests, rests);
    assert_int_equal(gate_statistics(&gate).hurried, RUN_PIECES - 1 + RUN_PIECES);
    gate_close(fixture, &gate);
}

static void test_a_merge_does_not_hold_up_another_store(void **state)
{
    struct fixture *fixture = *state;
    struct gate_world gate;

    gate_open(fixture, &gate);
    gate.other.files = ENGINE_CROWDED_FILES;
    begin_a_merge(fixture);
    assert_true(level0_is_empty_in_time(fixture));
    assert_int_equal(gate.rests, 0);
    assert_int_equal(gate_statistics(&gate).hurried, RUN_PIECES - 1);
    gate_close(fixture, &gate);
}

/* The last line of `name` in the newest file of options. */
static void option_of(const char *directory, const char *name, char *value, size_t size)
{
    char command_path[512] = "", newest[256] = "", line[512];
    struct dirent **entries = NULL;
    int count = scandir(directory, &entries, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        if (strncmp(entries[i]->d_name, "OPTIONS-", 8) == 0)
            snprintf(newest, sizeof(newest), "%s", entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    value[0] = '\0';
    snprintf(command_path, sizeof(command_path), "%s/%s", directory, newest);
    FILE *file = fopen(command_path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        char *found = strstr(line, name);
        if (found == NULL) continue;
        found[strcspn(found, "\n")] = '\0';
        snprintf(value, size, "%s", found + strlen(name));
    }
    fclose(file);
}

/* With a filter RocksDB would do so once in 30 days, whatever is in the files. */
static void test_files_are_not_rewritten_for_their_age(void **state)
{
    struct fixture *fixture = *state;
    struct gate_world gate;
    char value[64];

    gate_open(fixture, &gate);
    option_of(fixture->directory, "compaction_filter_factory=", value, sizeof(value));
    assert_string_equal(value, "holon.merge"); /* it has one */
    option_of(fixture->directory, "periodic_compaction_seconds=", value, sizeof(value));
    assert_string_equal(value, "0");
    gate_close(fixture, &gate);
    fixture->engine = engine_of(fixture->directory);
}

static void test_a_range_deletion_spares_the_puts_of_its_run(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "put a old;put b old;put c old;put d old");
    run(fixture, "range b d;put b new;put ca new");
    expect(fixture, "a", "old");
    expect(fixture, "b", "new");
    expect(fixture, "c", NULL);
    expect(fixture, "ca", "new");
    expect(fixture, "d", "old");
    /* ... and still when compaction has merged the files. */
    for (int i = 1; i < ENGINE_LEVEL0_FILES; i++)
        run(fixture, "put a old;put z z");
    assert_true(level0_is_empty_in_time(fixture));
    reopen(fixture);
    expect(fixture, "b", "new");
    expect(fixture, "c", NULL);
    expect(fixture, "ca", "new");
    expect(fixture, "d", "old");
    run(fixture, "range b d"); /* and nothing else */
    expect(fixture, "b", NULL);
    expect(fixture, "ca", NULL);
}

/* Snapshots of partitions come one by one, each with a record far behind all rows. */
static void test_a_run_that_is_cut_overlaps_nothing_between(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "put a1 1;put a2 2;cut;put z1 r");
    run(fixture, "put b1 1;put b2 2;cut;put z2 r");
    run(fixture, "cut;put z3 r"); /* nothing before it */
    assert_int_equal(engine_level0_files(fixture->engine), 0);
    run(fixture, "range a b;put a2 3;cut;put z1 s");
    reopen(fixture);
    expect(fixture, "a1", NULL);
    expect(fixture, "a2", "3");
    expect(fixture, "b1", "1");
    expect(fixture, "z1", "s");
    expect(fixture, "z2", "r");
    expect(fixture, "z3", "r");
    assert_int_equal(files_with(fixture->directory, ".run"), 0);
}

static void test_a_cut_run_that_is_given_up_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    assert_int_equal(fixture_run(fixture->engine, "put a 1;cut;put z 1;put y 1", &error),
                     STATUS_INVALID);
    assert_int_equal(files_with(fixture->directory, ".run"), 0);
    expect(fixture, "a", NULL);
    expect(fixture, "z", NULL);
}

/* More than a step at a time (RUN_STEP_BYTES). */
static void test_a_large_run_goes_to_the_disk_in_steps(void **state)
{
    struct fixture *fixture = *state;
    static char value[300 << 10];
    struct engine_run *run = NULL;
    memset(value, 'v', sizeof(value));
    assert_int_equal(engine_run_open(fixture->engine, &run, NULL), STATUS_OK);
    for (char key[2] = "a"; key[0] <= 'p'; key[0]++)
        assert_int_equal(engine_run_put(fixture->engine, run, bytes_of(key),
                                        bytes_make(value, sizeof(value)), NULL),
                         STATUS_OK);
    assert_int_equal(engine_run_ingest(fixture->engine, run, NULL), STATUS_OK);
    reopen(fixture);
    char room[256];
    for (char key[2] = "a"; key[0] <= 'p'; key[0]++)
        assert_non_null(fixture_get(fixture->engine, key, room));
}

static void test_nothing_put_is_nothing_done(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "");
    assert_int_equal(engine_level0_files(fixture->engine), 0);
}

static void test_a_run_that_is_given_up_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error error;
    struct engine_run *given_up = NULL;
    assert_int_equal(engine_run_open(fixture->engine, &given_up, &error), STATUS_OK);
    assert_int_equal(
        engine_run_put(fixture->engine, given_up, bytes_of("k"), bytes_of("v"), &error), STATUS_OK);
    assert_int_equal(files_with(fixture->directory, ".run"), 1);
    engine_run_abandon(fixture->engine, given_up);
    assert_int_equal(files_with(fixture->directory, ".run"), 0);
    expect(fixture, "k", NULL);
    assert_int_equal(fixture_run(fixture->engine, "put b 1;put a 1", &error), STATUS_INVALID);
}

static void test_runs_of_a_crash_are_removed_at_open(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    engine_close(fixture->engine);
    snprintf(path, sizeof(path), "%s/7.run", fixture->directory);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    fixture->engine = engine_of(fixture->directory);
    assert_int_equal(files_with(fixture->directory, ".run"), 0);
}

static void test_an_iterator_sees_one_moment(void **state)
{
    struct fixture *fixture = *state;
    run(fixture, "put a 1;put b 1;put c 1");
    struct engine_iterator *iterator =
        engine_iterate(fixture->engine, bytes_of("a"), bytes_of("c"));
    run(fixture, "put a 2;put aa 2;del b");
    struct bytes key, value;
    assert_true(engine_iterator_next(fixture->engine, iterator, &key, &value));
    assert_true(bytes_equal(value, bytes_of("1")));
    assert_true(engine_iterator_next(fixture->engine, iterator, &key, &value));
    assert_true(bytes_equal(key, bytes_of("b")));
    assert_false(engine_iterator_next(fixture->engine, iterator, &key, &value));
    assert_int_equal(engine_iterator_close(fixture->engine, iterator, NULL), STATUS_OK);
}

static void test_errors_name_the_directory_and_what_to_do(void **state)
{
    struct fixture *fixture = *state;
    struct engine *second = NULL;
    struct error error = {0};
    assert_int_equal(engine_rocksdb_open(NULL, fixture->directory, CACHE_BYTES, &second, &error),
                     STATUS_REFUSED);
    assert_non_null(strstr(error.text, fixture->directory));
    assert_null(second);
    assert_int_equal(engine_rocksdb_open(NULL, "/proc/nowhere", CACHE_BYTES, &second, &error),
                     STATUS_REFUSED);
    assert_non_null(strstr(error.text, "/proc/nowhere"));
}

static int first_file(const char *directory)
{
    DIR *entries = opendir(directory);
    int first = 0;
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        int number = strstr(entry->d_name, ".sst") ? atoi(entry->d_name) : 0;
        if (number && (first == 0 || number < first)) first = number;
    }
    closedir(entries);
    return first;
}

/* The first file that was made, or all. */
static void damage(const char *directory, bool first_only)
{
    DIR *entries = opendir(directory);
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        if (strstr(entry->d_name, ".sst") == NULL) continue;
        if (first_only && first_file(directory) != atoi(entry->d_name)) continue;
        int file = openat(dirfd(entries), entry->d_name, O_RDWR);
        static const char junk[8] = "damaged";
        assert_int_equal(pwrite(file, junk, sizeof(junk), 3), sizeof(junk));
        close(file);
    }
    closedir(entries);
}

static void ignore_value(void *context, struct bytes value)
{
}

static void test_damage_is_told_as_damage(void **state)
{
    struct fixture *fixture = *state;
    struct error error = {0};
    struct bytes key, value;
    run(fixture, "put a 1234567890;put b 1234567890");
    engine_close(fixture->engine);
    damage(fixture->directory, false);
    fixture->engine = engine_of(fixture->directory);
    assert_int_equal(engine_get(fixture->engine, bytes_of("a"), NULL, ignore_value, &error),
                     STATUS_CORRUPT);
    assert_non_null(strstr(error.text, fixture->directory));
    struct engine_iterator *iterator =
        engine_iterate(fixture->engine, bytes_make(NULL, 0), bytes_make(NULL, 0));
    assert_false(engine_iterator_next(fixture->engine, iterator, &key, &value));
    assert_int_equal(engine_iterator_close(fixture->engine, iterator, &error), STATUS_CORRUPT);
    struct buffer place;
    uint64_t bytes = 0;
    bool more = true;
    buffer_init(&place, 100);
    assert_int_equal(engine_scrub(fixture->engine, &place, 1000, &bytes, &more, &error),
                     STATUS_CORRUPT);
    assert_false(more);
    buffer_free(&place);
}

/* Nobody is ever answered from it, but a compaction would meet it. */
static void test_damage_of_rows_that_are_no_more_is_found(void **state)
{
    static const char *const hide[] = {"put a 2;put b 2", "del a;del b"};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < ARRAY_COUNT(hide); i++) {
        struct error error = {0};
        struct buffer place;
        uint64_t bytes = 0;
        bool more = true;
        run(fixture, "put a 1234567890;put b 1234567890");
        run(fixture, hide[i]);
        engine_close(fixture->engine);
        damage(fixture->directory, true);
        fixture->engine = engine_of(fixture->directory);
        buffer_init(&place, 100);
        assert_int_equal(engine_scrub(fixture->engine, &place, 1000, &bytes, &more, &error),
                         STATUS_CORRUPT);
        buffer_free(&place);
        assert_non_null(strstr(error.text, ".sst offset 0 ")); /* file and place are told */
        engine_close(fixture->engine);
        fixture_directory_remove(fixture->directory);
        fixture_directory_make(fixture->directory);
        fixture->engine = engine_of(fixture->directory);
    }
}

#define STORE "data/store-1"

/* The texts are those of RocksDB 7.8 (env/io_posix.cc: "context: file: strerror"). */
static void test_what_a_text_of_rocksdb_means(void **state)
{
    static const struct {
        const char *directory, *text;
        enum engine_doing doing;
        enum status status;
    } said[] = {
        {STORE,
         "IO error: No space left on device: While appending to file: " STORE
         "/7.run: No space left",
         ENGINE_WRITING, STATUS_NO_SPACE},
        {STORE, "IO error: While appending to file: " STORE "/7.run: Disk quota exceeded",
         ENGINE_WRITING, STATUS_NO_SPACE},
        {STORE, "IO error: While open a file for appending: " STORE "/7.run: Disk quota exceeded",
         ENGINE_WRITING, STATUS_NO_SPACE},
        {STORE, "IO error: While appending to file: " STORE "/7.run: File too large",
         ENGINE_WRITING, STATUS_REFUSED},
        {STORE, "IO error: While appending to file: " STORE "/7.run: Operation not permitted",
         ENGINE_WRITING, STATUS_REFUSED},
        {STORE, "IO error: While open a file for appending: " STORE "/7.run: Too many open files",
         ENGINE_WRITING, STATUS_REFUSED},
        {STORE, "IO error: While appending to file: " STORE "/7.run: Input/output error",
         ENGINE_WRITING, STATUS_IO},
        /* A path may hold any word: no reason to give the store up. */
        {"/srv/sequential/d",
         "IO error: While appending to file: /srv/sequential/d/7.run: Input/output error",
         ENGINE_WRITING, STATUS_IO},
        {"/srv/mkdir/No space left/d",
         "IO error: While fsync: /srv/mkdir/No space left/d/7.run: Input/output error",
         ENGINE_WRITING, STATUS_IO},
        /* Of the store's own files, which a compaction met, and of a run just written. */
        {STORE, "IO error: While pread offset 0 len 53: " STORE "/000012.sst: Input/output error",
         ENGINE_WRITING, STATUS_CORRUPT},
        {STORE, "IO error: While pread offset 0 len 53: " STORE "/7.run: Input/output error",
         ENGINE_WRITING, STATUS_IO},
        {STORE,
         "IO error: No such file or directory: While open a file for appending: " STORE "/7.run",
         ENGINE_WRITING, STATUS_CORRUPT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(said); i++) {
        struct error error;
        enum status status =
            engine_rocksdb_error(strdup(said[i].text), said[i].directory, said[i].doing, &error);
        if (status != said[i].status) fail_msg("%d for: %s", (int)status, said[i].text);
        assert_non_null(strstr(error.text, said[i].text));
    }
}

static void test_a_checkpoint_opens_as_a_store(void **state)
{
    struct fixture *fixture = *state;
    char path[128], room[256];
    run(fixture, "put a 1");
    snprintf(path, sizeof(path), "%s/copy", fixture->directory);
    assert_int_equal(engine_checkpoint(fixture->engine, path, NULL), STATUS_OK);
    run(fixture, "put a 2");
    struct engine *copy = engine_of(path);
    assert_string_equal(fixture_get(copy, "a", room), "1");
    engine_close(copy);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_run_is_there_whole_and_after_reopening),
        TEST(test_rows_below_are_rewritten_for_many_runs_and_not_for_few),
        TEST(test_files_that_are_merged_away_were_told_of_before),
        TEST(test_a_merge_goes_on_when_its_gate_says_so),
        TEST(test_a_merge_waits_neither_for_ever_nor_at_the_end),
        TEST(test_a_store_with_many_runs_is_merged_without_waiting),
        TEST(test_a_merge_does_not_hold_up_another_store),
        TEST(test_files_are_not_rewritten_for_their_age),
        TEST(test_a_range_deletion_spares_the_puts_of_its_run),
        TEST(test_a_run_that_is_cut_overlaps_nothing_between),
        TEST(test_a_cut_run_that_is_given_up_leaves_nothing),
        TEST(test_a_large_run_goes_to_the_disk_in_steps),
        TEST(test_nothing_put_is_nothing_done),
        TEST(test_a_run_that_is_given_up_leaves_nothing),
        TEST(test_runs_of_a_crash_are_removed_at_open),
        TEST(test_an_iterator_sees_one_moment),
        TEST(test_errors_name_the_directory_and_what_to_do),
        TEST(test_damage_is_told_as_damage),
        TEST(test_damage_of_rows_that_are_no_more_is_found),
        TEST(test_a_checkpoint_opens_as_a_store),
        TEST(test_what_a_text_of_rocksdb_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
