/* holon status - asks a node's admin port and says it in words. */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/http_get.h"
#include "cli/progress.h"

enum { PROGRESS_SIZE_MAX = 64 << 10, WATCH_S = 1 };

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

long long json_number(const json_t *object, const char *key)
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
        bool up = strcmp(json_text(node, "state"), "up") == 0;
        bool empty =
            json_number(node, "replicas") == 0 && json_number(status, "groups_moving") == 0;
        const char *state = !draining ? json_text(node, "state")
                            : !up     ? "drained,-"
                            : empty   ? "drained"
                                      : "draining";
        printf("  %-12s  %-8s  %5lld  %8lld  %6lld  %s\n", json_text(node, "name"), state,
               json_number(node, "leads"), json_number(node, "replicas"),
               json_number(node, "behind"), json_text(node, "redis"));
    }
}

static void print_moves(const json_t *status)
{
    struct buffer text;

    buffer_init(&text, PROGRESS_SIZE_MAX);
    progress_append(json_object_get(status, "moves"), isatty(STDOUT_FILENO) != 0, &text);
    printf("%.*s", (int)buffer_size(&text), (const char *)buffer_bytes(&text).data);
    buffer_free(&text);
}

static void print_databases(const json_t *status)
{
    const json_t *databases = json_object_get(status, "memory_databases"), *number;
    size_t i;

    if (json_array_size(databases) == 0) return;
    printf("\n  durability memory: database");
    json_array_foreach(databases, i, number)
        printf("%s %lld", i ? "," : "", (long long)json_integer_value(number));
    printf(". If a majority of nodes loses power at once, its last writes may be lost\n");
}

static void print_problems(const json_t *status)
{
    const json_t *problem;
    size_t i;

    json_array_foreach(json_object_get(status, "problems"), i, problem)
    {
        printf("\n  wrong: %s\n  to do: %s\n", json_text(problem, "what"),
               json_text(problem, "do"));
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
           json_text(status, "cluster"), json_text(status, "node"),
           json_number(status, "partitions"), json_number(status, "partitions_led"),
           json_number(status, "table_epoch"));
    print_nodes(status);
    print_moves(status);
    print_databases(status);
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

json_t *ask_admin_json(const struct cli_options *options, admin_method *method, const char *path)
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

static int ask_status(const struct cli_options *options, bool redraw)
{
    struct buffer body;
    int exit_code = EXIT_CODE_FAILED;

    buffer_init(&body, HTTP_GET_BODY_MAX);
    bool answered = ask_admin(options, http_get, "/status", &body);
    struct bytes bytes = buffer_bytes(&body);
    if (redraw) printf("\033[H\033[J"); /* to the corner, and nothing behind it */
    if (answered && options->json) {
        printf("%.*s\n", (int)bytes.size, (const char *)bytes.data);
        exit_code = EXIT_CODE_OK;
    } else if (answered) {
        exit_code = print_status((const char *)bytes.data, bytes.size);
    }
    buffer_free(&body);
    return exit_code;
}

int command_status(const struct cli_options *options)
{
    bool terminal = isatty(STDOUT_FILENO) != 0;
    int exit_code = ask_status(options, options->watch && terminal);

    /* Until it is interrupted; a node that does not answer for a while may be back. */
    while (options->watch && !ferror(stdout)) {
        fflush(stdout);
        sleep(WATCH_S);
        exit_code = ask_status(options, terminal);
    }
    return exit_code;
}
