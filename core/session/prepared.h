/*
 * What a client has prepared, and bringing it to the server that it has at the moment.
 *
 * Every Parse is parsed by the server, under a new name of the host's, so that PostgreSQL says of it what it
 * would say to the client alone. Of a statement that gives rows the host asks which; where the server had the
 * same already, that one is used from then on and the new one closed. A statement that a server lacks is
 * parsed there before its next use, with the types that its parameters came to; where its rows have changed
 * since, PostgreSQL would refuse it, and so does the host.
 *
 * In a session that keeps its server for good, or that has statements made by PREPARE, names stay the
 * client's.
 */
#ifndef HD_SESSION_PREPARED_H
#define HD_SESSION_PREPARED_H

#include "session/extended.h"
#include "session/statement.h"
#include "wire/describe.h"

static inline struct hd_prep_table *hd_session_preps(const struct hd_session *s)
{
    return s->w->all->preps;
}

/* The content that a name stands for; NULL: the client has no such name, or it is not known. */
struct hd_prep *hd_prepared_content(struct hd_session *s, const char *name);
/* A name that is nobody's goes to the server as it is, so that PostgreSQL answers; unless it is one of ours
 * there. */
int hd_prepared_foreign(const char *name);
/* Do new names stay the client's on the server? */
int hd_prepared_own(const struct hd_session *s);
/* Keeps the pin in step with the names. */
void hd_prepared_pin(struct hd_session *s);

/* --- the named ones --- */

/* The client's Parse of a new name: sends it. HD_OK or HD_ENOMEM. */
int hd_prepared_parse(struct hd_session *s, struct hd_name *n) HD_MUST_USE;
/* A client's Parse under a name that it has already: the server finds out what is wrong with it. */
int hd_prepared_parse_taken(struct hd_session *s, const struct hd_name *n, const uint8_t *body,
                            uint32_t len) HD_MUST_USE;
/* The name is to be known to the server as the client knows it. `empty`: as a statement that does nothing. */
int hd_prepared_export(struct hd_session *s, struct hd_name *n, int empty) HD_MUST_USE;
/* It is not to be known so any more. */
int hd_prepared_unexport(struct hd_session *s, struct hd_name *n) HD_MUST_USE;

enum hd_ready {
    HD_READY,       /* *id is its number on the server */
    HD_READY_LATER, /* offer the message again */
    HD_READY_STALE, /* its rows have changed since it was parsed */
    HD_READY_ENOMEM,
};

/* The server must have the statement that a message, a Bind or Describe, is about. */
enum hd_ready hd_prepared_ready(struct hd_session *s, struct hd_name *n, int describe,
                                uint64_t *id) HD_MUST_USE;

/* PostgreSQL tells the parameters before it finds out that a statement cannot be described. NULL: no memory.
 */
struct hd_buf *hd_prepared_parameters(struct hd_session *s, const struct hd_prep *p) HD_MUST_USE;
/* The statement that the host's own Parse was to bring for a Describe; NULL: it was not. */
const struct hd_prep *hd_prepared_described(const struct hd_session *s, const struct hd_expect *e);

/* What the host asked about a statement. */
struct hd_ask {
    struct hd_prep *prep;     /* as it was sent; held */
    struct hd_prep *resolved; /* with the types of all parameters; held, or NULL until they are known */
    uint64_t id;
    int unnamed; /* it is the server's unnamed statement */
    /* Of a statement under the client's own name: its rows; 0: it is under one of the host's. */
    uint64_t expected;
};
void hd_ask_free(struct hd_prep_table *t, struct hd_ask *a);
/* The answers to it: ParameterDescription; then RowDescription or NoData, with the number of the client's
 * Parse (0: none). 0 when there is no memory. */
int hd_ask_parameters(struct hd_server *v, struct hd_ask *a, const struct hd_frame *f) HD_MUST_USE;
int hd_ask_rows(struct hd_server *v, struct hd_ask *a, uint32_t seq, const struct hd_frame *f) HD_MUST_USE;
/* A statement is there whose rows are not asked for. */
void hd_prepared_parsed(struct hd_server *v, uint64_t id, uint32_t seq);

