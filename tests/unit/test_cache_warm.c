/*
 * Reads as bytes and the file of them (plugins/cache/warm_read.c, warm_file.c): what goes in comes out, and
 * no bytes do harm.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/warm_read.h"

static struct cache_warm_read *make_read(uint64_t hash)
{
    static const struct hd_session_setting settings[] = {
        {"application_name", "unheard"}, {"DateStyle", "ISO, MDY"}, {"search_path", "\"$user\", public"}};
    static const struct hd_param params[] = {{(const uint8_t *)"\0\0\0\7", 4, 23, 1, 0}, {NULL, 0, 25, 0, 0}};
    static const uint16_t formats[] = {1, 0};
    const struct hd_statement st = {.size = sizeof(st),
                                    .flags = HD_STMT_EXTENDED | HD_STMT_DESCRIBED | HD_STMT_TEMP,
                                    .sql = hd_str_of("SELECT $1, $2 FROM t"),
                                    .database = hd_str_of("shop"),
                                    .user = hd_str_of("app"),
                                    .params = params,
                                    .param_count = 2,
                                    .result_formats = formats,
                                    .result_format_count = 2,
                                    .settings = settings,
                                    .setting_count = 3};
    struct cache_warm_read *r = cache_warm_read_new(hash, &st);

    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    r->hits = 5;
    return r;
}

static int is(struct hd_str s, const char *text)
{
    return s.len == strlen(text) && !memcmp(s.ptr, text, s.len);
}

static void check_replay(const struct cache_warm_read *r)
{
    struct hd_replay out;
    void *memory;

    CU_ASSERT_EQUAL_FATAL(cache_warm_read_replay(r, &out, &memory), HD_OK);
    CU_ASSERT_EQUAL(out.flags, HD_STMT_EXTENDED | HD_STMT_DESCRIBED);
    CU_ASSERT(is(out.database, "shop") && is(out.user, "app") && is(out.sql, "SELECT $1, $2 FROM t"));
    CU_ASSERT_EQUAL_FATAL(out.setting_count, 2);
    CU_ASSERT_STRING_EQUAL(out.settings[0].name, "DateStyle");
    CU_ASSERT_STRING_EQUAL(out.settings[1].value, "\"$user\", public");
    CU_ASSERT_EQUAL_FATAL(out.param_count, 2);
    CU_ASSERT(out.params[0].type == 23 && out.params[0].format == 1 && out.params[0].len == 4);
    CU_ASSERT(!memcmp(out.params[0].data, "\0\0\0\7", 4));
    CU_ASSERT_PTR_NULL(out.params[1].data);
    CU_ASSERT(out.result_format_count == 2 && out.result_formats[0] == 1 && out.result_formats[1] == 0);
    free(memory);
}

static void there_and_back(void)
{
    struct cache_warm_read *r = make_read(7), *copy = cache_warm_read_copy(r);

    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    check_replay(r);
    check_replay(copy);
    free(copy);
    free(r);
}

static void too_long(void)
{
    char *text = calloc(1, CACHE_WARM_READ_MAX + 1);
    struct hd_statement st = {.size = sizeof(st), .database = hd_str_of("shop"), .user = hd_str_of("app")};

    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, 'x', CACHE_WARM_READ_MAX);
    st.sql = hd_str_of(text);
    CU_ASSERT_PTR_NULL(cache_warm_read_new(1, &st));
    free(text);
}

/* Each byte of a read changed in turn, and the read cut at each: taken, or refused, and nothing else. */
static void bad_reads(void)
{
    struct cache_warm_read *r = make_read(7);
    unsigned refused = 0;

    for (uint32_t i = 0; i < r->len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct cache_warm_read *bad = cache_warm_read_copy(r);
            struct hd_replay out;
            void *memory;

            bad->bytes[i] ^= (uint8_t)(1u << bit);
            refused += cache_warm_read_replay(bad, &out, &memory) != HD_OK;
            free(memory);
            free(bad);
        }
    }
    CU_ASSERT(refused > r->len);
    for (uint32_t len = 0; len < r->len; len++) {
        struct cache_warm_read *cut = malloc(sizeof(*cut) + len);
        struct hd_replay out;
        void *memory;

        *cut = *r;
        cut->len = len;
        memcpy(cut->bytes, r->bytes, len);
        CU_ASSERT_EQUAL(cache_warm_read_replay(cut, &out, &memory), HD_EPROTO);
        CU_ASSERT_PTR_NULL(memory);
        free(cut);
    }
    free(r);
}

