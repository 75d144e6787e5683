/*
 * Messages to bytes and back; see message.h.
 */
#include "bus-redis/message.h"

#include <string.h>

#include "redis/number.h"

static const char magic[4] = {'H', 'D', 'B', 'M'};

/* Structs are sent as they are in memory, so both machines must lay them out alike. */
static uint64_t machine(void)
{
    const uint16_t order = 0x0102;
    unsigned char first;

    memcpy(&first, &order, 1);
    return (uint64_t)first << 8 | sizeof(void *);
}

uint32_t br_message_write(const struct br_message *m, char out[BR_MESSAGE_MAX])
{
    if (m->topic.len >= HD_EVENT_NAME || m->data.len > HD_EVENT_MAX)
        return 0;
    memcpy(out, magic, sizeof(magic));
    rds_put_number(out + 4, BR_VERSION, 2);
    rds_put_number(out + 6, m->kind, 2);
    memcpy(out + 8, m->host.bytes, sizeof(m->host.bytes));
    rds_put_number(out + 24, m->number, 8);
    rds_put_number(out + 32, machine(), 4);
    rds_put_number(out + 36, m->topic.len, 2);
    rds_put_number(out + 38, m->data.len, 2);
    if (m->topic.len)
        memcpy(out + BR_HEADER, m->topic.ptr, m->topic.len);
    if (m->data.len)
        memcpy(out + BR_HEADER + m->topic.len, m->data.ptr, m->data.len);
    return (uint32_t)(BR_HEADER + m->topic.len + m->data.len);
}

int32_t br_message_read(struct hd_str s, struct br_message *out)
{
    memset(out, 0, sizeof(*out));
    if (s.len < BR_HEADER || memcmp(s.ptr, magic, sizeof(magic)) != 0)
        return HD_EPROTO;
    memcpy(out->host.bytes, s.ptr + 8, sizeof(out->host.bytes));
    out->number = rds_get_number(s.ptr + 24, 8);
    if (rds_get_number(s.ptr + 4, 2) != BR_VERSION || rds_get_number(s.ptr + 32, 4) != machine())
        return HD_EVERSION;
    out->kind = (uint32_t)rds_get_number(s.ptr + 6, 2);
    out->topic = (struct hd_str){s.ptr + BR_HEADER, rds_get_number(s.ptr + 36, 2)};
    out->data.len = rds_get_number(s.ptr + 38, 2);
    if (out->topic.len >= HD_EVENT_NAME || out->data.len > HD_EVENT_MAX ||
        s.len != BR_HEADER + out->topic.len + out->data.len || out->kind < BR_EVENT || out->kind > BR_GAP)
        return HD_EPROTO;
    out->data.ptr = s.ptr + BR_HEADER + out->topic.len;
    return HD_OK;
}
