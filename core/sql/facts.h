/*
 * Parse facts: what a statement's text tells about itself, derived once per template with libpg_query.
 *
 * Facts hold for every text of the template: a literal is named by its number in the scan, never by its
 * content. They are what the syntax says, without a catalog: a function may be somebody's own, an unqualified
 * name may be in any schema of the search_path, a view may hide anything. HD_FACT_UNSURE says that nothing
 * below is to be relied on; every consumer takes it for "no". Immutable once made, so any thread may read.
 */
#ifndef HD_SQL_FACTS_H
#define HD_SQL_FACTS_H

#include <stddef.h>
#include <stdint.h>
#include <howdah/template.h>

#include "base/arena.h"
#include "base/check.h"
#include "sql/scan.h"

/* Beyond these bounds facts are HD_FACT_UNSURE. */
#define HD_FACTS_MAX_STATEMENTS 64
#define HD_FACTS_MAX_ITEMS      16384 /* tables, comparisons, functions, values …, each */

/* Flags of the whole text and of each statement: the public HD_FACT_* of <howdah/template.h>, and the host's
 * own: */
#define HD_FACT_SYNTAX_ERROR (UINT64_C(1) << 40) /* with UNSURE: the parser refused the text */
#define HD_FACT_PRIVILEGE    (UINT64_C(1) << 41) /* changes who may do what: roles, grants, policies, owners */
#define HD_FACT_FUNCTION     (UINT64_C(1) << 42) /* calls functions */
#define HD_FACT_MAY_SEQUENCE (UINT64_C(1) << 43) /* inserts, so defaults may call nextval */
#define HD_FACT_SESSION_READ                                                                                 \
    (UINT64_C(1) << 44)                         /* its answer hangs on the session: settings, user, backend */
#define HD_FACT_SERVER_FILE (UINT64_C(1) << 45) /* COPY from or to a file or program of the server; LOAD */
#define HD_FACT_COPY_STREAM (UINT64_C(1) << 46) /* COPY FROM STDIN or TO STDOUT */
#define HD_FACT_SET_UNNAMED                                                                                  \
    (UINT64_C(1) << 47) /* with SET_CONFIG: a setting whose name the text does not tell (pg_settings) */
#define HD_FACT_SEED (UINT64_C(1) << 48) /* setseed(): nothing takes that back */
/* Those that plugins see. */
#define HD_FACTS_PUBLIC ((UINT64_C(1) << 40) - 1)

enum hd_statement_kind {
    HD_STATEMENT_OTHER = 0,
    HD_STATEMENT_SELECT, /* VALUES and TABLE too; SELECT INTO is DDL */
    HD_STATEMENT_INSERT,
    HD_STATEMENT_UPDATE,
    HD_STATEMENT_DELETE,
    HD_STATEMENT_MERGE,
    HD_STATEMENT_COPY_FROM,
    HD_STATEMENT_COPY_TO,
    HD_STATEMENT_BEGIN, /* START TRANSACTION too */
    HD_STATEMENT_COMMIT,
    HD_STATEMENT_ROLLBACK,
    HD_STATEMENT_SAVEPOINT,
    HD_STATEMENT_RELEASE,
    HD_STATEMENT_ROLLBACK_TO,
    HD_STATEMENT_PREPARE_TRANSACTION,
    HD_STATEMENT_COMMIT_PREPARED,
    HD_STATEMENT_ROLLBACK_PREPARED,
    HD_STATEMENT_SET,
    HD_STATEMENT_RESET,
    HD_STATEMENT_SHOW,
    HD_STATEMENT_PREPARE,
    HD_STATEMENT_EXECUTE,
    HD_STATEMENT_DEALLOCATE,
    HD_STATEMENT_DECLARE,
    HD_STATEMENT_FETCH, /* MOVE too */
    HD_STATEMENT_CLOSE,
    HD_STATEMENT_LISTEN,
    HD_STATEMENT_UNLISTEN,
    HD_STATEMENT_NOTIFY,
    HD_STATEMENT_DISCARD,
    HD_STATEMENT_LOCK,
    HD_STATEMENT_DO,
    HD_STATEMENT_CALL,
    HD_STATEMENT_LOAD,
    HD_STATEMENT_EXPLAIN,
    HD_STATEMENT_VACUUM,
    HD_STATEMENT_ANALYZE,
    HD_STATEMENT_CLUSTER,
    HD_STATEMENT_CHECKPOINT,
    HD_STATEMENT_REINDEX,
    HD_STATEMENT_TRUNCATE,
    HD_STATEMENT_CONSTRAINTS, /* SET CONSTRAINTS */
    HD_STATEMENT_DDL,
    HD_STATEMENT_PRIVILEGE,
    HD_STATEMENT_KINDS,
};

