#include "cluster/repair_file.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/codec.h"
#include "base/memory.h"
#include "cluster/view_codec.h"

static const char repair_magic[] = "HOLONRP1";

enum { REPAIR_BODY_MAX = 16 << 10, QUARANTINE_DEPTH_MAX = 3 };

static void repair_file_encode(const struct repair_file *file, struct buffer *body)
{
    struct writer writer = writer_make(body);

    write_u8(&writer, (uint8_t)file->step);
    write_u64(&writer, file->cluster.high);
    write_u64(&writer, file->cluster.low);
    write_u64(&writer, file->offset);
    write_i64(&writer, file->began);
    write_u32(&writer, file->settings.partitions);
    write_u32(&writer, file->settings.replicas);
    write_u32(&writer, file->settings.stores);
    write_u8(&writer, (uint8_t)file->settings.reads);
    write_sized(&writer, bytes_of(file->reason));
    write_sized(&writer, bytes_of(file->file));
    write_sized(&writer, bytes_of(file->what));
    write_sized(&writer, bytes_of(file->quarantine));
    write_u8(&writer, (uint8_t)file->member_count);
    for (uint32_t i = 0; i < file->member_count; i++) {
        write_sized(&writer, bytes_of(file->members[i].name));
        write_sized(&writer, bytes_of(file->members[i].peer));
    }
    ASSERT(!writer.failed);
}

static bool repair_file_decode(struct bytes bytes, struct repair_file *ret_file)
{
    struct reader reader = reader_make(bytes);

    memset(ret_file, 0, sizeof(*ret_file));
    uint8_t step = read_u8(&reader);
    ret_file->step = (enum repair_step)step;
    ret_file->cluster.high = read_u64(&reader);
    ret_file->cluster.low = read_u64(&reader);
    ret_file->offset = read_u64(&reader);
    ret_file->began = read_i64(&reader);
    ret_file->settings.partitions = read_u32(&reader);
    ret_file->settings.replicas = read_u32(&reader);
    ret_file->settings.stores = read_u32(&reader);
    uint8_t reads = read_u8(&reader);
    ret_file->settings.reads = (enum reads_mode)reads;
    read_text(&reader, ret_file->reason, sizeof(ret_file->reason));
    read_text(&reader, ret_file->file, sizeof(ret_file->file));
    read_text(&reader, ret_file->what, sizeof(ret_file->what));
    read_text(&reader, ret_file->quarantine, sizeof(ret_file->quarantine));
    ret_file->member_count = read_u8(&reader);
    if (reader.failed || ret_file->member_count > FOUNDING_MEMBERS_MAX) return false;
    for (uint32_t i = 0; i < ret_file->member_count; i++) {
        read_text(&reader, ret_file->members[i].name, sizeof(ret_file->members[i].name));
        read_text(&reader, ret_file->members[i].peer, sizeof(ret_file->members[i].peer));
    }
    return !reader.failed && reader_left(&reader) == 0 && step >= REPAIR_MOVING &&
           step <= REPAIR_FILLING && reads <= READS_QUORUM && ret_file->quarantine[0] != '\0' &&
           strchr(ret_file->quarantine, '/') == NULL;
}

enum status repair_file_load(struct world *world, const char *directory,
                             struct repair_file *ret_file, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "repair");
    buffer_init(&body, SEALED_SIZE_MAX);
    enum status status = sealed_file_read(world, path, repair_magic, &body, error);
    if (status == STATUS_OK && !repair_file_decode(buffer_bytes(&body), ret_file))
        status = error_set(error, STATUS_CORRUPT, "%.400s holds impossible values", path);
    buffer_free(&body);
    return status;
}

enum status repair_file_save(struct world *world, const char *directory,
                             const struct repair_file *file, struct error *error)
{
    char path[PATH_SIZE_MAX];
    struct buffer body;

    path_join(path, directory, "repair");
    buffer_init(&body, REPAIR_BODY_MAX);
    repair_file_encode(file, &body);
    enum status status = sealed_file_write(world, path, repair_magic, buffer_bytes(&body), error);
    buffer_free(&body);
    return status;
}

