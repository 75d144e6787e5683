/*
 * Keeps the environment's PG… variables out of libpq's sight; see environment.h.
 */
#include "host/environment.h"
#include "base/alloc.h"

#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **kept; /* "PGUSER=app", ended by NULL; NULL: nothing was taken out yet */

static int is_pg(const char *entry)
{
    return !strncmp(entry, "PG", 2);
}

static void unset(const char *entry)
{
    char *name = hd_strndup(entry, strcspn(entry, "="));

    if (name)
        unsetenv(name);
    hd_free(name);
}

int hd_environment_keep_pg(void)
{
    size_t n = 0, i = 0;

    if (kept)
        return HD_OK;
    for (char **e = environ; e && *e; e++)
        n += is_pg(*e);
    kept = hd_calloc(n + 1, sizeof(*kept));
    if (!kept)
        return HD_ENOMEM;
    for (char **e = environ; e && *e; e++) {
        if (!is_pg(*e))
            continue;
        kept[i] = hd_strdup(*e);
        if (!kept[i++]) {
            hd_environment_free();
            return HD_ENOMEM;
        }
    }
    for (i = 0; i < n; i++)
        unset(kept[i]);
    return HD_OK;
}

const char *hd_environment_get(const char *name)
{
    size_t len = strlen(name);

    for (char **e = kept; e && *e; e++)
        if (!strncmp(*e, name, len) && (*e)[len] == '=')
            return *e + len + 1;
    return getenv(name);
}

void hd_environment_give_back(void)
{
    for (char **e = kept; e && *e; e++)
        putenv(*e);
}

void hd_environment_free(void)
{
    for (char **e = kept; e && *e; e++)
        hd_free(*e);
    hd_free(kept);
    kept = NULL;
}
