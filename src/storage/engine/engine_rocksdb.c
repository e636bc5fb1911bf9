/* engine_rocksdb.c - the engine on RocksDB: opening, reading, checkpoints. */
#include "storage/engine/engine_rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/background.h"
#include "base/memory.h"

enum {
    MEMTABLE_BYTES = 64 << 10, /* RocksDB's least: nothing is ever written to it */
    BLOCK_BYTES = 16 << 10,
    OPEN_FILES_MAX = 256,
    LOG_FILE_BYTES = 1 << 20,
    MANIFEST_BYTES = 4 << 20,
    MANIFEST_AHEAD_BYTES =
        64 << 10, /* taken of the disk in such steps: each start makes one anew */
    FILTER_BITS_PER_KEY = 10,
    /* Of a compaction, at the first two levels that are in use; four times as much at each further
     * one. The last use of a file frees all of it at once, which a device that is told of it takes
     * a millisecond a MiB for. */
    FILE_BYTES = 16 << 20,
    FILE_BYTES_FACTOR = 4,
    COMPACTION_BYTES_PER_SECOND = 64 << 20, /* of one store */
    COMPACTION_REFILL_US = 50 * 1000,
    COMPACTION_FAIRNESS = 10,         /* RocksDB's default */
    COMPACTION_THREADS = 1,           /* of all stores of the process */
    RUN_COMPRESSION_AS_OTHERS = 0xff, /* rocksdb::kDisableCompressionOption */
    SYNC_BYTES = 512 << 10,           /* a compaction's output goes to the disk in such steps */
    INFO_LOG_WARN = 2,                /* rocksdb::InfoLogLevel::WARN_LEVEL */
};

/* What is wrong around the store, not with it. */
static bool is_of_environment(const char *text)
{
    static const char *const texts[] = {"Permission denied",
                                        "Too many open files",
                                        "Read-only file system",
                                        "Cannot allocate memory",
                                        "Resource temporarily unavailable",
                                        "No locks available",
                                        "File too large",
                                        "Operation not permitted",
                                        "mkdir"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strstr(text, texts[i])) return true;
    return false;
}

/* Owned by the caller. */
static char *text_without(const char *text, const char *part)
{
    size_t size = strlen(part);
    char *copy = memory_copy_string(text);

    for (char *at = copy; size > 0 && (at = strstr(at, part)) != NULL;)
        memmove(at, at + size, strlen(at + size) + 1);
    return copy;
}

/* A compaction that could not read its input is told of by the next write. That a run just written
 * cannot be read back says nothing of the store. */
static bool is_of_reading(const char *text)
{
    if (strstr(text, ENGINE_RUN_SUFFIX)) return false;
    static const char *const texts[] = {"While pread", "While reading", "While mmap read",
                                        "for random read", "sequential"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strstr(text, texts[i])) return true;
    return false;
}

/* What was there and cannot be opened or read any more is damage, whether the bytes are wrong,
 * the sector is lost or the file is gone (F21, F29). A run that cannot be written is not: the
 * store is as it was. */
enum status engine_rocksdb_error(char *text, const char *directory, enum engine_doing doing,
                                 struct error *error)
{
    static const char *const doing_texts[] = {"opening", "reading", "writing a sorted run",
                                              "making a checkpoint"};
    enum status status = STATUS_IO;
    const char *advice = "check the disk and the rights of the directory";
    char *said = text_without(text, directory); /* a path may hold any word */
    bool reads = doing == ENGINE_OPENING || doing == ENGINE_READING || is_of_reading(said);
    if (strstr(said, "No space left") || strstr(said, "Disk quota exceeded")) {
        status = STATUS_NO_SPACE;
        advice = "free space on this disk";
    } else if (strstr(said, "lock ") && strstr(said, "Resource temporarily unavailable")) {
        advice = "another process uses it: stop that one first";
    } else if (is_of_environment(said)) {
        status = STATUS_REFUSED;
        advice = "check the rights of the directory and the limits of the process";
    } else if (!reads && strncmp(said, "Invalid argument", 16) == 0) {
        status = STATUS_INVALID;
        advice = "this is a bug of ours";
    } else if (reads || strncmp(said, "Corruption", 10) == 0 ||
               strstr(said, "No such file or directory")) { /* the directory is gone */
        status = STATUS_CORRUPT;
        advice = "this copy must not be used";
    }
    error_set(error, status, "engine %s: %s failed: %.240s; %s", directory, doing_texts[doing],
              text, advice);
    memory_free(said);
    rocksdb_free(text);
    return status;
}

