/*
 * Settings that a session and a server connection have: immutable, interned sets of name and value. Two sets
 * with the same content are the same pointer on one worker, so that "does this server stand as this client
 * left it?" is one comparison on the statement's path.
 */
#ifndef HD_SESSION_PARAMS_H
#define HD_SESSION_PARAMS_H

#include <howdah/types.h>
#include <stddef.h>
#include <stdint.h>
#include "base/check.h"
#include "base/strbuf.h"

struct hd_params_table; /* one per worker */

struct hd_param_entry {
    const char *name;
    const char *value;
};

struct hd_params {
    uint32_t refs;
    uint32_t count;
    struct hd_params_table *table;
    struct hd_params *next; /* in the table's bucket */
    uint64_t hash;
    struct hd_str application_name;  /* empty: it has none */
    uint64_t id;                     /* no other set of this table has or had it; 0: in no table */
    struct hd_param_entry entries[]; /* by name; the strings follow in the same block */
};

struct hd_params_table *hd_params_table_new(void);
void hd_params_table_free(struct hd_params_table *t); /* every set must have been dropped */

/* The set with these pairs; of a name that comes twice (in any case) the last value counts. NULL: no memory.
 */
struct hd_params *hd_params_make(struct hd_params_table *t, const struct hd_param_entry *pairs,
                                 uint32_t count) HD_MUST_USE;
/* `base` with one value changed or added (NULL: taken out). Does not consume base. */
struct hd_params *hd_params_with(struct hd_params *base, const char *name, const char *value) HD_MUST_USE;
/* For another worker: a copy that belongs to no table, and the set there, which frees the copy (also when it
 * fails). */
struct hd_params_copy;
struct hd_params_copy *hd_params_copy(const struct hd_params *p) HD_MUST_USE;
struct hd_params *hd_params_from_copy(struct hd_params_table *t, struct hd_params_copy *copy) HD_MUST_USE;
/* The same, and the copy stays for others. */
struct hd_params *hd_params_like(struct hd_params_table *t, const struct hd_params_copy *copy) HD_MUST_USE;
void hd_params_copy_free(struct hd_params_copy *copy); /* NULL is allowed */
/* Only what the server reports. */
struct hd_params *hd_params_reported(struct hd_params *p) HD_MUST_USE;
struct hd_params *hd_params_hold(struct hd_params *p);
void hd_params_drop(struct hd_params *p); /* NULL is allowed */

/* Names are compared without regard to case, as PostgreSQL does. NULL: not in the set. */
const char *hd_params_get(const struct hd_params *p, const char *name);
/* May a client set it? server_version and the like are the server's own. */
int hd_param_settable(const char *name);
/* Does the server report it by ParameterStatus (15 and older)? */
int hd_param_reported(const char *name);

/* One of the settings that some version of PostgreSQL reports? */
int hd_param_known(const char *name);
/* Appends a literal that is right whatever the session has set. */
void hd_params_literal(struct hd_strbuf *sql, const char *s);
/* Appends the statement that puts all of these in place. */
void hd_params_set_sql(const struct hd_params *p, struct hd_strbuf *sql);
/* Appends the statement that makes a server with `have` into one with `want`; returns how many settings
 * differ. */
int hd_params_sync_sql(const struct hd_params *have, const struct hd_params *want, struct hd_strbuf *sql);

#endif
