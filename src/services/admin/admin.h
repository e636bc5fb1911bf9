/* admin.h - HTTP for operators: /health, /metrics, /status, /plan and a page to look at; and what
 * they ask for, by POST. A POST must have the field `X-Holon-Operator`, whatever its value: pages
 * of other sites can make a browser send a POST here, but not with a field of its own.
 *
 * The service knows HTTP and nothing of the node: what a page says comes from options.render,
 * which may answer at once or later (numbers of other workers and nodes take a moment).
 * Limits: 64 connections, 32 of one address: then whoever asks nothing gives its place to
 * whoever comes, and if all ask, 503; 8 KiB of head, 30 s between whole requests, one request
 * at a time, and none while more than 64 KiB of answers wait. Thread: worker 0. */
#ifndef HOLON_SERVICES_ADMIN_ADMIN_H
#define HOLON_SERVICES_ADMIN_ADMIN_H

#include "base/bytes.h"
#include "world/world.h"

enum {
    ADMIN_CONNECTIONS_MAX = 64,
    ADMIN_ADDRESS_CONNECTIONS_MAX = 32,
    ADMIN_OUTPUT_WAIT = 64 << 10,
    ADMIN_IDLE_US = 30 * 1000 * 1000,
    ADMIN_OUTPUT_MAX = 32 << 20,
};

struct admin;

enum admin_page { ADMIN_HEALTH, ADMIN_METRICS, ADMIN_STATUS, ADMIN_PLAN };

struct admin_options {
    struct world *world;
    const char *address;
    void *context;
    /* Asks for a page. admin_answer() with the ticket follows, once, maybe before it returns. */
    void (*render)(void *context, enum admin_page page, uint64_t ticket);
    /* A POST; borrowed. Answered in the same way. */
    void (*operate)(void *context, struct bytes path, struct bytes query, uint64_t ticket);
};

/* STATUS_EXISTS: the address is in use; the error says what to do. */
enum status admin_open(const struct admin_options *options, struct admin **ret_admin,
                       struct error *error);
void admin_close(struct admin *admin); /* NULL is fine; tickets are void then */
uint16_t admin_port(const struct admin *admin);

struct admin_statistics {
    uint64_t connections; /* now */
    uint64_t requests;    /* answered */
    uint64_t refused;     /* all places were taken by others that wait for answers */
    uint64_t displaced;   /* had to make room for somebody else */
};
void admin_statistics(const struct admin *admin, struct admin_statistics *ret_statistics);
/* The client may be gone: then nothing happens. Copies the body. */
void admin_answer(struct admin *admin, uint64_t ticket, unsigned status, const char *content_type,
                  struct bytes body);

#endif
