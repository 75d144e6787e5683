/*
 * The options engine's first half: looking at tables, parsing sections by them, comparing what came out. What
 * is printed from tables stands in options_print.c.
 */
#include "plug/options.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "plug/nearest.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* sizeof(struct hd_option) and sizeof(struct hd_options) in ABI 0.1: a table can have no less. */
#define OPTION_BYTES_0_1  64
#define OPTIONS_BYTES_0_1 24
/* Larger than this is no table but a misread one. */
#define STRIDE_MAX    1024
#define COUNT_MAX     512
#define CONF_SIZE_MAX (1 << 20)
#define KEY_BYTES_MAX 63
#define SECRET_BYTES  65536
/* Room for one reason why a value is wrong. */
#define WHY_BYTES 400

_Static_assert(offsetof(struct hd_option, reserved) + sizeof(uint32_t) == OPTION_BYTES_0_1, "ABI 0.1");
_Static_assert(offsetof(struct hd_options, table) + sizeof(void *) == OPTIONS_BYTES_0_1, "ABI 0.1");

/* A member of a configuration struct, whichever type it has. */
union value {
    int32_t i32;
    int64_t i64;
    double real;
    struct hd_str str;
    struct hd_str_list list;
};

/* --- tables ----------------------------------------------------------------------------------------------
 */

static size_t member_size(uint32_t type)
{
    static const size_t sizes[] = {
        [HD_OPT_BOOL] = sizeof(int32_t),
        [HD_OPT_INT] = sizeof(int64_t),
        [HD_OPT_REAL] = sizeof(double),
        [HD_OPT_SIZE] = sizeof(int64_t),
        [HD_OPT_DURATION] = sizeof(int64_t),
        [HD_OPT_STRING] = sizeof(struct hd_str),
        [HD_OPT_SECRET] = sizeof(struct hd_str),
        [HD_OPT_ENUM] = sizeof(int32_t),
        [HD_OPT_LIST] = sizeof(struct hd_str_list),
    };

    return type < HD_ARRAY_LEN(sizes) ? sizes[type] : 0;
}

void hd_option_at(const struct hd_options *o, uint32_t i, struct hd_option *out)
{
    const char *entry = (const char *)o->table + (size_t)i * o->stride;

    memset(out, 0, sizeof(*out));
    memcpy(out, entry, o->stride < sizeof(*out) ? o->stride : sizeof(*out));
}

static int find(const struct hd_options *o, const char *key, size_t len, struct hd_option *out)
{
    for (uint32_t i = 0; i < o->count; i++) {
        hd_option_at(o, i, out);
        if (!strncmp(out->key, key, len) && !out->key[len])
            return (int)i;
    }
    return -1;
}

int hd_option_find(const struct hd_options *o, const char *key, struct hd_option *out)
{
    return find(o, key, strlen(key), out) >= 0;
}

/* The secret whose "KEY_file" this is; its index, or -1. */
static int find_secret_of_file(const struct hd_options *o, const char *key, struct hd_option *out)
{
    size_t len = strlen(key);
    int i;

    if (len <= 5 || strcmp(key + len - 5, "_file"))
        return -1;
    i = find(o, key, len - 5, out);
    return i >= 0 && out->type == HD_OPT_SECRET ? i : -1;
}

static int parse_value(const struct hd_option *opt, const char *text, struct hd_arena *arena,
                       union value *out, char *why);

static int key_is_sane(const char *key)
{
    size_t n = 0;

    if (!key || !islower((unsigned char)key[0]))
        return 0;
    for (; key[n]; n++)
        if (n >= KEY_BYTES_MAX ||
            !(islower((unsigned char)key[n]) || isdigit((unsigned char)key[n]) || key[n] == '_'))
            return 0;
    return 1;
}

/* Everything about one entry that needs no other. */
static int check_entry(const struct hd_options *o, const struct hd_option *opt, uint32_t i, const char *what,
                       struct hd_error *err)
{
    struct hd_arena scratch = HD_ARENA_INIT;
    size_t size = member_size(opt->type);
    char why[WHY_BYTES];
    union value v;
    int bad;

