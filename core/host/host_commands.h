/*
 * The host's own commands: RELOAD, SHUTDOWN, STATUS, PLUGIN, OPTIONS, SHOW CONFIG, DATABASES, PLUGINS,
 * VERSION.
 */
#ifndef HD_HOST_HOST_COMMANDS_H
#define HD_HOST_HOST_COMMANDS_H

#include "host/runtime.h"

/* Registers them with the runtime's registry. */
int hd_host_commands_add(struct hd_runtime *rt, struct hd_error *err);

#endif
