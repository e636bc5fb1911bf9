/* engine_rocksdb_run.c - sorted runs: one SST file each, written beside the database and
 * ingested by a link. SstFileWriter syncs the file when it is finished; the ingest syncs it
 * again under its new name, then the directory, then the MANIFEST that makes it visible. */
#include "storage/engine/engine_rocksdb_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"

struct engine_run {
    struct engine_rocksdb *rocks;
    rocksdb_sstfilewriter_t *writer; /* NULL: nothing was added yet */
    char path[];
};

enum { RUN_NAME_SIZE_MAX = 32 };

enum status engine_rocksdb_run_open(struct engine *engine, struct engine_run **ret_run,
                                    struct error *error)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);
    size_t path_size = strlen(rocks->directory) + RUN_NAME_SIZE_MAX;
    struct engine_run *run = memory_allocate(sizeof(*run) + path_size);
    run->rocks = rocks;
    run->writer = NULL;
    snprintf(run->path, path_size, "%s/%" PRIu64 ENGINE_RUN_SUFFIX, rocks->directory,
             ++rocks->run_count);
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
    if (run->writer) return STATUS_OK;
    char *text = NULL;
    run->writer = rocksdb_sstfilewriter_create(run->rocks->env_options, run->rocks->options);
    rocksdb_sstfilewriter_open(run->writer, run->path, &text);
    return text ? run_error(run, text, error) : STATUS_OK;
}

enum status engine_rocksdb_run_put(struct engine_run *run, struct bytes key, struct bytes value,
                                   struct error *error)
{
    enum status status = run_begin(run, error);
    if (status) return status;
    char *text = NULL;
    const char *value_data = value.size ? (const char *)value.data : "";
    rocksdb_sstfilewriter_put(run->writer, (const char *)key.data, key.size, value_data, value.size,
                              &text);
    return text ? run_error(run, text, error) : STATUS_OK;
}

enum status engine_rocksdb_run_delete(struct engine_run *run, struct bytes key, struct error *error)
{
    enum status status = run_begin(run, error);
    if (status) return status;
    char *text = NULL;
    rocksdb_sstfilewriter_delete(run->writer, (const char *)key.data, key.size, &text);
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
    rocksdb_sstfilewriter_delete_range(run->writer, (const char *)from.data, from.size,
                                       (const char *)to.data, to.size, &text);
    return text ? run_error(run, text, error) : STATUS_OK;
}

enum status engine_rocksdb_run_ingest(struct engine_run *run, struct error *error)
{
    enum status status = STATUS_OK;
    char *text = NULL;
    if (run->writer == NULL) goto out;
    rocksdb_sstfilewriter_finish(run->writer, &text);
    if (text == NULL) {
        const char *const paths[] = {run->path};
        rocksdb_ingest_external_file(run->rocks->database, paths, 1, run->rocks->ingest_options,
                                     &text);
    }
    if (text) status = run_error(run, text, error);

out:
    engine_rocksdb_run_abandon(run); /* the link in the database stays */
    return status;
}

void engine_rocksdb_run_abandon(struct engine_run *run)
{
    if (run->writer) {
        rocksdb_sstfilewriter_destroy(run->writer);
        unlink(run->path); /* best effort: the next start removes it otherwise */
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
