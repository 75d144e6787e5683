/*
 * What a literal says: its text as PostgreSQL reads it, without quotes and escapes. Under the rules that the
 * scanner knows: version 15's, standard_conforming_strings on.
 */
#ifndef HD_SQL_LITERAL_H
#define HD_SQL_LITERAL_H

#include <howdah/types.h>

#include "base/arena.h"
#include "base/check.h"
#include "sql/scan.h"

/* The content of a literal that the scan of `sql` found: of a number as it is written, of a string decoded,
 * of bits as 0 and 1. It points into `sql` where nothing had to be decoded, else into `arena`. `utf8`: the
 * client's encoding is UTF-8. HD_OK, HD_ENOMEM; HD_EUNSUPP: PostgreSQL refuses it, or what it makes of it
 * hangs on the server's encoding, or N'…', which is a char(n) at once. */
int hd_literal_text(const char *sql, size_t len, const struct hd_literal *lit, int utf8,
                    struct hd_arena *arena, struct hd_str *out) HD_MUST_USE;

#endif
