/*
 * The names of kinds of statement; see kinds.h.
 */
#include "kinds.h"

#include <string.h>
#include <strings.h>

#define K(kind) HD_KIND_BIT(kind)

#define WRITES (K(INSERT) | K(UPDATE) | K(DELETE) | K(MERGE) | K(COPY_FROM) | K(TRUNCATE))
#define TRANSACTION                                                                                          \
    (K(BEGIN) | K(COMMIT) | K(ROLLBACK) | K(SAVEPOINT) | K(RELEASE) | K(ROLLBACK_TO) | K(PREPARE_TXN) |      \
     K(COMMIT_PREPARED) | K(ROLLBACK_PREPARED))

struct name {
    const char *name;
    uint64_t kinds;
};

/* What a rule may say. */
static const struct name names[] = {
    {"select", K(SELECT)},
    {"insert", K(INSERT)},
    {"update", K(UPDATE)},
    {"delete", K(DELETE)},
    {"merge", K(MERGE)},
    {"copy", K(COPY_FROM) | K(COPY_TO)},
    {"copy_from", K(COPY_FROM)},
    {"copy_to", K(COPY_TO)},
    {"truncate", K(TRUNCATE)},
    {"writes", WRITES},
    {"ddl", K(DDL)},
    {"privilege", K(PRIVILEGE)},
    {"maintenance", K(MAINTENANCE)},
    {"do", K(DO)},
    {"call", K(CALL)},
    {"lock", K(LOCK)},
    {"load", K(LOAD)},
    {"explain", K(EXPLAIN)},
    {"set", K(SET) | K(SET_LOCAL)},
    {"reset", K(RESET)},
    {"show", K(SHOW)},
    {"discard", K(DISCARD)},
    {"prepare", K(PREPARE)},
    {"execute", K(EXECUTE)},
    {"deallocate", K(DEALLOCATE)},
    {"cursor", K(DECLARE) | K(FETCH) | K(CLOSE)},
    {"listen", K(LISTEN)},
    {"unlisten", K(UNLISTEN)},
    {"notify", K(NOTIFY)},
    {"transaction", TRANSACTION},
    {"other", K(OTHER)},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

uint64_t guard_kinds_named(struct hd_str name)
{
    for (size_t i = 0; i < COUNT(names); i++)
        if (name.len == strlen(names[i].name) && strncasecmp(name.ptr, names[i].name, name.len) == 0)
            return names[i].kinds;
    return 0;
}

/* Insertions, deletions and exchanges that make one word the other; words are cut at 31 letters. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[32];

    a_len = a_len < 31 ? a_len : 31;
    b_len = b_len < 31 ? b_len : 31;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned corner = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = corner + (a[i - 1] != b[j - 1]);

            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[b_len];
}

const char *guard_kinds_nearest(struct hd_str name)
{
    const char *nearest = names[0].name;
    unsigned best = ~0u;

    for (size_t i = 0; i < COUNT(names); i++) {
        unsigned d = distance(name.ptr, name.len, names[i].name, strlen(names[i].name));

        if (d < best) {
            best = d;
            nearest = names[i].name;
        }
    }
    return nearest;
}
