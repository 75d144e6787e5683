/*
 * The INI reader; see ini.h. inih takes lines apart into keys and values; the reader that feeds it decides
 * what each line is, counts lines, keeps sections, and blanks out what it has refused.
 */
#include "host/ini.h"
#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"
#include "host/environment.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Names of kinds and keys are short; those of databases and users have PostgreSQL's 63 bytes and to spare. */
#define NAME_BYTES_MAX 128

struct key {
    struct key *next;
    struct hd_raw_key raw;
};

/* What the keys that are being read belong to. */
enum place {
    NOWHERE, /* no section has begun */
    REFUSED, /* the section's header was refused, and its keys go with it */
    IN_SECTION,
};

/* One file on its way through inih. */
struct reader {
    struct hd_ini *ini;
    struct hd_problems *problems;
    const char *name, *dir;
    const char *at, *end; /* what is left of the bytes */
    unsigned line;
    const char *where; /* "file.ini:12" of this line, once somebody asked */

    enum place place;
    struct hd_raw_section section; /* the one that is being filled */
    struct key *keys, **keys_end;

    struct key *key;        /* the last key, which indented lines continue */
    struct hd_strbuf value; /* what it has so far */
    int can_continue;       /* a key was read in this section: inih takes an indented line as more of it */
    int drop;               /* that key was refused: so are the lines that continue it */
    int continues;          /* this line continues the last key */
    int expects;            /* inih has a line of which it must make a key */
};

static void no_memory(struct reader *r)
{
    hd_problem_memory(r->problems);
}

/* The place of the line that is being read. */
static const char *here(struct reader *r)
{
    if (!r->where)
        r->where = hd_arena_printf(&r->ini->arena, "%s:%u", r->name, r->line);
    if (!r->where)
        no_memory(r);
    return r->where ? r->where : "";
}

/* --- values ----------------------------------------------------------------------------------------------
 */

static size_t variable_name_length(const char *s)
{
    size_t n = 0;

    if (isdigit((unsigned char)*s))
        return 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_')
        n++;
    return n;
}

/* Puts the value of the ${…} at `s` into `out`; returns what follows it, or NULL after an error. */
static const char *expand_one(struct reader *r, const char *where, const char *s, struct hd_strbuf *out)
{
    const char *name = s + 2, *close = strchr(name, '}'), *value;
    char text[NAME_BYTES_MAX + 1];
    size_t len = variable_name_length(name);
    int has_default;

    if (!close) {
        hd_problem(r->problems, where, "\"${\" has no closing \"}\"; a dollar by itself is written $$");
        return NULL;
    }
    has_default = !strncmp(name + len, ":-", 2);
    if (!len || len > NAME_BYTES_MAX || (name + len != close && !has_default)) {
        hd_problem(r->problems, where,
                   "%.*s is neither ${NAME} nor ${NAME:-default}; a dollar by itself is written $$",
                   (int)(close - s + 1 > 100 ? 100 : close - s + 1), s);
        return NULL;
    }
    memcpy(text, name, len);
    text[len] = 0;
    value = hd_environment_get(text);
    if (has_default && (!value || !*value)) {
        hd_strbuf_add(out, name + len + 2, (size_t)(close - (name + len + 2)));
    } else if (value) {
        hd_strbuf_puts(out, value);
    } else {
        hd_problem(r->problems, where, "${%s} is not set in the environment; set it, or write ${%s:-default}",
                   text, text);
        return NULL;
    }
    return close + 1;
}

/* The value with its $$ and ${…} replaced, in the arena; NULL after an error. */
static const char *expand(struct reader *r, const char *where, const char *s)
{
    struct hd_strbuf out = HD_STRBUF_INIT;
    const char *done = NULL;

    while (s && *s) {
        size_t n = strcspn(s, "$");

        hd_strbuf_add(&out, s, n);
        s += n;
        if (s[0] == '$' && s[1] == '{') {
            s = expand_one(r, where, s, &out);
        } else if (s[0] == '$') {
            hd_strbuf_putc(&out, '$');
            s += s[1] == '$' ? 2 : 1;
        }
    }
    if (s && !out.failed)
        done = hd_arena_strdup(&r->ini->arena, hd_strbuf_str(&out));
    if (s && !done)
        no_memory(r);
    hd_strbuf_free(&out);
    return done;
}

