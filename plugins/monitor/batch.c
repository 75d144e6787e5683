/* What is on its way to the history; see batch.h. */
#include "batch.h"

#include <stdlib.h>
#include <string.h>

struct mon_batch *mon_batch_new(void)
{
    return calloc(1, sizeof(struct mon_batch));
}

static void free_template(struct mon_template *t)
{
    free((char *)t->database);
    free((char *)t->user);
    free((char *)t->text);
    free(t->bins);
}

static void thin(struct mon_batch *b)
{
    b->put_count = b->value_count = 0;
    for (uint32_t i = 0; i < b->template_count; i++)
        free_template(&b->templates[i]);
    for (uint32_t i = 0; i < b->event_count; i++) {
        free((char *)b->events[i].topic);
        free((char *)b->events[i].subject);
        free((char *)b->events[i].text);
    }
    b->template_count = b->event_count = 0;
}

void mon_batch_free(struct mon_batch *b)
{
    if (!b)
        return;
    thin(b);
    for (uint32_t i = 0; i < b->define_count; i++)
        free(b->defines[i].key);
    free(b->defines);
    free(b->templates);
    free(b->events);
    free(b->values);
    free(b->puts);
    free(b);
}

/* Room for `more` members of an array. */
static void *grown(void *array, uint32_t count, uint32_t more, uint32_t *room, size_t size)
{
    uint32_t want = *room ? *room : 64;
    void *bigger;

    if (count + more <= *room)
        return array;
    while (want < count + more)
        want *= 2;
    bigger = realloc(array, want * size);
    if (bigger)
        *room = want;
    return bigger;
}

int32_t mon_batch_put(struct mon_batch *b, uint32_t number, int grain, int64_t time, const float *values,
                      uint32_t count)
{
    uint32_t n = count * mon_grains[grain].width;
    void *puts = grown(b->puts, b->put_count, 1, &b->put_room, sizeof(*b->puts)), *floats;

    if (!puts)
        return HD_ENOMEM;
    b->puts = puts;
    floats = grown(b->values, b->value_count, n, &b->value_room, sizeof(*b->values));
    if (!floats)
        return HD_ENOMEM;
    b->values = floats;
    b->puts[b->put_count++] = (struct mon_put){number, grain, time, count, b->value_count};
    memcpy(b->values + b->value_count, values, n * sizeof(*values));
    b->value_count += n;
    return HD_OK;
}

void mon_batch_inherit(struct mon_batch *b, struct mon_batch *older)
{
    void *defines =
        grown(b->defines, b->define_count, older->define_count, &b->define_room, sizeof(*b->defines));

    if (defines && older->define_count) {
        b->defines = defines;
        memmove(b->defines + older->define_count, b->defines, b->define_count * sizeof(*b->defines));
        memcpy(b->defines, older->defines, older->define_count * sizeof(*b->defines));
        b->define_count += older->define_count;
        older->define_count = 0;
    }
    mon_batch_free(older);
}

int32_t mon_batch_define(struct mon_batch *b, uint32_t number, const char *key, const char *unit)
{
    void *defines = grown(b->defines, b->define_count, 1, &b->define_room, sizeof(*b->defines));
    char *copy = defines ? strdup(key) : NULL;

    if (defines)
        b->defines = defines;
    if (!copy)
        return HD_ENOMEM;
    b->defines[b->define_count++] = (struct mon_define){number, copy, unit};
    return HD_OK;
}

int32_t mon_batch_template(struct mon_batch *b, const struct mon_template *t)
{
    void *templates = grown(b->templates, b->template_count, 1, &b->template_room, sizeof(*b->templates));
    struct mon_template copy = *t;

    if (!templates)
        return HD_ENOMEM;
    b->templates = templates;
    copy.database = strdup(t->database);
    copy.user = strdup(t->user);
    copy.text = strdup(t->text);
    copy.bins = malloc((t->bin_count + 1) * sizeof(*t->bins));
    if (!copy.database || !copy.user || !copy.text || !copy.bins) {
        free_template(&copy);
        return HD_ENOMEM;
    }
    if (t->bin_count)
        memcpy(copy.bins, t->bins, t->bin_count * sizeof(*t->bins));
    b->templates[b->template_count++] = copy;
    return HD_OK;
}

int32_t mon_batch_event(struct mon_batch *b, int64_t time, const char *topic, const char *subject,
                        const char *text)
{
    void *events = grown(b->events, b->event_count, 1, &b->event_room, sizeof(*b->events));
    struct mon_event e = {time, strdup(topic), strdup(subject), strdup(text)};

    if (events)
        b->events = events;
    if (!events || !e.topic || !e.subject || !e.text) {
        free((char *)e.topic);
        free((char *)e.subject);
        free((char *)e.text);
        return HD_ENOMEM;
    }
    b->events[b->event_count++] = e;
    return HD_OK;
}

static int32_t write_puts(const struct mon_batch *b, struct mon_store *s, uint64_t *lost)
{
    int32_t code = HD_OK;

    for (uint32_t i = 0; !code && i < b->put_count; i++) {
        const struct mon_put *p = &b->puts[i];

        code = mon_store_put(s, p->number, p->grain, p->time, b->values + p->values, p->count);
        if (code == HD_ENOENT) {
            *lost += p->count;
            code = HD_OK;
        }
    }
    return code;
}

int32_t mon_batch_write(const struct mon_batch *b, struct mon_store *s, uint64_t *lost)
{
    int32_t code = HD_OK;

    for (uint32_t i = 0; !code && i < b->define_count; i++)
        code = mon_store_define(s, b->defines[i].number, b->defines[i].key, b->defines[i].unit);
    if (!code)
        code = mon_store_begin(s);
    if (!code)
        code = write_puts(b, s, lost);
    for (uint32_t i = 0; !code && i < b->template_count; i++) {
        code = mon_store_add_template(s, MON_MINUTE, b->template_time, &b->templates[i]);
        if (!code)
            code = mon_store_add_template(s, MON_HOUR, b->template_time, &b->templates[i]);
    }
    for (uint32_t i = 0; !code && i < b->event_count; i++) {
        const struct mon_event *e = &b->events[i];

        code = mon_store_add_event(s, e->time, e->topic, e->subject, e->text);
    }
    return code ? code : mon_store_commit(s);
}
