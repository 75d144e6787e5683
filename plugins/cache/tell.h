/*
 * Telling the other hosts what was written through this one, and hearing it of them: over the bus, where a
 * plugin carries its topic table.written/1.
 */
#ifndef CACHE_TELL_H
#define CACHE_TELL_H

#include "writes.h"

/* Whether or not anybody carries the topic. [control] */
int32_t cache_tell_start(struct cache *self, struct hd_error *err);

/* A transaction has ended. [any] */
void cache_tell_written(struct cache *self, const struct cache_footprint *what, struct hd_str node,
                        struct hd_str dbname);
/* All answers have been ended, of all databases. [any] */
void cache_tell_everywhere(struct cache *self);

#endif