/* --- the unnamed one --- */

/* The client's Parse of it. */
int hd_unnamed_parse(struct hd_session *s, struct hd_prep *p) HD_MUST_USE;
/* Notes that it is closed. Returns the entry to be expected. */
struct hd_expect hd_unnamed_close(struct hd_session *s);
/* Has this batch found it there, while it is still to be heard what earlier ones have done to it? */
int hd_unnamed_in_doubt(const struct hd_session *s);
/* Makes the server's the client's. */
enum hd_ready hd_unnamed_ready(struct hd_session *s, int describe) HD_MUST_USE;
/* A Sync is about to be sent, and the client has not bound it since its Parse. HD_OK or HD_ENOMEM. */
int hd_unnamed_synced(struct hd_session *s) HD_MUST_USE;
/* The client's is gone; what the server has stays there. */
void hd_unnamed_ended(struct hd_session *s);
/* It is gone on both sides. s may be NULL. */
void hd_unnamed_lost(struct hd_session *s, struct hd_server *v);
/* A Parse or Close of it was skipped: what was there before is there still. */
void hd_unnamed_undo(struct hd_server *v, struct hd_expect *e);
/* A Parse of it failed: PostgreSQL had dropped the one before. */
void hd_unnamed_failed(struct hd_server *v, const struct hd_expect *e);

/* --- closed ones --- */

/* A name that the client closed, in case the server skips the Close. */
struct hd_closed_name {
    struct hd_prep *prep;
    uint64_t rows, id;
    uint32_t seq;
    uint8_t own;
    char name[];
};
/* NULL: no memory. */
struct hd_closed_name *hd_closed_name_new(const struct hd_name *n);
void hd_closed_name_free(struct hd_prep_table *t, struct hd_closed_name *c);
/* The one that the Parse numbered `seq` made, if its Close is still to be answered; else NULL. */
struct hd_closed_name *hd_closed_name_of_seq(struct hd_server *v, uint32_t seq);
void hd_closed_name_undo(struct hd_session *s, const struct hd_closed_name *c);

/* --- SQL commands about them (prepared_sql.c) --- */

/* A text that makes, runs or drops prepared statements is about to be forwarded: the server must know by the
 * client's names those that it speaks of, and what comes behind waits until it is known what it did.
 * HD_TAKEN: go on; HD_TAKE_LATER; HD_TAKE_END. */
enum hd_taken hd_prepared_sql(struct hd_session *s, const struct hd_text *t);
/* What the server has been told of names came to nothing. `after`: of the queue, from the Parse on. 1: the
 * client hears of it when it uses the name; 0: now, since all that it has sent behind is skipped. */
int hd_prepared_export_failed(struct hd_server *v, const struct hd_frame *f);
/* A statement that is known to the server by the client's name gives other rows than it did. HD_OK or
 * HD_ENOMEM. */
int hd_prepared_changed(struct hd_session *s, uint32_t seq) HD_MUST_USE;
/* What the client is to read instead of an error that only says that its server does not have such a name;
 * NULL: nothing. Borrowed. */
struct hd_buf *hd_prepared_excuse(struct hd_session *s, const struct hd_report *rep);
/* The same for a portal that is to run this text, where it gives rows that cannot be described. */
struct hd_buf *hd_prepared_excuse_of(struct hd_session *s, const struct hd_template *tmpl);
void hd_prepared_excuses_free(struct hd_session *s);
/* Can a Query be answered here, as DEALLOCATE of a name that the server knows by another? */
int hd_prepared_deallocates(struct hd_session *s, const struct hd_text *t);
/* A command of that text has ended: DEALLOCATE, DEALLOCATE ALL, DISCARD ALL. */
void hd_prepared_sql_done(struct hd_server *v, const char *tag);

#endif
