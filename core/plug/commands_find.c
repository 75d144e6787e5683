/*
 * Which command a line means, and what it is to make of the words behind its name; see commands_parts.h.
 */
#include "plug/commands_parts.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "plug/nearest.h"

#include <ctype.h>
#include <string.h>

/* The first n words, upper case, a blank between; NULL when they cannot be a name. */
static const char *join_words(const struct hd_words *w, size_t n, char *out)
{
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        if (w->quoted[i] || len + w->word[i].len + 2 > HD_COMMAND_BYTES)
            return NULL;
        if (i)
            out[len++] = ' ';
        for (size_t k = 0; k < w->word[i].len; k++)
            out[len++] = (char)toupper((unsigned char)w->word[i].ptr[k]);
    }
    out[len] = 0;
    return out;
}

const struct hd_command *hd_command_find(const struct hd_commands *c, const struct hd_words *w)
{
    char name[HD_COMMAND_BYTES];

    for (size_t n = w->count < HD_COMMAND_WORDS ? w->count : HD_COMMAND_WORDS; n; n--) {
        if (!join_words(w, n, name))
            continue;
        for (const struct hd_command *cmd = c->first; cmd; cmd = cmd->next) {
            if (strcmp(cmd->name, name) == 0)
                return cmd;
        }
    }
    return NULL;
}

static struct hd_command_info describe(const struct hd_command *cmd)
{
    return (struct hd_command_info){
        .name = cmd->name, .usage = cmd->usage, .doc = cmd->doc, .flags = cmd->flags, .owner = cmd->owner};
}

const struct hd_command *hd_command_next(const struct hd_command *cmd)
{
    const struct hd_command *next = cmd->next;

    while (next && strcmp(next->name, cmd->name) == 0)
        next = next->next;
    return next;
}

void hd_commands_each(const struct hd_commands *c, void (*fn)(void *arg, const struct hd_command_info *info),
                      void *arg)
{
    for (const struct hd_command *cmd = c->first; cmd; cmd = hd_command_next(cmd)) {
        struct hd_command_info info = describe(cmd);

        fn(arg, &info);
    }
}

int hd_commands_get(const struct hd_commands *c, const char *name, struct hd_command_info *out)
{
    for (const struct hd_command *cmd = c->first; cmd; cmd = cmd->next) {
        if (strcmp(cmd->name, name))
            continue;
        *out = describe(cmd);
        return HD_OK;
    }
    return HD_ENOENT;
}

/* The command nearest to what was typed, comparing as many words as each has. */
static const char *suggestion(const struct hd_commands *c, const struct hd_words *w)
{
    const char *best = NULL;
    size_t distance = 0;

    for (const struct hd_command *cmd = c->first; cmd; cmd = cmd->next) {
        char typed[HD_COMMAND_BYTES];
        struct hd_nearest n;

        if (cmd->words > w->count || !join_words(w, cmd->words, typed))
            continue;
        n = hd_nearest_start(typed);
        hd_nearest_offer(&n, cmd->name);
        if (hd_nearest_end(&n) && (!best || n.distance < distance)) {
            best = cmd->name;
            distance = n.distance;
        }
    }
    return best;
}

/* "SHOW" alone: lists what it could have been. */
static void list_longer(const struct hd_commands *c, const char *typed, struct hd_strbuf *out)
{
    size_t len = strlen(typed);

    for (const struct hd_command *cmd = c->first; cmd; cmd = cmd->next) {
        if (strncmp(cmd->name, typed, len) == 0 && cmd->name[len] == ' ')
            hd_strbuf_printf(out, "%s%s", out->len ? ", " : "", cmd->name + len + 1);
    }
}

/* The plugin that had the command when it ran, of which `name` is made; NULL: none. */
static const char *stopped(const struct hd_commands *c, const struct hd_words *w, char *name)
{
    const char *plugin = NULL;

    for (size_t n = w->count < HD_COMMAND_WORDS ? w->count : HD_COMMAND_WORDS; n && !plugin; n--)
        plugin = join_words(w, n, name) ? hd_commands_gone(c, name) : NULL;
    return plugin;
}

int hd_command_refuse_unknown(const struct hd_commands *c, const struct hd_words *w, struct hd_error *err)
{
    struct hd_strbuf more = HD_STRBUF_INIT;
    const char *nearest = suggestion(c, w), *plugin;
    char typed[HD_COMMAND_BYTES];
    size_t words = w->count < HD_COMMAND_WORDS ? w->count : HD_COMMAND_WORDS;

    plugin = stopped(c, w, typed);
    if (plugin)
        return hd_fail(err, HD_ENOENT, "%s is of the plugin %s, which does not run; SHOW PLUGINS says why",
                       typed, plugin);
    while (words && !join_words(w, words, typed))
        words--;
    if (!words)
        return hd_fail(err, HD_ENOENT, "there is no such command; HELP lists them all");
    list_longer(c, typed, &more);
    if (more.len)
        hd_fail(err, HD_ENOENT, "%s what? One of: %s", typed, hd_strbuf_str(&more));
    else if (nearest)
        hd_fail(err, HD_ENOENT, "there is no command \"%s\"; did you mean %s?", typed, nearest);
    else
        hd_fail(err, HD_ENOENT, "there is no command \"%s\"; HELP lists them all", typed);
    hd_strbuf_free(&more);
    return HD_ENOENT;
}

int hd_command_refuse_arguments(const struct hd_command *cmd, const struct hd_words *w, struct hd_error *err)
{
    if (cmd->usage[0] || w->count == cmd->words)
        return HD_OK;
    return hd_fail(err, HD_EINVAL, "%s takes no arguments, found \"%.40s\"", cmd->name,
                   w->word[cmd->words].ptr);
}

int hd_command_take_rest(size_t name, const char *line, size_t len, int whole, struct hd_words *w,
                         struct hd_arena *arena, struct hd_error *err)
{
    const char *from = line + w->end[name - 1], *end = line + len;

    if (whole && w->count == name + 1 && w->quoted[name])
        return HD_OK;
    while (from < end && isspace((unsigned char)*from))
        from++;
    while (from < end && (isspace((unsigned char)end[-1]) || end[-1] == ';'))
        end--;
    w->count = name + (from < end);
    if (from == end)
        return HD_OK;
    w->word[name] =
        (struct hd_str){hd_arena_strndup(arena, from, (size_t)(end - from)), (uint64_t)(end - from)};
    return w->word[name].ptr ? HD_OK : hd_fail(err, HD_ENOMEM, "no memory for the command");
}
