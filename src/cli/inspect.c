/* holon inspect - what is in a data directory, offline. Nothing is changed. */
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cli/commands.h"
#include "cli/inspect_engine.h"
#include "cluster/identity.h"
#include "storage/log/log.h"
#include "world/world_real.h"

static int inspect_identity(struct world *world, const char *directory)
{
    struct identity identity;
    struct error error;
    char cluster[CLUSTER_ID_TEXT_SIZE];

    enum status status = identity_load(world, directory, &identity, &error);
    if (status == STATUS_NOT_FOUND) {
        printf("%s has no identity: it is empty, or no data directory\n", directory);
        return EXIT_CODE_FAILED;
    }
    if (status) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_FAILED;
    }
    cluster_id_print(identity.cluster, cluster);
    printf("name        %s\nnode        %u\ncluster     %s\nstore       %016llx\n", identity.name,
           identity.node, cluster, (unsigned long long)identity.store);
    printf("state       %s\n", identity.state == IDENTITY_MEMBER
                                   ? "member"
                                   : "accepted a founding that is not complete");
    printf("epochs      next %u, spoken %u, reserved %u to %u\n", identity.epoch_next,
           identity.epoch_spoken, identity.epoch_first, identity.epoch_last);
    printf("origin      %s\n",
           identity.proposal ? "founding member" : "rejoined with an empty directory");
    printf("settings    partitions %u, replicas %u, reads %s, stores %u\n", identity.partitions,
           identity.replicas, reads_mode_name(identity.reads), identity.stores);
    printf("last stop   %s\n", identity.clean ? "clean" : "not clean, or still running");

    struct cluster_view *view = memory_allocate(sizeof(*view));
    cluster_view_init(view);
    status = view_file_load(world, directory, "table", view, &error);
    if (status == STATUS_OK) {
        printf("table       epoch %llu, %u nodes, %u groups\n",
               (unsigned long long)view->table_epoch, view->node_count, view->group_count);
        for (uint32_t i = 0; i < view->node_count; i++)
            printf("  %-10s store %016llx epoch %u peer %s redis %s\n", view->nodes[i].name,
                   (unsigned long long)view->nodes[i].store, view->nodes[i].epoch,
                   view->nodes[i].peer, view->nodes[i].redis);
    } else {
        printf("table       %s\n", status == STATUS_NOT_FOUND ? "missing" : error.text);
    }
    cluster_view_free(view);
    memory_free(view);
    return status == STATUS_OK ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

static void print_line(void *context, const char *line)
{
    puts(line);
}

static int inspect_log(struct world *world, const char *directory)
{
    char path[PATH_SIZE_MAX];
    struct error error;

    path_join(path, directory, "log");
    if (log_inspect(world, path, NULL, print_line, &error)) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_FAILED;
    }
    return EXIT_CODE_OK;
}

int command_inspect(const struct cli_options *options)
{
    struct world_real_options world_options;
    struct logger logger;
    struct host *host = NULL;
    struct error error;

    if (options->word_count != 2 || strlen(options->words[1]) > 1000) {
        fprintf(stderr, "usage: holon inspect log|identity|engine DIR\n");
        return EXIT_CODE_USAGE;
    }
    const char *what = options->words[0];
    const char *directory = options->words[1];
    logger_to_stderr(&logger, LOG_LEVEL_WARN);
    world_options = (struct world_real_options){.logger = &logger};
    if (host_create(&world_options, &host, &error)) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_FAILED;
    }
    struct world *world = world_real_create(host, 0);
    int code = EXIT_CODE_USAGE;
    if (strcmp(what, "identity") == 0) {
        code = inspect_identity(world, directory);
    } else if (strcmp(what, "log") == 0) {
        code = inspect_log(world, directory);
    } else if (strcmp(what, "engine") == 0) {
        code = inspect_engine(world, directory);
    } else {
        fprintf(stderr,
                "holon: error: `%.64s` cannot be inspected; there are log, identity and "
                "engine\n",
                what);
    }
    world_real_destroy(world);
    host_destroy(host);
    return code;
}
