#include "engine_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"

void fixture_directory_make(char path[64])
{
    strcpy(path, "/tmp/holon-engine-XXXXXX");
    ASSERT(mkdtemp(path) != NULL);
}

void fixture_directory_remove(const char *path)
{
    DIR *entries = opendir(path);
    if (entries == NULL) return;
    for (struct dirent *entry = readdir(entries); entry; entry = readdir(entries)) {
        char name[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_type == DT_DIR) {
            fixture_directory_remove(name);
        } else {
            unlink(name);
        }
    }
    closedir(entries);
    rmdir(path);
}

static void copy_value(void *context, struct bytes value)
{
    char *room = context;
    size_t size = value.size < 255 ? value.size : 255;
    memcpy(room, value.data, size);
    room[size] = '\0';
}

const char *fixture_get(struct engine *engine, const char *key, char room[256])
{
    struct error error;
    enum status status = engine_get(engine, bytes_of(key), room, copy_value, &error);
    ASSERT(status == STATUS_OK || status == STATUS_NOT_FOUND);
    return status == STATUS_OK ? room : NULL;
}

static enum status run_step(struct engine *engine, struct engine_run *run, const char *step,
                            struct error *error)
{
    char operation[16], first[64], second[64] = "";
    int words = sscanf(step, "%15s %63s %63s", operation, first, second);
    if (strcmp(operation, "cut") == 0) return engine_run_cut(engine, run, error);
    ASSERT(words >= 2);
    if (strcmp(operation, "put") == 0)
        return engine_run_put(engine, run, bytes_of(first), bytes_of(second), error);
    if (strcmp(operation, "del") == 0)
        return engine_run_delete(engine, run, bytes_of(first), error);
    ASSERT(strcmp(operation, "range") == 0);
    return engine_run_delete_range(engine, run, bytes_of(first), bytes_of(second), error);
}

enum status fixture_run(struct engine *engine, const char *script, struct error *error)
{
    struct engine_run *run = NULL;
    enum status status = engine_run_open(engine, &run, error);
    if (status) return status;
    char copy[1024];
    snprintf(copy, sizeof(copy), "%s", script);
    char *rest = NULL;
    for (char *step = strtok_r(copy, ";", &rest); step; step = strtok_r(NULL, ";", &rest)) {
        status = run_step(engine, run, step, error);
        if (status == STATUS_OK) continue;
        engine_run_abandon(engine, run);
        return status;
    }
    return engine_run_ingest(engine, run, error);
}