static enum status rocksdb_engine_get(struct engine *engine, struct bytes key, void *context,
                                      void (*on_value)(void *context, struct bytes value),
                                      struct error *error)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    char *text = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(rocks->database, rocks->read_options,
                                                        (const char *)key.data, key.size, &text);
    if (text) return engine_rocksdb_error(text, rocks->directory, ENGINE_READING, error);
    if (slice == NULL) return STATUS_NOT_FOUND;
    size_t size = 0;
    const char *value = rocksdb_pinnableslice_value(slice, &size);
    on_value(context, bytes_make(value, size));
    rocksdb_pinnableslice_destroy(slice);
    return STATUS_OK;
}

enum { MULTI_GET_MAX = 64 }; /* keys of one call to RocksDB */

static enum status multi_get_some(struct engine_rocksdb *rocks, const struct bytes *keys,
                                  size_t count, size_t first, void *context,
                                  void (*on_value)(void *context, size_t index, struct bytes value),
                                  struct error *error)
{
    const char *names[MULTI_GET_MAX] = {NULL};
    size_t sizes[MULTI_GET_MAX] = {0};
    rocksdb_pinnableslice_t *values[MULTI_GET_MAX];
    char *texts[MULTI_GET_MAX];
    enum status status = STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        names[i] = (const char *)keys[first + i].data;
        sizes[i] = keys[first + i].size;
    }
    rocksdb_batched_multi_get_cf(rocks->database, rocks->read_options, rocks->family, count, names,
                                 sizes, values, texts, false);
    for (size_t i = 0; i < count; i++) {
        if (texts[i] && status == STATUS_OK) {
            status = engine_rocksdb_error(texts[i], rocks->directory, ENGINE_READING, error);
        } else if (texts[i]) {
            rocksdb_free(texts[i]);
        }
        if (values[i] == NULL) continue;
        size_t size = 0;
        const char *value = rocksdb_pinnableslice_value(values[i], &size);
        if (status == STATUS_OK) on_value(context, first + i, bytes_make(value, size));
        rocksdb_pinnableslice_destroy(values[i]);
    }
    return status;
}

/* More than fit one call are read as of the moment of a snapshot. */
static enum status rocksdb_engine_multi_get(
    struct engine *engine, const struct bytes *keys, size_t count, void *context,
    void (*on_value)(void *context, size_t index, struct bytes value), struct error *error)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    enum status status = STATUS_OK;
    if (count <= MULTI_GET_MAX)
        return multi_get_some(rocks, keys, count, 0, context, on_value, error);
    struct engine_rocksdb at = *rocks;
    const rocksdb_snapshot_t *snapshot = rocksdb_create_snapshot(rocks->database);
    at.read_options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(at.read_options, snapshot);
    for (size_t first = 0; first < count && status == STATUS_OK; first += MULTI_GET_MAX) {
        size_t some = count - first < MULTI_GET_MAX ? count - first : MULTI_GET_MAX;
        status = multi_get_some(&at, keys, some, first, context, on_value, error);
    }
    rocksdb_readoptions_destroy(at.read_options);
    rocksdb_release_snapshot(rocks->database, snapshot);
    return status;
}

struct engine_iterator {
    struct engine_rocksdb *rocks;
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *iterator;
    bool sought;  /* before, it only holds its moment: seeking reads the disk */
    bool started; /* the row it stands on was given */
    size_t to_size;
    size_t from_size;
    uint8_t bounds[]; /* end, then start; RocksDB borrows the end */
};

