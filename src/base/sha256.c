#include "base/sha256.h"

#include "base/codec.h"

enum { BLOCK_SIZE = 64, ROUNDS = 64, LENGTH_AT = 56 };

static const uint32_t round_constants[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t word, unsigned by)
{
    return word >> by | word << (32 - by);
}

/* 6.2.2 of the standard; its letters. */
static void take_block(uint32_t hash[8], const uint8_t *block)
{
    uint32_t w[ROUNDS];
    uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3];
    uint32_t e = hash[4], f = hash[5], g = hash[6], h = hash[7];

    for (unsigned t = 0; t < 16; t++)
        w[t] = load_u32_be(block + 4 * t);
    for (unsigned t = 16; t < ROUNDS; t++) {
        uint32_t small_0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t small_1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = small_1 + w[t - 7] + small_0 + w[t - 16];
    }
    for (unsigned t = 0; t < ROUNDS; t++) {
        uint32_t big_1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t big_0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t1 = h + big_1 + ((e & f) ^ (~e & g)) + round_constants[t] + w[t];
        uint32_t t2 = big_0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    const uint32_t changed[8] = {a, b, c, d, e, f, g, h};
    for (unsigned i = 0; i < 8; i++)
        hash[i] += changed[i];
}

void sha256(struct bytes bytes, uint8_t ret_hash[SHA256_SIZE])
{
    uint32_t hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    uint8_t last[2 * BLOCK_SIZE] = {0};
    size_t whole = bytes.size - bytes.size % BLOCK_SIZE;
    size_t rest = bytes.size - whole;
    size_t last_size = rest < LENGTH_AT ? BLOCK_SIZE : 2 * BLOCK_SIZE;

    for (size_t at = 0; at < whole; at += BLOCK_SIZE)
        take_block(hash, bytes.data + at);
    /* 5.1.1: a one, zeros, the length in bits. */
    if (rest) memcpy(last, bytes.data + whole, rest);
    last[rest] = 0x80;
    store_u64_be(last + last_size - 8, (uint64_t)bytes.size * 8);
    for (size_t at = 0; at < last_size; at += BLOCK_SIZE)
        take_block(hash, last + at);
    for (unsigned i = 0; i < 8; i++)
        store_u32_be(ret_hash + 4 * i, hash[i]);
}
