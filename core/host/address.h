/*
 * Addresses as the configuration writes them: where to listen, and which networks may connect.
 */
#ifndef HD_HOST_ADDRESS_H
#define HD_HOST_ADDRESS_H

#include <howdah/error.h>

#include "session/settings.h"

/* Parses "127.0.0.1:6432", "[::1]:6432", "name:6432" or "unix:/path" into at most `cap` addresses (a name may
 * have several), looking names up by the system's resolver. Returns how many, or a code and the reason, which
 * begins with a verb. `text` is kept by the result and must outlive it. */
int hd_address_parse(const char *text, struct hd_address *out, int cap, struct hd_error *err);
/* Can only this machine reach it? */
int hd_address_is_local(const struct hd_address *a);
/* The same socket? */
int hd_address_equal(const struct hd_address *a, const struct hd_address *b);

/* Parses "10.0.0.0/8", "::1/128", or an address alone. HD_OK, or a code and the reason. */
int hd_network_parse(const char *text, struct hd_network *out, struct hd_error *err);

/* The path of "unix:/path"; NULL when it is none that a socket can have. */
const char *hd_unix_path(const char *text);

#endif
