/* frames.h - which requests between nodes a scenario holds, loses or doubles, said by what is in
 * them: "PREPARE of group 4 stays on its way". Thread: one. */
#ifndef HOLON_SIM_SCENARIOS_FRAMES_H
#define HOLON_SIM_SCENARIOS_FRAMES_H

#include "sim/sim_network.h"

enum { FRAME_RULES_MAX = 8 };

/* Zero where anything will do. A frame with several requests goes the way of the first of them
 * that a rule is about which does not let it go. */
struct frame_rule {
    enum sim_frame_fate fate;
    uint32_t kind; /* PEER_FRAME_REQUESTS, PEER_FRAME_REPLIES */
    node_id_t from, to;
    uint32_t group;
    uint8_t service, op; /* of a request: SERVICE_TXN, TXN_PREPARE; SERVICE_CUT, CUT_TAKE */
    uint32_t seen;       /* requests, or sections of replies, so far */
};

struct frames {
    struct sim_network *network;
    uint32_t count;
    struct frame_rule rules[FRAME_RULES_MAX];
};

void frames_open(struct frames *frames, struct sim_network *network);
/* Holds until frames_clear(). Borrowed. */
struct frame_rule *frames_rule(struct frames *frames, struct frame_rule rule);
/* What it kept goes on; the rule goes on, too. */
void frames_let_go(struct frames *frames, const struct frame_rule *rule);
/* No rules any more; what they kept goes on. */
void frames_clear(struct frames *frames);

#endif
