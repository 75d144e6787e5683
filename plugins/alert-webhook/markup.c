/*
 * Texts for receivers that read markup in them. Names of databases, users and servers may hold anything: none
 * may draw, link or call somebody. Addresses that a rule's summary gives are left to be links.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "alert-webhook/alert-webhook.h"
#include "sinks/json.h"

#define GAP "\xe2\x80\x8b" /* a space of no width, behind what no backslash helps against */

/* The text that was made at `text`, up to `end`; frees it. NULL: no memory. */
static json_t *finish(char *text, char *end)
{
    json_t *out;

    if (!text)
        return NULL;
    *end = '\0';
    out = sink_json_text(text);
    free(text);
    return out;
}

/* Slack's markup begins with &, < or >: a database that is called <!channel> calls nobody. */
json_t *wh_slack_text(const char *s)
{
    static const char *const marks[] = {"&&amp;", "<&lt;", ">&gt;"};
    char *text = malloc(strlen(s) * 5 + 1), *to = text;

    for (; to && *s; s++) {
        const char *put = NULL;

        for (size_t i = 0; i < 3; i++)
            put = *s == marks[i][0] ? marks[i] + 1 : put;
        if (put)
            to = stpcpy(to, put);
        else
            *to++ = *s;
    }
    return finish(text, to);
}

/* --- Mattermost ------------------------------------------------------------------------------------------
 */

/* Length of an address that begins here, after a blank or at the start of a line; 0: none does. What could be
 * markup ends it. */
static size_t address(const char *s)
{
    size_t scheme = strncmp(s, "https://", 8) == 0 ? 8 : strncmp(s, "http://", 7) == 0 ? 7 : 0;

    if (!scheme)
        return 0;
    return scheme +
           strspn(s + scheme, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/?&=%+:,");
}

/* Is this character a mark only because of what stands before it in its line: a list's, a quotation's? */
static int begins_item(const char *line, const char *s)
{
    size_t blanks = strspn(line, " "), digits = strspn(line + blanks, "0123456789");

    if (strchr("+-=", *s))
        return line + blanks == s;
    return strchr(".)", *s) && digits && line + blanks + digits == s;
}

/* Somebody who is called, or the name of a picture, as in :tada:. */
static int needs_gap(const char *s)
{
    size_t n = 1;

    if (*s == '@')
        return 1;
    while (*s == ':' && (isalnum((unsigned char)s[n]) || s[n] == '_' || s[n] == '+' || s[n] == '-'))
        n++;
    return n > 1 && s[n] == ':';
}

/* Backslashes take its meaning from each mark of Markdown; of @channel, and of what Mattermost alone knows,
 * they do not. */
static char *put_mark(char *to, const char *line, const char *s)
{
    if (strchr("\\`*_[]<>#~|!", *s) || begins_item(line, s))
        *to++ = '\\';
    *to++ = *s;
    return needs_gap(s) ? stpcpy(to, GAP) : to;
}

json_t *wh_mattermost_text(const char *s)
{
    char *text = malloc(strlen(s) * (1 + strlen(GAP)) + 1), *to = text;
    const char *line = s;

    for (int fresh = 1; to && *s; fresh = strchr(" \n", s[-1]) != NULL) {
        size_t n = fresh ? address(s) : 0;

        if (n)
            to = mempcpy(to, s, n);
        else
            to = put_mark(to, line, s);
        s += n ? n : 1;
        if (s[-1] == '\n')
            line = s;
    }
    return finish(text, to);
}

/* --- Teams -----------------------------------------------------------------------------------------------
 */

/* A line as a block of its own: runs of text know no Markdown, as blocks of text do. */
static json_t *teams_line(const char *line, size_t len, const char *weight, const char *shade)
{
    char *text = strndup(line, len);
    json_t *run = text ? json_pack("{s:s, s:o, s:s, s:s}", "type", "TextRun", "text",
                                   sink_json_text(len ? text : " "), "weight", weight, "color", shade)
                       : NULL;

    free(text);
    return json_pack("{s:s, s:s, s:[o]}", "type", "RichTextBlock", "spacing", "Small", "inlines", run);
}

int wh_teams_text(json_t *blocks, const char *s, const char *weight, const char *shade)
{
    do {
        size_t len = strcspn(s, "\n");

        if (json_array_append_new(blocks, teams_line(s, len, weight, shade)))
            return -1;
        s += len + (s[len] == '\n');
    } while (*s);
    return 0;
}
