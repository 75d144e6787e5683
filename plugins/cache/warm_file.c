/*
 * The file of reads to be run again; see warm_read.h.
 *
 *     magic, mark of the byte order, count
 *     count times: hash, hits, length, bytes
 *     XXH3 of all that
 */
#include "warm_read.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cache.h"

static const char magic[8] = {'h', 'd', 'w', 'a', 'r', 'm', '0', '1'};
#define ORDER_MARK UINT64_C(0x0102030405060708)

struct file_head {
    char magic[8];
    uint64_t order;
    uint64_t count;
};

struct read_head {
    uint64_t hash;
    uint32_t hits, len;
};

/* --- writing ------------------------------------------------------------------------------------------- */

static int32_t failed(struct hd_error *err, const char *what, const char *path)
{
    return hd_error_set(err, HD_EIO, "%s: %s: %s", path, what, strerror(errno));
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The rename itself is on disk when its folder is. */
static void sync_folder(const char *path)
{
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(copy);
}

static int32_t replace(const char *path, const struct cache_bytes *b, struct hd_error *err)
{
    char other[4096];
    int fd, bad;

    if (snprintf(other, sizeof(other), "%s.new", path) >= (int)sizeof(other))
        return hd_error_set(err, HD_EINVAL, "%s: the name is too long", path);
    (void)unlink(other); /* left by a host that ended while it wrote */
    fd = open(other, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(err, "cannot be made", other);
    bad = write_all(fd, b->p, b->len) || fsync(fd);
    bad |= close(fd) != 0;
    if (bad || rename(other, path)) {
        int32_t code = failed(err, "cannot be written", bad ? other : path);

        (void)unlink(other);
        return code;
    }
    sync_folder(path);
    return HD_OK;
}

int32_t cache_warm_file_write(const char *path, struct cache_warm_read *const *reads, uint32_t count,
                              struct hd_error *err)
{
    struct file_head head = {.order = ORDER_MARK, .count = count};
    struct cache_bytes b = {0};
    int32_t code;

    memcpy(head.magic, magic, sizeof(magic));
    cache_put(&b, &head, sizeof(head));
    for (uint32_t i = 0; i < count; i++) {
        const struct read_head one = {reads[i]->hash, reads[i]->hits, reads[i]->len};

        cache_put(&b, &one, sizeof(one));
        cache_put(&b, reads[i]->bytes, reads[i]->len);
    }
    if (!b.failed)
        cache_put_number(&b, XXH3_64bits(b.p, b.len));
    code = b.failed ? hd_error_set(err, HD_ENOMEM, "%s: no memory", path) : replace(path, &b, err);
    free(b.p);
    return code;
}

/* --- reading ------------------------------------------------------------------------------------------- */

static int32_t damaged(struct hd_error *err, const char *path, const char *how)
{
    return hd_error_set(err, HD_EPROTO,
                        "%s: %s; it is not used, and is replaced when the next one is written", path, how);
}

static int32_t open_file(const char *path, uint64_t most, int *fd, size_t *len, struct hd_error *err)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return errno == ENOENT ? HD_ENOENT : failed(err, "cannot be opened", path);
    if (fstat(*fd, &st))
        return failed(err, "cannot be looked at", path);
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return hd_error_set(
            err, HD_EPERM,
            "%s: must be a file of the host's own user that nobody else may read or write (chmod "
            "600): it holds values of statements",
            path);
    if ((uint64_t)st.st_size > most)
        return damaged(err, path, "it is longer than a file of so many reads can be");
    *len = (size_t)st.st_size;
    return HD_OK;
}

static int32_t read_bytes(const char *path, uint64_t most, uint8_t **bytes, size_t *len, struct hd_error *err)
{
    int fd = -1;
    int32_t code = open_file(path, most, &fd, len, err);
    size_t at = 0;

    if (code == HD_OK && !(*bytes = malloc(*len + 1)))
        code = hd_error_set(err, HD_ENOMEM, "%s: no memory", path);
    while (code == HD_OK && at < *len) {
        ssize_t n = read(fd, *bytes + at, *len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            code = failed(err, "cannot be read", path);
        else
            at += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return code;
}

/* The next one; NULL: it cannot be one, or there is no memory. */
static struct cache_warm_read *read_one(const uint8_t *bytes, size_t end, size_t *at)
{
    struct cache_warm_read *r;
    struct hd_replay replay;
    struct read_head head;
    void *memory;

    if (end - *at < sizeof(head))
        return NULL;
    memcpy(&head, bytes + *at, sizeof(head));
    *at += sizeof(head);
    if (head.len > CACHE_WARM_READ_MAX || head.len > end - *at || !(r = malloc(sizeof(*r) + head.len)))
        return NULL;
    r->hash = head.hash;
    r->hits = head.hits;
    r->len = head.len;
    memcpy(r->bytes, bytes + *at, head.len);
    *at += head.len;
    if (cache_warm_read_replay(r, &replay, &memory) == HD_OK) {
        free(memory);
        return r;
    }
    free(r);
    return NULL;
}

static int32_t parse(const char *path, const uint8_t *bytes, size_t len, uint32_t max,
                     struct cache_warm_read ***reads, uint32_t *count, struct hd_error *err)
{
    struct file_head head;
    size_t at = sizeof(head), end = len - sizeof(uint64_t);
    uint64_t sum;

    if (len < sizeof(head) + sizeof(sum))
        return damaged(err, path, "it is too short");
    memcpy(&head, bytes, sizeof(head));
    memcpy(&sum, bytes + end, sizeof(sum));
    if (memcmp(head.magic, magic, sizeof(magic)) != 0 || head.order != ORDER_MARK)
        return damaged(err, path, "it is none of this version and machine");
    if (sum != XXH3_64bits(bytes, end) || head.count > (end - at) / sizeof(struct read_head))
        return damaged(err, path, "it is damaged");
    *reads = calloc(head.count + 1, sizeof(**reads));
    if (!*reads)
        return hd_error_set(err, HD_ENOMEM, "%s: no memory", path);
    while (*count < head.count && *count < max) {
        struct cache_warm_read *r = read_one(bytes, end, &at);

        if (!r)
            return damaged(err, path, "it is damaged");
        (*reads)[(*count)++] = r;
    }
    return HD_OK;
}

int32_t cache_warm_file_read(const char *path, uint32_t max, struct cache_warm_read ***reads, uint32_t *count,
                             struct hd_error *err)
{
    const uint64_t most =
        sizeof(struct file_head) + 8 + UINT64_C(1000000) * (sizeof(struct read_head) + CACHE_WARM_READ_MAX);
    uint8_t *bytes = NULL;
    size_t len = 0;
    int32_t code = read_bytes(path, most, &bytes, &len, err);

    *reads = NULL;
    *count = 0;
    if (code == HD_OK)
        code = parse(path, bytes, len, max, reads, count, err);
    free(bytes);
    if (code == HD_OK)
        return HD_OK;
    while (*count)
        free((*reads)[--*count]);
    free(*reads);
    *reads = NULL;
    return code;
}
