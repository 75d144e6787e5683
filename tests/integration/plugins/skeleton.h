/*
 * What plugins for tests have in common, so that each of them says only what is its own: an instance with the
 * host's services at hand, the steps of a life in which such a plugin does nothing, and the marks in texts of
 * statements by which a test tells it what to do.
 *
 * An instance is a struct of the plugin's that starts with a struct base.
 */
#ifndef HD_TESTS_SKELETON_H
#define HD_TESTS_SKELETON_H

#include <howdah/howdah.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct base {
    hd_host *host;
    pthread_mutex_t lock; /* for what the plugin says is guarded by it */
    const struct hd_catalog_v1 *catalog;
    const struct hd_commands_v1 *commands;
    const struct hd_loop_v1 *loop;
    const struct hd_statement_v1 *statement;
    const struct hd_template_v1 *template;
};

/* --- life ---------------------------------------------------------------------------------------------- */

/* For create: an instance of so many bytes, zero but for the base. */
static inline int32_t make_self(hd_host *host, size_t size, void **self)
{
    struct base *b = calloc(1, size);

    if (!b)
        return HD_ENOMEM;
    b->host = host;
    pthread_mutex_init(&b->lock, NULL);
    *self = b;
    return HD_OK;
}

/* For start. */
static inline int32_t get_services(struct base *b)
{
    const struct hd_host_v1 *api = hd_host_api(b->host);

    b->catalog = api->service(b->host, HD_SERVICE_CATALOG);
    b->commands = api->service(b->host, HD_SERVICE_COMMANDS);
    b->loop = api->service(b->host, HD_SERVICE_LOOP);
    b->statement = api->service(b->host, HD_SERVICE_STATEMENT);
    b->template = api->service(b->host, HD_SERVICE_TEMPLATE);
    return b->catalog && b->commands && b->loop && b->statement && b->template ? HD_OK : HD_EVERSION;
}

/* create and start of a plugin that has nothing but a base. */
static inline int32_t create_base(hd_host *host, void **self, struct hd_error *err)
{
    (void)err;
    return make_self(host, sizeof(struct base), self);
}

static inline int32_t start_base(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)conf;
    (void)err;
    return get_services(self);
}

static inline int32_t check_nothing(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)self;
    (void)conf;
    (void)err;
    return HD_OK;
}

static inline void reload_nothing(void *self, const struct hd_conf *conf)
{
    (void)self;
    (void)conf;
}

static inline int32_t stop_nothing(void *self)
{
    (void)self;
    return HD_OK;
}

/* What make_self has made. */
static inline void free_self(void *self)
{
    pthread_mutex_destroy(&((struct base *)self)->lock);
    free(self);
}

/* --- the descriptor ------------------------------------------------------------------------------------ */

/* Filled by a plugin that is a filter. */
static const struct hd_filter_v1 filter;

/* The capability of a plugin that is a filter and nothing else. */
static inline const void *filter_alone(const char *name)
{
    return strcmp(name, HD_CAP_FILTER) ? NULL : &filter;
}

/* The capability of a plugin that has none. */
static inline const void *no_capability(const char *name)
{
    (void)name;
    return NULL;
}

/* The plan of a filter that answers or refuses whatever is marked. */
static inline int32_t plan_to_decide(void *self, void *ws, const hd_template *t, struct hd_plan *out)
{
    (void)self;
    (void)ws;
    (void)t;
    out->want = HD_WANT_DECIDE | HD_WANT_REPLACE;
    return HD_OK;
}

#define TEST_PLUGIN_HEAD HD_PLUGIN_HEAD, .version = "1.0", .vendor = "tests", .licence = "Apache-2.0"
/* What most of them do in between create and start, and at the end. */
#define TEST_PLUGIN_QUIET                                                                                    \
    .check = check_nothing, .reload = reload_nothing, .stop = stop_nothing, .destroy = free_self
#define NO_OPTIONS                                                                                           \
    {                                                                                                        \
        .size = sizeof(struct hd_options)                                                                    \
    }

/* --- marks --------------------------------------------------------------------------------------------- */

/* What follows the mark in the statement's text, or NULL. */
static inline const char *after_mark(const struct hd_statement *st, const char *mark)
{
    size_t len = strlen(mark);
    const char *at = st->sql.len ? memmem(st->sql.ptr, st->sql.len, mark, len) : NULL;

    return at ? at + len : NULL;
}

#endif
