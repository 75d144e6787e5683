/*
 * Fuzzes what reads the change stream: a run of pieces, each with its length in two bytes before it (of the
 * last, what there is), as a walsender would send them. Checked beside memory safety: what a message points
 * to lies within its bytes or is a whole text of the parser's.
 */
#include "change-stream/pgoutput.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

static void check_within(struct hd_str s, const uint8_t *p, size_t len)
{
    const uint8_t *at = (const uint8_t *)s.ptr;

    MUST(at >= p && at <= p + len && s.len <= (size_t)(p + len - at));
}

static void check_relation(const struct hd_stream_relation *r)
{
    MUST(strlen(r->schema.ptr) == r->schema.len && strlen(r->name.ptr) == r->name.len);
    for (uint32_t i = 0; i < r->column_count; i++)
        MUST(strlen(r->columns[i].name.ptr) == r->columns[i].name.len);
}

static void check_tuple(const struct hd_stream_row *row, const struct hd_stream_value *v, const uint8_t *p,
                        size_t len)
{
    for (uint32_t i = 0; v && i < row->relation->column_count; i++) {
        MUST(v[i].kind >= HD_STREAM_NULL && v[i].kind <= HD_STREAM_ABSENT);
        if (v[i].kind == HD_STREAM_TEXT)
            check_within(v[i].text, p, len);
    }
}

static void check_message(const struct pgo_message *m, const uint8_t *p, size_t len)
{
    switch (m->kind) {
    case PGO_RELATION:
        check_relation(m->relation);
        break;
    case PGO_ROW:
        check_relation(m->row.relation);
        MUST(m->row.kind == HD_STREAM_DELETE ? m->row.old && !m->row.new_row : m->row.new_row != NULL);
        check_tuple(&m->row, m->row.old, p, len);
        check_tuple(&m->row, m->row.new_row, p, len);
        break;
    case PGO_TRUNCATE:
        for (uint32_t i = 0; i < m->oid_count; i++) {
            volatile uint32_t oid = m->oids[i]; /* they can all be read */

            (void)oid;
        }
        break;
    case PGO_MESSAGE:
        check_within(m->prefix, p, len);
        check_within(m->content, p, len);
        break;
    default:
        break;
    }
}

static void take_piece(struct pgo_parser *parser, const uint8_t *p, size_t len)
{
    struct pgo_envelope e;
    struct pgo_message m;
    uint8_t status[PGO_STATUS_LEN];

    if (pgo_unwrap(p, len, &e))
        return;
    if (e.keepalive) {
        pgo_status(status, e.end, 0, e.reply_wanted);
        MUST(status[0] == 'r' && status[PGO_STATUS_LEN - 1] == (e.reply_wanted ? 1 : 0));
        return;
    }
    if (pgo_parse(parser, e.inside, e.inside_len, &m) == HD_OK)
        check_message(&m, e.inside, e.inside_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pgo_parser *parser = pgo_new();

    MUST(parser);
    while (size >= 2) {
        size_t len = (size_t)data[0] << 8 | data[1];
        uint8_t *exact;

        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        exact = malloc(len ? len : 1); /* of the exact size, so that a sanitizer sees a read past the end */
        MUST(exact);
        memcpy(exact, data, len);
        take_piece(parser, exact, len);
        free(exact);
        data += len;
        size -= len;
    }
    pgo_free(parser);
    return 0;
}
