/*
 * Which template each of a client's portals runs; see portal.h.
 */
#include "session/portal.h"

#include <string.h>

#include "base/alloc.h"

void hd_portals_forget(struct hd_session *s)
{
    while (s->portals) {
        struct hd_portal *p = s->portals;

        s->portals = p->next;
        hd_template_release(p->tmpl);
        hd_free(p);
    }
}

/* Notes which template a portal runs; NULL: not known. */
int hd_portal_set(struct hd_session *s, const char *name, struct hd_template *tmpl)
{
    struct hd_portal *p;

    if (!*name) {
        struct hd_template *old = s->portal_tmpl;

        s->portal_tmpl = tmpl ? hd_template_hold(tmpl) : NULL;
        hd_template_release(old);
        return HD_OK;
    }
    for (p = s->portals; p && strcmp(p->name, name); p = p->next)
        ;
    if (!p) {
        p = hd_malloc(sizeof(*p) + strlen(name) + 1);
        if (!p)
            return HD_ENOMEM;
        strcpy(p->name, name);
        p->tmpl = NULL;
        p->next = s->portals;
        s->portals = p;
    }
    hd_template_release(p->tmpl);
    p->tmpl = tmpl ? hd_template_hold(tmpl) : NULL;
    return HD_OK;
}

struct hd_template *hd_portal_template(const struct hd_session *s, const char *name)
{
    if (!*name)
        return s->portal_tmpl;
    for (const struct hd_portal *p = s->portals; p; p = p->next)
        if (!strcmp(p->name, name))
            return p->tmpl;
    return NULL;
}
