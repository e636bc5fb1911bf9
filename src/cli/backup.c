/* holon backup - the whole cluster as of one instant, in a directory or a file. */
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/backup_run.h"
#include "cli/backup_writer.h"
#include "cli/commands.h"
#include "cluster/join_token.h"

enum { TIME_SIZE = 32 };

/* --- what there is --------------------------------------------------------------------------- */

static enum status load_state(struct backup_run *run, struct error *error)
{
    char path[PLACE_FILE_SIZE];
    uint8_t header[BACKUP_HEADER_SIZE];
    struct buffer text;
    struct error cause;

    backup_place_file(&run->place, PLACE_STATE, path);
    if (!file_exists(path)) return STATUS_OK;
    buffer_init(&text, MANIFEST_SIZE_MAX);
    enum status status = file_read_small(path, &text, error);
    if (status == STATUS_OK) {
        status = backup_manifest_decode(buffer_bytes(&text), &run->manifest, &cause);
        if (status == STATUS_OK &&
            hex_parse(bytes_of(run->manifest.header), header, sizeof(header)))
            status = backup_header_decode(bytes_make(header, sizeof(header)), &run->header, &cause);
        else if (status == STATUS_OK)
            status = error_set(&cause, STATUS_CORRUPT, "it has no header");
        if (status)
            error_set(error, status, "%s: %s. Remove %s to begin anew", path, cause.text,
                      run->place.work);
    }
    buffer_free(&text);
    run->resumed = status == STATUS_OK;
    return status;
}

static enum status open_base(struct backup_run *run, struct error *error)
{
    const char *path = run->options->backup_base;

    if (path[0] == 0) return STATUS_OK;
    return backup_whole_open(path, &run->secret, &run->base, error);
}

/* A key for those parts that are there, or a new one. */
static enum status make_key(struct backup_run *run, struct error *error)
{
    bool encrypted = run->resumed ? run->header.encryption != BACKUP_PLAIN
                                  : run->secret.given || run->options->backup_encrypt;

    if (run->resumed && !encrypted && (run->secret.given || run->options->backup_encrypt))
        return error_set(error, STATUS_INVALID,
                         "the unfinished backup in %s is not encrypted, and %s is given: "
                         "remove it to begin anew",
                         run->place.work, run->secret.given ? "a passphrase" : "--encrypt");
    if (!encrypted) return STATUS_OK;
    if (run->options->backup_base[0] && !backup_is_encrypted(&run->base))
        return error_set(error, STATUS_REFUSED,
                         "%s is not encrypted, and no encrypted backup stands on a plain one: make "
                         "a whole one, without --incremental",
                         run->options->backup_base);
    if (!run->secret.given) {
        enum status status = backup_secret_ask(run->place.path, !run->resumed, &run->secret, error);
        if (status) return status;
    }
    if (!run->resumed) {
        run->header.encryption = BACKUP_AES_256_GCM;
        run->header.scrypt_log_n = BACKUP_SCRYPT_LOG_N;
        run->header.scrypt_r = BACKUP_SCRYPT_R;
        run->header.scrypt_p = BACKUP_SCRYPT_P;
        backup_random(run->header.salt, sizeof(run->header.salt));
    }
    enum status status =
        backup_key_derive(backup_secret_bytes(&run->secret), &run->header, &run->key, error);
    if (status) return status;
    if (!run->resumed) backup_key_set_check(&run->key, &run->header);
    if (backup_key_is_right(&run->key, &run->header)) return STATUS_OK;
    return error_set(error, STATUS_REFUSED,
                     "the unfinished backup in %s has another passphrase: remove it to begin anew",
                     run->place.work);
}

static enum status check_cluster(struct backup_run *run, struct error *error)
{
    const char *base_id = run->base.manifest.id;
    char cluster[MANIFEST_NAME_SIZE];

    enum status status = backup_find_cluster(&run->control, cluster, error);
    if (status) return status;
    if (run->options->backup_base[0] && strcmp(run->base.manifest.cluster, cluster) != 0)
        return error_set(error, STATUS_INVALID,
                         "%s is a backup of cluster %s, and %s is of cluster %s: what was written "
                         "since can only be told of one cluster",
                         run->options->backup_base, run->base.manifest.cluster,
                         run->options->backup_node, cluster);
    bool other = run->resumed && (strcmp(run->manifest.cluster, cluster) != 0 ||
                                  strcmp(run->manifest.base_id, base_id) != 0);
    if (other)
        return error_set(error, STATUS_INVALID,
                         "the unfinished backup in %s is of another cluster or stands on another "
                         "base: remove it to begin anew",
                         run->place.work);
    snprintf(run->manifest.cluster, sizeof(run->manifest.cluster), "%s", cluster);
    return STATUS_OK;
}

