/*
 * Reads as bytes: what a client has sent, with all that its key hangs on, so that it can be run again; and
 * the file that many of them are kept in.
 *
 * The file is of one machine: numbers stand as memory has them, and a mark says so. It holds statements with
 * their literals and parameters, so it is for the host's user alone.
 */
#ifndef CACHE_WARM_READ_H
#define CACHE_WARM_READ_H

#include <howdah/howdah.h>

#define CACHE_WARM_READ_MAX 16384 /* bytes of one; longer ones are not kept */

/* One, in one piece. */
struct cache_warm_read {
    uint64_t hash; /* of its key when it was sent */
    uint32_t hits;
    uint32_t len;
    uint8_t bytes[];
};

/* NULL: too long, or no memory. [any] */
struct cache_warm_read *cache_warm_read_new(uint64_t hash, const struct hd_statement *st);
struct cache_warm_read *cache_warm_read_copy(const struct cache_warm_read *r);

/* What it points to lies in the read, and in `memory`, which is the caller's to free(). HD_EPROTO: it cannot
 * be one. [any] */
int32_t cache_warm_read_replay(const struct cache_warm_read *r, struct hd_replay *out, void **memory);

/* Writes the file anew: another beside it first, which takes its place when it is on disk. [job] or [control]
 */
int32_t cache_warm_file_write(const char *path, struct cache_warm_read *const *reads, uint32_t count,
                              struct hd_error *err);
/* Reads it, at most `max`; *reads is an array to be freed with each of its reads. HD_ENOENT: there is none;
 * HD_EPERM: others may read or write it; HD_EPROTO: it is damaged, and nothing of it is used. */
int32_t cache_warm_file_read(const char *path, uint32_t max, struct cache_warm_read ***reads, uint32_t *count,
                             struct hd_error *err);

#endif
