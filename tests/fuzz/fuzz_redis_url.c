/*
 * Fuzzes URLs of Redis. Beside memory safety: what is taken has hosts with names and ports, or a path, and
 * prints; what is not says why.
 */
#include "redis/url.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                              \
    do {                                                                                                     \
        if (!(x))                                                                                            \
            abort();                                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hd_error err = HD_ERROR_INIT;
    char label[RDS_LABEL_SIZE];
    struct rds_url u;

    if (rds_url_parse((struct hd_str){(const char *)data, size}, &u, &err) != HD_OK) {
        MUST(err.code == HD_EINVAL && !strncmp(err.text, "url: ", 5));
        return 0;
    }
    MUST(u.hosts >= 1 && u.hosts <= RDS_HOSTS_MAX);
    for (uint32_t i = 0; i < u.hosts; i++) {
        MUST(u.host[i].host[0]);
        MUST(u.host[i].port ? u.host[i].port <= 65535 : u.host[i].host[0] == '/');
        rds_address_print(&u.host[i], label);
        MUST(strlen(label) >= strlen(u.host[i].host));
        MUST(rds_address_same(&u.host[i], &u.host[i]));
    }
    MUST((u.kind == RDS_SENTINEL) == (u.master[0] != '\0'));
    return 0;
}
