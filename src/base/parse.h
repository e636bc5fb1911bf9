/* parse.h - strict parsers of what people and clients write: the whole text must match, or the
 * answer is false and the output is untouched. Nothing is skipped, trimmed or rounded. */
#ifndef HOLON_BASE_PARSE_H
#define HOLON_BASE_PARSE_H

#include "base/bytes.h"

/* Decimal, as Redis takes it (string2ll): no `+`, space or leading zero; in range. */
bool parse_u64(struct bytes text, uint64_t *ret_value);
bool parse_i64(struct bytes text, int64_t *ret_value);

/* "250ms", "10s", "5m", "2h", "1d", "90us": a whole number and a unit, into microseconds. */
bool parse_duration(struct bytes text, uint64_t *ret_us);

/* "64MiB", "4KiB", "1GiB", "512": a whole number and an optional power-of-1024 unit. */
bool parse_size(struct bytes text, uint64_t *ret_size);

enum { ADDRESS_HOST_SIZE_MAX = 256 };

struct address {
    char host[ADDRESS_HOST_SIZE_MAX]; /* name or number, without brackets; NUL-terminated */
    uint16_t port;
};

/* "HOST:PORT" or "[V6]:PORT". The host may be empty only as in ":PORT" with `allow_any_host`,
 * which means every interface. A bare IPv6 address is refused: its port would be ambiguous. */
bool parse_address(struct bytes text, bool allow_any_host, struct address *ret_address);

/* True for 127.0.0.0/8, ::1 and "localhost": only this machine can reach it. */
bool address_is_loopback(const struct address *address);

#endif
