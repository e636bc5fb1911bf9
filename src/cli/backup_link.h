/* backup_link.h - a connection of `holon backup` and `holon restore` to a node, by hiredis:
 * commands that are asked again while the answer is that the cluster cannot just now.
 *
 * All that these two say may be said twice: reads at a cut, writes of what is in a file. So a lost
 * connection is one more reason to ask again. Blocking. Thread: one at a time. */
#ifndef HOLON_CLI_BACKUP_LINK_H
#define HOLON_CLI_BACKUP_LINK_H

#include <hiredis.h>

#include "base/buffer.h"

enum {
    LINK_TIMEOUT_S = 30, /* for one answer */
    LINK_RETRY_S = 60,   /* from one answer to the next, until it is given up */
    LINK_PAUSE_MS_MIN = 50,
    LINK_PAUSE_MS_MAX = 2000,
    LINK_ARGUMENTS_MAX = 8,
};

struct link {
    const char *node;      /* HOST:PORT; borrowed */
    const char *use;       /* said first on each connection: HOLON.SNAPSHOT USE of it; or NULL */
    const bool *stop;      /* somebody else has failed: give up; or NULL */
    redisContext *context; /* NULL: not connected */
    uint32_t connections;  /* how often it was: a new one has no database selected */
};

void link_init(struct link *link, const char *node);
void link_close(struct link *link);

/* Once. The caller frees *ret_reply, which may be an error reply. STATUS_REFUSED: nobody answers;
 * STATUS_CLOSED: the connection ended. */
enum status link_try(struct link *link, const struct bytes *arguments, size_t count,
                     redisReply **ret_reply, struct error *error);
/* Asked again as above. An error reply of any other kind is STATUS_INVALID, with its text. */
enum status link_call(struct link *link, const struct bytes *arguments, size_t count,
                      redisReply **ret_reply, struct error *error);
/* The same for words of text. */
enum status link_words(struct link *link, redisReply **ret_reply, struct error *error,
                       const char *first, ...) __attribute__((sentinel));
/* Commands as bytes, `count` of them, all again until each of them is answered well.
 * STATUS_INVALID: one of them never will be. */
enum status link_send_all(struct link *link, struct bytes commands, size_t count,
                          struct error *error);

/* *n, $size ... as link_send_all() takes them. False: no room, and a part of it may be there. */
bool link_append(struct buffer *out, const struct bytes *arguments, size_t count);
static inline struct bytes link_text(const redisReply *reply)
{
    return bytes_make(reply->str, reply->len);
}

#endif
