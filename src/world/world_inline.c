#include "world/world_inline.h"

#include <stddef.h>

static struct world_inline *inline_of(struct world *world)
{
    return (struct world_inline *)(void *)world;
}

static struct world *below(struct world *world)
{
    return inline_of(world)->below;
}

static uint64_t inline_now(struct world *world)
{
    return world_now(below(world));
}

static int64_t inline_wall_time(struct world *world)
{
    return world_wall_time(below(world));
}

static uint64_t inline_random(struct world *world)
{
    return world_random(below(world));
}

static void inline_random_secret(struct world *world, uint8_t *bytes, size_t size)
{
    world_random_secret(below(world), bytes, size);
}

static uint64_t inline_machine_start(struct world *world)
{
    return world_machine_start(below(world));
}

static void inline_fatal(struct world *world, const char *text)
{
    world_fatal(below(world), "%s", text);
}

static void inline_timer_start(struct world *world, struct world_timer *timer, uint64_t delay)
{
}

static void inline_timer_stop(struct world *world, struct world_timer *timer)
{
}

static void inline_post(struct world *base, struct world_post *post)
{
    struct world_inline *world = inline_of(base);

    post->next = NULL;
    *world->posts_end = post;
    world->posts_end = &post->next;
}

static void inline_job_start(struct world *base, enum world_lane lane, struct world_job *job)
{
    struct world_inline *world = inline_of(base);

    job->world = base;
    job->next = NULL;
    *world->jobs_end = job;
    world->jobs_end = &job->next;
}

static bool run_post(struct world_inline *world)
{
    struct world_post *post = world->posts;

    if (post == NULL) return false;
    world->posts = post->next;
    if (world->posts == NULL) world->posts_end = &world->posts;
    post->run(post);
    return true;
}

static bool run_job(struct world_inline *world)
{
    struct world_job *job = world->jobs;

    if (job == NULL) return false;
    world->jobs = job->next;
    if (world->jobs == NULL) world->jobs_end = &world->jobs;
    job->run(job);
    job->done(job);
    return true;
}

bool world_inline_run(struct world_inline *world)
{
    bool any = false;

    while (run_post(world) || run_job(world))
        any = true;
    return any;
}

/* --- files: what is opened belongs to the world below ------------------------------------------
 */

static enum status inline_file_open(struct world *world, const char *path, unsigned flags,
                                    struct file **ret_file, struct error *error)
{
    return file_open(below(world), path, flags, ret_file, error);
}

static enum status inline_rename(struct world *world, const char *from, const char *to,
                                 struct error *error)
{
    return world_rename(below(world), from, to, error);
}

static enum status inline_remove(struct world *world, const char *path, struct error *error)
{
    return world_remove(below(world), path, error);
}

static enum status inline_make_dir(struct world *world, const char *path, struct error *error)
{
    return world_make_dir(below(world), path, error);
}

static enum status inline_sync_dir(struct world *world, const char *path, struct error *error)
{
    return world_sync_dir(below(world), path, error);
}

static enum status inline_list_dir(struct world *world, const char *path, void *context,
                                   void (*on_name)(void *context, const char *name),
                                   struct error *error)
{
    return world_list_dir(below(world), path, context, on_name, error);
}

static enum status inline_free_space(struct world *world, const char *path, uint64_t *ret_bytes,
                                     struct error *error)
{
    return world_free_space(below(world), path, ret_bytes, error);
}

/* --- probes --------------------------------------------------------------------------------------
 */

static bool inline_maybe(struct world *world, const char *tag)
{
    const struct world_table *table = below(world)->table;
    return table->maybe != NULL && table->maybe(below(world), tag);
}

static void inline_reached(struct world *world, const char *tag)
{
    const struct world_table *table = below(world)->table;
    if (table->reached != NULL) table->reached(below(world), tag);
}

static bool inline_planted(struct world *world, const char *name)
{
    const struct world_table *table = below(world)->table;
    return table->planted != NULL && table->planted(below(world), name);
}

static const struct world_table inline_table = {
    .now = inline_now,
    .wall_time = inline_wall_time,
    .random = inline_random,
    .random_secret = inline_random_secret,
    .machine_start = inline_machine_start,
    .fatal = inline_fatal,
    .timer_start = inline_timer_start,
    .timer_stop = inline_timer_stop,
    .post = inline_post,
    .job_start = inline_job_start,
    .file_open = inline_file_open,
    .rename = inline_rename,
    .remove = inline_remove,
    .make_dir = inline_make_dir,
    .sync_dir = inline_sync_dir,
    .list_dir = inline_list_dir,
    .free_space = inline_free_space,
    .maybe = inline_maybe,
    .reached = inline_reached,
    .planted = inline_planted,
};

void world_inline_init(struct world_inline *world, struct world *below_it)
{
    *world = (struct world_inline){
        .base = {.table = &inline_table, .logger = below_it->logger, .worker = below_it->worker},
        .below = below_it};
    world->jobs_end = &world->jobs;
    world->posts_end = &world->posts;
}
