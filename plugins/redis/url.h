/*
 * Where a Redis is, as an administrator writes it:
 *
 *     redis://[[user]:password@]host[:port][/db]         one server; also a bare `unix:PATH`
 *     redis+sentinel://[[user]:password@]host[:port][,host[:port]…]/master-name[/db]
 *     redis+cluster://[[user]:password@]host[:port][,host[:port]…]
 *     rediss://…, rediss+sentinel://…, rediss+cluster://…: the same over TLS, sentinels and all
 *
 * User and password may have %XX for bytes that have a meaning here. A port that is missing is 6379, a
 * sentinel's 26379. An address of IPv6 stands in brackets.
 */
#ifndef HD_PLUGINS_REDIS_URL_H
#define HD_PLUGINS_REDIS_URL_H

#include <howdah/types.h>

#define RDS_HOSTS_MAX  16
#define RDS_HOST_SIZE  256
#define RDS_NAME_SIZE  128
#define RDS_LABEL_SIZE (RDS_HOST_SIZE + 8)

#define RDS_SINGLE   0
#define RDS_SENTINEL 1
#define RDS_CLUSTER  2

/* One server. Port 0: `host` is the path of a Unix socket. */
struct rds_address {
    char host[RDS_HOST_SIZE];
    uint32_t port;
};

struct rds_url {
    uint32_t kind; /* RDS_… */
    uint32_t db;
    uint32_t hosts;
    uint32_t tls; /* 1: to all servers */
    struct rds_address host[RDS_HOSTS_MAX];
    char user[RDS_NAME_SIZE];     /* "": the default user */
    char password[RDS_NAME_SIZE]; /* "": none */
    char master[RDS_NAME_SIZE];   /* of RDS_SENTINEL */
};

/* HD_OK, or HD_EINVAL and why in `err`, which never repeats what may be secret. */
int32_t rds_url_parse(struct hd_str text, struct rds_url *out, struct hd_error *err);

/* "host:port", "[::1]:port" or the path, for people. */
void rds_address_print(const struct rds_address *a, char out[RDS_LABEL_SIZE]);

/* Is it the same server? */
int rds_address_same(const struct rds_address *a, const struct rds_address *b);

/* Fills an address from parts that a server has told. HD_EINVAL: they cannot be one. */
int32_t rds_address_set(struct rds_address *a, struct hd_str host, uint64_t port);

#endif
