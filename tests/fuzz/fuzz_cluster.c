/* What comes from other nodes of the cluster, or from a disk that may be damaged: the first byte
 * picks the decoder. None passes its bounds; what is taken is encoded and taken again. */
#include <stdlib.h>

#include "base/assert.h"
#include "base/memory.h"
#include "cluster/founding_message.h"
#include "cluster/join_message.h"
#include "cluster/meta.h"
#include "cluster/meta_internal.h"
#include "cluster/meta_rows.h"
#include "cluster/view.h"
#include "cluster/view_change.h"

static void decode_view(struct bytes input, struct buffer *again)
{
    struct cluster_view *view = memory_allocate(sizeof(*view));
    struct cluster_view *second = memory_allocate(sizeof(*second));

    cluster_view_init(view);
    cluster_view_init(second);
    if (cluster_view_decode(input, view) == STATUS_OK) {
        cluster_view_encode(view, again);
        ASSERT(cluster_view_decode(buffer_bytes(again), second) == STATUS_OK);
        ASSERT(second->table_epoch == view->table_epoch);
        ASSERT(second->group_count == view->group_count);
    }
    cluster_view_free(view);
    cluster_view_free(second);
    memory_free(view);
    memory_free(second);
}

static void decode_founding(struct bytes input, struct buffer *again)
{
    struct founding_message message;

    if (founding_message_decode(input, &message)) return;
    ASSERT(message.view.size <= input.size);
    founding_message_encode(&message, again);
    ASSERT(founding_message_decode(buffer_bytes(again), &message) == STATUS_OK);
}

static void decode_meta_node(struct bytes input, struct buffer *again)
{
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    struct meta_node node, back;

    if (meta_node_decode(input, &node) == STATUS_OK) {
        view->cluster_version = VIEW_VERSION;
        meta_node_encode(view, &node, again);
        ASSERT(meta_node_decode(buffer_bytes(again), &back) == STATUS_OK);
        ASSERT(strcmp(node.node.labels, back.node.labels) == 0);
    }
    memory_free(view);
}

static void decode_meta_reply(struct bytes input, struct buffer *again)
{
    struct meta_reply reply;

    (void)again;
    if (meta_reply_decode(input, &reply)) return;
    ASSERT(reply.result <= META_RETRY);
}

/* By way of the log: what a leader took from another node is evaluated. */
static void decode_meta_request(struct bytes input, struct buffer *again)
{
    struct meta_request *request = memory_allocate(sizeof(*request));
    struct buffer third;

    buffer_init(&third, META_REQUEST_SIZE_MAX);
    if (meta_request_decode(input, request) && request->kind != META_FOUND) {
        ASSERT(request->replica_count <= VIEW_REPLICAS_MAX);
        ASSERT(request->to_count <= VIEW_REPLICAS_MAX && request->lost_count <= META_REPLACE_MAX);
        meta_request_encode(request, again);
        ASSERT(meta_request_decode(buffer_bytes(again), request));
        meta_request_encode(request, &third);
        ASSERT(bytes_equal(buffer_bytes(again), buffer_bytes(&third)));
    }
    buffer_free(&third);
    memory_free(request);
}

static void decode_join(struct bytes input, struct buffer *again)
{
    struct join_message message, back;

    if (join_message_decode(input, &message)) return;
    join_message_encode(&message, again);
    ASSERT(join_message_decode(buffer_bytes(again), &back) == STATUS_OK);
    ASSERT(strcmp(message.name, back.name) == 0 && message.nonce == back.nonce);
}

static void decode_join_answer(struct bytes input, struct buffer *again)
{
    struct join_answer answer, back;

    if (join_answer_decode(input, &answer)) return;
    ASSERT(answer.view.size <= input.size);
    join_answer_encode(&answer, again);
    ASSERT(join_answer_decode(buffer_bytes(again), &back) == STATUS_OK);
}

/* Against a table of one node and two partitions, for which there is a seed (seed 7: a real one).
 */
static void decode_change(struct bytes input, struct buffer *again)
{
    struct cluster_view *base = memory_allocate_zero(sizeof(*base));
    struct cluster_view *view = memory_allocate_zero(sizeof(*view));
    uint64_t from, to;

    (void)again;
    base->cluster = (struct cluster_id){7, 9};
    base->table_epoch = 1;
    base->cluster_version = VIEW_VERSION;
    base->partition_count = 2;
    base->replicas = base->node_count = 1;
    base->nodes[0].id = 1;
    base->next_node_id = 2;
    cluster_view_place(base);
    bool sound = view_change_apply(input, base, view) == STATUS_OK;
    ASSERT(!sound || view->group_count == base->group_count);
    ASSERT(!sound || view_change_epochs(input, &from, &to) == STATUS_OK);
    ASSERT(!sound || to == view->table_epoch);
    cluster_view_free(base);
    cluster_view_free(view);
    memory_free(base);
    memory_free(view);
}

static void (*const decoders[])(struct bytes input, struct buffer *again) = {
    decode_view, decode_founding,    decode_meta_node,    decode_meta_reply,
    decode_join, decode_join_answer, decode_meta_request, decode_change};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { COUNT = sizeof(decoders) / sizeof(decoders[0]) };
    struct buffer again;

    if (size == 0) return 0;
    buffer_init(&again, SIZE_MAX / 2);
    decoders[data[0] % COUNT](bytes_make(data + 1, size - 1), &again);
    buffer_free(&again);
    return 0;
}
