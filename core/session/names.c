/*
 * Names in what a server says; see names.h.
 */
#include "session/names.h"

#include <ctype.h>
#include <string.h>

#include "session/prepared.h"
#include "wire/proto.h"

/* A name stands in quotes, whatever the language of the server's messages. */
static const char quoted_prefix[] = "\"" HD_PREP_PREFIX;

int hd_names_ours(const char *text)
{
    return strstr(text, quoted_prefix) != NULL;
}

/* By the Parse that made it where that is known, for several may be the same statement there. */
static const char *name_of(struct hd_session *s, uint32_t seq, uint64_t id)
{
    const struct hd_name *n = seq ? hd_names_of_seq(&s->names, seq) : NULL;
    const struct hd_closed_name *closed =
        seq && !n && s->server ? hd_closed_name_of_seq(s->server, seq) : NULL;

    if (closed)
        return closed->name;
    for (uint32_t i = 0; !n && i < s->names.count; i++)
        if (s->names.items[i].id == id)
            n = &s->names.items[i];
    return n ? n->name : NULL;
}

/* The number behind the prefix; *at moves behind it. */
static uint64_t read_id(const uint8_t **at, const uint8_t *end)
{
    uint64_t id = 0;

    for (; *at < end && isxdigit(**at); (*at)++)
        id = id << 4 | (uint64_t)(**at <= '9' ? **at - '0' : (**at | 32) - 'a' + 10);
    return id;
}

struct hd_buf *hd_names_in_report(struct hd_session *s, uint32_t seq, const uint8_t *message, uint32_t len)
{
    const uint8_t *at = memmem(message, len, quoted_prefix, sizeof(quoted_prefix) - 1);
    const uint8_t *rest, *end = message + len;
    uint32_t before, name_len;
    struct hd_buf *b;
    const char *name;

    if (!at)
        return NULL;
    before = (uint32_t)(at + 1 - message); /* the quote stays */
    rest = at + sizeof(quoted_prefix) - 1;
    name = name_of(s, seq, read_id(&rest, end));
    if (!name || rest == end || *rest != '"')
        return NULL;
    name_len = (uint32_t)strlen(name);
    b = hd_buf_new(&s->w->io.bufs, before + name_len + (uint32_t)(end - rest));
    if (!b)
        return NULL;
    memcpy(b->data, message, before);
    memcpy(b->data + before, name, name_len);
    memcpy(b->data + before + name_len, rest, (size_t)(end - rest));
    b->len = before + name_len + (uint32_t)(end - rest);
    hd_put_u32(b->data + 1, b->len - 1);
    return b;
}
