/* flush.h - what flush.c, on the loop, and flush_run.c, on the flush thread, share. */
#ifndef HOLON_PARTITION_FLUSH_H
#define HOLON_PARTITION_FLUSH_H

#include "partition/host_internal.h"
#include "partition/row_copies.h"

struct flush_part {
    struct group_id group;
    struct replica_id replica;
    uint64_t generation;
    uint64_t index, term;
};

struct flush_job {
    struct world_job job;
    struct world_timer timer;
    struct partition_host *host;
    uint32_t store;
    bool running;
    struct list *next;         /* replica to copy next, in slot order */
    struct replica *waits_for; /* its disk must catch up first */
    struct replica *copying;   /* its cut is under way; its part is the last one */
    struct row_cut cut;
    size_t rows_before, replaced_before, records_before; /* sizes as it began */
    struct flush_part *parts;
    size_t part_count, part_capacity;
    struct buffer rows;     /* row_copies.h, in key order */
    struct buffer replaced; /* in no order: replaced before the walk came to them */
    struct buffer records;  /* u32 group | u32 size | record */
    uint64_t copied_bytes;  /* of rows and replaced, once they belong to the job */
    struct error error;
    enum status status;
    bool cleaning; /* it is in the engine: rows become clean */
    size_t part_clean;
    struct buffer clean_after;
};

/* The job: touches nothing but the flush and the engine. Frees rows and replaced. */
void flush_run(struct world_job *job);

#endif
