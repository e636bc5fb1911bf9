#include "sim/sim_campaign.h"

#include "base/assert.h"
#include "base/memory.h"
#include "sim/sim_feature.h"
#include "sim/sim_isolated.h"
#include "sim/sim_process.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, CHUNK_SEEDS_MAX = 16, PROGRESS_US = 5 * 1000 * 1000 };

struct worker { /* a process that runs a chunk of seeds */
    pid_t pid;
    int pipe;           /* read end */
    uint64_t next, end; /* the seed it works on, and where its chunk ends */
    bool running;
};

static uint64_t real_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static _Noreturn void run_chunk(const struct sim_campaign *campaign, uint64_t first, uint64_t end,
                                int to)
{
    struct sim_result *result = memory_allocate_zero(sizeof(*result));

    for (uint64_t seed = first; seed < end; seed++) {
        struct sim_run_options options = {.seed = seed,
                                          .scenario = campaign->scenario,
                                          .planted = campaign->planted,
                                          .mesh = campaign->mesh,
                                          .processor_seconds_max = campaign->processor_seconds_max};
        if (campaign->sweep_mode != SIM_SWEEP_COUNT_ONLY) {
            options.seed = campaign->sweep_seed;
            options.sweep_mode = campaign->sweep_mode;
            options.sweep_target = 1 + (seed - 1) * campaign->sweep_stride;
        }
        sim_run(&options, result);
        if (!sim_write_all(to, result, sizeof(*result))) _exit(1);
    }
    _exit(0);
}

static void start_worker(const struct sim_campaign *campaign, struct worker *worker, uint64_t first,
                         uint64_t end)
{
    int ends[2];

    if (pipe(ends) != 0) ASSERT(!"pipe");
    fflush(NULL);
    worker->pid = fork();
    ASSERT(worker->pid >= 0);
    if (worker->pid == 0) {
        close(ends[0]);
        run_chunk(campaign, first, end, ends[1]);
    }
    close(ends[1]);
    worker->pipe = ends[0];
    worker->next = first;
    worker->end = end;
    worker->running = true;
}

/* Smaller towards the end of a campaign: no worker idles long while another runs the last chunk. */
static uint64_t chunk_seeds(uint64_t seeds_left, uint32_t jobs)
{
    uint64_t size = seeds_left / (2 * (uint64_t)jobs);

    if (size == 0) return 1;
    return size < CHUNK_SEEDS_MAX ? size : CHUNK_SEEDS_MAX;
}

static void note_failure(struct sim_campaign_result *total, uint64_t seed, const char *text)
{
    total->failed++;
    if (total->failed > 1 && total->failed_seed <= seed) return;
    total->failed_seed = seed;
    snprintf(total->text, sizeof(total->text), "%s", text);
}

static void add_busy(struct sim_busy *to, const struct sim_busy *from)
{
    to->time_us += from->time_us;
    to->transfers += from->transfers;
    to->reads += from->reads;
    to->snapshots += from->snapshots;
}

static void add_result(const struct sim_campaign *campaign, struct sim_campaign_result *total,
                       uint64_t seed, const struct sim_result *result)
{
    total->seeds++;
    total->invalid += result->invalid;
    total->sweep_crashes += result->sweep_crashes;
    total->membership_changes += result->membership_changes;
    total->variety.success += result->variety.success;
    total->variety.conflict += result->variety.conflict;
    total->variety.empty += result->variety.empty;
    total->variety.unknown += result->variety.unknown;
    add_busy(&total->busy, &result->busy);
    sim_features_add(&total->features, &result->features);
    if (result->invalid && !campaign->quiet) printf("seed %" PRIu64 " %s\n", seed, result->text);
    total->events += result->events;
    total->virtual_us += result->virtual_us;
    total->busy_us += result->real_us;
    total->ops_done += result->ops_done;
    total->ops_unknown += result->ops_unknown;
    total->ops_not_done += result->ops_not_done;
    total->undecided += result->undecided;
    total->committed += result->committed;
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        total->faults[i] += result->faults[i];
    for (uint32_t i = 0; i < result->reached.count; i++)
        sim_tags_add(&total->reached, result->reached.tags[i].text, result->reached.tags[i].count);
    if (!result->failed) return;
    note_failure(total, seed, result->text);
    if (!campaign->quiet) printf("seed %" PRIu64 " FAILED: %s\n", seed, result->text);
}

