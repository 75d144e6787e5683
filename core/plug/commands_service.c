/*
 * Commands as plugins see them: "howdah.commands/1" over the registry.
 */
#include "plug/commands.h"

#include "base/error.h"
#include "plug/owners.h"
#include "plug/services.h"

static int32_t add(hd_host *host, const char *name, const char *usage, const char *doc, uint32_t flags,
                   int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err), void *arg,
                   struct hd_error *err);
static void on_gone(hd_host *host);

static const struct hd_commands_v1 vtable = {
    .size = sizeof(vtable),
    .add = add,
    .column = hd_result_column,
    .text = hd_result_text,
    .integer = hd_result_integer,
    .real = hd_result_real,
    .null = hd_result_null,
    .message = hd_result_message,
    .finish = hd_result_finish,
};

static struct hd_commands *served;
static struct hd_owners owners = HD_OWNERS_INIT(owners, on_gone);

static void on_gone(hd_host *host)
{
    hd_commands_drop_owner(served, host, hd_host_id(host));
}

/* The name is taken, which is told with whose it is. */
static int32_t taken(const char *name, struct hd_error *err)
{
    struct hd_command_info info;

    if (hd_commands_get(served, name, &info) || !info.owner)
        return hd_fail(err, HD_EEXIST, "the command %s is the host's", name);
    return hd_fail(err, HD_EEXIST, "the command %s is there already: it is of the plugin %s", name,
                   hd_host_id((hd_host *)(uintptr_t)info.owner));
}

static int32_t add(hd_host *host, const char *name, const char *usage, const char *doc, uint32_t flags,
                   int32_t (*fn)(void *arg, const struct hd_call *call, struct hd_error *err), void *arg,
                   struct hd_error *err)
{
    int32_t code;

    if (!name || !fn)
        return hd_fail(err, HD_EINVAL, "a command needs a name and a function");
    if (hd_owners_add(&owners, host))
        return hd_fail(err, HD_ENOMEM, "no memory for the command %s", name);
    code = hd_commands_add(served, host, name, usage, doc, flags, fn, arg, err);
    return code == HD_EEXIST ? taken(name, err) : code;
}

int hd_commands_serve(struct hd_commands *c)
{
    served = c;
    return hd_service_add(HD_SERVICE_COMMANDS, &vtable);
}
