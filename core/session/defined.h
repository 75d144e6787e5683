/*
 * Transactions that may change a schema, roles or privileges: when one ends, what is kept of its database's
 * catalog stands no longer, and that is said before the client is told of the end.
 */
#ifndef HD_SESSION_DEFINED_H
#define HD_SESSION_DEFINED_H

#include "session/session.h"

/* In hd_server.defines. */
#define HD_DEFINES_DATABASE 1u
#define HD_DEFINES_NODE     2u /* roles and databases are all databases' */

/* Such a statement goes to the server, as its facts say. */
static inline void hd_defined_note(struct hd_server *v, uint64_t facts)
{
    if (HD_UNLIKELY(facts & HD_FACT_DEFINES))
        v->defines |= HD_DEFINES_DATABASE;
}

/* Or one has run, as its tag says; NULL: it is not known which. */
void hd_defined_tag(struct hd_server *v, const struct hd_stmt *st, const char *tag);
/* The transaction is over, or what has become of it is not known. */
void hd_defined_end(struct hd_server *v);

#endif
