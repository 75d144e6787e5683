/*
 * The series of a selector, and what is known of their last minutes: enough to tell what a counter or a
 * sketch has done within a window of time.
 *
 * Nothing here knows of clocks or of the host: readings come from a source, and the caller says what time it
 * is. Times are milliseconds of a clock that only goes forward.
 */
#ifndef ALERTS_SERIES_H
#define ALERTS_SERIES_H

#include "alerts/expr.h"
#include "alerts/labels.h"

/* A metric as it is now. `number` is a counter's or gauge's, in the unit of its name. */
struct al_reading {
    uint32_t type; /* HD_METRIC_… */
    uint32_t label_count;
    const struct hd_label *labels;
    double number;
    double unit;                       /* what one unit of the bins is in that of the name */
    const struct hd_metric_bins *bins; /* of a sketch */
};

/* Where readings come from: calls fn for each series of that name; HD_OK, or an error code. */
struct al_source {
    int32_t (*read)(void *arg, const char *name, int with_bins,
                    void (*fn)(void *fn_arg, const struct al_reading *r), void *fn_arg);
    void *arg;
};

/* Series of all rules together, and their bound. */
struct al_budget {
    uint32_t series, max_series;
    uint32_t baselines, max_baselines; /* of anomaly rules */
    uint64_t refused;                  /* of either, that were not taken up */
};

/* Reads the metrics of an expression. A window without a range of its own is `range_ms` long. */
void al_series_read(struct al_node *n, const struct al_source *source, uint64_t range_ms, uint64_t now_ms,
                    struct al_budget *budget);
/* Has any of its metrics been there at the last reading? */
int al_series_found(struct al_node *n);

/* The series that the last reading had, one after the other; NULL: the first, and past the last. */
struct al_series *al_series_next(const struct al_selector *sel, struct al_series *s);
const struct al_labels *al_series_labels(const struct al_series *s);
/* The value of one in its window. 0: it has none. */
int al_series_value(const struct al_selector *sel, struct al_series *s, double *out);

void al_series_free(struct al_selector *s);
/* The budget gets back what the expression's series have taken; before it is freed. */
void al_series_give_back(struct al_node *n, struct al_budget *budget);

#endif
