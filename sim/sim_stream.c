#include "sim/sim_stream.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"
#include "sim/sim_pipe.h"

enum { OUTPUT_SIZE_MAX_DEFAULT = 1 << 30, SPLIT_PIECES_MAX = 4 };

void sim_stream_options_default(struct sim_stream_options *options)
{
    *options = (struct sim_stream_options){
        .latency_min = 20, .latency_max = 300, .split_permille = 50, .window = 256 << 10};
}

void sim_pipe_release(struct sim_pipe *pipe)
{
    ASSERT(pipe->references > 0);
    if (--pipe->references > 0) return;
    memory_free(pipe);
}

static void drop_pipe_event(struct sim *sim, struct sim_event *event)
{
    sim_pipe_release(((struct sim_stream *)event->a)->pipe);
}

struct sim_event *sim_pipe_event(struct sim_stream *to, uint64_t at, enum sim_event_kind kind,
                                 void (*run)(struct sim *, struct sim_event *))
{
    struct sim_world *world = sim_stream_world(to);
    struct sim_event *event = sim_schedule_at(sim_of(world), at, kind, world, run);

    event->a = to;
    event->drop = drop_pipe_event;
    to->pipe->references++;
    return event;
}

uint64_t sim_stream_latency(struct sim *sim)
{
    const struct sim_stream_options *options = sim->stream_options;

    return sim_log_uniform(sim, SIM_RANDOM_NETWORK, options->latency_min, options->latency_max);
}

void sim_stream_open(struct sim_stream *stream, struct sim_world *world)
{
    struct sim_process *process = world->process;

    stream->base.world = &world->base;
    stream->process = process;
    stream->machine = process->machine;
    stream->inbox_last = &stream->inbox_first;
    stream->id = process->sim->next_port++;
    buffer_init(&stream->base.output, OUTPUT_SIZE_MAX_DEFAULT);
    stream->next = process->streams;
    if (stream->next) stream->next->link = &stream->next;
    stream->link = &process->streams;
    process->streams = stream;
    stream->pipe->references++;
}

void sim_stream_gone(struct sim_stream *stream)
{
    if (stream->flush_queued) { /* unlink from the turn's list */
        struct sim_world *world = sim_stream_world(stream);
        struct sim_stream **at = &world->flush_first;
        while (*at && *at != stream)
            at = &(*at)->flush_next;
        if (*at) *at = stream->flush_next;
        world->flush_last = &world->flush_first;
        while (*world->flush_last)
            world->flush_last = &(*world->flush_last)->flush_next;
        stream->flush_queued = false;
    }
    *stream->link = stream->next;
    if (stream->next) stream->next->link = stream->link;
    stream->process = NULL;
    buffer_free(&stream->base.output);
    while (stream->inbox_first) {
        struct sim_chunk *chunk = stream->inbox_first;
        stream->inbox_first = chunk->next;
        memory_free(chunk);
    }
    sim_pipe_release(stream->pipe);
}

/* --- receiving --- */

static void run_pump(struct sim *sim, struct sim_event *event);

static void hand_over(struct sim_stream *stream, struct bytes data)
{
    struct sim_stream *sender = sim_stream_other(stream);
    struct sim *sim = sim_of(sim_stream_world(stream));

    ASSERT(sender->in_flight >= data.size);
    sender->in_flight -= (uint32_t)data.size;
    if (sim_stream_is_open(sender) && buffer_size(&sender->base.output) > 0)
        sim_pipe_event(sender, sim->now + sim_stream_latency(sim), SIM_EVENT_DRAINED, run_pump);
    if (stream->base.events->on_data)
        stream->base.events->on_data(stream->base.context, &stream->base, data);
}

static void run_inbox(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;

    while (sim_stream_is_open(stream) && !stream->paused && !stream->close_due &&
           stream->inbox_first && !sim_stream_is_cut(stream)) {
        struct sim_chunk *chunk = stream->inbox_first;
        stream->inbox_first = chunk->next;
        if (stream->inbox_first == NULL) stream->inbox_last = &stream->inbox_first;
        hand_over(stream, bytes_make(chunk->data, chunk->size));
        memory_free(chunk);
    }
    sim_pipe_release(pipe);
}

