/*
 * What can go wrong with the monitor's history on disk: a process that is killed while it writes, files that
 * are damaged or somebody else's, a clock that was wrong, and thirteen months of samples.
 */
#include "monitor_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* What SQLite says of the file, or of one of its numbers. */
static void ask(const char *sql, char answer[100])
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;

    answer[0] = 0;
    if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        snprintf(answer, 100, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    sqlite3_close(db);
}

static void rewrite(const char *sql)
{
    sqlite3 *db = NULL;

    CU_ASSERT_EQUAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* --- kill -9 ---------------------------------------------------------------------------------------------
 */

/* Writes until it is killed, and says which seconds are committed. */
static void write_on(int to)
{
    struct mon_store *s = opened(MB);

    for (int64_t n = 0;; n++) {
        int32_t code = put(s, MON_SECOND, HOUR + n, 1);

        if (code == HD_EFULL)
            code = mon_store_make_room(s, HOUR + n);
        if (code || write(to, &n, sizeof(n)) != sizeof(n))
            _exit(1);
    }
}

/* The last second that the child has committed before it was killed, after `wait_us`; -1: none. */
static int64_t killed_after(long wait_us)
{
    int fds[2];
    int64_t n, last = -1;
    struct timespec ts = {.tv_nsec = wait_us * 1000};
    pid_t pid;
    int status;

    CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
    pid = fork();
    if (!pid) {
        close(fds[0]);
        write_on(fds[1]);
    }
    close(fds[1]);
    nanosleep(&ts, NULL);
    kill(pid, SIGKILL);
    while (read(fds[0], &n, sizeof(n)) == sizeof(n))
        last = n;
    close(fds[0]);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFSIGNALED(status));
    return last;
}

static void killed_while_writing(void)
{
    char answer[100];

    for (long round = 1; round <= 20; round++) {
        struct mon_store *s;
        int64_t last;

        make_folder();
        last = killed_after(round * round * 300 % 60000);
        s = opened(MB);
        if (last >= 0) {
            /* All that was committed is there, and one more at most. */
            CU_ASSERT(got(s, MON_SECOND, HOUR + last, HOUR + last + 1).count == 1);
            CU_ASSERT(got(s, MON_SECOND, HOUR + last, HOUR + last + 100).count <= 2);
        }
        CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR + last + 10, 1), HD_OK);
        mon_store_free(s);
        ask("PRAGMA integrity_check", answer);
        CU_ASSERT_STRING_EQUAL(answer, "ok");
        CU_ASSERT_EQUAL(access(aside, F_OK), -1);
        remove_folder();
    }
}

/* --- a bound that was lowered ------------------------------------------------------------------------------
 */

#define LEAST MB /* that it is lowered to */

/* Some MB of seconds, up to HOUR + 60 * BLOCKS. */
#define BLOCKS 12000

static void fill(void)
{
    struct mon_store *s = opened(64 * MB);
    float v[60] = {1};

    CU_ASSERT_EQUAL(mon_store_begin(s), HD_OK);
    for (int i = 0; i < BLOCKS; i++)
        CU_ASSERT_EQUAL(mon_store_put(s, 0, MON_SECOND, HOUR + 60 * i, v, 60), HD_OK);
    CU_ASSERT_EQUAL(mon_store_commit(s), HD_OK);
    CU_ASSERT(mon_store_bytes(s) > 3 * LEAST);
    mon_store_free(s);
}

static int64_t file_size(void)
{
    struct stat st;

    CU_ASSERT_EQUAL(stat(path, &st), 0);
    return st.st_size;
}

/* Shrinks to the end, and says before each step how large it is. */
static void shrink_on(int to)
{
    struct mon_store *s = opened(LEAST);
    int64_t size;

    do {
        size = mon_store_bytes(s);
        if (write(to, &size, sizeof(size)) != sizeof(size))
            _exit(1);
    } while (mon_store_shrink(s, HOUR + 60 * BLOCKS, 0) == HD_OK);
    _exit(1);
}