/* The last key is whole: expands its value and adds it to the section. */
static void finish_key(struct reader *r)
{
    struct key *k = r->key;

    r->key = NULL;
    if (!k)
        return;
    k->raw.value = expand(r, k->raw.origin, hd_strbuf_str(&r->value));
    if (r->value.failed)
        no_memory(r);
    if (!k->raw.value || r->value.failed)
        return;
    *r->keys_end = k;
    r->keys_end = &k->next;
    r->section.count++;
}

/* --- sections --------------------------------------------------------------------------------------------
 */

static struct hd_raw_section *make_room(struct hd_ini *ini)
{
    uint32_t cap = ini->cap ? ini->cap * 2 : 16;
    struct hd_raw_section *more;

    if (ini->count < ini->cap)
        return &ini->sections[ini->count];
    more = hd_arena_alloc(&ini->arena, cap * sizeof(*more));
    if (!more)
        return NULL;
    if (ini->count)
        memcpy(more, ini->sections, ini->count * sizeof(*more));
    ini->sections = more;
    ini->cap = cap;
    return &more[ini->count];
}

/* The section is whole: adds it to the result. */
static void finish_section(struct reader *r)
{
    struct hd_raw_section *to;
    struct hd_raw_key *keys;
    uint32_t i = 0;

    finish_key(r);
    if (r->place != IN_SECTION)
        return;
    keys = hd_arena_alloc(&r->ini->arena, (r->section.count + 1) * sizeof(*keys));
    to = keys ? make_room(r->ini) : NULL;
    if (!to) {
        no_memory(r);
        return;
    }
    for (struct key *k = r->keys; k; k = k->next)
        keys[i++] = k->raw;
    r->section.keys = keys;
    *to = r->section;
    r->ini->count++;
}

/* The section ends, and another begins whose keys nobody reads. */
static void refuse_section(struct reader *r)
{
    finish_section(r);
    r->place = REFUSED;
    r->can_continue = 0;
}

/* Begins [kind name]; the texts are not ended by a NUL. */
static void begin_section(struct reader *r, const char *kind, size_t kind_len, const char *name,
                          size_t name_len)
{
    struct hd_arena *a = &r->ini->arena;
    struct hd_raw_section *s = &r->section;

    memset(s, 0, sizeof(*s));
    s->kind = hd_arena_strndup(a, kind, kind_len);
    s->name = hd_arena_strndup(a, name, name_len);
    s->dir = r->dir;
    s->origin = here(r);
    if (s->kind && s->name)
        s->label = hd_arena_printf(a, "[%s%s%s]", s->kind, name_len ? " " : "", s->name);
    if (!s->label) {
        no_memory(r);
        return;
    }
    r->place = IN_SECTION;
    r->keys = NULL;
    r->keys_end = &r->keys;
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Takes a header apart: "[kind]" or "[kind name]", and behind it nothing but a comment. */
static void header(struct reader *r, const char *s, size_t len)
{
    const char *close = memchr(s, ']', len), *rest, *kind = s + 1, *name;
    size_t kind_len = 0, name_len;

    refuse_section(r); /* until the header has proved good */
    if (!close) {
        hd_problem(r->problems, here(r), "the section's header has no closing \"]\"");
        return;
    }
    for (rest = close + 1; rest < s + len && is_blank(*rest); rest++)
        ;
    if (rest < s + len && *rest != ';' && *rest != '#') {
        hd_problem(r->problems, here(r), "nothing but a comment may follow the \"]\" of a section's header");
        return;
    }
    while (kind < close && is_blank(*kind))
        kind++;
    while (kind + kind_len < close && !is_blank(kind[kind_len]))
        kind_len++;
    for (name = kind + kind_len; name < close && is_blank(*name); name++)
        ;
    name_len = (size_t)(close - name);
    while (name_len && is_blank(name[name_len - 1]))
        name_len--;
    if (!kind_len || kind_len > NAME_BYTES_MAX || name_len > NAME_BYTES_MAX) {
        hd_problem(r->problems, here(r),
                   "a section's header is [kind] or [kind name], with names of at most %d bytes",
                   NAME_BYTES_MAX);
        return;
    }
    begin_section(r, kind, kind_len, name, name_len);
}

/* --- lines -----------------------------------------------------------------------------------------------
 */

/* The next line of the file without its end; NULL at the end of the file. */
static const char *next_line(struct reader *r, size_t *len)
{
    const char *s = r->at, *nl;

    if (s >= r->end)
        return NULL;
    nl = memchr(s, '\n', (size_t)(r->end - s));
    *len = (size_t)((nl ? nl : r->end) - s);
    r->at = nl ? nl + 1 : r->end;
    if (*len && s[*len - 1] == '\r')
        --*len;
    r->line++;
    r->where = NULL;
    return s;
}

/* Is it a line that inih must not see, or would cut? Says so. */
static int is_refused(struct reader *r, const char *s, size_t len, size_t room)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];

        if ((c < ' ' && c != '\t') || c == 127) {
            hd_problem(r->problems, here(r), "the line holds the control character 0x%02x", c);
            return 1;
        }
    }
    if (len <= room)
        return 0;
    hd_problem(
        r->problems, here(r),
        "the line has %zu bytes, but at most %zu are read: continue the value on the next line, indented",
        len, room);
    return 1;
}

