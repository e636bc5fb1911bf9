#include "services/redis/glob.h"

enum { LOWER_PATTERN_MAX = 128 };

/* Does the set that begins at pattern[*at], behind its `[`, hold `c`? *at is moved behind
 * its `]`, or to the end if there is none: then the set ends there. */
static bool set_holds(struct bytes pattern, size_t *at, uint8_t c)
{
    size_t i = *at;
    bool negated = i < pattern.size && pattern.data[i] == '^';
    bool found = false;

    if (negated) i++;
    while (i < pattern.size) {
        uint8_t first = pattern.data[i];
        if (first == '\\' && i + 1 < pattern.size) {
            found |= pattern.data[i + 1] == c;
            i += 2;
        } else if (first == ']') {
            i++;
            break;
        } else if (i + 2 < pattern.size && pattern.data[i + 1] == '-') {
            uint8_t last = pattern.data[i + 2];
            found |= first <= last ? c >= first && c <= last : c >= last && c <= first;
            i += 3;
        } else {
            found |= first == c;
            i++;
        }
    }
    *at = i;
    return found != negated;
}

/* Does the one-byte part of the pattern at *at match `c`? *at is moved behind the part. */
static bool part_matches(struct bytes pattern, size_t *at, uint8_t c)
{
    uint8_t part = pattern.data[(*at)++];

    switch (part) {
    case '?':
        return true;
    case '[':
        return set_holds(pattern, at, c);
    case '\\':
        if (*at < pattern.size) part = pattern.data[(*at)++];
        return part == c;
    default:
        return part == c;
    }
}

/* A mismatch goes back to the last star only, which then takes one byte more: an earlier
 * star can never do better. */
bool glob_matches(struct bytes pattern, struct bytes text)
{
    size_t p = 0, t = 0;
    size_t star_p = 0, star_t = 0;
    bool starred = false;

    while (t < text.size) {
        if (p < pattern.size && pattern.data[p] == '*') {
            starred = true;
            star_p = ++p;
            star_t = t;
            continue;
        }
        if (p < pattern.size && part_matches(pattern, &p, text.data[t])) {
            t++;
            continue;
        }
        if (!starred) return false;
        p = star_p;
        t = ++star_t;
    }
    while (p < pattern.size && pattern.data[p] == '*')
        p++;
    return p == pattern.size;
}

bool glob_matches_lower(struct bytes pattern, struct bytes text)
{
    uint8_t lower[LOWER_PATTERN_MAX];

    if (pattern.size > sizeof(lower)) return false; /* longer than any name by far */
    for (size_t i = 0; i < pattern.size; i++) {
        uint8_t c = pattern.data[i];
        lower[i] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
    }
    return glob_matches(bytes_make(lower, pattern.size), text);
}
