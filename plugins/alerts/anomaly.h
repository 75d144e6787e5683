/*
 * What a series usually is, to tell what is unusual: the median of the same hour of past weeks, with the
 * median deviation from it, once there are two such weeks; until then an exponentially weighted mean and
 * deviation.
 */
#ifndef ALERTS_ANOMALY_H
#define ALERTS_ANOMALY_H

#include <stdint.h>

#define AL_HOURS    168 /* of a week */
#define AL_WEEKS    4   /* that are remembered */
#define AL_PER_HOUR 6   /* means over ten minutes */

/* How a rule judges. */
struct al_judge {
    double sensitivity; /* deviations that are too many */
    double min_change;  /* share of what is usual below which nothing is unusual */
    uint64_t memory_ms; /* of the weighted mean */
    int up, down;       /* which side is looked at */
};

struct al_history {
    int32_t week[AL_WEEKS]; /* that the means are of; 0: none */
    float mean[AL_WEEKS][AL_PER_HOUR];
    uint8_t have[AL_WEEKS]; /* bits: which means are there */
};

/* Zeroed memory is a series of which nothing is known. */
struct al_baseline {
    double smooth; /* the series without its fastest noise */
    double mean, deviation;
    uint64_t known_ms; /* how much has been seen */
    uint64_t last_ms;
    uint32_t values;
    double part_sum; /* the ten minutes under way */
    uint32_t part_count;
    int64_t part; /* number of these ten minutes since 1970 */
    struct al_history hours[AL_HOURS];
};

enum al_verdict { AL_USUAL, AL_BETWEEN, AL_UNUSUAL };

/* Takes a value and judges it. `usual` and `bound` are what was expected, and the bound that is (or is
 * nearest to being) crossed. */
enum al_verdict al_baseline_feed(struct al_baseline *b, const struct al_judge *j, double value,
                                 uint64_t now_ms, int64_t wall_us, double *usual, double *bound);

#endif
