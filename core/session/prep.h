/*
 * Prepared statements in pooling: what a client has prepared under its own name lives on a server under a
 * name of the host's. Such a name is never used twice.
 *
 * Two things stand here: the contents (one table for all workers, counted) and a client's names. What a
 * server has is in stock.h.
 */
#ifndef HD_SESSION_PREP_H
#define HD_SESSION_PREP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/hash.h"

/* What a Parse message says behind the name: SQL text, NUL, number of types, types. */
struct hd_prep {
    _Atomic uint32_t refs;
    uint32_t len;     /* of body */
    uint32_t sql_len; /* without its NUL */
    struct hd_hash128 key;
    struct hd_prep *next; /* in the table's bucket */
    uint8_t body[];
};

struct hd_prep_table;

struct hd_prep_table *hd_prep_table_new(void);
void hd_prep_table_free(struct hd_prep_table *t);
/* The content, found or made, with a reference for the caller. NULL: no memory. [any] */
struct hd_prep *hd_prep_get(struct hd_prep_table *t, const uint8_t *body, uint32_t len, uint32_t sql_len);
static inline struct hd_prep *hd_prep_hold(struct hd_prep *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}
void hd_prep_drop(struct hd_prep_table *t, struct hd_prep *p); /* NULL is allowed */
size_t hd_prep_count(struct hd_prep_table *t);

/* The name that a server knows a statement by, from its number; `out` needs HD_PREP_NAME bytes. Returns the
 * length without the NUL. */
#define HD_PREP_PREFIX "howdah_"
#define HD_PREP_NAME   32
size_t hd_prep_name(uint64_t id, char *out);
uint64_t hd_prep_new_id(struct hd_prep_table *t);

/* The rows that a statement gave when it was parsed, as a number made from the names and types of its
 * columns. PostgreSQL refuses a statement whose rows have changed since, so together with the content it
 * tells apart all that a client could. */
#define HD_ROWS_UNKNOWN   0 /* the server has not said yet */
#define HD_ROWS_NOT_ASKED 1 /* of no concern for this kind of statement */
#define HD_ROWS_NONE      2 /* it gives none; columns give higher numbers */

/* Where a name's statement is known by that name, and not by one of the host's. */
enum hd_name_own {
    HD_NAME_SHARED = 0,
    HD_NAME_OWN,     /* on the session's server */
    HD_NAME_OWN_TOO, /* there, with a content that is not known for sure */
    HD_NAME_EMPTY, /* there, as a statement that does nothing, for a text that was to drop it or find it taken
                    */
};

/* A client's names: few, so a sorted array. */
struct hd_names {
    struct hd_name {
        uint32_t hash;
        uint32_t seq; /* of the Parse that made it, so that its failure takes just this away */
        char *name;
        struct hd_prep *prep; /* once the server has said them, with the types of all parameters */
        uint64_t rows;        /* HD_ROWS_… */
        uint64_t id;          /* of the statement that it was last on a server; 0: none */
        uint8_t own;          /* enum hd_name_own */
    } * items;
    uint32_t count, cap;
    size_t bytes; /* of names and contents */
};

/* The entry, or NULL. Valid until the next change. */
struct hd_name *hd_names_find(struct hd_names *n, const char *name);
/* Adds or replaces; takes over the reference. NULL: no memory (the reference is then still the caller's). */
struct hd_name *hd_names_set(struct hd_names *n, struct hd_prep_table *t, const char *name, struct hd_prep *p,
                             uint32_t seq) HD_MUST_USE;
/* Its content, with the types of all parameters. */
void hd_names_resolve(struct hd_names *n, struct hd_prep_table *t, struct hd_name *e, struct hd_prep *p);
/* The one that the Parse numbered `seq` made, or NULL. */
struct hd_name *hd_names_of_seq(struct hd_names *n, uint32_t seq);
/* Takes away the name that the Parse numbered `seq` made, if it still stands. */
void hd_names_undo(struct hd_names *n, struct hd_prep_table *t, uint32_t seq);
void hd_names_remove(struct hd_names *n, struct hd_prep_table *t, const char *name);
void hd_names_clear(struct hd_names *n, struct hd_prep_table *t);

#endif
