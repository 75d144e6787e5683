/*
 * CRC16 (XMODEM: polynomial 0x1021, from zero), and answers read with suspicion; see slots.h.
 */
#include "redis/slots.h"

#include <string.h>

static uint16_t crc16(const char *p, uint64_t len)
{
    uint16_t crc = 0;

    for (uint64_t i = 0; i < len; i++) {
        crc = (uint16_t)(crc ^ (unsigned char)p[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

uint32_t rds_slot(struct hd_str key)
{
    const char *open = key.len ? memchr(key.ptr, '{', key.len) : NULL;
    const char *end = key.ptr + key.len, *close = open ? memchr(open, '}', (size_t)(end - open)) : NULL;

    if (close && close > open + 1)
        return crc16(open + 1, (uint64_t)(close - open - 1)) % RDS_SLOTS;
    return crc16(key.ptr, key.len) % RDS_SLOTS;
}

/* [host, port, …]; an empty or unknown host is that of whom was asked. */
static int32_t read_node(const redisReply *node, const struct rds_address *asked, struct rds_address *out)
{
    struct hd_str host = {asked->host, strlen(asked->host)};

    if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 ||
        node->element[1]->type != REDIS_REPLY_INTEGER)
        return HD_EPROTO;
    if (node->element[0]->type == REDIS_REPLY_STRING && node->element[0]->len > 0)
        host = (struct hd_str){node->element[0]->str, (uint64_t)node->element[0]->len};
    else if (node->element[0]->type != REDIS_REPLY_STRING && node->element[0]->type != REDIS_REPLY_NIL)
        return HD_EPROTO;
    return rds_address_set(out, host, (uint64_t)node->element[1]->integer) ? HD_EPROTO : HD_OK;
}

/* [from, to, master, replica…] */
static int32_t read_range(const redisReply *range, const struct rds_address *asked, uint32_t *from,
                          uint32_t *to, struct rds_address *master)
{
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
        range->element[0]->type != REDIS_REPLY_INTEGER || range->element[1]->type != REDIS_REPLY_INTEGER ||
        range->element[0]->integer < 0 || range->element[1]->integer >= RDS_SLOTS ||
        range->element[0]->integer > range->element[1]->integer)
        return HD_EPROTO;
    *from = (uint32_t)range->element[0]->integer;
    *to = (uint32_t)range->element[1]->integer;
    return read_node(range->element[2], asked, master);
}

int32_t rds_slots_read(const redisReply *answer, const struct rds_address *asked,
                       void (*fn)(void *arg, uint32_t from, uint32_t to, const struct rds_address *master),
                       void *arg)
{
    struct rds_address master;
    uint32_t from, to;

    if (answer->type != REDIS_REPLY_ARRAY || !answer->elements)
        return HD_EPROTO;
    for (size_t i = 0; i < answer->elements; i++) {
        if (read_range(answer->element[i], asked, &from, &to, &master))
            return HD_EPROTO;
        fn(arg, from, to, &master);
    }
    return HD_OK;
}

/* Takes a number and what follows it off the front; 0: there is none. */
static int take_number(struct hd_str *s, char behind, uint64_t max, uint64_t *out)
{
    uint64_t i = 0, n = 0;

    while (i < s->len && i < 6 && s->ptr[i] >= '0' && s->ptr[i] <= '9')
        n = n * 10 + (uint64_t)(s->ptr[i++] - '0');
    if (!i || n > max || (behind && (i == s->len || s->ptr[i] != behind)) || (!behind && i != s->len))
        return 0;
    i += behind != '\0';
    *s = (struct hd_str){s->ptr + i, s->len - i};
    *out = n;
    return 1;
}

int32_t rds_redirect_read(struct hd_str error, const struct rds_address *asked, uint32_t *slot, int *asking,
                          struct rds_address *where)
{
    uint64_t n = 0, port = 0, host_len;
    const char *colon;
    struct hd_str rest;

    *asking = error.len > 4 && !memcmp(error.ptr, "ASK ", 4);
    if (!*asking && !(error.len > 6 && !memcmp(error.ptr, "MOVED ", 6)))
        return HD_ENOENT;
    rest = (struct hd_str){error.ptr + (*asking ? 4 : 6), error.len - (*asking ? 4 : 6)};
    colon = memrchr(rest.ptr, ':', rest.len);
    if (!take_number(&rest, ' ', RDS_SLOTS - 1, &n) || !colon || colon < rest.ptr)
        return HD_ENOENT;
    host_len = (uint64_t)(colon - rest.ptr);
    *slot = (uint32_t)n;
    error = (struct hd_str){colon + 1, rest.len - host_len - 1};
    if (!take_number(&error, '\0', 65535, &port))
        return HD_ENOENT;
    if (!host_len)
        rest = (struct hd_str){asked->host, strlen(asked->host)};
    else
        rest.len = host_len;
    return rds_address_set(where, rest, port) ? HD_ENOENT : HD_OK;
}
