/* world_inline.h - a world for work without a loop, such as `holon salvage`: files, clock and
 * random numbers are those of the world it lies on; jobs and posts run in the caller's thread, one
 * after the other, when world_inline_run() is called. Timers never fire, and there is nothing else.
 * One thread. */
#ifndef HOLON_WORLD_WORLD_INLINE_H
#define HOLON_WORLD_WORLD_INLINE_H

#include "world/world.h"

struct world_inline {
    struct world base; /* hand this out */
    struct world *below;
    struct world_job *jobs, **jobs_end;
    struct world_post *posts, **posts_end;
};

/* Lies on `below`, which must outlive it; nothing to free. */
void world_inline_init(struct world_inline *world, struct world *below);
/* Runs what was started and posted, and what that starts. False: there was nothing. */
bool world_inline_run(struct world_inline *world);

#endif