static struct engine_iterator *rocksdb_engine_iterate(struct engine *engine, struct bytes from,
                                                      struct bytes to)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    struct engine_iterator *iterator =
        memory_allocate_zero(sizeof(*iterator) + to.size + from.size);
    iterator->rocks = rocks;
    iterator->options = rocksdb_readoptions_create();
    /* Long walks (loading, snapshots) must not push single rows out of the cache. */
    rocksdb_readoptions_set_fill_cache(iterator->options, 0);
    /* A long one may be closed on a loop: files that it was the last to need go elsewhere. */
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(iterator->options, 1);
    iterator->to_size = to.size;
    iterator->from_size = from.size;
    if (from.size) memcpy(iterator->bounds + to.size, from.data, from.size);
    if (to.size) {
        memcpy(iterator->bounds, to.data, to.size);
        rocksdb_readoptions_set_iterate_upper_bound(iterator->options,
                                                    (const char *)iterator->bounds, to.size);
    }
    iterator->iterator = rocksdb_create_iterator(rocks->database, iterator->options);
    return iterator;
}

static void rocksdb_engine_iterator_seek(struct engine_iterator *iterator, struct bytes from)
{
    if (from.size) {
        rocksdb_iter_seek(iterator->iterator, (const char *)from.data, from.size);
    } else {
        rocksdb_iter_seek_to_first(iterator->iterator);
    }
    iterator->sought = true;
    iterator->started = false;
}

static bool rocksdb_engine_iterator_next(struct engine_iterator *iterator, struct bytes *key,
                                         struct bytes *value)
{
    if (!iterator->sought) {
        struct bytes from = bytes_make(iterator->bounds + iterator->to_size, iterator->from_size);
        rocksdb_engine_iterator_seek(iterator, from);
    }
    if (iterator->started && rocksdb_iter_valid(iterator->iterator))
        rocksdb_iter_next(iterator->iterator);
    iterator->started = true;
    if (!rocksdb_iter_valid(iterator->iterator)) return false;
    size_t key_size, value_size;
    const char *key_data = rocksdb_iter_key(iterator->iterator, &key_size);
    const char *value_data = rocksdb_iter_value(iterator->iterator, &value_size);
    *key = bytes_make(key_data, key_size);
    *value = bytes_make(value_data, value_size);
    return true;
}

static enum status rocksdb_engine_iterator_error(struct engine_iterator *iterator,
                                                 struct error *error)
{
    char *text = NULL;
    rocksdb_iter_get_error(iterator->iterator, &text);
    if (text == NULL) return STATUS_OK;
    return engine_rocksdb_error(text, iterator->rocks->directory, ENGINE_READING, error);
}

static void rocksdb_engine_iterator_close(struct engine_iterator *iterator)
{
    rocksdb_iter_destroy(iterator->iterator);
    rocksdb_readoptions_destroy(iterator->options);
    memory_free(iterator);
}

static enum status rocksdb_engine_checkpoint(struct engine *engine, const char *directory,
                                             struct error *error)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    char *text = NULL;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(rocks->database, &text);
    if (text == NULL) {
        rocksdb_checkpoint_create(checkpoint, directory, 0, &text);
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    if (text) return engine_rocksdb_error(text, directory, ENGINE_CHECKPOINT, error);
    return STATUS_OK;
}

uint64_t engine_rocksdb_level0_files(rocksdb_t *database)
{
    char *text = rocksdb_property_value(database, "rocksdb.num-files-at-level0");
    uint64_t count = text ? strtoull(text, NULL, 10) : 0;
    rocksdb_free(text);
    return count;
}

static uint64_t rocksdb_engine_level0_files(struct engine *engine)
{
    return engine_rocksdb_level0_files(engine_rocksdb_of(engine)->database);
}