/* Killed when it has said `steps` times how large it is. */
static void kill_shrinking(int steps)
{
    int fds[2], status;
    int64_t size;
    pid_t pid;

    CU_ASSERT_EQUAL_FATAL(pipe(fds), 0);
    pid = fork();
    if (!pid) {
        close(fds[0]);
        shrink_on(fds[1]);
    }
    close(fds[1]);
    for (int i = 0; i < steps; i++)
        CU_ASSERT_EQUAL(read(fds[0], &size, sizeof(size)), sizeof(size));
    kill(pid, SIGKILL);
    close(fds[0]);
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* It is below the bound after so many steps at most, which never make it larger, and what is newest is there.
 */
static void shrink_to_the_end(int steps)
{
    struct mon_store *s = opened(LEAST);
    int64_t size = mon_store_bytes(s);
    char answer[100];
    float v[60] = {2};
    int32_t code = HD_OK;

    for (; steps && mon_store_bytes(s) > LEAST; steps--) {
        CU_ASSERT_EQUAL(mon_store_shrink(s, HOUR + 60 * BLOCKS, 0), HD_OK);
        CU_ASSERT(mon_store_bytes(s) <= size);
        size = mon_store_bytes(s);
    }
    CU_ASSERT(size <= LEAST);
    CU_ASSERT(file_size() <= LEAST);
    CU_ASSERT_EQUAL(got(s, MON_SECOND, HOUR + 60 * (BLOCKS - 100), HOUR + 60 * BLOCKS).count, 6000);
    CU_ASSERT_EQUAL(got(s, MON_SECOND, HOUR, HOUR + 60).count, 0);
    /* From then on the bound holds. */
    for (int i = 0; i < BLOCKS / 4; i++) {
        code = mon_store_begin(s);
        code = code ? code : mon_store_put(s, 0, MON_SECOND, HOUR + 60 * (BLOCKS + i), v, 60);
        code = code ? code : mon_store_commit(s);
        CU_ASSERT(code == HD_OK || mon_store_make_room(s, HOUR + 60 * (BLOCKS + i)) == HD_OK);
        CU_ASSERT_EQUAL(mon_store_shrink(s, HOUR + 60 * (BLOCKS + i), 0), HD_OK);
    }
    CU_ASSERT(mon_store_bytes(s) <= LEAST);
    mon_store_free(s);
    CU_ASSERT(file_size() <= LEAST);
    ask("PRAGMA integrity_check", answer);
    CU_ASSERT_STRING_EQUAL(answer, "ok");
}

static void lowered_bound(void)
{
    char answer[100];

    for (int older = 0; older < 2; older++) {
        make_folder();
        fill();
        if (older)
            rewrite("PRAGMA auto_vacuum = NONE; VACUUM");
        ask("PRAGMA auto_vacuum", answer);
        CU_ASSERT_STRING_EQUAL(answer, older ? "0" : "2");
        for (int steps = 1; steps < 16; steps += 3)
            kill_shrinking(steps);
        CU_ASSERT_EQUAL(access(aside, F_OK), -1);
        shrink_to_the_end(100);
        remove_folder();
    }
}

/* --- files that are not right ------------------------------------------------------------------------------
 */

static void write_file(const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CU_ASSERT_EQUAL(write(fd, bytes, size), (ssize_t)size);
    close(fd);
}

static void damaged_files(void)
{
    char garbage[20000];
    float value = 1;
    struct mon_store *s;
    struct stat st;

    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (char)(i * 7919 >> 3);
    make_folder();
    write_file(garbage, sizeof(garbage));
    s = opened(MB);
    CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR, 1), HD_OK);
    CU_ASSERT_EQUAL(stat(aside, &st), 0);
    CU_ASSERT_EQUAL(st.st_size, sizeof(garbage));
    mon_store_free(s);
    unlink(aside);

    /* Cut off anywhere it is put aside, or begun anew where nothing of it is left. */
    for (off_t size = 0; size < 40000; size += 4999) {
        unlink(path);
        s = opened(MB);
        CU_ASSERT_EQUAL(mon_store_begin(s), HD_OK);
        for (int i = 0; i < 300; i++)
            CU_ASSERT_EQUAL(mon_store_put(s, 0, MON_SECOND, HOUR + 60 * i, &value, 1), HD_OK);
        CU_ASSERT_EQUAL(mon_store_commit(s), HD_OK);
        mon_store_free(s);
        CU_ASSERT_EQUAL(truncate(path, size), 0);
        s = opened(MB);
        CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR, 1), HD_OK);
        CU_ASSERT_EQUAL(got(s, MON_SECOND, HOUR, HOUR + 10).count, 1);
        mon_store_free(s);
    }
    remove_folder();
}

/* Overwrites the pages that hold samples, and neither those of the tables nor of the indexes. */
static void damage_samples(void)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    char junk[4096];
    int fd = open(path, O_WRONLY), pages = 0;

    memset(junk, 0xa5, sizeof(junk));
    CU_ASSERT_EQUAL_FATAL(sqlite3_open(path, &db), SQLITE_OK);
    CU_ASSERT_EQUAL_FATAL(
        sqlite3_prepare_v2(db, "SELECT pageno FROM dbstat WHERE name = 'block' AND pagetype = 'leaf'", -1,
                           &st, NULL),
        SQLITE_OK);
    for (; sqlite3_step(st) == SQLITE_ROW; pages++)
        CU_ASSERT_EQUAL(
            pwrite(fd, junk, sizeof(junk), (off_t)(sqlite3_column_int64(st, 0) - 1) * (off_t)sizeof(junk)),
            (ssize_t)sizeof(junk));
    CU_ASSERT(pages > 1);
    sqlite3_finalize(st);
    sqlite3_close(db);
    close(fd);
}

