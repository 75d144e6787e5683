/*
 * Random bytes from getrandom(2); see random.h.
 */
#include "base/random.h"
#include "base/check.h"

#include <errno.h>
#include <sys/random.h>

void hd_random_bytes(void *out, size_t len)
{
    char *p = out;

    while (len) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        HD_CHECK(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

uint32_t hd_random_u32(void)
{
    uint32_t v;

    hd_random_bytes(&v, sizeof(v));
    return v;
}

uint64_t hd_random_u64(void)
{
    uint64_t v;

    hd_random_bytes(&v, sizeof(v));
    return v;
}
