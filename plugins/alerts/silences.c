/*
 * Silences: alerts of which nothing is said for a time; see engine.h.
 */
#include "alerts/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int32_t al_silence_check(struct al_engine *e, const struct al_matchers *m, struct hd_error *err)
{
    const char *rule;

    for (uint32_t i = 0; (rule = al_matchers_exact(m, "rule", i)); i++)
        if (!al_engine_rule(e, rule))
            return hd_error_set(err, HD_ENOENT, "there is no rule \"%.60s\"; SHOW ALERT RULES lists them",
                                rule);
    return HD_OK;
}

static void drop(struct al_silence *s)
{
    al_matchers_free(s->parsed);
    free(s->matchers);
    free(s->comment);
}

static int32_t make(struct al_silence *s, const char *matchers, const char *comment, struct hd_error *err)
{
    int32_t code;

    memset(s, 0, sizeof(*s));
    s->parsed = al_matchers_new();
    s->matchers = strdup(matchers);
    s->comment = strdup(comment);
    if (!s->parsed || !s->matchers || !s->comment)
        code = hd_error_set(err, HD_ENOMEM, "no memory for the silence");
    else
        code = al_matchers_add(s->parsed, matchers, 0, err);
    if (code == HD_OK)
        code = al_matchers_check(s->parsed, err);
    if (code)
        drop(s);
    return code;
}

/* Room for one more. */
static int32_t make_room(struct al_engine *e, struct hd_error *err)
{
    struct al_silence *more;

    if (e->silence_count >= e->policy.max_silences)
        return hd_error_set(err, HD_EFULL, "there are %u silences already (max_silences); UNSILENCE some",
                            e->silence_count);
    more = realloc(e->silences, (e->silence_count + 1) * sizeof(*more));
    if (!more)
        return hd_error_set(err, HD_ENOMEM, "no memory for the silence");
    e->silences = more;
    return HD_OK;
}

const char *al_silence_add(struct al_engine *e, const char *matchers, const char *comment, struct hd_str user,
                           uint64_t until_ms, int64_t made_us, struct hd_error *err)
{
    struct al_silence *s;
    uint64_t h;

    if (make_room(e, err) || make(&e->silences[e->silence_count], matchers, comment, err))
        return NULL;
    s = &e->silences[e->silence_count];
    snprintf(s->user, sizeof(s->user), "%.*s", (int)user.len, user.len ? user.ptr : "");
    s->until_ms = until_ms;
    s->made_us = made_us;
    h = al_hash(al_hash((uint64_t)made_us + e->silence_count, matchers), comment);
    snprintf(s->id, sizeof(s->id), "%08llx", (unsigned long long)(h & 0xffffffff));
    e->silence_count++;
    e->changed = 1;
    return s->id;
}

static void end_at(struct al_engine *e, uint32_t i)
{
    drop(&e->silences[i]);
    e->silences[i] = e->silences[--e->silence_count];
    e->changed = 1;
}

int32_t al_silence_end(struct al_engine *e, const char *id)
{
    for (uint32_t i = 0; i < e->silence_count; i++)
        if (strcmp(e->silences[i].id, id) == 0) {
            end_at(e, i);
            return HD_OK;
        }
    return HD_ENOENT;
}

void al_silences_expire(struct al_engine *e)
{
    for (uint32_t i = e->silence_count; i-- > 0;)
        if (e->silences[i].until_ms <= e->now_ms)
            end_at(e, i);
}

void al_silences_free(struct al_engine *e)
{
    while (e->silence_count)
        end_at(e, e->silence_count - 1);
    free(e->silences);
    e->silences = NULL;
}

int al_silenced(const struct al_engine *e, const struct al_alert *a)
{
    for (uint32_t i = 0; i < e->silence_count; i++)
        if (al_matchers_meet(e->silences[i].parsed, a->rule_name, a->labels))
            return 1;
    return 0;
}
