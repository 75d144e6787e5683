/*
 * The command registry: one set of commands serves the SQL console, the control socket and later HTTP.
 *
 * Commands run on the control thread. A handler fills a result (typed columns, rows, a message) and answers
 * at once, or says HD_PENDING and finishes later from any thread; the caller hears of it once, on its own
 * loop.
 */
#ifndef HD_PLUG_COMMANDS_H
#define HD_PLUG_COMMANDS_H

#include <howdah/commands.h>
#include <howdah/error.h>
#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

struct hd_commands;
struct hd_command_call; /* one call under way */

/* With HELP in it. NULL: no memory. [control] */
struct hd_commands *hd_commands_new(struct hd_loop *control);
/* Calls still under way end with HD_ECANCELLED first. Nobody asks any more, and the loop has run what was
 * posted to it. [control] */
void hd_commands_free(struct hd_commands *c);

/* A handler; see hd_commands_v1.add. [control] */
typedef int32_t hd_command_fn(void *arg, const struct hd_call *call, struct hd_error *err);

/* Registers a command of one to three upper-case words. `usage` and `doc` may be NULL; strings are copied.
 * `owner` is what hd_commands_drop_owner names, NULL for the host itself, whose commands take a name from a
 * plugin's. HD_EEXIST: the name is taken. [control] */
int hd_commands_add(struct hd_commands *c, const void *owner, const char *name, const char *usage,
                    const char *doc, uint32_t flags, hd_command_fn *fn, void *arg, struct hd_error *err);
/* Takes an owner's commands away; its calls that are under way end with HD_ECANCELLED, and what it finishes
 * later is dropped. [control] */
void hd_commands_drop_owner(struct hd_commands *c, const void *owner, const char *plugin);

/* One command; borrowed for the call. */
struct hd_command_info {
    const char *name;
    const char *usage; /* empty: it takes no arguments */
    const char *doc;
    uint32_t flags; /* HD_CMDF_… */
    const void *owner;
};

/* All commands, by name. [control] */
void hd_commands_each(const struct hd_commands *c, void (*fn)(void *arg, const struct hd_command_info *info),
                      void *arg);
/* The command of exactly that name; 0, or HD_ENOENT. [control] */
int hd_commands_get(const struct hd_commands *c, const char *name, struct hd_command_info *out);
/* The plugin that had a command of that name when it ran; NULL: none. Borrowed for the turn. [control] */
const char *hd_commands_gone(const struct hd_commands *c, const char *name);

/* How a call ended. `name` is the command's ("SHOW POOLS"), empty where none was found. The result and the
 * error are valid during the callback; the result is NULL when code is not HD_OK. An empty line is HD_OK with
 * an empty name and a result without columns. */
typedef void hd_command_done(void *arg, const hd_result *result, const char *name, int code,
                             const struct hd_error *err);

/* Runs one line ("SHOW POOLS", a closing ';' is allowed). `user` is who asks, NULL or "" over the control
 * socket. `done` may run before this returns; then NULL is returned, as is when the answer came at once.
 * Otherwise the call, for hd_command_forget. [control] */
struct hd_command_call *hd_commands_call(struct hd_commands *c, const char *text, size_t len,
                                         const char *user, hd_command_done *done, void *arg);
/* The same from the thread of another loop: `done` runs on `loop`, never before this returns. NULL: no
 * memory, and `done` is not called. [worker] */
struct hd_command_call *hd_commands_call_from(struct hd_commands *c, struct hd_loop *loop, const char *text,
                                              size_t len, const char *user, hd_command_done *done, void *arg);
/* The asker is gone: `done` is not called any more. On the thread that asked, before `done` ran. */
void hd_command_forget(struct hd_command_call *call);

/* A loop that asked is gone, and its thread has ended: whoever asked from there is told nothing. Before the
 * memory of the loop goes. [control] */
void hd_commands_drop_loop(struct hd_commands *c, const struct hd_loop *loop);

/* Building a result, as hd_commands_v1's functions do. */
void hd_result_column(hd_result *r, const char *name, uint32_t type);
void hd_result_text(hd_result *r, struct hd_str value);
void hd_result_cstr(hd_result *r, const char *value); /* NULL is SQL's NULL */
void hd_result_integer(hd_result *r, int64_t value);
void hd_result_real(hd_result *r, double value);
void hd_result_null(hd_result *r);
void hd_result_message(hd_result *r, const char *text);
/* After HD_PENDING, exactly once; what comes twice or too late is dropped. [any] */
void hd_result_finish(hd_result *r, int32_t code, const struct hd_error *err);
/* Columns of several at once: hd_result_columns(r, "name", HD_COL_TEXT, "rows", HD_COL_INT, NULL). */
void hd_result_columns(hd_result *r, ...) __attribute__((sentinel));

/* Reading a result. */
struct hd_cell {
    int is_null;
    int64_t integer;   /* INT, BOOL, TIME */
    double real;       /* REAL */
    struct hd_str str; /* TEXT */
};
uint32_t hd_result_column_count(const hd_result *r);
const char *hd_result_column_name(const hd_result *r, uint32_t column);
uint32_t hd_result_column_type(const hd_result *r, uint32_t column);
size_t hd_result_row_count(const hd_result *r);
struct hd_cell hd_result_cell(const hd_result *r, size_t row, uint32_t column);
/* "OK" where none was set. */
const char *hd_result_message_text(const hd_result *r);
/* A cell as text: numbers in decimal, "yes"/"no", "2026-01-31 12:00:00.000000+00"; never NULL, "" for NULL.
 * `buf` (at least HD_CELL_TEXT bytes) is used where the cell has no text of its own; the length goes to *len.
 */
#define HD_CELL_TEXT 40
const char *hd_result_cell_text(const hd_result *r, size_t row, uint32_t column, char *buf, size_t *len);

/* Compares an argument with an upper-case word, without regard to case. */
int hd_arg_is(const struct hd_call *call, uint32_t i, const char *word);

/* Offers it to plugins as "howdah.commands/1". [control] */
int hd_commands_serve(struct hd_commands *c);

#endif