/* --- the beginning --------------------------------------------------------------------------- */

/* What an earlier run has read: parts of its snapshot, and those of runs before it that it had not
 * brought up to that yet. The caller's. */
static struct backup_part *take_earlier(struct backup_manifest *manifest, uint32_t *ret_count)
{
    struct backup_part *parts = manifest->parts;

    for (uint32_t i = 0; i < manifest->part_count; i++)
        if (!parts[i].done && manifest->earlier) parts[i] = manifest->earlier[i];
    memory_free(manifest->earlier);
    *ret_count = manifest->part_count;
    manifest->parts = manifest->earlier = NULL;
    manifest->part_count = 0;
    return parts;
}

/* Those that can be brought up to the new snapshot; how many there are. */
static uint32_t keep_earlier(struct backup_manifest *manifest, struct backup_part *earlier,
                             uint32_t count)
{
    uint32_t kept = 0;
    bool same = count == manifest->part_count;

    for (uint32_t i = 0; same && i < count; i++) {
        const struct backup_part *now = &manifest->parts[i];
        same = earlier[i].slot_first == now->slot_first && earlier[i].slot_last == now->slot_last;
        earlier[i].done &= earlier[i].version > 0 && earlier[i].version <= now->version &&
                           earlier[i].since == now->since;
        kept += earlier[i].done;
    }
    if (same) manifest->earlier = earlier;
    if (!same) memory_free(earlier);
    return same ? kept : 0;
}

/* What was not written since the base need not be read. */
static enum status stand_on_base(struct backup_run *run, struct error *error)
{
    struct backup_manifest *ours = &run->manifest, *base = &run->base.manifest;
    char whole_path[PLACE_PATH_SIZE + 1];

    if (run->options->backup_base[0] == 0) return STATUS_OK;
    bool same = ours->part_count == base->part_count;
    for (uint32_t i = 0; same && i < ours->part_count; i++)
        same = ours->parts[i].slot_first == base->parts[i].slot_first &&
               ours->parts[i].version >= base->parts[i].version;
    if (!same)
        return error_set(error, STATUS_INVALID,
                         "the partitions are not those of %s any more: make a whole backup, "
                         "without --incremental",
                         run->options->backup_base);
    for (uint32_t i = 0; i < ours->part_count; i++)
        ours->parts[i].since = base->parts[i].version;
    memcpy(ours->base_id, base->id, sizeof(ours->base_id));
    const char *path = run->base.place.path;
    bool absolute = path[0] == '/' || getcwd(whole_path, sizeof(whole_path)) == NULL;
    int size = absolute ? snprintf(ours->base_path, PLACE_PATH_SIZE, "%s", path)
                        : snprintf(ours->base_path, PLACE_PATH_SIZE, "%s/%s", whole_path, path);
    if (size < 0 || size >= PLACE_PATH_SIZE) ours->base_path[0] = 0;
    return STATUS_OK;
}

static enum status begin_anew(struct backup_run *run, struct error *error)
{
    uint8_t header[BACKUP_HEADER_SIZE];
    struct backup_manifest *manifest = &run->manifest;
    uint32_t count;
    struct backup_part *earlier = take_earlier(manifest, &count);

    enum status status = backup_open_snapshot(run, error);
    if (status == STATUS_OK) status = backup_find_parts(run, error);
    if (status == STATUS_OK) status = stand_on_base(run, error);
    if (status) {
        memory_free(earlier);
        return status;
    }
    uint32_t kept = keep_earlier(manifest, earlier, count);
    if (kept > 0) printf("backup: of %u partitions only what was written since is read\n", kept);
    /* The id stays: files of both runs become one backup. */
    if (!run->resumed) backup_random(run->header.id, sizeof(run->header.id));
    hex_print(bytes_make(run->header.id, BACKUP_ID_SIZE), manifest->id);
    run->header.kind = BACKUP_MANIFEST;
    backup_header_encode(&run->header, header);
    hex_print(bytes_make(header, sizeof(header)), manifest->header);
    snprintf(manifest->holon, sizeof(manifest->holon), "%s", HOLON_VERSION);
    return backup_save_state(run, error);
}

static bool all_is_done(const struct backup_manifest *manifest)
{
    bool done = manifest->part_count > 0;

    for (uint32_t i = 0; i < manifest->part_count; i++)
        done &= manifest->parts[i].done;
    return done;
}

