/* sim_resp.h - a tiny RESP2 of the simulator's own, so that the product's codec is not judged
 * by itself. */
#ifndef HOLON_SIM_SIM_RESP_H
#define HOLON_SIM_SIM_RESP_H

#include "base/buffer.h"

/* Appends *count and then `count` C strings; the last may be given as bytes by _bulk. */
void sim_resp_array(struct buffer *buffer, uint32_t count);
void sim_resp_bulk(struct buffer *buffer, struct bytes bytes);
void sim_resp_text(struct buffer *buffer, const char *text);

enum sim_reply_kind {
    SIM_REPLY_STATUS,
    SIM_REPLY_ERROR,
    SIM_REPLY_INTEGER,
    SIM_REPLY_BULK,
    SIM_REPLY_NIL,
    SIM_REPLY_OTHER
};

struct sim_reply {
    enum sim_reply_kind kind;
    struct bytes text; /* status, error, bulk; borrowed */
    int64_t integer;
};

/* 1: a reply of *ret_size bytes is at the front of `input`; 0: more is needed; -1: not RESP. */
int sim_resp_parse(struct bytes input, struct sim_reply *ret_reply, size_t *ret_size);
/* Digits with an optional minus; false on anything else. */
bool sim_resp_integer(struct bytes text, int64_t *ret);
/* Whether an error says that the request surely had no effect. */
bool sim_resp_is_refusal(struct bytes error);

#endif
