/*
 * Headers of mails: texts that are not ASCII as encoded words (RFC 2047), in lines that are not too long.
 */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "alert-smtp/alert-smtp.h"

#define WORD_BYTES 45 /* which make 60 of base64: with what stands around it, below 75 */

static int is_plain(const char *s)
{
    for (; *s; s++)
        if (*s & 0x80)
            return 0;
    return 1;
}

/* Bytes of the next word: as many as fit, and no character of UTF-8 cut. */
static size_t word_length(const char *s)
{
    size_t n = strnlen(s, WORD_BYTES);

    while (n > 1 && s[n] && (s[n] & 0xc0) == 0x80)
        n--;
    return n;
}

void sm_header_text(const char *text, char *out, size_t room)
{
    char line[1000];
    unsigned char encoded[80];
    const char *at = line;
    size_t len = 0;

    sink_line(line, sizeof(line), text);
    if (is_plain(line)) {
        snprintf(out, room, "%s", line);
        return;
    }
    out[0] = '\0';
    while (*at && len + 100 < room) {
        size_t n = word_length(at);

        EVP_EncodeBlock(encoded, (const unsigned char *)at, (int)n);
        len +=
            (size_t)snprintf(out + len, room - len, "%s=?UTF-8?B?%s?=", len ? "\r\n " : "", (char *)encoded);
        at += n;
    }
}

void sm_date(char out[64])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm t;

    gmtime_r(&now, &t);
    snprintf(out, 64, "%s, %d %s %d %02d:%02d:%02d +0000", days[t.tm_wday], t.tm_mday, months[t.tm_mon],
             t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}
