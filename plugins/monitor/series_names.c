/* What series are called and counted in; see series_names.h. */
#include "series_names.h"

#include <stdlib.h>
#include <string.h>

static int ends(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);

    return n >= k && strcmp(s + n - k, tail) == 0;
}

double mon_series_scale(const char *name)
{
    return ends(name, "_seconds") || ends(name, "_seconds_total") ? 1e-9 : 1;
}

const char *mon_series_unit(const char *name, int rate)
{
    if (ends(name, "_seconds") || ends(name, "_seconds_total"))
        return rate ? "s/s" : "s";
    if (ends(name, "_bytes") || ends(name, "_bytes_total"))
        return rate ? "B/s" : "B";
    if (ends(name, "_percent"))
        return "%";
    return rate ? "1/s" : "1";
}

char *mon_series_key(const struct hd_metric_seen *m, const char *tail)
{
    size_t len = strlen(m->name) + strlen(tail) + 3;
    char *key, *at;

    for (uint32_t i = 0; i < m->label_count; i++)
        len += strlen(m->labels[i].name) + strlen(m->labels[i].value) + 2;
    key = malloc(len);
    if (!key)
        return NULL;
    at = stpcpy(stpcpy(key, m->name), tail);
    for (uint32_t i = 0; i < m->label_count; i++) {
        at = stpcpy(stpcpy(at, i ? "," : "{"), m->labels[i].name);
        at = stpcpy(stpcpy(at, "="), m->labels[i].value);
    }
    if (m->label_count)
        stpcpy(at, "}");
    return key;
}
