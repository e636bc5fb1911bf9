/* libc_tune.h - which of its copying functions the C library uses. */
#ifndef HOLON_CLI_LIBC_TUNE_H
#define HOLON_CLI_LIBC_TUNE_H

#include <stdbool.h>
#include <stddef.h>

/* Becomes the same program again, with the same words, where the library would take functions that
 * cost it dearly; returns where that is not so, was done already, or cannot be done. What an
 * operator has set in GLIBC_TUNABLES of `glibc.cpu.hwcaps` stays, and nothing is done; nor with
 * HOLON_LIBC_TUNED, which is how the second start is known. */
void libc_tune(char **words);

/* For its test: what GLIBC_TUNABLES should be, given what it is (NULL: not set). False: leave it.
 */
bool libc_tunables(const char *present, char *ret_text, size_t size);

#endif
