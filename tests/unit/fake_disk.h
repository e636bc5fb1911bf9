/* fake_disk.h - a world for tests of storage code: files in memory that forget what was not
 * synced, and a queue of jobs, posts and timers that the test runs by hand.
 *
 * Crash model: of each file any subset of the unsynced 512-byte sectors survives, its size is
 * the old or the new one, and of the unsynced changes of names a prefix survives. Everything
 * happens on the caller's thread. */
#ifndef HOLON_TESTS_UNIT_FAKE_DISK_H
#define HOLON_TESTS_UNIT_FAKE_DISK_H

#include "base/random.h"
#include "world/world.h"

enum { FAKE_SECTOR_SIZE = 512, FAKE_NAMES_MAX = 64, FAKE_TAGS_MAX = 64 };

struct fake_inode {
    uint8_t *bytes, *durable_bytes; /* both `capacity` long, zero behind the size */
    size_t size, durable_size, capacity;
    struct fake_inode *next; /* all that were ever made */
};

struct fake_name {
    char path[128];
    struct fake_inode *inode;
};

struct fake_names {
    struct fake_name names[FAKE_NAMES_MAX];
    size_t count;
};

struct fake_disk {
    struct world world; /* first */
    struct world_table table;
    struct logger logger;
    struct random random; /* for MAYBE */
    uint64_t now;

    struct fake_inode *inodes;
    struct fake_names history[FAKE_NAMES_MAX]; /* [0] durable, then one per unsynced change */
    size_t history_count;                      /* the last one is the present */

    struct world_job *jobs;
    struct world_post *posts;
    struct world_timer *timers[16];
    size_t timer_count;

    /* Set by tests. */
    uint64_t effects_left;        /* this many more changes of the disk, then the world is dead */
    uint64_t space_left;          /* bytes by which files may still grow */
    uint64_t syncs_until_failure; /* 0: never */
    uint32_t maybe_percent;
    const char *planted;

    /* Read by tests. */
    bool dead; /* by world_fatal() or effects_left: nothing reaches the disk any more */
    uint64_t fatal_count, effects, syncs;
    const char *tags[FAKE_TAGS_MAX]; /* SOMETIMES that were reached */
    size_t tag_count;
};

struct fake_disk *fake_disk_make(void);
void fake_disk_free(struct fake_disk *disk);

/* Runs jobs and posts, and what they start, until there are none. */
void fake_disk_run(struct fake_disk *disk);
/* Lets time pass, fires timers, runs. */
void fake_disk_pass(struct fake_disk *disk, uint64_t us);

/* Power loss. Jobs, posts and timers are forgotten, the disk works again. `seed` draws what of
 * the unsynced survives. */
void fake_disk_crash(struct fake_disk *disk, uint64_t seed);
/* The same; the i-th unsynced sector (of all files in order of their making) survives if bit
 * i % 64 of `sectors` is set; sizes and names survive. Returns how many there were. */
uint64_t fake_disk_crash_sectors(struct fake_disk *disk, uint64_t sectors);
/* The process dies, the operating system lives: everything written survives unsynced. */
void fake_disk_kill(struct fake_disk *disk);

/* NULL: no such file. */
struct fake_inode *fake_disk_find(struct fake_disk *disk, const char *path);
/* Bit rot: inverts one byte, durably. */
void fake_disk_damage(struct fake_disk *disk, const char *path, uint64_t offset);
void fake_disk_remove(struct fake_disk *disk, const char *path);
bool fake_disk_reached(const struct fake_disk *disk, const char *tag);

#endif
