/* expiry.h - times at which keys end, as clients write them. */
#ifndef HOLON_SERVICES_REDIS_EXPIRY_H
#define HOLON_SERVICES_REDIS_EXPIRY_H

#include "services/redis/call.h"

enum redis_time_unit { REDIS_SECONDS, REDIS_MILLISECONDS };

struct redis_time_option {
    enum redis_time_unit unit;
    bool absolute;
};

/* EX, PX, EXAT, PXAT. False if `word` is none of them. */
bool redis_time_option_find(struct bytes word, struct redis_time_option *ret_option);
/* The time in arguments[index] as absolute milliseconds; it must be positive. False: the
 * error is the reply. */
bool redis_expiry_parse(struct redis_call *call, uint32_t index, struct redis_time_option option,
                        uint64_t *ret_expiry_ms);
enum evaluate_result redis_reply_bad_expiry(struct redis_call *call);

#endif
