/*
 * The control socket; see control.h.
 *
 * A client is read until a line is whole, then its command runs and it is not read meanwhile, then the answer
 * is written, then it is read again. So nothing of one client ever queues.
 */
#include "host/control.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/list.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "host/render.h"
#include "plug/commands.h"
#include "session/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_CLIENTS 32
#define BACKLOG     16
#define READ_BYTES  8192

enum state { STATE_READING, STATE_CALLING, STATE_WRITING };

struct client {
    struct hd_list node;
    struct hd_control *control;
    struct hd_loop_watch watch;
    int fd;
    enum state state;
    int eof; /* it will ask no more */
    struct hd_strbuf in, out;
    size_t sent; /* of out */
    struct hd_command_call *call;
};

struct hd_control {
    struct hd_loop *loop;
    struct hd_commands *commands;
    struct hd_loop_watch watch;
    int fd;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    dev_t dev; /* of the file that is ours */
    ino_t ino;
    const struct hd_keeper *keeper;
    int left;     /* another host listens */
    int borrowed; /* an earlier host's, which may go on with it */
    struct hd_list clients;
    size_t count;
    int handles, stopped; /* the memory goes when no handle is left */
};

/* --- clients ----------------------------------------------------------------------------------------------
 */

static void advance(struct client *c);

static void drop_handle(struct hd_control *control)
{
    if (!--control->handles && control->stopped)
        hd_free(control);
}

static void on_client_closed(struct hd_loop_watch *w)
{
    struct client *c = HD_CONTAINER_OF(w, struct client, watch);
    struct hd_control *control = c->control;

    hd_strbuf_free(&c->in);
    hd_strbuf_free(&c->out);
    hd_free(c);
    drop_handle(control);
}

static void close_client(struct client *c)
{
    if (c->call)
        hd_command_forget(c->call);
    c->call = NULL;
    hd_list_remove(&c->node);
    c->control->count--;
    hd_loop_watch_close(&c->watch, on_client_closed);
    close(c->fd);
}

/* What each state waits for. */
static void set_state(struct client *c, enum state state)
{
    static const int events[] = {
        [STATE_READING] = UV_READABLE, [STATE_CALLING] = UV_DISCONNECT, [STATE_WRITING] = UV_WRITABLE};

    c->state = state;
    hd_loop_watch_set(&c->watch, c->eof && state == STATE_CALLING ? 0 : events[state]);
}

/* --- asking and answering ---------------------------------------------------------------------------------
 */

static void set_answer(struct client *c, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;

    hd_strbuf_reset(&c->out);
    c->sent = 0;
    hd_strbuf_puts(&c->out, text ? text : "{\"error\":{\"code\":\"no memory\",\"text\":\"no memory\"}}");
    hd_strbuf_putc(&c->out, '\n');
    free(text); /* jansson's */
    json_decref(answer);
    set_state(c, STATE_WRITING);
}

static void refuse(struct client *c, const char *why)
{
    struct hd_error err = HD_ERROR_INIT;

    hd_fail(&err, HD_EINVAL, "%s", why);
    set_answer(c, hd_render_json(NULL, "", HD_EINVAL, &err));
}

static void on_done(void *arg, const hd_result *r, const char *name, int code, const struct hd_error *err)
{
    struct client *c = arg;
    int pending = c->call != NULL;

    c->call = NULL;
    set_answer(c, hd_render_json(r, name, code, err));
    if (pending)
        advance(c); /* else whoever made the call goes on */
}

static void ask(struct client *c, const char *line, size_t len)
{
    json_error_t why;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    const json_t *command = json_object_get(request, "command"), *user = json_object_get(request, "user");
    struct hd_command_call *call;

    if (!json_is_string(command) || (user && !json_is_string(user))) {
        refuse(c, "a request is one line: {\"command\": \"…\"}");
        json_decref(request);
        return;
    }
    set_state(c, STATE_CALLING);
    call = hd_commands_call(c->control->commands, json_string_value(command), json_string_length(command),
                            user ? json_string_value(user) : NULL, on_done, c);
    if (c->state == STATE_CALLING)
        c->call = call;
    json_decref(request);
}

/* Takes the next whole line. 1: one was taken; 0: more must be read. */
static int next_line(struct client *c)
{
    const char *data = hd_strbuf_str(&c->in), *end = memchr(data, '\n', c->in.len);
    size_t len, rest;

    if (!end && c->in.len >= HD_CONTROL_LINE) {
        refuse(c, "the request is too long");
        c->eof = 1;
        hd_strbuf_reset(&c->in);
        return 1;
    }
    if (!end)
        return 0;
    len = (size_t)(end - data);
    ask(c, data, len);
    rest = c->in.len - len - 1;
    memmove(c->in.data, c->in.data + len + 1, rest);
    c->in.len = rest;
    return 1;
}

