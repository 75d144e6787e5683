/*
 * The answer of a statement on a control connection, copied out of libpq row by row, bounded.
 */
#ifndef HD_PLUG_SQLANSWER_H
#define HD_PLUG_SQLANSWER_H

#include <howdah/jobs.h>
#include <libpq-fe.h>
#include <stddef.h>

#include "base/arena.h"

#define HD_SQL_ANSWER_BYTES ((size_t)64 << 20)

struct hd_sql_answer {
    struct hd_sql_result result; /* first: what the caller sees */
    struct hd_arena arena;       /* names, texts, values */
    struct hd_str *cells;
    size_t cell_cap;
};

/* An empty answer; when there is no memory, one that says so and must not be written. Never NULL. */
struct hd_sql_answer *hd_sql_answer_new(void);
void hd_sql_answer_free(struct hd_sql_answer *a);
/* Takes an answer that a caller got as a result. */
struct hd_sql_answer *hd_sql_answer_of(const struct hd_sql_result *result);

/* Forgets rows and columns, for the next statement of a text. */
void hd_sql_answer_restart(struct hd_sql_answer *a);
/* Appends the rows of a PGresult. HD_EFULL past the bound. */
int hd_sql_answer_rows(struct hd_sql_answer *a, const PGresult *res);
/* Sets code and text; `sqlstate` may be NULL. Returns code. */
int hd_sql_answer_end(struct hd_sql_answer *a, int code, const char *sqlstate, const char *message);
/* The same from a PGresult that says an error. */
int hd_sql_answer_error(struct hd_sql_answer *a, const PGresult *res);

#endif
