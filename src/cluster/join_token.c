#include "cluster/join_token.h"

#include <stdio.h>

static const char prefix[] = "holon1.";

void hex_print(struct bytes bytes, char *ret_text)
{
    for (size_t i = 0; i < bytes.size; i++)
        snprintf(ret_text + 2 * i, 3, "%02x", bytes.data[i]);
    ret_text[2 * bytes.size] = '\0';
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_parse(struct bytes text, uint8_t *ret_bytes, size_t size)
{
    if (text.size != 2 * size) return false;
    for (size_t i = 0; i < text.size; i++)
        if (hex_digit(text.data[i]) < 0) return false;
    for (size_t i = 0; i < size; i++)
        ret_bytes[i] =
            (uint8_t)(hex_digit(text.data[2 * i]) << 4 | hex_digit(text.data[2 * i + 1]));
    return true;
}

void join_token_print(const uint8_t secret[JOIN_SECRET_SIZE], char ret_text[JOIN_TOKEN_TEXT_SIZE])
{
    memcpy(ret_text, prefix, sizeof(prefix));
    hex_print(bytes_make(secret, JOIN_SECRET_SIZE), ret_text + sizeof(prefix) - 1);
}

enum status join_token_parse(struct bytes text, uint8_t ret_secret[JOIN_SECRET_SIZE],
                             struct error *error)
{
    if (!bytes_starts_with(text, bytes_of(prefix)))
        return error_set(error, STATUS_INVALID,
                         "that is no token: one begins with %s and is made by holon node token",
                         prefix);
    struct bytes rest = bytes_from(text, sizeof(prefix) - 1);
    if (rest.size > 2 * JOIN_SECRET_SIZE + 1 && rest.data[2 * JOIN_SECRET_SIZE] == '.')
        return error_set(error, STATUS_INVALID,
                         "the token names a certificate, and this version knows of none: use one "
                         "that this version's holon node token has made");
    if (rest.size == 2 * JOIN_SECRET_SIZE + 1 && rest.data[2 * JOIN_SECRET_SIZE] == '.')
        rest.size--;
    if (!hex_parse(rest, ret_secret, JOIN_SECRET_SIZE))
        return error_set(error, STATUS_INVALID,
                         "the token is not whole: behind %s come %d hexadecimal digits", prefix,
                         2 * JOIN_SECRET_SIZE);
    return STATUS_OK;
}
