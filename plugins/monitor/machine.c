/* The machine and the host itself; see machine.h. */
#include "machine.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define INTERVAL_NS UINT64_C(5000000000)
#define NS          INT64_C(1000000000)

struct mon_machine {
    struct mon *self;
    struct mon_findings *findings;
    uint64_t at_ns;
    int64_t busy, all, own; /* processor time at the look before, ns */
};

struct mon_machine *mon_machine_new(struct mon *self)
{
    struct mon_machine *m = calloc(1, sizeof(*m));

    if (m)
        m->findings = mon_findings_new(self);
    if (!m || !m->findings) {
        free(m);
        return NULL;
    }
    m->self = self;
    return m;
}

void mon_machine_free(struct mon_machine *m)
{
    if (m)
        mon_findings_free(m->findings);
    free(m);
}

static void found(struct mon_machine *m, uint32_t type, const char *name, const char *help, const char *label,
                  const char *value, int64_t number)
{
    struct hd_label l = {label, value};

    mon_found(m->findings, type, name, help, label ? &l : NULL, label ? 1 : 0, number);
}

/* --- processor
 * -------------------------------------------------------------------------------------------------- */

static void cpu_modes(struct mon_machine *m, const unsigned long long *ticks, int64_t tick_ns)
{
    static const char *const modes[] = {"user",   "nice", "system",  "idle",
                                        "iowait", "irq",  "softirq", "steal"};

    for (int i = 0; i < 8; i++)
        found(m, HD_METRIC_COUNTER, "howdah_machine_cpu_seconds_total",
              "Processor time of the machine by mode", "mode", modes[i], (int64_t)ticks[i] * tick_ns);
}

/* Shares of the time since the look before. */
static void cpu_shares(struct mon_machine *m, int64_t busy, int64_t all, int64_t own, uint64_t now)
{
    if (m->at_ns && all > m->all) {
        found(m, HD_METRIC_GAUGE, "howdah_machine_cpu_percent", "Share of all processors that is used", NULL,
              NULL, 100 * (busy - m->busy) / (all - m->all));
        found(m, HD_METRIC_GAUGE, "howdah_process_cpu_percent", "What the host uses of one processor", NULL,
              NULL, 100 * (own - m->own) / (int64_t)(now - m->at_ns));
    }
    m->busy = busy;
    m->all = all;
    m->own = own;
}

static void look_at_cpu(struct mon_machine *m, uint64_t now)
{
    unsigned long long t[8] = {0};
    int64_t tick_ns = NS / sysconf(_SC_CLK_TCK), all = 0;
    FILE *f = fopen("/proc/stat", "re");
    struct rusage own;

    if (f && fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", t, t + 1, t + 2, t + 3, t + 4, t + 5,
                    t + 6, t + 7) >= 4) {
        for (int i = 0; i < 8; i++)
            all += (int64_t)t[i] * tick_ns;
        cpu_modes(m, t, tick_ns);
        getrusage(RUSAGE_SELF, &own);
        cpu_shares(m, all - (int64_t)(t[3] + t[4]) * tick_ns, all,
                   (own.ru_utime.tv_sec + own.ru_stime.tv_sec) * NS +
                       (own.ru_utime.tv_usec + own.ru_stime.tv_usec) * INT64_C(1000),
                   now);
    }
    if (f)
        fclose(f);
}

/* --- memory
 * ------------------------------------------------------------------------------------------------------ */

static void look_at_memory(struct mon_machine *m)
{
    static const struct {
        const char *line, *kind;
    } kinds[] = {{"MemTotal:", "total"}, {"MemAvailable:", "available"}, {"Cached:", "cached"},
                 {"Dirty:", "dirty"},    {"SwapTotal:", "swap_total"},   {"SwapFree:", "swap_free"}};
    FILE *f = fopen("/proc/meminfo", "re");
    char line[256];

    while (f && fgets(line, sizeof(line), f))
        for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
            size_t len = strlen(kinds[i].line);

            if (strncmp(line, kinds[i].line, len) == 0)
                found(m, HD_METRIC_GAUGE, "howdah_machine_memory_bytes", "Memory of the machine", "kind",
                      kinds[i].kind, atoll(line + len) * 1024);
        }
    if (f)
        fclose(f);
}

/* --- disks and network
 * -------------------------------------------------------------------------------------------- */

/* Partitions, loops and mapped devices count what a whole device counts, too. */
static int is_disk(const char *name)
{
    size_t len = strlen(name);

    if (strncmp(name, "nvme", 4) == 0 || strncmp(name, "mmcblk", 6) == 0)
        return strchr(name, 'p') == NULL;
    return (strncmp(name, "sd", 2) == 0 || strncmp(name, "vd", 2) == 0 || strncmp(name, "xvd", 3) == 0) &&
           !isdigit((unsigned char)name[len - 1]);
}

static void look_at_disks(struct mon_machine *m)
{
    FILE *f = fopen("/proc/diskstats", "re");
    char line[512], name[64];
    unsigned long long r, w, busy;
    int64_t read = 0, written = 0, busy_ms = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%*u %*u %63s %*u %*u %llu %*u %*u %*u %llu %*u %*u %llu", name, &r, &w, &busy) ==
                4 &&
            is_disk(name)) {
            read += (int64_t)r * 512;
            written += (int64_t)w * 512;
            busy_ms += (int64_t)busy;
        }
    if (f)
        fclose(f);
    found(m, HD_METRIC_COUNTER, "howdah_machine_disk_read_bytes_total", "Read from disks", NULL, NULL, read);
    found(m, HD_METRIC_COUNTER, "howdah_machine_disk_written_bytes_total", "Written to disks", NULL, NULL,
          written);
    found(m, HD_METRIC_COUNTER, "howdah_machine_disk_busy_seconds_total",
          "Time that disks were busy, summed up", NULL, NULL, busy_ms * 1000000);
}

static void look_at_network(struct mon_machine *m)
{
    FILE *f = fopen("/proc/net/dev", "re");
    char line[512], name[64];
    unsigned long long r, s;
    int64_t received = 0, sent = 0;

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, " %63[^:]: %llu %*u %*u %*u %*u %*u %*u %*u %llu", name, &r, &s) == 3 &&
            strcmp(name, "lo") != 0) {
            received += (int64_t)r;
            sent += (int64_t)s;
        }
    if (f)
        fclose(f);
    found(m, HD_METRIC_COUNTER, "howdah_machine_network_received_bytes_total", "Received from networks", NULL,
          NULL, received);
    found(m, HD_METRIC_COUNTER, "howdah_machine_network_sent_bytes_total", "Sent to networks", NULL, NULL,
          sent);
}

static void look_at_load(struct mon_machine *m)
{
    double load[1];

    if (getloadavg(load, 1) == 1)
        found(m, HD_METRIC_GAUGE, "howdah_machine_load", "Threads that run or want to, over a minute", NULL,
              NULL, (int64_t)(load[0] + 0.5));
}

void mon_machine_tick(struct mon_machine *m)
{
    uint64_t now = mon_now_ns();

    if (m->at_ns && now - m->at_ns < INTERVAL_NS)
        return;
    mon_findings_begin(m->findings);
    look_at_cpu(m, now);
    look_at_memory(m);
    look_at_disks(m);
    look_at_network(m);
    look_at_load(m);
    mon_findings_end(m->findings);
    m->at_ns = now;
}
