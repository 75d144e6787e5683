/*
 * Templates and their facts: what all executions of one normalized SQL text share, and what the host could
 * prove about it. Service "howdah.template/1".
 *
 * Facts the host is not sure of are marked unsure, and every consumer treats unsure as no.
 */
#ifndef HOWDAH_TEMPLATE_H
#define HOWDAH_TEMPLATE_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_TEMPLATE "howdah.template/1"

struct hd_value; /* see filter.h */

/* Kinds of statement. A text of several statements is HD_KIND_MULTI. Since ABI 0.1. */
#define HD_KIND_UNKNOWN           0 /* not parsed: a syntax error, too long, an encoding that is not read */
#define HD_KIND_EMPTY             1
#define HD_KIND_MULTI             2
#define HD_KIND_SELECT            3 /* SELECT, VALUES, TABLE */
#define HD_KIND_INSERT            4
#define HD_KIND_UPDATE            5
#define HD_KIND_DELETE            6
#define HD_KIND_MERGE             7
#define HD_KIND_COPY_FROM         8
#define HD_KIND_COPY_TO           9
#define HD_KIND_BEGIN             10 /* BEGIN, START TRANSACTION */
#define HD_KIND_COMMIT            11 /* COMMIT, END */
#define HD_KIND_ROLLBACK          12
#define HD_KIND_SAVEPOINT         13
#define HD_KIND_RELEASE           14
#define HD_KIND_ROLLBACK_TO       15
#define HD_KIND_PREPARE_TXN       16
#define HD_KIND_COMMIT_PREPARED   17
#define HD_KIND_ROLLBACK_PREPARED 18
#define HD_KIND_SET               19 /* SET, also SET ROLE and SET SESSION AUTHORIZATION */
#define HD_KIND_SET_LOCAL         20 /* SET LOCAL, SET TRANSACTION, SET CONSTRAINTS */
#define HD_KIND_RESET             21
#define HD_KIND_SHOW              22
#define HD_KIND_PREPARE           23
#define HD_KIND_EXECUTE           24
#define HD_KIND_DEALLOCATE        25
#define HD_KIND_DECLARE           26 /* DECLARE CURSOR */
#define HD_KIND_FETCH             27 /* FETCH, MOVE */
#define HD_KIND_CLOSE             28
#define HD_KIND_LISTEN            29
#define HD_KIND_UNLISTEN          30
#define HD_KIND_NOTIFY            31
#define HD_KIND_DISCARD           32
#define HD_KIND_LOCK              33
#define HD_KIND_DO                34
#define HD_KIND_CALL              35
#define HD_KIND_LOAD              36
#define HD_KIND_EXPLAIN           37
#define HD_KIND_TRUNCATE          38
#define HD_KIND_DDL               39 /* CREATE, ALTER, DROP, COMMENT, SECURITY LABEL … */
#define HD_KIND_PRIVILEGE         40 /* GRANT, REVOKE, roles, policies, default privileges */
#define HD_KIND_MAINTENANCE       41 /* VACUUM, ANALYZE, CLUSTER, REINDEX, CHECKPOINT, REFRESH */
#define HD_KIND_OTHER             42

/* A set of kinds: HD_KIND_BIT(SELECT) | HD_KIND_BIT(INSERT). Since ABI 0.1. */
#define HD_KIND_BIT(name) (UINT64_C(1) << HD_KIND_##name)

/* What the text does, all its statements together. Since ABI 0.1. */
#define HD_FACT_READS   (UINT64_C(1) << 0) /* reads tables */
#define HD_FACT_WRITES  (UINT64_C(1) << 1) /* writes tables, or may (a function that is not known) */
#define HD_FACT_DEFINES (UINT64_C(1) << 2) /* changes the schema, roles or privileges */
#define HD_FACT_LOCKS                                                                                        \
    (UINT64_C(1) << 3) /* FOR UPDATE/SHARE, LOCK, advisory locks until the end of the transaction */
