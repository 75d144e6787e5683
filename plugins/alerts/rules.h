/*
 * Rules: what [alert NAME] says, checked and parsed; and what each made of the last readings.
 */
#ifndef ALERTS_RULES_H
#define ALERTS_RULES_H

#include "alerts/anomaly.h"
#include "alerts/eval.h"

#define AL_RULES_MAX 500

enum al_type { AL_THRESHOLD, AL_BURN, AL_ANOMALY };
enum al_side { AL_BOTH, AL_UP, AL_DOWN };

/* A section [alert NAME]. */
struct al_rule_conf {
    int32_t enabled, type, severity, side;
    struct hd_str expr, above, below, clear, summary;
    int64_t hold, clear_for, window; /* `for`, `clear_for`, `window` */
    double objective, burn;
    int64_t long_window;
    double sensitivity, min_change;
    int64_t memory;
    struct hd_str_list group_by, sinks, inhibited_by, equal;
    int64_t repeat;
    int64_t absent_for; /* 0: the plugin's */
};

extern const struct hd_section_kind al_rule_kind;

/* What is known of a series that an anomaly rule looks at. */
struct al_known {
    struct al_known *next;
    char id[17];
    struct al_baseline baseline;
};

struct al_rule {
    const char *name;
    const struct al_rule_conf *conf;
    struct al_node *expr, *expr_long; /* the second of AL_BURN alone */
    int is_below;                     /* it fires below the threshold */
    double threshold, clear;
    struct al_known *known;
    uint32_t known_count;
    /* What the last evaluation gave. */
    uint32_t values;
    int found; /* one of its metrics was there */
    double worst;
};

/* One value of a rule, judged. */
struct al_finding {
    const struct al_labels *labels;
    double value, threshold;
    int beyond; /* the threshold */
    int clear;  /* of the clear level */
};

/* Checks all sections of the kind "alert", and that names in them name rules and `sinks`. HD_OK, or what is
 * wrong. */
int32_t al_rules_check(const struct hd_conf *conf, const struct hd_str_list *sinks, struct hd_error *err);

/* A rule from its section, which passed the check. HD_OK; HD_ENOMEM. */
int32_t al_rule_init(struct al_rule *r, const struct hd_section *s, struct hd_error *err);
void al_rule_free(struct al_rule *r, struct al_budget *budget);
/* Takes over what an older rule of that name knows, as far as it is of the same series. */
void al_rule_inherit(struct al_rule *r, struct al_rule *old);

/* Reads the rule's metrics. */
void al_rule_read(struct al_rule *r, const struct al_source *source, uint64_t now_ms,
                  struct al_budget *budget);
/* Judges what was read, and calls fn for each value. HD_OK; HD_ENOMEM. */
int32_t al_rule_judge(struct al_rule *r, uint64_t now_ms, int64_t wall_us, struct al_memory *m,
                      struct al_budget *budget, void (*fn)(void *arg, const struct al_finding *f), void *arg);

/* A new baseline under an id, NULL at the bound. */
struct al_baseline *al_rule_baseline(struct al_rule *r, const char *id, struct al_budget *budget);

/* The line for people, `out` of `room` bytes. */
void al_rule_summary(const struct al_rule *r, const struct al_finding *f, char *out, size_t room);

#endif