/* inih was given a line with a key and has brought none. */
static void check_expected(struct reader *r)
{
    if (r->expects)
        hd_problem(r->problems, here(r), "expected \"key = value\", \"[section]\" or a comment");
    r->drop = r->drop || r->expects;
    r->expects = 0;
}

/* A line that continues the last key. Is it for inih? */
static int continuation(struct reader *r, const char *s, size_t len, size_t room)
{
    if (is_refused(r, s, len, room)) {
        r->drop = 1;
        r->key = NULL;
    }
    r->continues = !r->drop;
    return r->continues;
}

/* A line that should hold a key. Is it for inih? */
static int key_line(struct reader *r, const char *s, size_t len, size_t room)
{
    finish_key(r);
    r->can_continue = 1;
    r->drop = 1;
    if (r->place == REFUSED)
        return 0;
    if (is_refused(r, s, len, room))
        return 0;
    if (r->place == NOWHERE) {
        hd_problem(r->problems, here(r), "a key must stand in a section: put a line such as [host] above it");
        return 0;
    }
    r->drop = 0;
    r->expects = 1;
    return 1;
}

/* Decides what a line is. Returns 1 when inih shall have it. */
static int take_line(struct reader *r, const char *s, size_t len, size_t room)
{
    size_t indent = 0;

    r->continues = 0;
    while (indent < len && is_blank(s[indent]))
        indent++;
    if (indent == len || s[indent] == ';' || s[indent] == '#')
        return 0;
    if (indent && r->can_continue)
        return continuation(r, s, len, room);
    if (indent) {
        hd_problem(
            r->problems, here(r),
            "an indented line continues the value above it, but there is none: begin at the line's start");
        return 0;
    }
    if (*s == '[') {
        if (!is_refused(r, s, len, len))
            header(r, s, len);
        else
            refuse_section(r);
        return 0;
    }
    return key_line(r, s, len, room);
}

/* Gives inih its next line: what we have kept for ourselves, or refused, it sees as an empty one. */
static char *read_line(char *out, int size, void *stream)
{
    struct reader *r = stream;
    size_t len, room = size > 2 ? (size_t)size - 2 : 0; /* a newline and a NUL stand behind it */
    const char *s;

    check_expected(r);
    s = next_line(r, &len);
    if (!s)
        return NULL;
    if (!take_line(r, s, len, room))
        len = 0;
    memcpy(out, s, len);
    memcpy(out + len, "\n", 2);
    return out;
}

/* inih leaves a comment behind a continued line. */
static size_t without_comment(const char *s)
{
    size_t len = strlen(s);

    for (size_t i = 1; i < len; i++)
        if (s[i] == ';' && is_blank(s[i - 1]))
            len = i;
    while (len && is_blank(s[len - 1]))
        len--;
    return len;
}

static void new_key(struct reader *r, const char *name, const char *value)
{
    struct key *k;

    if (!*name) {
        hd_problem(r->problems, here(r), "there is no key in front of the \"=\"");
        r->drop = 1;
        return;
    }
    k = hd_arena_alloc(&r->ini->arena, sizeof(*k));
    if (k)
        k->raw.key = hd_arena_strdup(&r->ini->arena, name);
    if (!k || !k->raw.key) {
        no_memory(r);
        r->drop = 1;
        return;
    }
    k->raw.origin = here(r);
    r->key = k;
    hd_strbuf_reset(&r->value);
    hd_strbuf_puts(&r->value, value);
}