    if (!key_is_sane(opt->key))
        return hd_fail(err, HD_EINVAL,
                       "%s: entry %u of the options table has no key of lower case letters, digits and '_'",
                       what, i);
    if (!size)
        return hd_fail(err, HD_EINVAL, "%s: option %s has type %u, which this host does not know", what,
                       opt->key, opt->type);
    if (opt->offset > o->conf_size || o->conf_size - opt->offset < size)
        return hd_fail(err, HD_EINVAL, "%s: option %s lies at offset %u, outside its struct of %u bytes",
                       what, opt->key, opt->offset, o->conf_size);
    if (opt->offset % (size < 8 ? size : 8))
        return hd_fail(err, HD_EINVAL, "%s: option %s lies at offset %u, which is not aligned", what,
                       opt->key, opt->offset);
    if (opt->type == HD_OPT_ENUM && (!opt->choices || !*opt->choices))
        return hd_fail(err, HD_EINVAL, "%s: option %s is an enum without choices", what, opt->key);
    if (!opt->doc)
        return hd_fail(err, HD_EINVAL, "%s: option %s has no documentation", what, opt->key);
    if (!(opt->min <= opt->max))
        return hd_fail(err, HD_EINVAL, "%s: option %s has a range whose end lies before its start", what,
                       opt->key);
    bad = parse_value(opt, opt->default_value, &scratch, &v, why);
    hd_arena_free(&scratch);
    if (bad == HD_ENOMEM)
        return hd_fail(err, HD_ENOMEM, "%s: no memory", what);
    if (bad && !(opt->flags & HD_OPTF_REQUIRED))
        return hd_fail(err, HD_EINVAL, "%s: the default of option %s: %s", what, opt->key, why);
    return HD_OK;
}

/* No two entries may have one key, or share memory. */
static int check_pairs(const struct hd_options *o, const struct hd_option *opt, uint32_t i, const char *what,
                       struct hd_error *err)
{
    struct hd_option other;

    for (uint32_t j = 0; j < i; j++) {
        hd_option_at(o, j, &other);
        if (!strcmp(opt->key, other.key))
            return hd_fail(err, HD_EINVAL, "%s: option %s is in the table twice", what, opt->key);
        if (opt->offset < other.offset + member_size(other.type) &&
            other.offset < opt->offset + member_size(opt->type))
            return hd_fail(err, HD_EINVAL, "%s: options %s and %s share memory in the struct", what,
                           other.key, opt->key);
    }
    return HD_OK;
}

static int check_head(const struct hd_options *o, const char *what, struct hd_error *err)
{
    if (o->size < OPTIONS_BYTES_0_1)
        return hd_fail(err, HD_EINVAL,
                       "%s: its table of options has a head of %u bytes, expected at least %u", what, o->size,
                       OPTIONS_BYTES_0_1);
    if (o->count > COUNT_MAX)
        return hd_fail(err, HD_EINVAL, "%s: its table has %u options, expected at most %u", what, o->count,
                       COUNT_MAX);
    if (o->conf_size > CONF_SIZE_MAX)
        return hd_fail(err, HD_EINVAL, "%s: its configuration struct has %u bytes, expected at most %u", what,
                       o->conf_size, CONF_SIZE_MAX);
    if (!o->count)
        return HD_OK;
    if (!o->table)
        return hd_fail(err, HD_EINVAL, "%s: its table of %u options is missing", what, o->count);
    if (o->stride < OPTION_BYTES_0_1 || o->stride > STRIDE_MAX || o->stride % sizeof(void *))
        return hd_fail(err, HD_EINVAL, "%s: its table's entries have %u bytes, expected %u to %u", what,
                       o->stride, OPTION_BYTES_0_1, STRIDE_MAX);
    return HD_OK;
}

int hd_options_check(const struct hd_options *o, const char *what, struct hd_error *err)
{
    struct hd_option opt, of;
    int rc;

    /* No options at all: a head of zeroes will do. */
    if (!o->size && !o->count && !o->conf_size)
        return HD_OK;
    rc = check_head(o, what, err);
    for (uint32_t i = 0; i < o->count && !rc; i++) {
        hd_option_at(o, i, &opt);
        rc = check_entry(o, &opt, i, what, err);
        if (!rc)
            rc = check_pairs(o, &opt, i, what, err);
    }
    for (uint32_t i = 0; i < o->count && !rc; i++) {
        hd_option_at(o, i, &opt);
        if (find_secret_of_file(o, opt.key, &of) >= 0)
            rc = hd_fail(err, HD_EINVAL, "%s: option %s has the name that reads secret %s from a file", what,
                         opt.key, of.key);
    }
    return rc;
}

