/*
 * Templates and facts for plugins: "howdah.template/1" over sql/template.h. What the host knows in more
 * detail is told in the SDK's coarser words, and where those have none, as not known.
 */
#ifndef HD_PLUG_TEMPLATE_SERVICE_H
#define HD_PLUG_TEMPLATE_SERVICE_H

/* Offers it to plugins. HD_OK, HD_EEXIST when it is there already, or HD_EFULL. [control] */
int hd_template_serve(void);

struct hd_templates;

/* The table that find() looks in, from now on; NULL: none. [control] */
void hd_template_serve_from(struct hd_templates *ts);

#endif