static uint64_t rocksdb_engine_bytes_on_disk(struct engine *engine)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    uint64_t bytes = 0;
    rocksdb_property_int(rocks->database, "rocksdb.total-sst-files-size", &bytes);
    return bytes;
}

static void rocksdb_engine_close(struct engine *engine)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    rocks->closing = true; /* a merge that waits for its gate ends now */
    if (rocks->gate != NULL) engine_gate_leave(rocks->gate, engine);
    if (rocks->database) {
        rocksdb_column_family_handle_destroy(rocks->family);
        rocksdb_close(rocks->database);
    }
    rocksdb_ingestexternalfileoptions_destroy(rocks->ingest_options);
    rocksdb_envoptions_destroy(rocks->env_options);
    rocksdb_readoptions_destroy(rocks->read_options);
    if (rocks->run_options) rocksdb_options_destroy(rocks->run_options);
    rocksdb_options_destroy(rocks->options);
    rocksdb_ratelimiter_destroy(rocks->limiter);
    rocksdb_cache_destroy(rocks->cache);
    memory_free(rocks->directory);
    memory_free(rocks);
}

static void forget_cached_file(void *context, const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);

    if (descriptor < 0) return;
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
}

/* Files never change once they are synced, so that all of their pages can go. */
static void rocksdb_engine_forget_cached(struct engine *engine)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    engine_rocksdb_each_file(rocks, rocks->database, NULL, forget_cached_file);
}

static void note_place(struct engine_rocksdb *rocks)
{
    struct stat found;

    if (stat(rocks->directory, &found)) return;
    rocks->device = found.st_dev;
    rocks->inode = found.st_ino;
}

static bool rocksdb_engine_is_in_place(struct engine *engine)
{
    const struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    struct stat found;

    if (stat(rocks->directory, &found)) return errno != ENOENT && errno != ENOTDIR;
    return rocks->inode == 0 || (found.st_dev == rocks->device && found.st_ino == rocks->inode);
}

static const struct engine_table rocksdb_table = {
    .get = rocksdb_engine_get,
    .multi_get = rocksdb_engine_multi_get,
    .iterate = rocksdb_engine_iterate,
    .iterator_seek = rocksdb_engine_iterator_seek,
    .iterator_next = rocksdb_engine_iterator_next,
    .iterator_error = rocksdb_engine_iterator_error,
    .iterator_close = rocksdb_engine_iterator_close,
    .run_open = engine_rocksdb_run_open,
    .run_put = engine_rocksdb_run_put,
    .run_delete = engine_rocksdb_run_delete,
    .run_delete_range = engine_rocksdb_run_delete_range,
    .run_cut = engine_rocksdb_run_cut,
    .run_pace = engine_rocksdb_run_pace,
    .run_ingest = engine_rocksdb_run_ingest,
    .run_abandon = engine_rocksdb_run_abandon,
    .checkpoint = rocksdb_engine_checkpoint,
    .close = rocksdb_engine_close,
    .level0_files = rocksdb_engine_level0_files,
    .bytes_on_disk = rocksdb_engine_bytes_on_disk,
    .set_gate = engine_rocksdb_set_gate,
    .forget_cached = rocksdb_engine_forget_cached,
    .is_in_place = rocksdb_engine_is_in_place,
};