static void reset_both(struct sim_stream *stream)
{
    struct sim *sim = sim_of(sim_stream_world(stream));
    struct sim_stream *other = sim_stream_other(stream);

    sim_fault_hit(sim, SIM_FAULT_RESET);
    sim_stream_reset_at(stream, sim->now);
    if (sim_stream_is_open(other)) sim_stream_reset_at(other, sim->now + sim_stream_latency(sim));
}

static void run_data(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;
    const struct sim_stream_options *options = sim->stream_options;

    sim_trace(sim, hash64(stream->id, bytes_make(event->data, event->size)));
    if (sim_stream_is_open(stream) && !stream->close_due && !pipe->lost) {
        if (sim_chance(sim, SIM_RANDOM_NETWORK, options->reset_ppm, 1000000)) {
            reset_both(stream);
        } else if (stream->paused || stream->inbox_first || sim_stream_is_cut(stream)) {
            struct sim_chunk *chunk = memory_allocate(sizeof(*chunk) + event->size);
            chunk->next = NULL;
            chunk->size = event->size;
            memcpy(chunk->data, event->data, event->size);
            *stream->inbox_last = chunk;
            stream->inbox_last = &chunk->next;
        } else if (!stream->closing) {
            hand_over(stream, bytes_make(event->data, event->size));
        }
    }
    sim_pipe_release(pipe);
}

void sim_stream_read_pause(struct stream *base)
{
    sim_stream_of(base)->paused = true;
}

void sim_stream_read_resume(struct stream *base)
{
    struct sim_stream *stream = sim_stream_of(base);

    if (!stream->paused || !sim_stream_is_open(stream)) return;
    stream->paused = false;
    if (stream->inbox_first)
        sim_pipe_event(stream, sim_world_moment(sim_stream_world(stream)), SIM_EVENT_DATA,
                       run_inbox);
}

/* --- between nodes --- */

static bool between(const struct sim_stream *stream, uint32_t a, uint32_t b)
{
    const struct sim_stream *other = &stream->pipe->ends[stream == &stream->pipe->ends[0]];

    return stream->machine && other->machine && stream->machine->number == a &&
           other->machine->number == b && a != b && a != 0 && b != 0;
}

void sim_streams_break(struct sim *sim, uint32_t a, uint32_t b)
{
    for (struct sim_process *process = sim->processes; process; process = process->next) {
        if (process->dead) continue;
        for (struct sim_stream *stream = process->streams; stream; stream = stream->next)
            if (between(stream, a, b) || between(stream, b, a))
                sim_stream_reset_at(stream, sim->now);
    }
}

void sim_streams_go_on(struct sim *sim, uint32_t from, uint32_t to)
{
    for (struct sim_process *process = sim->processes; process; process = process->next) {
        if (process->dead) continue;
        for (struct sim_stream *stream = process->streams; stream; stream = stream->next) {
            if (!between(stream, to, from) || stream->paused || !stream->inbox_first) continue;
            sim_fault_hit(sim, SIM_FAULT_LINK_HELD);
            sim_pipe_event(stream, sim->now + sim_stream_latency(sim), SIM_EVENT_DATA, run_inbox);
        }
    }
}

/* --- sending --- */

static void send_piece(struct sim_stream *stream, struct bytes piece, uint64_t moment)
{
    struct sim_stream *to = sim_stream_other(stream);
    struct sim *sim = sim_of(sim_stream_world(stream));
    const struct sim_stream_options *options = sim->stream_options;
    uint64_t at = moment + sim_stream_latency(sim);
    bool peer = stream->machine->number && to->machine && to->machine->number;

    if (peer && sim_chance(sim, SIM_RANDOM_NETWORK, options->peer_delay_ppm, 1000000)) {
        at += sim_log_uniform(sim, SIM_RANDOM_NETWORK, 1000, options->peer_delay_max);
        sim_fault_hit(sim, SIM_FAULT_DELAY);
    }
    if (at < to->arrival_last) at = to->arrival_last;
    to->arrival_last = at;
    bool breaks = peer && sim_chance(sim, SIM_RANDOM_NETWORK, options->peer_reset_ppm, 1000000);
    if (breaks) piece.size = (size_t)sim_below(sim, SIM_RANDOM_NETWORK, piece.size) + 1;
    stream->in_flight += (uint32_t)piece.size;
    struct sim_event *event = sim_pipe_event(to, at, SIM_EVENT_DATA, run_data);
    sim_event_copy_data(event, piece);
    if (peer && sim_chance(sim, SIM_RANDOM_NETWORK, options->peer_corrupt_ppm, 1000000)) {
        uint8_t mask = (uint8_t)(1 + sim_below(sim, SIM_RANDOM_NETWORK, 255));
        event->data[sim_below(sim, SIM_RANDOM_NETWORK, piece.size)] ^= mask;
        sim_fault_hit(sim, SIM_FAULT_CORRUPT);
    }
    if (!breaks) return;
    sim_fault_hit(sim, SIM_FAULT_RESET);
    sim_stream_close_at(to, at, STATUS_IO); /* behind the part that came */
    sim_stream_reset_at(stream, at);
}

