/* holon node, holon rebalance - what an operator asks of a running cluster, by way of an admin
 * port. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "cli/commands.h"
#include "cli/http_get.h"
#include "cluster/join_token.h"
#include "cluster/labels.h"

enum { NODE_PATH_SIZE_MAX = 128 + LABELS_SIZE_MAX };

static int node_list(const struct cli_options *options)
{
    json_t *status = ask_admin_json(options, http_get, "/status");
    const json_t *node;
    size_t i;

    if (status == NULL) return EXIT_CODE_FAILED;
    printf("  id  name          state     leads  replicas  peer                   labels\n");
    json_array_foreach(json_object_get(status, "nodes"), i, node)
    {
        bool draining = json_is_true(json_object_get(node, "draining"));
        printf("  %2lld  %-12s  %-8s  %5lld  %8lld  %-21s  %s\n", json_number(node, "id"),
               json_text(node, "name"), draining ? "draining" : json_text(node, "state"),
               json_number(node, "leads"), json_number(node, "replicas"), json_text(node, "peer"),
               json_text(node, "labels"));
    }
    json_decref(status);
    return EXIT_CODE_OK;
}

static int node_change(const struct cli_options *options, const char *verb, const char *name,
                       const char *labels)
{
    char path[NODE_PATH_SIZE_MAX];

    int size =
        snprintf(path, sizeof(path), "/nodes/%s/%s%s%s", name, verb, labels[0] ? "?" : "", labels);
    bool printable = strpbrk(name, "/?# %\t\r\n") == NULL && strpbrk(labels, "?# %\t\r\n") == NULL;
    if (size < 0 || (size_t)size >= sizeof(path) || !printable) {
        fprintf(stderr, "holon: error: `%.64s %.64s` is no name of a node and labels\n", name,
                labels);
        return EXIT_CODE_USAGE;
    }
    json_t *answer = ask_admin_json(options, http_post, path);
    if (answer == NULL) return EXIT_CODE_FAILED;
    json_decref(answer);
    if (strcmp(verb, "drain") == 0)
        printf(
            "%s is being drained: `holon status` shows how far it is; then `holon node remove %s`\n",
            name, name);
    else if (strcmp(verb, "remove") == 0)
        printf(
            "%s is not in the cluster any more: its process ends by itself, its directory may go\n",
            name);
    else
        printf("done\n");
    return EXIT_CODE_OK;
}

/* The cluster learns the hash of a secret, and that only: whoever reads its rows cannot join. */
static int node_token(const struct cli_options *options, const char *old)
{
    uint8_t secret[JOIN_SECRET_SIZE], hash[SHA256_SIZE];
    char path[NODE_PATH_SIZE_MAX], hex[2 * SHA256_SIZE + 1], text[JOIN_TOKEN_TEXT_SIZE];
    bool printable = strpbrk(old, "/?# %\t\r\n") == NULL && strlen(old) < NODE_NAME_SIZE_MAX;

    if (!printable || getentropy(secret, sizeof(secret)) != 0) {
        fprintf(stderr, "holon: error: `%.64s` is no name of a node\n", old);
        return EXIT_CODE_USAGE;
    }
    sha256(bytes_make(secret, sizeof(secret)), hash);
    hex_print(bytes_make(hash, sizeof(hash)), hex);
    snprintf(path, sizeof(path), "%s%s%s?hash=%s&ttl=%llu", old[0] ? "/nodes/" : "/token", old,
             old[0] ? "/replace" : "", hex, (unsigned long long)(options->token_ttl / 1000000));
    json_t *answer = ask_admin_json(options, http_post, path);
    if (answer == NULL) return EXIT_CODE_FAILED;
    json_decref(answer);
    join_token_print(secret, text);
    printf("%s\n", text);
    if (old[0])
        fprintf(stderr,
                "for one machine, once: holon start --name %s --data EMPTY-DIR --join HOST:PORT "
                "--token TOKEN takes the place of %s, which must stay off\n",
                old, old);
    else
        fprintf(stderr, "for one node, once: holon start --data EMPTY-DIR --join HOST:PORT --token "
                        "TOKEN\n");
    return EXIT_CODE_OK;
}

