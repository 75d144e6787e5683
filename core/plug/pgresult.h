/*
 * A command's result as messages of the PostgreSQL protocol, for the SQL console: all columns in text form.
 */
#ifndef HD_PLUG_PGRESULT_H
#define HD_PLUG_PGRESULT_H

#include "plug/commands.h"
#include "wire/build.h"

/* The whole answer to a Query, without ReadyForQuery: RowDescription, DataRows and CommandComplete; or the
 * message as a notice and CommandComplete; or EmptyQueryResponse; or ErrorResponse. Takes what a
 * hd_command_done got. HD_OK, or why it could not be written. */
int hd_pgresult_write(struct hd_build *b, const hd_result *r, const char *name, int code,
                      const struct hd_error *err);

/* The same in pieces, as the extended protocol asks for them. */
/* RowDescription, or NoData where there are no columns. */
int hd_pgresult_describe(struct hd_build *b, const hd_result *r);
/* The rows from `first` on, at most `count` of them. */
int hd_pgresult_rows(struct hd_build *b, const hd_result *r, size_t first, size_t count);
/* The message, if there is one, and CommandComplete; or EmptyQueryResponse. */
int hd_pgresult_end(struct hd_build *b, const hd_result *r, const char *name);
int hd_pgresult_error(struct hd_build *b, const char *name, int code, const struct hd_error *err);

/* The SQLSTATE that says what `code` says. */
const char *hd_pgresult_sqlstate(int code);

#endif
