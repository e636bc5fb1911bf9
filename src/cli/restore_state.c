/* restore_state.c - how far a restore has come, beside the backup: one file for each cluster. */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/restore_run.h"

enum { STATE_SIZE_MAX = 16 << 20 };

/* Beside, and not in it: a backup may be on a medium of its own. */
static void state_path(const struct restore_run *run, char ret_path[PLACE_FILE_SIZE + 80])
{
    snprintf(ret_path, PLACE_FILE_SIZE + 80, "%s.restore-%s", run->chain.items[0].place.path,
             run->cluster);
}

static int append_text(const char *text, size_t size, void *context)
{
    return buffer_append(context, bytes_make(text, size)) == STATUS_OK ? 0 : -1;
}

static json_t *part_json(const struct restore_part *part)
{
    json_t *object = json_object(), *expiring = json_array();

    json_object_set_new(object, "done", json_boolean(part->done));
    json_object_set_new(object, "begun", json_boolean(part->begun));
    json_object_set_new(object, "keys", json_integer((json_int_t)part->keys));
    json_object_set_new(object, "expiring", expiring);
    for (int i = 0; i < EXPORT_DATABASES; i++)
        json_array_append_new(expiring, json_integer((json_int_t)part->expiring[i]));
    return object;
}

enum status restore_save(struct restore_run *run, struct error *error)
{
    const struct backup_manifest *manifest = &run->chain.items[0].manifest;
    char path[PLACE_FILE_SIZE + 80];
    json_t *object = json_object(), *parts = json_array();
    struct buffer text;

    json_object_set_new(object, "backup", json_string(manifest->id));
    json_object_set_new(object, "cluster", json_string(run->cluster));
    json_object_set_new(object, "parts", parts);
    for (uint32_t i = 0; i < manifest->part_count; i++)
        json_array_append_new(parts, part_json(&run->parts[i]));
    buffer_init(&text, STATE_SIZE_MAX);
    bool dumped = json_dump_callback(object, append_text, &text, JSON_COMPACT) == 0;
    state_path(run, path);
    enum status status = dumped ? file_replace(path, buffer_bytes(&text), error)
                                : error_set(error, STATUS_FULL, "%s would be too large", path);
    buffer_free(&text);
    json_decref(object);
    return status;
}

void restore_forget(const struct restore_run *run)
{
    char path[PLACE_FILE_SIZE + 80];

    state_path(run, path);
    unlink(path);
}

static bool take_part(const json_t *object, struct restore_part *part)
{
    const json_t *expiring = json_object_get(object, "expiring");
    json_int_t keys = json_integer_value(json_object_get(object, "keys"));

    if (!json_is_object(object) || keys < 0 || json_array_size(expiring) != EXPORT_DATABASES)
        return false;
    part->done = json_is_true(json_object_get(object, "done"));
    part->begun = json_is_true(json_object_get(object, "begun"));
    part->keys = (uint64_t)keys;
    for (size_t i = 0; i < EXPORT_DATABASES; i++)
        part->expiring[i] = (uint64_t)json_integer_value(json_array_get(expiring, i));
    return true;
}

static bool take_state(struct restore_run *run, const json_t *object)
{
    const struct backup_manifest *manifest = &run->chain.items[0].manifest;
    const char *id = json_string_value(json_object_get(object, "backup"));
    const json_t *parts = json_object_get(object, "parts");

    bool same =
        id && strcmp(id, manifest->id) == 0 && json_array_size(parts) == manifest->part_count;
    for (uint32_t i = 0; same && i < manifest->part_count; i++)
        same = take_part(json_array_get(parts, i), &run->parts[i]);
    return same;
}

enum status restore_load(struct restore_run *run, struct error *error)
{
    char path[PLACE_FILE_SIZE + 80];
    struct buffer text;

    state_path(run, path);
    if (!file_exists(path)) return STATUS_OK;
    buffer_init(&text, STATE_SIZE_MAX);
    enum status status = file_read_small(path, &text, error);
    if (status == STATUS_OK) {
        json_t *object = json_loadb((const char *)buffer_bytes(&text).data, buffer_size(&text),
                                    JSON_REJECT_DUPLICATES, NULL);
        run->resumed = object != NULL && take_state(run, object);
        json_decref(object);
        if (!run->resumed)
            status = error_set(error, STATUS_CORRUPT,
                               "%s is damaged, or of another backup: remove it, and give "
                               "--overwrite to begin anew",
                               path);
    }
    buffer_free(&text);
    return status;
}
