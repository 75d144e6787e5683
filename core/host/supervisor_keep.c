/*
 * What the supervisor holds for the hosts that come: sockets, and the names of plugins in which hosts have
 * crashed; see supervisor_parts.h.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "host/supervisor_parts.h"

/* --- sockets that are kept ------------------------------------------------------------------------------ */

void hd_supervisor_drop(struct hd_supervisor *s, const char *name)
{
    for (struct hd_super_kept **at = &s->kept; *at; at = &(*at)->next) {
        struct hd_super_kept *k = *at;

        if (strcmp(k->name, name))
            continue;
        *at = k->next;
        close(k->fd);
        hd_free(k);
        return;
    }
}

/* What a host opened that never came to serve. */
void hd_supervisor_drop_of(struct hd_supervisor *s, unsigned generation)
{
    struct hd_super_kept *next;

    for (struct hd_super_kept *k = s->kept; k; k = next) {
        next = k->next;
        if (k->generation == generation)
            hd_supervisor_drop(s, k->name);
    }
}

void hd_supervisor_keep(struct hd_supervisor *s, unsigned generation, const char *name, int fd)
{
    struct hd_super_kept *k = fd < 0 ? NULL : hd_malloc(sizeof(*k) + strlen(name) + 1);

    hd_supervisor_drop(s, name);
    if (!k) {
        hd_log(HD_LOG_WARNING, "a socket is not kept", HD_KV("socket", name));
        if (fd >= 0)
            close(fd);
        return;
    }
    k->fd = fd;
    k->generation = generation;
    strcpy(k->name, name);
    k->next = s->kept;
    s->kept = k;
}

/* --- plugins that are blamed ---------------------------------------------------------------------------- */

void hd_supervisor_forgive(struct hd_supervisor *s, const char *plugin)
{
    for (struct hd_super_blamed **at = &s->blamed; *at; at = &(*at)->next) {
        struct hd_super_blamed *b = *at;

        if (strcmp(b->plugin, plugin))
            continue;
        *at = b->next;
        hd_free(b);
        return;
    }
}

static void blame(struct hd_supervisor *s, const char *plugin)
{
    struct hd_super_blamed *b = s->blamed;

    while (b && strcmp(b->plugin, plugin))
        b = b->next;
    if (!b && (b = hd_calloc(1, sizeof(*b)))) {
        snprintf(b->plugin, sizeof(b->plugin), "%s", plugin);
        b->next = s->blamed;
        s->blamed = b;
    }
    if (b)
        b->times++;
    hd_log(HD_LOG_ERROR, "the host has crashed in a plugin", HD_KV("plugin", plugin),
           HD_KV("times", b ? b->times : 1));
}

/* In which plugin has it crashed? A kill that nobody can catch is no plugin's fault. */
void hd_supervisor_find_blame(struct hd_supervisor *s, const struct hd_super_host *h, int status)
{
    char plugin[HD_BLAME_NAME] = "";

    if (h->page)
        hd_blame_page_read(h->page, WIFEXITED(status), plugin);
    if (*plugin)
        blame(s, plugin);
}
