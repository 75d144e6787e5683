/*
 * Transfers; see transfer.h.
 */
#include "sinks/transfer.h"

#include <string.h>
#include <time.h>

#define GRACE_MS   2000  /* a transfer under way may end, so that it need not be repeated */
#define ANSWER_MAX 65536 /* an answer without end is cut: its beginning says all */

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* curl asks at least once a second. */
static int progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct transfer *t = arg;

    (void)a, (void)b, (void)c, (void)d;
    if (!__atomic_load_n(t->stop, __ATOMIC_RELAXED))
        return 0;
    if (!t->stop_ms)
        t->stop_ms = now_ms();
    return now_ms() - t->stop_ms >= GRACE_MS;
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;

    for (size_t i = 0; i < size * count && t->answer_len + 1 < sizeof(t->answer); i++)
        t->answer[t->answer_len++] = bytes[i] >= ' ' && bytes[i] < 0x7f ? bytes[i] : ' ';
    t->answer_bytes += size * count;
    return t->answer_bytes > ANSWER_MAX ? 0 : size * count;
}

/* Who asks a server of names that does not answer has a thread for it, which ends by itself. */
static void wait_for_no_name(CURL *curl)
{
#if LIBCURL_VERSION_NUM >= 0x075700
    curl_easy_setopt(curl, CURLOPT_QUICK_EXIT, 1L);
#else
    (void)curl;
#endif
}

static void set_common(struct transfer *t, const char *protocols, uint64_t timeout_ms)
{
    curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(t->curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    wait_for_no_name(t->curl);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, t->problem);
    curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFOFUNCTION, progress);
    curl_easy_setopt(t->curl, CURLOPT_XFERINFODATA, t);
}

int32_t transfer_begin(struct transfer *t, const char *protocols, const char *ca_file, uint64_t timeout_ms,
                       const volatile int32_t *stop, struct hd_error *err)
{
    memset(t, 0, sizeof(*t));
    t->stop = stop;
    t->curl = curl_easy_init();
    if (!t->curl)
        return hd_error_set(err, HD_ENOMEM, "no memory for a transfer");
    set_common(t, protocols, timeout_ms);
    if (*ca_file)
        curl_easy_setopt(t->curl, CURLOPT_CAINFO, ca_file);
    return HD_OK;
}

int32_t transfer_run(struct transfer *t, struct hd_error *err)
{
    CURLcode code = curl_easy_perform(t->curl);

    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &t->status);
    if (code == CURLE_OK)
        return HD_OK;
    return hd_error_set(err,
                        code == CURLE_OPERATION_TIMEDOUT    ? HD_ETIMEOUT
                        : code == CURLE_ABORTED_BY_CALLBACK ? HD_ECANCELLED
                                                            : HD_EIO,
                        "%s", *t->problem ? t->problem : curl_easy_strerror(code));
}

void transfer_end(struct transfer *t)
{
    if (t->curl)
        curl_easy_cleanup(t->curl);
    t->curl = NULL;
}