/* --- files --------------------------------------------------------------------------------------------- */

static char dir[64], path[80];

static void set_up(void)
{
    snprintf(dir, sizeof(dir), "/tmp/howdah-warm-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/reads", dir);
}

static void tear_down(void)
{
    unlink(path);
    CU_ASSERT_EQUAL(rmdir(dir), 0); /* nothing else is left there */
}

static void write_file(const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static size_t read_file(char *bytes, size_t room)
{
    int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, bytes, room);

    close(fd);
    CU_ASSERT_FATAL(n > 0);
    return (size_t)n;
}

static int32_t load(uint32_t max, uint32_t *count)
{
    struct cache_warm_read **reads;
    struct hd_error err = HD_ERROR_INIT;
    int32_t code = cache_warm_file_read(path, max, &reads, count, &err);

    CU_ASSERT(code == HD_OK || code == HD_ENOENT || err.text[0]);
    for (uint32_t i = 0; reads && i < *count; i++) {
        if (code == HD_OK)
            check_replay(reads[i]);
        free(reads[i]);
    }
    CU_ASSERT(code == HD_OK || !reads);
    free(reads);
    return code;
}

static void files(void)
{
    struct cache_warm_read *reads[] = {make_read(1), make_read(2), make_read(3)};
    struct hd_error err = HD_ERROR_INIT;
    struct stat st;
    uint32_t count;

    set_up();
    CU_ASSERT_EQUAL(load(10, &count), HD_ENOENT);
    CU_ASSERT_EQUAL(cache_warm_file_write(path, reads, 3, &err), HD_OK);
    CU_ASSERT(!stat(path, &st) && (st.st_mode & 07777) == 0600);
    CU_ASSERT(load(10, &count) == HD_OK && count == 3);
    CU_ASSERT(load(2, &count) == HD_OK && count == 2);
    CU_ASSERT_EQUAL(cache_warm_file_write(path, reads, 0, &err), HD_OK);
    CU_ASSERT(load(10, &count) == HD_OK && count == 0);
    chmod(path, 0640);
    CU_ASSERT_EQUAL(load(10, &count), HD_EPERM);
    CU_ASSERT_EQUAL(cache_warm_file_write("/nowhere/at/all", reads, 3, &err), HD_EIO);
    for (int i = 0; i < 3; i++)
        free(reads[i]);
    tear_down();
}

static void bad_files(void)
{
    struct cache_warm_read *reads[] = {make_read(1), make_read(2)};
    struct hd_error err = HD_ERROR_INIT;
    char bytes[2048];
    uint32_t count;
    size_t len;

    set_up();
    CU_ASSERT_EQUAL(cache_warm_file_write(path, reads, 2, &err), HD_OK);
    len = read_file(bytes, sizeof(bytes));
    for (size_t i = 0; i < len; i++) {
        write_file(bytes, i);
        CU_ASSERT_EQUAL(load(10, &count), HD_EPROTO);
        bytes[i] = (char)(bytes[i] ^ 0x41);
        write_file(bytes, len);
        CU_ASSERT_EQUAL(load(10, &count), HD_EPROTO);
        bytes[i] = (char)(bytes[i] ^ 0x41);
    }
    write_file(bytes, len);
    CU_ASSERT(load(10, &count) == HD_OK && count == 2);
    free(reads[0]);
    free(reads[1]);
    tear_down();
}

UNIT_MAIN("cache warm", {"reads there and back", there_and_back}, {"too long a read", too_long},
          {"damaged reads", bad_reads}, {"files", files}, {"damaged files", bad_files})
