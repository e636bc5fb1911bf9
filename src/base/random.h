/* random.h - a small deterministic generator (xoshiro256**, Blackman and Vigna 2018). Not
 * for secrets: those come from world_random_secret(). Equal seeds give equal streams. */
#ifndef HOLON_BASE_RANDOM_H
#define HOLON_BASE_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_seed(struct random *random, uint64_t seed);
uint64_t random_u64(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);
/* Uniform in [low, high], both included. */
uint64_t random_between(struct random *random, uint64_t low, uint64_t high);
/* True `numerator` times out of `denominator`. */
bool random_chance(struct random *random, uint32_t numerator, uint32_t denominator);

#endif