/* --- values ----------------------------------------------------------------------------------------------
 */

static const char *const bool_words[] = {"no", "yes", "off", "on", "false", "true", "0", "1"};

static int parse_bool(const char *text, union value *out, char *why)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(bool_words); i++)
        if (!strcasecmp(text, bool_words[i])) {
            out->i32 = i % 2;
            return HD_OK;
        }
    snprintf(why, WHY_BYTES, "must be yes or no, not \"%.100s\"", text);
    return HD_EINVAL;
}

static int check_range(const struct hd_option *opt, double v, const char *text, char *why)
{
    struct hd_strbuf range = HD_STRBUF_INIT;

    if (opt->min == 0 && opt->max == 0) {
        if (v >= 0)
            return HD_OK;
        snprintf(why, WHY_BYTES, "must not be negative, but is %.100s", text);
        return HD_EINVAL;
    }
    if (v >= opt->min && v <= opt->max)
        return HD_OK;
    hd_option_print_range(opt, &range);
    snprintf(why, WHY_BYTES, "must be between %s, not %.100s", hd_strbuf_str(&range), text);
    hd_strbuf_free(&range);
    return HD_EINVAL;
}

static int parse_int(const struct hd_option *opt, const char *text, union value *out, char *why)
{
    char *end;

    errno = 0;
    out->i64 = strtoll(text, &end, 10);
    if (errno == ERANGE || *end || !*text || isspace((unsigned char)*text) || *text == '+') {
        snprintf(why, WHY_BYTES, "must be a whole number, not \"%.100s\"", text);
        return HD_EINVAL;
    }
    return check_range(opt, (double)out->i64, text, why);
}

static int parse_real(const struct hd_option *opt, const char *text, union value *out, char *why)
{
    char *end;

    errno = 0;
    out->real = strtod(text, &end);
    if (strspn(text, "0123456789.eE+-") != strlen(text) || *end || !*text || !isfinite(out->real)) {
        snprintf(why, WHY_BYTES, "must be a number, not \"%.100s\"", text);
        return HD_EINVAL;
    }
    return check_range(opt, out->real, text, why);
}

static int parse_size(const struct hd_option *opt, const char *text, union value *out, char *why)
{
    if (hd_parse_size(text, &out->i64)) {
        snprintf(why, WHY_BYTES, "must be a size such as 4096, 64K, 256M or 1G, not \"%.100s\"", text);
        return HD_EINVAL;
    }
    return check_range(opt, (double)out->i64, text, why);
}

static int parse_duration(const struct hd_option *opt, const char *text, union value *out, char *why)
{
    if (hd_parse_duration(text, &out->i64)) {
        snprintf(why, WHY_BYTES, "must be a duration such as 200ms, 30s, 5m, 2h or 1d, not \"%.100s\"", text);
        return HD_EINVAL;
    }
    return check_range(opt, (double)out->i64, text, why);
}

static int parse_enum(const struct hd_option *opt, const char *text, union value *out, char *why)
{
    const char *c = opt->choices;
    size_t len = strlen(text), room;
    int32_t index = 0;
    char *to;

    for (; *c; index++) {
        size_t n = strcspn(c, "|");

        if (n == len && !strncasecmp(c, text, n)) {
            out->i32 = index;
            return HD_OK;
        }
        c += n + (c[n] == '|');
    }
    room = (size_t)snprintf(why, WHY_BYTES, "must be one of ");
    for (c = opt->choices, to = why + room; *c && room < WHY_BYTES - 120; c++, room = (size_t)(to - why)) {
        *to++ = *c == '|' ? ',' : *c;
        if (*c == '|')
            *to++ = ' ';
    }
    snprintf(to, WHY_BYTES - room, ", not \"%.100s\"", text);
    return HD_EINVAL;
}

