/* sim_stream.h - byte streams between simulated processes: latency, splitting at any byte,
 * a bounded window, resets (F47), and what the kernel does for processes that die.
 *
 * A pipe has two ends. Bytes that an end has flushed travel as events; the receiving end
 * hands them to its process in order, in pieces of random size. Each event on its way holds
 * a reference to the pipe; the pipe is freed with the last one. Thread: one. */
#ifndef HOLON_SIM_SIM_STREAM_H
#define HOLON_SIM_SIM_STREAM_H

#include "sim/sim_process.h"

struct sim_stream_options {
    uint64_t latency_min, latency_max; /* one way */
    uint32_t split_permille;           /* chance that a write arrives in pieces (F31) */
    uint32_t window;                   /* bytes on the way to a peer that has not read them */
    uint32_t reset_ppm;                /* chance per delivery that the connection breaks (F47) */
    /* Between nodes only, per piece that is sent: */
    uint32_t peer_corrupt_ppm; /* F46: a byte of it is another */
    uint32_t peer_reset_ppm;   /* F47: the connection breaks behind a part of it */
    uint32_t peer_delay_ppm;   /* F40: it is late, and all behind it */
    uint64_t peer_delay_max;
};
void sim_stream_options_default(struct sim_stream_options *options);

/* All open ends of a process: the other sides learn it soon (kill) or never (power). */
void sim_streams_end(struct sim_process *process, enum sim_end how);
/* End of a turn: what was flushed leaves now. */
void sim_streams_flush(struct sim_world *world);
/* All streams between two nodes: broken, both sides told; or, a link having healed, what waited
 * for it goes on. */
void sim_streams_break(struct sim *sim, uint32_t a, uint32_t b);
void sim_streams_go_on(struct sim *sim, uint32_t from, uint32_t to);
/* Breaks one random open stream of the process; false: it has none. */
bool sim_stream_reset_random(struct sim_process *process);

enum status sim_listen(struct world *world, const char *address, void *context,
                       void (*on_accept)(void *, struct stream *), struct listener **ret_listener,
                       struct error *error);
uint16_t sim_listener_port(struct listener *listener);
void sim_listener_close(struct listener *listener);
struct stream *sim_connect(struct world *world, const char *address,
                           const struct stream_events *events, void *context);
void sim_stream_flush(struct stream *stream);
void sim_stream_read_pause(struct stream *stream);
void sim_stream_read_resume(struct stream *stream);
void sim_stream_close(struct stream *stream);
void sim_stream_abort(struct stream *stream);
uint64_t sim_stream_delivered(struct stream *stream);
/* The other side, or this one, lost power: nothing will come, and nobody says so. */
bool sim_stream_is_lost(struct stream *stream);

#endif
