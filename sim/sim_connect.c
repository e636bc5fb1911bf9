/* How simulated connections begin and end: listeners by address, connecting, closing, the
 * kernel's part when a process dies, power losses that nobody is told of. */
#include "base/assert.h"
#include "base/memory.h"
#include "base/parse.h"
#include "sim/sim_pipe.h"
#include "sim/sim_stream.h"

#include <stdio.h>
#include <stdlib.h>

enum { CUT_POLL_US = 5000, LOST_MIN_US = 1000000, LOST_MAX_US = 15000000 };
enum { CLOSE_TIME_MAX_US = 1000000, CONNECT_TIMEOUT_US = 3000000, KILL_NOTICE_MAX_US = 1000 };

struct sim_listener {
    struct listener base;
    char address[64];
    void *context;
    void (*on_accept)(void *context, struct stream *stream);
    struct sim_listener *next;
};

/* --- listeners --- */

/* The n-th listener of an address (SO_REUSEPORT: each worker has one), or NULL. */
static struct sim_listener *nth_listener(struct sim *sim, const char *address, uint64_t n)
{
    for (struct sim_listener *listener = sim->listeners; listener; listener = listener->next)
        if (strcmp(listener->address, address) == 0 && n-- == 0) return listener;
    return NULL;
}

static struct sim_listener *any_listener(struct sim *sim, const char *address)
{
    uint64_t count = 0;

    while (nth_listener(sim, address, count))
        count++;
    if (count < 2) return nth_listener(sim, address, 0);
    return nth_listener(sim, address, sim_below(sim, SIM_RANDOM_SCHEDULE, count));
}

static struct sim_listener *listener_of(struct sim_world *world, const char *address)
{
    struct sim *sim = sim_of(world);

    for (struct sim_listener *listener = sim->listeners; listener; listener = listener->next)
        if (listener->base.world == &world->base && strcmp(listener->address, address) == 0)
            return listener;
    return NULL;
}

enum status sim_listen(struct world *world, const char *address, void *context,
                       void (*on_accept)(void *, struct stream *), struct listener **ret_listener,
                       struct error *error)
{
    struct sim *sim = sim_of(sim_world_of(world));
    const char *colon = strrchr(address, ':');
    char full[64];

    if (colon == NULL) return error_set(error, STATUS_INVALID, "address %s has no port", address);
    snprintf(full, sizeof(full), "%s", address);
    if (strcmp(colon, ":0") == 0)
        snprintf(full, sizeof(full), "%.*s:%u", (int)(colon - address), address,
                 (unsigned)(sim->next_port++ % 60000));
    struct sim_listener *present = nth_listener(sim, full, 0);
    if (present && sim_world_of(present->base.world)->process != sim_world_of(world)->process)
        return error_set(error, STATUS_EXISTS, "address %s is in use", full);
    struct sim_listener *listener = memory_allocate_zero(sizeof(*listener));
    listener->base.world = world;
    snprintf(listener->address, sizeof(listener->address), "%s", full);
    listener->context = context;
    listener->on_accept = on_accept;
    listener->next = sim->listeners;
    sim->listeners = listener;
    *ret_listener = &listener->base;
    return STATUS_OK;
}

uint16_t sim_listener_port(struct listener *base)
{
    const struct sim_listener *listener = (struct sim_listener *)(void *)base;

    uint64_t port = 0;

    bool known = parse_u64(bytes_of(strrchr(listener->address, ':') + 1), &port);
    return known && port <= UINT16_MAX ? (uint16_t)port : 0;
}

void sim_listener_close(struct listener *base)
{
    if (base == NULL) return;
    struct sim *sim = sim_of(sim_world_of(base->world));

    for (struct sim_listener **at = &sim->listeners; *at; at = &(*at)->next) {
        if (&(*at)->base != base) continue;
        struct sim_listener *listener = *at;
        *at = listener->next;
        memory_free(listener);
        return;
    }
}

/* --- the end of an end --- */

static void run_closed(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;

    /* What the other side's kernel says comes over the same link. */
    bool told = sim_stream_is_open(stream) && !stream->close_due && !stream->closing;
    if (told && sim_stream_is_cut(stream)) {
        sim_pipe_event(stream, sim->now + CUT_POLL_US, SIM_EVENT_CLOSED, run_closed)->n = event->n;
        sim_pipe_release(pipe);
        return;
    }

    if (sim_stream_is_open(stream)) {
        const struct stream_events *events = stream->base.events;
        stream->close_due = true;
        if (events && events->on_closed)
            events->on_closed(stream->base.context, &stream->base, (enum status)event->n);
        sim_stream_gone(stream);
    }
    sim_pipe_release(pipe);
}

