#include "base/random.h"

#include "base/assert.h"

/* SplitMix64, which the authors of xoshiro name for filling its state: equal seeds that differ
 * in one bit give unrelated streams, and the state is never all zero. */
static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

void random_seed(struct random *random, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++)
        random->state[i] = splitmix64(&seed);
}

uint64_t random_u64(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire's multiplication with rejection ("Fast random integer generation in an interval",
 * 2019): unbiased, and a division only on the rare path. */
uint64_t random_below(struct random *random, uint64_t bound)
{
    ASSERT(bound > 0);
    unsigned __int128 product = (unsigned __int128)random_u64(random) * bound;
    uint64_t low = (uint64_t)product;

    if (low < bound) {
        uint64_t threshold = -bound % bound;
        while (low < threshold) {
            product = (unsigned __int128)random_u64(random) * bound;
            low = (uint64_t)product;
        }
    }
    return (uint64_t)(product >> 64);
}

uint64_t random_between(struct random *random, uint64_t low, uint64_t high)
{
    ASSERT(low <= high);
    if (high - low == UINT64_MAX) return random_u64(random);
    return low + random_below(random, high - low + 1);
}

bool random_chance(struct random *random, uint32_t numerator, uint32_t denominator)
{
    ASSERT(denominator > 0);
    return random_below(random, denominator) < numerator;
}
