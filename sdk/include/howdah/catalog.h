/*
 * What a template hangs on in a database, and what it may write: its names looked up in the server's
 * catalogs, views followed to their tables, foreign keys to theirs, functions and operators judged by their
 * volatility. Service "howdah.catalog/1".
 *
 * The server is asked once for each template and scope, on a control connection, and again after the schema
 * has changed. What cannot be proved is a problem; who relies on dependencies takes any problem for no.
 */
#ifndef HOWDAH_CATALOG_H
#define HOWDAH_CATALOG_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_CATALOG "howdah.catalog/1"

/* Where names are looked up. The caller zeroes it and sets `size`. Since ABI 0.1. */
struct hd_catalog_scope {
    uint32_t size;
    uint32_t reserved;
    struct hd_str node;   /* as in hd_statement */
    struct hd_str dbname; /* as in hd_statement */
    struct hd_str user;   /* who has logged in */
    struct hd_str role;   /* the session's setting `role`; empty or "none": the user */
    /* The session's setting; ptr NULL: it has none of its own, and the user's default on that server counts
     */
    struct hd_str search_path;
};

/* Why the answer may hang on more than the tables that are listed, the parameters and the session's settings;
 * or those may not be all. Since ABI 0.1. */
#define HD_PROBLEM_FACTS     (UINT64_C(1) << 0)  /* it does more than read, or its facts are unsure */
#define HD_PROBLEM_PATH      (UINT64_C(1) << 1)  /* the default search_path cannot be known */
#define HD_PROBLEM_MISSING   (UINT64_C(1) << 2)  /* a table, function or operator was not found */
#define HD_PROBLEM_RELATION  (UINT64_C(1) << 3)  /* a sequence or foreign table: neither table nor view */
#define HD_PROBLEM_SYSTEM    (UINT64_C(1) << 4)  /* a system catalog */
#define HD_PROBLEM_TEMPORARY (UINT64_C(1) << 5)  /* a temporary table */
#define HD_PROBLEM_SECURITY  (UINT64_C(1) << 6)  /* a table with row-level security */
#define HD_PROBLEM_VOLATILE  (UINT64_C(1) << 7)  /* a volatile function, a sample, locks in a view */
#define HD_PROBLEM_OUTSIDE   (UINT64_C(1) << 8)  /* as HD_FACT_OUTSIDE, also within views */
#define HD_PROBLEM_FUNCTION  (UINT64_C(1) << 9)  /* a stable one of somebody's own may read anything */
#define HD_PROBLEM_TYPE      (UINT64_C(1) << 10) /* a type or cast that is not immutable */
#define HD_PROBLEM_BOUND     (UINT64_C(1) << 11) /* more tables than the host keeps */

/* Why it may write more than the tables that are listed as written. What runs behind its back counts: foreign
 * keys' actions are followed, triggers are not. Since ABI 0.1. */
#define HD_FOOTPRINT_KIND     1u /* no plain read or write, or its facts are unsure: DDL, CALL, EXECUTE … */
#define HD_FOOTPRINT_NAME     2u /* something that it names was not found, or the default search_path */
#define HD_FOOTPRINT_TRIGGER  4u /* a written table has a trigger or a rule */
#define HD_FOOTPRINT_FUNCTION 8u /* a volatile function of somebody's own runs: it may do anything */
#define HD_FOOTPRINT_RELATION 16u /* it writes a foreign table, or a system catalog */

/* The head. The caller sets `size`; the host fills what both know. Since ABI 0.1. */
struct hd_dependencies_info {
    uint32_t size;
    uint32_t tables;      /* for the call below */
    uint64_t problems;    /* HD_PROBLEM_…; 0: proved */
    uint64_t generation;  /* of the database's catalog when the server was asked */
    struct hd_str reason; /* the first problem in words, for people; empty: none. Lives as long as these do */
    uint32_t footprint;   /* HD_FOOTPRINT_…; 0: it writes at most what is listed with HD_RELATION_WRITTEN */
    uint32_t reserved;
    struct hd_str footprint_reason; /* as `reason` */
};

/* Kinds of relation. Since ABI 0.1. */
#define HD_RELATION_TABLE       1
#define HD_RELATION_PARTITIONED 2
#define HD_RELATION_VIEW        3 /* its tables follow */
#define HD_RELATION_MATVIEW     4
#define HD_RELATION_OTHER       5

