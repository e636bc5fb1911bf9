/* engine.h - the cold tier of one store: sorted rows on disk, written only by whole sorted
 * runs. Never in the write path: the log makes writes durable, the engine lets it be cut.
 *
 * Two implementations: engine_rocksdb.c (the real one, the only code that touches files by
 * itself) and engine_memory.c (the simulator's, with equally honest crash semantics: a run
 * is there whole after engine_run_ingest() returned, or not at all).
 *
 * Keys are row keys ([slot u16 BE]...) and per-replica records under slot 0xffff (see
 * partition/replica_record.h). One column family. Thread: reads any; runs one at a time
 * (LANE_FLUSH), concurrent with reads. */
#ifndef HOLON_STORAGE_ENGINE_ENGINE_H
#define HOLON_STORAGE_ENGINE_ENGINE_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/status.h"
#include "world/world.h"

struct engine;
struct engine_run;
struct engine_iterator;
struct engine_gate;

/* How fast a run goes to the disk. The owner may change the rate at any time, from any thread. */
struct engine_pace {
    struct world *world;               /* whose clock */
    _Atomic uint64_t bytes_per_second; /* 0: as fast as the disk takes it */
};

/* In a job of LANE_FLUSH, `bytes` after `since` (boot clock, us): waits for what is left of the
 * time that they may take. Returns what the clock says then (world_job_rest()). */
static inline uint64_t engine_pace_rest(const struct engine_pace *pace, uint64_t since,
                                        uint64_t bytes)
{
    uint64_t until, now;

    do {
        uint64_t rate = pace->bytes_per_second;
        until = rate > 0 ? since + bytes * 1000000 / rate : 0;
        now = world_job_rest(pace->world, until);
    } while (now < until);
    return now;
}

/* A run being built: one sorted file, or two (run_cut). Keys must be added in strictly rising
 * order; range deletions (whole partitions only: snapshot install, removal) cover older runs, never
 * the puts of the same run. */
struct engine_table {
    enum status (*get)(struct engine *, struct bytes key, void *context,
                       void (*on_value)(void *context, struct bytes value), struct error *);
    enum status (*multi_get)(struct engine *, const struct bytes *keys, size_t count, void *context,
                             void (*on_value)(void *context, size_t index, struct bytes value),
                             struct error *);
    struct engine_iterator *(*iterate)(struct engine *, struct bytes from, struct bytes to);
    void (*iterator_seek)(struct engine_iterator *, struct bytes from);
    bool (*iterator_next)(struct engine_iterator *, struct bytes *key, struct bytes *value);
    enum status (*iterator_error)(struct engine_iterator *, struct error *);
    void (*iterator_close)(struct engine_iterator *);
    enum status (*run_open)(struct engine *, struct engine_run **, struct error *);
    enum status (*run_put)(struct engine_run *, struct bytes key, struct bytes value,
                           struct error *);
    enum status (*run_delete)(struct engine_run *, struct bytes key, struct error *);
    enum status (*run_delete_range)(struct engine_run *, struct bytes from, struct bytes to,
                                    struct error *);
    enum status (*run_cut)(struct engine_run *, struct error *);
    void (*run_pace)(struct engine_run *, const struct engine_pace *); /* NULL: it has no pace */
    enum status (*run_ingest)(struct engine_run *, struct error *);
    void (*run_abandon)(struct engine_run *);
    enum status (*checkpoint)(struct engine *, const char *directory, struct error *);
    void (*close)(struct engine *);
    uint64_t (*level0_files)(struct engine *);
    uint64_t (*bytes_on_disk)(struct engine *);
    void (*set_gate)(struct engine *, struct engine_gate *); /* NULL: it has no merges */
    void (*forget_cached)(struct engine *);                  /* NULL: there is nothing to forget */
    bool (*is_in_place)(struct engine *);                    /* NULL: always */
};

struct engine {
    const struct engine_table *table;
};

