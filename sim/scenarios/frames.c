#include "sim/scenarios/frames.h"

#include "base/assert.h"
#include "wire/peer_frame.h"
#include "wire/request_frame.h"

struct met { /* what a frame has */
    const struct sim_frame_seen *frame;
    uint32_t group;
    uint8_t service, op;
};

static bool is_about(const struct frame_rule *rule, const struct met *met)
{
    const struct sim_frame_seen *frame = met->frame;

    return (rule->kind == 0 || rule->kind == frame->kind) &&
           (rule->from == 0 || rule->from == frame->from) &&
           (rule->to == 0 || rule->to == frame->to) &&
           (rule->group == 0 || rule->group == met->group) &&
           (rule->service == 0 || rule->service == met->service) &&
           (rule->op == 0 || rule->op == met->op);
}

static void meet(struct frames *frames, const struct met *met, enum sim_frame_fate *fate)
{
    for (uint32_t i = 0; i < frames->count; i++) {
        struct frame_rule *rule = &frames->rules[i];
        if (!is_about(rule, met)) continue;
        rule->seen++;
        if (*fate != SIM_FRAME_GOES) continue;
        *fate = rule->fate;
        *met->frame->ret_tag = i;
    }
}

/* What is known of a request is its op, which stands behind the format. */
static void meet_requests(struct frames *frames, struct met *met, enum sim_frame_fate *fate)
{
    struct reader reader = reader_make(met->frame->payload);
    struct request_section section;
    struct request_item item;

    while (request_section_decode(&reader, &section) == STATUS_OK) {
        for (uint32_t i = 0; i < section.count; i++) {
            if (request_item_decode(&reader, &item) != STATUS_OK) return;
            met->group = section.group.value;
            met->service = item.service;
            met->op = item.body.size > 1 ? item.body.data[1] : 0;
            meet(frames, met, fate);
        }
    }
}

static void meet_replies(struct frames *frames, struct met *met, enum sim_frame_fate *fate)
{
    struct reader reader = reader_make(met->frame->payload);
    struct reply_section section;
    struct reply_item item;

    while (reply_section_decode(&reader, &section) == STATUS_OK) {
        met->group = section.group.value;
        meet(frames, met, fate);
        if (section.code != REPLY_CODE_REPLIES) continue;
        for (uint32_t i = 0; i < section.count; i++)
            if (reply_item_decode(&reader, &item) != STATUS_OK) return;
    }
}

static enum sim_frame_fate on_frame(void *context, const struct sim_frame_seen *frame)
{
    struct frames *frames = context;
    enum sim_frame_fate fate = SIM_FRAME_GOES;
    struct met met = {.frame = frame};

    if (frame->kind == PEER_FRAME_REQUESTS)
        meet_requests(frames, &met, &fate);
    else if (frame->kind == PEER_FRAME_REPLIES)
        meet_replies(frames, &met, &fate);
    return fate;
}

void frames_open(struct frames *frames, struct sim_network *network)
{
    struct sim_network_options *options = sim_network_options(network);

    *frames = (struct frames){.network = network};
    options->on_frame = on_frame;
    options->on_frame_context = frames;
}

struct frame_rule *frames_rule(struct frames *frames, struct frame_rule rule)
{
    ASSERT(frames->count < FRAME_RULES_MAX);
    struct frame_rule *at = &frames->rules[frames->count++];
    *at = rule;
    return at;
}

void frames_let_go(struct frames *frames, const struct frame_rule *rule)
{
    sim_network_let_go(frames->network, (uint32_t)(rule - frames->rules));
}

void frames_clear(struct frames *frames)
{
    for (uint32_t i = 0; i < frames->count; i++)
        sim_network_let_go(frames->network, i);
    frames->count = 0;
}
