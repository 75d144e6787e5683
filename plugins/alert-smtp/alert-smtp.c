/*
 * The plugin "alert-smtp": a sink that mails alerts. Messages of one group are one thread in a reader of
 * mail.
 */
#include "alert-smtp/alert-smtp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/transfer.h"

#define TO_MAX      50
#define HEADER_LINE 2000
#define SUBJECT_MAX 100 /* with a title behind it, still a line of a mail */

#if LIBCURL_VERSION_NUM >= 0x080200
#define MAIL_RCPT_ALLOWFAILS CURLOPT_MAIL_RCPT_ALLOWFAILS
#else
#define MAIL_RCPT_ALLOWFAILS CURLOPT_MAIL_RCPT_ALLLOWFAILS /* as it was spelled */
#endif

#define KEY(key, fallback, choices, doc, type, flags, member)                                                \
    {                                                                                                        \
        key, fallback, choices, doc, 0, 0, type, HD_OPTF_RELOADABLE | (flags),                               \
            offsetof(struct sm_conf, member), 0                                                              \
    }

static const struct hd_option options[] = {
    KEY("server", NULL, NULL,
        "The mail server: host:port; port 587 where none is said, 465 with tls = implicit", HD_OPT_STRING,
        HD_OPTF_REQUIRED, server),
    KEY("tls", "starttls", "starttls|implicit|none",
        "Whether the connection is encrypted: it must become so, is from its start, or never is", HD_OPT_ENUM,
        0, tls),
    KEY("ca_file", NULL, NULL, "Certificates of authorities to trust; the system's when empty", HD_OPT_STRING,
        0, ca_file),
    KEY("verify", "yes", NULL, "Whether the server's certificate must be good", HD_OPT_BOOL, 0, verify),
    KEY("user", NULL, NULL, "The user to log in as; no login when empty", HD_OPT_STRING, 0, user),
    KEY("password", NULL, NULL, "The user's password", HD_OPT_SECRET, 0, password),
    KEY("from", NULL, NULL, "The sender's address", HD_OPT_STRING, HD_OPTF_REQUIRED, from),
    KEY("to", NULL, NULL, "Addresses to send to; those that the server refuses are left out", HD_OPT_LIST,
        HD_OPTF_REQUIRED, to),
    KEY("subject", "[howdah]", NULL, "What subjects begin with", HD_OPT_STRING, 0, subject),
    KEY("helo", NULL, NULL, "The name by which the host greets the server; the machine's when empty",
        HD_OPT_STRING, 0, helo),
};

static const struct hd_section_kind kind = {"smtp", "A mail server and whom to mail alerts to",
                                            HD_OPTIONS(struct sm_conf, options)};

/* --- configuration ---------------------------------------------------------------------------------------
 */

static int is_address(struct hd_str s)
{
    return s.len && s.len < 300 && memchr(s.ptr, '@', s.len) && !memchr(s.ptr, '<', s.len) &&
           !memchr(s.ptr, '>', s.len) && !memchr(s.ptr, ' ', s.len) && sink_is_line(s);
}

/* A host, and perhaps a port; nothing that would make another URL of it. */
static int is_server(struct hd_str s)
{
    return s.len && s.len < 300 &&
           strspn(s.ptr, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                         ".-_:[]") == s.len;
}

static int32_t check_one(const void *conf, struct hd_error *err)
{
    const struct sm_conf *c = conf;

    if (!is_server(c->server))
        return hd_error_set(err, HD_EINVAL, "server: host or host:port is expected");
    if (!is_address(c->from))
        return hd_error_set(err, HD_EINVAL, "from: an address such as howdah@example.org is expected");
    if (!c->to.count || c->to.count > TO_MAX)
        return hd_error_set(err, HD_EINVAL, "to: 1 to %d addresses", TO_MAX);
    for (uint64_t i = 0; i < c->to.count; i++)
        if (!is_address(c->to.items[i]))
            return hd_error_set(err, HD_EINVAL, "to: \"%.100s\" is no address", c->to.items[i].ptr);
    if (!c->user.len != !c->password.len)
        return hd_error_set(err, HD_EINVAL, "user and password belong together");
    if (c->helo.len && (c->helo.len > 200 || !is_server(c->helo)))
        return hd_error_set(err, HD_EINVAL, "helo: a host's name is expected");
    if (c->tls == SM_NONE && c->password.len)
        return hd_error_set(err, HD_EINVAL, "with tls = none the password would be sent in the clear");
    if (c->subject.len > SUBJECT_MAX || !sink_is_line(c->subject))
        return hd_error_set(err, HD_EINVAL, "subject: one line of at most %d bytes", SUBJECT_MAX);
    return HD_OK;
}

/* --- sending ---------------------------------------------------------------------------------------------
 */

struct mail {
    struct curl_slist *headers, *to;
    curl_mime *mime;
    int failed;
};

static void add(struct mail *m, struct curl_slist **list, const char *name, const char *value)
{
    char line[HEADER_LINE];
    struct curl_slist *more;

    snprintf(line, sizeof(line), "%s%s%s", name, *name ? ": " : "", value);
    more = curl_slist_append(*list, line);
    m->failed |= !more;
    if (more)
        *list = more;
}

static void add_recipients(struct mail *m, const struct sm_conf *c)
{
    char line[HEADER_LINE] = "", address[320];
    size_t len = 0;

    for (uint64_t i = 0; i < c->to.count; i++) {
        snprintf(address, sizeof(address), "<%s>", c->to.items[i].ptr);
        add(m, &m->to, "", address);
        if (len + strlen(address) + 10 < sizeof(line)) /* further ones get it, too */
            len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%s", i ? ",\r\n " : "", address);
    }
    add(m, &m->headers, "To", line);
}

