/*
 * Statements that the host runs as a client of itself: service "howdah.replay/1". The client's end of a
 * socket pair is driven on the control loop; the other end is a session of a worker's like any other, but for
 * its login, which wants no proof.
 */
#ifndef HD_SESSION_REPLAY_H
#define HD_SESSION_REPLAY_H

struct hd_loop;
struct hd_workers;

/* Registers the service. [control] */
int hd_replay_serve(struct hd_loop *control);
/* From here on these workers run them; NULL: nobody, and what is under way ends. [control] */
void hd_replay_use(struct hd_workers *w);

#endif