/* --- bytes ------------------------------------------------------------------------------------------------
 */

/* Reads what is there. 0, or -1 when the client is to be dropped. */
static int read_some(struct client *c)
{
    char buf[READ_BYTES];
    ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (!n) {
        c->eof = 1;
        return 0;
    }
    hd_strbuf_add(&c->in, buf, (size_t)n);
    return c->in.failed ? -1 : 0;
}

/* Writes what goes. 1: all of it has gone; 0: the rest later; -1: the client is to be dropped. */
static int write_some(struct client *c)
{
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        c->sent += (size_t)n;
    }
    hd_strbuf_free(&c->out);
    return 1;
}

/* Goes on as far as it can without waiting. */
static void advance(struct client *c)
{
    for (;;) {
        int gone = 0;

        if (c->state == STATE_CALLING)
            return;
        if (c->state == STATE_WRITING) {
            int wrote = write_some(c);

            if (!wrote)
                return;
            gone = wrote < 0;
            if (!gone)
                set_state(c, STATE_READING);
        } else if (!next_line(c)) {
            if (!c->eof)
                return;
            gone = 1;
        }
        if (gone) {
            close_client(c);
            return;
        }
    }
}

/* A client that hung up altogether, not only ended its questions, waits for no answer. */
static int has_left(const struct client *c)
{
    struct pollfd p = {.fd = c->fd};

    return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

static void on_client(struct hd_loop_watch *w, int status, int events)
{
    struct client *c = HD_CONTAINER_OF(w, struct client, watch);

    (void)events;
    if (status < 0 || (c->state == STATE_CALLING && has_left(c)) ||
        (c->state == STATE_READING && read_some(c))) {
        close_client(c);
        return;
    }
    if (c->state == STATE_CALLING) {
        c->eof = 1;
        set_state(c, STATE_CALLING);
        return;
    }
    advance(c);
}

static int add_client(struct hd_control *control, int fd)
{
    struct client *c = hd_calloc(1, sizeof(*c));

    if (!c)
        return HD_ENOMEM;
    c->control = control;
    c->fd = fd;
    if (hd_loop_watch_init(control->loop, &c->watch, fd, on_client)) {
        hd_free(c);
        return HD_EIO;
    }
    control->handles++;
    control->count++;
    hd_list_push_back(&control->clients, &c->node);
    set_state(c, STATE_READING);
    return HD_OK;
}

static void on_connection(struct hd_loop_watch *w, int status, int events)
{
    struct hd_control *control = HD_CONTAINER_OF(w, struct hd_control, watch);
    int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)status;
    (void)events;
    if (fd < 0)
        return;
    if (control->count >= MAX_CLIENTS || add_client(control, fd)) {
        hd_log(HD_LOG_WARNING, "a client of the control socket was refused: there are too many");
        close(fd);
    }
}

/* --- listening --------------------------------------------------------------------------------------------
 */

static int set_path(struct hd_control *c, const char *address, struct hd_error *err)
{
    const char *path = strncmp(address, "unix:", 5) == 0 ? address + 5 : address;

    if (!path[0] || strlen(path) >= sizeof(c->path))
        return hd_fail(err, HD_EINVAL,
                       "control = %.200s: a path of 1 to %zu bytes is needed, as unix:/run/x.sock", address,
                       sizeof(c->path) - 1);
    memcpy(c->path, path, strlen(path) + 1);
    return HD_OK;
}

static struct sockaddr_un address_of(const struct hd_control *c)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    memcpy(sa.sun_path, c->path, sizeof(sa.sun_path));
    return sa;
}

/* Does somebody answer behind the file? */
static int is_served(const struct hd_control *c)
{
    struct sockaddr_un sa = address_of(c);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), served;

    if (fd < 0)
        return 1;
    served = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno != ECONNREFUSED;
    close(fd);
    return served;
}

/* Removes a socket file that a host left behind when it was killed. */
static int clear_path(const struct hd_control *c, struct hd_error *err)
{
    struct stat st;

    if (lstat(c->path, &st))
        return HD_OK;
    if (!S_ISSOCK(st.st_mode))
        return hd_fail(err, HD_EEXIST, "control socket %s: a file of that name is there, and is no socket",
                       c->path);
    if (is_served(c))
        return hd_fail(err, HD_EEXIST, "control socket %s: another host serves it", c->path);
    if (unlink(c->path))
        return hd_fail(err, HD_EIO, "control socket %s: the old file cannot be removed: %s", c->path,
                       strerror(errno));
    return HD_OK;
}

