#include "cli/backup_manifest.h"

#include <jansson.h>
#include <stdio.h>

#include "base/memory.h"
#include "cluster/join_token.h"

enum { SUM_TEXT_SIZE = 33, FORMAT = 1 };

void backup_manifest_free(struct backup_manifest *manifest)
{
    memory_free(manifest->parts);
    memory_free(manifest->earlier);
    manifest->parts = manifest->earlier = NULL;
    manifest->part_count = 0;
}

void backup_manifest_totals(const struct backup_manifest *manifest, struct backup_totals *ret)
{
    *ret = (struct backup_totals){0};
    for (uint32_t i = 0; i < manifest->part_count; i++) {
        const struct backup_part *part = &manifest->parts[i];
        for (int database = 0; database < EXPORT_DATABASES; database++)
            ret->keys[database] += part->keys[database];
        ret->keys_all += part->keys_all;
        ret->same += part->same;
        ret->locks += part->locks;
        ret->record_bytes += part->record_bytes;
        ret->file_bytes += part->file_bytes;
        if (part->version > ret->token_max) ret->token_max = part->version;
        if (part->token_max > ret->token_max) ret->token_max = part->token_max;
    }
}

/* --- writing -------------------------------------------------------------------------------- */

static void put(json_t *object, const char *name, uint64_t number)
{
    json_object_set_new(object, name, json_integer((json_int_t)number));
}

static json_t *part_json(const struct backup_part *part)
{
    json_t *object = json_object(), *keys = json_array();
    uint8_t sum[16];
    char text[SUM_TEXT_SIZE];

    put(object, "slot_first", part->slot_first);
    put(object, "slot_last", part->slot_last);
    json_object_set_new(object, "keys_by_database", keys);
    for (int database = 0; database < EXPORT_DATABASES; database++)
        json_array_append_new(keys, json_integer((json_int_t)part->keys[database]));
    json_object_set_new(object, "done", json_boolean(part->done));
    put(object, "version", part->version);
    put(object, "since", part->since);
    put(object, "keys", part->keys_all);
    put(object, "same", part->same);
    put(object, "locks", part->locks);
    put(object, "token_max", part->token_max);
    put(object, "record_bytes", part->record_bytes);
    put(object, "file_offset", part->file_offset);
    put(object, "file_bytes", part->file_bytes);
    memcpy(sum, &part->sum.low, 8);
    memcpy(sum + 8, &part->sum.high, 8);
    hex_print(bytes_make(sum, sizeof(sum)), text);
    json_object_set_new(object, "sum", json_string(text));
    return object;
}

static int append_text(const char *text, size_t size, void *context)
{
    return buffer_append(context, bytes_make(text, size)) == STATUS_OK ? 0 : -1;
}

bool backup_manifest_encode(const struct backup_manifest *manifest, struct buffer *out)
{
    json_t *object = json_object(), *parts = json_array();

    put(object, "format", FORMAT);
    json_object_set_new(object, "id", json_string(manifest->id));
    json_object_set_new(object, "cluster", json_string(manifest->cluster));
    json_object_set_new(object, "snapshot", json_string(manifest->snapshot));
    json_object_set_new(object, "holon", json_string(manifest->holon));
    json_object_set_new(object, "base_id", json_string(manifest->base_id));
    /* A path that is no UTF-8 cannot be told: it is only where to look first. */
    json_t *base_path = json_string(manifest->base_path);
    json_object_set_new(object, "base_path", base_path ? base_path : json_string(""));
    if (manifest->header[0]) json_object_set_new(object, "header", json_string(manifest->header));
    put(object, "cut_ms", (uint64_t)manifest->cut_ms);
    json_object_set_new(object, "parts", parts);
    for (uint32_t i = 0; i < manifest->part_count; i++)
        json_array_append_new(parts, part_json(&manifest->parts[i]));
    json_t *earlier = manifest->earlier ? json_array() : NULL;
    if (earlier) json_object_set_new(object, "earlier", earlier);
    for (uint32_t i = 0; earlier && i < manifest->part_count; i++)
        json_array_append_new(earlier, part_json(&manifest->earlier[i]));
    bool written = json_dump_callback(object, append_text, out, JSON_INDENT(1)) == 0;
    json_decref(object);
    return written;
}

/* --- reading -------------------------------------------------------------------------------- */

static bool take_text(const json_t *object, const char *name, char *ret_text, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));

    if (text == NULL || strlen(text) >= size) return false;
    memcpy(ret_text, text, strlen(text) + 1);
    return true;
}

static bool take_number(const json_t *object, const char *name, uint64_t *ret_number)
{
    const json_t *number = json_object_get(object, name);

    if (!json_is_integer(number) || json_integer_value(number) < 0) return false;
    *ret_number = (uint64_t)json_integer_value(number);
    return true;
}

