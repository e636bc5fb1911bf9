/* engine_rocksdb_run.c - sorted runs: one SST file each, or two, written beside the
 * database and ingested by a link. SstFileWriter syncs the file when it is finished; the ingest
 * syncs it again under its new name, then the directory, then the MANIFEST that makes it visible.
 */
#include "storage/engine/engine_rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"

enum {
    RUN_FILES_MAX = 2,
    RUN_NAME_SIZE_MAX = 32,
    RUN_STEP_BYTES = 512 << 10, /* that may wait for the disk */
};

struct run_file {
    rocksdb_sstfilewriter_t *writer; /* NULL: nothing was added yet */
    char *path;
    int file;       /* the same, for run_step(); -1: none */
    uint64_t bytes; /* put since the last step */
};

struct engine_run {
    struct engine_rocksdb *rocks;
    struct run_file files[RUN_FILES_MAX];
    uint32_t at;                    /* file that is being written */
    const struct engine_pace *pace; /* NULL: none */
    uint64_t stepped_at;            /* us, when the last step ended */
};

enum status engine_rocksdb_run_open(struct engine *engine, struct engine_run **ret_run,
                                    struct error *error)
{
    struct engine_run *run = memory_allocate_zero(sizeof(*run));
    run->rocks = engine_rocksdb_of(engine);
    *ret_run = run;
    return STATUS_OK;
}

static enum status run_error(struct engine_run *run, char *text, struct error *error)
{
    return engine_rocksdb_error(text, run->rocks->directory, ENGINE_WRITING, error);
}

/* RocksDB makes no empty file: it is begun with the first row. */
static enum status run_begin(struct engine_run *run, struct error *error)
{
    struct engine_rocksdb *rocks = run->rocks;
    struct run_file *file = &run->files[run->at];
    if (file->writer) return STATUS_OK;
    char *text = NULL;
    size_t path_size = strlen(rocks->directory) + RUN_NAME_SIZE_MAX;
    file->path = memory_allocate(path_size);
    /* Several runs may be open at a time, written to by one thread. */
    snprintf(file->path, path_size, "%s/%" PRIu64 ENGINE_RUN_SUFFIX, rocks->directory,
             ++rocks->run_count);
    file->writer = rocksdb_sstfilewriter_create(rocks->env_options, rocks->run_options);
    rocksdb_sstfilewriter_open(file->writer, file->path, &text);
    file->file = text ? -1 : open(file->path, O_RDONLY | O_CLOEXEC);
    return text ? run_error(run, text, error) : STATUS_OK;
}

/* A run of many MiB that goes to the disk all at once, when it is finished, is what the log's next
 * syncs wait for, and so clients. So it goes step by step, and is waited for each time. Whether it
 * is there is asked only at the end: what this cannot write, the sync of the whole file tells. */
static void run_step(struct engine_run *run, uint64_t bytes)
{
    struct run_file *file = &run->files[run->at];
    file->bytes += bytes;
    if (file->bytes < RUN_STEP_BYTES || file->file < 0) return;
    sync_file_range(file->file, 0, 0,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    if (run->pace != NULL)
        run->stepped_at = engine_pace_rest(run->pace, run->stepped_at, file->bytes);
    file->bytes = 0;
}

void engine_rocksdb_run_pace(struct engine_run *run, const struct engine_pace *pace)
{
    run->pace = pace;
    run->stepped_at = world_job_rest(pace->world, 0);
}

enum status engine_rocksdb_run_put(struct engine_run *run, struct bytes key, struct bytes value,
                                   struct error *error)
{
    enum status status = run_begin(run, error);
    if (status) return status;
    char *text = NULL;
    const char *value_data = value.size ? (const char *)value.data : "";
    rocksdb_sstfilewriter_put(run->files[run->at].writer, (const char *)key.data, key.size,
                              value_data, value.size, &text);
    run_step(run, key.size + value.size);
    return text ? run_error(run, text, error) : STATUS_OK;
}

enum status engine_rocksdb_run_delete(struct engine_run *run, struct bytes key, struct error *error)
{
    enum status status = run_begin(run, error);
    if (status) return status;
    char *text = NULL;
    rocksdb_sstfilewriter_delete(run->files[run->at].writer, (const char *)key.data, key.size,
                                 &text);
    return text ? run_error(run, text, error) : STATUS_OK;
}

/* All of a run has one sequence number, and a range tombstone covers only lower ones: so it
 * hides older runs and never the puts beside it. */
enum status engine_rocksdb_run_delete_range(struct engine_run *run, struct bytes from,
                                            struct bytes to, struct error *error)
{
    ASSERT(bytes_compare(from, to) < 0);
    enum status status = run_begin(run, error);
    if (status) return status;
    char *text = NULL;
    rocksdb_sstfilewriter_delete_range(run->files[run->at].writer, (const char *)from.data,
                                       from.size, (const char *)to.data, to.size, &text);
    return text ? run_error(run, text, error) : STATUS_OK;
}

enum status engine_rocksdb_run_cut(struct engine_run *run, struct error *error)
{
    ASSERT(run->at + 1 < RUN_FILES_MAX);
    if (run->files[run->at].writer) run->at++;
    return STATUS_OK;
}

/* One call for all files: RocksDB makes them visible by one record of its manifest. */
enum status engine_rocksdb_run_ingest(struct engine_run *run, struct error *error)
{
    const char *paths[RUN_FILES_MAX];
    enum status status = STATUS_OK;
    size_t count = 0;
    char *text = NULL;
    for (uint32_t i = 0; i < RUN_FILES_MAX && text == NULL; i++) {
        if (run->files[i].writer == NULL) continue;
        rocksdb_sstfilewriter_finish(run->files[i].writer, &text);
        paths[count++] = run->files[i].path;
    }
    if (text == NULL && count > 0)
        rocksdb_ingest_external_file(run->rocks->database, paths, count, run->rocks->ingest_options,
                                     &text);
    if (text) status = run_error(run, text, error);
    engine_rocksdb_run_abandon(run); /* the links in the database stay */
    return status;
}

void engine_rocksdb_run_abandon(struct engine_run *run)
{
    for (uint32_t i = 0; i < RUN_FILES_MAX; i++) {
        if (run->files[i].writer == NULL) continue;
        rocksdb_sstfilewriter_destroy(run->files[i].writer);
        if (run->files[i].file >= 0) close(run->files[i].file);
        unlink(run->files[i].path); /* best effort: the next start removes it otherwise */
        memory_free(run->files[i].path);
    }
    memory_free(run);
}

static bool is_run(const char *name)
{
    size_t size = strlen(name);
    size_t suffix = strlen(ENGINE_RUN_SUFFIX);
    return size > suffix && strcmp(name + size - suffix, ENGINE_RUN_SUFFIX) == 0;
}

enum status engine_rocksdb_remove_leftovers(const char *directory, struct error *error)
{
    DIR *entries = opendir(directory);
    if (entries == NULL)
        return error_set(error, STATUS_IO, "engine %s: cannot list it: %s; check its rights",
                         directory, strerror(errno));
    enum status status = STATUS_OK;
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        if (!is_run(entry->d_name)) continue;
        if (unlinkat(dirfd(entries), entry->d_name, 0) != 0)
            status = error_set(error, STATUS_IO,
                               "engine %s: cannot remove %.64s, left by a crash: %s; check its "
                               "rights",
                               directory, entry->d_name, strerror(errno));
    }
    closedir(entries);
    return status;
}
