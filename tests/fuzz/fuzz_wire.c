/*
 * Fuzzes what reads messages: framing in chunks of any size, and the parsers of message bodies.
 *
 * Input: one byte that chooses the direction (bits 0 and 1) and the chunk (the rest), then the bytes of the
 * stream. Checked beside memory safety: the borders of messages are the same in whatever chunks they come.
 */
#include "wire/base64.h"
#include "wire/describe.h"
#include "wire/frame.h"
#include "wire/read.h"
#include "wire/scram.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

/* What a walk over the stream saw, to be compared with another walk's. */
struct walk {
    uint64_t messages, digest;
    size_t taken;
    int rc;
};

static void note_piece(struct walk *w, const struct hd_frame *f)
{
    MUST(f->here > 0 && f->here <= f->total - f->offset);
    if (f->offset == 0)
        w->digest = w->digest * 31 + f->type + f->total;
    if (hd_frame_last(f))
        w->messages++;
}

/* Streams all of it, `chunk` bytes more at a time. */
static struct walk stream(const struct hd_frame_rule *rules, const uint8_t *p, size_t len, size_t chunk)
{
    struct hd_frame_scan s;
    struct hd_frame f;
    struct walk w = {0};
    size_t here = 0;

    hd_frame_scan_init(&s, rules);
    while (here < len && (w.rc == HD_OK || w.rc == HD_PENDING)) {
        here = len - here < chunk ? len : here + chunk;
        while ((w.rc = hd_frame_next(&s, p + w.taken, here - w.taken, &f)) == HD_OK) {
            MUST(f.data == p + w.taken);
            note_piece(&w, &f);
            hd_frame_take(&s, &f, f.here);
            w.taken += f.here;
        }
    }
    if (w.rc == HD_EPROTO) {
        struct hd_error err = HD_ERROR_INIT;

        MUST(hd_frame_fail(&s, p + w.taken, here - w.taken, &err) == HD_EPROTO && err.text[0]);
    }
    return w;
}

/* A string field: ends inside the body. */
static void check_text(const char *text)
{
    MUST(text && strlen(text) < SIZE_MAX);
}

static void read_body(const uint8_t *body, size_t len)
{
    struct hd_command_tag tag;
    struct hd_report report;
    struct hd_backend_key key;
    struct hd_sasl_initial initial;
    const char *name, *value;

    hd_report_parse(body, len, &report);
    check_text(report.severity);
    check_text(report.code);
    check_text(report.message);
    check_text(report.detail);
    check_text(report.hint);
    MUST(!report.code[0] || strlen(report.code) == 5);
    hd_command_tag_parse(body, len, &tag);
    MUST(tag.verb_len <= len && tag.rows >= -1);
    if (hd_parameter_status_parse(body, len, &name, &value) == HD_OK)
        MUST(strlen(name) + strlen(value) + 2 == len);
    if (hd_backend_key_parse(body, len, &key) == HD_OK)
        MUST(key.key_len && key.key_len <= HD_CANCEL_KEY_MAX && key.key + key.key_len == body + len);
    if (hd_sasl_initial_parse(body, len, &initial) == HD_OK)
        MUST(!initial.data || initial.data + initial.len == body + len);
}

/* What decodes is the one text of its bytes. */
static void check_base64(const uint8_t *text, size_t len)
{
    uint8_t raw[256];
    char again[HD_BASE64_LEN(sizeof(raw)) + 1];
    long n = hd_base64_decode((const char *)text, len, raw, sizeof(raw));

    if (n < 0)
        return;
    MUST(hd_base64_encode(raw, (size_t)n, again) == len);
    MUST(!memcmp(again, text, len));
}

/* Every field kind by turns, as the bytes themselves say. */
static void read_fields(const uint8_t *body, size_t len)
{
    struct hd_reader r = hd_reader_on(body, len);

    while (!r.failed && hd_reader_left(&r)) {
        switch (hd_read_u8(&r) & 3) {
        case 0:
            hd_read_u16(&r);
            break;
        case 1:
            hd_read_i32(&r);
            break;
        case 2:
            check_text(hd_read_cstr(&r, NULL));
            break;
        default:
            hd_read_bytes(&r, hd_read_u8(&r));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct hd_frame_rule *const directions[] = {hd_frame_frontend, hd_frame_backend,
                                                             hd_frame_login, hd_frame_backend};
    const struct hd_frame_rule *rules;
    struct walk whole, pieces;
    size_t chunk;

    if (!size)
        return 0;
    rules = directions[data[0] & 3];
    chunk = (size_t)(data[0] >> 2) + 1;
    data++;
    size--;
    whole = stream(rules, data, size, size ? size : 1);
    pieces = stream(rules, data, size, chunk);
    MUST(whole.rc == pieces.rc && whole.taken == pieces.taken);
    MUST(whole.messages == pieces.messages && whole.digest == pieces.digest);
    read_body(data, size);
    read_fields(data, size);
    check_base64(data, size);
    return 0;
}
