#include <stdio.h>

#include "base/parse.h"
#include "cli/backup_run.h"
#include "base/memory.h"

static enum status not_understood(const struct link *link, const char *what, struct error *error)
{
    return error_set(error, STATUS_INVALID,
                     "%s answers %s in a way that this version does not know: is it Holon, and not "
                     "an older version?",
                     link->node, what);
}

/* The line "name:value" of INFO. */
static bool find_line(struct bytes text, const char *name, char *ret_value, size_t size)
{
    size_t name_size = strlen(name);

    for (size_t at = 0; at + name_size < text.size; at++) {
        bool starts = at == 0 || text.data[at - 1] == '\n';
        if (!starts || memcmp(text.data + at, name, name_size) != 0) continue;
        const char *value = (const char *)text.data + at + name_size;
        size_t value_size = 0, left = text.size - at - name_size;
        while (value_size < left && value[value_size] != '\r' && value[value_size] != '\n')
            value_size++;
        if (value_size >= size) return false;
        memcpy(ret_value, value, value_size);
        ret_value[value_size] = 0;
        return true;
    }
    return false;
}

enum status backup_find_cluster(struct link *link, char ret_cluster[MANIFEST_NAME_SIZE],
                                struct error *error)
{
    redisReply *reply;

    enum status status = link_words(link, &reply, error, "INFO", "server", NULL);
    if (status) return status;
    ret_cluster[0] = 0;
    if (reply->type == REDIS_REPLY_STRING)
        find_line(link_text(reply), "holon_cluster_id:", ret_cluster, MANIFEST_NAME_SIZE);
    freeReplyObject(reply);
    return STATUS_OK;
}

/* --- the snapshot ---------------------------------------------------------------------------- */

static bool reply_number(const redisReply *reply, int64_t *ret_number)
{
    if (reply->type == REDIS_REPLY_INTEGER) *ret_number = reply->integer;
    if (reply->type == REDIS_REPLY_INTEGER) return true;
    return reply->type == REDIS_REPLY_STRING && parse_i64(link_text(reply), ret_number);
}

static enum status take_info(struct backup_run *run, struct error *error)
{
    redisReply *reply;
    int64_t time_ms = 0;

    enum status status = link_words(&run->control, &reply, error, "HOLON.SNAPSHOT", "INFO", NULL);
    if (status) return status;
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i + 1 < reply->elements; i += 2) {
        const redisReply *name = reply->element[i];
        bool is_time = name->type == REDIS_REPLY_STRING && strcmp(name->str, "time") == 0;
        if (is_time) reply_number(reply->element[i + 1], &time_ms);
    }
    freeReplyObject(reply);
    if (time_ms <= 0) return not_understood(&run->control, "HOLON.SNAPSHOT INFO", error);
    run->manifest.cut_ms = time_ms;
    return STATUS_OK;
}

enum status backup_use_snapshot(struct backup_run *run, struct error *error)
{
    redisReply *reply;

    enum status status = link_words(&run->control, &reply, error, "HOLON.SNAPSHOT", "USE",
                                    run->manifest.snapshot, NULL);
    if (status == STATUS_INVALID) return STATUS_NOT_FOUND;
    if (status == STATUS_OK) freeReplyObject(reply);
    return status;
}

enum status backup_open_snapshot(struct backup_run *run, struct error *error)
{
    char seconds[16];
    redisReply *reply;

    run->control.use = NULL; /* of an earlier one */
    snprintf(seconds, sizeof(seconds), "%d", BACKUP_SNAPSHOT_S);
    enum status status =
        link_words(&run->control, &reply, error, "HOLON.SNAPSHOT", "OPEN", "EX", seconds, NULL);
    if (status) return status;
    bool taken = (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS) &&
                 reply->len > 0 && reply->len < MANIFEST_NAME_SIZE;
    if (taken) memcpy(run->manifest.snapshot, reply->str, reply->len + 1);
    /* On another connection nothing would be read at it, or at one that is closed by now. */
    if (taken) run->control.use = run->manifest.snapshot;
    freeReplyObject(reply);
    return taken ? take_info(run, error)
                 : not_understood(&run->control, "HOLON.SNAPSHOT OPEN", error);
}

void backup_close_snapshot(struct backup_run *run)
{
    struct bytes words[] = {bytes_of("HOLON.SNAPSHOT"), bytes_of("CLOSE")};
    redisReply *reply;
    struct error error;

    if (run->control.context == NULL) return;
    if (link_try(&run->control, words, 2, &reply, &error) == STATUS_OK) freeReplyObject(reply);
    link_close(&run->control);
}

/* --- partitions ------------------------------------------------------------------------------ */

enum status export_answer_take(const redisReply *reply, struct export_answer *ret_answer,
                               struct error *error)
{
    static const int types[] = {REDIS_REPLY_STRING, REDIS_REPLY_INTEGER, REDIS_REPLY_INTEGER,
                                REDIS_REPLY_INTEGER, REDIS_REPLY_STRING};
    bool right = reply->type == REDIS_REPLY_ARRAY && reply->elements == 5;

    for (size_t i = 0; right && i < 5; i++)
        right = reply->element[i]->type == types[i];
    if (right) {
        int64_t version = reply->element[1]->integer, first = reply->element[2]->integer,
                last = reply->element[3]->integer;
        *ret_answer = (struct export_answer){.cursor = link_text(reply->element[0]),
                                             .version = (uint64_t)version,
                                             .slot_first = (uint32_t)first,
                                             .slot_last = (uint32_t)last,
                                             .records = link_text(reply->element[4])};
        right = version >= 0 && first >= 0 && first <= last && last < SLOT_COUNT &&
                ret_answer->records.size <= BACKUP_REPLY_MAX;
    }
    return right ? STATUS_OK
                 : error_set(error, STATUS_INVALID,
                             "the answer to HOLON.EXPORT is not what this version knows");
}

static enum status find_part(struct backup_run *run, uint32_t slot, struct backup_part *part,
                             struct error *error)
{
    struct export_answer answer = {0};
    char text[16];
    redisReply *reply;

    snprintf(text, sizeof(text), "%u", slot);
    enum status status =
        link_words(&run->control, &reply, error, "HOLON.EXPORT", text, "", "BYTES", "1", NULL);
    if (status) return status;
    status = export_answer_take(reply, &answer, error);
    freeReplyObject(reply);
    if (status) return status;
    if (answer.slot_first != slot)
        return error_set(error, STATUS_INVALID, "slot %u is not where its partition begins", slot);
    *part = (struct backup_part){
        .slot_first = answer.slot_first, .slot_last = answer.slot_last, .version = answer.version};
    return STATUS_OK;
}

enum status backup_find_parts(struct backup_run *run, struct error *error)
{
    struct backup_manifest *manifest = &run->manifest;

    manifest->parts = memory_allocate_zero(MANIFEST_PARTS_MAX * sizeof(manifest->parts[0]));
    manifest->part_count = 0;
    for (uint32_t slot = 0; slot < SLOT_COUNT;) {
        struct backup_part *part = &manifest->parts[manifest->part_count];
        enum status status = find_part(run, slot, part, error);
        if (status) return status;
        manifest->part_count++;
        slot = part->slot_last + 1;
    }
    return STATUS_OK;
}
