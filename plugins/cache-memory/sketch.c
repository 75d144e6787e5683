/*
 * Frequencies in 4 bits; see sketch.h.
 */
#include "sketch.h"

#define ROWS      4
#define COUNT_MAX 15
/* Additions between two halvings: ten for each counter of a row. */
#define AGE (CM_SKETCH_LINES * 32u * 10u)

/* Where one of a key's counters is: row i has words 2i and 2i+1 of the line. */
struct place {
    unsigned word, shift;
};

static unsigned line_of(uint64_t hash)
{
    return (unsigned)(hash >> 12) & (CM_SKETCH_LINES - 1);
}

static struct place place_of(uint64_t hash, unsigned row)
{
    unsigned bits = (unsigned)(hash >> (20 + 5 * row));
    struct place p = {2 * row + (bits & 1), 4 * ((bits >> 1) & 15)};

    return p;
}

static void halve(struct cm_sketch *s)
{
    uint64_t *word = &s->line[0][0];

    for (unsigned i = 0; i < CM_SKETCH_LINES * 8; i++)
        word[i] = (word[i] >> 1) & 0x7777777777777777u;
    s->added = 0;
}

void cm_sketch_add(struct cm_sketch *s, uint64_t hash)
{
    uint64_t *line = s->line[line_of(hash)];

    for (unsigned row = 0; row < ROWS; row++) {
        struct place p = place_of(hash, row);

        if (((line[p.word] >> p.shift) & COUNT_MAX) < COUNT_MAX)
            line[p.word] += (uint64_t)1 << p.shift;
    }
    if (++s->added == AGE)
        halve(s);
}

unsigned cm_sketch_count(const struct cm_sketch *s, uint64_t hash)
{
    const uint64_t *line = s->line[line_of(hash)];
    unsigned least = COUNT_MAX;

    for (unsigned row = 0; row < ROWS; row++) {
        struct place p = place_of(hash, row);
        unsigned n = (unsigned)(line[p.word] >> p.shift) & COUNT_MAX;

        least = n < least ? n : least;
    }
    return least;
}
