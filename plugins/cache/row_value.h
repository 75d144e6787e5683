/*
 * One form for equal values: what a hash stands for that tells rows apart. Two values of a column that
 * PostgreSQL takes for equal have the same hash, however they were written.
 */
#ifndef CACHE_ROW_VALUE_H
#define CACHE_ROW_VALUE_H

#include <howdah/howdah.h>

enum cache_value_form {
    CACHE_FORM_UNKNOWN, /* which value it is cannot be told */
    CACHE_FORM_NULL,    /* equal to none */
    CACHE_FORM_HASH
};

/* What is known of the $n that a value is bound to. */
struct cache_value_place {
    uint32_t canonical; /* HD_CANONICAL_… of the column that it meets, */
    uint32_t type;      /* and its type */
    int once;           /* $n stands nowhere else, so that without a type of its own it has the column's */
};

/* `utf8`: the client's encoding is UTF-8. */
enum cache_value_form cache_value_form(const struct cache_value_place *at, int utf8, const struct hd_value *v,
                                       uint64_t *hash);

/* Parts of that. As PostgreSQL reads integers, also of such a size; a binary one of 2, 4 or 8 bytes; a uuid,
 * into 16 bytes. 0: it is none. */
int cache_value_read_integer(struct hd_str s, int64_t *out);
int64_t cache_value_read_binary(struct hd_str s);
int cache_value_read_uuid(struct hd_str s, uint8_t *out);

#endif
