#include "cli/backup_link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/parse.h"

enum { MS_PER_S = 1000, NS_PER_MS = 1000000, SHOWN_MAX = 300 };

void link_init(struct link *link, const char *node)
{
    *link = (struct link){.node = node};
}

void link_close(struct link *link)
{
    if (link->context) redisFree(link->context);
    link->context = NULL;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / NS_PER_MS;
}

static enum status lost(struct link *link, struct error *error)
{
    char cause[128];

    snprintf(cause, sizeof(cause), "%s", link->context->errstr);
    link_close(link);
    return error_set(error, STATUS_CLOSED, "the connection to %s ended: %s", link->node, cause);
}

static enum status ask(struct link *link, const struct bytes *arguments, size_t count,
                       redisReply **ret_reply, struct error *error)
{
    const char *texts[LINK_ARGUMENTS_MAX];
    size_t sizes[LINK_ARGUMENTS_MAX];

    ASSERT(count <= LINK_ARGUMENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        texts[i] = arguments[i].size ? (const char *)arguments[i].data : "";
        sizes[i] = arguments[i].size;
    }
    redisReply *reply = redisCommandArgv(link->context, (int)count, texts, sizes);
    if (reply == NULL) return lost(link, error);
    *ret_reply = reply;
    return STATUS_OK;
}

/* Replies that say: not now (docs/reference/errors.md). */
static bool is_temporary(const redisReply *reply)
{
    static const char *const words[] = {"BUSY ",  "UNAVAILABLE ", "UNKNOWN ",
                                        "STALE ", "MISCONF ",     "ERR max number of clients"};

    if (reply->type != REDIS_REPLY_ERROR) return false;
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strncmp(reply->str, words[i], strlen(words[i])) == 0) return true;
    return false;
}

static enum status begin_use(struct link *link, struct error *error)
{
    struct bytes words[] = {bytes_of("HOLON.SNAPSHOT"), bytes_of("USE"), bytes_of(link->use)};
    redisReply *reply = NULL;

    enum status status = ask(link, words, 3, &reply, error);
    if (status) return status;
    if (reply->type == REDIS_REPLY_ERROR) {
        status = is_temporary(reply) ? STATUS_TIMEOUT : STATUS_NOT_FOUND;
        error_set(error, status, "snapshot %s cannot be read any more: %.*s", link->use, SHOWN_MAX,
                  reply->str);
        link_close(link);
    }
    freeReplyObject(reply);
    return status;
}

static enum status connect_to(struct link *link, struct error *error)
{
    struct timeval limit = {.tv_sec = LINK_TIMEOUT_S};
    struct address address;

    if (!parse_address(bytes_of(link->node), false, &address))
        return error_set(error, STATUS_INVALID, "`%.100s` is no HOST:PORT", link->node);
    link->context = redisConnectWithTimeout(address.host, address.port, limit);
    if (link->context == NULL || link->context->err) {
        enum status status =
            error_set(error, STATUS_REFUSED, "nobody answers at %s: %s", link->node,
                      link->context ? link->context->errstr : "no memory");
        link_close(link);
        return status;
    }
    link->connections++;
    redisSetTimeout(link->context, limit);
    redisEnableKeepAlive(link->context);
    return link->use ? begin_use(link, error) : STATUS_OK;
}

enum status link_try(struct link *link, const struct bytes *arguments, size_t count,
                     redisReply **ret_reply, struct error *error)
{
    if (link->context == NULL) {
        enum status status = connect_to(link, error);
        if (status) return status;
    }
    return ask(link, arguments, count, ret_reply, error);
}

/* --- again ---------------------------------------------------------------------------------- */

struct patience {
    int64_t since_ms;
    uint32_t pause_ms;
};

static struct patience patience_begin(void)
{
    return (struct patience){.since_ms = now_ms(), .pause_ms = LINK_PAUSE_MS_MIN};
}

/* Where nobody has answered yet, the address is more likely wrong. */
static bool is_worth_another(const struct link *link, enum status status)
{
    bool comes_back = status == STATUS_REFUSED && link->connections > 0;
    return status == STATUS_CLOSED || status == STATUS_TIMEOUT || comes_back;
}

