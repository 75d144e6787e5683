/*
 * The plugin "alert-webhook": a sink that posts alerts as JSON over HTTP. What is posted is body.c's.
 */
#include "alert-webhook/alert-webhook.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "sinks/transfer.h"

#define DAY_MS      86400000.0
#define HEADER_MAX  4096
#define PART_MIN    8 /* bytes of a part of an address that may be a secret */
#define SAID_MAX    160
#define MS_PER_S    1000
#define RETRY_MAX_S 31536000 /* whoever asks for more has made a mistake */
#define PAGERDUTY   "https://events.pagerduty.com/v2/enqueue"

#define KEY(key, fallback, choices, doc, max, type, member)                                                  \
    {                                                                                                        \
        key, fallback, choices, doc, 0, max, type, HD_OPTF_RELOADABLE, offsetof(struct wh_conf, member), 0   \
    }

static const struct hd_option options[] = {
    KEY("url", NULL, NULL, "Where to post to; it may hold a token and is shown nowhere", 0, HD_OPT_SECRET,
        url),
    KEY("format", "generic", "generic|slack|mattermost|teams|pagerduty|alertmanager",
        "What is posted: a message of Howdah's own, or what that receiver expects", 0, HD_OPT_ENUM, format),
    KEY("key", NULL, NULL, "pagerduty: the routing key of the integration", 0, HD_OPT_SECRET, key),
    KEY("secret", NULL, NULL,
        "Signs the body: X-Howdah-Signature is v1= and HMAC-SHA256 of X-Howdah-Timestamp, a point and the "
        "body",
        0, HD_OPT_SECRET, secret),
    KEY("authorization", NULL, NULL, "The header Authorization, such as Bearer TOKEN", 0, HD_OPT_SECRET,
        authorization),
    KEY("ca_file", NULL, NULL, "Certificates of authorities to trust; the system's when empty", 0,
        HD_OPT_STRING, ca_file),
    KEY("verify", "yes", NULL, "Whether the server's certificate must be good", 0, HD_OPT_BOOL, verify),
    KEY("proxy", NULL, NULL,
        "A proxy to go through: http://host:port; it may hold a password and is shown nowhere", 0,
        HD_OPT_SECRET, proxy),
    KEY("hold", "5h", NULL,
        "alertmanager: how long an alert fires there without another message; longer than the rules' repeat",
        32 * DAY_MS, HD_OPT_DURATION, hold),
};

static const struct hd_section_kind kind = {"webhook", "A receiver of alerts over HTTP",
                                            HD_OPTIONS(struct wh_conf, options)};

/* --- configuration ---------------------------------------------------------------------------------------
 */

static int is_http(struct hd_str url)
{
    return (url.len > 7 && !strncasecmp(url.ptr, "http://", 7)) ||
           (url.len > 8 && !strncasecmp(url.ptr, "https://", 8));
}

/* As curl reads it. */
static int is_url(struct hd_str url)
{
    CURLU *u = curl_url();
    int good = u && url.len < HEADER_MAX - 64 && !curl_url_set(u, CURLUPART_URL, url.ptr, 0);

    curl_url_cleanup(u);
    return good;
}

static int32_t check_one(const void *conf, struct hd_error *err)
{
    const struct wh_conf *c = conf;

    if (!c->url.len && c->format != WH_PAGERDUTY)
        return hd_error_set(err, HD_EINVAL, "url is missing");
    if (c->url.len && (!is_http(c->url) || !sink_is_line(c->url) || !is_url(c->url)))
        return hd_error_set(err, HD_EINVAL, "url: http://… or https://… is expected");
    if (c->proxy.len && (!strstr(c->proxy.ptr, "://") || !sink_is_line(c->proxy) || !is_url(c->proxy)))
        return hd_error_set(err, HD_EINVAL, "proxy: http://host:port is expected");
    if (c->format == WH_PAGERDUTY && !c->key.len)
        return hd_error_set(err, HD_EINVAL, "key is missing: PagerDuty wants a routing key");
    if (c->format != WH_PAGERDUTY && c->key.len)
        return hd_error_set(err, HD_EINVAL, "key is for format = pagerduty");
    if (c->authorization.len > HEADER_MAX - 64 || !sink_is_line(c->authorization))
        return hd_error_set(err, HD_EINVAL, "authorization: one line of at most %d bytes", HEADER_MAX - 64);
    return HD_OK;
}

