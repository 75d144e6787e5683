/*
 * From rules and hints to cells; see tags.h.
 */
#define XXH_INLINE_ALL
#include "tags.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "cache.h"
#include "oids.h"
#include "row_value.h"
#include "tell.h"

/* What a cell stands for. */
enum scope {
    ALL,   /* every tag */
    GROUP, /* those that begin with the name, which ends in a colon */
    NAME,  /* the name itself */
    UNTOLD /* those of a group (of none: any) whose value cannot be told */
};

static struct cache_cell *cell_of(struct cache_epochs *e, enum scope scope, struct hd_str name)
{
    uint64_t h = XXH3_64bits_withSeed(name.len ? name.ptr : "", name.len, scope);

    return &e->tags[h % CACHE_TAG_CELLS];
}

struct hd_str cache_tag_group(struct hd_str name)
{
    const char *colon = name.len ? memchr(name.ptr, ':', name.len) : NULL;

    return colon ? (struct hd_str){name.ptr, (uint64_t)(colon - name.ptr) + 1} : (struct hd_str){NULL, 0};
}

static const struct hd_str none = {NULL, 0};

uint32_t cache_tag_groups(struct cache_epochs *e, struct hd_str name, struct cache_cell *out[2])
{
    struct hd_str group = cache_tag_group(name);
    uint32_t n = 0;

    out[n++] = cell_of(e, ALL, none);
    if (group.len)
        out[n++] = cell_of(e, GROUP, group);
    return n;
}

/* --- tags as they are written -------------------------------------------------------------------------- */

int cache_tag_column(struct hd_str tag, uint64_t *at, struct hd_str *column)
{
    const char *open, *close, *end = tag.ptr + tag.len;

    open = *at < tag.len ? memchr(tag.ptr + *at, '{', tag.len - *at) : NULL;
    close = open ? memchr(open, '}', (size_t)(end - open)) : NULL;
    if (!close)
        return 0;
    *column = (struct hd_str){open + 1, (uint64_t)(close - open) - 1};
    *at = (uint64_t)(close - tag.ptr) + 1;
    return 1;
}

int32_t cache_tag_check(struct hd_str tag, struct hd_error *err)
{
    uint64_t at = 0, depth = 0;
    struct hd_str column;

    for (uint64_t i = 0; i < tag.len; i++) {
        depth += tag.ptr[i] == '{';
        if (depth > 1 || (tag.ptr[i] == '}' && !depth))
            return hd_error_set(err, HD_EINVAL, "\"%s\": braces stand around the name of a column", tag.ptr);
        depth -= tag.ptr[i] == '}';
        if ((unsigned char)tag.ptr[i] <= ' ')
            return hd_error_set(err, HD_EINVAL, "\"%s\" has a blank in it", tag.ptr);
    }
    if (depth)
        return hd_error_set(err, HD_EINVAL, "\"%s\": a brace is not closed", tag.ptr);
    if (!tag.len || tag.len > CACHE_TAG_BYTES)
        return hd_error_set(err, HD_EINVAL, "a tag has 1 to %d bytes", CACHE_TAG_BYTES);
    while (cache_tag_column(tag, &at, &column))
        if (!column.len)
            return hd_error_set(err, HD_EINVAL, "\"%s\": which column stands in the braces?", tag.ptr);
    return HD_OK;
}

int cache_tag_hinted(struct hd_str hint, uint64_t *at, struct hd_str *tag)
{
    while (*at < hint.len) {
        const char *word = hint.ptr + *at;
        uint64_t len = 0;

        while (*at + len < hint.len && (unsigned char)word[len] > ' ')
            len++;
        *at += len + 1;
        if (len > 4 && memcmp(word, "tag=", 4) == 0) {
            *tag = (struct hd_str){word + 4, len - 4};
            return 1;
        }
    }
    return 0;
}

int cache_tag_numbers(const struct hd_template_v1 *templates, const hd_template *t, struct hd_str column,
                      uint32_t *at, uint32_t *first, uint32_t *count)
{
    struct hd_template_comparison c = {.size = sizeof(c)};

    while (templates->comparison(t, (*at)++, &c) == HD_OK) {
        if ((c.op != HD_CMP_EQ && c.op != HD_CMP_IN) || !c.param_first || c.column.len != column.len ||
            memcmp(c.column.ptr, column.ptr, column.len) != 0)
            continue;
        *first = c.param_first;
        *count = c.param_count;
        return 1;
    }
    return 0;
}

/* --- values as text ------------------------------------------------------------------------------------ */

/* One name, or the beginning of one. */
struct name {
    uint32_t len;
    char text[CACHE_TAG_BYTES];
};

struct names {
    uint32_t count;
    int untold; /* there are others, which cannot be told */
    struct name all[CACHE_TAG_NAMES];
};

