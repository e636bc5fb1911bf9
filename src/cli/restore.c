/* holon restore - a backup into a cluster of any number of nodes and partitions. */
#include <signal.h>
#include <stdio.h>

#include "base/memory.h"
#include "cli/backup_run.h"
#include "cli/commands.h"
#include "cli/restore_run.h"

static enum status find_target(struct restore_run *run, struct error *error)
{
    enum status status = backup_find_cluster(&run->control, run->cluster, error);

    if (status) return status;
    if (run->cluster[0] == 0)
        snprintf(run->cluster, sizeof(run->cluster), "%.60s", run->options->backup_node);
    return restore_load(run, error);
}

static enum status check_is_empty(struct restore_run *run, struct error *error)
{
    uint64_t sizes[EXPORT_DATABASES];

    if (run->resumed || run->options->backup_overwrite) return STATUS_OK;
    enum status status = restore_sizes(&run->control, sizes, error);
    if (status) return status;
    for (unsigned i = 0; i < EXPORT_DATABASES; i++) {
        if (sizes[i] == 0) continue;
        return error_set(error, STATUS_REFUSED,
                         "database %u of the cluster at %s has %llu keys: nothing was written. "
                         "Restore into an empty cluster, or give --overwrite to write over keys "
                         "of the same name and keep the others",
                         i, run->options->backup_node, (unsigned long long)sizes[i]);
    }
    return STATUS_OK;
}

/* Where the backup lies nothing can be written: it works all the same, but not in two runs. */
static void try_to_save(struct restore_run *run)
{
    struct error cause;

    run->saves = restore_save(run, &cause) == STATUS_OK;
    if (!run->saves)
        printf("restore: an interrupted run will have to begin anew, with --overwrite: %s\n",
               cause.text);
}

/* --- the end --------------------------------------------------------------------------------- */

static enum status report(struct restore_run *run, struct error *error)
{
    uint64_t sizes[EXPORT_DATABASES], missing_all = 0;
    const uint64_t *keys = run->totals.keys;

    enum status status = restore_sizes(&run->control, sizes, error);
    if (status) return status;
    printf("restore: database      in the backup    in the cluster\n");
    for (unsigned i = 0; i < EXPORT_DATABASES; i++) {
        uint64_t expiring = 0;
        for (uint32_t part = 0; part < run->chain.items[0].manifest.part_count; part++)
            expiring += run->parts[part].expiring[i];
        if (keys[i] == 0 && sizes[i] == 0) continue;
        uint64_t lasting = keys[i] > expiring ? keys[i] - expiring : 0;
        uint64_t missing = sizes[i] < lasting ? lasting - sizes[i] : 0;
        const char *note = missing              ? "  MISSING"
                           : sizes[i] > keys[i] ? "  others were there, or came"
                           : sizes[i] < keys[i] ? "  the rest has expired"
                                                : "";
        missing_all += missing;
        printf("restore: %8u  %17llu %17llu%s\n", i, (unsigned long long)keys[i],
               (unsigned long long)sizes[i], note);
    }
    if (missing_all == 0) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "%llu keys were written and are not there: does somebody else delete keys?",
                     (unsigned long long)missing_all);
}

static enum status run_all(struct restore_run *run, const char *path, struct error *error)
{
    const struct cli_options *options = run->options;

    enum status status = backup_secret_find(options->passphrase_file, &run->secret, error);
    if (status == STATUS_OK)
        status = backup_chain_open(path, options->backup_base, &run->secret, &run->chain, error);
    if (status) return status;
    uint32_t count = run->chain.items[0].manifest.part_count;
    run->parts = memory_allocate_zero(count * sizeof(run->parts[0]));
    backup_manifest_totals(&run->chain.items[0].manifest, &run->totals);
    status = find_target(run, error);
    if (status == STATUS_OK) status = check_is_empty(run, error);
    if (status) return status;
    if (run->resumed) printf("restore: goes on where an earlier run has stopped\n");
    status = restore_raise_tokens(run, error);
    if (status) return status;
    try_to_save(run);
    status = restore_write_parts(run, error);
    if (status) {
        if (run->saves)
            fprintf(stderr, "holon: the restore is not finished: run the same command again, it "
                            "goes on\n");
        return status;
    }
    status = report(run, error);
    restore_forget(run);
    if (status == STATUS_OK)
        printf("restore: all %llu keys were written\n", (unsigned long long)run->totals.keys_all);
    return status;
}

int command_restore(const struct cli_options *options)
{
    struct restore_run *run;
    struct error error;

    if (options->word_count != 1) {
        fprintf(stderr, "holon: error: usage: holon restore DIR|FILE [OPTIONS]\n");
        return EXIT_CODE_USAGE;
    }
    signal(SIGPIPE, SIG_IGN); /* a lost connection is an error of write() */
    run = memory_allocate_zero(sizeof(*run));
    run->options = options;
    link_init(&run->control, options->backup_node);
    crew_init(&run->crew, run);
    enum status status = run_all(run, options->words[0], &error);
    if (status) fprintf(stderr, "holon: error: %s\n", error.text);
    link_close(&run->control);
    crew_free(&run->crew);
    memory_free(run->parts);
    backup_chain_close(&run->chain);
    backup_secret_forget(&run->secret);
    memory_free(run);
    return status ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}
