/* join_token.h - what lets one new node in: a secret, as text "holon1.HEX64" or
 * "holon1.HEX64.FINGERPRINT". The fingerprint is that of the cluster's CA, for which there is a
 * place and no use before there is TLS: it is empty, or it is refused. The cluster keeps only the
 * SHA-256 of the secret (meta_members.c). Pure; thread: any. */
#ifndef HOLON_CLUSTER_JOIN_TOKEN_H
#define HOLON_CLUSTER_JOIN_TOKEN_H

#include "base/bytes.h"
#include "base/sha256.h"
#include "base/status.h"

enum {
    JOIN_SECRET_SIZE = 32,
    JOIN_TOKEN_TEXT_SIZE = 7 + 2 * JOIN_SECRET_SIZE + 1, /* with the end */
};

void join_token_print(const uint8_t secret[JOIN_SECRET_SIZE], char ret_text[JOIN_TOKEN_TEXT_SIZE]);
/* STATUS_INVALID: the error says what a token looks like, and nothing of this one. */
enum status join_token_parse(struct bytes text, uint8_t ret_secret[JOIN_SECRET_SIZE],
                             struct error *error);

void hex_print(struct bytes bytes, char *ret_text); /* 2 * size + 1 */
/* Exactly `size` bytes of lower-case hexadecimal digits; else false. */
bool hex_parse(struct bytes text, uint8_t *ret_bytes, size_t size);

#endif
