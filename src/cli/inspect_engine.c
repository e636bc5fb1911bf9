#include "cli/inspect_engine.h"

#include <stdio.h>

#include "base/codec.h"
#include "cli/process.h"
#include "cluster/sealed_file.h"
#include "partition/host.h"

enum { INSPECT_CACHE_BYTES = 1 << 20 };

struct slot_counts {
    uint64_t rows, bytes, records;
    uint32_t slots;
    int last_slot;
};

static void count_row(struct slot_counts *counts, struct bytes key, struct bytes value)
{
    if (key.size < 2) return;
    int slot = load_u16_be(key.data);
    if (slot == ROW_SLOT_RECORDS) {
        counts->records++;
        if (key.size >= 6 && value.size >= 25)
            printf("    group %-6u replica %-8llu applied %-10llu term %llu\n",
                   load_u32_be(key.data + 2), (unsigned long long)load_u64(value.data + 1),
                   (unsigned long long)load_u64(value.data + 9),
                   (unsigned long long)load_u64(value.data + 17));
        return;
    }
    counts->rows++;
    counts->bytes += key.size + value.size;
    if (slot != counts->last_slot) counts->slots++;
    counts->last_slot = slot;
}

static int inspect_store(const char *path, struct error *error)
{
    struct engine *engine = NULL;
    struct slot_counts counts = {.last_slot = -1};
    struct bytes key, value;
    struct bytes all = bytes_make(NULL, 0);

    if (engine_rocksdb_open_read_only(path, INSPECT_CACHE_BYTES, &engine, error))
        return EXIT_CODE_FAILED;
    printf("%s\n  replicas\n", path);
    struct engine_iterator *iterator = engine_iterate(engine, all, all);
    while (engine_iterator_next(engine, iterator, &key, &value))
        count_row(&counts, key, value);
    enum status status = engine_iterator_close(engine, iterator, error);
    printf("  rows %llu in %u slots, %llu bytes, %llu on disk, level 0 files %llu\n",
           (unsigned long long)counts.rows, counts.slots, (unsigned long long)counts.bytes,
           (unsigned long long)engine_bytes_on_disk(engine),
           (unsigned long long)engine_level0_files(engine));
    engine_close(engine);
    return status ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

int inspect_engine(struct world *world, const char *directory)
{
    char path[PATH_SIZE_MAX];
    struct file *lock = NULL;
    struct error error;
    int code = EXIT_CODE_OK;
    uint32_t found = 0;

    path_join(path, directory, "lock");
    /* Locking needs a file that is open to write; nothing is written to it. */
    enum status status = file_open(world, path, FILE_WRITE, &lock, &error);
    if (status == STATUS_OK) status = file_lock(lock, &error);
    if (status == STATUS_REFUSED)
        error_set(&error, status,
                  "a node runs in %.300s: stop it first, or ask it with `holon "
                  "status`",
                  directory);
    for (uint32_t store = 0; status == STATUS_OK && store < STORES_MAX; store++) {
        char name[32];
        struct file *probe = NULL;
        snprintf(name, sizeof(name), "store-%u/CURRENT", store);
        path_join(path, directory, name);
        if (file_open(world, path, FILE_READ, &probe, NULL) != STATUS_OK) continue;
        file_close(probe);
        found++;
        snprintf(name, sizeof(name), "store-%u", store);
        path_join(path, directory, name);
        if (inspect_store(path, &error) == EXIT_CODE_OK) continue;
        fprintf(stderr, "holon: error: %s\n", error.text);
        code = EXIT_CODE_FAILED;
    }
    file_close(lock);
    if (status) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_FAILED;
    }
    if (found == 0) printf("%s has no stores yet: everything is in the log\n", directory);
    return code;
}
