#include "services/redis/number.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"

bool redis_parse_i64(struct bytes text, int64_t *ret_value)
{
    return parse_i64(text, ret_value);
}

struct bytes redis_format_i64(char room[REDIS_I64_SIZE_MAX], int64_t value)
{
    char *end = room + REDIS_I64_SIZE_MAX;
    char *at = end;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        *--at = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude);
    if (value < 0) *--at = '-';
    return bytes_make(at, (size_t)(end - at));
}

bool redis_parse_float(struct bytes text, long double *ret_value)
{
    char room[REDIS_FLOAT_TEXT_SIZE_MAX];
    char *end;

    if (text.size == 0 || text.size >= sizeof(room)) return false;
    memcpy(room, text.data, text.size);
    room[text.size] = 0;
    bool space_first = room[0] == ' ' || (room[0] >= '\t' && room[0] <= '\r');
    if (space_first) return false;

    errno = 0;
    long double value = strtold(room, &end);
    if (end != room + text.size || errno == EINVAL || isnan(value)) return false;
    bool out_of_range = errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO);
    if (out_of_range) return false;
    *ret_value = value;
    return true;
}

bool redis_float_is_finite(long double value)
{
    return isfinite(value);
}

struct bytes redis_format_float(char room[REDIS_FLOAT_SIZE_MAX], long double value)
{
    int size = snprintf(room, REDIS_FLOAT_SIZE_MAX, "%.17Lf", value);

    while (size > 0 && room[size - 1] == '0')
        size--;
    if (size > 0 && room[size - 1] == '.') size--;
    if (size == 2 && room[0] == '-' && room[1] == '0') return bytes_make("0", 1);
    return bytes_make(room, (size_t)size);
}
