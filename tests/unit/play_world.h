/* play_world.h - a world that a test plays: a clock that it moves, timers that fire when it says
 * so, and streams whose both ends it holds. For services: what they listen on, it dials. */
#ifndef HOLON_TESTS_UNIT_PLAY_WORLD_H
#define HOLON_TESTS_UNIT_PLAY_WORLD_H

#include "unit.h"

#include <stdio.h>

#include "base/assert.h"
#include "world/world.h"

enum { PLAY_STREAMS_MAX = 128, PLAY_TIMERS_MAX = 160, SECOND = 1000 * 1000 };

struct play_stream {
    struct stream head;
    bool paused, closed, aborted;
    uint64_t delivered;
};

struct play {
    struct world world;
    struct logger logger;
    uint64_t now;
    struct world_timer *timers[PLAY_TIMERS_MAX]; /* NULL: free */
    struct play_stream streams[PLAY_STREAMS_MAX];
    size_t stream_count;
    struct listener listener;
    void (*on_accept)(void *context, struct stream *stream);
    void *accept_context;
};

static inline struct play *play_of(struct world *world)
{
    return CONTAINER_OF(world, struct play, world);
}

static inline uint64_t play_now(struct world *world)
{
    return play_of(world)->now;
}
static inline int64_t play_wall_time(struct world *world)
{
    return INT64_C(1700000000123456);
}
static inline uint64_t play_random(struct world *world)
{
    return 7;
}
static inline void play_timer_start(struct world *world, struct world_timer *timer, uint64_t delay)
{
    struct play *play = play_of(world);
    size_t at = 0;

    for (size_t i = 0; i < PLAY_TIMERS_MAX; i++) /* a running one is started again */
        if (play->timers[i] == timer) play->timers[i] = NULL;
    while (at < PLAY_TIMERS_MAX && play->timers[at])
        at++;
    assert_true(at < PLAY_TIMERS_MAX);
    play->timers[at] = timer;
    timer->deadline = play->now + delay;
}
static inline void play_timer_stop(struct world *world, struct world_timer *timer)
{
    for (size_t i = 0; i < PLAY_TIMERS_MAX; i++)
        if (play_of(world)->timers[i] == timer) play_of(world)->timers[i] = NULL;
}
static inline enum status play_listen(struct world *world, const char *address, void *context,
                                      void (*on_accept)(void *, struct stream *),
                                      struct listener **ret_listener, struct error *error)
{
    struct play *play = play_of(world);

    play->on_accept = on_accept;
    play->accept_context = context;
    play->listener.world = world;
    *ret_listener = &play->listener;
    return STATUS_OK;
}
static inline uint16_t play_listener_port(struct listener *listener)
{
    return 6379;
}
static inline void play_listener_close(struct listener *listener)
{
}
static inline void play_flush(struct stream *stream)
{
}
static inline void play_pause(struct stream *stream)
{
    ((struct play_stream *)stream)->paused = true;
}
static inline void play_resume(struct stream *stream)
{
    ((struct play_stream *)stream)->paused = false;
}
static inline void play_close(struct stream *stream)
{
    ((struct play_stream *)stream)->closed = true;
}
static inline void play_abort(struct stream *stream)
{
    ((struct play_stream *)stream)->aborted = true;
}
static inline uint64_t play_delivered(struct stream *stream)
{
    return ((struct play_stream *)stream)->delivered;
}

static const struct world_table play_table = {.now = play_now,
                                              .wall_time = play_wall_time,
                                              .random = play_random,
                                              .timer_start = play_timer_start,
                                              .timer_stop = play_timer_stop,
                                              .listen = play_listen,
                                              .listener_port = play_listener_port,
                                              .listener_close = play_listener_close,
                                              .stream_flush = play_flush,
                                              .stream_read_pause = play_pause,
                                              .stream_read_resume = play_resume,
                                              .stream_close = play_close,
                                              .stream_abort = play_abort,
                                              .stream_delivered = play_delivered};

static inline void play_start(struct play *play)
{
    logger_to_nowhere(&play->logger);
    play->world = (struct world){.table = &play_table, .logger = &play->logger};
    play->now = 1000;
}

static inline void play_stop(struct play *play)
{
    for (size_t i = 0; i < play->stream_count; i++)
        buffer_free(&play->streams[i].head.output);
}

/* Another client, from `address`. */
static inline struct play_stream *play_connect(struct play *play, const char *address)
{
    assert_true(play->stream_count < PLAY_STREAMS_MAX);
    struct play_stream *stream = &play->streams[play->stream_count++];

    stream->head.world = &play->world;
    buffer_init(&stream->head.output, 1 << 20);
    snprintf(stream->head.peer_address, sizeof(stream->head.peer_address), "%s", address);
    snprintf(stream->head.own_address, sizeof(stream->head.own_address), "127.0.0.1:6379");
    play->on_accept(play->accept_context, &stream->head);
    return stream;
}

static inline void say_bytes(struct play_stream *stream, struct bytes bytes)
{
    stream->head.events->on_data(stream->head.context, &stream->head, bytes);
}

static inline void say(struct play_stream *stream, const char *text)
{
    say_bytes(stream, bytes_of(text));
}

/* The end of the stream, whoever wanted it. */
static inline void hang_up(struct play_stream *stream)
{
    stream->head.events->on_closed(stream->head.context, &stream->head, STATUS_CLOSED);
}

/* Fires what is due; not what that starts. */
static inline bool play_turn_once(struct play *play)
{
    struct world_timer *due[PLAY_TIMERS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < PLAY_TIMERS_MAX; i++) {
        struct world_timer *timer = play->timers[i];
        if (timer == NULL || timer->deadline > play->now) continue;
        play->timers[i] = NULL;
        due[count++] = timer;
    }
    for (size_t i = 0; i < count; i++)
        due[i]->fire(due[i]);
    play->world.turn++;
    return count > 0;
}

/* Until nothing is due. */
static inline void play_turn(struct play *play)
{
    while (play_turn_once(play))
        continue;
}

/* Second by second. */
static inline void play_pass_time(struct play *play, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        play->now += SECOND;
        play_turn(play);
    }
}

static inline void check_output(struct play_stream *stream, const char *expected)
{
    struct bytes output = buffer_bytes(&stream->head.output);

    if (!bytes_equal(output, bytes_of(expected)))
        fail_msg("output is \"%.*s\", not \"%s\"", (int)output.size, (const char *)output.data,
                 expected);
    buffer_clear(&stream->head.output);
}

#endif
