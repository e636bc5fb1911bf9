/* world.c - forwards each call of world.h to the table of the implementation at hand. */
#include "world/world.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

enum { REPLACE_PATH_SIZE_MAX = 4096 };

uint64_t world_now(struct world *world)
{
    return world->table->now(world);
}

int64_t world_wall_time(struct world *world)
{
    return world->table->wall_time(world);
}

uint64_t world_random(struct world *world)
{
    return world->table->random(world);
}

void world_random_secret(struct world *world, uint8_t *bytes, size_t size)
{
    world->table->random_secret(world, bytes, size);
}

uint64_t world_machine_start(struct world *world)
{
    return world->table->machine_start != NULL ? world->table->machine_start(world) : 0;
}

const struct logger *world_logger(struct world *world)
{
    return world->logger;
}

uint32_t world_worker(struct world *world)
{
    return world->worker;
}

void world_fatal(struct world *world, const char *format, ...)
{
    char text[LOG_LINE_SIZE_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    world->table->fatal(world, text);
}

void world_timer_start(struct world *world, struct world_timer *timer, uint64_t delay)
{
    world->table->timer_start(world, timer, delay);
}

void world_timer_stop(struct world *world, struct world_timer *timer)
{
    world->table->timer_stop(world, timer);
}

void world_defer(struct world *world, struct world_deferred *deferred)
{
    world->table->defer(world, deferred);
}

void world_post(struct world *to, struct world_post *post)
{
    to->table->post(to, post);
}

uint64_t world_job_rest(struct world *world, uint64_t until)
{
    return world->table->job_rest ? world->table->job_rest(world, until) : until;
}

void world_thread_rest(struct world *world, uint64_t us)
{
    if (world->table->thread_rest) world->table->thread_rest(world, us);
}

void world_job_start(struct world *world, enum world_lane lane, struct world_job *job)
{
    ASSERT(lane < LANE_COUNT);
    world->table->job_start(world, lane, job);
}

/* --- streams ------------------------------------------------------------------------------- */

enum status world_listen(struct world *world, const char *address, void *context,
                         void (*on_accept)(void *context, struct stream *stream),
                         struct listener **ret_listener, struct error *error)
{
    return world->table->listen(world, address, context, on_accept, ret_listener, error);
}

uint16_t listener_port(struct listener *listener)
{
    return listener->world->table->listener_port(listener);
}

void listener_close(struct listener *listener)
{
    listener->world->table->listener_close(listener);
}

struct stream *world_connect(struct world *world, const char *address,
                             const struct stream_events *events, void *context)
{
    return world->table->connect(world, address, events, context);
}

void stream_set_events(struct stream *stream, const struct stream_events *events, void *context)
{
    stream->events = events;
    stream->context = context;
}

void stream_set_output_max(struct stream *stream, size_t size_max)
{
    stream->output.size_max = size_max;
}

void stream_flush(struct stream *stream)
{
    stream->world->table->stream_flush(stream);
}

void stream_read_pause(struct stream *stream)
{
    stream->world->table->stream_read_pause(stream);
}

void stream_read_resume(struct stream *stream)
{
    stream->world->table->stream_read_resume(stream);
}

void stream_close(struct stream *stream)
{
    stream->world->table->stream_close(stream);
}

void stream_abort(struct stream *stream)
{
    stream->world->table->stream_abort(stream);
}

uint64_t stream_delivered(struct stream *stream)
{
    return stream->world->table->stream_delivered(stream);
}

const char *stream_peer_address(struct stream *stream)
{
    return stream->peer_address;
}

const char *stream_own_address(struct stream *stream)
{
    return stream->own_address;
}

/* --- files --------------------------------------------------------------------------------- */

enum status file_open(struct world *world, const char *path, unsigned flags, struct file **ret_file,
                      struct error *error)
{
    return world->table->file_open(world, path, flags, ret_file, error);
}

enum status file_read(struct file *file, uint64_t offset, void *into, size_t size, size_t *ret_size,
                      struct error *error)
{
    return file->world->table->file_read(file, offset, into, size, ret_size, error);
}

enum status file_write(struct file *file, uint64_t offset, struct bytes bytes, struct error *error)
{
    return file->world->table->file_write(file, offset, bytes, error);
}

enum status file_sync(struct file *file, struct error *error)
{
    return file->world->table->file_sync(file, error);
}

enum status file_allocate(struct file *file, uint64_t size, struct error *error)
{
    return file->world->table->file_allocate(file, size, error);
}

enum status file_truncate(struct file *file, uint64_t size, struct error *error)
{
    return file->world->table->file_truncate(file, size, error);
}

enum status file_size(struct file *file, uint64_t *ret_size, struct error *error)
{
    return file->world->table->file_size(file, ret_size, error);
}

enum status file_lock(struct file *file, struct error *error)
{
    return file->world->table->file_lock(file, error);
}

void file_close(struct file *file)
{
    if (file == NULL) return;
    file->world->table->file_close(file);
}

enum status world_rename(struct world *world, const char *from, const char *to, struct error *error)
{
    return world->table->rename(world, from, to, error);
}

enum status world_remove(struct world *world, const char *path, struct error *error)
{
    return world->table->remove(world, path, error);
}

enum status world_discard(struct world *world, const char *directory, const char *path,
                          struct error *error)
{
    if (world->table->discard) return world->table->discard(world, directory, path, error);
    enum status status = world_remove(world, path, error);
    return status ? status : world_sync_dir(world, directory, error);
}

void world_discard_once_removed(struct world *world, const char *path)
{
    if (world->table->discard_once_removed) world->table->discard_once_removed(world, path);
}

enum status world_make_dir(struct world *world, const char *path, struct error *error)
{
    return world->table->make_dir(world, path, error);
}

enum status world_sync_dir(struct world *world, const char *path, struct error *error)
{
    return world->table->sync_dir(world, path, error);
}

enum status world_list_dir(struct world *world, const char *path, void *context,
                           void (*on_name)(void *context, const char *name), struct error *error)
{
    return world->table->list_dir(world, path, context, on_name, error);
}

enum status world_free_space(struct world *world, const char *path, uint64_t *ret_bytes,
                             struct error *error)
{
    return world->table->free_space(world, path, ret_bytes, error);
}

/* --- replacing a file ------------------------------------------------------------------------ */

/* The directory that holds `path`: "." when it names none. */
static void path_directory(const char *path, char directory[REPLACE_PATH_SIZE_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - path);

    if (slash == path) size = 1;
    snprintf(directory, REPLACE_PATH_SIZE_MAX, "%.*s", size ? (int)size : 1, size ? path : ".");
}

/* Writes and syncs the whole new body; a body left over from an earlier crash is cut first. */
static enum status replacement_write(struct world *world, const char *path_new, struct bytes body,
                                     struct error *error)
{
    struct file *file = NULL;
    enum status status;

    status = file_open(world, path_new, FILE_WRITE | FILE_CREATE, &file, error);
    if (status) goto out;
    status = file_truncate(file, 0, error);
    if (status) goto out;
    status = file_write(file, 0, body, error);
    if (status) goto out;
    status = file_sync(file, error); /* a failure gives the new file up: never sync twice */

out:
    file_close(file);
    return status;
}

enum status world_make_durable_dir(struct world *world, const char *path, struct error *error)
{
    char parent[1024];
    size_t size = strlen(path);

    enum status status = world_make_dir(world, path, error);
    if (status != STATUS_OK && status != STATUS_EXISTS) return status;
    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (size >= sizeof(parent)) return error_set(error, STATUS_INVALID, "path too long: %s", path);
    snprintf(parent, sizeof(parent), "%.*s", (int)size, path);
    return world_sync_dir(world, size == 0 ? "." : parent, error);
}

enum status world_replace_file(struct world *world, const char *path, struct bytes body,
                               struct error *error)
{
    char path_new[REPLACE_PATH_SIZE_MAX];
    char directory[REPLACE_PATH_SIZE_MAX];
    enum status status;

    int size = snprintf(path_new, sizeof(path_new), "%s.new", path);
    if (size < 0 || (size_t)size >= sizeof(path_new))
        return error_set(error, STATUS_INVALID,
                         "cannot replace a file: its path has more than %zu bytes; use a "
                         "shorter data directory",
                         sizeof(path_new) - sizeof(".new"));
    path_directory(path, directory);

    status = replacement_write(world, path_new, body, error);
    if (status == STATUS_OK) status = world_rename(world, path_new, path, error);
    if (status) {
        world_remove(world, path_new, NULL);
        return status;
    }
    return world_sync_dir(world, directory, error); /* only now is the rename itself durable */
}