#define HD_FACT_SESSION         (UINT64_C(1) << 4) /* leaves state in the server session behind */
#define HD_FACT_TXN             (UINT64_C(1) << 5) /* starts or ends a transaction or savepoint */
#define HD_FACT_TEMP            (UINT64_C(1) << 6) /* creates a temporary object */
#define HD_FACT_VOLATILE        (UINT64_C(1) << 7) /* calls a function known to be volatile */
#define HD_FACT_STABLE          (UINT64_C(1) << 8) /* calls a stable one: now(), current_user, current_setting() */
#define HD_FACT_UNSURE_FUNCTION (UINT64_C(1) << 9)  /* calls functions or operators that are not known */
#define HD_FACT_ADVISORY_LOCK   (UINT64_C(1) << 10) /* session-level advisory lock functions */
#define HD_FACT_SEQUENCE        (UINT64_C(1) << 11) /* nextval, setval */
#define HD_FACT_LASTVAL         (UINT64_C(1) << 12) /* lastval, currval */
#define HD_FACT_SET_CONFIG      (UINT64_C(1) << 13) /* set_config() */
#define HD_FACT_MULTI           (UINT64_C(1) << 14) /* more than one statement */
#define HD_FACT_UNSURE          (UINT64_C(1) << 15) /* not parsed, or cut at a bound: nothing here is proved */
#define HD_FACT_LIMIT           (UINT64_C(1) << 16) /* a LIMIT or OFFSET */
#define HD_FACT_AGGREGATE       (UINT64_C(1) << 17)
#define HD_FACT_GROUP_BY        (UINT64_C(1) << 18) /* GROUP BY or HAVING */
#define HD_FACT_ORDER_BY        (UINT64_C(1) << 19)
#define HD_FACT_DISTINCT        (UINT64_C(1) << 20)
#define HD_FACT_WINDOW          (UINT64_C(1) << 21)
#define HD_FACT_HOLD_CURSOR     (UINT64_C(1) << 22) /* DECLARE … WITH HOLD */
#define HD_FACT_RETURNING       (UINT64_C(1) << 23)
#define HD_FACT_NO_WHERE        (UINT64_C(1) << 24) /* an UPDATE or DELETE without WHERE, anywhere in the text */
#define HD_FACT_OUTSIDE                                                                                      \
    (UINT64_C(1) << 25) /* its answer hangs on more than tables, parameters and settings: the time (now()),  \
                         * who the session is, the catalogs (::regclass), the server's state */
#define HD_FACT_ISOLATION                                                                                    \
    (UINT64_C(1) << 26) /* asks for REPEATABLE READ or SERIALIZABLE, or imports a snapshot: BEGIN, SET       \
                         * TRANSACTION, and SET of the settings that say so, whatever their value */

/* How a table is touched. Since ABI 0.1. */
#define HD_ACCESS_READ   1u
#define HD_ACCESS_WRITE  2u
#define HD_ACCESS_LOCK   4u
#define HD_ACCESS_DEFINE 8u

/* Operators of a comparison. Since ABI 0.1. */
#define HD_CMP_EQ      1
#define HD_CMP_LT      2
#define HD_CMP_LE      3
#define HD_CMP_GT      4
#define HD_CMP_GE      5
#define HD_CMP_NE      6
#define HD_CMP_IN      7
#define HD_CMP_BETWEEN 8
#define HD_CMP_LIKE    9
#define HD_CMP_ISNULL  10
#define HD_CMP_OTHER   11

/* The head of a template. The caller sets `size`; the host fills what both know. Since ABI 0.1. */
struct hd_template_info {
    uint32_t size;
    uint32_t kind;        /* HD_KIND_… */
    uint64_t facts;       /* HD_FACT_… */
    uint64_t fingerprint; /* the same in every process for the same normalized text */
    struct hd_str text;   /* normalized: literals are $n; valid while the template is */
    uint32_t statements;  /* in the text */
    uint32_t tables;      /* counts for the calls below */
    uint32_t comparisons;
    uint32_t functions;
    uint32_t joins; /* explicit JOINs and further items of FROM */
    uint32_t subselects;
    uint32_t ctes;
    uint32_t set_operations;
    uint32_t params;    /* highest $n in the client's own text */
    uint32_t constants; /* literals that were taken out; they are $(params+1) …: hd_statement_v1.value() */
    /* HD_KIND_BIT of each statement of the text, and of each that stands within such a one and runs with it:
     * an INSERT, UPDATE, DELETE or MERGE in a WITH, what PREPARE, DECLARE, COPY and EXPLAIN ANALYZE wrap, the
     * EXECUTE of CREATE TABLE AS. What functions, CALL and DO run is not told by the text. SELECT … INTO is
     * DDL. Of an empty text 0; of one with HD_FACT_UNSURE not complete. */
    uint64_t kinds;
    uint32_t writes;      /* HD_WRITES_… */
    uint32_t rows;        /* with HD_WRITES_TOLD: of an INSERT those of its VALUES, of an UPDATE 1 */
    uint32_t assignments; /* with HD_WRITES_TOLD: for the call below */
    uint32_t reserved;
    struct hd_str conflict_key; /* ON CONFLICT (column): that column, where it is one alone; else empty */
};

/* What is told of rows that are written. Since ABI 0.1. */
#define HD_WRITES_TOLD                                                                                         \
    1u /* the text is one INSERT … VALUES, UPDATE or DELETE, and writes one table by that name and no other; \
        * its assignments are all that it assigns. Else none is told */
