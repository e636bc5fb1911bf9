/* holon - the command line: which subcommand, its options, its help. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "cli/commands.h"
#include "cli/libc_tune.h"

struct command {
    const char *name;
    enum cli_command bit; /* 0: takes no options */
    int (*run)(const struct cli_options *options);
    const char *usage;
    const char *summary;
    const char *more;
};

static const struct command commands[] = {
    {"start", COMMAND_START, command_start, "holon start [OPTIONS]", "run one node",
     "Founds a cluster in an empty directory, resumes in any other. Prints `holon: waiting for "
     "...`\nwhile there is no quorum and `holon: ready ...` once it serves everything. SIGTERM "
     "hands\nleaderships over, finishes what is in flight and ends.\n\nExit codes: 0 stopped by a "
     "signal, 1 refused or failed, 2 wrong options, 70 fatal damage\n(such as a disk that fails "
     "to sync); the reason is on standard error."},
    {"dev", COMMAND_DEV, command_dev, "holon dev [OPTIONS]",
     "run a whole cluster on this machine, for development",
     "Starts one `holon start` per node, prints where everything is, and ends them all on "
     "Ctrl-C.\nA node that dies is reported and stays dead; `holon dev --node I` with the same "
     "options\nbrings it back."},
    {"status", COMMAND_STATUS, command_status, "holon status [OPTIONS]",
     "what a running cluster looks like, what is wrong and what to do",
     "Exit codes: 0 all is well, 1 something is wrong or no node answered, 2 wrong options."},
    {"node", COMMAND_NODE, command_node,
     "holon node list | token | drain NAME | undrain NAME | remove NAME | label NAME name=value,... | "
     "replace NAME",
     "the nodes of a running cluster, and what becomes of them",
     "Token makes what lets one new node in, once (holon start --join). Replace makes one by which an empty\nmachine takes the place of a dead one.\n\n"
     "Drain moves all that a node holds to others, without an error for any client; a node that is "
     "empty\ncan be removed, and its name and machine used again by a new one. Labels say where a "
     "node stands (zone,\nrack, host), how much it takes (weight) and whether it should lead "
     "(leaders).\n\nExit codes: 0 done, 1 refused or no node answered, 2 wrong options."},
    {"rebalance", COMMAND_REBALANCE, command_rebalance, "holon rebalance [--dry-run]",
     "what the cluster moves from node to node, and is going to",
     "Nodes hold and lead as much as each other, by weight, one replica in each zone, rack and host "
     "while\nthere are enough. The cluster sees to that by itself."},
    {"upgrade", COMMAND_UPGRADE, command_upgrade, "holon upgrade status | finalize",
     "which versions the nodes run, and the end of an upgrade",
     "Nodes are upgraded one after the other: stop one with SIGTERM, start it with the new version on "
     "the\nsame directory, wait until `holon status` says that all is well. They can go back in the "
     "same way\nuntil `finalize`, which is refused unless every node runs a version that supports "
     "it.\n\nExit codes: 0 done, 1 refused or no node answered, 2 wrong options."},
    {"database", COMMAND_DATABASE, command_database,
     "holon database list | set N durability=memory|disk",
     "settings of the databases of a running cluster",
     "Durability disk (what all have at first): a write is acknowledged when it is durable on a "
     "majority of its\nreplicas. Memory, for caches: when a majority has written it to the operating "
     "system. A node that loses\npower loses nothing then, and copies its data from the others. If a "
     "majority loses power at once, the last\nwrites to such a database may be lost: `holon salvage "
     "--accept-loss` on those nodes brings the rest back.\nIt takes effect within a second.\n\nExit "
     "codes: 0 done, 1 refused or no node answered, 2 wrong options."},
    {"scrub", COMMAND_SCRUB, command_scrub, "holon scrub [--now]",
     "what the scrubber of a running node has found, or have all nodes scrubbed now",
     "Each node reads its log and stores in the background, and the replicas of each partition "
     "compare\ntheir rows with each other. What is damaged, or differs, is rebuilt from the others. "
     "--now begins a\npass on all nodes that are connected, faster than --scrub-rate.\n\nExit "
     "codes: 0 nothing was found, 1 something was or no node answered, 2 wrong options."},
    {"backup", COMMAND_BACKUP, command_backup, "holon backup DIR|FILE | verify DIR|FILE",
     "all of a running cluster as of one instant, in a directory or a file",
     "A path that ends with / or is a directory becomes a file for each partition; one that does not "
     "exist is a\nsingle file if its name has an extension. A run that was interrupted leaves no backup: "
     "say the same again,\nand it is made. With a passphrase (--passphrase-file, HOLON_PASSPHRASE, or "
     "--encrypt to be asked) it is\nencrypted. Verify reads all of one and writes nothing.\n\nExit "
     "codes: 0 done, 1 refused, failed or damaged, 2 wrong options."},
    {"restore", COMMAND_RESTORE, command_restore, "holon restore DIR|FILE",
     "a backup into a running cluster, of any number of nodes",
     "Nothing is written before the backup's manifest was found right, nor into a cluster that has keys, "
     "unless\n--overwrite is given. A run that was interrupted goes on where it was: say the same "
     "again.\n\nExit codes: 0 all of it is there, 1 refused, failed or damaged, 2 wrong options."},
    {"inspect", COMMAND_INSPECT, command_inspect, "holon inspect log|identity|engine DIR",
     "what is in a data directory, offline, changing nothing", ""},
    {"sim", 0, NULL, "holon sim [OPTIONS OF holon-sim]",
     "simulate a whole cluster with faults, from a seed",
     "Runs holon-sim, which is installed beside holon, with the same words: `holon sim --seed 7`,\n"
     "`holon sim --seeds 100`, `holon sim --list`; `holon sim` alone prints them all."},
    {"salvage", COMMAND_SALVAGE, command_salvage,
     "holon salvage --data DIR [--dry-run] [--accept-loss]",
     "keep what can be kept of a node that no peer can rebuild",
     "Offline. Says what is kept of each group and what may be missing; changes nothing without\n"
     "--accept-loss. Old files stay in DIR/quarantine. Exit codes: 0 done, or --dry-run; 1 refused, "
     "failed,\nor --accept-loss is needed; 2 wrong options."},
    {"version", 0, NULL, "holon version", "print the version", ""},
    {"help", 0, NULL, "holon help [COMMAND]", "print this, or all about one command", ""},
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static void print_overview(FILE *out)
{
    fprintf(out, "holon %s - many machines, one system\n\nusage: holon COMMAND [OPTIONS]\n\n",
            HOLON_VERSION);
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\n`holon dev` is the quickest way to see it run. `holon help COMMAND` tells "
                 "more.\n");
}

