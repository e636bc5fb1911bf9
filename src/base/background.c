#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/background.h"

#include <linux/types.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NICE = 5,                /* a third of the share of a thread that is not in the background */
    SLICE_NS = 20 * 1000000, /* a long one: whoever wakes up with a shorter one goes first */
};

/* As in linux/sched/types.h, which clashes with sched.h where libc has sched_setattr(). */
struct attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void background_begin(void)
{
    struct attributes attributes = {
        .size = sizeof(attributes), .policy = SCHED_BATCH, .nice = NICE, .runtime = SLICE_NS};

    (void)syscall(SYS_sched_setattr, 0, &attributes, 0U);
}
