/* host_alone.h - host_life.h with a replica that has no others: it leads, and answers requests of
 * this node by bench->evaluate. */
#ifndef HOLON_TESTS_UNIT_HOST_ALONE_H
#define HOLON_TESTS_UNIT_HOST_ALONE_H

#include "host_life.h"

static struct {
    uint64_t seq; /* of the last request */
    uint32_t count;
    uint8_t outcome;
    char text[8];
} answered __attribute__((unused));

static inline void on_reply(void *context, struct group_id group, uint64_t route, uint64_t seq,
                            uint8_t outcome, struct bytes bytes)
{
    answered.count++;
    answered.outcome = outcome;
    snprintf(answered.text, sizeof(answered.text), "%.*s", (int)bytes.size,
             (const char *)bytes.data);
}

static inline struct raft *core(void)
{
    return host_replica(bed.host, (struct group_id){GROUP})->raft;
}

static inline void open_alone(void *context)
{
    open_host();
    host_set_gateway(bed.host, &(struct host_gateway){.on_reply = on_reply});
    bed_add_alone();
    log_recovery_free(bed.log);
    bed.recovered_count = 0;
}

static inline void setup_leader(void)
{
    memset(&answered, 0, sizeof(answered));
    run(open_alone, NULL);
}

/* "g": a read; "p", "b": writes that add data; "t", "T": what ends transactions, or begins them
 * (little, much), by the other byte; others: writes. */
static inline void send_request(void *context)
{
    const uint8_t *body = context;
    bool txn = body[0] == 't' || body[0] == 'T';
    bool write = body[0] != 'g' && !txn;
    struct host_request request = {.gateway = {.node = SELF, .epoch = 7},
                                   .route = ++answered.seq, /* one request of each */
                                   .term = host_leads(bed.host, (struct group_id){GROUP}),
                                   .seq = answered.seq,
                                   .watermark = answered.seq - 1,
                                   .service = txn ? SERVICE_TXN : SERVICE_REDIS,
                                   .write = write,
                                   .grows = strchr("pb", body[0]) != NULL,
                                   .slot = 7,
                                   .body = bytes_make(body, 2)};

    assert_true(
        host_request_local(bed.host, (struct group_id){GROUP}, &request, world_now(bed.world)));
}

static inline uint8_t ask(char kind, uint8_t row)
{
    uint32_t before = answered.count;
    uint8_t body[2] = {(uint8_t)kind, row};

    sim_world_call(sim_world_of(bed.world), 0, send_request, body);
    sim_run_for(&bed.sim, 20 * 1000);
    assert_int_equal(answered.count, before + 1);
    return answered.outcome;
}

#endif