static uint32_t parts_done(const struct backup_manifest *manifest)
{
    uint32_t done = 0;

    for (uint32_t i = 0; i < manifest->part_count; i++)
        done += manifest->parts[i].done;
    return done;
}

/* The snapshot of an interrupted run ends with its connection: it is there still only if that has
 * not been noticed, or if that run only could not write. */
static enum status go_on(struct backup_run *run, struct error *error)
{
    struct error cause;

    if (all_is_done(&run->manifest)) {
        printf("backup: all partitions were read by an earlier run\n");
        return STATUS_OK;
    }
    enum status status = backup_use_snapshot(run, &cause);
    if (status == STATUS_OK) {
        printf("backup: goes on with %u of %u partitions, at the same snapshot\n",
               parts_done(&run->manifest), run->manifest.part_count);
        return STATUS_OK;
    }
    if (status != STATUS_NOT_FOUND) {
        *error = cause;
        return status;
    }
    printf("backup: the snapshot of the unfinished run is closed: begins anew, with a new one\n");
    return begin_anew(run, error);
}

/* --- all of it ------------------------------------------------------------------------------- */

static void report(const struct backup_run *run)
{
    struct backup_totals totals;
    char cut[TIME_SIZE] = "";
    time_t seconds = (time_t)(run->manifest.cut_ms / 1000);
    struct tm utc;

    backup_manifest_totals(&run->manifest, &totals);
    if (gmtime_r(&seconds, &utc)) strftime(cut, sizeof(cut), "%Y-%m-%dT%H:%M:%SZ", &utc);
    printf("backup: whole, in %s: %llu keys as of %s, %u partitions, %.1f MiB in files of "
           "%.1f MiB%s\n",
           run->place.path, (unsigned long long)totals.keys_all, cut, run->manifest.part_count,
           (double)totals.record_bytes / (1 << 20), (double)totals.file_bytes / (1 << 20),
           run->header.encryption ? ", encrypted" : "");
    if (run->manifest.base_id[0])
        printf("backup: %llu keys are as in %s, and are only there\n",
               (unsigned long long)totals.same, run->options->backup_base);
}

static enum status run_all(struct backup_run *run, const char *path, struct error *error)
{
    enum status status = backup_place_to_write(path, &run->place, error);

    if (status == STATUS_OK)
        status = backup_secret_find(run->options->passphrase_file, &run->secret, error);
    if (status == STATUS_OK) status = load_state(run, error);
    if (status == STATUS_OK) status = open_base(run, error);
    if (status == STATUS_OK) status = make_key(run, error);
    if (status == STATUS_OK) status = check_cluster(run, error);
    if (status == STATUS_OK) status = run->resumed ? go_on(run, error) : begin_anew(run, error);
    if (status == STATUS_OK) status = backup_make_parts(run, error);
    backup_close_snapshot(run);
    if (status == STATUS_OK) status = backup_finish(run, error);
    if (status == STATUS_OK) report(run);
    return status;
}

static int make_backup(const struct cli_options *options, const char *path)
{
    struct backup_run *run = memory_allocate_zero(sizeof(*run));
    struct error error;

    run->options = options;
    link_init(&run->control, options->backup_node);
    crew_init(&run->crew, run);
    enum status status = run_all(run, path, &error);
    if (status) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        if (run->place.made) rmdir(run->place.work); /* if nothing came into it */
        if (run->manifest.snapshot[0])
            fprintf(stderr, "holon: the backup is not finished: run the same command again\n");
    }
    crew_free(&run->crew);
    backup_whole_close(&run->base);
    backup_place_unlock(&run->place);
    OPENSSL_cleanse(&run->key, sizeof(run->key));
    backup_manifest_free(&run->manifest);
    backup_secret_forget(&run->secret);
    memory_free(run);
    return status ? EXIT_CODE_FAILED : EXIT_CODE_OK;
}

int command_backup(const struct cli_options *options)
{
    bool verifies = options->word_count > 0 && strcmp(options->words[0], "verify") == 0;

    signal(SIGPIPE, SIG_IGN); /* a lost connection is an error of write() */
    if (verifies && options->word_count == 2) return backup_verify(options, options->words[1]);
    if (!verifies && options->word_count == 1) return make_backup(options, options->words[0]);
    fprintf(stderr, "holon: error: usage: holon backup DIR|FILE [OPTIONS], or holon backup verify "
                    "DIR|FILE (a directory of that name: ./verify)\n");
    return EXIT_CODE_USAGE;
}
