/*
 * The parts of bus-redis that need no Redis: messages, and what is known of the other hosts.
 */
#include "unit.h"
#include "bus-redis/peers.h"

#include <stdlib.h>
#include <string.h>

static struct br_message message_of(uint32_t kind, unsigned char host, uint64_t number)
{
    struct br_message m = {
        .kind = kind, .number = number, .topic = {"table.written/1", 15}, .data = {"data", 4}};

    memset(m.host.bytes, host, sizeof(m.host.bytes));
    return m;
}

static int32_t read_exact(const char *p, uint64_t len, struct br_message *out)
{
    char *exact = malloc(len + !len); /* so that a sanitizer sees a read past the end */
    int32_t code;

    if (len)
        memcpy(exact, p, len);
    code = br_message_read((struct hd_str){exact, len}, out);
    free(exact);
    return code;
}

static void messages(void)
{
    struct br_message m = message_of(BR_EVENT, 7, 0x1122334455667788u), got;
    char bytes[BR_MESSAGE_MAX], longest[HD_EVENT_MAX + 1] = {0};
    uint32_t len = br_message_write(&m, bytes);

    CU_ASSERT_EQUAL_FATAL(len, BR_HEADER + 15 + 4);
    CU_ASSERT_EQUAL_FATAL(br_message_read((struct hd_str){bytes, len}, &got), HD_OK);
    CU_ASSERT(got.kind == BR_EVENT && got.number == m.number && !memcmp(&got.host, &m.host, sizeof(m.host)));
    CU_ASSERT(got.topic.len == 15 && !memcmp(got.topic.ptr, "table.written/1", 15));
    CU_ASSERT(got.data.len == 4 && !memcmp(got.data.ptr, "data", 4));
    m.data = (struct hd_str){longest, HD_EVENT_MAX};
    m.topic = (struct hd_str){longest, HD_EVENT_NAME - 1};
    CU_ASSERT_EQUAL(br_message_write(&m, bytes), BR_MESSAGE_MAX - 1);
    m.data.len++;
    CU_ASSERT_EQUAL(br_message_write(&m, bytes), 0);
    m.data.len = 0;
    m.topic.len = HD_EVENT_NAME;
    CU_ASSERT_EQUAL(br_message_write(&m, bytes), 0);
}

static void broken_messages(void)
{
    struct br_message m = message_of(BR_GAP, 7, 5), got;
    char bytes[BR_MESSAGE_MAX + 1] = {0};
    uint32_t len = br_message_write(&m, bytes);

    for (uint32_t n = 0; n < len; n++)
        CU_ASSERT_EQUAL(read_exact(bytes, n, &got), HD_EPROTO);
    CU_ASSERT_EQUAL(read_exact(bytes, len + 1, &got), HD_EPROTO);
    bytes[6] = 0;
    CU_ASSERT_EQUAL(read_exact(bytes, len, &got), HD_EPROTO);
    bytes[6] = 4;
    CU_ASSERT_EQUAL(read_exact(bytes, len, &got), HD_EPROTO);
    bytes[6] = BR_GAP;
    bytes[36] = HD_EVENT_NAME;
    CU_ASSERT_EQUAL(read_exact(bytes, len, &got), HD_EPROTO);
    bytes[36] = 15;
    bytes[4] = 2; /* of a later version: who has sent it is known */
    CU_ASSERT_EQUAL(read_exact(bytes, len, &got), HD_EVERSION);
    CU_ASSERT(got.number == 5 && got.host.bytes[3] == 7);
    bytes[4] = 1;
    bytes[33] ^= 3; /* of a machine of the other byte order */
    CU_ASSERT_EQUAL(read_exact(bytes, len, &got), HD_EVERSION);
    bytes[33] ^= 3;
    CU_ASSERT_EQUAL(read_exact(bytes, len, &got), HD_OK);
}

static struct br_peers peers;

/* -1: an old one. */
static int note(uint32_t kind, unsigned char host, uint64_t number, uint64_t now)
{
    struct br_message m = message_of(kind, host, number);
    int old = 0, gap = br_peers_note(&peers, &m, now, &old);

    CU_ASSERT(!gap || !old);
    return old ? -1 : gap;
}

static void gaps(void)
{
    br_peers_clear(&peers);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 1, 0), 0);
    CU_ASSERT_EQUAL(note(BR_GAP, 1, 2, 0), 0);
    CU_ASSERT_EQUAL(note(BR_BEAT, 1, 2, 0), 0);
    CU_ASSERT_EQUAL(note(BR_BEAT, 1, 2, 0), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 4, 0), 1);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 4, 0), -1);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 1, 0), -1);
    CU_ASSERT_EQUAL(note(BR_BEAT, 1, 3, 0), -1);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 5, 0), 0);
    CU_ASSERT_EQUAL(note(BR_BEAT, 1, 9, 0), 1);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 10, 0), 0);
    /* Heard for the first time: nothing was sent before, or something was. */
    CU_ASSERT_EQUAL(note(BR_BEAT, 2, 0, 0), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 2, 1, 0), 0);
    CU_ASSERT_EQUAL(note(BR_BEAT, 3, 1, 0), 1);
    CU_ASSERT_EQUAL(note(BR_EVENT, 4, 2, 0), 1);
    CU_ASSERT_EQUAL(note(BR_EVENT, 5, UINT64_MAX - 1, 0), 1);
}

static void silence(void)
{
    br_peers_clear(&peers);
    note(BR_BEAT, 1, 0, 0);
    note(BR_BEAT, 2, 0, 0);
    CU_ASSERT_EQUAL(br_peers_look(&peers, 3, 6), 0);
    CU_ASSERT_EQUAL(br_peers_look(&peers, 3, 6), 0);
    note(BR_BEAT, 1, 0, 0);
    CU_ASSERT_EQUAL(br_peers_look(&peers, 3, 6), 1);
    CU_ASSERT_EQUAL(br_peers_look(&peers, 3, 6), 0);
    CU_ASSERT_EQUAL(br_peers_look(&peers, 3, 6), 1);
    CU_ASSERT_EQUAL(br_peers_look(&peers, 3, 6), 0); /* the second is forgotten by now */
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 1, 0), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 2, 1, 0), 0);
}

/* More hosts than places: the one that was heard longest ago makes room, and has a gap when it is back. */
static void many_peers(void)
{
    br_peers_clear(&peers);
    for (int i = 0; i < BR_PEERS_MAX; i++)
        CU_ASSERT_EQUAL(note(BR_EVENT, (unsigned char)i, 1, (uint64_t)i + 1), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 0, 2, BR_PEERS_MAX + 1), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 200, 1, BR_PEERS_MAX + 2), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 0, 3, BR_PEERS_MAX + 3), 0);
    CU_ASSERT_EQUAL(note(BR_EVENT, 1, 2, BR_PEERS_MAX + 4), 1);
}

UNIT_MAIN("plugin_bus_redis", {"a message is read as it was written", messages},
          {"a message that is cut, longer or of another kind", broken_messages},
          {"numbers that are missing, and old ones", gaps}, {"hosts that fall silent", silence},
          {"more hosts than there are places", many_peers})
