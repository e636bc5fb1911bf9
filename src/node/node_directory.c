/* The data directory: its lock (F12), its pid, and whether the settings given fit it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/hash.h"
#include "node/node_internal.h"

static uint32_t read_pid(struct node *node)
{
    char path[PATH_SIZE_MAX];
    char text[16] = {0};
    struct file *file = NULL;
    size_t size = 0;

    path_join(path, node->options.data, "holon.pid");
    if (file_open(node->world, path, FILE_READ, &file, NULL) == STATUS_OK)
        file_read(file, 0, text, sizeof(text) - 1, &size, NULL);
    file_close(file);
    return (uint32_t)strtoul(text, NULL, 10);
}

static void write_pid(struct node *node)
{
    char path[PATH_SIZE_MAX];
    char text[16];
    struct file *file = NULL;

    if (node->options.process_id == 0) return;
    path_join(path, node->options.data, "holon.pid");
    snprintf(text, sizeof(text), "%u\n", node->options.process_id);
    if (file_open(node->world, path, FILE_WRITE | FILE_CREATE, &file, NULL) == STATUS_OK) {
        file_truncate(file, 0, NULL);
        file_write(file, 0, bytes_of(text), NULL);
    }
    file_close(file);
}

/* DIR/lock: "HOLONLK1" | u64 token of the process | u32 crc32c of both; or empty, if that could not
 * be written. */
enum { LOCK_SIZE = 8 + 8 + 4 };
#define LOCK_MAGIC "HOLONLK1"

static void write_token(struct node *node)
{
    uint8_t text[LOCK_SIZE];

    memcpy(text, LOCK_MAGIC, 8);
    store_u64(text + 8, node->token);
    store_u32(text + 16, crc32c(0, bytes_make(text, 16)));
    if (file_truncate(node->lock, 0, NULL)) return;
    if (file_write(node->lock, 0, bytes_make(text, LOCK_SIZE), NULL))
        file_truncate(node->lock, 0, NULL);
}

bool node_lock_is_of_another(struct node *node, struct file *lock)
{
    uint8_t text[LOCK_SIZE];
    size_t size = 0;

    if (file_read(lock, 0, text, LOCK_SIZE, &size, NULL) || size < LOCK_SIZE) return false;
    bool whole =
        memcmp(text, LOCK_MAGIC, 8) == 0 && load_u32(text + 16) == crc32c(0, bytes_make(text, 16));
    return whole && load_u64(text + 8) != node->token;
}

/* The lock lives as long as the process: a second one must never write the same log (F12). */
enum status node_lock_directory(struct node *node, struct error *error)
{
    char path[PATH_SIZE_MAX];
    const char *data = node->options.data;

    enum status status = world_make_durable_dir(node->world, data, error);
    if (status) return status;
    path_join(path, data, "lock");
    status = file_open(node->world, path, FILE_WRITE | FILE_CREATE, &node->lock, error);
    if (status) return status;
    status = file_lock(node->lock, error);
    if (status == STATUS_REFUSED)
        return error_set(error, status,
                         "%.300s is in use by another holon process (pid %u in holon.pid): stop "
                         "that one, or choose another --data",
                         data, read_pid(node));
    if (status == STATUS_OK) {
        write_token(node);
        write_pid(node);
    }
    return status;
}

/* --- settings ------------------------------------------------------------------------- */

static enum status refuse_setting(struct error *error, const char *name, const char *given,
                                  const char *stored)
{
    return error_set(error, STATUS_REFUSED,
                     "--%s %s was given, but this cluster was founded with %s %s. It is a setting "
                     "of the cluster: leave the option out, or give the stored value",
                     name, given, name, stored);
}

static enum status check_number(uint32_t given, uint32_t stored, const char *name,
                                struct error *error)
{
    char given_text[16], stored_text[16];

    if (given == 0 || given == stored) return STATUS_OK;
    snprintf(given_text, sizeof(given_text), "%u", given);
    snprintf(stored_text, sizeof(stored_text), "%u", stored);
    return refuse_setting(error, name, given_text, stored_text);
}

enum status node_check_settings(const struct node *node, struct error *error)
{
    const struct node_options *options = &node->options;
    const struct identity *identity = &node->identity;

    if (strcmp(options->name, identity->name) != 0)
        return error_set(error, STATUS_REFUSED,
                         "%.200s belongs to node %s, not %s: give --name %s, or another --data",
                         options->data, identity->name, options->name, identity->name);
    enum status status =
        check_number(options->partitions, identity->partitions, "partitions", error);
    if (status) return status;
    status = check_number(options->replicas, identity->replicas, "replicas", error);
    if (status) return status;
    status = check_number(options->stores, identity->stores, "stores", error);
    if (status) return status;
    if (options->reads_given && options->reads != identity->reads)
        return refuse_setting(error, "reads", reads_mode_name(options->reads),
                              reads_mode_name(identity->reads));
    return STATUS_OK;
}