/* A message or the end of a worker. */
static void serve_worker(const struct sim_campaign *campaign, struct worker *worker,
                         struct sim_campaign_result *total, struct sim_result *result)
{
    if (worker->next < worker->end && sim_read_all(worker->pipe, result, sizeof(*result))) {
        add_result(campaign, total, worker->next++, result);
        return;
    }
    int status = 0;
    close(worker->pipe);
    waitpid(worker->pid, &status, 0);
    worker->running = false;
    if (worker->next >= worker->end) return;
    char text[100];
    snprintf(text, sizeof(text), "the simulation crashed (%s %d)",
             WIFSIGNALED(status) ? "signal" : "exit",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    total->seeds++;
    note_failure(total, worker->next, text);
    if (!campaign->quiet) printf("seed %" PRIu64 " FAILED: %s\n", worker->next, text);
    worker->next++;
}

static uint64_t fault_total(const struct sim_campaign_result *result)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        total += result->faults[i];
    return total;
}

static void print_progress(const struct sim_campaign *campaign,
                           const struct sim_campaign_result *total)
{
    if (campaign->quiet) return;
    printf("%" PRIu64 " of %" PRIu64 " seeds, %.1f M events, %" PRIu64 " faults, %" PRIu64
           " failed\n",
           total->seeds, campaign->seeds, (double)total->events / 1e6, fault_total(total),
           total->failed);
    fflush(stdout);
}

static void kill_workers(struct worker *workers, uint32_t jobs)
{
    for (uint32_t i = 0; i < jobs; i++) {
        if (!workers[i].running) continue;
        kill(workers[i].pid, SIGKILL);
        close(workers[i].pipe);
        waitpid(workers[i].pid, NULL, 0);
    }
}

void sim_campaign_run(const struct sim_campaign *campaign, struct sim_campaign_result *total)
{
    struct worker workers[JOBS_MAX] = {0};
    struct sim_result *result = memory_allocate_zero(sizeof(*result));
    uint32_t jobs = campaign->jobs < JOBS_MAX ? campaign->jobs : JOBS_MAX;
    uint64_t next = campaign->first_seed, end = next + campaign->seeds;
    uint64_t began = real_now(), progress = began;

    *total = (struct sim_campaign_result){0};
    for (;;) {
        struct pollfd polls[JOBS_MAX];
        uint32_t running = 0;
        for (uint32_t i = 0; i < jobs; i++) {
            struct worker *worker = &workers[i];
            if (!worker->running && worker->next < worker->end) /* it crashed: the rest of it */
                start_worker(campaign, worker, worker->next, worker->end);
            if (!worker->running && next < end) {
                uint64_t stop = next + chunk_seeds(end - next, jobs);
                start_worker(campaign, worker, next, stop);
                next = stop;
            }
            polls[i] = (struct pollfd){.fd = worker->running ? worker->pipe : -1, .events = POLLIN};
            running += worker->running;
        }
        if (running == 0) break;
        poll(polls, jobs, 1000);
        for (uint32_t i = 0; i < jobs; i++)
            if (workers[i].running && polls[i].revents)
                serve_worker(campaign, &workers[i], total, result);
        if (real_now() - progress > PROGRESS_US) {
            progress = real_now();
            print_progress(campaign, total);
        }
        if (campaign->stop_at_failure && total->failed) break;
    }
    kill_workers(workers, jobs);
    memory_free(result);
    total->real_us = real_now() - began;
}

void sim_campaign_add(struct sim_campaign_result *to, const struct sim_campaign_result *from)
{
    to->seeds += from->seeds;
    to->failed += from->failed;
    to->invalid += from->invalid;
    to->events += from->events;
    to->virtual_us += from->virtual_us;
    to->busy_us += from->busy_us;
    to->real_us += from->real_us;
    to->ops_done += from->ops_done;
    to->ops_unknown += from->ops_unknown;
    to->ops_not_done += from->ops_not_done;
    to->undecided += from->undecided;
    to->committed += from->committed;
    to->sweep_crashes += from->sweep_crashes;
    to->membership_changes += from->membership_changes;
    add_busy(&to->busy, &from->busy);
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        to->faults[i] += from->faults[i];
    for (uint32_t i = 0; i < from->reached.count; i++)
        sim_tags_add(&to->reached, from->reached.tags[i].text, from->reached.tags[i].count);
    sim_features_add(&to->features, &from->features);
}

/* The commit, where the sources are a checkout: what a failing seed belongs to. */
static void print_commit(FILE *file)
{
    char line[256] = "";
    char path[300];
    FILE *head = fopen(".git/HEAD", "r");
    bool got = head != NULL && fgets(line, sizeof(line), head) != NULL;

    if (head != NULL) fclose(head);
    if (got && strncmp(line, "ref: ", 5) == 0) {
        snprintf(path, sizeof(path), ".git/%.*s", (int)strcspn(line + 5, "\n"), line + 5);
        head = fopen(path, "r");
        got = head != NULL && fgets(line, sizeof(line), head) != NULL;
        if (head != NULL) fclose(head);
    }
    if (got) fprintf(file, "commit: %.12s\n", line);
}

