/* sim_pipe.h - the inside of simulated streams, shared by sim_stream.c (bytes) and
 * sim_connect.c (how connections begin and end). */
#ifndef HOLON_SIM_SIM_PIPE_H
#define HOLON_SIM_SIM_PIPE_H

#include "sim/sim_stream.h"

struct sim_chunk { /* arrived, but its reader has paused */
    struct sim_chunk *next;
    uint32_t size;
    uint8_t data[];
};

struct sim_pipe;

struct sim_stream {
    struct stream base;
    struct sim_pipe *pipe;
    struct sim_process *process;     /* NULL: this end was never made, or is gone */
    struct sim_machine *machine;     /* where it is or was */
    struct sim_stream *next, **link; /* of process->streams */
    struct sim_stream *flush_next;
    bool flush_queued;
    bool connected;
    bool closing;   /* stream_close(): sends what is left first */
    bool close_due; /* on_closed is on its way and nothing else will come */
    bool paused;
    bool output_high; /* on_drained is owed */
    size_t output_mark;
    uint64_t sent;         /* bytes that left the output */
    uint32_t in_flight;    /* sent by this end, not yet handed to the other's process */
    uint64_t arrival_last; /* of bytes on the way to this end: keeps the order */
    struct sim_chunk *inbox_first, **inbox_last;
    uint64_t id;
};

struct sim_pipe {
    struct sim_stream ends[2]; /* 0 connected, 1 accepted */
    uint32_t references;       /* open ends and events */
    bool lost;                 /* a machine lost power: nothing passes, nobody is told */
};

static inline struct sim_stream *sim_stream_of(struct stream *stream)
{
    return (struct sim_stream *)(void *)stream;
}
static inline struct sim_stream *sim_stream_other(struct sim_stream *stream)
{
    return &stream->pipe->ends[stream == &stream->pipe->ends[0]];
}
static inline struct sim_world *sim_stream_world(struct sim_stream *stream)
{
    return sim_world_of(stream->base.world);
}
static inline bool sim_stream_is_open(const struct sim_stream *stream)
{
    return stream->process != NULL;
}

/* Bytes to this end wait for a link between two nodes. */
static inline bool sim_stream_is_cut(struct sim_stream *stream)
{
    const struct sim_stream *other = sim_stream_other(stream);
    struct sim *sim = stream->process->sim;

    return sim->link_is_cut && stream->machine && other->machine &&
           sim->link_is_cut(sim->link_context, other->machine->number, stream->machine->number);
}

void sim_pipe_release(struct sim_pipe *pipe);
/* An event towards an end, holding a reference; dropped with its process. */
struct sim_event *sim_pipe_event(struct sim_stream *to, uint64_t at, enum sim_event_kind kind,
                                 void (*run)(struct sim *, struct sim_event *));
uint64_t sim_stream_latency(struct sim *sim);
/* Makes this end belong to a world; then it is open. */
void sim_stream_open(struct sim_stream *stream, struct sim_world *world);
/* Frees what an end holds and takes it from its process; calls nobody. */
void sim_stream_gone(struct sim_stream *stream);
/* on_closed(reason) comes as an event at `at`, not before what is on its way to this end. */
void sim_stream_close_at(struct sim_stream *stream, uint64_t at, enum status reason);
/* A reset: on_closed(STATUS_IO) at `at`; what is on its way to this end is lost. */
void sim_stream_reset_at(struct sim_stream *stream, uint64_t at);

#endif
