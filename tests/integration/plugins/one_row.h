/*
 * For plugins for tests that answer statements by themselves: a row of one text, and codes in words.
 */
#ifndef HD_TESTS_ONE_ROW_H
#define HD_TESTS_ONE_ROW_H

#include "skeleton.h"

static inline void put_number(char **at, uint32_t n, int bytes)
{
    while (bytes--)
        *(*at)++ = (char)(n >> 8 * bytes);
}

/* One row of one column of text; `room` has 200 bytes more than the text. */
static inline void fill_answer(struct hd_verdict *v, const char *text, char *room)
{
    uint32_t len = (uint32_t)strlen(text);
    char *at = room;

    *at++ = 'T';
    put_number(&at, 4 + 2 + 6 + 18, 4);
    put_number(&at, 1, 2);
    memcpy(at, "value", 6);
    at += 6;
    put_number(&at, 0, 4);
    put_number(&at, 0, 2);
    put_number(&at, 25, 4);
    put_number(&at, 0xffff, 2);
    put_number(&at, 0xffffffff, 4);
    put_number(&at, 0, 2);
    v->describe = (struct hd_str){room, (uint64_t)(at - room)};
    v->bytes.ptr = at;
    *at++ = 'D';
    put_number(&at, 4 + 2 + 4 + len, 4);
    put_number(&at, 1, 2);
    put_number(&at, len, 4);
    memcpy(at, text, len);
    at += len;
    *at++ = 'C';
    put_number(&at, 4 + 9, 4);
    memcpy(at, "SELECT 1", 9);
    at += 9;
    v->bytes.len = (uint64_t)(at - v->bytes.ptr);
    v->kind = HD_VERDICT_ANSWER;
}

static inline const char *name_of(int32_t code)
{
    switch (code) {
    case HD_OK:
        return "ok";
    case HD_ENOENT:
        return "miss";
    case HD_EBUSY:
        return "busy";
    case HD_EFULL:
        return "full";
    case HD_EINVAL:
        return "invalid";
    case HD_ETIMEOUT:
        return "timeout";
    default:
        return "another";
    }
}

#endif