enum status repair_file_remove(struct world *world, const char *directory, struct error *error)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "repair");
    enum status status = world_remove(world, path, error);
    if (status == STATUS_NOT_FOUND) return STATUS_OK;
    return status ? status : world_sync_dir(world, directory, error);
}

/* --- quarantine ----------------------------------------------------------------------------- */

static void count_name(void *context, const char *name)
{
    ++*(uint32_t *)context;
}

static uint32_t count_sets(struct world *world, const char *directory)
{
    char path[PATH_SIZE_MAX];
    uint32_t count = 0;

    path_join(path, directory, "quarantine");
    world_list_dir(world, path, &count, count_name, NULL);
    return count;
}

/* Days since 1970 to a date of the Gregorian calendar (Howard Hinnant, "chrono-compatible
 * low-level date algorithms": civil_from_days). */
static void civil_from_days(int64_t days, int *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;

    *ret_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *ret_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *ret_year = (int)((int64_t)year_of_era + era * 400) + (*ret_month <= 2);
}

static void utc_text(int64_t wall_us, char *ret_text, size_t size)
{
    int64_t seconds = wall_us / 1000000;
    if (wall_us < 0) seconds = 0; /* a clock before 1970: the name need only be new */
    int64_t days = seconds / 86400;
    unsigned rest = (unsigned)(seconds % 86400), month, day;
    int year;

    civil_from_days(days, &year, &month, &day);
    snprintf(ret_text, size, "%04d%02u%02uT%02u%02u%02uZ", year % 10000, month, day, rest / 3600,
             rest / 60 % 60, rest % 60);
}

enum status quarantine_name(struct world *world, const char *directory, const char *reason,
                            char ret_name[QUARANTINE_NAME_SIZE], struct error *error)
{
    char time[24], path[PATH_SIZE_MAX], set[QUARANTINE_NAME_SIZE], parent[PATH_SIZE_MAX];

    if (count_sets(world, directory) >= QUARANTINE_SETS_MAX)
        return error_set(error, STATUS_FULL,
                         "%.300s/quarantine holds %d sets of damaged files already: look at them "
                         "(and at the disk), remove what is not needed, start again",
                         directory, QUARANTINE_SETS_MAX);
    utc_text(world_wall_time(world), time, sizeof(time));
    path_join(parent, directory, "quarantine");
    for (unsigned number = 1;; number++) {
        uint32_t files = 0;
        snprintf(set, sizeof(set), number == 1 ? "%s-%.24s" : "%s-%.24s-%u", time, reason, number);
        path_join(path, parent, set);
        if (world_list_dir(world, path, &files, count_name, NULL) != STATUS_OK) break;
    }
    memcpy(ret_name, set, sizeof(set));
    return STATUS_OK;
}

enum status quarantine_move(struct world *world, const char *directory, const char *name,
                            const char *const *items, size_t item_count, struct error *error)
{
    char parent[PATH_SIZE_MAX], set[PATH_SIZE_MAX], from[PATH_SIZE_MAX], to[PATH_SIZE_MAX];

    path_join(parent, directory, "quarantine");
    path_join(set, parent, name);
    enum status status = world_make_durable_dir(world, parent, error);
    if (status == STATUS_OK) status = world_make_durable_dir(world, set, error);
    for (size_t i = 0; i < item_count && status == STATUS_OK; i++) {
        path_join(from, directory, items[i]);
        path_join(to, set, items[i]);
        status = world_rename(world, from, to, error);
        if (status == STATUS_NOT_FOUND) status = STATUS_OK; /* it never was, or has moved */
    }
    if (status == STATUS_OK) status = world_sync_dir(world, set, error);
    if (status == STATUS_OK) status = world_sync_dir(world, directory, error);
    return status;
}

