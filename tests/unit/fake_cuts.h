/* fake_cuts.h - partitions as far as cuts go, behind a gateway that the test plays: a freeze for
 * one cut in one term, what was taken, what is prepared there and decided. */
#ifndef HOLON_TESTS_UNIT_FAKE_CUTS_H
#define HOLON_TESTS_UNIT_FAKE_CUTS_H

#include "play_world.h"

#include <stdlib.h>

#include "cluster/gateway.h"
#include "partition/cut_frame.h"

enum { FAKE_PARTS = 4, FAKE_CUTS_MAX = 8, FAKE_TXNS_MAX = 16 };

struct fake_part {
    uint64_t term, frozen, cuts[FAKE_CUTS_MAX];
    int64_t time;
    bool silent;      /* answers nothing */
    bool full;        /* of cuts: of others */
    bool broken;      /* answers CUT_FAILED */
    uint32_t refuses; /* so many TAKE, as if it had thawed before */
    uint32_t copying; /* so many STATE and OUTCOMES */
    uint32_t asked[CUT_CLAIM + 1];
    struct txn_id prepared[FAKE_TXNS_MAX], committed[FAKE_TXNS_MAX];
    uint32_t prepared_count, committed_count;
};

struct fake_cuts {
    struct fake_part parts[FAKE_PARTS];
    int64_t lifetime; /* of the last TAKE */
    struct buffer reply;
    /* READ, of a part that has the cut: appends what its service says. */
    void (*read)(struct fake_cuts *fake, uint32_t part, const struct cut_request *request);
    void *context;
};

static inline void fake_cuts_init(struct fake_cuts *fake)
{
    memset(fake, 0, sizeof(*fake));
    buffer_init(&fake->reply, 64 << 20);
    for (uint32_t i = 0; i < FAKE_PARTS; i++) {
        fake->parts[i].term = 10 + i;
        fake->parts[i].time = INT64_C(1700000000000000) + i;
    }
}

static inline uint64_t *fake_find(struct fake_part *part, uint64_t cut)
{
    for (uint32_t i = 0; i < FAKE_CUTS_MAX; i++)
        if (part->cuts[i] == cut) return &part->cuts[i];
    return NULL;
}

static inline enum cut_status fake_take(struct fake_part *part, const struct cut_request *request)
{
    uint64_t *room = fake_find(part, 0);

    if (part->full || room == NULL) return CUT_FULL;
    if (part->refuses > 0 && part->refuses-- > 0) return CUT_REFUSED;
    if (part->frozen != request->cut || part->term != request->freeze) return CUT_REFUSED;
    part->frozen = 0;
    *room = request->cut;
    return CUT_OK;
}

static inline bool fake_is_committed(const struct fake_part *part, struct txn_id id)
{
    for (uint32_t i = 0; i < part->committed_count; i++)
        if (txn_id_equal(part->committed[i], id)) return true;
    return false;
}

static inline void fake_write_state(struct fake_part *part, struct writer *writer)
{
    struct buffer txns;

    buffer_init(&txns, 1 << 16);
    struct writer ids = writer_make(&txns);
    for (uint32_t i = 0; i < part->prepared_count; i++)
        cut_txn_encode(&ids, part->prepared[i]);
    struct cut_state state = {.index = 100,
                              .time = part->time,
                              .txn_count = part->prepared_count,
                              .txns = buffer_bytes(&txns)};
    cut_state_encode(writer, &state);
    buffer_free(&txns);
}

static inline void fake_write_outcomes(const struct fake_part *part, struct bytes txns,
                                       struct writer *writer)
{
    struct txn_id id;

    while (cut_txn_next(&txns, &id))
        write_u8(writer, fake_is_committed(part, id));
}

static inline enum cut_status fake_status(struct fake_part *part, const struct cut_request *request)
{
    bool reads = request->op >= CUT_STATE && request->op <= CUT_READ;

    if (part->broken) return CUT_FAILED;
    if (reads && fake_find(part, request->cut) == NULL) return CUT_GONE;
    if (reads && part->copying > 0 && part->copying-- > 0) return CUT_OPENING;
    if (request->op == CUT_TAKE) return fake_take(part, request);
    if (request->op == CUT_FREEZE) part->frozen = request->cut;
    if (request->op != CUT_CLOSE) return CUT_OK;
    if (part->frozen == request->cut) part->frozen = 0;
    uint64_t *had = fake_find(part, request->cut);
    if (had != NULL) *had = 0;
    return CUT_OK;
}

/* What that partition answers. Borrowed until the next one. */
static inline struct bytes fake_cuts_answer(struct fake_cuts *fake, uint32_t index,
                                            struct bytes body)
{
    struct fake_part *part = &fake->parts[index];
    struct writer writer = writer_make(&fake->reply);
    struct cut_request request;

    assert_true(cut_request_decode(body, &request));
    part->asked[request.op]++;
    if (request.op == CUT_TAKE) fake->lifetime = request.lifetime;
    buffer_clear(&fake->reply);
    enum cut_status status = fake_status(part, &request);
    write_u8(&writer, (uint8_t)status);
    if (status != CUT_OK) return buffer_bytes(&fake->reply);
    if (request.op == CUT_FREEZE) write_u64(&writer, part->term);
    if (request.op == CUT_STATE) fake_write_state(part, &writer);
    if (request.op == CUT_OUTCOMES) fake_write_outcomes(part, request.txns, &writer);
    if (request.op == CUT_READ) fake->read(fake, index, &request);
    return buffer_bytes(&fake->reply);
}

/* Does any partition still have a cut, or hold writes back for one? */
static inline bool fake_cuts_left(struct fake_cuts *fake)
{
    for (uint32_t i = 0; i < FAKE_PARTS; i++) {
        if (fake->parts[i].frozen) return true;
        for (uint32_t k = 0; k < FAKE_CUTS_MAX; k++)
            if (fake->parts[i].cuts[k]) return true;
    }
    return false;
}

#endif
