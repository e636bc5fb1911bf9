/* salvage_internal.h - what the files of a salvage share.
 *
 *   salvage.c        its course: reading, judging, doing
 *   salvage_report.c what people are told
 *   salvage_write.c  a new log, table and identity in DIR/salvage; then they take their places */
#ifndef HOLON_NODE_SALVAGE_INTERNAL_H
#define HOLON_NODE_SALVAGE_INTERNAL_H

#include "cluster/identity.h"
#include "cluster/memory_file.h"
#include "cluster/salvage_plan.h"
#include "node/salvage.h"
#include "partition/host.h"
#include "partition/salvage.h"
#include "storage/log/salvage.h"

struct salvage_group { /* what is kept of one */
    bool here;         /* this node had a replica of it */
    bool stored;       /* its store has a record of it */
    struct salvage_record record;
    const struct salvaged_group *log; /* NULL: nothing there */
    struct replica_id from, to;
    uint64_t keep_from, keep_to; /* entries of the log; keep_to < keep_from: none */
    uint64_t last;               /* index up to which everything is kept; 0: nothing is */
    uint64_t seen;               /* an index that was there once; > last: the rest is lost */
};

struct salvage {
    const struct salvage_platform *platform;
    struct world *world; /* the platform's */
    const char *data;
    struct identity identity; /* of the node, as it will be */
    bool identity_lost, majority_lost;
    struct cluster_view view; /* as it will be */
    struct log_salvage log;
    uint64_t stores_lost; /* bits */
    struct salvage_group *groups;
    uint32_t incomplete; /* groups that lose something */
};

void salvage_say(const struct salvage *salvage, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void salvage_report(const struct salvage *salvage);
/* Of replicas that a loss of power has put out (decision 0012). */
void salvage_report_power(const struct salvage *salvage);
/* What of a group is kept: from its store, and of the log what joins it. */
void salvage_judge_group(struct salvage *salvage, uint32_t id);

/* All of it but the report: changes the directory. */
enum status salvage_write(struct salvage *salvage, struct error *error);
/* Goes on with a plan that was written; it is removed at the end. */
enum status salvage_finish(struct salvage *salvage, struct salvage_plan *plan, struct error *error);

#endif
