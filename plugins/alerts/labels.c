/*
 * Labels; see labels.h.
 */
#include "alerts/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct hd_label *)a)->name, ((const struct hd_label *)b)->name);
}

/* Length of the character of UTF-8 at s; 0: the bytes are none. */
static size_t character(const unsigned char *s)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : (s[0] & 0xf0) == 0xe0       ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;

    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* Bytes that are no UTF-8, as names of databases may have them, become \\xNN, as SHOW METRICS shows them. */
static char *put(char *to, const char *s)
{
    while (*s) {
        size_t n = character((const unsigned char *)s);

        if (n)
            memcpy(to, s, n);
        else
            snprintf(to, 5, "\\x%02x", (unsigned char)*s);
        to += n ? n : 4;
        s += n ? n : 1;
    }
    *to = '\0';
    return to;
}

static size_t room_for(const char *s)
{
    size_t bytes = 1;

    while (*s) {
        size_t n = character((const unsigned char *)s);

        bytes += n ? n : 4;
        s += n ? n : 1;
    }
    return bytes;
}

struct al_labels *al_labels_new(const struct hd_label *labels, uint32_t count)
{
    size_t bytes = sizeof(struct al_labels);
    struct al_labels *l;
    char *at;

    if (count > AL_LABELS_MAX)
        count = AL_LABELS_MAX;
    for (uint32_t i = 0; i < count; i++)
        bytes += strlen(labels[i].name) + 1 + room_for(labels[i].value);
    l = calloc(1, bytes);
    if (!l)
        return NULL;
    l->count = count;
    l->bytes = (uint32_t)bytes;
    at = l->text;
    for (uint32_t i = 0; i < count; i++) {
        l->at[i].name = at;
        at = stpcpy(at, labels[i].name) + 1;
        l->at[i].value = at;
        at = put(at, labels[i].value) + 1;
    }
    qsort(l->at, count, sizeof(l->at[0]), by_name);
    return l;
}

struct al_labels *al_labels_copy(const struct al_labels *l)
{
    return al_labels_new(l->at, l->count);
}

int al_labels_equal(const struct al_labels *a, const struct al_labels *b)
{
    if (a->count != b->count)
        return 0;
    for (uint32_t i = 0; i < a->count; i++)
        if (strcmp(a->at[i].name, b->at[i].name) != 0 || strcmp(a->at[i].value, b->at[i].value) != 0)
            return 0;
    return 1;
}

const char *al_labels_get(const struct al_labels *l, const char *name)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (strcmp(l->at[i].name, name) == 0)
            return l->at[i].value;
    return NULL;
}

void al_labels_print(const struct al_labels *l, char *out, size_t room)
{
    size_t len = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < l->count && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, "%s%s=\"%s\"", i ? "," : "", l->at[i].name,
                                l->at[i].value);
}

/* FNV-1a, and a finalizer so that all bits depend on all. The NUL is part of it, so that texts do not run
 * into each other. */
uint64_t al_hash(uint64_t seed, const char *text)
{
    uint64_t h = seed ? seed : 0xcbf29ce484222325u;

    do {
        h = (h ^ (unsigned char)*text) * 0x100000001b3u;
    } while (*text++);
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

void al_id(const char *rule, const struct al_labels *l, char out[17])
{
    uint64_t h = al_hash(0, rule);

    for (uint32_t i = 0; i < l->count; i++)
        h = al_hash(al_hash(h, l->at[i].name), l->at[i].value);
    snprintf(out, 17, "%016llx", (unsigned long long)h);
}

int al_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *back = text;

    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            back = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++back;
        } else {
            return 0;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}
