#include "cli/options_join.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

enum { TOKEN_FILE_MAX = 256 };

enum status options_take_join(const char *value, struct node_options *node, struct error *error)
{
    node->join_count = 0;
    while (*value != '\0') {
        size_t size = strcspn(value, ",");
        struct address address;
        if (size >= ADDRESS_SIZE_MAX || !parse_address(bytes_make(value, size), false, &address))
            return error_set(
                error, STATUS_INVALID,
                "--join `%.*s` is no HOST:PORT: give the peer addresses of one or more "
                "nodes of the cluster, such as 127.0.0.1:8379",
                (int)(size > 80 ? 80 : size), value);
        if (node->join_count == JOIN_ADDRESSES_MAX)
            return error_set(error, STATUS_INVALID, "--join has more than %d addresses",
                             JOIN_ADDRESSES_MAX);
        char *into = node->join[node->join_count++];
        memcpy(into, value, size);
        into[size] = '\0';
        value += size;
        if (*value == ',') value++;
    }
    if (node->join_count == 0) return error_set(error, STATUS_INVALID, "--join names no address");
    return STATUS_OK;
}

static struct bytes trimmed(const char *text, size_t size)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1]) != NULL)
        size--;
    return bytes_make(text, size);
}

static enum status read_token(const char *path, char text[TOKEN_FILE_MAX], size_t *ret_size,
                              struct error *error)
{
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return error_set(error, STATUS_NOT_FOUND, "cannot read the token in %.200s: %m", path);
    *ret_size = fread(text, 1, TOKEN_FILE_MAX, file);
    fclose(file);
    return STATUS_OK;
}

enum status options_take_token(char *value, struct node_options *node, struct error *error)
{
    char text[TOKEN_FILE_MAX];
    size_t size = strlen(value);
    enum status status = STATUS_OK;

    if (value[0] == '@') {
        status = read_token(value + 1, text, &size, error);
        if (status == STATUS_OK) status = join_token_parse(trimmed(text, size), node->token, error);
    } else {
        status = join_token_parse(trimmed(value, size), node->token, error);
        memset(value, 'x', size);
    }
    node->has_token = status == STATUS_OK;
    return status;
}

enum status options_token_of_environment(struct node_options *node, struct error *error)
{
    char *value = getenv("HOLON_TOKEN");

    if (node->has_token || value == NULL || value[0] == '\0') return STATUS_OK;
    enum status status = join_token_parse(bytes_of(value), node->token, error);
    node->has_token = status == STATUS_OK;
    return status;
}

enum status options_take_label(const char *name, const char *value, struct node_options *node,
                               struct error *error)
{
    char change[LABELS_SIZE_MAX];
    struct error cause;

    int size = snprintf(change, sizeof(change), "%s%s%s", name ? name : "", name ? "=" : "", value);
    bool fits = size >= 0 && (size_t)size < sizeof(change);
    if (fits && name != NULL && strpbrk(value, ",=") != NULL)
        return error_set(error, STATUS_INVALID, "--%s `%.60s` takes one value", name, value);
    if (!fits || labels_change(node->labels, change, &cause))
        return error_set(error, STATUS_INVALID, "--%s `%.60s`: %.300s", name ? name : "label",
                         value, fits ? cause.text : "labels are at most 255 bytes");
    return STATUS_OK;
}