static int parse_string(const char *text, struct hd_arena *arena, union value *out, char *why)
{
    size_t len = strlen(text);

    out->str.ptr = hd_arena_strndup(arena, text, len);
    out->str.len = len;
    if (out->str.ptr)
        return HD_OK;
    snprintf(why, WHY_BYTES, "no memory");
    return HD_ENOMEM;
}

static int parse_list(const char *text, struct hd_arena *arena, union value *out, char *why)
{
    size_t n = 1;
    struct hd_str *items;

    out->list = (struct hd_str_list){NULL, 0};
    if (!text[strspn(text, " \t")])
        return HD_OK;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    items = hd_arena_alloc(arena, n * sizeof(*items));
    for (size_t i = 0; items && i < n; i++) {
        size_t len = strcspn(text, ","), skip = strspn(text, " \t");
        size_t end = len;

        if (skip >= len) {
            snprintf(why, WHY_BYTES, "has an empty value between its commas");
            return HD_EINVAL;
        }
        while (end > skip && isspace((unsigned char)text[end - 1]))
            end--;
        items[i].ptr = hd_arena_strndup(arena, text + skip, end - skip);
        items[i].len = end - skip;
        if (!items[i].ptr)
            items = NULL;
        text += len + (text[len] == ',');
    }
    if (!items) {
        snprintf(why, WHY_BYTES, "no memory");
        return HD_ENOMEM;
    }
    out->list = (struct hd_str_list){items, n};
    return HD_OK;
}

/* Parses one value; NULL stands for a default that was left out. On failure `why` says what would be right,
 * beginning with a verb. */
static int parse_value(const struct hd_option *opt, const char *text, struct hd_arena *arena,
                       union value *out, char *why)
{
    int is_text = opt->type == HD_OPT_STRING || opt->type == HD_OPT_SECRET;

    memset(out, 0, sizeof(*out));
    if (!text && opt->type == HD_OPT_ENUM)
        return HD_OK;
    if (!text)
        text = is_text || opt->type == HD_OPT_LIST ? "" : "0";
    if (is_text)
        return parse_string(text, arena, out, why);
    if (opt->type == HD_OPT_LIST)
        return parse_list(text, arena, out, why);
    switch (opt->type) {
    case HD_OPT_BOOL:
        return parse_bool(text, out, why);
    case HD_OPT_INT:
        return parse_int(opt, text, out, why);
    case HD_OPT_REAL:
        return parse_real(opt, text, out, why);
    case HD_OPT_SIZE:
        return parse_size(opt, text, out, why);
    case HD_OPT_DURATION:
        return parse_duration(opt, text, out, why);
    case HD_OPT_ENUM:
        return parse_enum(opt, text, out, why);
    default:
        HD_NEVER("an option's type is checked before its values");
    }
}

/* --- files -----------------------------------------------------------------------------------------------
 */

const char *hd_path_from(struct hd_arena *arena, const char *dir, const char *path)
{
    if (*path == '/' || !dir || !*dir)
        return hd_arena_strdup(arena, path);
    return hd_arena_printf(arena, "%s/%s", dir, path);
}

/* Reads a descriptor to its end. Returns the length, or -1 with errno set; EFBIG when it is no secret. */
static ssize_t read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;

    while (len < cap) {
        ssize_t n = read(fd, out + len, cap - len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            return (ssize_t)len;
        len += (size_t)n;
    }
    errno = EFBIG;
    return -1;
}

static const char *take_secret(struct hd_arena *arena, int fd, const char *path, const char *origin,
                               struct hd_problems *problems)
{
    char bytes[SECRET_BYTES];
    ssize_t len = read_all(fd, bytes, sizeof(bytes));
    const char *secret;

