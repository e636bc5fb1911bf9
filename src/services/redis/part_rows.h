/* part_rows.h - the parts of a big value taken along to another key: under another id, in another
 * slot or partition, all of them in one entry. What is behind the id in the key of a part says
 * nothing of where it is, so it stays. Part of an evaluation. */
#ifndef HOLON_SERVICES_REDIS_PART_ROWS_H
#define HOLON_SERVICES_REDIS_PART_ROWS_H

#include "services/redis/parts.h"

enum { REDIS_PART_OVERHEAD = REDIS_PART_PREFIX_SIZE + 24 }; /* of one in an entry, at most */

struct redis_part_row {
    struct bytes suffix, value; /* suffix: of its key, behind the id */
    uint8_t type;
};

struct redis_part_rows {
    struct redis_part_row *rows; /* in the arena, as what they point to */
    uint32_t count, capacity;
    size_t bytes;  /* with their overhead */
    bool too_many; /* more than `bytes_max`: not all are here */
};

enum row_result redis_part_rows_get(struct redis_call *call, struct bytes row_key,
                                    struct redis_part_id id, size_t bytes_max,
                                    struct redis_part_rows *ret_rows);
/* Adds one that was read from elsewhere. */
void redis_part_rows_add(struct redis_call *call, struct redis_part_rows *rows,
                         struct redis_part_row row);
/* Under an id that is new, for a key of call->namespace. */
void redis_part_rows_put(struct redis_call *call, struct bytes row_key, struct redis_part_id id,
                         const struct redis_part_rows *rows);

#endif
