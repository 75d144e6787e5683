/*
 * A small host in memory, to test a plugin without howdahd: services that do what their headers say, on one
 * thread and only when the test says so. Posts run in mock_run, timers in mock_advance, events are delivered
 * in mock_run; what was logged, counted, published and resumed can be looked at.
 *
 *     struct mock *m = mock_new(2);
 *     howdah_plugin.create(mock_host(m), &self, &err);
 *     …
 *     mock_free(m);
 *
 * There are the log, metrics, bus, commands, loop, template, catalog and statement services; jobs and the
 * scheduler run nothing and say so.
 */
#ifndef HOWDAH_CHECK_MOCK_H
#define HOWDAH_CHECK_MOCK_H

#include <howdah/howdah.h>

struct mock;

struct mock *mock_new(uint32_t workers);
void mock_free(struct mock *m);
hd_host *mock_host(struct mock *m);

/* Lines of the log as "LEVEL message key=value …\n"; and how often `failed` and `stopped` were called. */
const char *mock_log(const struct mock *m);
unsigned mock_failures(const struct mock *m);
unsigned mock_stopped(const struct mock *m);

/* --- loop: which thread "is running", posts, timers ------------------------------------------------------
 */

/* The worker whose thread the test plays from now on; HD_LOOP_CONTROL at first. */
void mock_on(struct mock *m, int32_t worker);
/* Runs all posts, those that are posted meanwhile too, each as its own thread; and delivers events. */
void mock_run(struct mock *m);
/* Moves the clock of timers on by `ms`, running those that are due in their order, and posts. */
void mock_advance(struct mock *m, uint64_t ms);
unsigned mock_timers(const struct mock *m); /* that are armed */
/* From now on `post` takes this many more and then says HD_EFULL; -1: any number. */
void mock_limit_posts(struct mock *m, int posts);

/* --- metrics ---------------------------------------------------------------------------------------------
 */

/* A counter's or gauge's value, or how many values a sketch has; -1: there is no such metric. `labels` is
 * "name=value,name=value", or "". */
int64_t mock_metric(const struct mock *m, const char *name, const char *labels);

/* --- bus ---------------------------------------------------------------------------------------------------
 */

/* Events of a topic that were published; the i-th one's struct, NULL past the end. */
unsigned mock_events(const struct mock *m, const char *topic);
const void *mock_event(const struct mock *m, const char *topic, unsigned i);
/* Makes `wanted` say yes for a topic although nobody has subscribed. */
void mock_want(struct mock *m, const char *topic);
/* From now on `publish` takes this many more and then says HD_EFULL; -1: any number. */
void mock_limit_events(struct mock *m, int events);

/* --- commands ----------------------------------------------------------------------------------------------
 */

/* Runs "NAME WORD WORD" to its end, mock_run included. The answer is read by the calls below until the next
 * command. HD_ENOENT: no such command. HD_PENDING: it was never finished. */
int32_t mock_command(struct mock *m, const char *line);
unsigned mock_commands(const struct mock *m); /* that are registered */
unsigned mock_rows(const struct mock *m);
/* A cell by row and column's name; "" where there is none, "(null)" for SQL NULL. */
const char *mock_cell(const struct mock *m, unsigned row, const char *column);
const char *mock_message(const struct mock *m); /* the message, or the error's text */

/* --- templates and statements -----------------------------------------------------------------------------
 */

/* A template; info's strings are copied, `text` must be set. Lives until mock_free. */
hd_template *mock_template(struct mock *m, const struct hd_template_info *info);
/* Adds to a template; "schema.name" or "name". */
void mock_template_table(hd_template *t, const char *name, uint32_t access);
void mock_template_function(hd_template *t, const char *name, uint32_t args);
/* Copied, the column's name too. An assignment is counted, and what `info` says of writes stays as it is. */
void mock_template_comparison(hd_template *t, const struct hd_template_comparison *c);
void mock_template_assignment(hd_template *t, const struct hd_template_assignment *a);

/* The literals of executions from now on, after `params` parameters: value() tells them by their kind. At
 * first, and after mock_no_literals, there are none. */
void mock_literal(struct mock *m, uint32_t kind, const char *text);
void mock_no_literals(struct mock *m);

/* What the catalog says of every template from now on: a code other than HD_OK, or the template's tables with
 * these problems and this footprint. At first HD_OK and none. */
void mock_catalog_answers(struct mock *m, int32_t code, uint64_t problems, uint32_t footprint);
/* From now on the catalog lists this column of tables of that name; copied. They have no others. */
void mock_catalog_column(struct mock *m, const char *table, const struct hd_dependency_column *c);
/* No dependencies that were told are current any more. */
void mock_catalog_changes(struct mock *m);
unsigned mock_catalog_held(const struct mock *m); /* dependencies that were not released yet */

/* Handles that were resumed, in order. */
unsigned mock_resumes(const struct mock *m);
uint64_t mock_resumed(const struct mock *m, unsigned i, uint32_t *verdict);

#endif
