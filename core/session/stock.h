/*
 * What one server has prepared under the host's names, least recently used first.
 *
 * A statement there is a content and the rows that it gave when it was parsed (HD_ROWS_…): two clients share
 * it where both are the same, for then PostgreSQL answers the same to both, whatever happens to the tables
 * later.
 */
#ifndef HD_SESSION_STOCK_H
#define HD_SESSION_STOCK_H

#include "base/list.h"
#include "session/prep.h"

struct hd_stocked {
    struct hd_list lru;
    struct hd_stocked *next; /* in the bucket */
    struct hd_prep *prep;    /* held */
    uint64_t id;             /* makes its name */
    uint64_t rows;           /* HD_ROWS_… */
};

struct hd_stock {
    struct hd_stocked **buckets; /* made with the first entry */
    uint32_t bucket_count, count;
    struct hd_list lru;
    uint64_t *retired; /* numbers of statements that are not used any more, to be closed there */
    uint32_t retired_count, retired_cap;
};

void hd_stock_init(struct hd_stock *s);
void hd_stock_clear(struct hd_stock *s, struct hd_prep_table *t);

/* The statement of this content with that number; else one that gives those rows, where they are known. NULL:
 * none. */
struct hd_stocked *hd_stock_find(struct hd_stock *s, const struct hd_prep *p, uint64_t id, uint64_t rows);
/* Another statement that does the same, or NULL. */
struct hd_stocked *hd_stock_twin(struct hd_stock *s, const struct hd_stocked *e);
/* By its number alone, slowly. */
struct hd_stocked *hd_stock_of_id(struct hd_stock *s, uint64_t id);
/* It becomes the most recently used. */
void hd_stock_touch(struct hd_stock *s, struct hd_stocked *e);
struct hd_stocked *hd_stock_oldest(struct hd_stock *s);

/* Holds the content. HD_OK or HD_ENOMEM. */
int hd_stock_add(struct hd_stock *s, struct hd_prep *p, uint64_t id, uint64_t rows) HD_MUST_USE;
/* The server has said what it is. */
void hd_stock_resolve(struct hd_stock *s, struct hd_prep_table *t, struct hd_stocked *e, struct hd_prep *p,
                      uint64_t rows);
/* It is not there (any more). */
void hd_stock_remove(struct hd_stock *s, struct hd_prep_table *t, struct hd_stocked *e);
/* Those whose rows nobody asked for, or all of them, are not used again. HD_OK or HD_ENOMEM. */
int hd_stock_retire_all(struct hd_stock *s, struct hd_prep_table *t, int all) HD_MUST_USE;
/* A statement that is to be closed. HD_OK or HD_ENOMEM. */
int hd_stock_retire(struct hd_stock *s, uint64_t id) HD_MUST_USE;

#endif