/* STATUS_NOT_FOUND, or on_value is called once with the value, borrowed. */
static inline enum status engine_get(struct engine *engine, struct bytes key, void *context,
                                     void (*on_value)(void *context, struct bytes value),
                                     struct error *error)
{
    return engine->table->get(engine, key, context, on_value, error);
}

/* All keys as of one moment. on_value is called once for each that is there, with its index in
 * keys, in any order; keys that are not called for are absent. An error may come after calls. */
static inline enum status
engine_multi_get(struct engine *engine, const struct bytes *keys, size_t count, void *context,
                 void (*on_value)(void *context, size_t index, struct bytes value),
                 struct error *error)
{
    return engine->table->multi_get(engine, keys, count, context, on_value, error);
}

/* Rows with from <= key < to (to empty: no end) as of now, in order. Reads nothing itself: the
 * first engine_iterator_next() does, which may run on another thread. */
static inline struct engine_iterator *engine_iterate(struct engine *engine, struct bytes from,
                                                     struct bytes to)
{
    return engine->table->iterate(engine, from, to);
}
static inline bool engine_iterator_next(struct engine *engine, struct engine_iterator *iterator,
                                        struct bytes *ret_key, struct bytes *ret_value)
{
    return engine->table->iterator_next(iterator, ret_key, ret_value);
}
/* Goes on at the first key >= from, still within the range and the moment it was made for. */
static inline void engine_iterator_seek(struct engine *engine, struct engine_iterator *iterator,
                                        struct bytes from)
{
    engine->table->iterator_seek(iterator, from);
}
/* Whether the iteration ended because of an error (STATUS_CORRUPT, IO). */
static inline enum status
engine_iterator_error(struct engine *engine, struct engine_iterator *iterator, struct error *error)
{
    return engine->table->iterator_error(iterator, error);
}
/* Gives engine_iterator_error(). */
static inline enum status
engine_iterator_close(struct engine *engine, struct engine_iterator *iterator, struct error *error)
{
    enum status status = engine->table->iterator_error(iterator, error);
    engine->table->iterator_close(iterator);
    return status;
}
static inline enum status engine_run_open(struct engine *engine, struct engine_run **ret_run,
                                          struct error *error)
{
    return engine->table->run_open(engine, ret_run, error);
}
static inline enum status engine_run_put(struct engine *engine, struct engine_run *run,
                                         struct bytes key, struct bytes value, struct error *error)
{
    return engine->table->run_put(run, key, value, error);
}
static inline enum status engine_run_delete(struct engine *engine, struct engine_run *run,
                                            struct bytes key, struct error *error)
{
    return engine->table->run_delete(run, key, error);
}
static inline enum status engine_run_delete_range(struct engine *engine, struct engine_run *run,
                                                  struct bytes from, struct bytes to,
                                                  struct error *error)
{
    return engine->table->run_delete_range(run, from, to, error);
}
/* What is put from now on goes to a file of its own, within the same run; once for a run. For keys
 * far from those before: a file that spans what lies between overlaps with all files there, so that
 * they must be merged; one that overlaps nothing is done. */
static inline enum status engine_run_cut(struct engine *engine, struct engine_run *run,
                                         struct error *error)
{
    return engine->table->run_cut(run, error);
}
/* Borrows `pace` until the run ends. Thread: a job's; it waits there. */
static inline void engine_run_pace(struct engine *engine, struct engine_run *run,
                                   const struct engine_pace *pace)
{
    if (engine->table->run_pace != NULL) engine->table->run_pace(run, pace);
}
/* Atomic and durable as a unit; of a run in which nothing was put, nothing happens. Frees the
 * run, also on error. After an error the run may be written again. */
