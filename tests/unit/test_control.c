/*
 * The control socket and how results are shown: the file's mode and what lies in its place, requests good and
 * bad, clients that leave; tables and JSON.
 */
#include "unit.h"

#include "base/error.h"
#include "base/strbuf.h"
#include "host/control.h"
#include "host/render.h"
#include "io/loop.h"
#include "plug/commands.h"
#include "plug/result.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct hd_loop loop;
static struct hd_commands *commands;
static struct hd_control *control;
static char dir[64], path[96];
static hd_result *held;

/* --- rendering --------------------------------------------------------------------------------------------
 */

static void build(hd_result *r)
{
    hd_result_init(r);
    hd_result_columns(r, "name", HD_COL_TEXT, "count", HD_COL_INT, "ratio", HD_COL_REAL, "on", HD_COL_BOOL,
                      "note", HD_COL_TEXT, NULL);
    hd_result_cstr(r, "größer");
    hd_result_integer(r, 12);
    hd_result_real(r, 0.5);
    hd_result_integer(r, 1);
    hd_result_cstr(r, "a\nb\x1b[31m\xff");
    hd_result_cstr(r, "日本");
    hd_result_integer(r, -100000);
    hd_result_null(r);
    hd_result_integer(r, 0);
    hd_result_null(r);
}

static void test_table(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_strbuf out = HD_STRBUF_INIT;
    hd_result r;
    json_t *j;

    build(&r);
    j = hd_render_json(&r, "SHOW X", HD_OK, &err);
    CU_ASSERT_PTR_NOT_NULL_FATAL(j);
    CU_ASSERT_EQUAL(hd_render_table(&out, j, 0, 0), HD_OK);
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&out), " name   |   count | ratio | on  | note\n"
                                                "--------+---------+-------+-----+------------------\n"
                                                " größer |      12 |   0.5 | yes | a\\nb\\x1b[31m\\xff\n"
                                                " 日本   | -100000 |       | no  | \n"
                                                "(2 rows)\n");
    hd_strbuf_reset(&out);
    CU_ASSERT_EQUAL(hd_render_table(&out, j, 12, 0), HD_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_strbuf_str(&out), " größer |  …\n 日本   | -…\n"));
    hd_strbuf_reset(&out);
    CU_ASSERT_EQUAL(hd_render_table(&out, j, 0, 1), HD_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_strbuf_str(&out), "\033[1m name"));
    json_decref(j);
    hd_result_clear(&r);
    hd_strbuf_free(&out);
}

static void test_numbers_go_right(void)
{
    struct hd_strbuf out = HD_STRBUF_INIT;
    json_t *j = json_pack("{s:[s], s:[s], s:[[i], [i]]}", "columns", "n", "types", "int", "rows", 5, 100);

    CU_ASSERT_EQUAL(hd_render_table(&out, j, 0, 0), HD_OK);
    CU_ASSERT_STRING_EQUAL(hd_strbuf_str(&out), "   n\n-----\n   5\n 100\n(2 rows)\n");
    json_decref(j);
    hd_strbuf_free(&out);
}

static void test_json(void)
{
    struct hd_error err = HD_ERROR_INIT;
    hd_result r;
    json_t *j;
    char *text;

    build(&r);
    j = hd_render_json(&r, "SHOW X", HD_OK, &err);
    text = json_dumps(j, JSON_COMPACT);
    CU_ASSERT_STRING_EQUAL(
        text, "{\"command\":\"SHOW X\",\"columns\":[\"name\",\"count\",\"ratio\",\"on\",\"note\"],"
              "\"types\":[\"text\",\"int\",\"real\",\"bool\",\"text\"],"
              "\"rows\":[[\"größer\",12,0.5,true,\"a\\nb\\u001B[31m\\\\xff\"],"
              "[\"日本\",-100000,null,false,null]],\"message\":\"OK\"}");
    free(text);
    json_decref(j);
    hd_result_clear(&r);

    hd_fail(&err, HD_ENOENT, "nothing");
    j = hd_render_json(NULL, "", HD_ENOENT, &err);
    text = json_dumps(j, JSON_COMPACT);
    CU_ASSERT_STRING_EQUAL(text,
                           "{\"command\":\"\",\"error\":{\"code\":\"not found\",\"text\":\"nothing\"}}");
    free(text);
    json_decref(j);
}

