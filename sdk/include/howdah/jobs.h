/*
 * Work off the workers: blocking functions and SQL on control connections ("howdah.jobs/1"), and things done
 * at intervals ("howdah.scheduler/1").
 */
#ifndef HOWDAH_JOBS_H
#define HOWDAH_JOBS_H

#include <howdah/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HD_SERVICE_JOBS      "howdah.jobs/1"
#define HD_SERVICE_SCHEDULER "howdah.scheduler/1"

/* A statement on a control connection. The caller zeroes it and sets `size`. Since ABI 0.1. */
struct hd_sql {
    uint32_t size;
    uint32_t param_count;
    const char *node;              /* NUL-terminated name of a [node …] */
    const char *database;          /* the server's database; NULL: the node's own */
    const char *text;              /* NUL-terminated; one statement if there are parameters */
    const char *const *params;     /* text values, NULL for SQL NULL */
    uint64_t lock_timeout_ms;      /* 0: the host's default, 1 s */
    uint64_t statement_timeout_ms; /* 0: the host's default, 30 s */
    uint64_t deadline_ms;          /* for waiting, connecting and running together; 0: 60 s */
};

/* The answer; belongs to the host and is valid during the callback, or until free(). Since ABI 0.1. */
struct hd_sql_result {
    uint32_t size;
    int32_t code; /* HD_OK, or why not; HD_ESQL with `sqlstate` */
    char sqlstate[8];
    struct hd_str message; /* the error's text, or the command tag */
    uint32_t rows, columns;
    const struct hd_str *names; /* columns */
    const struct hd_str *cells; /* rows × columns, row by row; ptr NULL is SQL NULL */
};

/* Service "howdah.jobs/1". Since ABI 0.1. */
struct hd_jobs_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Runs fn(arg) on the job pool, then done(arg, code) on the control thread (NULL: nothing). Positive
     * handle, or HD_EFULL when `max_jobs` wait already. [any] */
    int64_t (*run)(hd_host *host, const char *name, int32_t (*fn)(void *arg),
                   void (*done)(void *arg, int32_t code), void *arg);
    /* Runs a statement; done gets the result on the control thread, exactly once. Everything is copied.
     * Positive handle, or an error code. [any] */
    int64_t (*sql)(hd_host *host, const struct hd_sql *sql,
                   void (*done)(void *arg, const struct hd_sql_result *result), void *arg);
    /* The same, blocking; the result is freed by free_result. [job] */
    int32_t (*sql_wait)(hd_host *host, const struct hd_sql *sql, const struct hd_sql_result **result);
    void (*free_result)(hd_host *host, const struct hd_sql_result *result); /* [job] */
    /* Asks for an end: a waiting job never runs, a running statement is cancelled on the server; `done` still
     * comes, with HD_ECANCELLED where it was in time. HD_ENOENT: over already. [any] */
    int32_t (*cancel)(hd_host *host, int64_t handle);
};

/* Something done at intervals. The caller zeroes it and sets `size`. Since ABI 0.1. */
struct hd_schedule {
    uint32_t size;
    uint32_t leader;          /* 1: among hosts only one runs it: whoever holds the advisory lock on `node` */
    const char *name;         /* NUL-terminated; shown in SHOW SCHEDULES */
    const char *node;         /* for leader; NUL-terminated */
    uint64_t interval_ms;     /* from the end of one run to the start of the next */
    uint64_t jitter_ms;       /* up to this is added, at random */
    int32_t (*fn)(void *arg); /* [job]; its code is kept and shown */
    void *arg;
};

/* Service "howdah.scheduler/1". Since ABI 0.1. */
struct hd_scheduler_v1 {
    uint32_t size;
    uint32_t reserved;
    /* Positive id, or an error code. First run after one interval. [control] */
    int64_t (*add)(hd_host *host, const struct hd_schedule *schedule, struct hd_error *err);
    /* Runs it as soon as a job thread is free; HD_EBUSY when it is running. [any] */
    int32_t (*run_now)(hd_host *host, int64_t id);
    /* No run starts after this; one that is under way ends first. [control] */
    void (*remove)(hd_host *host, int64_t id);
};

#ifdef __cplusplus
}
#endif
#endif
