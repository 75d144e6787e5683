/*
 * The history on disk: one SQLite file that holds what series were worth, in three grains (1 s for an hour,
 * 1 min for a week, 1 h for thirteen months), and what templates did by the minute and by the hour.
 *
 * It knows no host: whoever uses it calls from one thread at a time, which may block. A process that is
 * killed leaves a file that opens again (write-ahead log); a file that is damaged is put aside and begun
 * anew. The file's size has a bound: at the bound the oldest goes first.
 */
#ifndef MONITOR_STORE_H
#define MONITOR_STORE_H

#include <howdah/statement_stats.h>
#include <howdah/types.h>

struct mon_store;

/* The grains. Each sample of the first is one value, of the others mean, least and greatest. */
enum { MON_SECOND, MON_MINUTE, MON_HOUR, MON_GRAINS };

extern const struct mon_grain {
    int64_t step;   /* seconds from sample to sample */
    uint32_t slots; /* samples in one row */
    uint32_t width; /* values of a sample */
    int64_t keep;   /* seconds that are kept */
} mon_grains[MON_GRAINS];

/* The file is opened, or made for its owner alone, by mon_store_open, which may be called again after it has
 * failed or the file was closed. Without an open file everything below answers HD_EIO. `max_size` in bytes.
 */
struct mon_store *mon_store_new(const char *path, int64_t max_size);
int32_t mon_store_open(struct mon_store *s, struct hd_error *err);
void mon_store_close(struct mon_store *s);
/* Closes a file that turned out to be damaged and renames it to PATH.damaged; the next open makes another. */
void mon_store_put_aside(struct mon_store *s);
int mon_store_is_open(const struct mon_store *s);
void mon_store_free(struct mon_store *s); /* NULL is allowed */

/* What follows up to commit is kept together or not at all. HD_EFULL: no room on the disk or below the bound;
 * HD_EPROTO: the file is damaged; HD_EIO: anything else; then nothing of it is kept, and commit is not
 * called.
 */
int32_t mon_store_begin(struct mon_store *s);
int32_t mon_store_commit(struct mon_store *s);

/* Series `number` of this process is that key from here on, also after the file was closed and opened again.
 */
int32_t mon_store_define(struct mon_store *s, uint32_t number, const char *key, const char *unit);
/* `count` samples from `time` (seconds since 1970) on, one after the other. HD_ENOENT: there is no such
 * series; what has begun goes on. */
int32_t mon_store_put(struct mon_store *s, uint32_t number, int grain, int64_t time, const float *values,
                      uint32_t count);

/* What one template did within a minute or an hour: the sums are of that time alone. */
struct mon_template {
    uint64_t fingerprint; /* 0: all others */
    const char *database, *user, *text;
    uint64_t calls, errors, answered, rows, bytes, total_ns, queue_ns, server_ns, max_ns;
    struct hd_stats_bin *bins;
    uint32_t bin_count;
};

/* Adds `more` to bins in rising order, which are malloc'ed or NULL. */
int32_t mon_bins_merge(struct hd_stats_bin **bins, uint32_t *count, const struct hd_stats_bin *more,
                       uint32_t more_count);

/* Adds to what is there of that template at `time`. MON_MINUTE or MON_HOUR. */
int32_t mon_store_add_template(struct mon_store *s, int grain, int64_t time, const struct mon_template *t);

/* One sample, oldest first within a series. */
struct mon_sample {
    const char *key, *unit;
    int64_t time;
    double mean, min, max;
};
/* Samples of the series whose key is `name`, or begins with it and a brace, from `from` up to before `to`. fn
 * ends it by returning other than HD_OK, which is returned. */
int32_t mon_store_read(struct mon_store *s, const char *name, int grain, int64_t from, int64_t to,
                       int32_t (*fn)(void *arg, const struct mon_sample *sample), void *arg);
/* Templates' rows of that time, those of one template one after the other. */
int32_t mon_store_read_templates(struct mon_store *s, int grain, int64_t from, int64_t to,
                                 int32_t (*fn)(void *arg, const struct mon_template *t), void *arg);

/* An event worth telling of: of the bus. */
int32_t mon_store_add_event(struct mon_store *s, int64_t time, const char *topic, const char *subject,
                            const char *text);
struct mon_event {
    int64_t time;
    const char *topic, *subject, *text;
};
int32_t mon_store_read_events(struct mon_store *s, int64_t from, int64_t to, uint32_t max,
                              int32_t (*fn)(void *arg, const struct mon_event *e), void *arg);

/* Notes that something was done, and whether it was; they are kept as long as hours are. */
int mon_store_has_note(struct mon_store *s, const char *key);
int32_t mon_store_note(struct mon_store *s, const char *key, int64_t time);

/* Makes the samples of MON_HOUR from those of MON_MINUTE, for the hours that have ended before `now` and have
 * not been made yet. A minute that is put later, within a week, is added to its hour by mon_store_put. */
int32_t mon_store_roll(struct mon_store *s, int64_t now);
/* Deletes what is older than its grain says, seen from `now`. */
int32_t mon_store_prune(struct mon_store *s, int64_t now);
/* Deletes the oldest tenth, whatever its age: room below the bound. HD_EFULL: it is not the bound but the
 * disk that has no room; nothing is deleted. */
int32_t mon_store_make_room(struct mon_store *s, int64_t now);

/* Brings a file that is larger than the bound, as of a bound that was lowered, nearer to it: the oldest tenth
 * goes, or pages that are free are given back for so many nanoseconds. To be called until the file is no
 * larger; a kill in between leaves a file that goes on from there. */
int32_t mon_store_shrink(struct mon_store *s, int64_t now, uint64_t ns);

/* Moves what is in the write-ahead log into the file, and gives the log's space back. */
int32_t mon_store_empty_log(struct mon_store *s);

/* When the last block begins; 0: there is none. */
int64_t mon_store_newest(struct mon_store *s);
int64_t mon_store_bytes(struct mon_store *s); /* of the file */

#endif
