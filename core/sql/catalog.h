/*
 * What a template hangs on in one database: the question that is put to the server's catalogs, and what its
 * rows come to. Who asks, and keeps the answers, stands in plug/catalog.h.
 */
#ifndef HD_SQL_CATALOG_H
#define HD_SQL_CATALOG_H

#include <howdah/catalog.h>

#include "base/arena.h"
#include "base/check.h"
#include "sql/facts.h"

/* More relations than this are HD_PROBLEM_BOUND. */
#define HD_DEPENDENCIES_MAX 4096

/* In whose eyes, and by which search_path. */
struct hd_catalog_view {
    const char *user, *role;
    const char *search_path; /* NULL: the user's default there, */
    int default_hidden;      /* which the connection itself may say otherwise */
};

#define HD_CATALOG_PARAMS 15

/* Params of hd_catalog_question, as text: NULL, or what the arrays have of one template; they live in
 * `arena`, or are borrowed. */
struct hd_catalog_params {
    struct hd_arena arena;
    const char *value[HD_CATALOG_PARAMS];
};

/* The statements; the first asks about several templates, and the number of each, from 1, is in front of its
 * rows; the one without parameters tells by its one cell whether anything has changed. */
extern const char *const hd_catalog_question;
extern const char *const hd_catalog_fingerprint;

/* About one template: what its element of each parameter is. Borrows from the text. HD_OK or HD_ENOMEM; free
 * it in either case. */
int hd_catalog_ask(const struct hd_facts *f, const char *text, const struct hd_catalog_view *view,
                   struct hd_catalog_params *out) HD_MUST_USE;
/* The same of several at once: arrays of what each says. HD_OK or HD_ENOMEM; free it in either case. */
int hd_catalog_ask_together(const struct hd_catalog_params *const *each, uint32_t n,
                            struct hd_catalog_params *out) HD_MUST_USE;
void hd_catalog_params_free(struct hd_catalog_params *p);

/* One relation. */
struct hd_catalog_table {
    uint32_t oid, kind, flags; /* HD_RELATION_… */
    int32_t mention;
    struct hd_str schema, name;
    uint32_t parent;                /* an oid; 0: none */
    uint32_t first_column, columns; /* among the answer's */
};

/* A column that tells rows apart. */
struct hd_catalog_column {
    uint32_t table; /* its number */
    int32_t attnum;
    uint32_t position, type, canonical, flags; /* HD_CANONICAL_…, HD_COLUMN_… */
    struct hd_str name;
};

/* The answer, judged. All of it lies in the arena. */
struct hd_catalog_answer {
    struct hd_arena arena;
    uint64_t problems; /* HD_PROBLEM_… */
    struct hd_str reason;
    uint32_t footprint; /* HD_FOOTPRINT_… */
    struct hd_str footprint_reason;
    uint32_t count;
    struct hd_catalog_table *tables;
    uint32_t column_count;
    struct hd_catalog_column *columns; /* in the order of the tables, in each of their numbers */
};

/* Reads the rows that the question brought: `cells`, row by row. HD_OK, HD_ENOMEM, or HD_EPROTO where they
 * are not what was asked for. */
int hd_catalog_judge(const struct hd_facts *f, const struct hd_str *cells, uint32_t rows, uint32_t columns,
                     struct hd_catalog_answer *out) HD_MUST_USE;
void hd_catalog_answer_free(struct hd_catalog_answer *a);

#endif
