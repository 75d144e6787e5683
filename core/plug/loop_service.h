/*
 * Watches and timers for plugins, on the loop of the thread that asks: "howdah.loop/1" over io/loop.h.
 */
#ifndef HD_PLUG_LOOP_SERVICE_H
#define HD_PLUG_LOOP_SERVICE_H

#include <howdah/loop.h>
#include <stdint.h>

#include "io/loop.h"

/* Offers it to plugins, with the loop of the control thread. [control] */
int hd_loop_serve(struct hd_loop *control);
/* The loop of a worker, for post(); called by each worker when its loop runs, and with NULL when it ends:
 * what plugins left on that loop is ended then. On the worker's own thread. [worker] */
void hd_loop_serve_worker(uint32_t worker, struct hd_loop *loop);

#endif
