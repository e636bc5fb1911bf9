/* engine_rocksdb_merge.c - compactions, as far as others feel them.
 *
 * RocksDB's C interface tells nobody of a compaction, but asks a factory for a filter when one
 * begins, and the filter for rows that it goes through. Neither filters anything here:
 *
 * - when it begins, all files that it may drop are there. What it has merged RocksDB removes at the
 *   end, all of it at once, which a device that is told of freed space is busy with for a
 *   millisecond a MiB: syncs of the log waited for 50 to 180 ms behind files of 64 MiB. So files
 *   are kept open by who gives back their space in steps (world_discard_once_removed()).
 * - rows are counted, and after each piece it is waited for what the gate says (engine_gate.h). Of
 *   a row that several files have only the newest version is asked about, and deletions are not:
 *   what is read beyond that is not counted. */
#include "storage/engine/engine_rocksdb_internal.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/memory.h"

enum {
    MERGE_PIECE_BYTES = 512 << 10,
    MERGE_WAIT_MOST_US = 1000 * 1000, /* of a piece */
    MERGE_LOOK_PIECES = 32,           /* between two looks at level 0, */
    MERGE_TELL_PIECES = 4096, /* and until it is told again of what may go: it is forgotten */
};

struct merge {
    struct engine_rocksdb *rocks;
    uint64_t bytes;  /* since the last piece */
    uint32_t pieces; /* until level 0 is looked at */
    bool must;       /* what that said */
    uint32_t told;   /* pieces since it was told which files it may drop; 0: it was not */
};

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

/* One that begins while the store is opened can be told of its files only later. */
static void tell_of_files(struct merge *merge)
{
    struct engine_rocksdb *rocks = merge->rocks;
    rocksdb_t *database = rocks->compacts;

    if (database == NULL || (merge->told > 0 && merge->told++ < MERGE_TELL_PIECES)) return;
    engine_rocksdb_each_file(rocks, database, rocks->world, keep_file);
    merge->told = 1;
}

static bool must_go_on(struct merge *merge, struct engine_gate *gate)
{
    if (merge->pieces > 0) {
        merge->pieces--;
        return merge->must;
    }
    merge->pieces = MERGE_LOOK_PIECES;
    merge->must = engine_gate_is_crowded(gate);
    return merge->must;
}

static void wait_for_gate(struct merge *merge)
{
    struct engine_gate *gate = merge->rocks->gate;
    uint64_t waited = 0, pause;

    if (gate == NULL) return; /* not yet: it is being opened */
    bool must = must_go_on(merge, gate);
    while ((pause = engine_gate_take(gate, merge->bytes, must)) > 0) {
        must = waited >= MERGE_WAIT_MOST_US || merge->rocks->closing;
        if (!must) waited += engine_gate_rest(gate, pause);
    }
}

/* 0: the row stays as it is. */
static unsigned char on_row(void *context, int level, const char *key, size_t key_size,
                            const char *value, size_t value_size, char **new_value,
                            size_t *new_size, unsigned char *changed)
{
    struct merge *merge = context;

    merge->bytes += key_size + value_size;
    if (merge->bytes >= MERGE_PIECE_BYTES) {
        tell_of_files(merge);
        wait_for_gate(merge);
        merge->bytes = 0;
    }
    return 0;
}

static void merge_ends(void *context)
{
    struct merge *merge = context;
    struct engine_gate *gate = merge->rocks->gate;

    if (gate != NULL) engine_gate_count(gate, merge->bytes);
    memory_free(merge);
}

static const char *name_of_filter(void *context)
{
    return "holon.merge";
}

/* Thread: RocksDB's, which holds no lock here. */
static rocksdb_compactionfilter_t *merge_begins(void *context,
                                                rocksdb_compactionfiltercontext_t *compaction)
{
    struct engine_rocksdb *rocks = context;
    struct merge *merge = memory_allocate_zero(sizeof(*merge));

    merge->rocks = rocks;
    tell_of_files(merge);
    return rocksdb_compactionfilter_create(merge, merge_ends, on_row, name_of_filter);
}

static void nothing_to_free(void *context)
{
}

void engine_rocksdb_watch_merges(struct engine_rocksdb *rocks)
{
    rocksdb_options_set_compaction_filter_factory(
        rocks->options, rocksdb_compactionfilterfactory_create(rocks, nothing_to_free, merge_begins,
                                                               name_of_filter));
}

void engine_rocksdb_set_gate(struct engine *engine, struct engine_gate *gate)
{
    struct engine_rocksdb *rocks = engine_rocksdb_of(engine);

    ASSERT(rocks->gate == NULL);
    engine_gate_enter(gate, engine);
    rocks->gate = gate;
}
