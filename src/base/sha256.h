/* sha256.h - SHA-256 of bytes that are there as a whole. Source: FIPS 180-4. Pure; thread: any. */
#ifndef HOLON_BASE_SHA256_H
#define HOLON_BASE_SHA256_H

#include "base/bytes.h"

enum { SHA256_SIZE = 32 };

void sha256(struct bytes bytes, uint8_t ret_hash[SHA256_SIZE]);

#endif
