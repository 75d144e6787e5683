/*
 * Reading reports, tags, parameters and keys out of server messages; see describe.h.
 */
#include "wire/describe.h"
#include "base/error.h"
#include "wire/read.h"

#include <limits.h>
#include <string.h>

/* "" unless it is a SQLSTATE: it becomes a metric's label and is compared, so nothing else may pass. */
static const char *sqlstate_or_empty(const char *code, size_t len)
{
    if (len != 5)
        return "";
    for (size_t i = 0; i < len; i++) {
        if (!((code[i] >= '0' && code[i] <= '9') || (code[i] >= 'A' && code[i] <= 'Z')))
            return "";
    }
    return code;
}

void hd_report_parse(const void *body, size_t len, struct hd_report *out)
{
    struct hd_reader r = hd_reader_on(body, len);
    const char *translated = "";
    uint8_t field;

    *out = (struct hd_report){"", "", "", "", ""};
    while ((field = hd_read_u8(&r)) != 0) {
        size_t text_len;
        const char *text = hd_read_cstr(&r, &text_len);

        if (field == 'S')
            translated = text;
        else if (field == 'V')
            out->severity = text;
        else if (field == 'C')
            out->code = sqlstate_or_empty(text, text_len);
        else if (field == 'M')
            out->message = text;
        else if (field == 'D')
            out->detail = text;
        else if (field == 'H')
            out->hint = text;
    }
    /* Servers older than 9.6 send only the translated one. */
    if (!out->severity[0])
        out->severity = translated;
}

/* Digits up to `end` as a number; -1 when there are none, too many, or something else among them. */
static int64_t parse_count(const char *p, const char *end)
{
    int64_t v = 0;

    if (p == end)
        return -1;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9' || v > (INT64_MAX - 9) / 10)
            return -1;
        v = v * 10 + (*p - '0');
    }
    return v;
}

/* Takes a last word that is a number off the tag's end. */
static int64_t take_count(struct hd_command_tag *t)
{
    const char *end = t->verb + t->verb_len;
    const char *word = end;
    int64_t n;

    while (word > t->verb && word[-1] != ' ')
        word--;
    if (word == t->verb)
        return -1;
    n = parse_count(word, end);
    if (n >= 0)
        t->verb_len = (size_t)(word - 1 - t->verb);
    return n;
}

void hd_command_tag_parse(const void *body, size_t len, struct hd_command_tag *out)
{
    const char *nul = len ? memchr(body, 0, len) : NULL;

    *out = (struct hd_command_tag){.verb = "", .rows = -1};
    if (len) {
        out->verb = body;
        out->verb_len = nul ? (size_t)(nul - out->verb) : len;
    }
    out->rows = take_count(out);
    /* INSERT has an object id, nowadays always 0, in front of its count. */
    if (out->rows >= 0)
        take_count(out);
}

int hd_parameter_status_parse(const void *body, size_t len, const char **name, const char **value)
{
    struct hd_reader r = hd_reader_on(body, len);

    *name = hd_read_cstr(&r, NULL);
    *value = hd_read_cstr(&r, NULL);
    return hd_reader_done(&r) ? HD_OK : HD_EPROTO;
}

int hd_backend_key_parse(const void *body, size_t len, struct hd_backend_key *out)
{
    struct hd_reader r = hd_reader_on(body, len);

    *out = (struct hd_backend_key){.pid = hd_read_u32(&r)};
    out->key_len = hd_reader_left(&r);
    out->key = hd_read_bytes(&r, out->key_len);
    if (r.failed || !out->key_len || out->key_len > HD_CANCEL_KEY_MAX)
        return HD_EPROTO;
    return HD_OK;
}
