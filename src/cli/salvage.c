/* holon salvage - the command: real files and RocksDB for src/node/salvage.c. */
#include <stdio.h>

#include "cli/commands.h"
#include "node/salvage.h"
#include "world/world_real.h"

enum { SALVAGE_CACHE_BYTES = 1 << 20 };

static enum status open_engine(void *context, const char *directory, bool read_only,
                               struct engine **ret_engine, struct error *error)
{
    if (read_only)
        return engine_rocksdb_open_read_only(directory, SALVAGE_CACHE_BYTES, ret_engine, error);
    return engine_rocksdb_open(NULL, directory, SALVAGE_CACHE_BYTES, ret_engine, error);
}

static void say(void *context, const char *text)
{
    fputs(text, stdout);
    fflush(stdout); /* it stands before what it tells of is done */
}

static enum salvage_wish wish_of(const struct cli_options *options)
{
    if (options->dry_run) return SALVAGE_LOOK;
    return options->salvage_accept_loss ? SALVAGE_ACCEPT_LOSS : SALVAGE_ASK;
}

int command_salvage(const struct cli_options *options)
{
    struct world_real_options world_options;
    enum salvage_wish wish = wish_of(options);
    enum salvage_outcome outcome;
    struct logger logger;
    struct host *host = NULL;
    struct error error;

    logger_to_stderr(&logger, LOG_LEVEL_WARN);
    world_options = (struct world_real_options){.logger = &logger};
    enum status status = host_create(&world_options, &host, &error);
    if (status == STATUS_OK) {
        struct salvage_platform platform = {
            .world = world_real_create(host, 0), .engine_open = open_engine, .say = say};
        status = salvage_run(&platform, options->node.data, wish, &outcome, &error);
        world_real_destroy(platform.world);
    }
    host_destroy(host);
    if (status) {
        fprintf(stderr, "holon: error: %s\n", error.text);
        return EXIT_CODE_FAILED;
    }
    bool as_wished = outcome == (wish == SALVAGE_LOOK ? SALVAGE_NOTHING_CHANGED : SALVAGE_DONE);
    return as_wished ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}