static bool take_keys(const json_t *object, struct backup_part *part)
{
    const json_t *keys = json_object_get(object, "keys_by_database");
    uint64_t sum = 0;

    if (json_array_size(keys) != EXPORT_DATABASES) return false;
    for (size_t database = 0; database < EXPORT_DATABASES; database++) {
        const json_t *number = json_array_get(keys, database);
        if (!json_is_integer(number) || json_integer_value(number) < 0) return false;
        part->keys[database] = (uint64_t)json_integer_value(number);
        sum += part->keys[database];
    }
    return take_number(object, "keys", &part->keys_all) && sum == part->keys_all;
}

static bool take_sum(const json_t *object, struct backup_part *part)
{
    uint8_t sum[16];
    char text[SUM_TEXT_SIZE];

    if (!take_text(object, "sum", text, sizeof(text)) ||
        !hex_parse(bytes_of(text), sum, sizeof(sum)))
        return false;
    memcpy(&part->sum.low, sum, 8);
    memcpy(&part->sum.high, sum + 8, 8);
    return true;
}

static bool take_part(const json_t *object, struct backup_part *part)
{
    uint64_t first, last;
    bool taken =
        take_number(object, "slot_first", &first) && take_number(object, "slot_last", &last) &&
        take_keys(object, part) && take_number(object, "version", &part->version) &&
        take_number(object, "since", &part->since) && take_number(object, "same", &part->same) &&
        take_number(object, "locks", &part->locks) &&
        take_number(object, "token_max", &part->token_max) &&
        take_number(object, "record_bytes", &part->record_bytes) &&
        take_number(object, "file_offset", &part->file_offset) &&
        take_number(object, "file_bytes", &part->file_bytes) && take_sum(object, part);

    if (!taken || first > last || last >= SLOT_COUNT) return false;
    part->slot_first = (uint32_t)first;
    part->slot_last = (uint32_t)last;
    part->done = json_is_true(json_object_get(object, "done"));
    return true;
}

/* All slots, each in one of them. */
static bool take_parts(const json_t *array, size_t count, struct backup_part **ret_parts)
{
    uint32_t next = 0;

    if (count == 0 || count > MANIFEST_PARTS_MAX || json_array_size(array) != count) return false;
    struct backup_part *parts = memory_allocate_zero(count * sizeof(parts[0]));
    *ret_parts = parts;
    for (size_t i = 0; i < count; i++) {
        if (!take_part(json_array_get(array, i), &parts[i]) || parts[i].slot_first != next)
            return false;
        next = parts[i].slot_last + 1;
    }
    return next == SLOT_COUNT;
}

static bool take_all(const json_t *object, struct backup_manifest *manifest)
{
    const json_t *parts = json_object_get(object, "parts");
    const json_t *earlier = json_object_get(object, "earlier");
    size_t count = json_array_size(parts);
    uint64_t cut_ms;

    bool taken = take_text(object, "id", manifest->id, sizeof(manifest->id)) &&
                 take_text(object, "cluster", manifest->cluster, sizeof(manifest->cluster)) &&
                 take_text(object, "snapshot", manifest->snapshot, sizeof(manifest->snapshot)) &&
                 take_text(object, "holon", manifest->holon, sizeof(manifest->holon)) &&
                 take_text(object, "base_id", manifest->base_id, sizeof(manifest->base_id)) &&
                 take_text(object, "base_path", manifest->base_path, sizeof(manifest->base_path)) &&
                 take_number(object, "cut_ms", &cut_ms) &&
                 take_parts(parts, count, &manifest->parts) &&
                 (earlier == NULL || take_parts(earlier, count, &manifest->earlier));
    if (!taken) return false;
    manifest->part_count = (uint32_t)count;
    manifest->cut_ms = (int64_t)cut_ms;
    take_text(object, "header", manifest->header, sizeof(manifest->header));
    return true;
}

enum status backup_manifest_decode(struct bytes text, struct backup_manifest *ret_manifest,
                                   struct error *error)
{
    struct backup_manifest manifest = {0};
    json_error_t wrong;
    uint64_t format;
    json_t *object = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &wrong);
    enum status status = STATUS_OK;

    if (object == NULL)
        return error_set(error, STATUS_CORRUPT, "line %d: %s", wrong.line, wrong.text);
    if (!take_number(object, "format", &format))
        status = error_set(error, STATUS_CORRUPT, "it names no format");
    else if (format != FORMAT)
        status = error_set(error, STATUS_VERSION,
                           "it has format %llu, and this version of Holon reads %d",
                           (unsigned long long)format, FORMAT);
    else if (!take_all(object, &manifest))
        status = error_set(error, STATUS_CORRUPT, "something is missing in it, or makes no sense");
    json_decref(object);
    if (status == STATUS_OK)
        *ret_manifest = manifest;
    else
        backup_manifest_free(&manifest);
    return status;
}