/* Options of one statement. */
#define HD_OPTION_LOCAL           (1u << 0) /* SET LOCAL */
#define HD_OPTION_ALL             (1u << 1) /* RESET, DEALLOCATE, CLOSE, DISCARD ALL; UNLISTEN * */
#define HD_OPTION_HOLD            (1u << 2) /* cursor WITH HOLD */
#define HD_OPTION_ANALYZE         (1u << 3) /* EXPLAIN ANALYZE: runs what it explains */
#define HD_OPTION_DEFAULT         (1u << 4) /* SET … TO DEFAULT, or FROM CURRENT */
#define HD_OPTION_CHAIN           (1u << 5) /* COMMIT or ROLLBACK AND CHAIN */
#define HD_OPTION_READ_ONLY       (1u << 6) /* of BEGIN or SET TRANSACTION */
#define HD_OPTION_READ_WRITE      (1u << 7)
#define HD_OPTION_REPEATABLE      (1u << 8)  /* REPEATABLE READ or SERIALIZABLE, there too */
#define HD_OPTION_CHARACTERISTICS (1u << 9)  /* SET SESSION CHARACTERISTICS */
#define HD_OPTION_PLANS           (1u << 10) /* DISCARD PLANS, */
#define HD_OPTION_SEQUENCES       (1u << 11) /* … SEQUENCES, */
#define HD_OPTION_TEMP            (1u << 12) /* … TEMP; or creates a temporary relation */
/* Of the outermost query: */
#define HD_OPTION_WHERE     (1u << 16)
#define HD_OPTION_LIMIT     (1u << 17) /* LIMIT, OFFSET or FETCH FIRST */
#define HD_OPTION_GROUP     (1u << 18)
#define HD_OPTION_HAVING    (1u << 19)
#define HD_OPTION_AGGREGATE (1u << 20)
#define HD_OPTION_DISTINCT  (1u << 21)
#define HD_OPTION_WINDOW    (1u << 22)
#define HD_OPTION_ORDER     (1u << 23)
#define HD_OPTION_RETURNING (1u << 24)
#define HD_OPTION_CONFLICT  (1u << 25) /* ON CONFLICT */
/* Of an outermost INSERT: */
#define HD_OPTION_CONFLICT_UPDATE (1u << 26) /* … DO UPDATE */
#define HD_OPTION_USER_VALUE      (1u << 27) /* OVERRIDING USER VALUE: identity columns make their own */
#define HD_OPTION_INDIRECT        (1u << 28) /* its list has parts of columns: a[1], a.b */
#define HD_OPTION_UNEVEN          (1u << 29) /* its rows are not of one length */

enum hd_ddl_verb { HD_DDL_NONE = 0, HD_DDL_CREATE, HD_DDL_ALTER, HD_DDL_DROP };

/* Items of one statement stand together: [first, first + n) of the facts' array. */
struct hd_range {
    uint32_t first, n;
};

struct hd_fact_statement {
    uint8_t kind;     /* enum hd_statement_kind */
    uint8_t inner;    /* EXPLAIN, PREPARE, DECLARE: the kind of what stands inside */
    uint8_t verb;     /* enum hd_ddl_verb, of DDL and PRIVILEGE */
    uint64_t within;  /* bit n: a statement of kind n stands within it and runs with it: that of a PREPARE,
                         DECLARE, COPY, EXPLAIN ANALYZE, and what writes in a WITH; its own may be there too */
    uint64_t flags;   /* HD_FACT_* */
    uint32_t options; /* HD_OPTION_* */
    const char
        *name; /* setting, savepoint, prepared statement, cursor, channel; else NULL. Never a literal */
    const char *object; /* DDL: "table", "materialized view"; else NULL */
    struct hd_range tables, comparisons, functions, outputs, columns, types, rows;
    struct hd_range conflict_columns; /* that ON CONFLICT DO UPDATE sets, and their values, one for each */
    struct hd_range conflict_values;
    const char *conflict_key; /* ON CONFLICT (column), that column alone; else NULL */
    uint32_t n_joins;         /* JOINs, and commas in FROM */
    uint32_t n_subselects;    /* in FROM and in expressions */
    uint32_t n_ctes, n_setops;
    uint32_t n_values; /* SET: how many values, of which … */
    int32_t literal;   /* … the first is this literal of the scan, or -1 */
    const char *word;  /* … or this word: on, serializable; else NULL */
};

/* One mention of a table (or view: the syntax does not tell). */
struct hd_fact_table {
    const char *schema; /* NULL: the search_path's */
    const char *name;
    const char *alias; /* NULL: none */
    uint32_t access;   /* HD_ACCESS_* of <howdah/template.h> */
    uint32_t query;    /* which query of the statement's text mentions it; 0 is the outermost */
    int32_t location;  /* in the text that the facts were made from; of use for that text only */
    uint8_t only;      /* ONLY: without inheritance */
};

enum hd_value_kind {
    HD_VALUE_OTHER = 0, /* an expression */
    HD_VALUE_PARAM,     /* $index */
    HD_VALUE_LITERAL,   /* literal `index` of the scan */
    HD_VALUE_NULL,
    HD_VALUE_BOOL, /* index 0 or 1 */
    HD_VALUE_DEFAULT,
    HD_VALUE_COLUMN, /* `text` of table `index`; index UINT32_MAX: of an unknown one */
};

