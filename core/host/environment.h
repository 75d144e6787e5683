/*
 * The environment as the host found it. Variables that begin with PG steer libpq behind the configuration's
 * back (PGTZ would even reach into sessions), so they are taken out of the process before libpq is used; INI
 * files can still name them in ${…}, at a reload too.
 */
#ifndef HD_HOST_ENVIRONMENT_H
#define HD_HOST_ENVIRONMENT_H

/* Takes all PG… variables out of the process and keeps them for hd_environment_get. At start, while there is
 * one thread; a second call changes nothing. 0, or HD_ENOMEM. */
int hd_environment_keep_pg(void);
/* The value of a variable, as it was at start; NULL where it was not set. */
const char *hd_environment_get(const char *name);
/* Puts them back into the process, for a program that it is about to become. */
void hd_environment_give_back(void);
/* Forgets what was kept. */
void hd_environment_free(void);

#endif