/* --- sending ---------------------------------------------------------------------------------------------
 */

/* Adds a header; 0: no memory. */
static int add_header(struct curl_slist **headers, const char *name, const char *value)
{
    char line[HEADER_MAX];
    struct curl_slist *more;

    snprintf(line, sizeof(line), "%s: %s", name, value);
    more = curl_slist_append(*headers, line);
    explicit_bzero(line, sizeof(line));
    if (more)
        *headers = more;
    return more != NULL;
}

static int sign(struct curl_slist **headers, const struct wh_conf *c, const char *body)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    char stamp[32], text[4 + 2 * EVP_MAX_MD_SIZE] = "v1=";
    size_t bytes = strlen(body) + sizeof(stamp) + 1;
    char *signed_text = malloc(bytes);

    if (!signed_text)
        return 0;
    snprintf(stamp, sizeof(stamp), "%lld", (long long)time(NULL));
    snprintf(signed_text, bytes, "%s.%s", stamp, body);
    if (!HMAC(EVP_sha256(), c->secret.ptr, (int)c->secret.len, (const unsigned char *)signed_text,
              strlen(signed_text), mac, &len))
        len = 0;
    free(signed_text);
    for (unsigned int i = 0; i < len; i++)
        snprintf(text + 3 + 2 * i, 3, "%02x", mac[i]);
    return len && add_header(headers, "X-Howdah-Timestamp", stamp) &&
           add_header(headers, "X-Howdah-Signature", text);
}

static int make_headers(struct curl_slist **headers, const struct wh_conf *c,
                        const struct hd_alert_message *m, const char *body)
{
    return add_header(headers, "Content-Type", "application/json") &&
           add_header(headers, "X-Howdah-Id", m->id) && add_header(headers, "Expect", "") &&
           (!c->authorization.len || add_header(headers, "Authorization", c->authorization.ptr)) &&
           (!c->secret.len || sign(headers, c, body));
}

/* Alertmanager's address may be given with or without the path. */
static void make_url(const struct wh_conf *c, char *out, size_t room)
{
    const char *path = c->format == WH_ALERTMANAGER && !strstr(c->url.ptr, "/api/") ? "/api/v2/alerts" : "";
    int cut = *path && c->url.ptr[c->url.len - 1] == '/';

    snprintf(out, room, "%.*s%s", (int)c->url.len - cut, c->url.ptr, path);
    if (!c->url.len)
        snprintf(out, room, "%s", PAGERDUTY);
}

/* Takes a text out of an answer, as it is and as it is without its %xx. */
static void hide_part(char *answer, const char *part)
{
    char *plain = curl_easy_unescape(NULL, part, 0, NULL);
    const char *const both[] = {part, plain};

    for (int i = 0; i < 2; i++) {
        size_t n = both[i] ? strlen(both[i]) : 0;

        for (char *at = answer; n >= PART_MIN && (at = strstr(at, both[i]));)
            memset(at, '*', n);
    }
    if (plain)
        explicit_bzero(plain, strlen(plain));
    curl_free(plain);
}

/* What the answer repeats of a secret, as a whole or of its parts. */
static void hide(char *answer, const char *secret)
{
    const char *at = strstr(secret, "://");

    for (at = at ? at + 3 : secret; *at;) {
        size_t n = strcspn(at, "/?&=:@ ");
        char part[HEADER_MAX];

        snprintf(part, sizeof(part), "%.*s", (int)n, at);
        hide_part(answer, part);
        explicit_bzero(part, sizeof(part));
        at += n + (at[n] != 0);
    }
}

/* A receiver that says what it has not found says where it was looked for, and the address is a secret; so
 * may be whatever else it was sent. */
static void hide_all(char *answer, const struct wh_conf *c)
{
    hide(answer, c->url.ptr);
    hide(answer, c->authorization.ptr);
    hide(answer, c->key.ptr);
}

