/* number.h - numbers inside values, read and written exactly as redis-server does, so that
 * what one of them stored the other understands. Thread: any. */
#ifndef HOLON_SERVICES_REDIS_NUMBER_H
#define HOLON_SERVICES_REDIS_NUMBER_H

#include "base/bytes.h"

enum {
    REDIS_I64_SIZE_MAX = 24,
    REDIS_FLOAT_SIZE_MAX = 5 * 1024,      /* a long double without exponent has 4933 digits */
    REDIS_FLOAT_TEXT_SIZE_MAX = 5 * 1024, /* of what is read */
};

bool redis_parse_i64(struct bytes text, int64_t *ret_value);
struct bytes redis_format_i64(char room[REDIS_I64_SIZE_MAX], int64_t value);

/* As strtold(), but all of the text and without space before it; no NaN. */
bool redis_parse_float(struct bytes text, long double *ret_value);
bool redis_float_is_finite(long double value);
/* 17 digits behind the point, zeros at the end cut off; never an exponent. */
struct bytes redis_format_float(char room[REDIS_FLOAT_SIZE_MAX], long double value);

#endif
