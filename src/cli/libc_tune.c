/* libc_tune.c - glibc copies, compares and searches with registers 16 to 31 of AVX-512 where a
 * processor has them, and leaves their upper halves as they are. This program, made for any x86-64,
 * and its libraries use SSE; the first such instruction behind each call was seen to wait for
 * hundreds of cycles, a third of all that a pipelined SET cost (docs/reference/performance.md).
 * With the functions for AVX2, which clear the upper halves, none waits. The library chooses before
 * main(), by GLIBC_TUNABLES: hence the second start. */
#include "cli/libc_tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define TUNED_NAME "HOLON_LIBC_TUNED" /* never twice, whatever became of the other one */
#define TUNABLES_NAME "GLIBC_TUNABLES"
#define TUNABLES_HWCAPS "glibc.cpu.hwcaps="

enum { TUNABLES_SIZE_MAX = 1024, TUNE_PATH_MAX = 4096 };

bool libc_tunables(const char *present, char *ret_text, size_t size)
{
    bool any = present != NULL && present[0] != '\0';
    if (any && strstr(present, TUNABLES_HWCAPS) != NULL) return false;
    int used = snprintf(ret_text, size, "%s%s%s", any ? present : "", any ? ":" : "",
                        TUNABLES_HWCAPS "-AVX512F,-AVX512VL");
    return used > 0 && (size_t)used < size;
}

#if defined(__x86_64__) && defined(__GLIBC__)
static bool library_is_affected(void)
{
    return __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx2");
}
#else
static bool library_is_affected(void)
{
    return false;
}
#endif

void libc_tune(char **words)
{
    char tunables[TUNABLES_SIZE_MAX], path[TUNE_PATH_MAX];
    if (!library_is_affected() || getenv(TUNED_NAME) != NULL) return;
    if (!libc_tunables(getenv(TUNABLES_NAME), tunables, sizeof(tunables))) return;
    /* No interpreter: /proc/self/exe is the loader, which somebody asked to run this program. */
    if (getauxval(AT_BASE) == 0) return;
    /* By its own name, which is then that of the process, too. */
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length <= 0) return;
    path[length] = '\0';
    bool set = setenv(TUNED_NAME, "1", 1) == 0 && setenv(TUNABLES_NAME, tunables, 1) == 0;
    if (set) execv(path, words);
}
