/*
 * A normalized text as it can be prepared: $n stand in it where literals were, and not everywhere a parameter
 * may stand.
 */
#ifndef MONITOR_EXPLAIN_SQL_H
#define MONITOR_EXPLAIN_SQL_H

#include <stdio.h>

/* ORDER BY or GROUP BY some $n: that was a column's number, and which is not known any more. */
int mon_sql_counts_columns(const char *text);

/* Writes it with `interval $1` as `$1::interval`, and so for the other types that a literal can follow. */
void mon_sql_prepared(FILE *f, const char *text);

#endif
