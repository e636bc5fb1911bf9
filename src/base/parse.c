#include "base/parse.h"

#include <strings.h>

#include "base/assert.h"

enum { DIGITS_MAX = 20 }; /* of 2^64 - 1 */

bool parse_u64(struct bytes text, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (text.size == 0 || text.size > DIGITS_MAX) return false;
    if (text.data[0] == '0' && text.size > 1) return false;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)text.data[i] - '0';
        if (digit > 9) return false;
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, digit, &value)) return false;
    }
    *ret_value = value;
    return true;
}

bool parse_i64(struct bytes text, int64_t *ret_value)
{
    uint64_t magnitude;
    bool negative = text.size > 0 && text.data[0] == '-';

    if (!parse_u64(negative ? bytes_from(text, 1) : text, &magnitude)) return false;
    if (negative && magnitude == 0) return false; /* "-0" would not print back the same */
    if (magnitude > (uint64_t)INT64_MAX + negative) return false;
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* A whole number followed by one of the units, which is matched as a whole. */
static bool parse_with_unit(struct bytes text, const struct unit *units, size_t unit_count,
                            uint64_t *ret_value)
{
    size_t digits = 0;
    uint64_t number;

    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    if (!parse_u64(bytes_make(text.data, digits), &number)) return false;
    for (size_t i = 0; i < unit_count; i++) {
        if (!bytes_equal(bytes_from(text, digits), bytes_of(units[i].name))) continue;
        if (__builtin_mul_overflow(number, units[i].factor, &number)) return false;
        *ret_value = number;
        return true;
    }
    return false;
}

bool parse_duration(struct bytes text, uint64_t *ret_us)
{
    static const struct unit units[] = {
        {"us", 1},       {"ms", 1000},      {"s", 1000000},
        {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000},
    };
    return parse_with_unit(text, units, ARRAY_COUNT(units), ret_us);
}

bool parse_size(struct bytes text, uint64_t *ret_size)
{
    static const struct unit units[] = {
        {"", 1},           {"B", 1},          {"KiB", 1u << 10},
        {"MiB", 1u << 20}, {"GiB", 1u << 30}, {"TiB", (uint64_t)1 << 40},
    };
    return parse_with_unit(text, units, ARRAY_COUNT(units), ret_size);
}

static bool host_is_valid(struct bytes host, bool bracketed)
{
    if (host.size >= ADDRESS_HOST_SIZE_MAX) return false;
    for (size_t i = 0; i < host.size; i++) {
        uint8_t byte = host.data[i];
        bool alphanumeric = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                            (byte >= 'A' && byte <= 'Z');
        bool ok = alphanumeric || byte == '.' ||
                  (bracketed ? byte == ':' || byte == '%' : byte == '-' || byte == '_');
        if (!ok) return false;
    }
    return true;
}

bool parse_address(struct bytes text, bool allow_any_host, struct address *ret_address)
{
    struct bytes host;
    struct bytes rest;
    uint64_t port;
    bool bracketed = text.size > 0 && text.data[0] == '[';

    if (text.size == 0) return false;
    struct bytes from_host = bytes_from(text, bracketed ? 1 : 0);
    const uint8_t *host_end = memchr(from_host.data, bracketed ? ']' : ':', from_host.size);
    if (host_end == NULL) return false;
    host = bytes_make(from_host.data, (size_t)(host_end - from_host.data));
    rest = bytes_from(from_host, host.size + (bracketed ? 1 : 0));

    if (rest.size == 0 || rest.data[0] != ':') return false;
    if (!parse_u64(bytes_from(rest, 1), &port) || port > UINT16_MAX) return false;
    if (!host_is_valid(host, bracketed)) return false;
    if (host.size == 0 && (bracketed || !allow_any_host)) return false;

    memcpy(ret_address->host, host.data, host.size);
    ret_address->host[host.size] = '\0';
    ret_address->port = (uint16_t)port;
    return true;
}

bool address_is_loopback(const struct address *address)
{
    const char *host = address->host;
    uint64_t number;
    unsigned dots = 0;
    const char *part = host;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0) return true;

    /* "127.example.org" is a name that may lead anywhere: all four numbers must be there. */
    if (strncmp(host, "127.", 4) != 0) return false;
    for (;;) {
        size_t size = strcspn(part, ".");
        if (!parse_u64(bytes_make(part, size), &number) || number > 255) return false;
        if (part[size] == '\0') return dots == 3;
        dots++;
        part += size + 1;
    }
}
