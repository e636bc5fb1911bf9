/* http_get.h - the smallest HTTP client: one blocking request to an admin port. For people's
 * commands only; nodes never use it. */
#ifndef HOLON_CLI_HTTP_GET_H
#define HOLON_CLI_HTTP_GET_H

#include "base/buffer.h"

enum { HTTP_GET_BODY_MAX = 16 << 20, HTTP_GET_TIMEOUT_MS = 5000, HTTP_POST_TIMEOUT_MS = 20000 };

/* Appends the body of the answer. STATUS_REFUSED: nobody listens; STATUS_TIMEOUT; STATUS_INVALID:
 * address or answer that is no HTTP. *ret_code: 200 and so on. */
enum status http_get(const char *address, const char *path, struct buffer *body, int *ret_code,
                     struct error *error);

/* The same for what operators ask for. */
enum status http_post(const char *address, const char *path, struct buffer *body, int *ret_code,
                      struct error *error);

#endif
