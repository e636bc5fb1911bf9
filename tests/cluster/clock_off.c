/* clock_off.c - LD_PRELOAD for tests/cluster: the wall clock is $HOLON_CLOCK_OFF seconds ahead, or
 * behind if that is negative. Built by test_operators.py. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int (*next)(clockid_t, struct timespec *) =
        (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *seconds = getenv("HOLON_CLOCK_OFF");
    int status = next(clock, time);

    if (status == 0 && clock == CLOCK_REALTIME && seconds != NULL)
        time->tv_sec += strtol(seconds, NULL, 10);
    return status;
}
