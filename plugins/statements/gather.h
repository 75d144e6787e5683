/*
 * Commands over all workers: SHOW STATEMENTS and STATEMENTS RESET. Each worker is asked to copy (or forget)
 * its own entries, a slice at a time so that its sessions do not wait, and the control thread merges the
 * copies and answers. So the statement's path has no locks.
 */
#ifndef STATEMENTS_GATHER_H
#define STATEMENTS_GATHER_H

#include "statements.h"

#define STMTS_SHOW_USAGE "[TOP n] [ORDER BY total|calls|mean|p95]"

/* Handlers of the commands; `arg` is the instance. [control] */
int32_t stmts_show(void *arg, const struct hd_call *call, struct hd_error *err);
int32_t stmts_reset(void *arg, const struct hd_call *call, struct hd_error *err);

#endif