static void drained_if_due(struct sim_stream *stream)
{
    size_t left = buffer_size(&stream->base.output);

    if (!stream->output_high || left * 2 > stream->output_mark) return;
    stream->output_high = false;
    if (stream->base.events->on_drained && !stream->closing)
        stream->base.events->on_drained(stream->base.context, &stream->base);
}

/* Moves output into the pipe as far as the window allows. */
static void pump(struct sim_stream *stream)
{
    struct sim_world *world = sim_stream_world(stream);
    struct sim *sim = sim_of(world);
    struct sim_stream *to = sim_stream_other(stream);
    struct buffer *output = &stream->base.output;
    const struct sim_stream_options *options = sim->stream_options;
    bool deaf = !stream->connected || stream->pipe->lost;

    if (!stream->connected && !stream->closing) return;
    if (deaf || !sim_stream_is_open(to)) {
        /* The other side is gone: on_closed tells, unless its machine lost power. Then only
         * its kernel can, once it runs again. */
        if (stream->pipe->lost && to->machine->power && !stream->closing)
            sim_stream_reset_at(stream, sim_world_moment(world) + sim_stream_latency(sim));
        buffer_clear(output);
    }
    while (buffer_size(output) > 0 && stream->in_flight < options->window && !stream->close_due) {
        if (sim_process_send_effect(stream->process)) return;
        size_t size = buffer_size(output);
        size_t room = options->window - stream->in_flight;
        if (size > room) size = room;
        if (size > 1 && sim_chance(sim, SIM_RANDOM_NETWORK, options->split_permille, 1000)) {
            size = 1 + (size_t)sim_below(sim, SIM_RANDOM_NETWORK, size - 1);
            sim_fault_hit(sim, SIM_FAULT_SPLIT_READ);
        }
        send_piece(stream, bytes_make(buffer_bytes(output).data, size), sim_world_moment(world));
        buffer_consume(output, size);
        stream->sent += size;
    }
    if (buffer_size(output) > 0) {
        stream->output_high = true;
        if (buffer_size(output) > stream->output_mark) stream->output_mark = buffer_size(output);
    }
    if (stream->closing && buffer_size(output) == 0 && !stream->close_due) {
        uint64_t moment = sim_world_moment(world);
        if (sim_stream_is_open(to) && !stream->pipe->lost)
            sim_stream_close_at(to, moment + sim_stream_latency(sim), STATUS_CLOSED);
        stream->arrival_last = 0;
        sim_stream_close_at(stream, moment, STATUS_CLOSED);
        stream->close_due = true;
    }
}

uint64_t sim_stream_delivered(struct stream *base)
{
    struct sim_stream *stream = sim_stream_of(base);

    return stream->sent - stream->in_flight;
}

static void run_pump(struct sim *sim, struct sim_event *event)
{
    struct sim_stream *stream = event->a;
    struct sim_pipe *pipe = stream->pipe;

    if (sim_stream_is_open(stream) && !stream->close_due) {
        pump(stream);
        drained_if_due(stream);
    }
    sim_pipe_release(pipe);
}

void sim_stream_flush(struct stream *base)
{
    struct sim_stream *stream = sim_stream_of(base);
    struct sim_world *world = sim_stream_world(stream);

    if (stream->flush_queued || !sim_stream_is_open(stream) || world->process->dead) return;
    stream->flush_queued = true;
    stream->flush_next = NULL;
    *world->flush_last = stream;
    world->flush_last = &stream->flush_next;
}

void sim_streams_flush(struct sim_world *world)
{
    while (world->flush_first) {
        struct sim_stream *stream = world->flush_first;
        world->flush_first = stream->flush_next;
        if (world->flush_first == NULL) world->flush_last = &world->flush_first;
        stream->flush_queued = false;
        if (!stream->close_due) pump(stream);
    }
}