/* scripts/soak adds the bank's hours up. */
static void print_hours(const struct sim_campaign_result *result, FILE *file)
{
    fprintf(file, "simulated: %.1f hours\n", (double)result->virtual_us / SIM_HOUR_US);
    if (result->busy.time_us == 0) return;
    fprintf(file,
            "bank: %.2f simulated hours, %" PRIu64 " transfers, %" PRIu64 " reads of all, %" PRIu64
            " snapshots\n",
            (double)result->busy.time_us / SIM_HOUR_US, result->busy.transfers, result->busy.reads,
            result->busy.snapshots);
}

static void print_shares(const struct sim_variety *variety, FILE *file)
{
    uint64_t all = variety->success + variety->conflict + variety->empty + variety->unknown;
    double percent = all ? 100.0 / (double)all : 0.0;

    fprintf(file, "answers: %.1f %% success, %.1f %% conflict, %.1f %% empty, %.2f %% unknown\n",
            (double)variety->success * percent, (double)variety->conflict * percent,
            (double)variety->empty * percent, (double)variety->unknown * percent);
}

void sim_campaign_print(const struct sim_campaign_result *result, FILE *file)
{
    fprintf(file,
            "%" PRIu64 " seeds, %" PRIu64 " failed, %" PRIu64 " invalid; %" PRIu64
            " events, %" PRIu64 " faults hit; %.0f virtual s in %.1f s (%.0fx real time per core)\n"
            "operations: %" PRIu64 " done, %" PRIu64 " unknown, %" PRIu64 " not done; %" PRIu64
            " entries committed; %" PRIu64 " keys undecided\n",
            result->seeds, result->failed, result->invalid, result->events, fault_total(result),
            (double)result->virtual_us / 1e6, (double)result->real_us / 1e6,
            result->busy_us ? (double)result->virtual_us / (double)result->busy_us : 0.0,
            result->ops_done, result->ops_unknown, result->ops_not_done, result->committed,
            result->undecided);
    print_hours(result, file);
    print_shares(&result->variety, file);
    if (result->membership_changes)
        fprintf(file, "members: %" PRIu64 " nodes joined, were drained, taken back or removed\n",
                result->membership_changes);
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++)
        if (result->faults[i])
            fprintf(file, "  %-40s %10" PRIu64 "\n", sim_fault_text(i), result->faults[i]);
    for (uint32_t i = 0; i < result->reached.count; i++)
        fprintf(file, "  sometimes: %-50s %10" PRIu64 "\n", result->reached.tags[i].text,
                result->reached.tags[i].count);
}

static void keep_decisions(const struct sim_campaign *campaign, uint64_t seed, FILE *file)
{
    struct sim_run_options options = {.seed = seed,
                                      .planted = campaign->planted,
                                      .mesh = campaign->mesh,
                                      .processor_seconds_max = campaign->processor_seconds_max};
    char path[SIM_KEEP_PATH_MAX];

    if (campaign->keep == NULL || campaign->scenario) return;
    snprintf(path, sizeof(path), "%s/seed-%" PRIu64 ".decisions", campaign->keep, seed);
    if (sim_isolated_record(&options, path))
        fprintf(file, "kept: %s\nsmaller: holon-sim --minimise --decisions %s --out FILE\n", path,
                path);
    else
        fprintf(file, "%s cannot be written\n", path);
}

void sim_campaign_print_failure(const struct sim_campaign *campaign,
                                const struct sim_campaign_result *result, FILE *file)
{
    static const char *const modes[] = {"", "kill", "power", "torn"};
    uint64_t seed = result->failed_seed;

    fprintf(file, "FAILED: seed %" PRIu64 ": %s\n", seed, result->text);
    print_commit(file);
    if (campaign->sweep_mode != SIM_SWEEP_COUNT_ONLY) {
        fprintf(file,
                "repeat: holon-sim --seed %" PRIu64 " --scenario %s --crash %s --at %" PRIu64
                " --trace\n",
                campaign->sweep_seed, campaign->scenario, modes[campaign->sweep_mode],
                1 + (seed - 1) * campaign->sweep_stride);
        return;
    }
    fprintf(file, "repeat: holon-sim --seed %" PRIu64 "%s%s%s%s%s --trace\n", seed,
            campaign->mesh ? " --mesh" : "", campaign->scenario ? " --scenario " : "",
            campaign->scenario ? campaign->scenario : "", campaign->planted ? " --planted " : "",
            campaign->planted ? campaign->planted : "");
    keep_decisions(campaign, seed, file);
}