static void test_bad_answers(void)
{
    static const char *const bad[] = {"{}", "[]", "{\"message\": 1}"};
    static const char *const odd[] = {"{\"columns\": [1], \"rows\": [3, [], [[1]]]}", "{\"columns\": {}}",
                                      "{\"error\": 3}", "{\"columns\": [], \"rows\": [[1]]}"};
    struct hd_strbuf out = HD_STRBUF_INIT;

    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        json_t *j = json_loads(bad[i], 0, NULL);

        CU_ASSERT_EQUAL(hd_render_table(&out, j, 0, 0), HD_EPROTO);
        json_decref(j);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(odd); i++) {
        json_t *j = json_loads(odd[i], 0, NULL);

        CU_ASSERT_EQUAL(hd_render_table(&out, j, 10, 0), HD_OK);
        json_decref(j);
    }
    hd_strbuf_free(&out);
}

/* --- the socket -------------------------------------------------------------------------------------------
 */

static int32_t echo(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)err;
    hd_result_message(call->result, call->arg_count ? call->args[0].ptr : "");
    return HD_OK;
}

static int32_t big(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)err;
    hd_result_column(call->result, "x", HD_COL_TEXT);
    for (int i = 0; i < 20000; i++)
        hd_result_cstr(call->result, "a line of some length, so that no buffer of the kernel holds them all");
    return HD_OK;
}

static int32_t hold(void *arg, const struct hd_call *call, struct hd_error *err)
{
    (void)arg;
    (void)err;
    held = call->result;
    return HD_PENDING;
}

static void set_up(void)
{
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&loop), HD_OK);
    commands = hd_commands_new(&loop);
    hd_commands_add(commands, NULL, "ECHO", "[WORD]", NULL, 0, echo, NULL, &err);
    hd_commands_add(commands, NULL, "BIG", "[WORD]", NULL, 0, big, NULL, &err);
    hd_commands_add(commands, NULL, "HOLD", NULL, NULL, 0, hold, NULL, &err);
    snprintf(dir, sizeof(dir), "/tmp/hd-control-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/c.sock", dir);
}

static int serve(struct hd_error *err)
{
    char address[128];

    snprintf(address, sizeof(address), "unix:%s", path);
    return hd_control_start(&loop, commands, address, NULL, &control, err);
}

static void start(void)
{
    struct hd_error err = HD_ERROR_INIT;

    set_up();
    CU_ASSERT_EQUAL_FATAL(serve(&err), HD_OK);
}

static void clean_up(void)
{
    hd_commands_free(commands);
    hd_loop_close(&loop);
    unlink(path);
    CU_ASSERT_EQUAL(rmdir(dir), 0);
}

static void stop(void)
{
    struct stat st;

    hd_control_stop(control);
    CU_ASSERT_EQUAL(lstat(path, &st), -1);
    clean_up();
}

static void turn(void)
{
    uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static int dial(void)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(sa.sun_path, path, strlen(path) + 1);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads until `lines` lines are there or the host hangs up; the loop runs meanwhile. */
static const char *hear(int fd, int lines, struct hd_strbuf *out)
{
    char buf[4096];

    hd_strbuf_reset(out);
    while (lines > 0) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        if (n < 0 && errno == EAGAIN) {
            turn();
            continue;
        }
        if (n <= 0)
            break;
        hd_strbuf_add(out, buf, (size_t)n);
        for (ssize_t i = 0; i < n; i++)
            lines -= buf[i] == '\n';
    }
    return hd_strbuf_str(out);
}

static void test_requests(void)
{
    struct hd_strbuf in = HD_STRBUF_INIT;
    int fd;

    start();
    fd = dial();
    say(fd, "{\"command\": \"echo hello\", \"user\": \"\"}\n");
    CU_ASSERT_STRING_EQUAL(hear(fd, 1, &in), "{\"command\":\"ECHO\",\"message\":\"hello\"}\n");
    say(fd, "{\"command\": \"echo a\"}\n{\"command\": \"echo b\"}\n{\"comm"); /* pipelined, and in pieces */
    CU_ASSERT_STRING_EQUAL(hear(fd, 2, &in), "{\"command\":\"ECHO\",\"message\":\"a\"}\n"
                                             "{\"command\":\"ECHO\",\"message\":\"b\"}\n");
    say(fd, "and\": \"nothing\"}\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(hear(fd, 1, &in), "{\"command\":\"\",\"error\":{\"code\":\"not found\""));
    say(fd, "this is no json\n{\"command\": 1}\n[]\n{\"command\":\"x\",\"command\":\"y\"}\n\n");
    hear(fd, 5, &in);
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_strbuf_str(&in), "a request is one line"));
    CU_ASSERT_EQUAL(close(fd), 0);
    turn();
    stop();
    hd_strbuf_free(&in);
}

