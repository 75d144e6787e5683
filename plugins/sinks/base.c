/*
 * Targets and their configuration; see base.h.
 */
#include "sinks/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t sink_create(hd_host *host, void **out, struct hd_error *err)
{
    struct sink *s = calloc(1, sizeof(*s));

    if (!s || pthread_mutex_init(&s->lock, NULL)) {
        free(s);
        return hd_error_set(err, HD_ENOMEM, "no memory for the plugin");
    }
    s->host = host;
    s->kind = sink_plugin.kind;
    *out = s;
    return HD_OK;
}

void sink_destroy(void *self)
{
    struct sink *s = self;

    pthread_mutex_destroy(&s->lock);
    free(s);
}

void sink_reload(void *self, const struct hd_conf *conf)
{
    struct sink *s = self;

    pthread_mutex_lock(&s->lock);
    s->conf = conf;
    pthread_mutex_unlock(&s->lock);
}

int32_t sink_start(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    (void)err;
    sink_reload(self, conf);
    return HD_OK;
}

int32_t sink_stop(void *self)
{
    (void)self;
    return HD_OK;
}

const void *sink_capability(const char *name)
{
    return strcmp(name, HD_CAP_ALERT_SINK) == 0 ? &sink_plugin.v1 : NULL;
}

/* --- targets ---------------------------------------------------------------------------------------------
 */

static int is_target(const struct sink *s, const struct hd_section *section)
{
    return strcmp(section->kind, s->kind->kind) == 0;
}

const char *sink_target(void *self, uint32_t i)
{
    struct sink *s = self;

    for (uint32_t k = 0; k < s->conf->section_count; k++)
        if (is_target(s, &s->conf->sections[k]) && !i--)
            return s->conf->sections[k].name;
    return NULL;
}

int32_t sink_check(void *self, const struct hd_conf *conf, struct hd_error *err)
{
    struct hd_error inner = HD_ERROR_INIT;

    (void)self;
    for (uint32_t i = 0; i < conf->section_count; i++) {
        const struct hd_section *s = &conf->sections[i];

        if (strchr(s->name, ',') || strlen(s->name) > 40)
            return hd_error_set(err, HD_EINVAL, "%s: [%s %s]: a name has at most 40 bytes and no comma",
                                s->origin, s->kind, s->name);
        if (sink_plugin.check(s->conf, &inner))
            return hd_error_set(err, inner.code, "%s: [%s %s]: %s", s->origin, s->kind, s->name, inner.text);
    }
    return HD_OK;
}

/* --- copies ----------------------------------------------------------------------------------------------
 */

struct copy {
    size_t bytes; /* of all of it */
    max_align_t conf[];
};

static int is_text(const struct hd_option *o)
{
    return o->type == HD_OPT_STRING || o->type == HD_OPT_SECRET;
}

static size_t rounded(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static size_t bytes_of(const struct hd_options *options, const char *conf)
{
    size_t bytes = rounded(options->conf_size);

    for (uint32_t i = 0; i < options->count; i++) {
        const struct hd_option *o = &options->table[i];
        const void *member = conf + o->offset;

        if (is_text(o))
            bytes += rounded(((const struct hd_str *)member)->len + 1);
        if (o->type != HD_OPT_LIST)
            continue;
        for (uint64_t k = 0; k < ((const struct hd_str_list *)member)->count; k++)
            bytes += sizeof(struct hd_str) + rounded(((const struct hd_str_list *)member)->items[k].len + 1);
    }
    return bytes;
}

static void copy_text(struct hd_str *s, char **at)
{
    if (s->len)
        memcpy(*at, s->ptr, s->len);
    (*at)[s->len] = '\0';
    s->ptr = *at;
    *at += rounded(s->len + 1);
}

static void copy_list(struct hd_str_list *l, char **at)
{
    struct hd_str *items = (struct hd_str *)(void *)*at;

    *at += l->count * sizeof(*items);
    for (uint64_t i = 0; i < l->count; i++) {
        items[i] = l->items[i];
        copy_text(&items[i], at);
    }
    l->items = items;
}

static void *copy_conf(const struct hd_options *options, const void *conf)
{
    size_t bytes = bytes_of(options, conf);
    struct copy *c = calloc(1, sizeof(*c) + bytes);
    char *to, *at;

    if (!c)
        return NULL;
    c->bytes = bytes;
    to = (char *)c->conf;
    memcpy(to, conf, options->conf_size);
    at = to + rounded(options->conf_size);
    for (uint32_t i = 0; i < options->count; i++) {
        const struct hd_option *o = &options->table[i];

        if (is_text(o))
            copy_text((struct hd_str *)(void *)(to + o->offset), &at);
        else if (o->type == HD_OPT_LIST)
            copy_list((struct hd_str_list *)(void *)(to + o->offset), &at);
    }
    return to;
}

void *sink_get(struct sink *s, const char *target)
{
    void *copy = NULL;

    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->conf->section_count && !copy; i++)
        if (is_target(s, &s->conf->sections[i]) && strcmp(s->conf->sections[i].name, target) == 0)
            copy = copy_conf(&s->kind->options, s->conf->sections[i].conf);
    pthread_mutex_unlock(&s->lock);
    return copy;
}

void sink_put(struct sink *s, void *conf)
{
    struct copy *c = conf ? (struct copy *)(void *)((char *)conf - offsetof(struct copy, conf)) : NULL;

    (void)s;
    if (c)
        explicit_bzero(c->conf, c->bytes);
    free(c);
}

/* --- texts -----------------------------------------------------------------------------------------------
 */

static int is_control(char c)
{
    return (c >= 0 && c < ' ') || c == 0x7f;
}

int sink_is_line(struct hd_str s)
{
    for (uint64_t i = 0; i < s.len; i++)
        if (is_control(s.ptr[i]))
            return 0;
    return 1;
}

void sink_line(char *out, size_t room, const char *s)
{
    size_t i = 0;

    for (; s[i] && i + 1 < room; i++)
        out[i] = is_control(s[i]) ? ' ' : s[i];
    out[i] = '\0';
}
