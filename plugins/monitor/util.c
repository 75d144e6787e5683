/* Small things that all parts of the plugin use; see monitor.h. */
#include "monitor.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>
#include <time.h>

uint64_t mon_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t mon_wall_seconds(void)
{
    return (int64_t)time(NULL);
}

double mon_wall(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

void mon_errand_begin(struct mon *self)
{
    atomic_fetch_add_explicit(&self->errands, 1, memory_order_relaxed);
}

void mon_errand_end(struct mon *self)
{
    if (atomic_fetch_sub_explicit(&self->errands, 1, memory_order_acq_rel) == 1)
        hd_host_api(self->host)->stopped(self->host);
}

void mon_columns(const struct mon *self, hd_result *r, ...)
{
    va_list args;
    const char *name;

    va_start(args, r);
    while ((name = va_arg(args, const char *)))
        self->commands->column(r, name, (uint32_t)va_arg(args, int));
    va_end(args);
}

void mon_text(const struct mon *self, hd_result *r, const char *text)
{
    if (text)
        self->commands->text(r, (struct hd_str){text, strlen(text)});
    else
        self->commands->null(r);
}

void mon_real(const struct mon *self, hd_result *r, double value)
{
    if (isfinite(value))
        self->commands->real(r, value);
    else
        self->commands->null(r);
}

int mon_word_is(struct hd_str word, const char *text)
{
    return word.len == strlen(text) && strncasecmp(word.ptr, text, word.len) == 0;
}

int64_t mon_span(struct hd_str word)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"s", 1},          {"m", 60},        {"h", 3600},
                 {"d", 86400},      {"w", 7 * 86400}, {"mo", 30 * 86400 + 43200},
                 {"y", 365 * 86400}};
    int64_t n = 0;
    uint64_t i = 0;

    for (; i < word.len && i < 9 && word.ptr[i] >= '0' && word.ptr[i] <= '9'; i++)
        n = 10 * n + (word.ptr[i] - '0');
    word.ptr += i;
    word.len -= i;
    for (unsigned u = 0; i && u < sizeof(units) / sizeof(units[0]); u++)
        if (mon_word_is(word, units[u].unit))
            return n * units[u].seconds <= 2 * 365 * INT64_C(86400) ? n * units[u].seconds : 0;
    return 0;
}

void mon_log(const struct mon *self, uint32_t level, const char *message, const char *key, const char *value)
{
    const char *pairs[] = {key, value, NULL};

    hd_host_api(self->host)->log(self->host, level, message, key ? pairs : NULL);
}