static inline enum status engine_run_ingest(struct engine *engine, struct engine_run *run,
                                            struct error *error)
{
    return engine->table->run_ingest(run, error);
}
static inline void engine_run_abandon(struct engine *engine, struct engine_run *run)
{
    engine->table->run_abandon(run);
}
/* A consistent copy in `directory`, which must not exist (links where the disk allows it). */
static inline enum status engine_checkpoint(struct engine *engine, const char *directory,
                                            struct error *error)
{
    return engine->table->checkpoint(engine, directory, error);
}
/* No iterator or run may be open. */
static inline void engine_close(struct engine *engine)
{
    engine->table->close(engine);
}
static inline uint64_t engine_level0_files(struct engine *engine)
{
    return engine->table->level0_files(engine);
}
static inline uint64_t engine_bytes_on_disk(struct engine *engine)
{
    return engine->table->bytes_on_disk(engine);
}

/* From now on its merges go as fast as the gate says (engine_gate.h), which outlives the engine.
 * Once. */
static inline void engine_set_gate(struct engine *engine, struct engine_gate *gate)
{
    if (engine->table->set_gate != NULL) engine->table->set_gate(engine, gate);
}

/* What the operating system holds of the files in memory is dropped, as far as it can be: reads see
 * what the device holds. Blocks. */
static inline void engine_forget_cached(struct engine *engine)
{
    if (engine->table->forget_cached != NULL) engine->table->forget_cached(engine);
}

/* False: its directory was removed, or another lies where it was. */
static inline bool engine_is_in_place(struct engine *engine)
{
    return engine->table->is_in_place == NULL || engine->table->is_in_place(engine);
}

/* Reads rows from *place on (empty: from the first, after engine_forget_cached()), about bytes_max
 * of keys and values, so that what cannot be read or fails its checksum is found: STATUS_CORRUPT,
 * STATUS_IO, and *place is as it was. Rows that were overwritten or deleted one by one are read on
 * the way, those that a range deletion covers are not. *ret_more: it goes on at *place, else that
 * was the last. Blocks (engine_scrub.c). */
enum status engine_scrub(struct engine *engine, struct buffer *place, uint64_t bytes_max,
                         uint64_t *ret_bytes, bool *ret_more, struct error *error);

/* Once per process, before the first store is opened: compactions are in the background
 * (base/background.h). */
void engine_rocksdb_start_threads(void);

/* Opens or makes the store in `directory`. `world`: whose thread gives back the space of dropped
 * files; NULL: RocksDB does, at once. STATUS_CORRUPT: what is there cannot be used (also when
 * files of it are missing); STATUS_REFUSED: rights or limits are
 * in the way; STATUS_IO: another process has it. Small footprint: shared block cache, one write
 * buffer of the least size (never used), no WAL, no statistics dumps. */
enum status engine_rocksdb_open(struct world *world, const char *directory,
                                uint64_t block_cache_bytes, struct engine **ret_engine,
                                struct error *error);

/* As it is, for inspection: no file changes, nothing is compacted, runs cannot be written. */
enum status engine_rocksdb_open_read_only(const char *directory, uint64_t block_cache_bytes,
                                          struct engine **ret_engine, struct error *error);

/* The simulator's: content lives in *disk, which outlives the engine (a crash is closing it
 * without ingesting). Made by engine_memory_disk_make(). */
struct engine_memory_disk;
struct engine_memory_disk *engine_memory_disk_make(void);
void engine_memory_disk_free(struct engine_memory_disk *disk);
struct engine_memory_disk *engine_memory_disk_copy(struct engine_memory_disk *disk);
struct engine *engine_memory_open(struct engine_memory_disk *disk);
/* Reads and runs answer STATUS_CORRUPT from now on. */
void engine_memory_disk_damage(struct engine_memory_disk *disk);
bool engine_memory_disk_is_damaged(const struct engine_memory_disk *disk);
/* Replaces the value of a row, as no run did: a bit that flips where no checksum sees it. */
void engine_memory_disk_put(struct engine_memory_disk *disk, struct bytes key, struct bytes value);
/* The next run is not ingested but gives this status, once. */
void engine_memory_disk_fail_next(struct engine_memory_disk *disk, enum status status);
/* A run is taken in only if may(context) says so, else it ends with STATUS_IO; NULL: always. */
void engine_memory_disk_guard(struct engine_memory_disk *disk, bool (*may)(void *context),
                              void *context);

#endif
