/*
 * Silences: alerts of which nothing is said for a time; see engine.h.
 *
 * Matchers are words such as rule=p95 or node=pg*, all of which must hold; an alert that has no such label
 * does not match.
 */
#include "alerts/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 1000 /* a matcher as a whole has no more */

/* The next word, split at its first =. 0: there is none. */
static int next_word(const char **at, char name[WORD_MAX], char value[WORD_MAX])
{
    size_t len, cut;

    *at += strspn(*at, " ");
    len = strcspn(*at, " ");
    cut = strcspn(*at, "= ");
    if (!len)
        return 0;
    snprintf(name, WORD_MAX, "%.*s", (int)cut, *at);
    snprintf(value, WORD_MAX, "%.*s", cut < len ? (int)(len - cut - 1) : 0, *at + cut + 1);
    *at += len;
    return 1;
}

static int32_t check(const char *matchers, struct hd_error *err)
{
    char name[WORD_MAX], value[WORD_MAX];
    const char *at = matchers;
    int words = 0;

    while (next_word(&at, name, value)) {
        if (!*name || !*value)
            return hd_error_set(err, HD_EINVAL, "\"%.60s\" is no rule=NAME or LABEL=VALUE", matchers);
        words++;
    }
    return words ? HD_OK : hd_error_set(err, HD_EINVAL, "what is to be silenced: rule=NAME or LABEL=VALUE");
}

int32_t al_silence_check(struct al_engine *e, const char *matchers, struct hd_error *err)
{
    char name[WORD_MAX], value[WORD_MAX];
    const char *at = matchers;

    while (next_word(&at, name, value))
        if (strcmp(name, "rule") == 0 && !strchr(value, '*') && !al_engine_rule(e, value))
            return hd_error_set(err, HD_ENOENT, "there is no rule \"%.60s\"; SHOW ALERT RULES lists them",
                                value);
    return HD_OK;
}

const char *al_silence_add(struct al_engine *e, const char *matchers, const char *comment, struct hd_str user,
                           uint64_t until_ms, int64_t made_us, struct hd_error *err)
{
    struct al_silence *s = &e->silences[e->silence_count];
    uint64_t h;

    if (check(matchers, err))
        return NULL;
    if (e->silence_count == AL_SILENCES_MAX) {
        hd_error_set(err, HD_EFULL, "there are %d silences already; UNSILENCE some", AL_SILENCES_MAX);
        return NULL;
    }
    memset(s, 0, sizeof(*s));
    s->matchers = strdup(matchers);
    s->comment = strdup(comment);
    if (!s->matchers || !s->comment) {
        free(s->matchers);
        free(s->comment);
        hd_error_set(err, HD_ENOMEM, "no memory for the silence");
        return NULL;
    }
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
    free(e->silences[i].matchers);
    free(e->silences[i].comment);
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
}

static int meets(const struct al_silence *s, const struct al_alert *a)
{
    char name[WORD_MAX], pattern[WORD_MAX];
    const char *at = s->matchers;

    while (next_word(&at, name, pattern)) {
        const char *value = strcmp(name, "rule") == 0 ? a->rule_name : al_labels_get(a->labels, name);

        if (!value || !al_matches(pattern, value))
            return 0;
    }
    return 1;
}

int al_silenced(const struct al_engine *e, const struct al_alert *a)
{
    for (uint32_t i = 0; i < e->silence_count; i++)
        if (meets(&e->silences[i], a))
            return 1;
    return 0;
}
