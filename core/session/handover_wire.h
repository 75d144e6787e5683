/*
 * The bytes that a session is on its way to another host: numbers of 8 bytes in the machine's order (both
 * hosts are on it), texts and contents with their length in front. What arrives is checked as if it came from
 * anywhere.
 */
#ifndef HD_SESSION_HANDOVER_WIRE_H
#define HD_SESSION_HANDOVER_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "session/params.h"

/* What a Parse message said; see struct hd_prep. */
struct hd_moved_prep {
    const uint8_t *body;
    uint32_t len, sql_len;
};

struct hd_moved_name {
    const char *name;
    struct hd_moved_prep prep;
    uint64_t rows;
};

struct hd_moved_params {
    const struct hd_param_entry *entries;
    uint32_t count;
};

/* All that makes up a session at rest, beside what stands in the packet's head. Everything is borrowed: from
 * the session, or from the bytes. */
struct hd_moved {
    const char *listener, *database, *user;
    uint64_t statements, transactions;
    struct hd_moved_params params, startup;
    const struct hd_moved_name *names;
    uint32_t name_count;
    int has_unnamed;
    struct hd_moved_prep unnamed;
    void *room; /* of what was decoded */
};

/* Appends it; out->failed where there is no memory. */
void hd_moved_encode(const struct hd_moved *m, struct hd_strbuf *out);
/* HD_OK, and *m points into the bytes until hd_moved_free; HD_EINVAL: it is none; HD_ENOMEM. */
int hd_moved_decode(const uint8_t *bytes, size_t len, struct hd_moved *m);
void hd_moved_free(struct hd_moved *m);

#endif
