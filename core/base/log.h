/*
 * The log: one line an event, key=value, to stderr or a file. Values are quoted where they need it, so that a
 * client's bytes can never forge a line. Callers never pass literals of statements, passwords or keys.
 */
#ifndef HD_BASE_LOG_H
#define HD_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum hd_log_level { HD_LOG_ERROR = 0, HD_LOG_WARNING, HD_LOG_INFO, HD_LOG_DEBUG };

/* One key and its value; made by HD_KV. */
struct hd_kv {
    const char *key;
    enum { HD_KV_STR, HD_KV_INT, HD_KV_UINT, HD_KV_REAL } kind;
    union {
        const char *s; /* NULL prints as "" */
        int64_t i;
        uint64_t u;
        double d;
    };
};

static inline struct hd_kv hd_kv_str(const char *k, const char *v)
{
    return (struct hd_kv){.key = k, .kind = HD_KV_STR, .s = v};
}
static inline struct hd_kv hd_kv_int(const char *k, int64_t v)
{
    return (struct hd_kv){.key = k, .kind = HD_KV_INT, .i = v};
}
static inline struct hd_kv hd_kv_uint(const char *k, uint64_t v)
{
    return (struct hd_kv){.key = k, .kind = HD_KV_UINT, .u = v};
}
static inline struct hd_kv hd_kv_real(const char *k, double v)
{
    return (struct hd_kv){.key = k, .kind = HD_KV_REAL, .d = v};
}

/* HD_KV("user", name), HD_KV("port", 5432): the value's type picks the form. */
#define HD_KV(k, v)                                                                                          \
    _Generic((v), char *                                                                                     \
             : hd_kv_str, const char *                                                                       \
             : hd_kv_str, float                                                                              \
             : hd_kv_real, double                                                                            \
             : hd_kv_real, unsigned char                                                                     \
             : hd_kv_uint, unsigned short                                                                    \
             : hd_kv_uint, unsigned int                                                                      \
             : hd_kv_uint, unsigned long                                                                     \
             : hd_kv_uint, unsigned long long                                                                \
             : hd_kv_uint, default                                                                           \
             : hd_kv_int)(k, v)

/* hd_log(HD_LOG_INFO, "listening", HD_KV("address", a), …): writes one line when the level is on. */
#define hd_log(level, msg, ...)                                                                              \
    do {                                                                                                     \
        if ((level) <= hd_log_level())                                                                       \
            hd_log_write((level), (msg), (const struct hd_kv[]){{.key = NULL}, ##__VA_ARGS__},               \
                         sizeof((const struct hd_kv[]){{.key = NULL}, ##__VA_ARGS__}) /                      \
                             sizeof(struct hd_kv));                                                          \
    } while (0)

/* kv[0] is a placeholder and is skipped. Safe on any thread. A full disk loses lines, never the caller. */
void hd_log_write(enum hd_log_level level, const char *msg, const struct hd_kv *kv, size_t n);
enum hd_log_level hd_log_level(void);
void hd_log_set_level(enum hd_log_level level);
/* Opens (or reopens) the file; NULL means stderr. Returns 0, or an errno; the old target then stays. */
int hd_log_open(const char *path);
/* Reopens the file that is in use, after a rotation. */
int hd_log_reopen(void);
/* Lines that could not be written since start. */
uint64_t hd_log_lost(void);
/* "error", "warning", "info", "debug"; parsing returns -1 for anything else. */
const char *hd_log_level_name(enum hd_log_level level);
int hd_log_level_parse(const char *name);

#endif
