/*
 * One execution on its way: finding its template, asking the filters, counting what it brings, telling the
 * filters how it ended. Executions that no filter wants have no hd_stmt at all.
 */
#ifndef HD_SESSION_STATEMENT_H
#define HD_SESSION_STATEMENT_H

#include "session/moment.h"

/* What is known of a text before it runs. */
struct hd_text {
    struct hd_template *tmpl;   /* borrowed from the worker's cache until its next look-up */
    struct hd_chain_plan *plan; /* never NULL */
    uint64_t facts;             /* HD_FACT_… */
    uint32_t kind;              /* HD_KIND_… */
};

/* Finds the template of a Query's text (literals taken out) or of a Parse's text (as it is). sql NULL: too
 * long to be gathered. HD_OK or HD_ENOMEM. */
int hd_text_of_query(struct hd_session *s, const char *sql, size_t len, struct hd_text *out) HD_MUST_USE;
int hd_text_of_parse(struct hd_session *s, const char *sql, size_t len, struct hd_text *out) HD_MUST_USE;
/* Of a template that is known already. */
int hd_text_of_template(struct hd_session *s, struct hd_template *tmpl, struct hd_text *out) HD_MUST_USE;

/* Everything a filter may look at; filled by the caller from its messages. */
struct hd_stmt_input {
    const char *sql;
    size_t sql_len;
    const uint8_t *bind; /* the Bind message, or NULL */
    size_t bind_len;
    const uint8_t *types; /* of the Parse, big-endian, or NULL */
    uint32_t type_count;
    uint32_t flags; /* HD_STMT_… */
};

/* Begins an execution that somebody wants; NULL: no memory. */
struct hd_stmt *hd_stmt_begin(struct hd_session *s, const struct hd_text *t, uint32_t flags);
/* Asks the filters. Returns the verdict's kind; v is filled. */
uint32_t hd_stmt_decide(struct hd_stmt *st, const struct hd_stmt_input *in, struct hd_verdict *v);
/* Its course. */
static inline void hd_stmt_row(struct hd_stmt *st)
{
    st->rows++;
}
/* What comes with the answer and is not its part: the description of its rows. */
void hd_stmt_show(struct hd_stmt *st, const uint8_t *bytes, size_t len);
static inline void hd_stmt_bytes(struct hd_stmt *st, const uint8_t *bytes, size_t len)
{
    if (!st->first_ns)
        st->first_ns = hd_moment(st->session->w);
    st->bytes += len;
    if (st->want & HD_WANT_DATA)
        hd_stmt_show(st, bytes, len);
}
void hd_stmt_tag(struct hd_stmt *st, const char *tag, size_t len);
/* A filter's answer: whole messages, the last of them a CommandComplete. */
void hd_stmt_answer(struct hd_stmt *st, const char *bytes, size_t len);
void hd_stmt_fail(struct hd_stmt *st, const char *sqlstate);
/* Waiting for a server, or parked, begins and ends. */
void hd_stmt_wait(struct hd_stmt *st, uint64_t now_ns);
void hd_stmt_go(struct hd_stmt *st, uint64_t now_ns);
/* The end; frees it. */
void hd_stmt_complete(struct hd_stmt *st);
/* Statements kept for reuse. */
void hd_stmts_free(struct hd_worker *w);

#endif