struct hd_fact_value {
    uint8_t kind;     /* enum hd_value_kind */
    uint8_t negative; /* of a numeric literal: a minus stands before it */
    uint32_t index;
    const char *text;
    const char *cast; /* the type that it is cast to, its last name; or NULL */
    uint8_t typed;    /* HD_CAST_*: of a literal or parameter whose cast only says as what it is read */
};

enum hd_compare {
    HD_COMPARE_EQ = 1,
    HD_COMPARE_NE,
    HD_COMPARE_LT,
    HD_COMPARE_LE,
    HD_COMPARE_GT,
    HD_COMPARE_GE,
    HD_COMPARE_IN, /* the values are the list */
    HD_COMPARE_NOT_IN,
    HD_COMPARE_BETWEEN, /* two values */
    HD_COMPARE_NOT_BETWEEN,
    HD_COMPARE_LIKE, /* LIKE and ILIKE */
    HD_COMPARE_NOT_LIKE,
    HD_COMPARE_ANY, /* = ANY (array): the elements, or one value that is an array */
    HD_COMPARE_IS_NULL,
    HD_COMPARE_NOT_NULL,
    HD_COMPARE_DISTINCT,     /* IS DISTINCT FROM */
    HD_COMPARE_NOT_DISTINCT, /* IS NOT DISTINCT FROM */
    HD_COMPARE_OTHER,        /* any other operator */
};

/* column operator value(s); turned round where the column stood on the right. */
struct hd_fact_comparison {
    int32_t table; /* index into the facts' tables; -1: of an unknown one, or of something that is no table */
    const char *column;
    uint8_t op;          /* enum hd_compare */
    uint8_t conjunctive; /* 1: AND-ed into its query's WHERE (or inner JOIN's ON): every row of it satisfies
                            this */
    uint32_t query;
    struct hd_range values;
};

enum hd_volatility { HD_VOLATILITY_UNKNOWN = 0, HD_IMMUTABLE, HD_STABLE, HD_VOLATILE };

struct hd_fact_function {
    const char
        *schema; /* NULL: the search_path's. The volatility then is that of pg_catalog's by this name */
    const char *name;
    uint32_t n_args;
    uint8_t volatility; /* enum hd_volatility; UNKNOWN: not known here */
    uint8_t aggregate;  /* an aggregate, as far as known */
    uint8_t window;     /* has OVER */
    uint8_t local;      /* set_config: for the transaction alone, as the word true says */
    int32_t value;      /* set_config: the setting's name is this one of the values; -1: none */
};

/* One column of a SELECT's answer, or of RETURNING. */
enum hd_output_kind { HD_OUTPUT_OTHER = 0, HD_OUTPUT_COLUMN, HD_OUTPUT_STAR, HD_OUTPUT_FUNCTION };

struct hd_fact_output {
    uint8_t kind;
    int32_t table;      /* COLUMN, STAR: as in comparisons; STAR without a table's name: -1 */
    int32_t function;   /* FUNCTION: index into the facts' functions */
    const char *column; /* COLUMN: its name */
    const char *name;   /* AS …; NULL: none */
};

struct hd_fact_type {
    const char *schema, *name; /* a type's name in a cast or definition; schema may be NULL */
};

struct hd_fact_operator {
    const char *schema, *name; /* each but once; schema NULL: the search_path's. Those behind words (BETWEEN,
                                * USING, ORDER BY, DISTINCT) are not among them */
};

struct hd_facts {
    uint64_t flags; /* HD_FACT_*, of all statements together */
    uint32_t n_statements, n_tables, n_comparisons, n_functions, n_outputs, n_columns, n_types, n_rows,
        n_values, n_operators;
    struct hd_fact_statement *statements;
    struct hd_fact_table *tables;
    struct hd_fact_comparison *comparisons;
    struct hd_fact_function *functions;
    struct hd_fact_output *outputs; /* of the outermost query */
    const char **columns;           /* that INSERT lists, or UPDATE or ON CONFLICT sets */
    struct hd_fact_type *types;
    struct hd_fact_operator *operators;
    struct hd_range *rows; /* INSERT … VALUES: the values of each row. UPDATE: one, of what it sets */
    struct hd_fact_value *values;
    uint8_t *negative;     /* by literal: it is a value with the minus before it; NULL: none is */
    const char *error;     /* a syntax error, without the text that it stands near; or NULL */
    uint32_t error_at;     /* its place, counted in characters from 1 */
    const char *hint;      /* of the hint comment; or NULL */
    struct hd_arena arena; /* holds all of it, this struct included */
};

/* Parses `sql`, which `scan` is the scan of. Returns HD_OK, with facts that may be UNSURE, or HD_ENOMEM.
 * Takes some 4 MiB of stack at the worst (see HD_SCAN_MAX_HEIGHT). */
int hd_facts_parse(const char *sql, size_t len, const struct hd_scan *scan,
                   struct hd_facts **out) HD_MUST_USE;
/* Facts that say UNSURE and nothing else; NULL when there is no memory. */
struct hd_facts *hd_facts_unsure(void) HD_MUST_USE;
void hd_facts_free(struct hd_facts *f);

/* "select", "rollback to", … as it stands in logs and metrics. */
const char *hd_statement_name(enum hd_statement_kind kind);

#endif
