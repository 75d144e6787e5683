/*
 * What is found once of a template's rows: made by rows.c, looked at by rows_marks.c; see rows.h.
 */
#ifndef CACHE_ROWS_PARTS_H
#define CACHE_ROWS_PARTS_H

#include "rows.h"

#define CACHE_NONE UINT32_MAX

struct cache_row_number {
    uint32_t n; /* $n */
    int once;
};

struct cache_row_source {
    struct hd_str name; /* of the column; the template's or the dependencies', while it is built */
    uint32_t type, canonical;
    uint32_t first, count; /* among the numbers */
};

/* A row column of a table. */
struct cache_row_target {
    uint32_t oid;
    uint64_t column;
    uint32_t source; /* CACHE_NONE: its values cannot be told */
    int unless_rows; /* see cache_mark */
};

struct cache_row_table {
    uint32_t oid;
    int whole;               /* its rows cannot be told */
    uint32_t first, targets; /* else: of a read one target; of a write as many as it has row columns */
};

struct cache_rows {
    int write;
    enum cache_mark_kind unknown; /* of a write: for values that cannot be told */
    int failed;                   /* no memory, while it is built */
    uint32_t table_count, target_count, source_count, number_count;
    struct cache_row_table *tables;
    struct cache_row_target *targets;
    struct cache_row_source *sources;
    struct cache_row_number *numbers;
};

#endif
