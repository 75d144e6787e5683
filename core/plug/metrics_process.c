/*
 * What the process itself costs; see metrics_process.h.
 */
#include "plug/metrics_process.h"

#include "base/log.h"
#include "base/units.h"
#include "plug/metrics.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

void hd_metrics_process_init(struct hd_metrics_process *p, struct hd_metrics *m)
{
    p->started_ns = hd_now_ns();
    p->resident = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_process_resident_bytes",
                                 "memory of the process that is in RAM", NULL, 0);
    p->cpu = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_process_cpu_seconds_total",
                            "processor time of all threads, user and system", NULL, 0);
    p->descriptors =
        hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_process_open_fds", "open file descriptors", NULL, 0);
    p->threads = hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_process_threads", "threads", NULL, 0);
    p->uptime =
        hd_metrics_get(m, NULL, HD_METRIC_GAUGE, "howdah_process_uptime_seconds", "since the start", NULL, 0);
    p->log_lost = hd_metrics_get(m, NULL, HD_METRIC_COUNTER, "howdah_log_lost_lines_total",
                                 "log lines that could not be written", NULL, 0);
}

static int64_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int64_t n = 0;

    if (!dir)
        return 0;
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2; /* "." and ".." */
}

/* A line "NAME: 123 kB" of /proc/self/status; 0 where there is none. */
static int64_t status_value(const char *name)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    long long value = 0;
    size_t len = strlen(name);

    while (f && !value && fgets(line, sizeof(line), f)) {
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            sscanf(line + len + 1, "%lld", &value);
    }
    if (f)
        fclose(f);
    return value;
}

static int64_t cpu_ns(void)
{
    struct rusage u;

    if (getrusage(RUSAGE_SELF, &u))
        return 0;
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000000) +
           (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * INT64_C(1000);
}

/* Brings a counter of what is read, not added up, to what it is now; several threads may. */
static void raise_to(struct hd_metrics *m, int64_t id, _Atomic int64_t *told, int64_t now)
{
    int64_t old = atomic_load(told);

    while (now > old && !atomic_compare_exchange_weak(told, &old, now))
        ;
    if (now > old)
        hd_metrics_add(m, id, now - old);
}

void hd_metrics_process_update(struct hd_metrics_process *p, struct hd_metrics *m)
{
    hd_metrics_set(m, p->resident, status_value("VmRSS") * 1024);
    hd_metrics_set(m, p->threads, status_value("Threads"));
    raise_to(m, p->cpu, &p->cpu_told, cpu_ns());
    hd_metrics_set(m, p->descriptors, count_entries("/proc/self/fd") - 1); /* less the one that looks */
    hd_metrics_set(m, p->uptime, (int64_t)(hd_now_ns() - p->started_ns));
    raise_to(m, p->log_lost, &p->lost_told, (int64_t)hd_log_lost());
}