static void test_large(void)
{
    static char line[HD_CONTROL_LINE + 16384];
    struct hd_strbuf in = HD_STRBUF_INIT;
    int fd;

    start();
    fd = dial();
    say(fd, "{\"command\": \"big\"}\n{\"command\": \"echo after\"}\n");
    hear(fd, 2, &in);
    CU_ASSERT(in.len > 1000000);
    CU_ASSERT_PTR_NOT_NULL(strstr(hd_strbuf_str(&in), "\"message\":\"after\""));
    memset(line, 'x', sizeof(line));
    for (size_t sent = 0; sent < sizeof(line);) {
        ssize_t n = send(fd, line + sent, sizeof(line) - sent, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            break; /* it was refused already */
        sent += n > 0 ? (size_t)n : 0;
        turn();
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(hear(fd, 1, &in), "the request is too long"));
    close(fd);
    turn();
    stop();
    hd_strbuf_free(&in);
}

static void test_leaving(void)
{
    struct hd_strbuf in = HD_STRBUF_INIT;
    int fd;

    start();
    fd = dial(); /* says nothing and goes */
    turn();
    close(fd);
    turn();

    fd = dial(); /* goes while its command runs */
    say(fd, "{\"command\": \"hold\"}\n");
    held = NULL;
    while (!held)
        turn();
    close(fd);
    for (int i = 0; i < 5; i++)
        turn();
    hd_result_finish(held, HD_OK, NULL);
    turn();

    fd = dial(); /* ends its questions, and waits for the answer */
    say(fd, "{\"command\": \"hold\"}\n");
    shutdown(fd, SHUT_WR);
    held = NULL;
    while (!held)
        turn();
    for (int i = 0; i < 5; i++)
        turn();
    hd_result_finish(held, HD_OK, NULL);
    CU_ASSERT_STRING_EQUAL(hear(fd, 2, &in),
                           "{\"command\":\"HOLD\",\"message\":\"OK\"}\n"); /* then it hangs up */
    close(fd);

    fd = dial(); /* does not read a large answer, and goes */
    say(fd, "{\"command\": \"big\"}\n");
    for (int i = 0; i < 5; i++)
        turn();
    close(fd);
    for (int i = 0; i < 5; i++)
        turn();

    fd = dial(); /* is there, with a command, when the host stops */
    say(fd, "{\"command\": \"hold\"}\n");
    held = NULL;
    while (!held)
        turn();
    stop();
    CU_ASSERT_STRING_EQUAL(hear(fd, 1, &in), "");
    hd_result_finish(held, HD_OK, NULL);
    close(fd);
    hd_strbuf_free(&in);
}

static void test_many(void)
{
    struct hd_strbuf in = HD_STRBUF_INIT;
    int fds[40];

    start();
    for (int i = 0; i < 40; i++) {
        fds[i] = dial();
        turn();
        turn();
    }
    CU_ASSERT_STRING_EQUAL(hear(fds[39], 1, &in), ""); /* refused */
    say(fds[0], "{\"command\": \"echo first\"}\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(hear(fds[0], 1, &in), "first"));
    for (int i = 0; i < 40; i++)
        close(fds[i]);
    for (int i = 0; i < 5; i++)
        turn();
    fds[0] = dial(); /* there is room again */
    say(fds[0], "{\"command\": \"echo again\"}\n");
    CU_ASSERT_PTR_NOT_NULL(strstr(hear(fds[0], 1, &in), "again"));
    close(fds[0]);
    stop();
    hd_strbuf_free(&in);
}

static void test_file(void)
{
    struct hd_error err = HD_ERROR_INIT;
    struct hd_control *mine;
    struct stat st;
    char text[256];
    int fd;

    start();
    CU_ASSERT_EQUAL(lstat(path, &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 0777, 0600);
    mine = control;
    CU_ASSERT_EQUAL(serve(&err), HD_EEXIST);
    snprintf(text, sizeof(text), "control socket %s: another host serves it", path);
    CU_ASSERT_STRING_EQUAL(err.text, text);
    control = mine;
    stop();

    set_up(); /* a file that a killed host left */
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, path, strlen(path) + 1);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    close(fd);
    CU_ASSERT_EQUAL(serve(&err), HD_OK);
    stop();

    set_up(); /* something else */
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    CU_ASSERT_EQUAL(serve(&err), HD_EEXIST);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "is no socket"));
    CU_ASSERT_EQUAL(hd_control_start(&loop, commands, "unix:", NULL, &control, &err), HD_EINVAL);
    CU_ASSERT_EQUAL(hd_control_start(&loop, commands, "unix:/nonexistent/dir/x.sock", NULL, &control, &err),
                    HD_EIO);
    clean_up();
}

UNIT_MAIN("control", {"table", test_table}, {"numbers go right", test_numbers_go_right}, {"json", test_json},
          {"bad answers", test_bad_answers}, {"requests", test_requests}, {"large", test_large},
          {"leaving", test_leaving}, {"many", test_many}, {"the file", test_file})