static int print_help(const char *name)
{
    const struct command *command = name ? find_command(name) : NULL;

    if (name == NULL) {
        print_overview(stdout);
        return EXIT_CODE_OK;
    }
    if (strcmp(name, "--markdown") == 0) { /* for docs/reference/configuration.md */
        cli_options_print_markdown();
        return EXIT_CODE_OK;
    }
    if (command == NULL) {
        fprintf(stderr, "holon: error: there is no command `%.64s`\n\n", name);
        print_overview(stderr);
        return EXIT_CODE_USAGE;
    }
    printf("usage: %s\n\n%s.\n", command->usage, command->summary);
    if (command->more[0] != '\0') printf("%s\n", command->more);
    if (command->bit != 0 && command->bit != COMMAND_INSPECT) {
        printf("\noptions [default]:\n");
        cli_options_print_help(command->bit);
    }
    return EXIT_CODE_OK;
}

static bool asks_for_help(int count, char **words)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) return true;
    return false;
}

int main(int count, char **words)
{
    struct error error;

    if (count < 2) {
        print_overview(stderr);
        return EXIT_CODE_USAGE;
    }
    const char *name = words[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    const struct command *command = find_command(name);
    if (command == NULL) return print_help(name);
    if (strcmp(name, "version") == 0) {
        printf("holon %s\n", HOLON_VERSION);
        return EXIT_CODE_OK;
    }
    if (strcmp(name, "help") == 0) return print_help(count > 2 ? words[2] : NULL);
    if (asks_for_help(count - 2, words + 2)) return print_help(name);
    if (strcmp(name, "sim") == 0) return command_sim(count - 2, words + 2);

    /* Before a file is read: options from a pipe are there only once. */
    if (command->bit == COMMAND_START) libc_tune(words);
    struct cli_options options;
    cli_options_default(command->bit, &options);
    if (cli_options_parse(command->bit, count - 2, words + 2, &options, &error)) {
        fprintf(stderr, "holon: error: %s\nholon: `holon help %s` lists all options\n", error.text,
                command->name);
        return EXIT_CODE_USAGE;
    }
    return command->run(&options);
}
