/* holon status - asks a node's admin port and says it in words. */
#include <jansson.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/http_get.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void print_nodes(const json_t *status)
{
    const json_t *node;
    size_t i;

    printf("\n  node          state  leads  replicas  behind  redis\n");
    json_array_foreach(json_object_get(status, "nodes"), i, node)
    {
        printf("  %-12s  %-5s  %5lld  %8lld  %6lld  %s\n", text_of(node, "name"),
               text_of(node, "state"), number_of(node, "leads"), number_of(node, "replicas"),
               number_of(node, "behind"), text_of(node, "redis"));
    }
}

static void print_problems(const json_t *status)
{
    const json_t *problem;
    size_t i;

    json_array_foreach(json_object_get(status, "problems"), i, problem)
    {
        printf("\n  wrong: %s\n  to do: %s\n", text_of(problem, "what"), text_of(problem, "do"));
    }
}

static int print_status(const char *body, size_t size)
{
    json_error_t parse_error;
    json_t *status = json_loadb(body, size, 0, &parse_error);

    if (status == NULL) {
        fprintf(stderr, "holon: error: the answer is no JSON: %s\n", parse_error.text);
        return EXIT_CODE_FAILED;
    }
    size_t problems = json_array_size(json_object_get(status, "problems"));
    printf("cluster %s  asked node %s  partitions %lld (%lld with a leader)  table %lld\n",
           text_of(status, "cluster"), text_of(status, "node"), number_of(status, "partitions"),
           number_of(status, "partitions_led"), number_of(status, "table_epoch"));
    print_nodes(status);
    print_problems(status);
    if (problems == 0) printf("\n  all is well\n");
    json_decref(status);
    return problems == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

int command_status(const struct cli_options *options)
{
    static const char *const usual[] = {"127.0.0.1:9379", "127.0.0.1:7301"};
    struct buffer body;
    struct error error;
    int code = 0;

    buffer_init(&body, HTTP_GET_BODY_MAX);
    enum status status;
    if (options->status_admin[0] != '\0') {
        status = http_get(options->status_admin, "/status", &body, &code, &error);
    } else {
        status = http_get(usual[0], "/status", &body, &code, &error);
        if (status == STATUS_REFUSED) status = http_get(usual[1], "/status", &body, &code, &error);
        if (status == STATUS_REFUSED)
            error_set(&error, status,
                      "nobody answers at %s or %s: is a node running? Name its admin address with "
                      "--admin HOST:PORT",
                      usual[0], usual[1]);
    }
    int exit_code = EXIT_CODE_FAILED;
    struct bytes bytes = buffer_bytes(&body);
    if (status) {
        fprintf(stderr, "holon: error: %s\n", error.text);
    } else if (code != 200) {
        fprintf(stderr, "holon: error: the node answered %d\n", code);
    } else if (options->json) {
        printf("%.*s\n", (int)bytes.size, (const char *)bytes.data);
        exit_code = EXIT_CODE_OK;
    } else {
        exit_code = print_status((const char *)bytes.data, bytes.size);
    }
    buffer_free(&body);
    return exit_code;
}
