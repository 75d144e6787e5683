/*
 * Edit distance with three rows on the stack; see nearest.h. Words past a bound are compared by their heads,
 * which is enough for a hint.
 */
#include "plug/nearest.h"

#include <ctype.h>
#include <string.h>

#define WORD_BYTES 64

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int same(const char *a, size_t i, const char *b, size_t j)
{
    return tolower((unsigned char)a[i]) == tolower((unsigned char)b[j]);
}

size_t hd_edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_BYTES + 1], n = strnlen(a, WORD_BYTES), m = strnlen(b, WORD_BYTES);
    size_t *older = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= m; j++)
        last[j] = older[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *spare = older;

        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (same(a, i - 1, b, j - 1) ? 0 : 1);

            d = least(d, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && same(a, i - 1, b, j - 2) && same(a, i - 2, b, j - 1))
                d = least(d, older[j - 2] + 1);
            now[j] = d;
        }
        older = last;
        last = now;
        now = spare;
    }
    return last[m];
}

void hd_nearest_offer(struct hd_nearest *n, const char *candidate)
{
    size_t d = hd_edit_distance(n->word, candidate);

    if (n->best && d >= n->distance)
        return;
    n->best = candidate;
    n->distance = d;
}

const char *hd_nearest_end(const struct hd_nearest *n)
{
    size_t len = strnlen(n->word, WORD_BYTES);

    /* A third of the word may be wrong; of a very short one, a single letter. */
    if (!n->best || !len || n->distance > (len < 3 ? 1 : (len + 2) / 3))
        return NULL;
    return n->best;
}

const char *hd_nearest(const char *word, const char *const *candidates, size_t count)
{
    struct hd_nearest n = hd_nearest_start(word);

    for (size_t i = 0; i < count; i++)
        hd_nearest_offer(&n, candidates[i]);
    return hd_nearest_end(&n);
}
