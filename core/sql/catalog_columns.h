/*
 * The part of the catalog's answer that tells of tables which columns and parents they have. Private to
 * catalog.c, which has read the tables.
 */
#ifndef HD_SQL_CATALOG_COLUMNS_H
#define HD_SQL_CATALOG_COLUMNS_H

#include "sql/catalog.h"

#define HD_CATALOG_CELLS 7 /* in each row of the answer */

/* Reads the rows "column" and "child" among those of the answer, into its tables and columns. HD_OK or
 * HD_ENOMEM. */
int hd_catalog_read_columns(const struct hd_str *cells, uint32_t rows,
                            struct hd_catalog_answer *a) HD_MUST_USE;

#endif
