/*
 * DEBUG ALLOCATION: the Nth allocation on each worker's thread fails, once; see debug.h.
 */
#include "session/debug.h"

#ifdef HD_DEBUG

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "plug/commands.h"
#include "session/session.h"

struct arm {
    hd_result *r;
    long nth;
    _Atomic int failed; /* an allocation has failed since the last time */
};

static void arm_here(struct hd_worker *w, void *arg)
{
    struct arm *a = arg;

    (void)w;
    if (hd_alloc_failed())
        atomic_store(&a->failed, 1);
    hd_alloc_fail_at(a->nth);
}

static void armed(void *arg)
{
    struct arm *a = arg;

    hd_result_columns(a->r, "failed", HD_COL_BOOL, NULL);
    hd_result_integer(a->r, atomic_load(&a->failed));
    hd_result_finish(a->r, HD_OK, NULL);
    hd_free(a);
}

static int32_t debug_allocation(void *arg, const struct hd_call *call, struct hd_error *err)
{
    char text[32] = "", *end;
    struct arm *a = hd_calloc(1, sizeof(*a));

    if (!a)
        return hd_fail(err, HD_ENOMEM, "no memory");
    if (call->arg_count == 1 && call->args[0].len < sizeof(text))
        memcpy(text, call->args[0].ptr, call->args[0].len);
    a->r = call->result;
    a->nth = strtol(text, &end, 10);
    if (!*text || *end || a->nth < 0) {
        hd_free(a);
        return hd_fail(err, HD_EINVAL, "DEBUG ALLOCATION takes a number: the how manieth fails; 0: none");
    }
    if (hd_workers_each(arg, arm_here, armed, a) == HD_OK)
        return HD_PENDING;
    hd_free(a);
    return hd_fail(err, HD_ENOMEM, "no memory");
}

int hd_debug_add_commands(struct hd_workers *w, struct hd_error *err)
{
    return hd_commands_add(w->env.commands, NULL, "DEBUG ALLOCATION", "number",
                           "Let that allocation on each worker fail, for tests", 0, debug_allocation, w, err);
}

#else

int hd_debug_add_commands(struct hd_workers *w, struct hd_error *err)
{
    (void)w;
    (void)err;
    return HD_OK;
}

#endif