static int node_usage(void)
{
    fprintf(
        stderr,
        "holon: error: usage: holon node list | token | drain NAME | undrain NAME | remove NAME | "
        "label NAME name=value,... | replace NAME  [--ttl TIME] [--admin HOST:PORT]\n");
    return EXIT_CODE_USAGE;
}

int command_node(const struct cli_options *options)
{
    static const char *const changes[] = {"drain", "undrain", "remove"};

    if (options->word_count == 1 && strcmp(options->words[0], "list") == 0)
        return node_list(options);
    if (options->word_count == 1 && strcmp(options->words[0], "token") == 0)
        return node_token(options, "");
    if (options->word_count == 2 && strcmp(options->words[0], "replace") == 0 &&
        options->words[1][0] != '\0')
        return node_token(options, options->words[1]);
    if (options->word_count == 3 && strcmp(options->words[0], "label") == 0)
        return node_change(options, "label", options->words[1], options->words[2]);
    for (size_t i = 0; i < ARRAY_COUNT(changes) && options->word_count == 2; i++)
        if (strcmp(options->words[0], changes[i]) == 0)
            return node_change(options, changes[i], options->words[1], "");
    return node_usage();
}

static void print_names(const json_t *names)
{
    const json_t *name;
    size_t i;

    json_array_foreach(names, i, name) printf("%s%s", i > 0 ? ", " : "", json_string_value(name));
}

/* Moves are made as soon as the table is not as it should be, so there is nothing to start. */
int command_rebalance(const struct cli_options *options)
{
    json_t *plan = ask_admin_json(options, http_get, "/plan");
    const json_t *move;
    size_t i;

    if (plan == NULL) return EXIT_CODE_FAILED;
    if (json_number(plan, "left") == 0 && json_array_size(json_object_get(plan, "next")) == 0)
        printf("nothing is to be moved\n");
    else
        printf("%lld groups are not where they should be, or on their way%s\n",
               json_number(plan, "left"),
               options->dry_run ? "; next:" : "; the cluster moves them by itself");
    json_array_foreach(json_object_get(plan, "next"), i, move)
    {
        if (!options->dry_run) break;
        printf("  group %-5lld ", json_number(move, "group"));
        print_names(json_object_get(move, "from"));
        printf(" -> ");
        print_names(json_object_get(move, "to"));
        printf("\n");
    }
    json_decref(plan);
    return EXIT_CODE_OK;
}

/* --- holon upgrade ------------------------------------------------------------------------ */

static int upgrade_status(const struct cli_options *options)
{
    json_t *status = ask_admin_json(options, http_get, "/status");
    long long version, lowest = 0;
    const json_t *node;
    size_t i;

    if (status == NULL) return EXIT_CODE_FAILED;
    version = json_number(status, "cluster_version");
    printf("cluster version %lld\n\n  node          state     version   supports up to\n", version);
    json_array_foreach(json_object_get(status, "nodes"), i, node)
    {
        long long supports = json_number(node, "supports");
        const char *release = json_text(node, "version");
        printf("  %-12s  %-8s  %-8s  ", json_text(node, "name"), json_text(node, "state"),
               release[0] ? release
               : supports ? "earlier"
                          : "unknown");
        printf(supports ? "%lld\n" : "-\n", supports);
        if (i == 0 || supports < lowest) lowest = supports;
    }
    if (lowest > version)
        printf("\n  all nodes support version %lld: `holon upgrade finalize` makes it that of the "
               "cluster.\n  After it no node can go back to an earlier version\n",
               lowest);
    else if (lowest < version || lowest == 0)
        printf("\n  not all nodes are connected\n");
    else
        printf("\n  nothing is to be finalized\n");
    json_decref(status);
    return EXIT_CODE_OK;
}

int command_upgrade(const struct cli_options *options)
{
    bool one = options->word_count == 1;

    if (one && strcmp(options->words[0], "status") == 0) return upgrade_status(options);
    if (!one || strcmp(options->words[0], "finalize") != 0) {
        fprintf(stderr, "holon: error: usage: holon upgrade status | finalize  "
                        "[--admin HOST:PORT]\n");
        return EXIT_CODE_USAGE;
    }
    json_t *answer = ask_admin_json(options, http_post, "/upgrade/finalize");
    if (answer == NULL) return EXIT_CODE_FAILED;
    json_decref(answer);
    printf("the cluster is at the version that all its nodes support; no node can go back now\n");
    return EXIT_CODE_OK;
}
