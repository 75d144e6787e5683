/*
 * Values of the execution that filters are deciding on: its parameters, and the literals of its text. One a
 * worker; made when the first literal is asked for, and kept until another execution's. [worker]
 */
#ifndef HD_PLUG_VALUES_H
#define HD_PLUG_VALUES_H

#include <howdah/filter.h>

#include "base/arena.h"
#include "base/check.h"
#include "sql/scan.h"

/* Zeroed is "none". */
struct hd_values {
    uint64_t handle; /* of the execution that `scan` and `arena` belong to; 0: none */
    int code;        /* how the scan went */
    struct hd_scan scan;
    struct hd_arena arena; /* decoded texts */
};

/* See hd_statement_v1.value; `out` is a whole one. */
int hd_values_get(struct hd_values *v, const struct hd_statement *st, uint32_t n,
                  struct hd_value *out) HD_MUST_USE;
void hd_values_free(struct hd_values *v);

#endif