/* inih has a key, or a line that continues one, which it brings as the same key again. */
static int take_key(void *user, const char *section, const char *name, const char *value)
{
    struct reader *r = user;
    size_t len;

    (void)section; /* cut by inih; the reader has it whole */
    r->expects = 0;
    if (!r->continues) {
        new_key(r, name, value ? value : "");
        return 1;
    }
    len = without_comment(value);
    if (!r->key || !len)
        return 1;
    if (r->value.len)
        hd_strbuf_putc(&r->value, ' ');
    hd_strbuf_add(&r->value, value, len);
    return 1;
}

void hd_ini_parse(struct hd_ini *ini, const char *name, const char *dir, const char *bytes, size_t len,
                  struct hd_problems *problems)
{
    struct reader r = {.ini = ini,
                       .problems = problems,
                       .dir = dir,
                       .at = bytes,
                       .end = bytes + len,
                       .value = HD_STRBUF_INIT};

    r.name = hd_arena_strdup(&ini->arena, name);
    r.dir = hd_arena_strdup(&ini->arena, dir);
    if (!r.name || !r.dir) {
        no_memory(&r);
        return;
    }
    if (len && memchr(bytes, 0, len)) {
        hd_problem(problems, r.name, "holds a zero byte: it is no text file");
        return;
    }
    if (len >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3))
        r.at += 3;
    if (ini_parse_stream(read_line, &r, take_key, &r) == -2)
        no_memory(&r);
    finish_section(&r);
    hd_strbuf_free(&r.value);
}

/* --- files -----------------------------------------------------------------------------------------------
 */

/* Reads a whole file into memory that the caller frees; NULL after an error. */
static char *slurp(const char *path, size_t *len, struct hd_problems *problems)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *bytes = NULL;
    ssize_t n = -1;

    *len = 0;
    if (fd < 0)
        goto fail;
    bytes = hd_malloc(HD_INI_FILE_BYTES + 1);
    if (!bytes) {
        hd_problem_memory(problems);
        goto out;
    }
    while (*len <= HD_INI_FILE_BYTES) {
        n = read(fd, bytes + *len, HD_INI_FILE_BYTES + 1 - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        *len += (size_t)n;
    }
    if (n == 0)
        goto out;
    if (n > 0)
        errno = EFBIG;
fail:
    hd_problem(problems, path, "cannot read it: %s", strerror(errno));
    hd_free(bytes);
    bytes = NULL;
out:
    if (fd >= 0)
        close(fd);
    return bytes;
}

/* Reads the file `path`, which lies in `dir`. */
static void read_file(struct hd_ini *ini, const char *path, const char *dir, struct hd_problems *problems)
{
    size_t len;
    char *bytes = slurp(path, &len, problems);

    if (bytes) {
        hd_ini_parse(ini, path, dir, bytes, len, problems);
        explicit_bzero(bytes, len);
    }
    hd_free(bytes);
}

static int is_ini(const struct dirent *e)
{
    size_t len = strlen(e->d_name);

    if (e->d_name[0] == '.' || len < 5)
        return 0;
    return (len > 4 && !strcmp(e->d_name + len - 4, ".ini")) ||
           (len > 5 && !strcmp(e->d_name + len - 5, ".conf"));
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_folder(struct hd_ini *ini, const char *path, struct hd_problems *problems)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_ini, by_bytes);

    if (n < 0)
        hd_problem(problems, path, "cannot read the folder: %s", strerror(errno));
    if (n == 0)
        hd_problem(problems, path, "there is no *.ini or *.conf file in this folder");
    for (int i = 0; i < n; i++) {
        const char *file = hd_path_from(&ini->arena, path, entries[i]->d_name);

        if (file)
            read_file(ini, file, path, problems);
        else
            hd_problem_memory(problems);
        free(entries[i]);
    }
    free(entries);
}

void hd_ini_read(struct hd_ini *ini, const char *path, struct hd_problems *problems)
{
    const char *slash = strrchr(path, '/');
    struct stat st;
    char *dir;

    if (stat(path, &st)) {
        hd_problem(problems, path, "cannot open it: %s", strerror(errno));
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        read_folder(ini, path, problems);
        return;
    }
    dir = slash ? hd_arena_strndup(&ini->arena, path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    if (slash && !dir)
        hd_problem_memory(problems);
    else
        read_file(ini, path, dir ? dir : ".", problems);
}

void hd_ini_free(struct hd_ini *ini)
{
    hd_arena_free(&ini->arena);
    memset(ini, 0, sizeof(*ini));
}