static void damage_that_shows_later(void)
{
    struct mon_store *s;

    make_folder();
    s = opened(MB);
    for (int i = 0; i < 100; i++)
        CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR + 60 * i, 1), HD_OK);
    mon_store_free(s);
    damage_samples();
    s = opened(MB);
    CU_ASSERT_EQUAL(access(aside, F_OK), -1);
    CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR + 30, 2), HD_EPROTO);
    mon_store_put_aside(s);
    CU_ASSERT_EQUAL(access(aside, F_OK), 0);
    mon_store_free(s);
    s = opened(MB);
    CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR, 1), HD_OK);
    mon_store_free(s);
    remove_folder();
}

/* It is refused, says why, and is the same afterwards. */
static void refused(const char *change, const char *why)
{
    struct hd_error err = HD_ERROR_INIT;
    struct mon_store *s;
    char answer[100];

    make_folder();
    s = opened(MB);
    CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR, 1), HD_OK);
    mon_store_free(s);
    ask(change, answer);
    s = mon_store_new(path, MB);
    CU_ASSERT_EQUAL(mon_store_open(s, &err), HD_EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, why));
    CU_ASSERT_FALSE(mon_store_is_open(s));
    CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR, 1), HD_EIO);
    mon_store_free(s);
    CU_ASSERT_EQUAL(access(aside, F_OK), -1);
    ask("SELECT count(*) FROM block", answer);
    CU_ASSERT_STRING_EQUAL(answer, "1");
    remove_folder();
}

static void not_its_file(void)
{
    refused("PRAGMA application_id = 1212434434", "later version (format 2"); /* 0x48444802 */
    refused("PRAGMA application_id = 252006674", "another program");
}

/* --- clocks ----------------------------------------------------------------------------------------------
 */

static void wrong_clock(void)
{
    struct mon_store *s;
    int64_t now = HOUR + 20000;
    int32_t code;
    int rooms = 0;

    make_folder();
    s = opened(400000);
    CU_ASSERT_EQUAL(mon_store_newest(s), 0);
    /* Once the clock was ten years ahead, and once it was 1970. */
    CU_ASSERT_EQUAL(put(s, MON_SECOND, HOUR + 3650 * DAY, 1), HD_OK);
    CU_ASSERT_EQUAL(put(s, MON_SECOND, 100, 1), HD_OK);
    CU_ASSERT_EQUAL(mon_store_newest(s), (HOUR + 3650 * DAY) / 60 * 60);
    for (int64_t t = HOUR; t < now; t += 15) {
        code = put(s, MON_SECOND, t, 1);
        if (code == HD_EFULL) {
            CU_ASSERT_EQUAL(mon_store_make_room(s, t), HD_OK);
            rooms++;
            code = put(s, MON_SECOND, t, 1);
        }
        CU_ASSERT_EQUAL(code, HD_OK);
    }
    /* Neither made room at the cost of what is right: the first tenths were that of 1970, and the oldest. */
    for (; rooms < 3; rooms++)
        CU_ASSERT_EQUAL(mon_store_make_room(s, now), HD_OK);
    CU_ASSERT(got(s, MON_SECOND, now - 6000, now).count > 300);
    CU_ASSERT_EQUAL(got(s, MON_SECOND, 0, 1000).count, 0);
    /* An hour is made again when the clock comes back to it, and the same. */
    for (int i = 0; i < 60; i++)
        CU_ASSERT_EQUAL(put(s, MON_MINUTE, HOUR + 60 * i, (float)i), HD_OK);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 30 * DAY), HD_OK);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 3600), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).sum, 29.5);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR - DAY), HD_OK);
    CU_ASSERT_EQUAL(mon_store_roll(s, HOUR + 3600), HD_OK);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).count, 1);
    CU_ASSERT_EQUAL(got(s, MON_HOUR, HOUR, HOUR + 3600).sum, 29.5);
    mon_store_free(s);
    remove_folder();
}

/* --- thirteen months -------------------------------------------------------------------------------------
 */

#define SERIES 20