void sim_stream_close_at(struct sim_stream *stream, uint64_t at, enum status reason)
{
    if (at < stream->arrival_last) at = stream->arrival_last;
    stream->arrival_last = at;
    sim_pipe_event(stream, at, SIM_EVENT_CLOSED, run_closed)->n = (uint64_t)reason;
}

void sim_stream_reset_at(struct sim_stream *stream, uint64_t at)
{
    if (stream->close_due) return;
    stream->close_due = true;
    stream->arrival_last = 0;
    sim_stream_close_at(stream, at, STATUS_IO);
}

static void run_close_deadline(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;

    if (sim_stream_is_open(stream) && !stream->close_due) sim_stream_abort(&stream->base);
    sim_pipe_release(pipe);
}

void sim_stream_close(struct stream *base)
{
    struct sim_stream *stream = sim_stream_of(base);

    if (!sim_stream_is_open(stream) || stream->closing || stream->close_due) return;
    if (stream->process->dead) return;
    stream->closing = true;
    sim_stream_flush(base);
    if (buffer_size(&base->output) > sim_of(sim_stream_world(stream))->stream_options->window)
        sim_pipe_event(stream, sim_world_moment(sim_stream_world(stream)) + CLOSE_TIME_MAX_US,
                       SIM_EVENT_CALL, run_close_deadline);
}

void sim_stream_abort(struct stream *base)
{
    struct sim_stream *stream = sim_stream_of(base);

    if (!sim_stream_is_open(stream) || stream->close_due || stream->process->dead) return;
    struct sim_world *world = sim_stream_world(stream);
    struct sim_stream *other = sim_stream_other(stream);
    uint64_t moment = sim_world_moment(world);

    stream->close_due = true;
    buffer_clear(&base->output);
    stream->arrival_last = 0;
    sim_stream_close_at(stream, moment, STATUS_CLOSED);
    if (!sim_stream_is_open(other) || stream->pipe->lost) return;
    sim_stream_reset_at(other, moment + sim_stream_latency(sim_of(world)));
}

static void run_lost(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;

    if (sim_stream_is_open(stream) && !stream->close_due) sim_stream_reset_at(stream, sim->now);
    sim_pipe_release(pipe);
}

/* Between nodes: the kernel of the one that is left gives up on a machine without power. */
static void lose_later(struct sim *sim, const struct sim_process *process, struct sim_stream *other)
{
    bool open = sim_stream_is_open(other) && !other->process->dead;

    if (!open || process->machine->number == 0 || other->machine->number == 0) return;
    uint64_t after = sim_log_uniform(sim, SIM_RANDOM_NETWORK, LOST_MIN_US, LOST_MAX_US);
    sim_pipe_event(other, sim->now + after, SIM_EVENT_CALL, run_lost);
}

void sim_streams_end(struct sim_process *process, enum sim_end how)
{
    struct sim *sim = process->sim;

    for (struct sim_listener **at = &sim->listeners; *at;) {
        struct sim_listener *listener = *at;
        if (sim_world_of(listener->base.world)->process != process) {
            at = &listener->next;
            continue;
        }
        *at = listener->next;
        memory_free(listener);
    }
    while (process->streams) {
        struct sim_stream *stream = process->streams;
        struct sim_stream *other = sim_stream_other(stream);
        if (how == SIM_END_POWER) {
            stream->pipe->lost = true;
            lose_later(sim, process, other);
        } else if (sim_stream_is_open(other) && !other->process->dead && how != SIM_END_QUIET &&
                   !stream->pipe->lost) {
            uint64_t notice = sim_below(sim, SIM_RANDOM_NETWORK, KILL_NOTICE_MAX_US);
            sim_stream_close_at(other, sim->now + notice, STATUS_IO);
        }
        sim_stream_gone(stream);
    }
}

bool sim_stream_is_lost(struct stream *stream)
{
    return sim_stream_of(stream)->pipe->lost;
}

bool sim_stream_reset_random(struct sim_process *process)
{
    struct sim *sim = process->sim;
    uint64_t count = 0;

    for (struct sim_stream *s = process->streams; s; s = s->next)
        count += s->connected && !s->close_due;
    if (count == 0) return false;
    uint64_t chosen = sim_below(sim, SIM_RANDOM_FAULT, count);
    for (struct sim_stream *s = process->streams; s; s = s->next) {
        if (!s->connected || s->close_due || chosen-- > 0) continue;
        struct sim_stream *other = sim_stream_other(s);
        sim_stream_reset_at(s, sim->now);
        if (sim_stream_is_open(other))
            sim_stream_reset_at(other, sim->now + sim_stream_latency(sim));
        sim_fault_hit(sim, SIM_FAULT_RESET);
        return true;
    }
    return false;
}