/* Waits, longer each time. False: long enough. */
static bool wait_on(const struct link *link, struct patience *patience)
{
    struct timespec pause = {.tv_sec = patience->pause_ms / MS_PER_S,
                             .tv_nsec = (long)(patience->pause_ms % MS_PER_S) * NS_PER_MS};

    if (link->stop && *link->stop) return false;
    if (now_ms() - patience->since_ms > LINK_RETRY_S * MS_PER_S) return false;
    nanosleep(&pause, NULL);
    patience->pause_ms *= 2;
    if (patience->pause_ms > LINK_PAUSE_MS_MAX) patience->pause_ms = LINK_PAUSE_MS_MAX;
    return true;
}

static enum status refused(const struct link *link, const char *text, bool temporary,
                           struct error *error)
{
    if (temporary)
        return error_set(error, STATUS_TIMEOUT, "%s has refused for %d s: %.*s", link->node,
                         LINK_RETRY_S, SHOWN_MAX, text);
    return error_set(error, STATUS_INVALID, "%s answers: %.*s", link->node, SHOWN_MAX, text);
}

enum status link_call(struct link *link, const struct bytes *arguments, size_t count,
                      redisReply **ret_reply, struct error *error)
{
    struct patience patience = patience_begin();

    for (;;) {
        redisReply *reply = NULL;
        enum status status = link_try(link, arguments, count, &reply, error);
        if (status && (!is_worth_another(link, status) || !wait_on(link, &patience))) return status;
        if (status) continue;
        if (reply->type != REDIS_REPLY_ERROR) {
            *ret_reply = reply;
            return STATUS_OK;
        }
        bool again = is_temporary(reply) && wait_on(link, &patience);
        if (!again) status = refused(link, reply->str, is_temporary(reply), error);
        freeReplyObject(reply);
        if (!again) return status;
    }
}

enum status link_words(struct link *link, redisReply **ret_reply, struct error *error,
                       const char *first, ...)
{
    struct bytes arguments[LINK_ARGUMENTS_MAX];
    size_t count = 0;
    va_list rest;

    va_start(rest, first);
    for (const char *word = first; word; word = va_arg(rest, const char *)) {
        ASSERT(count < LINK_ARGUMENTS_MAX);
        arguments[count++] = bytes_of(word);
    }
    va_end(rest);
    return link_call(link, arguments, count, ret_reply, error);
}

/* --- many ----------------------------------------------------------------------------------- */

/* *ret_temporary: one was refused for now, so that all are to be said again. */
static enum status send_once(struct link *link, struct bytes commands, size_t count,
                             bool *ret_temporary, struct error *error)
{
    enum status status = link->context ? STATUS_OK : connect_to(link, error);

    *ret_temporary = false;
    if (status) return status;
    if (redisAppendFormattedCommand(link->context, (const char *)commands.data, commands.size) !=
        REDIS_OK)
        return lost(link, error);
    for (size_t i = 0; i < count; i++) {
        redisReply *reply = NULL;
        if (redisGetReply(link->context, (void **)&reply) != REDIS_OK) return lost(link, error);
        bool wrong = reply->type == REDIS_REPLY_ERROR;
        /* What is wrong for good is said, rather than what is for now. */
        if (wrong && (status == STATUS_OK || *ret_temporary)) {
            *ret_temporary = is_temporary(reply);
            status = refused(link, reply->str, *ret_temporary, error);
        }
        freeReplyObject(reply);
    }
    return status;
}

enum status link_send_all(struct link *link, struct bytes commands, size_t count,
                          struct error *error)
{
    struct patience patience = patience_begin();
    bool temporary;

    for (;;) {
        enum status status = send_once(link, commands, count, &temporary, error);
        if (status == STATUS_OK) return status;
        bool again = temporary || is_worth_another(link, status);
        if (!again || !wait_on(link, &patience)) return status;
    }
}

bool link_append(struct buffer *out, const struct bytes *arguments, size_t count)
{
    bool room = buffer_append_format(out, "*%zu\r\n", count) == STATUS_OK;

    for (size_t i = 0; i < count && room; i++)
        room = buffer_append_format(out, "$%zu\r\n", arguments[i].size) == STATUS_OK &&
               buffer_append(out, arguments[i]) == STATUS_OK &&
               buffer_append(out, bytes_of("\r\n")) == STATUS_OK;
    return room;
}
