/*
 * One transfer with curl: within a time, and given up soon when the plugin has to stop.
 */
#ifndef SINKS_TRANSFER_H
#define SINKS_TRANSFER_H

#include <curl/curl.h>
#include <howdah/howdah.h>

struct transfer {
    CURL *curl;
    long status;       /* of the answer: HTTP's or SMTP's; 0: there was none */
    char answer[2000]; /* how it begins, in one line */
    char problem[CURL_ERROR_SIZE];
    size_t answer_len, answer_bytes;
    const volatile int32_t *stop;
    uint64_t stop_ms; /* when it was first seen that it is to stop; 0: it is not */
};

/* A handle with what all transfers want: no signals, no proxy from the environment, no redirects. `protocols`
 * is curl's list: "http,https". HD_ENOMEM. */
int32_t transfer_begin(struct transfer *t, const char *protocols, const char *ca_file, uint64_t timeout_ms,
                       const volatile int32_t *stop, struct hd_error *err);
/* HD_OK: there was an answer, or none was needed; else, though t->status may have one that went on too long,
 * HD_ETIMEOUT, HD_ECANCELLED or HD_EIO. */
int32_t transfer_run(struct transfer *t, struct hd_error *err);
void transfer_end(struct transfer *t);

#endif