/* --- connecting --- */

static void run_connected(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;

    if (sim_stream_is_open(stream) && !stream->close_due && !stream->closing) {
        stream->connected = true;
        if (stream->base.events->on_connected)
            stream->base.events->on_connected(stream->base.context, &stream->base);
        if (sim_stream_is_open(stream)) sim_stream_flush(&stream->base);
    }
    sim_pipe_release(pipe);
}

static void run_accept(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;
    struct sim_listener *listener = listener_of(event->world, stream->base.own_address);

    if (sim_stream_is_open(stream) && listener) {
        listener->on_accept(listener->context, &stream->base);
        ASSERT(stream->base.events != NULL);
    } else if (sim_stream_is_open(stream)) {
        struct sim_stream *other = sim_stream_other(stream);
        if (sim_stream_is_open(other))
            sim_stream_close_at(other, sim->now + sim_stream_latency(sim), STATUS_IO);
        sim_stream_gone(stream);
    }
    sim_pipe_release(pipe);
}

/* The SYN arrives. The kernel answers for a process that is paused; a machine without power
 * does not. */
static void run_syn(struct sim *sim, struct sim_event *event)
{
    struct sim_pipe *pipe = event->a;
    struct sim_stream *from = &pipe->ends[0];
    struct sim_stream *to = &pipe->ends[1];

    if (sim_stream_is_open(from)) {
        struct sim_listener *listener = any_listener(sim, from->base.peer_address);
        uint64_t back = sim->now + sim_stream_latency(sim);
        bool hangs = event->b && !*(bool *)event->b;
        uint32_t here = from->machine->number;
        uint32_t there =
            listener ? sim_world_of(listener->base.world)->process->machine->number : 0;
        bool cut = sim->link_is_cut && (sim->link_is_cut(sim->link_context, here, there) ||
                                        sim->link_is_cut(sim->link_context, there, here));
        if (here)
            sim_trace_text(sim, "node %u connects to %s: %s", here, from->base.peer_address,
                           cut || hangs ? "hangs"
                           : listener   ? "accepted"
                                        : "refused");
        if (listener && !cut) {
            struct sim_world *world = sim_world_of(listener->base.world);
            sim_stream_open(to, world);
            to->connected = true;
            memcpy(to->base.own_address, from->base.peer_address, sizeof(to->base.own_address));
            memcpy(to->base.peer_address, from->base.own_address, sizeof(to->base.peer_address));
            from->arrival_last = back;
            sim_pipe_event(to, sim->now, SIM_EVENT_ACCEPT, run_accept);
            to->arrival_last = sim->now;
            sim_pipe_event(from, back, SIM_EVENT_CONNECTED, run_connected);
        } else {
            hangs = hangs || cut;
            sim_stream_close_at(from, hangs ? sim->now + CONNECT_TIMEOUT_US : back,
                                hangs ? STATUS_TIMEOUT : STATUS_REFUSED);
        }
    }
    sim_pipe_release(pipe);
}

static void drop_syn(struct sim *sim, struct sim_event *event)
{
    sim_pipe_release(event->a);
}

struct stream *sim_connect(struct world *base, const char *address,
                           const struct stream_events *events, void *context)
{
    struct sim_world *world = sim_world_of(base);
    struct sim *sim = sim_of(world);
    struct sim_pipe *pipe = memory_allocate_zero(sizeof(*pipe));
    struct sim_stream *stream = &pipe->ends[0];

    pipe->ends[0].pipe = pipe->ends[1].pipe = pipe;
    sim_stream_open(stream, world);
    stream->base.events = events;
    stream->base.context = context;
    snprintf(stream->base.peer_address, sizeof(stream->base.peer_address), "%s", address);
    snprintf(stream->base.own_address, sizeof(stream->base.own_address), "127.0.0.%u:%u",
             world->process->machine->number + 1, (unsigned)(stream->id % 60000));
    struct sim_event *event = sim_schedule_at(
        sim, sim_world_moment(world) + sim_stream_latency(sim), SIM_EVENT_CALL, NULL, run_syn);
    event->a = pipe;
    event->drop = drop_syn;
    event->b = sim->power_of_address ? sim->power_of_address(sim->power_context, address) : NULL;
    pipe->references++;
    return &stream->base;
}
