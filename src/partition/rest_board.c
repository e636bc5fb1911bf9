#include "partition/rest_board.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/memory.h"

struct other_worker {
    uint64_t sent_at, heard_at;
    uint64_t generation;          /* of the last beat */
    uint64_t vouched, vouched_at; /* the last one that was not 0 */
    uint32_t withdrawals;
};

struct other_node {
    struct rest_node node;
    boot_epoch_t epoch;
    struct other_worker *workers; /* owned; WORKERS_MAX, of a node that was heard of */
};

_Static_assert(NODES_MAX <= 64, "a set of nodes is one word");

struct rest_board {
    pthread_mutex_t mutex;
    _Atomic uint64_t beats; /* that were news */
    _Atomic uint64_t known; /* nodes ever heard of; bit: id - 1. Written before `beats` is */
    struct other_node nodes[NODES_MAX + 1]; /* by node id */
};

struct rest_board *rest_board_create(void)
{
    struct rest_board *board = memory_allocate_zero(sizeof(*board));
    pthread_mutex_init(&board->mutex, NULL);
    return board;
}

void rest_board_destroy(struct rest_board *board)
{
    if (board == NULL) return;
    for (uint32_t i = 0; i <= NODES_MAX; i++)
        memory_free(board->nodes[i].workers);
    pthread_mutex_destroy(&board->mutex);
    memory_free(board);
}

static void hear(struct other_node *other, uint32_t at, const struct rest_beat *beat, uint64_t now)
{
    struct other_worker *worker = &other->workers[at];
    worker->sent_at = beat->sent_at;
    worker->heard_at = now;
    worker->withdrawals = beat->withdrawals;
    worker->generation = beat->generation;
    if (beat->generation != 0) {
        worker->vouched = beat->generation;
        worker->vouched_at = now;
    }
    other->node = (struct rest_node){.heard_at = now, .wall_offset = beat->wall - (int64_t)now};
}

bool rest_board_hear(struct rest_board *board, node_id_t node, boot_epoch_t epoch, uint32_t worker,
                     const struct rest_beat *beat, uint64_t now)
{
    if (node == 0 || node > NODES_MAX || worker >= WORKERS_MAX) return false;
    pthread_mutex_lock(&board->mutex);
    struct other_node *other = &board->nodes[node];
    size_t size = WORKERS_MAX * sizeof(*other->workers);
    bool started = epoch > other->epoch;
    if (other->workers == NULL) other->workers = memory_allocate_zero(size);
    if (started) memset(other->workers, 0, size);
    if (started) other->epoch = epoch;
    bool newer = epoch == other->epoch && beat->sent_at > other->workers[worker].sent_at;
    if (newer) hear(other, worker, beat, now);
    if (newer) atomic_fetch_or(&board->known, (uint64_t)1 << (node - 1));
    if (newer) atomic_fetch_add(&board->beats, 1);
    pthread_mutex_unlock(&board->mutex);
    return newer;
}

void rest_board_node(struct rest_board *board, node_id_t node, struct rest_node *ret)
{
    ASSERT(node != 0 && node <= NODES_MAX);
    pthread_mutex_lock(&board->mutex);
    *ret = board->nodes[node].node;
    pthread_mutex_unlock(&board->mutex);
}

uint64_t rest_board_news(struct rest_board *board, uint64_t *seen)
{
    uint64_t beats = atomic_load(&board->beats);
    if (beats == *seen) return 0;
    *seen = beats;
    return atomic_load(&board->known);
}

void rest_board_worker(struct rest_board *board, node_id_t node, uint32_t worker,
                       struct rest_worker *ret)
{
    ASSERT(node != 0 && node <= NODES_MAX);
    pthread_mutex_lock(&board->mutex);
    const struct other_node *other = &board->nodes[node];
    *ret = (struct rest_worker){.epoch = other->epoch};
    if (other->workers != NULL && worker < WORKERS_MAX) {
        ret->heard_at = other->workers[worker].heard_at;
        ret->withdrawals = other->workers[worker].withdrawals;
    }
    pthread_mutex_unlock(&board->mutex);
}

struct rest_vouch rest_board_vouch(struct rest_board *board, node_id_t node, boot_epoch_t epoch,
                                   uint32_t worker, uint64_t generation)
{
    struct rest_vouch vouch = {0};
    ASSERT(node != 0 && node <= NODES_MAX && worker < WORKERS_MAX && generation != 0);
    pthread_mutex_lock(&board->mutex);
    const struct other_node *other = &board->nodes[node];
    bool known = other->workers != NULL && other->epoch == epoch;
    if (known && other->workers[worker].vouched == generation) {
        vouch.at = other->workers[worker].vouched_at;
        vouch.now = other->workers[worker].generation == generation;
    }
    pthread_mutex_unlock(&board->mutex);
    return vouch;
}
