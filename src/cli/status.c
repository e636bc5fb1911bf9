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

    printf("\n  node          state     leads  replicas  behind  redis\n");
    json_array_foreach(json_object_get(status, "nodes"), i, node)
    {
        bool draining = json_is_true(json_object_get(node, "draining"));
        bool up = strcmp(text_of(node, "state"), "up") == 0;
        bool empty = number_of(node, "replicas") == 0 && number_of(status, "groups_moving") == 0;
        const char *state = !draining ? text_of(node, "state")
                            : !up     ? "drained,-"
                            : empty   ? "drained"
                                      : "draining";
        printf("  %-12s  %-8s  %5lld  %8lld  %6lld  %s\n", text_of(node, "name"), state,
               number_of(node, "leads"), number_of(node, "replicas"), number_of(node, "behind"),
               text_of(node, "redis"));
    }
}

static void print_moves(const json_t *status)
{
    long long moving = number_of(status, "groups_moving");

    if (moving > 0)
        printf("\n  %lld of %lld groups are on their way to other nodes\n", moving,
               number_of(status, "partitions") + 1);
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
    print_moves(status);
    print_problems(status);
    if (problems == 0) printf("\n  all is well\n");
    json_decref(status);
    return problems == 0 ? EXIT_CODE_OK : EXIT_CODE_FAILED;
}

/* {"error": text} of an answer, or the answer. */
static void print_refusal(int code, struct bytes body)
{
    json_error_t parse_error;
    json_t *json = json_loadb((const char *)body.data, body.size, 0, &parse_error);
    const char *text = json_string_value(json_object_get(json, "error"));

    if (text != NULL)
        fprintf(stderr, "holon: error: %s\n", text);
    else
        fprintf(stderr, "holon: error: the node answered %d\n", code);
    json_decref(json);
}

bool ask_admin(const struct cli_options *options, admin_method *method, const char *path,
               struct buffer *body)
{
    static const char *const usual[] = {"127.0.0.1:9379", "127.0.0.1:7301"};
    struct error error;
    int code = 0;

    enum status status;
    if (options->status_admin[0] != '\0') {
        status = method(options->status_admin, path, body, &code, &error);
    } else {
        status = method(usual[0], path, body, &code, &error);
        if (status == STATUS_REFUSED) status = method(usual[1], path, body, &code, &error);
        if (status == STATUS_REFUSED)
            error_set(&error, status,
                      "nobody answers at %s or %s: is a node running? Name its admin address with "
                      "--admin HOST:PORT",
                      usual[0], usual[1]);
    }
    if (status)
        fprintf(stderr, "holon: error: %s\n", error.text);
    else if (code != 200)
        print_refusal(code, buffer_bytes(body));
    return status == STATUS_OK && code == 200;
}

int command_status(const struct cli_options *options)
{
    struct buffer body;
    int exit_code = EXIT_CODE_FAILED;

    buffer_init(&body, HTTP_GET_BODY_MAX);
    bool answered = ask_admin(options, http_get, "/status", &body);
    struct bytes bytes = buffer_bytes(&body);
    if (answered && options->json) {
        printf("%.*s\n", (int)bytes.size, (const char *)bytes.data);
        exit_code = EXIT_CODE_OK;
    } else if (answered) {
        exit_code = print_status((const char *)bytes.data, bytes.size);
    }
    buffer_free(&body);
    return exit_code;
}
