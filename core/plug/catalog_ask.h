/*
 * Questions about templates on their way to the servers' catalogs. Private to the catalog.
 */
#ifndef HD_PLUG_CATALOG_ASK_H
#define HD_PLUG_CATALOG_ASK_H

#include "plug/catalog_parts.h"

/* Asks about a template whose entry is marked as asking: its entry gets the answer, and is no longer.
 * HD_PENDING, or why not. Without the lock. */
int hd_catalog_put_question(struct hd_catalog *c, const hd_template *t, const struct hd_catalog_view *view,
                            struct hd_hash128 key, struct hd_catalog_database *database);

#endif
