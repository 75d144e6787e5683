/*
 * Prepared statements in pooling: what a client has prepared under its own name lives on a server under a
 * name of the host's, made from the content. One content has one name for the life of the process, and a name
 * is never used for another content.
 *
 * Three things: the contents (one table for all workers, counted), a client's names, and what a server has.
 */
#ifndef HD_SESSION_PREP_H
#define HD_SESSION_PREP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/list.h"

/* What a Parse message says behind the name: SQL text, NUL, number of types, types. */
struct hd_prep {
    _Atomic uint32_t refs;
    uint32_t len;     /* of body */
    uint32_t sql_len; /* without its NUL */
    uint64_t id;      /* makes the name: never used twice */
    struct hd_hash128 key;
    struct hd_prep *next;         /* in the table's bucket */
    _Atomic(const void *) proven; /* the pool whose server prepared it last; compared, never followed */
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

/* The name that servers know it by; `out` needs HD_PREP_NAME bytes. Returns the length without the NUL. */
#define HD_PREP_PREFIX "howdah_"
#define HD_PREP_NAME   32
size_t hd_prep_name(const struct hd_prep *p, char *out);

/* A client's names: few, so a sorted array. */
struct hd_names {
    struct hd_name {
        uint32_t hash;
        uint32_t seq; /* of the Parse that made it, so that its failure takes just this away */
        char *name;
        struct hd_prep *prep;
    } * items;
    uint32_t count, cap;
    size_t bytes; /* of names and contents */
};

/* The entry, or NULL. Valid until the next change. */
struct hd_name *hd_names_find(struct hd_names *n, const char *name);
/* Adds or replaces; takes over the reference. HD_OK or HD_ENOMEM (the reference is then still the caller's).
 */
int hd_names_set(struct hd_names *n, struct hd_prep_table *t, const char *name, struct hd_prep *p,
                 uint32_t seq);
/* Takes away the name that the Parse numbered `seq` made, if it still stands. */
void hd_names_undo(struct hd_names *n, struct hd_prep_table *t, uint32_t seq);
void hd_names_remove(struct hd_names *n, struct hd_prep_table *t, const char *name);
void hd_names_clear(struct hd_names *n, struct hd_prep_table *t);

/* What a server has prepared, least recently used first. */
struct hd_server_prep {
    struct hd_list lru;
    struct hd_server_prep *next; /* in the bucket */
    struct hd_prep *prep;
    uint32_t epoch;
};

struct hd_server_preps {
    struct hd_server_prep **buckets; /* made with the first entry */
    uint32_t bucket_count, count;
    uint32_t epoch; /* entries of an earlier one are out of date */
    struct hd_list lru;
};

void hd_server_preps_init(struct hd_server_preps *s);
/* Is it there and up to date? Then it becomes the most recently used. */
int hd_server_preps_use(struct hd_server_preps *s, const struct hd_prep *p);
/* HD_OK or HD_ENOMEM. Holds the content. */
int hd_server_preps_add(struct hd_server_preps *s, struct hd_prep *p);
void hd_server_preps_remove(struct hd_server_preps *s, struct hd_prep_table *t, const struct hd_prep *p);
/* What is there has a plan that PostgreSQL refuses, or may be gone: to be prepared anew before its next use.
 */
void hd_server_preps_expire(struct hd_server_preps *s);
/* Is it there, but out of date? */
int hd_server_preps_expired(struct hd_server_preps *s, const struct hd_prep *p);
/* The least recently used one, or NULL. */
struct hd_prep *hd_server_preps_oldest(struct hd_server_preps *s);
void hd_server_preps_clear(struct hd_server_preps *s, struct hd_prep_table *t);

#endif
