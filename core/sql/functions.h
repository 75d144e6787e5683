/*
 * What is known of PostgreSQL's own functions by name: the most volatile of those that share it, and whether
 * they touch the session.
 */
#ifndef HD_SQL_FUNCTIONS_H
#define HD_SQL_FUNCTIONS_H

#include <stddef.h>
#include <stdint.h>

struct hd_known_function {
    const char *name;
    uint8_t volatility; /* enum hd_volatility */
    uint8_t aggregate;
    uint64_t flags; /* HD_FACT_* that a call brings */
};

/* NULL: not known. */
const struct hd_known_function *hd_known_function(const char *name);

/* Has pg_catalog operators of this name? */
int hd_known_operator(const char *name);

#endif
