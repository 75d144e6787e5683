/*
 * What templates hang on, database by database: asks the servers' catalogs on control connections, keeps the
 * answers, and knows which of them still stand. Every database has a generation that grows with each change
 * of its schema that the host sees or finds; an answer of an earlier one is asked for anew. Bounded: past
 * `max` answers the oldest go.
 */
#ifndef HD_PLUG_CATALOG_H
#define HD_PLUG_CATALOG_H

#include <howdah/catalog.h>

struct hd_catalog;
struct hd_commands;
struct hd_jobs;
struct hd_metrics;
struct hd_scheduler;

struct hd_catalog *hd_catalog_new(struct hd_jobs *jobs, size_t max);
/* Adds the schedule that looks for changes made around the host. [control] */
int hd_catalog_watch(struct hd_catalog *c, struct hd_scheduler *scheduler, struct hd_error *err);
/* After jobs and scheduler were freed, and no plugin holds dependencies. NULL is allowed. [control] */
void hd_catalog_free(struct hd_catalog *c);

/* As hd_catalog_v1's. [any] */
int hd_catalog_dependencies(struct hd_catalog *c, const hd_template *t, const struct hd_catalog_scope *scope,
                            const hd_dependencies **out);
/* dbname empty: every database of the node. [any] */
void hd_catalog_changed(struct hd_catalog *c, struct hd_str node, struct hd_str dbname);
/* A transaction was prepared under that name, and may have defined something. An empty name: it cannot be
 * told, and may be any. [any] */
void hd_catalog_prepared(struct hd_catalog *c, struct hd_str node, struct hd_str dbname, struct hd_str gid,
                         int defines);
/* 1: what is committed under that name is known to have defined nothing; it is forgotten. [any] */
int hd_catalog_is_plain(struct hd_catalog *c, struct hd_str node, struct hd_str dbname, struct hd_str gid);
int hd_dependencies_current(const hd_dependencies *d);
void hd_dependencies_release(const hd_dependencies *d);

/* Adds SHOW CATALOG. [control] */
int hd_catalog_add_commands(struct hd_catalog *c, struct hd_commands *commands, struct hd_error *err);
/* Offers it to plugins as "howdah.catalog/1". [control] */
int hd_catalog_serve(struct hd_catalog *c);

#endif
