/* probe.h - the simulator's eyes and hands inside product code (FAULTS.md section 4).
 *
 * MAYBE(world, "tag"):     a rare path that the simulator may force; false in production.
 * SOMETIMES(world, "tag"): says that a path was reached; a soak in which some seed never gets
 *                          there has tested nothing and fails. Nothing in production.
 * PLANTED(world, "name"):  a deliberate bug, switched on by the simulator alone to prove that
 *                          its checkers see it. Each is listed in sim/planted.c. */
#ifndef HOLON_WORLD_PROBE_H
#define HOLON_WORLD_PROBE_H

#include "world/world.h"

#define MAYBE(w, tag) ((w)->table->maybe != NULL && (w)->table->maybe((w), (tag)))
#define SOMETIMES(w, tag) ((w)->table->reached != NULL ? (w)->table->reached((w), (tag)) : (void)0)
#define PLANTED(w, name)                                                                           \
    (__builtin_expect((w)->table->planted != NULL, 0) && (w)->table->planted((w), (name)))

#endif
