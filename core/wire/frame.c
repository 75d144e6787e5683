/*
 * Which messages there are in each direction and how long they may be, and words for those that break it.
 */
#include "wire/frame.h"

#include <inttypes.h>

/* A frontend's bodies are checked by whoever reads them: a malformed one is an ordinary error to a server,
 * after which the session goes on, so only what a server refuses at the head is refused here. */
#define SMALL                                                                                                \
    {                                                                                                        \
        .max = HD_MSG_FRONTEND_SMALL_MAX                                                                     \
    }
#define LARGE                                                                                                \
    {                                                                                                        \
        .max = HD_MSG_FRONTEND_MAX                                                                           \
    }

const struct hd_frame_rule hd_frame_frontend[256] = {
    [HD_MSG_BIND] = LARGE,      [HD_MSG_CLOSE] = SMALL,         [HD_MSG_DESCRIBE] = SMALL,
    [HD_MSG_EXECUTE] = SMALL,   [HD_MSG_FUNCTION_CALL] = LARGE, [HD_MSG_FLUSH] = SMALL,
    [HD_MSG_PARSE] = LARGE,     [HD_MSG_QUERY] = LARGE,         [HD_MSG_SYNC] = SMALL,
    [HD_MSG_TERMINATE] = SMALL, [HD_MSG_COPY_FAIL] = SMALL,     [HD_MSG_COPY_DONE] = SMALL,
    [HD_MSG_COPY_DATA] = LARGE,
};

const struct hd_frame_rule hd_frame_login[256] = {
    [HD_MSG_PASSWORD] = {.max = HD_MSG_LOGIN_MAX},
};

#define EXACTLY(n)                                                                                           \
    {                                                                                                        \
        .min = (n), .max = (n)                                                                               \
    }
#define AT_LEAST(n)                                                                                          \
    {                                                                                                        \
        .min = (n), .max = HD_MSG_LENGTH_MAX                                                                 \
    }

const struct hd_frame_rule hd_frame_backend[256] = {
    [HD_MSG_PARSE_COMPLETE] = EXACTLY(4),
    [HD_MSG_BIND_COMPLETE] = EXACTLY(4),
    [HD_MSG_CLOSE_COMPLETE] = EXACTLY(4),
    [HD_MSG_NOTIFICATION_RESPONSE] = AT_LEAST(10),
    [HD_MSG_COMMAND_COMPLETE] = AT_LEAST(5),
    [HD_MSG_DATA_ROW] = AT_LEAST(6),
    [HD_MSG_ERROR_RESPONSE] = AT_LEAST(5),
    [HD_MSG_COPY_IN_RESPONSE] = AT_LEAST(7),
    [HD_MSG_COPY_OUT_RESPONSE] = AT_LEAST(7),
    [HD_MSG_EMPTY_QUERY_RESPONSE] = EXACTLY(4),
    [HD_MSG_BACKEND_KEY_DATA] = {.min = 9, .max = 8 + HD_CANCEL_KEY_MAX},
    [HD_MSG_NOTICE_RESPONSE] = AT_LEAST(5),
    [HD_MSG_AUTHENTICATION] = AT_LEAST(8),
    [HD_MSG_PARAMETER_STATUS] = AT_LEAST(6),
    [HD_MSG_ROW_DESCRIPTION] = AT_LEAST(6),
    [HD_MSG_FUNCTION_CALL_RESPONSE] = AT_LEAST(8),
    [HD_MSG_COPY_BOTH_RESPONSE] = AT_LEAST(7),
    [HD_MSG_READY_FOR_QUERY] = EXACTLY(5),
    [HD_MSG_NO_DATA] = EXACTLY(4),
    [HD_MSG_PORTAL_SUSPENDED] = EXACTLY(4),
    [HD_MSG_PARAMETER_DESCRIPTION] = AT_LEAST(6),
    [HD_MSG_NEGOTIATE_PROTOCOL_VERSION] = AT_LEAST(12),
    [HD_MSG_COPY_DONE] = EXACTLY(4),
    [HD_MSG_COPY_DATA] = AT_LEAST(4),
};

int hd_frame_fail(const struct hd_frame_scan *s, const uint8_t *p, size_t len, struct hd_error *err)
{
    if (len && !s->rules[p[0]].max)
        return hd_fail(err, HD_EPROTO, "invalid message type 0x%02x", p[0]);
    if (len < HD_MSG_HEAD)
        return hd_fail(err, HD_EPROTO, "invalid message: only %zu bytes of its head", len);
    return hd_fail(err, HD_EPROTO, "invalid length %" PRId32 " of message type \"%c\"",
                   (int32_t)hd_get_u32(p + 1), p[0]);
}
