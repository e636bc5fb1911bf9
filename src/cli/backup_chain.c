#include "cli/backup_chain.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster/join_token.h"

/* --- one ------------------------------------------------------------------------------------ */

/* Of one FILE: what its last bytes say. */
static enum status find_manifest(const struct backup_place *place, char ret_path[PLACE_FILE_SIZE],
                                 uint64_t *ret_offset, uint64_t *ret_size, struct error *error)
{
    uint8_t trailer[BACKUP_TRAILER_SIZE];
    struct stat found;
    int fd;

    *ret_offset = *ret_size = 0;
    if (!place->single) {
        backup_place_file(place, PLACE_MANIFEST, ret_path);
        return STATUS_OK;
    }
    snprintf(ret_path, PLACE_FILE_SIZE, "%s", place->path);
    enum status status = file_open_regular(place->path, &fd, error);
    if (status) return status;
    uint64_t size = fstat(fd, &found) == 0 ? (uint64_t)found.st_size : 0;
    bool read = size >= BACKUP_TRAILER_SIZE &&
                pread(fd, trailer, sizeof(trailer), (off_t)(size - BACKUP_TRAILER_SIZE)) ==
                    (ssize_t)sizeof(trailer);
    close(fd);
    bool right =
        read && backup_trailer_decode(bytes_make(trailer, sizeof(trailer)), ret_offset, ret_size);
    uint64_t end = size - BACKUP_TRAILER_SIZE;
    if (!right || *ret_size == 0 || *ret_offset > end || end - *ret_offset != *ret_size)
        return error_set(error, STATUS_CORRUPT,
                         "%s: offset %llu: this is no backup of Holon, or its end is cut off",
                         place->path, (unsigned long long)(read ? end : 0));
    return STATUS_OK;
}

/* Who has a passphrase expects what only those can have written who know it. Those that an
 * encrypted one stands on are opened after it, with its passphrase. */
static enum status check_may_be_plain(const struct backup_whole *whole,
                                      const struct backup_secret *secret, struct error *error)
{
    if (!secret->given) return STATUS_OK;
    return error_set(error, STATUS_REFUSED,
                     "%s is not encrypted, and a passphrase is given: anybody may have written it. "
                     "If it is the right one, give no passphrase, nor " SECRET_VARIABLE,
                     whole->place.path);
}

static enum status make_key(struct backup_whole *whole, struct backup_secret *secret,
                            struct error *error)
{
    if (!backup_is_encrypted(whole)) return check_may_be_plain(whole, secret, error);
    if (!secret->given) {
        enum status status = backup_secret_ask(whole->place.path, false, secret, error);
        if (status) return status;
    }
    enum status status =
        backup_key_derive(backup_secret_bytes(secret), &whole->header, &whole->key, error);
    if (status) return status;
    if (backup_key_is_right(&whole->key, &whole->header)) return STATUS_OK;
    return error_set(error, STATUS_REFUSED, "%s: the passphrase is wrong", whole->place.path);
}

static enum status check_parts(const struct backup_whole *whole, uint64_t manifest_offset,
                               struct error *error)
{
    const struct backup_manifest *manifest = &whole->manifest;
    char path[PLACE_FILE_SIZE];
    struct stat found;
    uint64_t offset = 0;

    for (uint32_t i = 0; i < manifest->part_count; i++) {
        const struct backup_part *part = &manifest->parts[i];
        if (!part->done || part->file_bytes < BACKUP_HEADER_SIZE ||
            (part->since != 0 && manifest->base_id[0] == 0))
            return error_set(error, STATUS_CORRUPT, "%s: the manifest makes no sense at part %u",
                             whole->place.path, i);
        if (whole->place.single && part->file_offset != offset)
            return error_set(error, STATUS_CORRUPT, "%s: the manifest says that part %u is at %llu",
                             whole->place.path, i, (unsigned long long)part->file_offset);
        offset += part->file_bytes;
        if (whole->place.single) continue;
        backup_place_part(&whole->place, i, path);
        if (stat(path, &found) != 0)
            return error_set(error, STATUS_CORRUPT, "%s is missing, or cannot be read: %m", path);
        if ((uint64_t)found.st_size != part->file_bytes)
            return error_set(
                error, STATUS_CORRUPT, "%s: it has %llu bytes, and must have %llu by the manifest",
                path, (unsigned long long)found.st_size, (unsigned long long)part->file_bytes);
    }
    if (whole->place.single && offset != manifest_offset)
        return error_set(error, STATUS_CORRUPT,
                         "%s: offset %llu: something is between the parts "
                         "and the manifest",
                         whole->place.path, (unsigned long long)offset);
    return STATUS_OK;
}

static enum status read_manifest(struct backup_whole *whole, struct backup_reader *reader,
                                 struct error *error)
{
    struct bytes plain;
    struct buffer text;
    struct error cause;
    char id[MANIFEST_ID_TEXT];
    enum status status;

    buffer_init(&text, MANIFEST_SIZE_MAX);
    backup_reader_begin(reader, &whole->key);
    while ((status = backup_reader_next(reader, &plain, error)) == STATUS_OK) {
        if (buffer_append(&text, plain) == STATUS_OK) continue;
        status = backup_reader_wrong(reader, "the manifest is too large", error);
        break;
    }
    if (status == STATUS_NOT_FOUND) {
        status = backup_manifest_decode(buffer_bytes(&text), &whole->manifest, &cause);
        if (status) error_set(error, status, "%s: the manifest: %s", reader->path, cause.text);
    }
    buffer_free(&text);
    hex_print(bytes_make(whole->header.id, BACKUP_ID_SIZE), id);
    if (status == STATUS_OK && strcmp(id, whole->manifest.id) != 0)
        status =
            error_set(error, STATUS_CORRUPT, "%s: the manifest is of another backup", reader->path);
    return status;
}

