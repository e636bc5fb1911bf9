/* holon scrub - what the scrubber of a node has found; --now: a pass on all nodes. */
#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "cli/commands.h"
#include "cli/http_get.h"

/* Returns how many there are. */
static size_t print_places(const json_t *damage)
{
    const json_t *place;
    size_t i;

    json_array_foreach(damage, i, place)
        printf("  %s offset %lld: %s (%s)\n", json_text(place, "file"),
               json_number(place, "offset"), json_text(place, "what"), json_text(place, "state"));
    return json_array_size(damage);
}

static size_t print_replicas(const json_t *status)
{
    const json_t *fenced = json_object_get(status, "fenced");
    const json_t *disputed = json_object_get(status, "disputed");
    const json_t *replica;
    size_t i;

    json_array_foreach(fenced, i, replica)
        printf("  replica %lld of group %lld differed from its peers: %s (%s)\n",
               json_number(replica, "replica"), json_number(replica, "group"),
               json_text(replica, "what"), json_text(replica, "state"));
    if (!json_is_object(disputed)) return json_array_size(fenced);
    printf("  the replicas of group %lld differ, and which is wrong cannot be told: %s\n",
           json_number(disputed, "group"), json_text(disputed, "what"));
    return json_array_size(fenced) + 1;
}

static int print_findings(const json_t *status)
{
    const json_t *scrub = json_object_get(status, "scrub");
    bool under_way = json_is_true(json_object_get(scrub, "under_way"));
    bool rows = json_is_true(json_object_get(scrub, "rows_under_way"));
    size_t found = 0;

    printf("node %s: %lld passes since its start, %lld MiB read, %lld ranges of rows compared as "
           "leader%s\n",
           json_text(status, "node"), json_number(scrub, "passes"),
           json_number(scrub, "bytes") >> 20, json_number(scrub, "ranges_compared"),
           rows        ? "; rows are being compared"
           : under_way ? "; a pass is under way"
                       : "");
    found += print_places(json_object_get(status, "log_damage"));
    found += print_places(json_object_get(status, "file_damage"));
    found += print_places(json_object_get(status, "stores"));
    found += print_replicas(status);
    if (found == 0) printf("nothing was found\n");
    return found == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

int command_scrub(const struct cli_options *options)
{
    json_t *answer = ask_admin_json(options, options->scrub_now ? http_post : http_get,
                                    options->scrub_now ? "/scrub" : "/status");
    int code = EXIT_CODE_OK;

    if (answer == NULL) return EXIT_CODE_FAILED;
    if (options->scrub_now)
        printf("%s: `holon scrub` says what is found\n", json_text(answer, "done"));
    else
        code = print_findings(answer);
    json_decref(answer);
    return code;
}
