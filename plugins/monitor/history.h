/*
 * The way to the history: batches go to a job that writes them, questions go to a job that reads. Nothing
 * waits for the disk but jobs. What cannot be written waits, up to a bound, and then the oldest is given up
 * and counted. SHOW HISTORY, SHOW SERIES.
 */
#ifndef MONITOR_HISTORY_H
#define MONITOR_HISTORY_H

#include "monitor.h"

/* With its commands. [control] */
int32_t mon_history_start(struct mon *self, struct hd_error *err);
/* No job is under way any more. */
void mon_history_free(struct mon_history *h); /* NULL is allowed */

/* Where the next sample goes. NULL: no memory. */
struct mon_batch *mon_history_batch(struct mon *self);
/* Sends what there is to the file, when the time has come or at the `end`. */
void mon_history_flush(struct mon *self, int end);

/* HD_ENOENT: it is not. */
int32_t mon_history_is_kept(const struct mon *self, struct hd_error *err);
/* Runs fn on a job with the open store, what was sampled so far written to it; then done on the control
 * thread, exactly once. HD_EIO: there is no file. */
int32_t mon_history_ask(struct mon *self,
                        int32_t (*fn)(struct mon_store *store, void *arg, struct hd_error *err),
                        void (*done)(void *arg, int32_t code, const struct hd_error *err), void *arg,
                        struct hd_error *err);

#endif