enum status backup_whole_open(const char *path, struct backup_secret *secret,
                              struct backup_whole *ret_whole, struct error *error)
{
    char file[PLACE_FILE_SIZE];
    struct backup_reader reader = {.fd = -1};
    uint64_t offset, size;

    *ret_whole = (struct backup_whole){0};
    enum status status = backup_place_to_read(path, &ret_whole->place, error);
    if (status) return status;
    status = find_manifest(&ret_whole->place, file, &offset, &size, error);
    if (status) return status;
    status = backup_reader_open(&reader, file, offset, size, error);
    ret_whole->header = reader.header;
    if (status == STATUS_OK && reader.header.kind != BACKUP_MANIFEST)
        status = backup_reader_wrong(&reader, "this is no manifest", error);
    if (status == STATUS_OK) status = make_key(ret_whole, secret, error);
    if (status == STATUS_OK) status = read_manifest(ret_whole, &reader, error);
    if (status == STATUS_OK) status = check_parts(ret_whole, offset, error);
    backup_reader_close(&reader);
    if (status) backup_whole_close(ret_whole);
    return status;
}

void backup_whole_close(struct backup_whole *whole)
{
    backup_manifest_free(&whole->manifest);
    OPENSSL_cleanse(&whole->key, sizeof(whole->key));
}

/* --- the chain ------------------------------------------------------------------------------ */

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* `name` in the directory of `path`. */
static void beside(const char *path, const char *name, char ret_path[PLACE_PATH_SIZE])
{
    size_t size = (size_t)(last_name(path) - path);
    int printed = snprintf(ret_path, PLACE_PATH_SIZE, "%.*s%s", (int)size, path, name);

    if (printed < 0 || printed >= PLACE_PATH_SIZE) ret_path[0] = 0;
}

/* *ret_status: what is wrong with the one that is there. */
static bool try_base(const char *path, const char *id, struct backup_secret *secret,
                     struct backup_whole *ret_whole, enum status *ret_status, struct error *error)
{
    if (path[0] == 0 || !file_exists(path)) return false;
    *ret_status = backup_whole_open(path, secret, ret_whole, error);
    if (*ret_status) return false;
    if (strcmp(ret_whole->manifest.id, id) == 0) return true;
    backup_whole_close(ret_whole);
    return false;
}

static enum status open_base(const struct backup_whole *of, const char *base,
                             struct backup_secret *secret, struct backup_whole *ret_whole,
                             struct error *error)
{
    const struct backup_manifest *manifest = &of->manifest;
    char places[4][PLACE_PATH_SIZE];
    enum status status = STATUS_OK;

    snprintf(places[0], PLACE_PATH_SIZE, "%s", base);
    snprintf(places[1], PLACE_PATH_SIZE, "%s", manifest->base_path);
    beside(of->place.path, last_name(manifest->base_path), places[2]);
    beside(base, last_name(manifest->base_path), places[3]);
    for (int i = 0; i < 4; i++) {
        if (try_base(places[i], manifest->base_id, secret, ret_whole, &status, error))
            return STATUS_OK;
    }
    if (status) return status;
    return error_set(error, STATUS_NOT_FOUND,
                     "%s is what was written since backup %s, which is not there: it was %s; give "
                     "--base PATH",
                     of->place.path, manifest->base_id, manifest->base_path);
}

static enum status check_stands_on(const struct backup_whole *whole,
                                   const struct backup_whole *base, struct error *error)
{
    const struct backup_manifest *ours = &whole->manifest, *other = &base->manifest;
    bool same = ours->part_count == other->part_count && strcmp(ours->cluster, other->cluster) == 0;

    for (uint32_t i = 0; same && i < ours->part_count; i++)
        same = ours->parts[i].slot_first == other->parts[i].slot_first &&
               ours->parts[i].since == other->parts[i].version;
    if (same) return STATUS_OK;
    return error_set(error, STATUS_CORRUPT,
                     "%s does not stand on %s: partitions or versions differ", whole->place.path,
                     base->place.path);
}

enum status backup_chain_open(const char *path, const char *base, struct backup_secret *secret,
                              struct backup_chain *ret_chain, struct error *error)
{
    ret_chain->count = 0;
    enum status status = backup_whole_open(path, secret, &ret_chain->items[0], error);
    if (status) return status;
    ret_chain->count = 1;
    for (;;) {
        struct backup_whole *last = &ret_chain->items[ret_chain->count - 1];
        if (last->manifest.base_id[0] == 0) return STATUS_OK;
        if (ret_chain->count == BACKUP_CHAIN_MAX)
            status = error_set(error, STATUS_FULL, "more than %d backups stand on each other",
                               BACKUP_CHAIN_MAX);
        else
            status = open_base(last, base, secret, last + 1, error);
        if (status) break;
        ret_chain->count++;
        status = check_stands_on(last, last + 1, error);
        if (status) break;
    }
    backup_chain_close(ret_chain);
    return status;
}

void backup_chain_close(struct backup_chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++)
        backup_whole_close(&chain->items[i]);
    chain->count = 0;
}