/* The file has its mode from the beginning: on Linux it takes over the socket's own. */
static int bind_path(struct hd_control *c, struct hd_error *err)
{
    struct sockaddr_un sa = address_of(c);
    struct stat st;

    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return hd_fail(err, HD_EIO, "control socket: %s", strerror(errno));
    if (fchmod(c->fd, 0600) || bind(c->fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(c->fd, BACKLOG) ||
        chmod(c->path, 0600) || lstat(c->path, &st))
        return hd_fail(err, HD_EIO, "control socket %s: %s", c->path, strerror(errno));
    c->dev = st.st_dev;
    c->ino = st.st_ino;
    return HD_OK;
}

/* The name that the keeper knows the socket by. */
static void name_of(const struct hd_control *c, char *out, size_t cap)
{
    snprintf(out, cap, "unix:%s#control", c->path);
}

/* Takes up the socket of an earlier host, with its file. 0: there is none. */
static int take_kept(struct hd_control *c)
{
    char name[sizeof(c->path) + 20];
    struct stat st;

    if (!c->keeper)
        return 0;
    name_of(c, name, sizeof(name));
    c->fd = c->keeper->take(c->keeper->arg, name);
    if (c->fd < 0)
        return 0;
    if (lstat(c->path, &st)) { /* somebody has removed the file: what is behind it cannot be found */
        close(c->fd);
        c->fd = -1;
        return 0;
    }
    c->dev = st.st_dev;
    c->ino = st.st_ino;
    c->borrowed = 1;
    return 1;
}

static int listen_anew(struct hd_control *c, struct hd_error *err)
{
    char name[sizeof(c->path) + 20];
    int code = clear_path(c, err);

    if (!code)
        code = bind_path(c, err);
    if (code || !c->keeper)
        return code;
    name_of(c, name, sizeof(name));
    c->keeper->keep(c->keeper->arg, name, c->fd);
    return HD_OK;
}

static void on_listener_closed(struct hd_loop_watch *w)
{
    drop_handle(HD_CONTAINER_OF(w, struct hd_control, watch));
}

int hd_control_start(struct hd_loop *loop, struct hd_commands *commands, const char *address,
                     const struct hd_keeper *keeper, struct hd_control **out, struct hd_error *err)
{
    struct hd_control *c = hd_calloc(1, sizeof(*c));
    int code;

    if (!c)
        return hd_fail(err, HD_ENOMEM, "no memory for the control socket");
    c->loop = loop;
    c->commands = commands;
    c->keeper = keeper;
    c->fd = -1;
    hd_list_init(&c->clients);
    code = set_path(c, address, err);
    if (!code && !take_kept(c))
        code = listen_anew(c, err);
    if (!code && hd_loop_watch_init(loop, &c->watch, c->fd, on_connection))
        code = hd_fail(err, HD_EIO, "control socket %s: it cannot be watched", c->path);
    if (code) {
        if (c->fd >= 0)
            close(c->fd);
        hd_free(c);
        return code;
    }
    c->handles = 1;
    hd_loop_watch_set(&c->watch, UV_READABLE);
    *out = c;
    return HD_OK;
}

void hd_control_own(struct hd_control *c)
{
    if (c)
        c->borrowed = 0;
}

void hd_control_leave(struct hd_control *c)
{
    if (!c || c->left)
        return;
    c->left = 1;
    hd_loop_watch_set(&c->watch, 0);
}

/* The file goes with the socket, if it still is ours. */
static void remove_path(const struct hd_control *c)
{
    char name[sizeof(c->path) + 20];
    struct stat st;

    if (c->left || c->borrowed)
        return;
    if (!lstat(c->path, &st) && st.st_dev == c->dev && st.st_ino == c->ino)
        unlink(c->path);
    if (!c->keeper)
        return;
    name_of(c, name, sizeof(name));
    c->keeper->drop(c->keeper->arg, name);
}

void hd_control_stop(struct hd_control *c)
{
    struct hd_list *n;

    if (!c)
        return;
    while ((n = hd_list_first(&c->clients)))
        close_client(HD_LIST_ITEM(n, struct client, node));
    remove_path(c);
    c->stopped = 1;
    hd_loop_watch_close(&c->watch, on_listener_closed);
    close(c->fd);
}