static void add(struct names *to, const char *text, uint64_t len)
{
    if (len > CACHE_TAG_BYTES || to->count == CACHE_TAG_NAMES) {
        to->untold = 1;
        return;
    }
    for (uint32_t i = 0; i < to->count; i++)
        if (to->all[i].len == len && memcmp(to->all[i].text, text, len) == 0)
            return;
    to->all[to->count].len = (uint32_t)len;
    memcpy(to->all[to->count++].text, text, len);
}

static void add_integer(struct names *to, int64_t n)
{
    char text[24];

    add(to, text, (uint64_t)snprintf(text, sizeof(text), "%" PRId64, n));
}

static void add_uuid(struct names *to, const uint8_t *bytes)
{
    char text[40];
    size_t at = 0;

    for (int i = 0; i < 16; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%02x",
                               i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
    add(to, text, at);
}

static int is_ascii(struct hd_str s)
{
    for (uint64_t i = 0; i < s.len; i++)
        if (s.ptr[i] & 0x80)
            return 0;
    return 1;
}

/* As it is written, and as PostgreSQL would write what it may mean: 042 may be 42. */
static void add_text(struct names *to, struct hd_str s, int utf8)
{
    uint8_t uuid[16];
    int64_t n;

    if (!utf8 && !is_ascii(s)) {
        to->untold = 1;
        return;
    }
    add(to, s.ptr, s.len);
    if (cache_value_read_integer(s, &n))
        add_integer(to, n);
    else if (cache_value_read_uuid(s, uuid))
        add_uuid(to, uuid);
}

static void add_binary(struct names *to, const struct hd_value *v, int utf8)
{
    int integer = v->type == OID_INT2 || v->type == OID_INT4 || v->type == OID_INT8;

    if (integer && (v->data.len == 2 || v->data.len == 4 || v->data.len == 8))
        add_integer(to, cache_value_read_binary(v->data));
    else if (v->type == OID_UUID && v->data.len == 16)
        add_uuid(to, (const uint8_t *)v->data.ptr);
    else if (v->type == OID_TEXT || v->type == OID_VARCHAR)
        add_text(to, v->data, utf8);
    else
        to->untold = 1;
}

/* --- names of an execution ----------------------------------------------------------------------------- */

struct finder {
    struct cache *cache;
    const struct hd_statement *st;
    int utf8;
    int outside; /* of statement(): the text's literals alone are known */
};

static int32_t find_value(const struct finder *f, uint32_t n, struct hd_value *out)
{
    const struct cache *self = f->cache;

    if (f->outside)
        return self->template->value(self->host, f->st->tmpl, f->st->sql, n, out);
    return self->statement->value(self->host, f->st, n, out);
}

/* NULL is equal to nothing, so no row is by it in the answer. */
static void add_value(const struct finder *f, uint32_t n, struct names *to)
{
    struct hd_value v = {.size = sizeof(v)};

    if (find_value(f, n, &v) != HD_OK)
        to->untold = 1;
    else if (v.kind == HD_VAL_NULL)
        return;
    else if (v.kind == HD_VAL_PARAM && v.format)
        add_binary(to, &v, f->utf8);
    else
        add_text(to, v.data, f->utf8);
}

static void find_values(const struct finder *f, struct hd_str column, struct names *out)
{
    uint32_t at = 0, first, count;

    while (cache_tag_numbers(f->cache->template, f->st->tmpl, column, &at, &first, &count))
        for (uint32_t i = 0; i < count; i++)
            if (out->count < CACHE_TAG_NAMES)
                add_value(f, first + i, out);
            else
                out->untold = 1;
}

/* Each of the names with each of the endings. */
static void multiply(struct names *names, const struct names *endings)
{
    struct names all = {.untold = names->untold | endings->untold};

    for (uint32_t i = 0; i < names->count; i++) {
        for (uint32_t k = 0; k < endings->count; k++) {
            struct name one = names->all[i];

            if (one.len + endings->all[k].len > CACHE_TAG_BYTES) {
                all.untold = 1;
                continue;
            }
            memcpy(one.text + one.len, endings->all[k].text, endings->all[k].len);
            add(&all, one.text, one.len + endings->all[k].len);
        }
    }
    *names = all;
}

static void append(struct names *names, const char *text, uint64_t len)
{
    struct names one = {0};

    add(&one, text, len);
    multiply(names, &one);
}

/* The names that a rule's tag stands for here; none where a column is compared with nothing. */
static void find_names(const struct finder *f, struct hd_str tag, struct names *out)
{
    uint64_t from = 0, at = 0;
    struct hd_str column;

    *out = (struct names){.count = 1};
    while (cache_tag_column(tag, &at, &column)) {
        struct names values = {0};

        append(out, tag.ptr + from, (uint64_t)(column.ptr - tag.ptr) - 1 - from);
        from = at;
        find_values(f, column, &values);
        multiply(out, &values);
        if (!values.count && !values.untold)
            out->untold = 0;
    }
    append(out, tag.ptr + from, tag.len - from);
}

/* --- cells --------------------------------------------------------------------------------------------- */

static void hang_on(struct cache_tagged *out, struct cache_cell *cell)
{
    for (uint32_t i = 0; i < out->count; i++)
        if (out->cells[i] == cell)
            return;
    if (out->count < CACHE_TAG_MARKS)
        out->cells[out->count++] = cell;
}

/* There is room for two more always: whatever does not fit is any tag. */
static void hang_on_name(struct cache *self, struct cache_tagged *out, enum scope scope, struct hd_str name)
{
    struct cache_cell *groups[2];
    uint32_t n = cache_tag_groups(&self->epochs, name, groups);

    if (out->count + 3 + 2 > CACHE_TAG_MARKS) {
        hang_on(out, cell_of(&self->epochs, ALL, none));
        hang_on(out, cell_of(&self->epochs, UNTOLD, none));
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        hang_on(out, groups[i]);
    hang_on(out, cell_of(&self->epochs, scope, scope == UNTOLD ? cache_tag_group(name) : name));
}

static void add_rule_tag(const struct finder *f, struct hd_str tag, struct cache_tagged *out)
{
    const char *open = memchr(tag.ptr, '{', tag.len);
    struct names names;

    if (!open) {
        hang_on_name(f->cache, out, NAME, tag);
        return;
    }
    find_names(f, tag, &names);
    for (uint32_t i = 0; i < names.count; i++)
        hang_on_name(f->cache, out, NAME, (struct hd_str){names.all[i].text, names.all[i].len});
    if (names.untold)
        hang_on_name(f->cache, out, UNTOLD, (struct hd_str){tag.ptr, (uint64_t)(open - tag.ptr)});
}

static int is_utf8(const struct hd_statement *st)
{
    const char *encoding = hd_statement_setting(st, "client_encoding");

    return encoding && !strcasecmp(encoding, "UTF8");
}

void cache_tags_find(struct cache *self, const struct cache_policy *policy, const struct hd_statement *st,
                     struct cache_tagged *out)
{
    const struct finder f = {.cache = self, .st = st, .utf8 = policy->tag_count && is_utf8(st)};
    struct hd_str tag;
    uint64_t at = 0;

    out->count = 0;
    for (uint32_t i = 0; i < policy->tag_count; i++)
        add_rule_tag(&f, policy->tags[i], out);
    while (cache_tag_hinted(policy->hint, &at, &tag))
        hang_on_name(self, out, NAME, tag);
}

void cache_tag_names(struct cache *self, struct hd_str tag, const hd_template *t, struct hd_str sql,
                     void (*name)(void *arg, struct hd_str name), void *arg)
{
    const struct hd_statement st = {.size = sizeof(st), .tmpl = t, .sql = sql};
    const struct finder f = {.cache = self, .st = &st, .utf8 = 1, .outside = 1};
    struct names names;

    find_names(&f, tag, &names);
    for (uint32_t i = 0; i < names.count; i++)
        name(arg, (struct hd_str){names.all[i].text, names.all[i].len});
}

/* --- ending -------------------------------------------------------------------------------------------- */

static void end_cells(struct cache *self, struct cache_cell *const *cells, uint32_t count)
{
    struct cache_footprint what = {.count = count};

    cache_shared_raise(self, cells, count);
    for (uint32_t i = 0; i < count; i++) {
        what.cells[i] = cells[i];
        cache_bump(cells[i]);
    }
    cache_tell_written(self, &what, none, none);
    self->metrics->add(self->host, self->stats.invalidations, 1);
}

void cache_tags_end(struct cache *self, struct hd_str tag)
{
    struct hd_str group = cache_tag_group(tag);
    struct cache_cell *const cells[] = {cell_of(&self->epochs, NAME, tag),
                                        cell_of(&self->epochs, UNTOLD, none),
                                        cell_of(&self->epochs, UNTOLD, group)};

    end_cells(self, cells, group.len ? 3 : 2);
}

/* What stands before the first sign that is none of itself. */
void cache_tags_end_like(struct cache *self, const char *pattern)
{
    const struct hd_str prefix = {pattern, strcspn(pattern, CACHE_TAG_SIGNS)},
                        group = cache_tag_group(prefix);
    struct cache_cell *const cells[] = {cell_of(&self->epochs, group.len ? GROUP : ALL, group),
                                        cell_of(&self->epochs, UNTOLD, none)};

    end_cells(self, cells, 2);
}
