/*
 * What the supervisor and a host say to each other: one packet a message, over a pair of Unix sockets, some
 * with a descriptor. The two may be of different versions (after an upgrade the host is newer than its
 * supervisor), so a message that one does not know is passed over, and numbers are never used again for
 * something else.
 */
#ifndef HD_HOST_SUPERVISOR_WIRE_H
#define HD_HOST_SUPERVISOR_WIRE_H

#include <stdint.h>

/* The variable that tells a host the number of its end. */
#define HD_SUPER_VARIABLE "HOWDAH_SUPERVISOR"
/* Of this conversation; a host refuses to run under a supervisor of another. */
#define HD_SUPER_VERSION 1u

enum hd_super_type {
    /* To a host before it starts, HD_SUPER_BEGIN last. */
    HD_SUPER_KEPT = 1,   /* text: name; descriptor: the socket that goes by it */
    HD_SUPER_PAGE = 2,   /* descriptor: where it notes which plugin it is in */
    HD_SUPER_BLAMED = 3, /* text: a plugin; value: how often a host crashed in it */
    HD_SUPER_SHARE = 5,  /* descriptor: the counts that two hosts share; value: which side this one is */
    HD_SUPER_BEGIN = 4,  /* value: HD_SUPER_VERSION; text: see struct hd_super_begin */
    /* To a host that runs. */
    HD_SUPER_PEER = 16,         /* descriptor: the way to the other generation */
    HD_SUPER_RETIRE = 17,       /* another one serves: accept no more, hand over, end */
    HD_SUPER_UPGRADED = 18,     /* value: its pid; answers HD_SUPER_UPGRADE */
    HD_SUPER_NOT_UPGRADED = 19, /* text: why */
    /* To the supervisor. */
    HD_SUPER_KEEP = 32,     /* text: name; descriptor: to be handed to those who come after */
    HD_SUPER_DROP = 33,     /* text: name of what nobody needs any more */
    HD_SUPER_READY = 34,    /* it serves */
    HD_SUPER_STOPPING = 35, /* it has been told to stop: its end is no crash */
    HD_SUPER_NOTIFY = 36,   /* text: for systemd */
    HD_SUPER_LOG = 37,      /* value: level; text: file of the log, empty for stderr */
    HD_SUPER_UPGRADE = 38,  /* start another one */
    HD_SUPER_FORGIVE = 39,  /* text: a plugin that is no longer blamed */
    HD_SUPER_FAILED = 40,   /* text: why it cannot start; its end follows */
    HD_SUPER_START_MS = 41, /* value: so long may a new one take until it serves */
};

#define HD_SUPER_TEXT 4096

struct hd_super_message {
    uint32_t type, value;
    int fd;                   /* or -1; the receiver's */
    char text[HD_SUPER_TEXT]; /* NUL-terminated */
};

/* What HD_SUPER_BEGIN says, as decimal numbers with blanks between. */
struct hd_super_begin {
    unsigned generation; /* counts hosts, from 1 */
    unsigned crashes;    /* of earlier ones */
    unsigned first;      /* nobody has served yet: what is wrong goes to whoever started us */
    unsigned background; /* leave the terminal once ready */
};

/* The two ends of a new way, closed on exec. 0, or an errno. */
int hd_super_pair(int fds[2]);
/* 0, or an errno. Waits while the other side is behind; the kernel's buffer holds hundreds. EAGAIN: it has
 * waited for as long as the socket says. */
int hd_super_send(int channel, uint32_t type, uint32_t value, const char *text, int fd);
/* 1: a message is there; 0: none without waiting; -1: the other side is gone. */
int hd_super_receive(int channel, int wait, struct hd_super_message *m);

#endif
