#include "sim/checkers/order.h"

#include "base/hash.h"
#include "base/memory.h"
#include "sim/checkers/linearizable.h"

#include <stdio.h>
#include <stdlib.h>

size_t check_order_token(const struct sim_op *op, char token[32])
{
    return (size_t)snprintf(token, 32, "s%up%u;", op->session, op->position);
}

struct place { /* a token found in the final value */
    uint32_t session, position;
    size_t at, end;
    bool matched;
};

struct judge {
    const struct sim_history *history;
    uint32_t key;
    struct bytes final;
    struct place *places;
    uint32_t place_count;
    char *text;
    size_t text_size;
    uint32_t *writes; /* numbers in the history */
    uint32_t write_count;
};

static bool wrong(struct judge *judge, const char *what, const struct sim_op *op, uint64_t number)
{
    char line[200] = "";

    if (op) sim_op_text(op, line, sizeof(line));
    snprintf(judge->text, judge->text_size, "order k%u: %s (%llu) %s", judge->key, what,
             (unsigned long long)number, line);
    return false;
}

static bool split(struct judge *judge)
{
    const char *value = (const char *)judge->final.data;
    size_t at = 0;

    while (at < judge->final.size) {
        struct place place = {.at = at};
        int used = 0;
        if (sscanf(value + at, "s%up%u;%n", &place.session, &place.position, &used) != 2 ||
            used == 0)
            return wrong(judge, "the value is not made of tokens at", NULL, at);
        at += (size_t)used;
        place.end = at;
        judge->places[judge->place_count++] = place;
    }
    for (uint32_t i = 0; i < judge->place_count; i++) {
        for (uint32_t j = i + 1; j < judge->place_count; j++) {
            const struct place *a = &judge->places[i], *b = &judge->places[j];
            if (a->session != b->session) continue;
            if (a->position == b->position)
                return wrong(judge, "a token is there twice, position", NULL, a->position);
            if (a->position > b->position)
                return wrong(judge, "tokens of one connection changed places, position", NULL,
                             a->position);
        }
    }
    return true;
}

static struct place *find(struct judge *judge, const struct sim_op *op)
{
    for (uint32_t i = 0; i < judge->place_count; i++) {
        struct place *place = &judge->places[i];
        if (place->session == op->session && place->position == op->position) return place;
    }
    return NULL;
}

static bool check_append(struct judge *judge, const struct sim_op *op)
{
    struct place *place = find(judge, op);

    if (op->outcome == SIM_DONE && place == NULL)
        return wrong(judge, "an acknowledged token is missing", op, 0);
    if (op->outcome == SIM_DONE && place->end != (size_t)op->result)
        return wrong(judge, "a token is elsewhere than its reply said, ends at", op, place->end);
    if (op->outcome == SIM_NOT_DONE && place)
        return wrong(judge, "a token is there that surely was not executed", op, place->at);
    if (place) place->matched = true;
    return true;
}

static bool check_read(struct judge *judge, const struct sim_op *op)
{
    if (op->outcome != SIM_DONE) return true;
    size_t size = op->found ? (size_t)op->result : 0;
    if (size > judge->final.size)
        return wrong(judge, "a read saw more than there is at the end", op, judge->final.size);
    if (op->content_hash != hash64(0, bytes_make(judge->final.data, size)))
        return wrong(judge, "a read saw what is no prefix of the end", op, size);
    for (uint32_t i = 0; i < judge->write_count; i++) {
        const struct sim_op *write = &judge->history->ops[judge->writes[i]];
        if (write->returned < op->invoked && (size_t)write->result > size)
            return wrong(judge, "a read missed an acknowledged token that ends at", op,
                         (uint64_t)write->result);
        if (write->invoked > op->returned && (size_t)write->result <= size)
            return wrong(judge, "a read saw a token from its future that ends at", op,
                         (uint64_t)write->result);
    }
    return true;
}

/* Of this key and acknowledged: few, and each read is held against each. */
static void find_writes(struct judge *judge)
{
    const struct sim_history *history = judge->history;

    judge->write_count = 0;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct sim_op *op = &history->ops[i];
        if (op->key == judge->key && op->kind == SIM_OP_APPEND && op->outcome == SIM_DONE)
            judge->writes[judge->write_count++] = i;
    }
}

static bool check_key(struct judge *judge)
{
    bool good = split(judge);

    find_writes(judge);

    for (uint32_t i = 0; good && i < judge->history->count; i++) {
        const struct sim_op *op = &judge->history->ops[i];
        if (op->key != judge->key) continue;
        good = op->kind == SIM_OP_APPEND ? check_append(judge, op) : check_read(judge, op);
    }
    for (uint32_t i = 0; good && i < judge->place_count; i++)
        if (!judge->places[i].matched) good = wrong(judge, "a token nobody sent", NULL, i);
    return good;
}

bool check_order(const struct sim_history *history, char *text, size_t text_size)
{
    bool good = true;

    for (uint32_t key = 0; key < history->key_count && good; key++) {
        if (history->key_kinds[key] != SIM_KEY_ORDER || history->finals[key].data == NULL) continue;
        struct judge judge = {.history = history,
                              .key = key,
                              .final = history->finals[key],
                              .text = text,
                              .text_size = text_size};
        /* sscanf() needs an end; a token has at least 5 bytes. */
        uint8_t *copy = memory_allocate_zero(judge.final.size + 1);
        memcpy(copy, judge.final.data, judge.final.size);
        judge.final.data = copy;
        judge.places = memory_allocate((judge.final.size / 5 + 2) * sizeof(*judge.places));
        judge.writes = memory_allocate((history->count + 1) * sizeof(*judge.writes));
        good = check_key(&judge);
        memory_free(judge.writes);
        memory_free(judge.places);
        memory_free(copy);
    }
    return good;
}
