/*
 * The PostgreSQL protocol's numbers under the protocol's own names: message types, request codes, versions,
 * limits; and big-endian reading and writing. Nothing here has state.
 */
#ifndef HD_WIRE_PROTO_H
#define HD_WIRE_PROTO_H

#include <stdint.h>
#include <string.h>

/* What a frontend sends. */
enum {
    HD_MSG_BIND = 'B',
    HD_MSG_CLOSE = 'C',
    HD_MSG_DESCRIBE = 'D',
    HD_MSG_EXECUTE = 'E',
    HD_MSG_FUNCTION_CALL = 'F',
    HD_MSG_FLUSH = 'H',
    HD_MSG_PARSE = 'P',
    HD_MSG_QUERY = 'Q',
    HD_MSG_SYNC = 'S',
    HD_MSG_TERMINATE = 'X',
    HD_MSG_COPY_FAIL = 'f',
    HD_MSG_PASSWORD = 'p', /* PasswordMessage, SASLInitialResponse, SASLResponse */
};

/* What a backend sends. */
enum {
    HD_MSG_PARSE_COMPLETE = '1',
    HD_MSG_BIND_COMPLETE = '2',
    HD_MSG_CLOSE_COMPLETE = '3',
    HD_MSG_NOTIFICATION_RESPONSE = 'A',
    HD_MSG_COMMAND_COMPLETE = 'C',
    HD_MSG_DATA_ROW = 'D',
    HD_MSG_ERROR_RESPONSE = 'E',
    HD_MSG_COPY_IN_RESPONSE = 'G',
    HD_MSG_COPY_OUT_RESPONSE = 'H',
    HD_MSG_EMPTY_QUERY_RESPONSE = 'I',
    HD_MSG_BACKEND_KEY_DATA = 'K',
    HD_MSG_NOTICE_RESPONSE = 'N',
    HD_MSG_AUTHENTICATION = 'R',
    HD_MSG_PARAMETER_STATUS = 'S',
    HD_MSG_ROW_DESCRIPTION = 'T',
    HD_MSG_FUNCTION_CALL_RESPONSE = 'V',
    HD_MSG_COPY_BOTH_RESPONSE = 'W',
    HD_MSG_READY_FOR_QUERY = 'Z',
    HD_MSG_NO_DATA = 'n',
    HD_MSG_PORTAL_SUSPENDED = 's',
    HD_MSG_PARAMETER_DESCRIPTION = 't',
    HD_MSG_NEGOTIATE_PROTOCOL_VERSION = 'v',
};

/* What both send. */
enum {
    HD_MSG_COPY_DONE = 'c',
    HD_MSG_COPY_DATA = 'd',
};

/* The first word of an Authentication message. */
enum {
    HD_AUTH_OK = 0,
    HD_AUTH_CLEARTEXT_PASSWORD = 3,
    HD_AUTH_MD5_PASSWORD = 5,
    HD_AUTH_SASL = 10,
    HD_AUTH_SASL_CONTINUE = 11,
    HD_AUTH_SASL_FINAL = 12,
};

/* The byte in ReadyForQuery. */
enum {
    HD_TXN_IDLE = 'I',
    HD_TXN_BLOCK = 'T',
    HD_TXN_FAILED = 'E',
};

/* What Describe and Close are about. */
enum {
    HD_TARGET_STATEMENT = 'S',
    HD_TARGET_PORTAL = 'P',
};

#define HD_PROTO_VERSION(major, minor) (((uint32_t)(major) << 16) | (uint32_t)(minor))
#define HD_PROTO_3_0                   HD_PROTO_VERSION(3, 0)
#define HD_PROTO_3_2                   HD_PROTO_VERSION(3, 2)
#define HD_PROTO_MAJOR(version)        ((uint16_t)((version) >> 16))
#define HD_PROTO_MINOR(version)        ((uint16_t)(version))

/* Requests that stand where a StartupMessage has its version. */
#define HD_CANCEL_REQUEST 80877102u
#define HD_PEER_REQUEST   80877180u /* Howdah's own: a cancel that another host relays */
#define HD_SSL_REQUEST    80877103u
#define HD_GSSENC_REQUEST 80877104u

/* The type byte and the length word in front of every message but the first packet. */
#define HD_MSG_HEAD 5u
/* The length word counts itself. */
#define HD_MSG_LENGTH_MIN 4u
/* The longest length word that a server can write (its largest string buffer and the word itself). */
#define HD_MSG_LENGTH_MAX 0x40000002u
/* What a server takes from a frontend: messages with user data, and all others. */
#define HD_MSG_FRONTEND_MAX       0x3ffffffeu
#define HD_MSG_FRONTEND_SMALL_MAX 10000u
/* Passwords and SASL answers; more than any client sends for the mechanisms that are offered. */
#define HD_MSG_LOGIN_MAX 4096u
/* The first packet, its length word included: a request code or version at least; a server's upper limit. */
#define HD_STARTUP_LENGTH_MIN 8u
#define HD_STARTUP_LENGTH_MAX 10004u
/* The secret in BackendKeyData and CancelRequest: 4 bytes in 3.0, up to this in 3.2. */
#define HD_CANCEL_KEY_MAX 256u

static inline uint16_t hd_get_u16(const void *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap16(v);
#endif
    return v;
}

static inline uint32_t hd_get_u32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline void hd_put_u16(void *p, uint16_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap16(v);
#endif
    memcpy(p, &v, sizeof(v));
}

static inline void hd_put_u32(void *p, uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    memcpy(p, &v, sizeof(v));
}

#endif
