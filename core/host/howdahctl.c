/*
 * howdahctl: asks a running host over its control socket, and shows the answer as a table or as JSON.
 *
 * It knows no command itself: what it is given goes to the host's registry, first as it is, then with SHOW in
 * front, so that `howdahctl plugins` is SHOW PLUGINS.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/strbuf.h"
#include "base/units.h"
#include "host/render.h"

#define DEFAULT_CONTROL "unix:/run/howdah/control.sock"

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_MISUSE = 2, EXIT_UNREACHED = 3 };

struct options {
    const char *control;
    int json;
    int64_t watch_ms; /* 0: once */
    int colour;
    size_t width; /* of the terminal; 0: is none */
};

/* --- speaking to the host ---------------------------------------------------------------------------------
 */

static int connect_to(const char *control)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const char *path = strncmp(control, "unix:", 5) == 0 ? control + 5 : control;
    int fd;

    if (strlen(path) >= sizeof(sa.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sa.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
        int why = errno;

        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static int send_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int receive_line(int fd, struct hd_strbuf *line)
{
    char buf[65536];

    for (;;) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        hd_strbuf_add(line, buf, (size_t)n);
        if (line->failed)
            return -1;
        if (buf[n - 1] == '\n')
            return 0;
    }
}

static json_t *exchange(int fd, const char *command)
{
    struct hd_strbuf line = HD_STRBUF_INIT;
    json_t *request = json_pack("{s:s}", "command", command), *answer = NULL;
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;

    errno = EPROTO;
    if (text && !send_all(fd, text, strlen(text)) && !send_all(fd, "\n", 1) && !receive_line(fd, &line))
        answer = json_loadb(hd_strbuf_str(&line), line.len, 0, NULL);
    free(text);
    json_decref(request);
    hd_strbuf_free(&line);
    return answer;
}

static json_t *ask(const struct options *o, const char *command)
{
    int fd = connect_to(o->control);
    json_t *answer = NULL;

    if (fd >= 0) {
        answer = exchange(fd, command);
        close(fd);
    }
    if (!answer)
        fprintf(stderr, "howdahctl: no host answers at %s: %s\n", o->control, strerror(errno));
    return answer;
}

/* Did the host know no such command? */
static int is_unknown(const json_t *answer)
{
    const char *name = json_string_value(json_object_get(answer, "command"));

    return json_object_get(answer, "error") && name && !name[0];
}

static int has_hint(const json_t *answer)
{
    const char *text = json_string_value(json_object_get(json_object_get(answer, "error"), "text"));

    return text && strstr(text, "did you mean");
}

/* Asks as it is, then with SHOW in front; if neither is known, the refusal that helps more stands. */
static json_t *ask_either(const struct options *o, const char *command)
{
    struct hd_strbuf show = HD_STRBUF_INIT;
    json_t *answer = ask(o, command), *second;

    if (!answer || !is_unknown(answer))
        return answer;
    hd_strbuf_printf(&show, "SHOW %s", command);
    second = ask(o, hd_strbuf_str(&show));
    hd_strbuf_free(&show);
    if (second && (!is_unknown(second) || (has_hint(second) && !has_hint(answer)))) {
        json_decref(answer);
        return second;
    }
    json_decref(second);
    return answer;
}

/* --- the command ------------------------------------------------------------------------------------------
 */

static int is_plain(const char *word)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:@%+=,/-";

    return word[0] && strspn(word, safe) == strlen(word) && !strstr(word, "--");
}

static void add_word(struct hd_strbuf *out, const char *word)
{
    if (out->len)
        hd_strbuf_putc(out, ' ');
    if (is_plain(word)) {
        hd_strbuf_puts(out, word);
        return;
    }
    hd_strbuf_putc(out, '\'');
    for (const char *p = word; *p; p++) {
        if (*p == '\'')
            hd_strbuf_putc(out, '\'');
        hd_strbuf_putc(out, *p);
    }
    hd_strbuf_putc(out, '\'');
}

/* The words of the command line; a single one may be a whole line of its own. */
static void join(int argc, char **argv, struct hd_strbuf *out)
{
    if (argc == 1) {
        hd_strbuf_puts(out, argv[0]);
        return;
    }
    for (int i = 0; i < argc; i++)
        add_word(out, argv[i]);
}

/* --- showing ----------------------------------------------------------------------------------------------
 */

static int show_json(const json_t *answer)
{
    char *text = json_dumps(answer, JSON_INDENT(2) | JSON_REAL_PRECISION(15));

    if (!text)
        return EXIT_UNREACHED;
    puts(text);
    free(text);
    return json_object_get(answer, "error") ? EXIT_REFUSED : EXIT_DONE;
}

