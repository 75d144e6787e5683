/*
 * An intrusive doubly linked list: the node lives in the object, so that joining and leaving never allocates
 * and never fails. A node that is in no list points to itself.
 */
#ifndef HD_BASE_LIST_H
#define HD_BASE_LIST_H

#include <stddef.h>
#include "base/check.h"

struct hd_list {
    struct hd_list *next, *prev;
};

static inline void hd_list_init(struct hd_list *l)
{
    l->next = l->prev = l;
}

static inline int hd_list_empty(const struct hd_list *l)
{
    return l->next == l;
}

static inline void hd_list_insert_before(struct hd_list *at, struct hd_list *n)
{
    n->next = at;
    n->prev = at->prev;
    at->prev->next = n;
    at->prev = n;
}

/* Appends n to the list whose head is l. */
static inline void hd_list_push_back(struct hd_list *l, struct hd_list *n)
{
    hd_list_insert_before(l, n);
}

static inline void hd_list_push_front(struct hd_list *l, struct hd_list *n)
{
    hd_list_insert_before(l->next, n);
}

/* Takes n out of whatever list it is in; harmless when it is in none. */
static inline void hd_list_remove(struct hd_list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    hd_list_init(n);
}

static inline struct hd_list *hd_list_first(struct hd_list *l)
{
    return hd_list_empty(l) ? NULL : l->next;
}

static inline struct hd_list *hd_list_pop_front(struct hd_list *l)
{
    struct hd_list *n = hd_list_first(l);

    if (n)
        hd_list_remove(n);
    return n;
}

/* The object that holds node `n` as its `member`. */
#define HD_LIST_ITEM(n, type, member) HD_CONTAINER_OF(n, type, member)
/* Walks the list; `n` may be removed inside the body. */
#define HD_LIST_EACH(n, l)                                                                                   \
    for (struct hd_list *n = (l)->next, *n##_next = n->next; n != (l); n = n##_next, n##_next = n->next)

#endif
