/*
 * A message between hosts, as it goes through Redis: who has sent it, which of his messages it is, and what
 * it carries.
 *
 *     0  magic "HDBM"    4  version, 2 bytes    6  kind, 2 bytes
 *     8  the host: 16 bytes, made at random when its plugin starts
 *    24  number of the message among those of its host, from 1 on, 8 bytes; a beat has none of its own, but
 *        that of the message before it
 *    32  byte order and word size of the sender, 4 bytes    36  length of the topic, 2 bytes    38  of the
 * data 40  the topic, then the data: a struct as it is in memory
 *
 * Numbers are little-endian, but for the struct's own.
 */
#ifndef HD_PLUGINS_BUS_REDIS_MESSAGE_H
#define HD_PLUGINS_BUS_REDIS_MESSAGE_H

#include <howdah/events.h>

#define BR_VERSION     1
#define BR_HEADER      40
#define BR_MESSAGE_MAX (BR_HEADER + HD_EVENT_NAME + HD_EVENT_MAX)

#define BR_EVENT 1 /* an event of a topic */
#define BR_BEAT  2 /* I am here, and have sent so many */
#define BR_GAP   3 /* events of this topic were lost at the sender's */

struct br_host_id {
    unsigned char bytes[16];
};

/* Topic and data are borrowed. */
struct br_message {
    uint32_t kind;
    struct br_host_id host;
    uint64_t number;
    struct hd_str topic; /* as in the message: not NUL-terminated */
    struct hd_str data;
};

/* Returns the length, or 0: topic or data are too long. */
uint32_t br_message_write(const struct br_message *m, char out[BR_MESSAGE_MAX]);

/* HD_OK; HD_EVERSION: of ours, but not to be read here: of another version, or of another kind of machine;
 * then only host and number are filled. HD_EPROTO: no message. */
int32_t br_message_read(struct hd_str s, struct br_message *out);

#endif
