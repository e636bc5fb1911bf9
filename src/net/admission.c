#include "net/admission.h"

#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/memory.h"

enum { ROWS = 2, COUNTERS = 4096, DEFAULT_NUMERATOR = 3, DEFAULT_DENOMINATOR = 4 };

struct admission {
    struct admission_options options;
    bool loopback_free;
    _Atomic uint32_t count;
    _Atomic uint32_t rows[ROWS][COUNTERS];
};

struct admission *admission_create(const struct admission_options *options)
{
    struct admission *admission = memory_allocate_zero(sizeof(*admission));
    uint64_t share = (uint64_t)options->total_max * DEFAULT_NUMERATOR / DEFAULT_DENOMINATOR;

    ASSERT(options->total_max > 0);
    admission->options = *options;
    admission->loopback_free = options->address_max == 0;
    if (options->address_max == 0) admission->options.address_max = share ? (uint32_t)share : 1;
    return admission;
}

void admission_destroy(struct admission *admission)
{
    memory_free(admission);
}

struct bytes admission_host(const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t size = colon ? (size_t)(colon - address) : strlen(address);
    bool brackets = size >= 2 && address[0] == '[' && address[size - 1] == ']';

    return brackets ? bytes_make(address + 1, size - 2) : bytes_make(address, size);
}

static bool is_loopback(struct bytes host)
{
    return bytes_starts_with(host, bytes_of("127.")) || bytes_equal(host, bytes_of("::1"));
}

/* The counters of a host; false: it has none, and no limit. */
static bool counters_of(struct admission *admission, const char *address,
                        _Atomic uint32_t *ret_counters[ROWS])
{
    struct bytes host = admission_host(address);

    if (admission->loopback_free && is_loopback(host)) return false;
    uint64_t hash = hash64(admission->options.secret, host);
    ret_counters[0] = &admission->rows[0][hash % COUNTERS];
    ret_counters[1] = &admission->rows[1][(hash >> 32) % COUNTERS];
    return true;
}

static void subtract(_Atomic uint32_t *counter)
{
    uint32_t before = atomic_fetch_sub_explicit(counter, 1, memory_order_relaxed);
    ASSERT(before > 0);
}

/* Adds first and looks then: two that come at the same time cannot both be the last. */
enum admission_result admission_enter(struct admission *admission, const char *address)
{
    _Atomic uint32_t *counters[ROWS];
    uint32_t lowest = UINT32_MAX;

    if (atomic_fetch_add_explicit(&admission->count, 1, memory_order_relaxed) >=
        admission->options.total_max) {
        subtract(&admission->count);
        return ADMISSION_FULL;
    }
    if (!counters_of(admission, address, counters)) return ADMISSION_GRANTED;
    for (int row = 0; row < ROWS; row++) {
        uint32_t before = atomic_fetch_add_explicit(counters[row], 1, memory_order_relaxed);
        if (before < lowest) lowest = before;
    }
    if (lowest < admission->options.address_max) return ADMISSION_GRANTED;
    admission_leave(admission, address);
    return ADMISSION_ADDRESS_FULL;
}

void admission_leave(struct admission *admission, const char *address)
{
    _Atomic uint32_t *counters[ROWS];

    subtract(&admission->count);
    if (!counters_of(admission, address, counters)) return;
    for (int row = 0; row < ROWS; row++)
        subtract(counters[row]);
}

uint32_t admission_count(const struct admission *admission)
{
    return atomic_load_explicit(&admission->count, memory_order_relaxed);
}

uint32_t admission_total_max(const struct admission *admission)
{
    return admission->options.total_max;
}
