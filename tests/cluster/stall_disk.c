/* stall_disk.c - LD_PRELOAD for tests/cluster: what waits for the disk waits as long as the file
 * $HOLON_STALL exists. Built by test_slow_disk.py. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_while_stalled(void)
{
    const char *path = getenv("HOLON_STALL");
    const struct timespec step = {.tv_nsec = 5 * 1000 * 1000};

    while (path != NULL && access(path, F_OK) == 0)
        clock_nanosleep(CLOCK_MONOTONIC, 0, &step, NULL);
}

int fdatasync(int descriptor)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");

    wait_while_stalled();
    return next(descriptor);
}

int fsync(int descriptor)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");

    wait_while_stalled();
    return next(descriptor);
}
