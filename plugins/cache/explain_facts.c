/*
 * The facts of a statement that is no plain read, in words; see explain.h.
 */
#include "explain.h"

static const char *by_kind(uint32_t kind)
{
    switch (kind) {
    case HD_KIND_UNKNOWN:
        return "it could not be read: a syntax error, or too long";
    case HD_KIND_EMPTY:
        return "there is no statement in it";
    case HD_KIND_MULTI:
        return "it is more than one statement";
    case HD_KIND_SELECT:
        return NULL;
    default:
        return "it is no SELECT";
    }
}

static const char *by_fact(uint64_t facts)
{
    static const struct {
        uint64_t fact;
        const char *words;
    } all[] = {
        {HD_FACT_UNSURE, "not all that it does could be found out"},
        {HD_FACT_MULTI, "it is more than one statement"},
        {HD_FACT_DEFINES, "it changes the schema"},
        {HD_FACT_LOCKS, "it locks"},
        {HD_FACT_ADVISORY_LOCK, "it calls functions of advisory locks"},
        {HD_FACT_SEQUENCE, "it draws from a sequence"},
        {HD_FACT_LASTVAL, "it asks for the session's last value of a sequence"},
        {HD_FACT_SET_CONFIG, "it calls set_config()"},
        {HD_FACT_VOLATILE, "it calls a volatile function"},
        {HD_FACT_OUTSIDE, "its answer hangs on more than tables, parameters and settings: the time, the "
                          "session, the catalogs, the server's state"},
        {HD_FACT_UNSURE_FUNCTION, "it calls a function or operator that is not PostgreSQL's own"},
        {HD_FACT_WRITES, "it may write"},
        {HD_FACT_SESSION | HD_FACT_TXN | HD_FACT_TEMP | HD_FACT_HOLD_CURSOR,
         "it changes the state of the session or transaction"},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (facts & all[i].fact)
            return all[i].words;
    return NULL;
}

const char *cache_explain_facts(const struct hd_template_info *info)
{
    const char *why = by_kind(info->kind);

    if (why && info->kind != HD_KIND_SELECT)
        return why;
    why = by_fact(info->facts);
    if (why)
        return why;
    return info->tables ? NULL : "it reads no table";
}
