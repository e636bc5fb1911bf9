/* engine_rocksdb_internal.h - shared by engine_rocksdb*.c. */
#ifndef HOLON_STORAGE_ENGINE_ENGINE_ROCKSDB_INTERNAL_H
#define HOLON_STORAGE_ENGINE_ENGINE_ROCKSDB_INTERNAL_H

#include <rocksdb/c.h>
#include <sys/types.h>

#include "storage/engine/engine_gate.h"

/* So many runs are kept as they are before they are merged with the rows below them, most of which
 * are rewritten for it, however little is in the runs: with four, filling one node made the others
 * rewrite all that they have. A read asks the filter of each. */
enum { ENGINE_LEVEL0_FILES = 12 };

#define ENGINE_RUN_SUFFIX ".run" /* of files not yet ingested; left over by a crash */

struct engine_rocksdb {
    struct engine engine; /* first: a struct engine * is this */
    rocksdb_t *database;
    rocksdb_column_family_handle_t *family; /* the only one */
    rocksdb_options_t *options, *run_options;
    rocksdb_cache_t *cache;
    rocksdb_ratelimiter_t *limiter; /* of compactions; runs are written without */
    rocksdb_readoptions_t *read_options;
    rocksdb_envoptions_t *env_options;
    rocksdb_ingestexternalfileoptions_t *ingest_options;
    uint64_t run_count; /* names runs; one at a time */
    char *directory;
    struct world *world;           /* of files that are dropped; NULL: RocksDB frees them at once */
    _Atomic(rocksdb_t *) compacts; /* `database` for who compacts; NULL: it is being opened */
    _Atomic(struct engine_gate *) gate; /* NULL: merges need not wait */
    atomic_bool closing;
    dev_t device; /* of the directory that was opened, with `inode`; 0 0: not known */
    ino_t inode;
};

static inline struct engine_rocksdb *engine_rocksdb_of(struct engine *engine)
{
    return (struct engine_rocksdb *)engine;
}

enum engine_doing { ENGINE_OPENING, ENGINE_READING, ENGINE_WRITING, ENGINE_CHECKPOINT };

/* Turns RocksDB's text into ours and frees it. Returns STATUS_CORRUPT, NO_SPACE,
 * INVALID (keys that do not rise) or IO. */
enum status engine_rocksdb_error(char *text, const char *directory, enum engine_doing doing,
                                 struct error *error);

enum status engine_rocksdb_run_open(struct engine *engine, struct engine_run **ret_run,
                                    struct error *error);
enum status engine_rocksdb_run_put(struct engine_run *run, struct bytes key, struct bytes value,
                                   struct error *error);
enum status engine_rocksdb_run_delete(struct engine_run *run, struct bytes key,
                                      struct error *error);
enum status engine_rocksdb_run_delete_range(struct engine_run *run, struct bytes from,
                                            struct bytes to, struct error *error);
enum status engine_rocksdb_run_cut(struct engine_run *run, struct error *error);
void engine_rocksdb_run_pace(struct engine_run *run, const struct engine_pace *pace);
enum status engine_rocksdb_run_ingest(struct engine_run *run, struct error *error);
void engine_rocksdb_run_abandon(struct engine_run *run);
/* Before it is opened for writing: from now on files that a compaction drops give back their space
 * in steps (world_discard_once_removed()), and it goes as fast as the gate says. */
void engine_rocksdb_watch_merges(struct engine_rocksdb *rocks);
void engine_rocksdb_set_gate(struct engine *engine, struct engine_gate *gate);
uint64_t engine_rocksdb_level0_files(rocksdb_t *database);
/* Calls back for each sorted file, with its path. Thread: any. */
void engine_rocksdb_each_file(struct engine_rocksdb *rocks, rocksdb_t *database, void *context,
                              void (*on_path)(void *context, const char *path));
/* Deletes the runs that a crash left in the directory. */
enum status engine_rocksdb_remove_leftovers(const char *directory, struct error *error);

#endif
