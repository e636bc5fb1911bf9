/* What nobody waits for shares a sync (decision 0022), and who does wait for it does so for a sync
 * alone. findings.h tells who is who. */
#include "sim/scenarios/findings.h"

#include <inttypes.h>

enum {
    PATIENCE_US = 5 * STAGE_S,
    ROUNDS = 2,
    TIMES = 100, /* in a round */
    STEP_US = 10,
    QUIET_US = 30 * STAGE_MS,
    MORE_MAX_US = 250, /* than a SET, on the average: a quarter of what entries wait for others */
};

static uint64_t time_of(struct cast *cast, const char *command, const char *key)
{
    uint64_t since = cast->sim->now;

    talk_say(cast->client, "%s %s%s", command, key, said(command, "SET") ? " 1" : "");
    while (!talk_is_answered(cast->client) && sim_run_for(cast->sim, STEP_US))
        continue;
    return cast->sim->now - since;
}

static void read_behind_exec(struct cast *cast)
{
    const char *x = cast->part[0].key, *y = cast->part[1].key, *z = cast->part[2].key;
    uint64_t reads = 0, writes = 0;

    for (int i = 0; i < TIMES && !cast->sim->failed; i++) {
        const char *told = cast_ask(cast->client, "MULTI\nSET %s %d\nSET %s %d\nSET %s %d\nEXEC", x,
                                    i, y, i, z, i);
        if (!said(told, "[OK OK OK]")) sim_violation(cast->sim, "V-2: EXEC said %s", told);
        reads += time_of(cast, "GET", i % 2 ? y : z);
        sim_run_for(cast->sim, QUIET_US);
        writes += time_of(cast, "SET", i % 2 ? y : z);
        sim_run_for(cast->sim, QUIET_US);
    }
    if (cast->sim->failed || reads <= writes + TIMES * MORE_MAX_US) return;
    sim_violation(cast->sim, "V-2: a GET behind EXEC takes %" PRIu64 " us, a SET %" PRIu64,
                  reads / TIMES, writes / TIMES);
}

/* Goal: a row that EXEC has just written is read as fast as a row is written, though nobody waits
 * for the entry that wrote it (RESOLVE). */
void scenario_read_behind_exec(struct sim_bed *bed)
{
    findings_play(bed, PATIENCE_US, ROUNDS, read_behind_exec);
}