    if (len < 0) {
        hd_problem(problems, origin, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    if (memchr(bytes, 0, (size_t)len)) {
        hd_problem(problems, origin, "%s holds a zero byte: it must be one line of text", path);
        return NULL;
    }
    if (len && bytes[len - 1] == '\n')
        len--;
    if (len && bytes[len - 1] == '\r')
        len--;
    if (memchr(bytes, '\n', (size_t)len))
        hd_problem_warning(problems, origin, "%s has more than one line; all of them are the secret", path);
    secret = hd_arena_strndup(arena, bytes, (size_t)len);
    explicit_bzero(bytes, sizeof(bytes));
    if (!secret)
        hd_problem_memory(problems);
    return secret;
}

const char *hd_secret_read(struct hd_arena *arena, const char *path, const char *origin,
                           struct hd_problems *problems)
{
    const char *secret = NULL;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &st)) {
        hd_problem(problems, origin, "cannot open %s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        hd_problem(problems, origin, "%s must be a regular file", path);
    } else {
        if (st.st_mode & S_IROTH)
            hd_problem_warning(problems, origin, "%s can be read by everybody: chmod 0600 it", path);
        secret = take_secret(arena, fd, path, origin, problems);
    }
    if (fd >= 0)
        close(fd);
    return secret;
}

/* --- sections --------------------------------------------------------------------------------------------
 */

const struct hd_raw_key *hd_raw_find(const struct hd_raw_section *section, const char *key)
{
    for (uint32_t i = 0; i < section->count; i++)
        if (!strcmp(section->keys[i].key, key))
            return &section->keys[i];
    return NULL;
}

const char *hd_raw_origin(const struct hd_raw_section *section, const char *key)
{
    const struct hd_raw_key *k = hd_raw_find(section, key);

    return k ? k->origin : section->origin;
}

/* One parse: what every step of it needs. */
struct parse {
    const struct hd_options *o;
    const struct hd_raw_section *section;
    struct hd_arena *arena;
    struct hd_problems *problems;
    char *conf;
    const struct hd_raw_key **given; /* by option: the key that gave it, or NULL */
};

static void store(struct parse *p, const struct hd_option *opt, const union value *v)
{
    memcpy(p->conf + opt->offset, v, member_size(opt->type));
}

static void offer_keys(struct hd_nearest *n, const struct hd_options *o, char (*files)[KEY_BYTES_MAX + 8])
{
    struct hd_option opt;

    for (uint32_t i = 0; o && i < o->count; i++) {
        hd_option_at(o, i, &opt);
        hd_nearest_offer(n, opt.key);
        if (opt.type != HD_OPT_SECRET)
            continue;
        /* Two buffers in turn: the one that holds the best candidate so far must not be written to. */
        char *spare = n->best == files[0] ? files[1] : files[0];

        snprintf(spare, sizeof(*files), "%s_file", opt.key);
        hd_nearest_offer(n, spare);
    }
}

static void unknown_key(struct parse *p, const struct hd_raw_key *k)
{
    struct hd_nearest n = hd_nearest_start(k->key);
    char files[2][KEY_BYTES_MAX + 8];
    const char *near;

    offer_keys(&n, p->o, files);
    offer_keys(&n, p->section->also, files);
    near = hd_nearest_end(&n);
    if (near)
        hd_problem(p->problems, k->origin, "unknown key \"%s\" in %s; did you mean \"%s\"?", k->key,
                   p->section->label, near);
    else
        hd_problem(p->problems, k->origin, "unknown key \"%s\" in %s", k->key, p->section->label);
}

static int is_known_elsewhere(const struct hd_raw_section *s, const char *key)
{
    struct hd_option opt;

    return s->also && (hd_option_find(s->also, key, &opt) || find_secret_of_file(s->also, key, &opt) >= 0);
}

/* Notes which option a key gives; -1 when it gives none, or gives it again. */
static int claim(struct parse *p, const struct hd_raw_key *k, struct hd_option *opt)
{
    int i = find(p->o, k->key, strlen(k->key), opt);

    if (i < 0)
        i = find_secret_of_file(p->o, k->key, opt);
    if (i < 0) {
        if (!is_known_elsewhere(p->section, k->key))
            unknown_key(p, k);
        return -1;
    }
    if (!p->given[i]) {
        p->given[i] = k;
        return i;
    }
    if (!strcmp(p->given[i]->key, k->key))
        hd_problem(p->problems, k->origin, "%s is given twice in %s; the first stands at %s", k->key,
                   p->section->label, p->given[i]->origin);
    else
        hd_problem(p->problems, k->origin, "%s and %s (%s) are both given in %s; keep one of them", k->key,
                   p->given[i]->key, p->given[i]->origin, p->section->label);
    return -1;
}

static void parse_key(struct parse *p, const struct hd_raw_key *k)
{
    const char *text = k->value, *path;
    struct hd_option opt;
    char why[WHY_BYTES];
    union value v;
    int rc;

    if (claim(p, k, &opt) < 0)
        return;
    if (strcmp(opt.key, k->key)) {
        path = hd_path_from(p->arena, p->section->dir, text);
        text = path ? hd_secret_read(p->arena, path, k->origin, p->problems) : NULL;
        if (!path)
            hd_problem_memory(p->problems);
        if (!text)
            return;
    }
    rc = parse_value(&opt, text, p->arena, &v, why);
    if (!rc)
        store(p, &opt, &v);
    else if (rc == HD_ENOMEM)
        hd_problem_memory(p->problems);
    else
        hd_problem(p->problems, k->origin, "%s %s", opt.key, why);
}

static void parse_default(struct parse *p, const struct hd_option *opt)
{
    char why[WHY_BYTES];
    union value v;

    if (opt->flags & HD_OPTF_REQUIRED)
        hd_problem(p->problems, p->section->origin, "%s needs the key %s: %s", p->section->label, opt->key,
                   opt->doc);
    if (!parse_value(opt, opt->default_value, p->arena, &v, why))
        store(p, opt, &v);
    else if (!(opt->flags & HD_OPTF_REQUIRED))
        hd_problem_memory(p->problems); /* the table's check has tried each default */
}

void *hd_options_parse(const struct hd_options *o, const struct hd_raw_section *section,
                       struct hd_arena *arena, struct hd_problems *problems)
{
    struct parse p = {.o = o, .section = section, .arena = arena, .problems = problems};
    struct hd_option opt;