static void set_table_options(struct engine_rocksdb *rocks)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, rocks->cache);
    rocksdb_block_based_options_set_block_size(table, BLOCK_BYTES);
    /* Indexes and filters are charged to the cache: its size bounds what the engine holds. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    rocksdb_block_based_options_set_filter_policy(
        table, rocksdb_filterpolicy_create_bloom_full(FILTER_BITS_PER_KEY)); /* taken over */
    rocksdb_options_set_block_based_table_factory(rocks->options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_options(struct engine_rocksdb *rocks)
{
    rocksdb_options_t *options = rocks->options;
    set_table_options(rocks);
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_write_buffer_size(options, MEMTABLE_BYTES);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_max_manifest_file_size(options, MANIFEST_BYTES);
    rocksdb_options_set_manifest_preallocation_size(options, MANIFEST_AHEAD_BYTES);
    rocksdb_options_set_max_background_jobs(options, 1 + COMPACTION_THREADS);
    rocksdb_options_set_level0_file_num_compaction_trigger(options, ENGINE_LEVEL0_FILES);
    rocksdb_options_set_target_file_size_base(options, FILE_BYTES);
    rocksdb_options_set_target_file_size_multiplier(options, FILE_BYTES_FACTOR);
    rocksdb_options_set_ratelimiter(options, rocks->limiter);
    rocksdb_options_set_bytes_per_sync(options, SYNC_BYTES);
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    rocksdb_options_set_bottommost_compression(options, rocksdb_zstd_compression);
    /* Nothing is written while nothing is flushed, nor logged while nothing is wrong. */
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_info_log_level(options, INFO_LOG_WARN);
    rocksdb_options_set_keep_log_file_num(options, 2);
    rocksdb_options_set_max_log_file_size(options, LOG_FILE_BYTES);
}

static const char *const family_names[] = {"default"};

/* RocksDB may be built without a compression; then it refuses to open with it. */
static char *open_database(struct engine_rocksdb *rocks)
{
    const rocksdb_options_t *const family_options[] = {rocks->options};
    char *text = NULL;
    /* Not rocksdb_open(): reading many keys at once wants the handle of the family. */
    rocks->database = rocksdb_open_column_families(
        rocks->options, rocks->directory, 1, family_names, family_options, &rocks->family, &text);
    if (text && strstr(text, "not linked")) {
        rocksdb_free(text);
        text = NULL;
        rocksdb_options_set_compression(rocks->options, rocksdb_no_compression);
        rocksdb_options_set_bottommost_compression(rocks->options, rocksdb_no_compression);
        rocks->database =
            rocksdb_open_column_families(rocks->options, rocks->directory, 1, family_names,
                                         family_options, &rocks->family, &text);
    }
    if (text) return text;
    /* A file of a run would be compressed as those of the last level, which costs more time than
     * all else about it; there it comes to be by compaction. */
    rocks->run_options = rocksdb_options_create_copy(rocks->options);
    rocksdb_options_set_bottommost_compression(rocks->run_options, RUN_COMPRESSION_AS_OTHERS);
    return NULL;
}

/* CURRENT names the manifest, and the manifest the files. Without it RocksDB would make a new
 * database and remove the files of the old one: evidence, and never silently (F29). */
static enum status check_current(const char *directory, struct error *error)
{
    DIR *entries = opendir(directory);
    bool current = false, files = false;

    if (entries == NULL) return STATUS_OK; /* it is made now */
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        size_t size = strlen(entry->d_name);
        current |= strcmp(entry->d_name, "CURRENT") == 0;
        files |= strncmp(entry->d_name, "MANIFEST-", 9) == 0;
        files |= size > 4 && strcmp(entry->d_name + size - 4, ".sst") == 0;
    }
    closedir(entries);
    if (current || !files) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "engine %s: CURRENT is missing, though its files are there", directory);
}

/* RocksDB may have made the directory: its name must last as long as what is in it. */
static enum status sync_parent(const char *directory, struct error *error)
{
    size_t size = strlen(directory) + sizeof("/..");
    char *path = memory_allocate(size);
    snprintf(path, size, "%s/..", directory);
    int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = parent >= 0 && fsync(parent) == 0;
    int cause = errno;
    if (parent >= 0) close(parent);
    memory_free(path);
    if (synced) return STATUS_OK;
    return error_set(error, STATUS_IO, "engine %s: cannot sync the directory above: %s; check it",
                     directory, strerror(cause));
}

/* RocksDB makes its threads when they are asked for, and a thread begins with the share of the one
 * that made it. */
static void *start_threads(void *env)
{
    background_begin();
    rocksdb_env_set_background_threads(env, 0); /* nothing has run yet, so that there are none */
    rocksdb_env_set_background_threads(env, COMPACTION_THREADS);
    return NULL;
}

