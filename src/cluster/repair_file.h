/* repair_file.h - DIR/repair: a node in REPAIR, and how far it is (FAULTS rules 5, 8; DESIGN.md
 * 5). The file is there from the moment damage was found until the last replica is a voter again,
 * so that a crash anywhere resumes, and nothing that was damaged is ever taken for sound.
 *
 *   MOVING   log, stores, identity and tables go to DIR/quarantine/NAME, one rename each
 *   JOINING  all of it is there; the node asks its peers for a place, as one with an empty disk
 *   FILLING  it is a member again under a new store id; its replicas are learners until filled
 *
 * File: "HOLONRP1" (sealed_file.h), u8 step | u64 u64 cluster (0: not known) | u64 offset |
 *   i64 began (wall clock, us) | u32 partitions, replicas, stores | u8 reads | reason | file |
 *   what | quarantine | u8 members, each: name | peer
 * Calls block; only while starting, or in jobs. */
#ifndef HOLON_CLUSTER_REPAIR_FILE_H
#define HOLON_CLUSTER_REPAIR_FILE_H

#include "cluster/founding.h"

enum repair_step { REPAIR_MOVING = 1, REPAIR_JOINING = 2, REPAIR_FILLING = 3 };

enum {
    REPAIR_REASON_SIZE = 32,
    REPAIR_FILE_SIZE = 256,
    QUARANTINE_NAME_SIZE = 64,
    /* More sets of evidence than this and a node repairs itself no further: its disk is dying, or
     * something else is wrong that a person has to look at. */
    QUARANTINE_SETS_MAX = 8,
};

struct repair_file {
    enum repair_step step;
    struct cluster_id cluster;
    uint64_t offset; /* in `file`, of the damage */
    int64_t began;
    struct founding_settings settings;
    char reason[REPAIR_REASON_SIZE]; /* "log", "identity", ...: part of the quarantine's name */
    char file[REPAIR_FILE_SIZE];
    char what[ERROR_TEXT_SIZE_MAX]; /* the error, for people */
    char quarantine[QUARANTINE_NAME_SIZE];
    uint32_t member_count;
    struct founding_member members[FOUNDING_MEMBERS_MAX];
};

/* STATUS_NOT_FOUND, STATUS_CORRUPT, STATUS_VERSION, STATUS_IO. */
enum status repair_file_load(struct world *world, const char *directory,
                             struct repair_file *ret_file, struct error *error);
enum status repair_file_save(struct world *world, const char *directory,
                             const struct repair_file *file, struct error *error);
enum status repair_file_remove(struct world *world, const char *directory, struct error *error);

/* --- DIR/quarantine: evidence, never deleted by Holon itself --------------------------------- */

/* A name that no set has yet, "20261121T083000Z-log". STATUS_FULL: there are
 * QUARANTINE_SETS_MAX; the error says what to do. */
enum status quarantine_name(struct world *world, const char *directory, const char *reason,
                            char ret_name[QUARANTINE_NAME_SIZE], struct error *error);
/* Makes DIR/quarantine/NAME, moves DIR/ITEM there for each item that exists, and syncs both
 * directories. May be repeated after a crash: what has moved stays moved. */
enum status quarantine_move(struct world *world, const char *directory, const char *name,
                            const char *const *items, size_t item_count, struct error *error);
/* The same for one file of DIR/PLACE, which comes to lie beside others of the set. */
enum status quarantine_take(struct world *world, const char *directory, const char *name,
                            const char *place, const char *file, struct error *error);
/* A copy of DIR/FILE, as it is, under the name `as`: the file itself is about to be replaced. What
 * cannot be read has none, and is no error. */
enum status quarantine_copy(struct world *world, const char *directory, const char *name,
                            const char *file, const char *as, struct error *error);
/* Puts a text beside the evidence: why it is there. Best effort. */
void quarantine_explain(struct world *world, const char *directory, const char *name,
                        const char *text);
struct quarantine_size {
    uint32_t sets;
    uint64_t bytes;
};
void quarantine_measure(struct world *world, const char *directory,
                        struct quarantine_size *ret_size);

#endif
