/* holon backup verify - reads all of a backup, as a restore would, and writes nothing. */
#include <stdio.h>

#include "base/memory.h"
#include "cli/backup_run.h"
#include "cli/backup_source.h"
#include "cli/commands.h"

enum { TOLD_EVERY = 4096 }; /* records */

struct verify_run {
    struct backup_chain chain;
    struct crew crew;
    struct progress_line progress;
    uint64_t keys_total;
};

static enum status verify_part(void *context, uint32_t worker, uint32_t index, struct error *error)
{
    struct verify_run *run = context;
    struct backup_source *source;
    struct export_record record;
    uint64_t keys = 0, bytes = 0, records = 0;

    enum status status = backup_source_open(&run->chain, 0, index, &source, error);
    if (status) return status;
    while ((status = backup_source_next(source, &record, error)) == STATUS_OK) {
        keys += record.kind == EXPORT_STRING || record.kind == EXPORT_HASH;
        bytes += record.key.size + record.piece.size;
        if (++records % TOLD_EVERY) continue;
        crew_add(&run->crew, keys, bytes);
        keys = bytes = 0;
    }
    crew_add(&run->crew, keys, bytes);
    backup_source_close(source);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status tick(void *context, struct error *error)
{
    struct verify_run *run = context;

    if (run->crew.running > 0)
        progress_line_say(&run->progress, run->crew.keys, run->keys_total, run->crew.keys,
                          run->crew.bytes);
    return STATUS_OK;
}

static enum status verify_all(struct verify_run *run, uint32_t streams, struct error *error)
{
    struct backup_totals totals;
    const struct backup_manifest *manifest = &run->chain.items[0].manifest;

    backup_manifest_totals(manifest, &totals);
    run->keys_total = totals.keys_all;
    run->crew.job = verify_part;
    run->crew.tick = tick;
    progress_line_begin(&run->progress, "verify", 0);
    enum status status = crew_run(&run->crew, streams, manifest->part_count, error);
    progress_line_end(&run->progress);
    if (status) return status;
    if (run->crew.keys != totals.keys_all)
        return error_set(error, STATUS_CORRUPT,
                         "%s: %llu keys were read, and the manifest says "
                         "%llu",
                         run->chain.items[0].place.path, (unsigned long long)run->crew.keys,
                         (unsigned long long)totals.keys_all);
    printf("verify: %s is whole and undamaged: %llu keys, %.1f MiB, %u partitions%s\n",
           run->chain.items[0].place.path, (unsigned long long)totals.keys_all,
           (double)run->crew.bytes / (1 << 20), manifest->part_count,
           backup_is_encrypted(&run->chain.items[0]) ? ", encrypted" : "");
    for (uint32_t i = 1; i < run->chain.count; i++)
        printf("verify: it stands on %s\n", run->chain.items[i].place.path);
    return STATUS_OK;
}

int backup_verify(const struct cli_options *options, const char *path)
{
    struct verify_run *run = memory_allocate_zero(sizeof(*run));
    struct backup_secret secret = {0};
    struct error error;

    crew_init(&run->crew, run);
    enum status status = backup_secret_find(options->passphrase_file, &secret, &error);
    if (status == STATUS_OK)
        status = backup_chain_open(path, options->backup_base, &secret, &run->chain, &error);
    if (status == STATUS_OK) status = verify_all(run, options->backup_streams, &error);
    if (status) fprintf(stderr, "holon: error: %s\n", error.text);
    backup_chain_close(&run->chain);
    backup_secret_forget(&secret);
    crew_free(&run->crew);
    memory_free(run);
    return status ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}
