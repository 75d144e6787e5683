/*
 * The options engine's second half: everything that is printed from a table. What is printed as an INI can be
 * read again, secrets apart, which never leave.
 */
#include "plug/options.h"
#include "base/check.h"
#include "base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of a printed INI is continued past this; the reader takes somewhat more. */
#define WRAP_AT 110

const char *hd_option_type_name(uint32_t type)
{
    static const char *const names[] = {"?",        "bool",   "int",    "real", "size",
                                        "duration", "string", "secret", "enum", "list"};

    return type < HD_ARRAY_LEN(names) ? names[type] : names[0];
}

static void print_real(double v, struct hd_strbuf *out)
{
    char text[40];

    if (v > -1e15 && v < 1e15 && v == (double)(int64_t)v) {
        hd_strbuf_printf(out, "%lld", (long long)v);
        return;
    }
    /* The shortest form that reads back as the same number. */
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    hd_strbuf_puts(out, text);
}

static void print_number(uint32_t type, double v, struct hd_strbuf *out)
{
    char text[24];

    if (type == HD_OPT_SIZE)
        hd_strbuf_puts(out, hd_format_size((int64_t)v, text));
    else if (type == HD_OPT_DURATION)
        hd_strbuf_puts(out, hd_format_duration((int64_t)v, text));
    else if (type == HD_OPT_INT)
        hd_strbuf_printf(out, "%.0f", v);
    else
        print_real(v, out);
}

static void print_choice(const char *choices, int32_t index, struct hd_strbuf *out)
{
    for (; index > 0 && *choices; index--) {
        choices += strcspn(choices, "|");
        choices += *choices == '|';
    }
    hd_strbuf_add(out, choices, strcspn(choices, "|"));
}

static void print_list(const struct hd_str_list *list, struct hd_strbuf *out)
{
    for (uint64_t i = 0; i < list->count; i++) {
        if (i)
            hd_strbuf_puts(out, ", ");
        hd_strbuf_add(out, list->items[i].ptr, list->items[i].len);
    }
}

void hd_option_print_value(const struct hd_option *opt, const void *conf, struct hd_strbuf *out)
{
    const void *v = (const char *)conf + opt->offset;
    const struct hd_str *s = v;
    char text[24];

    switch (opt->type) {
    case HD_OPT_BOOL:
        hd_strbuf_puts(out, *(const int32_t *)v ? "yes" : "no");
        break;
    case HD_OPT_INT:
        hd_strbuf_printf(out, "%lld", (long long)*(const int64_t *)v);
        break;
    case HD_OPT_REAL:
        print_real(*(const double *)v, out);
        break;
    case HD_OPT_SIZE:
        hd_strbuf_puts(out, hd_format_size(*(const int64_t *)v, text));
        break;
    case HD_OPT_DURATION:
        hd_strbuf_puts(out, hd_format_duration(*(const int64_t *)v, text));
        break;
    case HD_OPT_STRING:
        hd_strbuf_add(out, s->ptr, s->len);
        break;
    case HD_OPT_SECRET:
        hd_strbuf_puts(out, s->len ? HD_SECRET_MASK : "");
        break;
    case HD_OPT_ENUM:
        print_choice(opt->choices, *(const int32_t *)v, out);
        break;
    case HD_OPT_LIST:
        print_list(v, out);
        break;
    default:
        HD_NEVER("an option's type is checked before its values");
    }
}

void hd_option_print_range(const struct hd_option *opt, struct hd_strbuf *out)
{
    int number = opt->type == HD_OPT_INT || opt->type == HD_OPT_REAL || opt->type == HD_OPT_SIZE ||
                 opt->type == HD_OPT_DURATION;

    if (opt->type == HD_OPT_BOOL)
        hd_strbuf_puts(out, "yes|no");
    else if (opt->type == HD_OPT_ENUM)
        hd_strbuf_puts(out, opt->choices);
    else if (number && (opt->min != 0 || opt->max != 0)) {
        print_number(opt->type, opt->min, out);
        hd_strbuf_puts(out, " and ");
        print_number(opt->type, opt->max, out);
    }
}

/* --- INI -------------------------------------------------------------------------------------------------
 */

/* How much of `s` goes on this line: up to a lone blank that the reader's joining gives back. */
static size_t line_length(const char *s, size_t room)
{
    size_t len = strlen(s), best = 0;

    if (len <= room)
        return len;
    for (size_t i = 1; i + 1 < len; i++) {
        if (s[i] != ' ' || s[i - 1] == ' ' || strchr(" ;#", s[i + 1]))
            continue;
        if (i > room && best)
            break;
        best = i;
        if (i > room)
            break;
    }
    return best ? best : len;
}

