/* txn_cut_outcomes.c - transactions that parts of a cut have prepared: each belongs to the cut
 * exactly if its decision to commit is in the part of its primary.
 *
 *   STATE of all parts -> sightings, sorted: those of one primary are neighbours, and several
 *   sightings of one transaction -> OUTCOMES of each primary, CUT_TXNS_MAX transactions at a time
 *   -> each part's list of those that are committed */
#include "txn/txn_cut_internal.h"

#include <stdlib.h>

bool cut_take_state(struct cut_part *part, struct bytes rest)
{
    struct txn_cut *cut = part->cut;
    struct cut_state state;
    struct txn_id id;

    if (!cut_state_decode(rest, &state)) return false;
    if (state.time > cut->time) cut->time = state.time;
    while (cut_txn_next(&state.txns, &id)) {
        bool known = id.primary.value >= GROUP_DATA_FIRST &&
                     id.primary.value < GROUP_DATA_FIRST + cut->part_count;
        if (!known) return false;
        if (cut->sighting_count == cut->sighting_room) {
            cut->sighting_room = cut->sighting_room ? 2 * cut->sighting_room : 64;
            cut->sightings =
                memory_resize(cut->sightings, cut->sighting_room * sizeof(cut->sightings[0]));
        }
        cut->sightings[cut->sighting_count++] =
            (struct cut_sighting){.id = id, .part = (uint32_t)(part - cut->parts)};
    }
    return true;
}

static int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare(const void *a, const void *b)
{
    const struct txn_id *x = &((const struct cut_sighting *)a)->id;
    const struct txn_id *y = &((const struct cut_sighting *)b)->id;
    int result = order(x->primary.value, y->primary.value);

    if (result == 0) result = order(x->gateway.node, y->gateway.node);
    if (result == 0) result = order(x->gateway.epoch, y->gateway.epoch);
    if (result == 0) result = order(x->gateway.worker, y->gateway.worker);
    return result ? result : order(x->seq, y->seq);
}

static bool same_as_before(const struct txn_cut *cut, uint32_t i, uint32_t first)
{
    return i > first && txn_id_equal(cut->sightings[i].id, cut->sightings[i - 1].id);
}

void cut_judge_begin(struct txn_cut *cut)
{
    uint32_t at = 0;

    if (cut->sighting_count)
        qsort(cut->sightings, cut->sighting_count, sizeof(cut->sightings[0]), compare);
    for (uint32_t i = 0; i < cut->part_count; i++) {
        struct cut_part *part = &cut->parts[i];
        part->judged = part->judging = at;
        while (at < cut->sighting_count &&
               cut->sightings[at].id.primary.value == GROUP_DATA_FIRST + i)
            at++;
        part->end = at;
    }
    ASSERT(at == cut->sighting_count);
}

/* The next of a primary. */
static void ask(struct cut_part *part)
{
    struct txn_cut *cut = part->cut;
    struct buffer txns;
    uint32_t count = 0, at = part->judging;

    buffer_init(&txns, CUT_BODY_MAX);
    struct writer writer = writer_make(&txns);
    part->judged = at;
    for (; at < part->end; at++) {
        if (same_as_before(cut, at, part->judged)) continue;
        if (count == CUT_TXNS_MAX) break;
        cut_txn_encode(&writer, cut->sightings[at].id);
        count++;
    }
    ASSERT(!writer.failed);
    part->judging = at;
    cut_part_ask(part, CUT_OUTCOMES, buffer_bytes(&txns), count);
    buffer_free(&txns);
}

void cut_judge_ask(struct txn_cut *cut)
{
    for (uint32_t i = 0; i < cut->part_count && !cut->failed; i++) {
        struct cut_part *part = &cut->parts[i];
        if (!part->asked && !part->again && part->judging < part->end) ask(part);
    }
}

bool cut_take_outcomes(struct cut_part *part, struct bytes rest)
{
    struct txn_cut *cut = part->cut;
    struct reader reader = reader_make(rest);
    bool committed = false;

    for (uint32_t i = part->judged; i < part->judging; i++) {
        if (!same_as_before(cut, i, part->judged)) {
            uint8_t outcome = read_u8(&reader);
            if (reader.failed || outcome > 1) return false;
            committed = outcome == 1;
        }
        cut->sightings[i].committed = committed;
    }
    return reader_left(&reader) == 0;
}

void cut_judge_end(struct txn_cut *cut)
{
    for (uint32_t i = 0; i < cut->sighting_count; i++) {
        const struct cut_sighting *sighting = &cut->sightings[i];
        struct cut_part *part = &cut->parts[sighting->part];
        struct writer writer = writer_make(&part->committed);

        if (!sighting->committed) continue;
        cut_txn_encode(&writer, sighting->id);
        ASSERT(!writer.failed);
        part->committed_count++;
    }
    memory_free(cut->sightings);
    cut->sightings = NULL;
    cut->sighting_count = cut->sighting_room = 0;
}
