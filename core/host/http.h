/*
 * The host's HTTP server: probes, metrics, the commands as JSON, and what plugins show. libmicrohttpd reads
 * and writes on the control loop; nothing here runs on another thread, and nothing of a statement waits for
 * it.
 */
#ifndef HD_HOST_HTTP_H
#define HD_HOST_HTTP_H

#include <howdah/error.h>

struct hd_http;
struct hd_keeper;
struct hd_runtime;
struct hd_settings;

/* Makes it, without a socket yet: plugins may register their pages. [control] */
int hd_http_new(struct hd_runtime *rt, struct hd_http **out, struct hd_error *err);
/* First step of a start or reload: opens what `s` asks for, on the sockets of an earlier host where `keeper`
 * (may be NULL) has them. Nothing that is served changes. A second prepare drops the first. [control] */
int hd_http_prepare(struct hd_http *h, struct hd_settings *s, const struct hd_keeper *keeper,
                    struct hd_error *err);
/* Second step; cannot fail. [control] */
void hd_http_commit(struct hd_http *h);
/* Forgets what was prepared. [control] */
void hd_http_abort(struct hd_http *h);
/* Another host listens: no new connections, and those that are there end with their next answer. [control] */
void hd_http_leave(struct hd_http *h);
/* Ends all connections and frees it, in this turn of the loop and the next. No plugin runs any more. NULL:
 * nothing. [control] */
void hd_http_stop(struct hd_http *h);

#endif
