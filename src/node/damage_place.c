#include "node/damage_place.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names of a store's files: sorted files, the manifest, and what says which one counts. */
static bool names_a_file(const char *word, size_t size)
{
    static const char *const parts[] = {".sst", "MANIFEST-", "/CURRENT", "/OPTIONS-", "/owner"};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *at = strstr(word, parts[i]);
        if (at != NULL && at < word + size) return true;
    }
    return false;
}

void damage_place(const char *text, const char *otherwise, char *ret_file, size_t size,
                  uint64_t *ret_offset)
{
    static const char behind[] = " offset ";

    snprintf(ret_file, size, "%s", otherwise);
    *ret_offset = 0;
    for (const char *at = text + strspn(text, " "); *at != '\0'; at += strspn(at, " ")) {
        size_t word = strcspn(at, " ");
        const char *next = at + word;
        if (!names_a_file(at, word)) {
            at = next;
            continue;
        }
        while (word > 0 && strchr(":;,.'\"", at[word - 1]) != NULL)
            word--;
        snprintf(ret_file, size, "%.*s", (int)word, at);
        if (strncmp(next, behind, sizeof(behind) - 1) == 0)
            *ret_offset = strtoull(next + sizeof(behind) - 1, NULL, 10);
        return;
    }
}
