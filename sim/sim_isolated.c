#include "sim/sim_isolated.h"

#include "base/assert.h"
#include "base/memory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool sim_write_all(int to, const void *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(to, bytes, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        bytes = (const uint8_t *)bytes + done;
        size -= (size_t)done;
    }
    return true;
}

bool sim_read_all(int from, void *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = read(from, bytes, size);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        bytes = (uint8_t *)bytes + done;
        size -= (size_t)done;
    }
    return true;
}

void sim_isolated_run(const struct sim_run_options *options, struct sim_result *result)
{
    int ends[2];

    if (pipe(ends) != 0) ASSERT(!"pipe");
    fflush(NULL);
    pid_t pid = fork();
    ASSERT(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        sim_run(options, result);
        _exit(sim_write_all(ends[1], result, sizeof(*result)) ? 0 : 1);
    }
    close(ends[1]);
    bool came = sim_read_all(ends[0], result, sizeof(*result));
    int status = 0;
    close(ends[0]);
    waitpid(pid, &status, 0);
    if (came) return;
    *result = (struct sim_result){.failed = true};
    snprintf(result->text, sizeof(result->text), "the simulation crashed (%s %d)",
             WIFSIGNALED(status) ? "signal" : "exit",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

bool sim_isolated_record(const struct sim_run_options *options, const char *path)
{
    struct sim_run_options recorded = *options;
    struct sim_decisions decisions;
    struct sim_result *result = memory_allocate_zero(sizeof(*result));

    sim_decisions_init(&decisions);
    decisions.path = path;
    recorded.record = &decisions;
    (void)remove(path);
    sim_isolated_run(&recorded, result);
    sim_decisions_free(&decisions);
    bool written = access(path, R_OK) == 0;
    memory_free(result);
    return written;
}
