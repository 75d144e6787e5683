/*
 * Which template and text each of a client's portals runs; see portal.h.
 */
#include "session/portal.h"

#include <string.h>

#include "base/alloc.h"
#include "session/prepared.h"

/* What a portal runs, wherever that is kept. */
static void put(struct hd_session *s, struct hd_template **tmpl_at, struct hd_prep **prep_at,
                struct hd_template *tmpl, struct hd_prep *prep)
{
    struct hd_template *old_tmpl = *tmpl_at;
    struct hd_prep *old_prep = *prep_at;

    *tmpl_at = tmpl ? hd_template_hold(tmpl) : NULL;
    *prep_at = prep ? hd_prep_hold(prep) : NULL;
    hd_template_release(old_tmpl);
    if (old_prep)
        hd_prep_drop(hd_session_preps(s), old_prep);
}

void hd_portals_forget(struct hd_session *s)
{
    while (s->portals) {
        struct hd_portal *p = s->portals;

        s->portals = p->next;
        put(s, &p->tmpl, &p->prep, NULL, NULL);
        hd_free(p);
    }
}

void hd_portals_free(struct hd_session *s)
{
    hd_portals_forget(s);
    put(s, &s->portal_tmpl, &s->portal_prep, NULL, NULL);
}

static struct hd_portal *find(const struct hd_session *s, const char *name)
{
    struct hd_portal *p = s->portals;

    while (p && strcmp(p->name, name))
        p = p->next;
    return p;
}

int hd_portal_set(struct hd_session *s, const char *name, struct hd_template *tmpl, struct hd_prep *prep)
{
    struct hd_portal *p;

    if (!*name) {
        put(s, &s->portal_tmpl, &s->portal_prep, tmpl, prep);
        return HD_OK;
    }
    p = find(s, name);
    if (!p) {
        p = hd_calloc(1, sizeof(*p) + strlen(name) + 1);
        if (!p)
            return HD_ENOMEM;
        strcpy(p->name, name);
        p->next = s->portals;
        s->portals = p;
    }
    put(s, &p->tmpl, &p->prep, tmpl, prep);
    return HD_OK;
}

struct hd_template *hd_portal_template(const struct hd_session *s, const char *name)
{
    const struct hd_portal *p = *name ? find(s, name) : NULL;

    return *name ? (p ? p->tmpl : NULL) : s->portal_tmpl;
}

struct hd_prep *hd_portal_prep(const struct hd_session *s, const char *name)
{
    const struct hd_portal *p = *name ? find(s, name) : NULL;

    return *name ? (p ? p->prep : NULL) : s->portal_prep;
}