#define HD_WRITES_CONFLICT 2u /* … ON CONFLICT DO UPDATE: rows that are there already may be changed */
#define HD_WRITES_IGNORED  4u /* … OVERRIDING USER VALUE: values for identity columns are not used */

/* What a column is given. Since ABI 0.1. */
#define HD_ASSIGN_OTHER   0 /* an expression, or a value that is cast in another way */
#define HD_ASSIGN_VALUE   1 /* a parameter or literal */
#define HD_ASSIGN_NULL    2
#define HD_ASSIGN_DEFAULT 3 /* the word */

#define HD_ROW_CONFLICT UINT32_MAX /* `row` of what ON CONFLICT DO UPDATE sets */

/* A table that the text names. Since ABI 0.1. */
struct hd_template_table {
    uint32_t size;
    uint32_t access;      /* HD_ACCESS_… */
    struct hd_str schema; /* empty: found by search_path */
    struct hd_str name;
};

/* A cast that only says as what a value is read: of a string, an integer or a parameter to such a type, with
 * no length. Since ABI 0.1. */
#define HD_CAST_NONE    0
#define HD_CAST_INTEGER 1 /* smallint, integer, bigint */
#define HD_CAST_UUID    2
#define HD_CAST_TEXT    3 /* text, varchar */

/* A column compared with a parameter or constant. The $n of a number behind a minus stands for both, as
 * value() gives it; a value that is cast in another way has none. Since ABI 0.1. */
struct hd_template_comparison {
    uint32_t size;
    int32_t table; /* index among the tables; -1: not known which */
    struct hd_str column;
    uint32_t op;          /* HD_CMP_… */
    uint32_t conjunctive; /* 1: every row that the statement touches meets it */
    uint32_t param_first; /* $n of the value (of a list: the first); 0: neither parameter nor constant */
    uint32_t param_count; /* values in the list; 1 for a plain comparison, 2 for BETWEEN */
    uint32_t cast;        /* HD_CAST_… of them all */
    uint32_t reserved;
};

/* A column that a write gives a value. Columns of an INSERT's table that are not told get their defaults.
 * What it is given may be converted, as PostgreSQL does in assignments. Since ABI 0.1. */
struct hd_template_assignment {
    uint32_t size;
    int32_t table;        /* index among the tables */
    struct hd_str column; /* empty: the INSERT lists none, and `position` counts those of the table */
    uint32_t position;    /* from 1, as it is written */
    uint32_t row;         /* of VALUES, from 0; of UPDATE 0; or HD_ROW_CONFLICT */
    uint32_t value;       /* HD_ASSIGN_… */
    uint32_t param;       /* VALUE: $n, as in comparisons */
    uint32_t cast;        /* VALUE: HD_CAST_… */
    uint32_t reserved;
};

/* A function that the text calls. Since ABI 0.1. */
struct hd_template_function {
    uint32_t size;
    uint32_t args;
    struct hd_str schema; /* empty: found by search_path */
    struct hd_str name;
};

/* Service "howdah.template/1". All [any]; they copy min(size) bytes and return HD_ENOENT past the end. */
struct hd_template_v1 {
    uint32_t size;
    uint32_t reserved;
    int32_t (*info)(const hd_template *t, struct hd_template_info *out);
    int32_t (*table)(const hd_template *t, uint32_t i, struct hd_template_table *out);
    int32_t (*comparison)(const hd_template *t, uint32_t i, struct hd_template_comparison *out);
    int32_t (*function)(const hd_template *t, uint32_t i, struct hd_template_function *out);
    /* Keep a template beyond the call that passed it; each hold needs one release. */
    void (*hold)(const hd_template *t);
    void (*release)(const hd_template *t);
    /* In the order of the rows, and in each as it is written; last those of ON CONFLICT. [any] */
    int32_t (*assignment)(const hd_template *t, uint32_t i, struct hd_template_assignment *out);
    /* The template of a text, made if need be, as of a Query of a session whose standard_conforming_strings
     * are on; *out needs one release. HD_OK, HD_ENOMEM, or HD_EBUSY while the host starts. Parses the text
     * where it is new. [control] */
    int32_t (*find)(hd_host *host, struct hd_str sql, const hd_template **out);
    /* The value of $n, where it is a literal of this text, whose template it is as find() says: as value() of
     * "howdah.statement/1" gives it, in UTF-8, valid until the next call. HD_ENOENT for parameters. [control]
     */
    int32_t (*value)(hd_host *host, const hd_template *t, struct hd_str sql, uint32_t n,
                     struct hd_value *out);
};

#ifdef __cplusplus
}
#endif
#endif
