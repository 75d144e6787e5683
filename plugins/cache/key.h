/*
 * Keys: what makes two reads the same. The context of the session, the statement's text and parameters, and
 * in what form the answer is wanted.
 */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H

#include "session.h"

/* Made in the worker's buffer: valid until the worker's next. HD_ENOMEM. [worker] */
int32_t cache_key_make(struct cache_worker *w, const struct cache_session *s, const struct hd_statement *st,
                       struct hd_cache_key *key);

#endif
