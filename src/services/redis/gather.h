/* gather.h - INFO and CLIENT LIST speak of the whole node, and INFO of all keys: a fan-out
 * (fanout_internal.h) that asks the other workers, and for INFO's keyspace each partition.
 *
 *   gather_start ─┬─▶ options.ask ─▶ each other worker: redis_question_answer()
 *                 │                        └─▶ here: redis_question_answered()
 *                 └─▶ KEYSPACE to each partition (evaluate_keyspace)
 *   all have answered, or GATHER_PATIENCE_US are over ─▶ gather_write()
 *
 * A worker that is stuck is not waited for: INFO says how many are missing; CLIENT LIST, which
 * has no way to say so, is refused with -BUSY. The question lives until the last worker has let
 * it go, so there are at most QUESTIONS_MAX of each kind, and then they are -BUSY or missing. */
#ifndef HOLON_SERVICES_REDIS_GATHER_H
#define HOLON_SERVICES_REDIS_GATHER_H

#include "services/redis/fanout_internal.h"

enum {
    GATHER_PATIENCE_US = 500 * 1000,
    LIST_QUESTIONS_MAX = 8, /* of a worker, not answered by all; each may hold LIST_BYTES_MAX */
    INFO_QUESTIONS_MAX = 1024,
    LIST_BYTES_MAX = 16 << 20,
};

/* Which clients CLIENT LIST shows. */
struct client_filter {
    bool by_id, by_type;
    bool type_normal; /* the only one that there is */
    const int64_t *ids;
    uint32_t id_count;
};

/* What INFO is made of. Sums are over the workers that answered. */
struct info_numbers {
    struct redis_statistics statistics;
    uint32_t workers_silent, partitions_silent;
    bool keyspace_known;
    uint64_t keys[REDIS_DATABASES], expires[REDIS_DATABASES];
};

struct gathering {
    struct redis_question *question; /* NULL: there is no other worker, or it was refused */
    bool refused;                    /* too many questions are open */
    struct world_timer patience;
    struct info_numbers numbers;
    struct buffer clients;
};

/* Is the command one of the two, with arguments that are right? */
bool gather_wanted(const struct redis_command *command, const struct bytes *arguments,
                   uint32_t count);
void gather_start(struct connection *connection, const struct redis_command *command,
                  const struct bytes *arguments, uint32_t count);
void gather_take_part(struct part *part, enum gateway_outcome outcome, struct bytes reply);
void gather_write(struct fanout *fanout, struct resp_writer *out);
void gather_free(struct fanout *fanout);
/* The service ends: nobody waits for the answers any more. */
void gather_forget_all(struct redis_service *service);

/* local_client.c */
/* Of CLIENT LIST. *ret_filter->ids is from memory_allocate(), or NULL. False: *ret_error says why,
 * in `error` if it is not constant. */
bool client_filter_parse(const struct bytes *arguments, uint32_t count,
                         struct client_filter *ret_filter, char *error, size_t error_size);
/* Lines of the clients of this worker; the buffer may become full. False: it did. */
bool client_lines_write(struct redis_service *service, const struct client_filter *filter,
                        struct buffer *text);

/* local_info.c */
bool info_section_is_asked(const struct bytes *arguments, uint32_t count, const char *section);
void info_write(struct local_call *call, const struct info_numbers *numbers);

#endif
