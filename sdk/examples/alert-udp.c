/*
 * alert-udp: a sink of alerts that sends a line of each message to a UDP port. In [plugin alerts]: sinks =
 * udp.
 */
#include <arpa/inet.h>
#include <howdah/howdah.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct udp {
    struct conf {
        int64_t port;
    } conf; /* a copy: alerts are sent on another thread, while a reload takes the host's away */
};

static const struct hd_option options[] = {{"port", "9999", NULL, "The port on 127.0.0.1", 1, 65535,
                                            HD_OPT_INT, HD_OPTF_RELOADABLE, offsetof(struct conf, port), 0}};

static int32_t send_line(void *self, const char *target, const struct hd_alert_message *m,
                         uint64_t timeout_ms, const volatile int32_t *stop_soon, struct hd_error *err)
{
    int64_t port = __atomic_load_n(&((struct udp *)self)->conf.port, __ATOMIC_RELAXED);
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    char line[500];
    int n = snprintf(line, sizeof(line), "%s %s %s", m->id, m->firing ? "firing" : "over", m->title);
    ssize_t sent = sendto(fd, line, strnlen(line, (size_t)n), 0, (const void *)&to, sizeof(to));

    (void)target, (void)timeout_ms, (void)stop_soon;
    close(fd);
    return sent < 0 ? hd_error_set(err, HD_EIO, "it cannot be sent") : HD_OK;
}

static const struct hd_alert_sink_v1 sink = {.size = sizeof(sink), .send = send_line};

/* clang-format off */
static int32_t create(hd_host *host, void **self, struct hd_error *err)
{
    (void)host;
    return (*self = calloc(1, sizeof(struct udp))) ? HD_OK : hd_error_set(err, HD_ENOMEM, "no memory");
}
static void take(void *self, const struct hd_conf *conf)
{
    __atomic_store_n(&((struct udp *)self)->conf.port, ((const struct conf *)conf->conf)->port, __ATOMIC_RELAXED);
}
static int32_t check(void *self, const struct hd_conf *conf, struct hd_error *err) { (void)self, (void)conf, (void)err; return HD_OK; }
static int32_t start(void *self, const struct hd_conf *conf, struct hd_error *err) { (void)err; take(self, conf); return HD_OK; }
static int32_t stop(void *self) { (void)self; return HD_OK; }
static const void *capability(const char *name) { return strcmp(name, HD_CAP_ALERT_SINK) ? NULL : &sink; }

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD, .id = "alert-udp", .version = "1.0", .vendor = "Example", .licence = "Apache-2.0",
    .summary = "Sends alerts to a UDP port", .options = HD_OPTIONS(struct conf, options), .create = create,
    .check = check, .start = start, .reload = take, .stop = stop, .destroy = free, .capability = capability,
};