/* Flags of a relation. Since ABI 0.1. */
#define HD_RELATION_NAMED    1u /* the text names it; else it came by a view, or as a partition or child */
#define HD_RELATION_UNLOGGED 2u /* no change of it is in the WAL */
#define HD_RELATION_IDENTITY 4u /* changes of it can be told by its replica identity */
#define HD_RELATION_WRITTEN  8u /* may be written: named so, or by a view, partition or foreign key */
/* WRITTEN, and by a foreign key's action: of rows that the text does not tell, though it may name the table
 */
#define HD_RELATION_CASCADED 16u
#define HD_RELATION_PARENTS  32u /* child or partition of several that are listed; `parent` is one of them */

/* A relation that is read or written. Since ABI 0.1. */
struct hd_dependency {
    uint32_t size;
    uint32_t oid;    /* in that database */
    uint32_t kind;   /* HD_RELATION_… */
    uint32_t flags;  /* HD_RELATION_… */
    int32_t mention; /* NAMED: index among the template's tables, of the first that means it; else -1 */
    uint32_t reserved;
    struct hd_str schema; /* these live as long as the dependencies */
    struct hd_str name;
    uint32_t parent;  /* oid of the listed relation that it is a child or partition of; 0: of none */
    uint32_t columns; /* for the call below */
};

/* What of a column's values can be told equal by their bytes in one form. Since ABI 0.1. */
#define HD_CANONICAL_OTHER   0 /* nothing is said */
#define HD_CANONICAL_INTEGER 1 /* smallint, integer, bigint: the number */
#define HD_CANONICAL_UUID    2 /* its 16 bytes */
#define HD_CANONICAL_TEXT    3 /* text, varchar under a deterministic collation: the text as it is */

/* Flags of a column. Since ABI 0.1. */
#define HD_COLUMN_IDENTITY 1u /* of the replica identity: changes of it are told with its old value */
#define HD_COLUMN_UNIQUE   2u /* no two rows of this relation, its children aside, have the same value */
#define HD_COLUMN_NOT_NULL 4u
#define HD_COLUMN_DEFAULT  8u /* has a default, or makes its own values */

/* A column by which rows can be told apart: of the replica identity or a unique key, of a type that has a
 * canonical form, compared by PostgreSQL's own operators, and not generated. Others are not listed. Since ABI
 * 0.1. */
struct hd_dependency_column {
    uint32_t size;
    int32_t attnum;     /* its number, which stays while columns before it are dropped */
    uint32_t position;  /* among the columns that there are, from 1: where an INSERT without a list puts it */
    uint32_t type;      /* OID */
    uint32_t canonical; /* HD_CANONICAL_… */
    uint32_t flags;     /* HD_COLUMN_… */
    struct hd_str name; /* lives as long as the dependencies */
};

/* Service "howdah.catalog/1". Since ABI 0.1. */
struct hd_catalog_v1 {
    uint32_t size;
    uint32_t reserved;
    /* What the template hangs on, looked up in that scope. HD_OK and *out, which needs one release. Else *out
     * is NULL: HD_PENDING, the server is being asked: let this execution pass and ask again at a later one;
     * HD_EIO, it could not be asked (no control_user, no connection), and is asked again after some seconds;
     * HD_EFULL, too much is being asked already; HD_EINVAL, HD_ENOMEM. Costs one look-up under a lock, so
     * keep what it gives while current() says so. [any] */
    int32_t (*dependencies)(hd_host *host, const hd_template *t, const struct hd_catalog_scope *scope,
                            const hd_dependencies **out);
    /* 1 while nothing is known to have changed in the schema since the server was asked; else 0: ask anew.
     * Wait-free. [any] */
    int32_t (*current)(const hd_dependencies *d);
    /* Both copy min(size) bytes; HD_ENOENT past the end. [any] */
    int32_t (*info)(const hd_dependencies *d, struct hd_dependencies_info *out);
    int32_t (*table)(const hd_dependencies *d, uint32_t i, struct hd_dependency *out);
    void (*release)(const hd_dependencies *d); /* [any] */
    /* The schema, privileges or settings of that database (dbname empty: of all of the node) have changed, as
     * the caller knows: no dependencies of it are current any more. The host says so itself of every DDL
     * statement that it sees end and of every transaction that had one, before the client is told; and where
     * it finds a change that was made around it, which it looks for every ten seconds while the database is
     * in use. [any] */
    void (*changed)(hd_host *host, struct hd_str node, struct hd_str dbname);
    /* The i-th column listed of the table with that number. Copies min(size) bytes; HD_ENOENT past the end.
     * [any] */
    int32_t (*column)(const hd_dependencies *d, uint32_t table, uint32_t i, struct hd_dependency_column *out);
};

#ifdef __cplusplus
}
#endif
#endif
