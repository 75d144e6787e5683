/* What the parts of the store share. */
#ifndef MONITOR_STORE_PARTS_H
#define MONITOR_STORE_PARTS_H

#include "store.h"

#include <sqlite3.h>

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    SERIES_ADD,
    SERIES_FIND,
    BLOCK_GET,
    BLOCK_PUT,
    BLOCK_READ,
    BLOCKS_AT,
    TEMPLATE_GET,
    TEMPLATE_PUT,
    TEMPLATE_READ,
    TEXT_PUT,
    EVENT_PUT,
    EVENT_READ,
    NOTE_GET,
    NOTE_PUT,
    STATEMENTS
};

/* A series of this process. */
struct mon_name {
    char *key, *unit;
    int64_t id; /* in the file; 0: not known yet */
};

struct mon_store {
    char *path;
    int64_t max_size;
    sqlite3 *db; /* NULL: not open */
    sqlite3_stmt *st[STATEMENTS];
    struct mon_name *names; /* by the process' numbers */
    uint32_t name_room;
    int64_t rolled; /* hours before this one (since 1970) are made already, as of the last begin */
};

/* The code for an SQLite result that is none of OK, ROW and DONE. */
int32_t mon_store_code(int rc);
/* The first column of the first row; 0: there is none. */
int64_t mon_store_number(struct mon_store *s, const char *sql);
/* Which numbers the file has for series is looked up anew. */
void mon_store_forget_ids(struct mon_store *s);
/* Pages that the file may have. */
int64_t mon_store_bound(struct mon_store *s);
/* Lets SQLite keep to that, or to what the file has where that is more; an SQLite result. */
int mon_store_set_bound(struct mon_store *s);
/* Runs a statement that gives no rows, and makes it ready again. */
int32_t mon_store_run(sqlite3_stmt *st);
/* Gives up what began: nothing of it is kept. */
int32_t mon_store_undo(struct mon_store *s, int32_t code);

#endif
