/*
 * Commands that there were: their names and whose they are, so that whoever asks for one hears which plugin
 * does not run. The oldest are forgotten past a bound.
 */
#include "plug/commands_parts.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

#define GONE_MAX 256

struct gone {
    struct hd_list node; /* in hd_commands.gone, the oldest first */
    char name[HD_COMMAND_BYTES], plugin[HD_COMMAND_BYTES];
};

static struct gone *find(const struct hd_commands *c, const char *name)
{
    HD_LIST_EACH(n, &c->gone)
    {
        struct gone *g = HD_LIST_ITEM(n, struct gone, node);

        if (!strcmp(g->name, name))
            return g;
    }
    return NULL;
}

static void forget(struct hd_commands *c, struct gone *g)
{
    hd_list_remove(&g->node);
    hd_free(g);
    c->gone_count--;
}

void hd_commands_note_gone(struct hd_commands *c, const char *name, const char *plugin)
{
    struct gone *g = hd_calloc(1, sizeof(*g));

    hd_commands_note_back(c, name);
    if (!g)
        return; /* then there is no such command */
    if (c->gone_count == GONE_MAX)
        forget(c, HD_LIST_ITEM(c->gone.next, struct gone, node));
    snprintf(g->name, sizeof(g->name), "%s", name);
    snprintf(g->plugin, sizeof(g->plugin), "%s", plugin);
    hd_list_push_back(&c->gone, &g->node);
    c->gone_count++;
}

void hd_commands_note_back(struct hd_commands *c, const char *name)
{
    struct gone *g = find(c, name);

    if (g)
        forget(c, g);
}

const char *hd_commands_gone(const struct hd_commands *c, const char *name)
{
    const struct gone *g = find(c, name);

    return g ? g->plugin : NULL;
}

void hd_commands_forget_gone(struct hd_commands *c)
{
    while (c->gone_count)
        forget(c, HD_LIST_ITEM(c->gone.next, struct gone, node));
}
