/* sim_damage.h - what disks do to data that was written and synced (FAULTS F21-F25, F29): bits
 * flip, sectors cannot be read, writes go astray or nowhere and are reported done, files are cut,
 * vanish or appear. Kept apart from sim_disk.h, whose faults are honest: they hit only what was
 * not synced. A file is named by a part of its path; the first that fits is meant. */
#ifndef HOLON_SIM_SIM_DAMAGE_H
#define HOLON_SIM_SIM_DAMAGE_H

#include "sim/sim_cluster.h"

/* At rest, or under a running process: what it has open is damaged with it. False: there is no
 * such file, or it has no such place. */
bool sim_damage_flip(struct sim_node *node, const char *part, uint64_t offset, unsigned bit);
/* Reads that touch this sector fail, until something is written there. */
bool sim_damage_sector(struct sim_node *node, const char *part, uint64_t offset);
/* How many batches lie in the sealed segments of the log; of the n-th the last part of the file's
 * path and the offset, unless there is none. */
uint64_t sim_damage_batches(const struct sim_node *node, uint64_t n, char ret_name[32],
                            uint64_t *ret_offset);
bool sim_damage_truncate(struct sim_node *node, const char *part, uint64_t size);
/* A file, or a directory with all that is in it. Only while the node is down. */
bool sim_damage_remove(struct sim_node *node, const char *path);
/* A file of random bytes, durable. */
void sim_damage_add(struct sim_node *node, const char *path, uint32_t size);
/* The next write to a file with `part` in its path does nothing, and is reported done. */
void sim_damage_lose_write(struct sim_node *node, const char *part);
/* The next write goes one page too far down. */
void sim_damage_misdirect_write(struct sim_node *node, const char *part);
/* What was armed has not happened yet. */
bool sim_damage_pending(const struct sim_node *node);
/* The engine of a store is empty, as if nothing had ever been written to it. While down. */
bool sim_damage_empty_store(struct sim_node *node, uint32_t store);
/* The engine of a store answers STATUS_CORRUPT to everything from now on. */
bool sim_damage_store(struct sim_node *node, uint32_t store);
/* A bit of a row's value flips in the engine of a store where no checksum sees it, among rows whose
 * keys are in [from, to): the one that `n` falls on, of those of which pick() approves. The key is
 * appended to `key`. False: there is none. */
bool sim_damage_row(struct sim_node *node, uint32_t store, struct bytes from, struct bytes to,
                    uint64_t n, void *context, bool (*pick)(void *context, struct bytes key),
                    struct buffer *key);
/* It still does: nobody has asked it since. */
bool sim_damage_is_in_store(struct sim_node *node, uint32_t store);

#endif