    p.conf = hd_arena_alloc(arena, o->conf_size ? o->conf_size : 1);
    p.given = hd_arena_alloc(arena, (o->count + 1) * sizeof(*p.given));
    if (!p.conf || !p.given) {
        hd_problem_memory(problems);
        return NULL;
    }
    for (uint32_t i = 0; i < section->count; i++)
        parse_key(&p, &section->keys[i]);
    for (uint32_t i = 0; i < o->count; i++) {
        hd_option_at(o, i, &opt);
        if (!p.given[i])
            parse_default(&p, &opt);
    }
    return p.conf;
}

/* --- comparing -------------------------------------------------------------------------------------------
 */

static int str_equal(const struct hd_str *a, const struct hd_str *b)
{
    return a->len == b->len && (!a->len || !memcmp(a->ptr, b->ptr, a->len));
}

static int list_equal(const struct hd_str_list *a, const struct hd_str_list *b)
{
    if (a->count != b->count)
        return 0;
    for (uint64_t i = 0; i < a->count; i++)
        if (!str_equal(&a->items[i], &b->items[i]))
            return 0;
    return 1;
}

int hd_option_equal(const struct hd_option *opt, const void *a, const void *b)
{
    const void *va = (const char *)a + opt->offset, *vb = (const char *)b + opt->offset;

    switch (opt->type) {
    case HD_OPT_STRING:
    case HD_OPT_SECRET:
        return str_equal(va, vb);
    case HD_OPT_LIST:
        return list_equal(va, vb);
    default:
        return !memcmp(va, vb, member_size(opt->type));
    }
}

void hd_options_compare(const struct hd_options *o, const void *running, const void *wanted,
                        const struct hd_raw_section *section, struct hd_problems *problems)
{
    struct hd_option opt;

    for (uint32_t i = 0; i < o->count; i++) {
        struct hd_strbuf was = HD_STRBUF_INIT;

        hd_option_at(o, i, &opt);
        if ((opt.flags & HD_OPTF_RELOADABLE) || hd_option_equal(&opt, running, wanted))
            continue;
        hd_option_print_value(&opt, running, &was);
        hd_problem(problems, hd_raw_origin(section, opt.key),
                   "%s in %s cannot change while the host runs (it is \"%s\"): restart howdahd, or take the "
                   "change back",
                   opt.key, section->label, hd_strbuf_str(&was));
        hd_strbuf_free(&was);
    }
}

int hd_options_equal(const struct hd_options *o, const void *a, const void *b)
{
    struct hd_option opt;

    for (uint32_t i = 0; i < o->count; i++) {
        hd_option_at(o, i, &opt);
        if (!hd_option_equal(&opt, a, b))
            return 0;
    }
    return 1;
}