void engine_rocksdb_start_threads(void)
{
    rocksdb_env_t *env = rocksdb_create_default_env();
    pthread_t thread;
    /* If there are no threads to be had, RocksDB will make its own later, with a usual share. */
    if (pthread_create(&thread, NULL, start_threads, env) == 0) pthread_join(thread, NULL);
    rocksdb_env_destroy(env);
}

/* As RocksDB has them, but for what its C interface has no call for: where there is a filter of
 * rows (engine_rocksdb_merge.c) it would rewrite each file once in 30 days. */
static rocksdb_options_t *make_options(void)
{
    rocksdb_options_t *usual = rocksdb_options_create(), *options = rocksdb_options_create();
    char *text = NULL;

    rocksdb_get_options_from_string(usual, "periodic_compaction_seconds=0", options, &text);
    ASSERT(text == NULL); /* it knows the word */
    rocksdb_options_destroy(usual);
    return options;
}

/* Settings only; no file is touched. */
static struct engine_rocksdb *rocks_make(const char *directory, uint64_t block_cache_bytes)
{
    struct engine_rocksdb *rocks = memory_allocate_zero(sizeof(*rocks));
    rocks->engine.table = &rocksdb_table;
    rocks->directory = memory_copy_string(directory);
    rocks->cache = rocksdb_cache_create_lru(block_cache_bytes);
    rocks->options = make_options();
    rocks->limiter = rocksdb_ratelimiter_create(COMPACTION_BYTES_PER_SECOND, COMPACTION_REFILL_US,
                                                COMPACTION_FAIRNESS);
    rocks->read_options = rocksdb_readoptions_create();
    rocks->env_options = rocksdb_envoptions_create();
    rocks->ingest_options = rocksdb_ingestexternalfileoptions_create();
    set_options(rocks);
    rocksdb_ingestexternalfileoptions_set_move_files(rocks->ingest_options, 1);
    /* The memtable is empty: an ingest that wants to flush it first is a bug of ours. */
    rocksdb_ingestexternalfileoptions_set_allow_blocking_flush(rocks->ingest_options, 0);
    return rocks;
}

enum status engine_rocksdb_open_read_only(const char *directory, uint64_t block_cache_bytes,
                                          struct engine **ret_engine, struct error *error)
{
    struct engine_rocksdb *rocks = rocks_make(directory, block_cache_bytes);
    const rocksdb_options_t *const family_options[] = {rocks->options};
    char *text = NULL;
    rocks->database = rocksdb_open_for_read_only_column_families(
        rocks->options, directory, 1, family_names, family_options, &rocks->family, 0, &text);
    if (text == NULL) {
        *ret_engine = &rocks->engine;
        return STATUS_OK;
    }
    rocks->database = NULL;
    enum status status = engine_rocksdb_error(text, directory, ENGINE_OPENING, error);
    rocksdb_engine_close(&rocks->engine);
    return status;
}

enum status engine_rocksdb_open(struct world *world, const char *directory,
                                uint64_t block_cache_bytes, struct engine **ret_engine,
                                struct error *error)
{
    struct engine_rocksdb *rocks = rocks_make(directory, block_cache_bytes);
    enum status status = check_current(directory, error);
    if (status) goto fail;
    rocks->world = world;
    if (world != NULL) engine_rocksdb_watch_merges(rocks);
    char *text = open_database(rocks);
    if (text) {
        rocks->database = NULL;
        status = engine_rocksdb_error(text, directory, ENGINE_OPENING, error);
        goto fail;
    }
    /* Only now is the directory surely ours: RocksDB holds its lock. */
    status = engine_rocksdb_remove_leftovers(directory, error);
    if (status) goto fail;
    status = sync_parent(directory, error);
    if (status) goto fail;
    note_place(rocks);
    rocks->compacts = rocks->database;
    *ret_engine = &rocks->engine;
    return STATUS_OK;

fail:
    rocksdb_engine_close(&rocks->engine);
    return status;
}