static int32_t add_day(struct mon_store *s, int64_t day)
{
    float v[24 * 3], minutes[60 * 3];
    int32_t code = mon_store_begin(s);

    for (int i = 0; i < 60 * 3; i++)
        minutes[i] = (float)i;
    for (int i = 0; i < 24 * 3; i++)
        v[i] = (float)(i / 3);
    for (uint32_t n = 0; !code && n < SERIES; n++) {
        code = mon_store_put(s, n, MON_HOUR, day, v, 24);
        for (int h = 0; !code && h < 24; h++)
            code = mon_store_put(s, n, MON_MINUTE, day + 3600 * h, minutes, 60);
    }
    for (uint64_t n = 1; !code && n <= 20; n++) {
        char text[40];
        struct hd_stats_bin bin = {100, 0, 5};
        struct mon_template t = {.fingerprint = n * 1000 + (uint64_t)(day / DAY), /* other ones each day */
                                 .database = "shop",
                                 .user = "app",
                                 .text = text,
                                 .calls = 5,
                                 .bins = &bin,
                                 .bin_count = 1};

        snprintf(text, sizeof(text), "select %d from day_%lld", (int)n, (long long)(day / DAY));
        code = mon_store_add_template(s, MON_HOUR, day, &t);
        code = code ? code : mon_store_add_template(s, MON_MINUTE, day, &t);
    }
    return code ? code : mon_store_commit(s);
}

/* How many days fit in; each is written with room made where there is none. */
static void live_through(struct mon_store *s, int days, int64_t bound)
{
    int64_t day = HOUR / DAY * DAY;

    for (uint32_t n = 0; n < SERIES; n++) {
        char key[20];

        snprintf(key, sizeof(key), n ? "a{n=%u}" : "a", n);
        CU_ASSERT_EQUAL(mon_store_define(s, n, key, "1"), HD_OK);
    }
    for (int i = 0; i < days; i++, day += DAY) {
        int32_t code = add_day(s, day);

        for (int tries = 0; code == HD_EFULL && tries < 10; tries++) {
            CU_ASSERT_EQUAL(mon_store_make_room(s, day + DAY), HD_OK);
            code = add_day(s, day);
        }
        CU_ASSERT_EQUAL_FATAL(code, HD_OK);
        CU_ASSERT_EQUAL(mon_store_prune(s, day + DAY), HD_OK);
        CU_ASSERT(mon_store_bytes(s) <= bound);
    }
}

static double ms_of_reading(struct mon_store *s, int64_t from, int64_t to, struct got *g)
{
    struct timespec a, b;

    clock_gettime(CLOCK_MONOTONIC, &a);
    *g = got(s, MON_HOUR, from, to);
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
}

static void thirteen_months(void)
{
    int64_t day = HOUR / DAY * DAY, end = day + 420 * DAY;
    struct mon_store *s;
    struct stat st;
    struct got g;
    char answer[100];
    double ms;

    make_folder();
    s = opened(64 * MB);
    live_through(s, 420, 64 * MB);
    ms = ms_of_reading(s, end - 396 * DAY, end, &g);
    CU_ASSERT_EQUAL(g.count, INT64_C(396) * 24 * SERIES); /* all of them, and what is older has gone */
    CU_ASSERT_EQUAL(got(s, MON_HOUR, day, day + 20 * DAY).count, 0);
    CU_ASSERT_EQUAL(got(s, MON_MINUTE, day, end - 9 * DAY).count, 0);
    CU_ASSERT(got(s, MON_MINUTE, end - 7 * DAY, end).count == 7 * 1440 * SERIES);
    mon_store_free(s);
    CU_ASSERT_EQUAL(stat(path, &st), 0);
    printf("# 13 months of %d series: %.1f MB, all read in %.1f ms\n", SERIES, (double)st.st_size / 1e6, ms);
    ask("SELECT count(*) FROM text", answer);
    CU_ASSERT(atoi(answer) <= 20 * 398);
    remove_folder();

    /* Where that is more than the bound, the newest is there, in what is left of all grains. */
    make_folder();
    s = opened(5 * MB);
    live_through(s, 420, 5 * MB);
    CU_ASSERT(got(s, MON_HOUR, end - 20 * DAY, end).count == 20 * 24 * SERIES);
    CU_ASSERT(got(s, MON_MINUTE, end - DAY, end).count == 1440 * SERIES);
    mon_store_free(s);
    ask("SELECT count(*) FROM text", answer);
    CU_ASSERT(atoi(answer) > 0 && atoi(answer) < 20 * 396);
    remove_folder();
}

UNIT_MAIN("monitor_store_faults", {"killed while it writes", killed_while_writing},
          {"a bound that was lowered", lowered_bound}, {"damaged files", damaged_files},
          {"damage that shows later", damage_that_shows_later}, {"not its file", not_its_file},
          {"a wrong clock", wrong_clock}, {"thirteen months", thirteen_months})
