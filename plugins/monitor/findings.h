/*
 * Findings: what collectors have found, as metrics. Gauges are set; counters of others (a server's, a
 * kernel's) are followed, so that the host's only grow: what is lower than it was begins anew. A metric that
 * is not found again for some rounds is dropped. The number of metrics of all findings together has a bound.
 * [control]
 */
#ifndef MONITOR_FINDINGS_H
#define MONITOR_FINDINGS_H

#include "monitor.h"

struct mon_findings;

struct mon_findings *mon_findings_new(struct mon *self); /* NULL: no memory */
void mon_findings_free(struct mon_findings *f);          /* drops its metrics; NULL is allowed */
/* A round begins with begin and is over with end, where it has succeeded. */
void mon_findings_begin(struct mon_findings *f);
/* HD_EFULL past max_findings; HD_EINVAL and HD_EEXIST: it can be no metric of that name and labels, or of
 * that type. Both count as lost. */
int32_t mon_found(struct mon_findings *f, uint32_t type, const char *name, const char *help,
                  const struct hd_label *labels, uint32_t label_count, int64_t value);
void mon_findings_end(struct mon_findings *f);
/* Nobody answers any more: drops the gauges, for what they say is not so any more. Counters stand still. */
void mon_findings_unknown(struct mon_findings *f);

#endif
