/*
 * How old an answer is, and who asks anew; see refresh.h.
 */
#include "refresh.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BETA_MAX 1000.0

/* xorshift64*: who asks anew is nobody's secret. */
static uint64_t next_random(struct cache_worker *w)
{
    uint64_t x = w->random ? w->random : cache_now_ns() | 1;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    w->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* 0 < u <= 1. */
static double uniform(struct cache_worker *w)
{
    return ((double)(next_random(w) >> 11) + 1) / 9007199254740992.0;
}

enum cache_age cache_age(struct cache_worker *w, const struct cache_policy *policy,
                         const struct hd_cache_value *value, int shared)
{
    uint64_t window = shared ? 0 : policy->stale_ms;

    if (value->left_ms <= window)
        return window ? CACHE_STALE : CACHE_FRESH;
    if (policy->beta > 0 &&
        (double)value->cost_ns * policy->beta * -log(uniform(w)) >= (double)(value->left_ms - window) * 1e6)
        return CACHE_REFRESH_EARLY;
    return CACHE_FRESH;
}

static int is(struct hd_str s, const char *word)
{
    return s.len == strlen(word) && !memcmp(s.ptr, word, s.len);
}

int cache_read_beta(struct hd_str text, double *beta)
{
    char *end;

    *beta = 0;
    if (!text.len || is(text, "no") || is(text, "off"))
        return 1;
    if (is(text, "yes") || is(text, "on")) {
        *beta = 1;
        return 1;
    }
    *beta = strtod(text.ptr, &end);
    return text.ptr[0] >= '0' && text.ptr[0] <= '9' && end == text.ptr + text.len && *beta <= BETA_MAX;
}
