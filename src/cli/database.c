/* holon database - settings of the databases of a running cluster, by way of an admin port. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/http_get.h"
#include "cluster/view.h"

static bool is_in_memory(const json_t *status, int database)
{
    const json_t *number;
    size_t i;

    json_array_foreach(json_object_get(status, "memory_databases"), i,
                       number) if (json_integer_value(number) == database) return true;
    return false;
}

static int database_list(const struct cli_options *options)
{
    json_t *status = ask_admin_json(options, http_get, "/status");

    if (status == NULL) return EXIT_CODE_FAILED;
    printf("  database  durability\n");
    for (int i = 0; i < VIEW_DATABASES_MAX; i++)
        printf("  %8d  %s\n", i, is_in_memory(status, i) ? "memory" : "disk");
    json_decref(status);
    return EXIT_CODE_OK;
}

static int database_set(const struct cli_options *options, const char *number, const char *setting)
{
    char path[128];

    int size = snprintf(path, sizeof(path), "/databases/%s?%s", number, setting);
    bool printable =
        strpbrk(number, "/?# %\t\r\n") == NULL && strpbrk(setting, "?# %\t\r\n") == NULL;
    if (size < 0 || (size_t)size >= sizeof(path) || !printable) {
        fprintf(stderr, "holon: error: `%.32s %.32s` is no number of a database and setting\n",
                number, setting);
        return EXIT_CODE_USAGE;
    }
    json_t *answer = ask_admin_json(options, http_post, path);
    if (answer == NULL) return EXIT_CODE_FAILED;
    json_decref(answer);
    if (strcmp(setting, "durability=memory") == 0)
        printf(
            "writes to database %s are acknowledged when a majority of the replicas has written "
            "them to the\noperating system, before they are durable. One node that loses power "
            "loses nothing. If a majority\nof the nodes that hold a key lose power at once, the last "
            "writes to database %s may be lost, and\ntheir partitions wait for "
            "`holon salvage --accept-loss` on these nodes. Other databases lose nothing\n",
            number, number);
    else
        printf("writes to database %s are acknowledged when they are durable on a majority\n",
               number);
    return EXIT_CODE_OK;
}

int command_database(const struct cli_options *options)
{
    bool list = options->word_count == 1 && strcmp(options->words[0], "list") == 0;
    bool set = options->word_count == 3 && strcmp(options->words[0], "set") == 0;

    if (list) return database_list(options);
    if (set) return database_set(options, options->words[1], options->words[2]);
    fprintf(stderr, "holon: error: usage: holon database list | set N durability=memory|disk  "
                    "[--admin HOST:PORT]\n");
    return EXIT_CODE_USAGE;
}
