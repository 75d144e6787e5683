/*
 * Notes: what was done, so that it is not done again after a restart; see store.h.
 */
#include "store_parts.h"

int mon_store_has_note(struct mon_store *s, const char *key)
{
    sqlite3_stmt *get = s->st[NOTE_GET];
    int found;

    if (!s->db)
        return 0;
    sqlite3_bind_text(get, 1, key, -1, SQLITE_STATIC);
    found = sqlite3_step(get) == SQLITE_ROW;
    sqlite3_reset(get);
    return found;
}

int32_t mon_store_note(struct mon_store *s, const char *key, int64_t time)
{
    sqlite3_stmt *put = s->st[NOTE_PUT];

    if (!s->db)
        return HD_EIO;
    sqlite3_bind_text(put, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_int64(put, 2, time);
    return mon_store_run(put);
}
