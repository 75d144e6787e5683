/*
 * Reads what a walsender sends: the envelopes of the copy stream, and within them the messages of pgoutput
 * (protocol version 1, with messages). Knows no connection. Everything is checked for bounds: whatever the
 * bytes are, nothing outside of them is read, and no more is allocated than they account for.
 *
 * What a message points to lies in the bytes given and in the parser, and is valid until the next call.
 */
#ifndef CHANGE_STREAM_PGOUTPUT_H
#define CHANGE_STREAM_PGOUTPUT_H

#include <howdah/change_stream.h>

#define PGO_MAX_COLUMNS   1664  /* PostgreSQL's own limit is lower */
#define PGO_MAX_RELATIONS 16384 /* kept; past it the stream has to begin anew */

struct pgo_parser;

/* NULL: no memory. */
struct pgo_parser *pgo_new(void);
void pgo_free(struct pgo_parser *p);
/* Forgets all relations: another stream begins. */
void pgo_reset(struct pgo_parser *p);

enum pgo_kind {
    PGO_NOTHING = 0, /* type names, origins: nothing that anybody needs */
    PGO_RELATION,
    PGO_BEGIN,
    PGO_COMMIT,
    PGO_ROW,
    PGO_TRUNCATE,
    PGO_MESSAGE,
};

struct pgo_message {
    enum pgo_kind kind;
    uint32_t xid;                              /* BEGIN */
    uint64_t lsn, end_lsn;                     /* COMMIT; BEGIN and MESSAGE: lsn */
    const struct hd_stream_relation *relation; /* RELATION */
    struct hd_stream_row row;                  /* ROW; without its xid */
    const uint32_t *oids;                      /* TRUNCATE */
    uint32_t oid_count;
    uint32_t transactional; /* MESSAGE */
    struct hd_str prefix, content;
};

/* One message. HD_OK; HD_EPROTO: it is none, or tells of a relation that was not told; HD_EFULL; HD_ENOMEM.
 */
int pgo_parse(struct pgo_parser *p, const void *data, size_t len, struct pgo_message *out);

struct pgo_envelope {
    int keepalive; /* else it has a message in it */
    int reply_wanted;
    uint64_t start;     /* of what is in it */
    uint64_t end;       /* keepalive: everything up to here was sent */
    const void *inside; /* the message */
    size_t inside_len;
};

/* One piece of the copy stream. HD_OK or HD_EPROTO. */
int pgo_unwrap(const void *data, size_t len, struct pgo_envelope *out);

/* A status update: written, flushed and applied up to `lsn`. `out` has room for PGO_STATUS_LEN bytes. */
#define PGO_STATUS_LEN 34
void pgo_status(uint8_t *out, uint64_t lsn, int64_t now_us_since_2000, int want_reply);

#endif
