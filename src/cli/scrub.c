/* holon scrub - what the scrubber of a node has found; --now: a pass on all nodes. */
#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "cli/commands.h"
#include "cli/http_get.h"

static json_t *ask(const struct cli_options *options, admin_method *method, const char *path)
{
    struct buffer body;
    json_error_t parse_error;
    json_t *json = NULL;

    buffer_init(&body, HTTP_GET_BODY_MAX);
    if (ask_admin(options, method, path, &body)) {
        struct bytes bytes = buffer_bytes(&body);
        json = json_loadb((const char *)bytes.data, bytes.size, 0, &parse_error);
        if (json == NULL)
            fprintf(stderr, "holon: error: the answer is no JSON: %s\n", parse_error.text);
    }
    buffer_free(&body);
    return json;
}

static long long number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Returns how many there are. */
static size_t print_places(const json_t *damage)
{
    const json_t *place;
    size_t i;

    json_array_foreach(damage, i, place)
        printf("  %s offset %lld: %s (%s)\n", text_of(place, "file"), number_of(place, "offset"),
               text_of(place, "what"), text_of(place, "state"));
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
               number_of(replica, "replica"), number_of(replica, "group"), text_of(replica, "what"),
               text_of(replica, "state"));
    if (!json_is_object(disputed)) return json_array_size(fenced);
    printf("  the replicas of group %lld differ, and which is wrong cannot be told: %s\n",
           number_of(disputed, "group"), text_of(disputed, "what"));
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
           text_of(status, "node"), number_of(scrub, "passes"), number_of(scrub, "bytes") >> 20,
           number_of(scrub, "ranges_compared"),
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
    json_t *answer = ask(options, options->scrub_now ? http_post : http_get,
                         options->scrub_now ? "/scrub" : "/status");
    int code = EXIT_CODE_OK;

    if (answer == NULL) return EXIT_CODE_FAILED;
    if (options->scrub_now)
        printf("%s: `holon scrub` says what is found\n", text_of(answer, "done"));
    else
        code = print_findings(answer);
    json_decref(answer);
    return code;
}