static int show_table(const struct options *o, const json_t *answer)
{
    int failed = json_object_get(answer, "error") != NULL;
    struct hd_strbuf text = HD_STRBUF_INIT;

    if (hd_render_table(&text, answer, o->width, o->colour)) {
        hd_strbuf_free(&text);
        fprintf(stderr, "howdahctl: the host's answer cannot be read\n");
        return EXIT_UNREACHED;
    }
    fputs(hd_strbuf_str(&text), failed ? stderr : stdout);
    hd_strbuf_free(&text);
    return failed ? EXIT_REFUSED : EXIT_DONE;
}

static int run_once(const struct options *o, const char *command)
{
    json_t *answer = ask_either(o, command);
    int status;

    if (!answer)
        return EXIT_UNREACHED;
    status = o->json ? show_json(answer) : show_table(o, answer);
    json_decref(answer);
    return status;
}

/* Again and again, until it fails or is interrupted. */
static int run_watch(const struct options *o, const char *command)
{
    struct timespec pause = {o->watch_ms / 1000, (o->watch_ms % 1000) * 1000000};
    int status;

    for (;;) {
        if (o->width)
            fputs("\033[H\033[J", stdout);
        status = run_once(o, command);
        if (status || fflush(stdout))
            return status;
        nanosleep(&pause, NULL);
    }
}

/* --- the command line -------------------------------------------------------------------------------------
 */

static void usage(FILE *out)
{
    fputs("Usage: howdahctl [OPTION]... COMMAND [ARGUMENT]...\n"
          "Asks a running howdahd; COMMAND is one of its commands, SHOW may be left out.\n"
          "Options may stand behind the command; after -- all is the command's.\n"
          "\n"
          "  -S, --socket PATH      control socket (else HOWDAH_CONTROL, else " DEFAULT_CONTROL ")\n"
          "  -j, --json             print JSON\n"
          "  -w, --watch SECONDS    repeat until interrupted\n"
          "  -h, --help             this text, and the host's commands when it can be reached\n"
          "  -V, --version\n"
          "\n"
          "Exit status: 0 done, 1 the command failed, 2 wrong usage, 3 the host cannot be reached.\n",
          out);
}

/* What the host says of its commands; silence when it is not there. */
static void show_commands(const struct options *o)
{
    int fd = connect_to(o->control);
    json_t *answer = fd < 0 ? NULL : exchange(fd, "HELP");

    if (answer) {
        fputs("\nCommands of the host:\n", stdout);
        show_table(o, answer);
    }
    json_decref(answer);
    if (fd >= 0)
        close(fd);
}

static void look_at_terminal(struct options *o)
{
    const char *plain = getenv("NO_COLOR");
    struct winsize size;

    if (!isatty(STDOUT_FILENO))
        return;
    o->colour = !plain || !plain[0];
    o->width = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
        o->width = size.ws_col;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 'S'}, {"json", no_argument, NULL, 'j'},
        {"watch", required_argument, NULL, 'w'},  {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0}};
    int opt, help = 0;

    while ((opt = getopt_long(argc, argv, "S:jw:hV", longs, NULL)) != -1) {
        switch (opt) {
        case 'S':
            o->control = optarg;
            break;
        case 'j':
            o->json = 1;
            break;
        case 'w':
            if (hd_parse_duration(optarg, &o->watch_ms) || o->watch_ms < 100) {
                fprintf(stderr, "howdahctl: --watch %s: a time like 2 or 500ms is needed\n", optarg);
                return EXIT_MISUSE;
            }
            break;
        case 'h':
            help = 1;
            break;
        case 'V':
            puts("howdahctl " PACKAGE_VERSION);
            return EXIT_DONE;
        default:
            usage(stderr);
            return EXIT_MISUSE;
        }
    }
    if (help) {
        usage(stdout);
        show_commands(o);
        return EXIT_DONE;
    }
    if (optind < argc)
        return -1;
    usage(stderr);
    return EXIT_MISUSE;
}

int main(int argc, char **argv)
{
    const char *control = getenv("HOWDAH_CONTROL");
    struct options o = {.control = control && control[0] ? control : DEFAULT_CONTROL};
    struct hd_strbuf command = HD_STRBUF_INIT;
    int status;

    look_at_terminal(&o);
    status = parse(argc, argv, &o);
    if (status >= 0)
        return status;
    join(argc - optind, argv + optind, &command);
    status = o.watch_ms ? run_watch(&o, hd_strbuf_str(&command)) : run_once(&o, hd_strbuf_str(&command));
    hd_strbuf_free(&command);
    return status;
}
