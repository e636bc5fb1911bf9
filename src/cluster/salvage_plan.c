#include "cluster/salvage_plan.h"

#include "base/assert.h"
#include "base/codec.h"
#include "base/memory.h"
#include "cluster/view_codec.h"

static const char plan_magic[] = "HOLONSV1";

static bool plan_decode(struct bytes bytes, struct salvage_plan *plan)
{
    struct reader reader = reader_make(bytes);

    memset(plan, 0, sizeof(*plan));
    uint8_t step = read_u8(&reader);
    plan->step = (enum salvage_step)step;
    read_text(&reader, plan->quarantine, sizeof(plan->quarantine));
    plan->stores = read_u32(&reader);
    plan->stores_lost = read_u64(&reader);
    uint32_t count = read_u32(&reader);
    bool sane = !reader.failed && step >= SALVAGE_MOVING && step <= SALVAGE_PLACING &&
                plan->stores >= 1 && plan->stores <= STORES_MAX && plan->quarantine[0] != '\0' &&
                strchr(plan->quarantine, '/') == NULL && count <= PARTITIONS_MAX + GROUP_DATA_FIRST;
    if (!sane) return false;
    plan->renames = memory_allocate_zero((count + 1) * sizeof(*plan->renames));
    plan->rename_count = count;
    for (uint32_t i = 0; i < count; i++) {
        plan->renames[i].group = read_u32(&reader);
        plan->renames[i].from.value = read_u64(&reader);
        plan->renames[i].to.value = read_u64(&reader);
    }
    return !reader.failed && reader_left(&reader) == 0;
}

enum status salvage_plan_load(struct world *world, const char *directory,
                              struct salvage_plan *ret_plan, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "salvaging");
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, plan_magic, &body, error);
    if (status == STATUS_OK && !plan_decode(buffer_bytes(&body), ret_plan)) {
        salvage_plan_free(ret_plan);
        status = error_set(error, STATUS_CORRUPT, "%.400s holds impossible values", path);
    }
    buffer_free(&body);
    return status;
}

enum status salvage_plan_save(struct world *world, const char *directory,
                              const struct salvage_plan *plan, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "salvaging");
    buffer_init(&body, SEALED_SIZE_MAX);
    struct writer writer = writer_make(&body);
    write_u8(&writer, (uint8_t)plan->step);
    write_sized(&writer, bytes_of(plan->quarantine));
    write_u32(&writer, plan->stores);
    write_u64(&writer, plan->stores_lost);
    write_u32(&writer, plan->rename_count);
    for (uint32_t i = 0; i < plan->rename_count; i++) {
        write_u32(&writer, plan->renames[i].group);
        write_u64(&writer, plan->renames[i].from.value);
        write_u64(&writer, plan->renames[i].to.value);
    }
    ASSERT(!writer.failed);
    enum status status = sealed_file_write(world, path, plan_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

enum status salvage_plan_remove(struct world *world, const char *directory, struct error *error)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "salvaging");
    enum status status = world_remove(world, path, error);
    if (status && status != STATUS_NOT_FOUND) return status;
    return world_sync_dir(world, directory, error);
}

void salvage_plan_free(struct salvage_plan *plan)
{
    memory_free(plan->renames);
    plan->renames = NULL;
    plan->rename_count = 0;
}
