/* engine_rocksdb_files.c - the sorted files of a store, as files.
 *
 * What a compaction has merged RocksDB removes at its end, all of it at once, which a device that
 * is told of freed space is busy with for a millisecond a MiB: syncs of the log waited for 50 to
 * 180 ms behind files of 64 MiB. Its C interface knows neither a file manager nor what listens to
 * compactions, but a factory of filters, which is asked when one begins: all files that may be
 * dropped by it are there then. It is told of them who gives back their space in steps. */
#include "storage/engine/engine_rocksdb_internal.h"

#include <stdio.h>

#include "base/memory.h"

void engine_rocksdb_each_file(struct engine_rocksdb *rocks, rocksdb_t *database, void *context,
                              void (*on_path)(void *context, const char *path))
{
    const rocksdb_livefiles_t *files = rocksdb_livefiles(database);
    int count = rocksdb_livefiles_count(files);

    for (int i = 0; i < count; i++) {
        const char *name = rocksdb_livefiles_name(files, i); /* "/000012.sst" */
        size_t size = strlen(rocks->directory) + strlen(name) + 1;
        char *path = memory_allocate(size);
        snprintf(path, size, "%s%s", rocks->directory, name);
        on_path(context, path);
        memory_free(path);
    }
    rocksdb_livefiles_destroy(files);
}

static void keep_file(void *context, const char *path)
{
    world_discard_once_removed(context, path);
}

/* Thread: RocksDB's, which holds no lock here. NULL: nothing is filtered. */
static rocksdb_compactionfilter_t *compaction_begins(void *context,
                                                     rocksdb_compactionfiltercontext_t *compaction)
{
    struct engine_rocksdb *rocks = context;
    rocksdb_t *database = rocks->compacts;

    if (database != NULL) engine_rocksdb_each_file(rocks, database, rocks->world, keep_file);
    return NULL;
}

static const char *name_of_factory(void *context)
{
    return "holon.dropped-files";
}

static void nothing_to_free(void *context)
{
}

void engine_rocksdb_keep_dropped(struct engine_rocksdb *rocks)
{
    rocksdb_options_set_compaction_filter_factory(
        rocks->options, rocksdb_compactionfilterfactory_create(rocks, nothing_to_free,
                                                               compaction_begins, name_of_factory));
}