void hd_option_print_line(const char *key, const char *value, struct hd_strbuf *out)
{
    struct hd_strbuf escaped = HD_STRBUF_INIT;
    const char *rest;
    size_t n, at = strlen(key) + 3;

    for (const char *p = value; *p; p++) {
        if (*p == '$')
            hd_strbuf_putc(&escaped, '$');
        hd_strbuf_putc(&escaped, *p);
    }
    rest = hd_strbuf_str(&escaped);
    hd_strbuf_printf(out, "%s =%s", key, *rest ? " " : "");
    for (;;) {
        n = line_length(rest, at < WRAP_AT ? WRAP_AT - at : 1);
        hd_strbuf_add(out, rest, n);
        hd_strbuf_putc(out, '\n');
        rest += n;
        if (!*rest)
            break;
        rest++; /* the blank */
        at = 4;
        hd_strbuf_puts(out, "    ");
    }
    if (escaped.failed)
        out->failed = 1;
    hd_strbuf_free(&escaped);
}

void hd_options_print(const struct hd_options *o, const void *conf, struct hd_strbuf *out)
{
    struct hd_option opt;

    for (uint32_t i = 0; i < o->count; i++) {
        struct hd_strbuf value = HD_STRBUF_INIT;

        hd_option_at(o, i, &opt);
        hd_option_print_value(&opt, conf, &value);
        hd_option_print_line(opt.key, hd_strbuf_str(&value), out);
        if (value.failed)
            out->failed = 1;
        hd_strbuf_free(&value);
    }
}

/* "1 to 10000", "trust, scram-sha-256 or cert", "" */
static void print_allowed(const struct hd_option *opt, struct hd_strbuf *out)
{
    const char *c = opt->choices;

    if (opt->type != HD_OPT_ENUM) {
        struct hd_strbuf range = HD_STRBUF_INIT;
        const char *and;

        hd_option_print_range(opt, &range);
        and = strstr(hd_strbuf_str(&range), " and ");
        if (and)
            hd_strbuf_printf(out, "%.*s to %s", (int)(and-hd_strbuf_str(&range)), hd_strbuf_str(&range),
                             and+5);
        else if (opt->type == HD_OPT_BOOL)
            hd_strbuf_puts(out, "yes or no");
        if (range.failed)
            out->failed = 1;
        hd_strbuf_free(&range);
        return;
    }
    while (*c) {
        size_t n = strcspn(c, "|");
        const char *next = c + n + (c[n] == '|');

        hd_strbuf_add(out, c, n);
        if (*next)
            hd_strbuf_puts(out, strchr(next, '|') ? ", " : " or ");
        c = next;
    }
}

/* The sentence about a key: what it does, what it may be, when a change takes effect. */
static void print_sentence(const struct hd_option *opt, struct hd_strbuf *out)
{
    struct hd_strbuf allowed = HD_STRBUF_INIT;
    size_t len = strlen(opt->doc);

    print_allowed(opt, &allowed);
    hd_strbuf_add(out, opt->doc, len && opt->doc[len - 1] == '.' ? len - 1 : len);
    if (allowed.len)
        hd_strbuf_printf(out, " (%s)", allowed.data);
    if (opt->type == HD_OPT_SECRET)
        hd_strbuf_printf(out, "; or %s_file = PATH", opt->key);
    if (!(opt->flags & HD_OPTF_RELOADABLE))
        hd_strbuf_puts(out, "; a change needs a restart");
    if (allowed.failed)
        out->failed = 1;
    hd_strbuf_free(&allowed);
}

void hd_options_print_sample(const struct hd_options *o, struct hd_strbuf *out)
{
    struct hd_option opt;

    for (uint32_t i = 0; i < o->count; i++) {
        hd_option_at(o, i, &opt);
        hd_strbuf_puts(out, "; ");
        print_sentence(&opt, out);
        hd_strbuf_printf(out, "\n%s%s =%s%s\n", opt.flags & HD_OPTF_REQUIRED ? "" : ";", opt.key,
                         opt.default_value && *opt.default_value ? " " : "",
                         opt.default_value ? opt.default_value : "");
    }
}

/* Text of a manual page: a backslash, and a dot or quote in front of a line, mean something to roff. */
static void put_roff(const char *s, struct hd_strbuf *out)
{
    for (; *s; s++) {
        if (*s == '\\')
            hd_strbuf_puts(out, "\\e");
        else if (*s == '-')
            hd_strbuf_puts(out, "\\-");
        else
            hd_strbuf_putc(out, *s);
    }
}

void hd_options_print_manual(const struct hd_options *o, struct hd_strbuf *out)
{
    struct hd_option opt;

    for (uint32_t i = 0; i < o->count; i++) {
        struct hd_strbuf text = HD_STRBUF_INIT;

        hd_option_at(o, i, &opt);
        print_sentence(&opt, &text);
        hd_strbuf_puts(out, ".TP\n\\fB");
        put_roff(opt.key, out);
        hd_strbuf_printf(out, "\\fR (%s%s", hd_option_type_name(opt.type),
                         opt.default_value && *opt.default_value ? ", default " : "");
        put_roff(opt.default_value ? opt.default_value : "", out);
        hd_strbuf_printf(out, "%s)\n\\&", opt.flags & HD_OPTF_REQUIRED ? ", required" : "");
        put_roff(hd_strbuf_str(&text), out);
        hd_strbuf_puts(out, ".\n");
        if (text.failed)
            out->failed = 1;
        hd_strbuf_free(&text);
    }
}
