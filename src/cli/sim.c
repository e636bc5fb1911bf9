/* holon sim - the simulator of a whole cluster, a program of its own that is installed beside this
 * one: it has the whole node inside and shares nothing with a running one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "cli/commands.h"

enum { SIM_PATH_MAX = 4096 };

/* DIR/holon-sim, where DIR/holon is the program that runs. */
static bool simulator_path(char path[SIM_PATH_MAX])
{
    static const char name[] = "holon-sim";
    ssize_t size = readlink("/proc/self/exe", path, SIM_PATH_MAX - sizeof(name));

    if (size <= 0) return false;
    path[size] = 0;
    char *slash = strrchr(path, '/');
    if (slash == NULL) return false;
    memcpy(slash + 1, name, sizeof(name));
    return true;
}

int command_sim(int count, char **words)
{
    char path[SIM_PATH_MAX];

    if (!simulator_path(path)) {
        fprintf(stderr, "holon: error: cannot tell where this program lies (/proc/self/exe): %s\n",
                strerror(errno));
        return EXIT_CODE_FAILED;
    }
    char **arguments = memory_allocate_zero(((size_t)count + 2) * sizeof(*arguments));
    arguments[0] = path;
    for (int i = 0; i < count; i++)
        arguments[i + 1] = words[i];
    execv(path, arguments);
    fprintf(stderr,
            "holon: error: cannot run the simulator %s: %s; it is built and installed together "
            "with holon\n",
            path, strerror(errno));
    memory_free(arguments);
    return EXIT_CODE_FAILED;
}
