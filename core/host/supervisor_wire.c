/*
 * Messages between supervisor and host; see supervisor_wire.h.
 */
#include "host/supervisor_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct head {
    uint32_t type, value;
};

/* Room for one descriptor, aligned. */
union control {
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int))];
};

int hd_super_pair(int fds[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) ? errno : 0;
}

static void attach(struct msghdr *msg, union control *room, int fd)
{
    struct cmsghdr *c;

    memset(room, 0, sizeof(*room));
    msg->msg_control = room->bytes;
    msg->msg_controllen = sizeof(room->bytes);
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(int));
}

int hd_super_send(int channel, uint32_t type, uint32_t value, const char *text, int fd)
{
    struct head head = {type, value};
    struct iovec parts[2] = {{&head, sizeof(head)},
                             {(void *)(uintptr_t)text, text ? strnlen(text, HD_SUPER_TEXT - 1) : 0}};
    struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 2};
    union control room;
    ssize_t n;

    if (fd >= 0)
        attach(&msg, &room, fd);
    do
        n = sendmsg(channel, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? errno : 0;
}

static int descriptor_of(struct msghdr *msg)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    int fd = -1;

    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(c), sizeof(int));
    return fd;
}

int hd_super_receive(int channel, int wait, struct hd_super_message *m)
{
    struct head head;
    struct iovec parts[2] = {{&head, sizeof(head)}, {m->text, sizeof(m->text) - 1}};
    union control room;
    struct msghdr msg = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = room.bytes, .msg_controllen = sizeof(room.bytes)};
    ssize_t n;
    int resets = 0;

    /* An end that goes while something for it is unread resets ours, once; its last words are still there. */
    do
        n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !resets++)));
    if (n < 0)
        return errno == EAGAIN ? 0 : -1;
    m->fd = descriptor_of(&msg);
    if (n < (ssize_t)sizeof(head)) {
        if (m->fd >= 0)
            close(m->fd);
        return -1;
    }
    m->type = head.type;
    m->value = head.value;
    m->text[n - (ssize_t)sizeof(head)] = 0;
    return 1;
}