/* Another try of a message has the same Message-ID. */
static void add_headers(struct mail *m, const struct sm_conf *c, const struct hd_alert_message *message)
{
    char text[HEADER_LINE], date[64], subject[1300];
    const char *domain = strchr(c->from.ptr, '@') + 1;

    sm_date(date);
    add(m, &m->headers, "Date", date);
    snprintf(text, sizeof(text), "<%s>", c->from.ptr);
    add(m, &m->headers, "From", text);
    snprintf(text, sizeof(text), "%s%s%s", c->subject.ptr, c->subject.len ? " " : "", message->title);
    sm_header_text(text, subject, sizeof(subject));
    add(m, &m->headers, "Subject", subject);
    snprintf(text, sizeof(text), "<%s.howdah@%s>", message->id, domain);
    add(m, &m->headers, "Message-ID", text);
    snprintf(text, sizeof(text), "<%s.group.howdah@%s>", message->group, domain);
    add(m, &m->headers, "References", text);
    add(m, &m->headers, "Auto-Submitted", "auto-generated");
    if (message->severity == HD_ALERT_PAGE && message->firing)
        add(m, &m->headers, "Importance", "high");
}

static void add_part(struct mail *m, const char *bytes, const char *type, const char *encoder,
                     const char *file)
{
    curl_mimepart *part = m->mime ? curl_mime_addpart(m->mime) : NULL;

    m->failed |= !part || curl_mime_data(part, bytes, CURL_ZERO_TERMINATED) || curl_mime_type(part, type) ||
                 curl_mime_encoder(part, encoder) || (file && curl_mime_filename(part, file));
}

/* The page comes beside the text, not in its stead: readers of mail show few of the plots in it. */
static void add_body(struct mail *m, CURL *curl, const struct hd_alert_message *message)
{
    char *text = NULL;

    if (asprintf(&text, "%s\n\n%s\nFrom %s, group %s.\n", message->title,
                 *message->body ? message->body : message->text, message->host, message->group) < 0)
        text = NULL;
    m->mime = curl_mime_init(curl);
    m->failed |= !text;
    add_part(m, text ? text : "", "text/plain; charset=utf-8", "quoted-printable", NULL);
    if (*message->page)
        add_part(m, message->page, "text/html; charset=utf-8", "base64", "report.html");
    free(text);
}

static void set_server(CURL *curl, const struct sm_conf *c)
{
    static const char *const ports[] = {":587", ":465", ":25"};
    const char *port = strrchr(c->server.ptr, ':'), *bracket = strrchr(c->server.ptr, ']');
    int has_port = port && (!bracket || port > bracket);
    char url[800];

    snprintf(url, sizeof(url), "%s://%s%s/%s", c->tls == SM_IMPLICIT ? "smtps" : "smtp", c->server.ptr,
             has_port ? "" : ports[c->tls], c->helo.ptr);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_USE_SSL, (long)(c->tls == SM_NONE ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, (long)c->verify);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, c->verify ? 2L : 0L);
    if (c->user.len) {
        curl_easy_setopt(curl, CURLOPT_USERNAME, c->user.ptr);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, c->password.ptr);
    }
}

/* A server that says 5xx of a sender, a recipient or a message says so again. A login is another matter: a
 * password may be set right while the message waits. */
static int32_t mail(struct transfer *t, const struct sm_conf *c, const struct hd_alert_message *message,
                    struct hd_error *err)
{
    struct mail m = {0};
    char from[320];
    int32_t code;

    add_recipients(&m, c);
    add_headers(&m, c, message);
    add_body(&m, t->curl, message);
    snprintf(from, sizeof(from), "<%s>", c->from.ptr);
    set_server(t->curl, c);
    curl_easy_setopt(t->curl, CURLOPT_MAIL_FROM, from);
    curl_easy_setopt(t->curl, CURLOPT_MAIL_RCPT, m.to);
    curl_easy_setopt(t->curl, MAIL_RCPT_ALLOWFAILS, 1L);
    curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, m.headers);
    curl_easy_setopt(t->curl, CURLOPT_MIMEPOST, m.mime);
    code = m.failed ? hd_error_set(err, HD_ENOMEM, "no memory for the mail") : transfer_run(t, err);
    if (code == HD_EIO && t->status >= 550 && t->status <= 559)
        code = HD_EINVAL;
    curl_mime_free(m.mime);
    curl_slist_free_all(m.headers);
    curl_slist_free_all(m.to);
    return code;
}

static int32_t send_message(void *self, const char *target, const struct hd_alert_message *m,
                            uint64_t timeout_ms, const volatile int32_t *stop, struct hd_error *err)
{
    struct sm_conf *c = sink_get(self, target);
    struct transfer t = {0};
    int32_t code;

    if (!c)
        return hd_error_set(err, HD_ENOENT, "there is no [smtp %s] any more", target);
    code = transfer_begin(&t, "smtp,smtps", c->ca_file.ptr, timeout_ms, stop, err);
    if (code == HD_OK)
        code = mail(&t, c, m, err);
    transfer_end(&t);
    sink_put(self, c);
    return code;
}

/* --- life ------------------------------------------------------------------------------------------------
 */

const struct sink_plugin sink_plugin = {
    &kind, check_one, {.size = sizeof(struct hd_alert_sink_v1), .target = sink_target, .send = send_message}};

const struct hd_plugin howdah_plugin = {
    HD_PLUGIN_HEAD,      .id = "alert-smtp",      .version = "0.1.0",
    .vendor = "Howdah",  .licence = "Apache-2.0", .summary = "Mails alerts",
    .section_count = 1,  .sections = &kind,       .create = sink_create,
    .check = sink_check, .start = sink_start,     .reload = sink_reload,
    .stop = sink_stop,   .destroy = sink_destroy, .capability = sink_capability,
};
