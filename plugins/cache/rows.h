/*
 * Rows: which rows of its tables a read hangs on, and which rows a write may touch, so that a write ends only
 * the answers that it concerns.
 *
 * A row is known by the value of one of its row columns: those that the catalog lists, of the replica
 * identity or a unique key, whose values have one form each. What follows from template and dependencies is
 * found once, a cache_rows; each execution then has marks, which name what has epochs. A read hangs on those
 * that it marks, and a write bumps those that it marks:
 *
 *     WRITTEN  a table: by any write of it
 *     WHOLE    a table: by writes of rows that cannot be told
 *     COLUMN   a column: by writes of rows whose values of it, before or after, cannot be told
 *     ADDED    a column: by new rows, whose values of it cannot be told
 *     VALUE    one value of a column: by writes of rows that have it, or had it
 *
 * A read has of each table WRITTEN alone, or WHOLE, one COLUMN, its ADDED and its VALUEs. A write has of each
 * table WRITTEN, and WHOLE or for each row column one of COLUMN, ADDED and its VALUEs.
 */
#ifndef CACHE_ROWS_H
#define CACHE_ROWS_H

#include <howdah/howdah.h>

enum cache_mark_kind {
    CACHE_MARK_WRITTEN = 1,
    CACHE_MARK_WHOLE,
    CACHE_MARK_COLUMN,
    CACHE_MARK_ADDED,
    CACHE_MARK_VALUE
};

struct cache_mark {
    uint32_t kind; /* enum cache_mark_kind */
    uint32_t oid;
    uint64_t column; /* COLUMN, ADDED, VALUE: cache_column() of its name */
    uint64_t hash;   /* VALUE */
    /* ADDED, of a read: an answer that has rows does not hang on it. Its row is there, and there can be no
     * other with that value. */
    uint32_t unless_rows;
    uint32_t reserved;
};

/* Values of one column that a statement names; of more it is as if they could not be told. */
#define CACHE_ROWS_VALUES 64

struct cache_rows; /* immutable */

/* Where they are found. */
struct cache_rows_from {
    const struct hd_template_v1 *templates;
    const struct hd_catalog_v1 *catalog;
    const hd_template *tmpl;
    const hd_dependencies *deps; /* a read's without problems, a write's without a footprint */
};

/* NULL: no memory. Neither keeps what `from` points to. [any] */
struct cache_rows *cache_rows_read(const struct cache_rows_from *from);
struct cache_rows *cache_rows_write(const struct cache_rows_from *from);
void cache_rows_free(struct cache_rows *rows); /* NULL is allowed */

/* 1: no values are looked at, so the marks are the same for all executions, and `st` may be NULL below. */
int cache_rows_fixed(const struct cache_rows *rows);

/* What a read hangs on of one of its tables, for people. */
struct cache_rows_told {
    uint32_t oid;
    int32_t whole;   /* any write of it; else those of rows whose column has one of the values, */
    uint64_t column; /* cache_column() of its name, */
    uint32_t count;  /* which are so many $n */
    uint32_t numbers[CACHE_ROWS_VALUES];
};

/* The i-th of them; 0: there is none. */
int cache_rows_tell(const struct cache_rows *rows, uint32_t i, struct cache_rows_told *out);

/* The marks of one execution, within statement(); parameters' values are there with HD_WANT_REPLACE. Returns
 * how many they are; where they are more than `cap`, nothing is told: take cache_rows_tables(). [worker] */
uint32_t cache_rows_marks(const struct cache_rows *rows, hd_host *host,
                          const struct hd_statement_v1 *statements, const struct hd_statement *st,
                          struct cache_mark *out, uint32_t cap);
/* The same about tables alone: WRITTEN of each, of a write WHOLE, too. [any] */
uint32_t cache_rows_tables(const struct cache_rows *rows, struct cache_mark *out, uint32_t cap);

/* --- changes that the stream tells --- */

/* The marks of a change, as of a write: of the relation WRITTEN, and for each column whose type may be a row
 * column's COLUMN or VALUEs. The stream's values are UTF-8. Returns as cache_rows_marks(); where there are
 * too many, WRITTEN and WHOLE say it, too. [any] */
uint32_t cache_rows_change(const struct hd_stream_row *row, struct cache_mark *out, uint32_t cap);

/* What stands for a column's name in marks. */
uint64_t cache_column(struct hd_str name);

/* The hash of a value of a column with that HD_CANONICAL_…, as text in UTF-8. 0: it has no form, and counts
 * as any value. */
int cache_row_hash_text(uint32_t canonical, struct hd_str text, uint64_t *hash);

#endif