/* Answers that say that another try is of no use. Who is not let in may be later: a token may be set right
 * while the message waits. */
static int is_refusal(long status)
{
    static const long later[] = {401, 403, 407, 408, 425, 429};

    for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
        if (status == later[i])
            return 0;
    return status >= 400 && status < 500;
}

/* Who is asked too often or is not there says in Retry-After when to come again, in seconds or as a date. */
static void heed(const struct transfer *t, const struct hd_alert_message *m)
{
    curl_off_t seconds = 0;

    if ((t->status != 429 && t->status != 503) || !HD_HAS(m, retry_after_ms) || !m->retry_after_ms)
        return;
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds > 0)
        *m->retry_after_ms = (uint64_t)(seconds < RETRY_MAX_S ? seconds : RETRY_MAX_S) * MS_PER_S;
}

static int32_t answered(struct transfer *t, const struct wh_conf *c, const struct hd_alert_message *m,
                        struct hd_error *err)
{
    hide_all(t->answer, c);
    heed(t, m);
    return hd_error_set(err, is_refusal(t->status) ? HD_EINVAL : HD_EIO, "HTTP status %ld: %.*s", t->status,
                        SAID_MAX, t->answer);
}

static int32_t post(struct transfer *t, const struct wh_conf *c, struct curl_slist *headers, const char *body,
                    const struct hd_alert_message *m, struct hd_error *err)
{
    char url[HEADER_MAX];
    int32_t code;

    make_url(c, url, sizeof(url));
    curl_easy_setopt(t->curl, CURLOPT_URL, url);
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(t->curl, CURLOPT_SSL_VERIFYPEER, (long)c->verify);
    curl_easy_setopt(t->curl, CURLOPT_SSL_VERIFYHOST, c->verify ? 2L : 0L);
    if (c->proxy.len)
        curl_easy_setopt(t->curl, CURLOPT_PROXY, c->proxy.ptr);
    explicit_bzero(url, sizeof(url));
    code = transfer_run(t, err);
    if (t->status >= 200 && t->status <= 299)
        return HD_OK; /* it has the message, whatever became of the rest of its answer */
    return t->status >= 300 ? answered(t, c, m, err) : code;
}

static int32_t send_message(void *self, const char *target, const struct hd_alert_message *m,
                            uint64_t timeout_ms, const volatile int32_t *stop, struct hd_error *err)
{
    struct wh_conf *c = sink_get(self, target);
    json_t *json = c ? wh_body(c, m) : NULL;
    char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    struct curl_slist *headers = NULL;
    struct transfer t = {0};
    int32_t code;

    if (!c)
        code = hd_error_set(err, HD_ENOENT, "there is no [webhook %s] any more", target);
    else if (!m->alert_count && (c->format == WH_PAGERDUTY || c->format == WH_ALERTMANAGER))
        code = HD_OK; /* there is nothing that these would take */
    else if (!body || !make_headers(&headers, c, m, body))
        code = hd_error_set(err, HD_ENOMEM, "no memory for the message");
    else
        code = transfer_begin(&t, "http,https", c->ca_file.ptr, timeout_ms, stop, err);
    if (code == HD_OK && t.curl)
        code = post(&t, c, headers, body, m, err);
    transfer_end(&t);
    curl_slist_free_all(headers);
    free(body);
    json_decref(json);
    sink_put(self, c);
    return code;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

const struct sink_plugin sink_plugin = {
    &kind, check_one, {.size = sizeof(struct hd_alert_sink_v1), .target = sink_target, .send = send_message}};

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,
    .id = "alert-webhook",
    .version = "0.1.0",
    .vendor = "Howdah",
    .licence = "Apache-2.0",
    .summary = "Posts alerts over HTTP: to Slack, Mattermost, Teams, PagerDuty, Alertmanager and others",
    .section_count = 1,
    .sections = &kind,
    .create = sink_create,
    .check = sink_check,
    .start = sink_start,
    .reload = sink_reload,
    .stop = sink_stop,
    .destroy = sink_destroy,
    .capability = sink_capability,
};
