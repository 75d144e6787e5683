/*
 * The machine and the host itself, as the kernel tells: processor, memory, disks, network. Read on the
 * control thread: files of /proc, which never wait for a disk; so the history looks at its file system
 * itself.
 */
#ifndef MONITOR_MACHINE_H
#define MONITOR_MACHINE_H

#include "findings.h"

struct mon_machine;

struct mon_machine *mon_machine_new(struct mon *self); /* NULL: no memory */
void mon_machine_free(struct mon_machine *m);          /* NULL is allowed */
/* Every so many seconds. */
void mon_machine_tick(struct mon_machine *m);

#endif
