/* rows_check.h - do the rows of a partition belong together? For the simulator, tests and
 * `holon inspect`: every part is named by one key or by one garbage record. Thread: any that may
 * read the table. */
#ifndef HOLON_SERVICES_REDIS_ROWS_CHECK_H
#define HOLON_SERVICES_REDIS_ROWS_CHECK_H

#include "partition/row_table.h"

struct redis_rows {
    uint64_t keys, big_keys;  /* the latter have parts */
    uint64_t parts;           /* rows of big values */
    uint64_t garbage, staged; /* records; of values that no command took yet */
    uint64_t reminders;
    /* What must be 0. Parts of namespaces that are being dropped are none of these. */
    uint64_t orphans;     /* parts that neither a key nor a record names */
    uint64_t twice;       /* ids that two of them name */
    uint64_t wrong_sizes; /* hashes whose number of fields is not that of their rows */
    uint64_t unreminded;  /* keys with an expiry that no reminder in time is for */
};

/* Over the committed rows. O(rows), and memory for ids and reminders. Of an incomplete table not
 * all are there. */
void redis_rows_check(const struct row_table *table, struct redis_rows *ret_rows);

/* The same over rows from anywhere: each() calls back for all of them, in any order, and is called
 * twice. False: it said that it cannot. */
struct redis_rows_source {
    void *context;
    bool (*each)(void *context, void *row_context,
                 bool (*on_row)(void *row_context, const struct row_found *row));
};
bool redis_rows_check_from(const struct redis_rows_source *source, struct redis_rows *ret_rows);

/* Garbage records; O(1). */
uint64_t redis_garbage_waiting(const struct row_table *table);

#endif
