/* restore_target.c - questions to the cluster that is restored into. */
#include <stdio.h>
#include <string.h>

#include "cli/restore_run.h"

enum { NUMBER_SIZE = 24, SLOTS_AT_ONCE = 128, COMMANDS_MAX = SLOTS_AT_ONCE * 128 };

static enum status size_of(struct link *link, unsigned database, uint64_t *ret_size,
                           struct error *error)
{
    char text[NUMBER_SIZE];
    redisReply *reply;
    uint32_t connection;

    snprintf(text, sizeof(text), "%u", database);
    do { /* again, if it was another connection that answered */
        enum status status = link_words(link, &reply, error, "SELECT", text, NULL);
        if (status) return status;
        freeReplyObject(reply);
        connection = link->connections;
        status = link_words(link, &reply, error, "DBSIZE", NULL);
        if (status) return status;
        *ret_size = reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
        freeReplyObject(reply);
    } while (connection != link->connections);
    return STATUS_OK;
}

enum status restore_sizes(struct link *link, uint64_t ret_sizes[EXPORT_DATABASES],
                          struct error *error)
{
    for (unsigned database = 0; database < EXPORT_DATABASES; database++) {
        enum status status = size_of(link, database, &ret_sizes[database], error);
        if (status) return status;
    }
    return STATUS_OK;
}

static enum status raise_tokens_of(struct link *link, unsigned first, unsigned end,
                                   const char *value, struct error *error)
{
    char slot[NUMBER_SIZE];
    struct buffer commands;

    buffer_init(&commands, COMMANDS_MAX);
    for (unsigned i = first; i < end; i++) {
        snprintf(slot, sizeof(slot), "%u", i);
        struct bytes words[] = {bytes_of("HOLON.TOKENFLOOR"), bytes_of(slot), bytes_of(value)};
        link_append(&commands, words, 3);
    }
    enum status status = link_send_all(link, buffer_bytes(&commands), end - first, error);
    buffer_free(&commands);
    return status;
}

/* Tokens that are given from now on are greater than any that the backup knows of. Partitions are
 * not told to clients, but each slot is of one. */
enum status restore_raise_tokens(struct restore_run *run, struct error *error)
{
    char value[NUMBER_SIZE];
    redisReply *reply;
    struct error cause;

    uint64_t floor = run->totals.token_max;
    if (floor > RESTORE_FLOOR_MAX) {
        floor = RESTORE_FLOOR_MAX;
        printf("restore: the backup has a fencing token of %llu, and a cluster begins again at "
               "2^62 at most: later tokens may be less than that of the backup\n",
               (unsigned long long)run->totals.token_max);
    }
    snprintf(value, sizeof(value), "%llu", (unsigned long long)floor);
    enum status status =
        link_words(&run->control, &reply, &cause, "HOLON.TOKENFLOOR", "0", value, NULL);
    bool unknown = status == STATUS_INVALID && strstr(cause.text, "unknown command") != NULL;
    if (unknown && run->totals.locks == 0) {
        printf("restore: this cluster has no locks; later tokens need not be greater\n");
        return STATUS_OK;
    }
    if (status == STATUS_OK) freeReplyObject(reply);
    for (unsigned slot = 1; slot < SLOT_COUNT && status == STATUS_OK; slot += SLOTS_AT_ONCE) {
        unsigned end = slot + SLOTS_AT_ONCE < SLOT_COUNT ? slot + SLOTS_AT_ONCE : SLOT_COUNT;
        status = raise_tokens_of(&run->control, slot, end, value, &cause);
    }
    if (status == STATUS_OK) return status;
    return error_set(error, status, "cannot raise the fencing tokens to those of the backup: %s",
                     cause.text);
}
