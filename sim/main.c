/* holon-sim - a whole cluster in one process, one thread, virtual time, from one seed.
 * See docs/developers/simulator.md. */
#include "base/assert.h"
#include "base/parse.h"
#include "sim/planted.h"
#include "sim/scenarios/scenarios.h"
#include "sim/sim_commands.h"

#include <stdlib.h>
#include <string.h>

enum { JOBS_DEFAULT = 2 };

static const char usage[] =
    "usage: holon-sim --seed N [--trace] [--scenario NAME] [--planted NAME] [--table]\n"
    "       holon-sim --seeds N [--first-seed M] [--jobs J] [--scenario NAME] [--planted NAME]\n"
    "                 [--with-scenarios N [--without NAME]] [--require-sometimes FILE] [--table]\n"
    "                 [--table-file FILE] [--require-table] [--keep DIR] [--no-canary]\n"
    "                 [--require-members N]       so many changes of members at least\n"
    "                 [--require-bank-hours N]    so many simulated hours of bank_in_chaos\n"
    "                 [--mesh]                    the real peer mesh in every seed\n"
    "       holon-sim --kept                      the seeds that once failed\n"
    "       holon-sim --table-file FILE [--require-table]   what campaigns have added up\n"
    "       holon-sim --decisions FILE [--trace]  a run that was kept, again\n"
    "       holon-sim --minimise --seed N|--decisions FILE [--planted NAME] [--out FILE]\n"
    "                 [--runs N]                  a smaller run that fails in the same way\n"
    "       holon-sim --scenarios [--seeds N]     every scenario, over N seeds each (20)\n"
    "       holon-sim --sweep SCENARIO|all [--stride N] [--seed N]\n"
    "                                             a crash at every N-th effect of sweep_...\n"
    "       holon-sim --seed N --scenario NAME --crash kill|power|torn --at EFFECT\n"
    "       holon-sim --planted-all [--jobs J]    each planted bug must be found\n"
    "       holon-sim --twice N                   seed N twice: the traces must be equal\n"
    "       holon-sim --cost                      frames, bytes and timers by the number of nodes\n"
    "       holon-sim --list                      scenarios and planted bugs\n";

struct option {
    const char *name;
    bool *flag;        /* an option without a value */
    uint64_t *number;  /* one with a number; `given` is set with it */
    const char **text; /* one with any other value */
    bool *given;
};

static void bad_option(const char *name, const char *what)
{
    fprintf(stderr, "holon-sim: %s %s; holon-sim alone prints all options\n", name, what);
    exit(2);
}

static void take_option(const struct option *option, int argc, char **argv, int *i)
{
    if (option->flag) {
        *option->flag = true;
        return;
    }
    if (*i + 1 >= argc) bad_option(option->name, "needs a value");
    const char *value = argv[++*i];
    if (option->text) {
        *option->text = value;
        return;
    }
    if (!parse_u64(bytes_of(value), option->number)) bad_option(option->name, "needs a number");
    if (option->given) *option->given = true;
}

static void parse(struct sim_arguments *to, int argc, char **argv)
{
    const struct option options[] = {
        {.name = "--trace", .flag = &to->trace},
        {.name = "--list", .flag = &to->list},
        {.name = "--planted-all", .flag = &to->planted_all},
        {.name = "--scenarios", .flag = &to->scenarios},
        {.name = "--no-canary", .flag = &to->no_canary},
        {.name = "--minimise", .flag = &to->minimise},
        {.name = "--table", .flag = &to->table},
        {.name = "--require-table", .flag = &to->require_table},
        {.name = "--mesh", .flag = &to->mesh},
        {.name = "--cost", .flag = &to->cost},
        {.name = "--kept", .flag = &to->kept},
        {.name = "--seed", .number = &to->seed, .given = &to->has_seed},
        {.name = "--twice", .number = &to->twice, .given = &to->has_twice},
        {.name = "--seeds", .number = &to->seeds},
        {.name = "--first-seed", .number = &to->first_seed},
        {.name = "--with-scenarios", .number = &to->scenario_seeds},
        {.name = "--stride", .number = &to->stride},
        {.name = "--at", .number = &to->at},
        {.name = "--runs", .number = &to->runs},
        {.name = "--require-members", .number = &to->require_members},
        {.name = "--require-bank-hours", .number = &to->require_bank_hours},
        {.name = "--jobs", .number = &to->jobs},
        {.name = "--scenario", .text = &to->scenario},
        {.name = "--without", .text = &to->without},
        {.name = "--planted", .text = &to->planted},
        {.name = "--require-sometimes", .text = &to->require_sometimes},
        {.name = "--crash", .text = &to->crash},
        {.name = "--sweep", .text = &to->sweep},
        {.name = "--decisions", .text = &to->decisions},
        {.name = "--out", .text = &to->out},
        {.name = "--keep", .text = &to->keep},
        {.name = "--table-file", .text = &to->table_file},
    };

    for (int i = 1; i < argc; i++) {
        size_t found = 0;
        while (found < ARRAY_COUNT(options) && strcmp(options[found].name, argv[i]) != 0)
            found++;
        if (found == ARRAY_COUNT(options)) bad_option(argv[i], "is no option");
        take_option(&options[found], argc, argv, &i);
    }
}

static void check_names(const struct sim_arguments *arguments)
{
    if (arguments->scenario && sim_scenario_find(arguments->scenario) == NULL)
        bad_option(arguments->scenario, "is no scenario; see --list");
    if (arguments->without && sim_scenario_find(arguments->without) == NULL)
        bad_option(arguments->without, "is no scenario; see --list");
    if (arguments->planted && sim_planted_find(arguments->planted) == NULL)
        bad_option(arguments->planted, "is no planted bug; see --list");
    if (arguments->crash && (!arguments->scenario || !arguments->at))
        bad_option("--crash", "needs --scenario and --at");
    if (arguments->jobs == 0) bad_option("--jobs", "must be 1 or more");
}

int main(int argc, char **argv)
{
    struct sim_arguments arguments = {.first_seed = 1, .jobs = JOBS_DEFAULT};

    parse(&arguments, argc, argv);
    check_names(&arguments);
    if (arguments.list) return sim_command_list();
    if (arguments.cost) return sim_command_cost(&arguments);
    if (arguments.planted_all) return sim_command_planted_all(&arguments);
    if (arguments.kept) return sim_command_kept(&arguments);
    if (arguments.scenarios) return sim_command_scenarios(&arguments);
    if (arguments.sweep) return sim_command_sweep(&arguments);
    if (arguments.minimise && (arguments.has_seed || arguments.decisions))
        return sim_command_minimise(&arguments);
    if (arguments.has_twice) return sim_command_twice(&arguments);
    if (arguments.has_seed || arguments.decisions) return sim_command_one(&arguments);
    if (arguments.seeds) return sim_command_campaign(&arguments);
    if (arguments.table_file) return sim_command_table(&arguments);
    fputs(usage, stderr);
    return 2;
}
