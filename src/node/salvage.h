/* salvage.h - what can be kept of a data directory that no peer can rebuild, offline: the work of
 * `holon salvage`. It says what may be missing before it does anything, and does it only when told
 * to accept the loss.
 *
 * A crash anywhere leaves the directory as it was, or a salvage that the next call finishes
 * (cluster/salvage_plan.h). Files and engines are the platform's, so that the simulator sweeps
 * crashes over every effect (sim/scenarios/salvage.c). Blocks; one thread, no loop. */
#ifndef HOLON_NODE_SALVAGE_H
#define HOLON_NODE_SALVAGE_H

#include "storage/engine/engine.h"
#include "world/world.h"

struct salvage_platform {
    struct world *world; /* only files, clock and random numbers of it are used */
    void *context;
    /* Opens the engine of a store. `read_only`: nothing of it may change, and one that is not there
     * is not made. Else as node_platform.engine_open. */
    enum status (*engine_open)(void *context, const char *directory, bool read_only,
                               struct engine **ret_engine, struct error *error);
    uint64_t log_segment_size; /* of the new log; 0: as usual */
    /* Text for people, in pieces. */
    void (*say)(void *context, const char *text);
};

enum salvage_wish {
    SALVAGE_LOOK,        /* change nothing */
    SALVAGE_ASK,         /* finish what was begun, but begin nothing */
    SALVAGE_ACCEPT_LOSS, /* do it */
};

enum salvage_outcome {
    SALVAGE_NOTHING_CHANGED, /* what could be kept was said */
    SALVAGE_HALF_DONE,       /* one was interrupted; SALVAGE_LOOK does not finish it */
    SALVAGE_DONE,
};

/* `data` must outlive the call. STATUS_REFUSED: a node runs in it, or no cluster was founded there;
 * STATUS_CORRUPT: table and birth are lost, or the plan of an interrupted one; STATUS_NO_SPACE,
 * STATUS_IO, STATUS_FULL (quarantine), STATUS_VERSION. After an error it may be called again. */
enum status salvage_run(const struct salvage_platform *platform, const char *data,
                        enum salvage_wish wish, enum salvage_outcome *ret_outcome,
                        struct error *error);

#endif
