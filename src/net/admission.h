/* admission.h - how many connections a node takes, in all and from one address, over all of its
 * workers (F63).
 *
 * The total is exact. An address has a counter in each of two rows, found by a keyed hash, and
 * the lower one counts, so that no table of addresses has to be kept, locked and bounded. An
 * address is refused wrongly only when others have filled its counters in both rows.
 * Thread: any. */
#ifndef HOLON_NET_ADMISSION_H
#define HOLON_NET_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct admission;

enum admission_result { ADMISSION_GRANTED, ADMISSION_FULL, ADMISSION_ADDRESS_FULL };

struct admission_options {
    uint32_t total_max;
    /* 0: three quarters of total_max, so that no single machine can lock all others out, and
     * no limit of its own for the machine's loopback addresses. Else for all addresses. */
    uint32_t address_max;
    uint64_t secret; /* so that nobody can look for addresses that share a counter */
};

struct admission *admission_create(const struct admission_options *options);
void admission_destroy(struct admission *admission); /* NULL is fine */

/* `address` is that of the other side, "HOST:PORT". Each GRANTED is given back once, with the
 * same address, by admission_leave(). */
enum admission_result admission_enter(struct admission *admission, const char *address);
void admission_leave(struct admission *admission, const char *address);
uint32_t admission_count(const struct admission *admission);
uint32_t admission_total_max(const struct admission *admission);

/* The host of "HOST:PORT" or "[HOST]:PORT", without the port; borrowed. */
struct bytes admission_host(const char *address);

#endif