enum status quarantine_take(struct world *world, const char *directory, const char *name,
                            const char *place, const char *file, struct error *error)
{
    char parent[PATH_SIZE_MAX], set[PATH_SIZE_MAX], from[PATH_SIZE_MAX], to[PATH_SIZE_MAX];
    char place_path[PATH_SIZE_MAX];

    path_join(parent, directory, "quarantine");
    path_join(set, parent, name);
    path_join(place_path, directory, place);
    path_join(from, place_path, file);
    path_join(to, set, file);
    enum status status = world_make_durable_dir(world, parent, error);
    if (status == STATUS_OK) status = world_make_durable_dir(world, set, error);
    if (status == STATUS_OK) status = world_rename(world, from, to, error);
    if (status == STATUS_NOT_FOUND) status = STATUS_OK;
    if (status == STATUS_OK) status = world_sync_dir(world, set, error);
    if (status == STATUS_OK) status = world_sync_dir(world, place_path, error);
    return status;
}

enum status quarantine_copy(struct world *world, const char *directory, const char *name,
                            const char *file, const char *as, struct error *error)
{
    char parent[PATH_SIZE_MAX], set[PATH_SIZE_MAX], from[PATH_SIZE_MAX], to[PATH_SIZE_MAX];
    struct file *damaged = NULL;
    size_t size = 0;

    path_join(parent, directory, "quarantine");
    path_join(set, parent, name);
    path_join(from, directory, file);
    path_join(to, set, as);
    enum status status = world_make_durable_dir(world, parent, error);
    if (status == STATUS_OK) status = world_make_durable_dir(world, set, error);
    if (status) return status;
    status = file_open(world, from, FILE_READ | FILE_DIRECT, &damaged, error);
    if (status) return status == STATUS_NOT_FOUND ? STATUS_OK : status;
    uint8_t *memory = memory_allocate(SEALED_HEADER_SIZE + SEALED_SIZE_MAX);
    bool read = file_read(damaged, 0, memory, SEALED_HEADER_SIZE + SEALED_SIZE_MAX, &size, NULL) ==
                STATUS_OK;
    file_close(damaged);
    if (read) status = world_replace_file(world, to, bytes_make(memory, size), error);
    memory_free(memory);
    return status;
}

void quarantine_explain(struct world *world, const char *directory, const char *name,
                        const char *text)
{
    char parent[PATH_SIZE_MAX], set[PATH_SIZE_MAX], path[PATH_SIZE_MAX];

    path_join(parent, directory, "quarantine");
    path_join(set, parent, name);
    path_join(path, set, "why");
    world_replace_file(world, path, bytes_of(text), NULL);
}

/* Bytes of the files below `path`; directories are told by being listable. */
struct measure {
    struct world *world;
    const char *path;
    int depth;
    uint64_t bytes;
};

static void measure_name(void *context, const char *name)
{
    struct measure *above = context;
    char path[PATH_SIZE_MAX];
    struct file *file = NULL;
    uint64_t size = 0;

    if (strlen(above->path) + strlen(name) + 2 > sizeof(path)) return;
    path_join(path, above->path, name);
    struct measure here = {.world = above->world, .path = path, .depth = above->depth + 1};
    bool directory = here.depth <= QUARANTINE_DEPTH_MAX &&
                     world_list_dir(above->world, path, &here, measure_name, NULL) == STATUS_OK;
    if (!directory && file_open(above->world, path, FILE_READ, &file, NULL) == STATUS_OK)
        file_size(file, &size, NULL);
    file_close(file);
    above->bytes += directory ? here.bytes : size;
}

void quarantine_measure(struct world *world, const char *directory,
                        struct quarantine_size *ret_size)
{
    char path[PATH_SIZE_MAX];

    path_join(path, directory, "quarantine");
    struct measure all = {.world = world, .path = path};
    world_list_dir(world, path, &all, measure_name, NULL);
    *ret_size = (struct quarantine_size){.sets = count_sets(world, directory), .bytes = all.bytes};
}
