/*
 * Warming: the reads that are answered most often are noted, kept in a file over restarts, and run again when
 * the host starts, on CACHE WARM, and at intervals if so configured. The host runs them as the users who sent
 * them (howdah.replay/1), through the whole filter chain, so that what is filled is what those users ask for.
 *
 * Off without `warm_file`: it holds the literals of statements, which otherwise never reach a disk.
 */
#ifndef CACHE_WARM_H
#define CACHE_WARM_H

#include "cache.h"

struct cache_warm;

/* HD_OK also where no file is configured; what is wrong with a file that is there is logged, and it is not
 * used. [control] */
int32_t cache_warm_start(struct cache *self, const struct cache_conf *conf, struct hd_error *err);
void cache_warm_reload(struct cache *self, const struct cache_conf *conf);
/* Writes the file. [control] */
void cache_warm_stop(struct cache *self);
void cache_warm_free(struct cache *self);

/* A read was sent to the server, and may be noted. [worker] */
void cache_warm_note(struct cache *self, uint64_t hash, const struct hd_statement *st);
/* One was answered; its answer was kept. [worker] */
void cache_warm_hit(struct cache_worker *w, uint64_t hash);
void cache_warm_kept(struct cache *self, uint64_t hash);

/* The command CACHE WARM. [control] */
int32_t cache_warm_command(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
