/*
 * Links over socket pairs: what arrives in pieces, what is kept, pauses, back-pressure, ends, and moves
 * between loops.
 */
#include <errno.h>
#include <howdah/error.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "io/link.h"
#include "unit.h"

#define MB (1024u * 1024)

/* A link with its peer's end of the socket, and what its owner has seen. */
struct end {
    struct hd_link link;
    struct hd_loop loop;
    struct hd_io io;
    int peer;
    size_t (*take)(struct end *e, const uint8_t *data, size_t len);
    uint8_t *got;
    size_t got_len, got_cap;
    size_t calls, last_len;
    uint32_t next_want;
    int drained, ended, error, released, detached;
    int close_in; /* 1: on_data, 2: on_drained, 3: on_end */
};

static struct end *end_of(struct hd_link *l)
{
    return HD_CONTAINER_OF(l, struct end, link);
}

static void on_released(struct hd_link *l)
{
    end_of(l)->released = 1;
}

static void keep_bytes(struct end *e, const uint8_t *data, size_t len)
{
    if (e->got_len + len > e->got_cap) {
        e->got_cap = 2 * (e->got_len + len);
        e->got = realloc(e->got, e->got_cap);
    }
    if (len)
        memcpy(e->got + e->got_len, data, len);
    e->got_len += len;
}

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct end *e = end_of(l);
    size_t n;

    CU_ASSERT_FATAL(!e->released && !l->closed);
    e->calls++;
    e->last_len = len;
    CU_ASSERT_PTR_NOT_NULL(hd_link_buf(l));
    n = e->take ? e->take(e, data, len) : len;
    keep_bytes(e, data, n);
    if (e->close_in == 1)
        hd_link_close(l, on_released);
    return n;
}

static void on_drained(struct hd_link *l)
{
    struct end *e = end_of(l);

    e->drained++;
    if (e->close_in == 2)
        hd_link_close(l, on_released);
}

static void on_end(struct hd_link *l, int error)
{
    struct end *e = end_of(l);

    CU_ASSERT_EQUAL(e->ended, 0);
    e->ended = 1;
    e->error = error;
    if (e->close_in == 3)
        hd_link_close(l, on_released);
}

static const struct hd_link_ops ops = {on_data, on_drained, on_end};

static void begin_limited(struct end *e, size_t limit)
{
    int fd[2];

    memset(e, 0, sizeof(*e));
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&e->loop), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_io_init(&e->io, &e->loop, limit), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_link_init(&e->link, &e->io, fd[0], &ops), HD_OK);
    e->peer = fd[1];
}

static void begin(struct end *e)
{
    begin_limited(e, 64 * MB);
}

static void turn(struct end *e)
{
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&e->loop);
}

static void finish(struct end *e)
{
    if (!e->link.closed)
        hd_link_close(&e->link, on_released);
    turn(e);
    CU_ASSERT_EQUAL(e->released, 1);
    hd_loop_close(&e->loop);
    hd_io_close(&e->io);
    if (e->peer >= 0)
        close(e->peer);
    free(e->got);
}

static void say(struct end *e, const char *text)
{
    CU_ASSERT_EQUAL(write(e->peer, text, strlen(text)), (ssize_t)strlen(text));
    turn(e);
}

static int got_is(const struct end *e, const char *text)
{
    return e->got_len == strlen(text) && !memcmp(e->got, text, e->got_len);
}

/* --- receiving
 * ------------------------------------------------------------------------------------------------ */

static void bytes_arrive_one_by_one(void)
{
    struct end e;

    begin(&e);
    for (const char *p = "abc"; *p; p++) {
        const char one[2] = {*p, 0};

        say(&e, one);
    }
    CU_ASSERT_EQUAL(e.calls, 3);
    CU_ASSERT(got_is(&e, "abc"));
    CU_ASSERT_PTR_NULL(e.link.in); /* an idle link holds no buffer */
    finish(&e);
}

/* Takes whole groups of four; says how many it wants while it waits. */
static size_t take_fours(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    if (len % 4)
        e->link.want = e->next_want;
    return len / 4 * 4;
}

static void leftovers_are_joined(void)
{
    struct end e;

    begin(&e);
    e.take = take_fours;
    say(&e, "ab");
    say(&e, "cde");
    CU_ASSERT(got_is(&e, "abcd"));
    CU_ASSERT_EQUAL(e.link.in_len, 1);
    say(&e, "fgh");
    CU_ASSERT(got_is(&e, "abcdefgh"));
    CU_ASSERT_PTR_NULL(e.link.in);
    CU_ASSERT_EQUAL(e.calls, 3);
    finish(&e);
}

static void nothing_is_offered_below_want(void)
{
    struct end e;

    begin(&e);
    e.take = take_fours;
    e.next_want = 7;
    say(&e, "a");
    say(&e, "bcd");
    say(&e, "ef");
    CU_ASSERT_EQUAL(e.calls, 1);
    say(&e, "g");
    CU_ASSERT_EQUAL(e.calls, 2);
    CU_ASSERT_EQUAL(e.last_len, 7);
    CU_ASSERT(got_is(&e, "abcd"));
    finish(&e);
}

/* Nothing until a whole message of a megabyte is there. */
static size_t take_million(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    if (len >= MB)
        return MB;
    e->link.want = MB;
    return 0;
}

static void a_message_larger_than_any_buffer_is_gathered(void)
{
    struct end e;
    uint8_t *bytes = malloc(MB);
    size_t at = 0;

    for (size_t i = 0; i < MB; i++)
        bytes[i] = (uint8_t)(i * 7 >> 3);
    begin(&e);
    e.take = take_million;
    while (at < MB) {
        ssize_t n = write(e.peer, bytes + at, MB - at < 10007 ? MB - at : 10007);

        if (n > 0)
            at += (size_t)n;
        turn(&e);
    }
    say(&e, "xy");
    CU_ASSERT_EQUAL(e.got_len, MB);
    CU_ASSERT(!memcmp(e.got, bytes, MB));
    CU_ASSERT(e.calls <= 4);
    CU_ASSERT(e.io.bufs.used < 2 * HD_BUF_STANDARD + 2 * MB);
    finish(&e);
    free(bytes);
}

static size_t take_none(struct end *e, const uint8_t *data, size_t len)
{
    (void)e;
    (void)data;
    (void)len;
    return 0;
}

/* An owner that takes nothing and says nothing is not read for byte by byte. */
static void what_is_not_taken_grows_by_buffers(void)
{
    struct end e;
    char piece[5000];
    size_t said = 0;

    memset(piece, 'x', sizeof(piece));
    begin(&e);
    e.take = take_none;
    for (int i = 0; i < 40; i++) {
        ssize_t n = write(e.peer, piece, sizeof(piece));

        said += n > 0 ? (size_t)n : 0;
        turn(&e);
    }
    CU_ASSERT_EQUAL(e.link.in_len, said);
    CU_ASSERT(e.io.recv_calls < 250);
    finish(&e);
}

/* --- pauses
 * --------------------------------------------------------------------------------------------------- */

static size_t pause_after_two(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    if (len > 2)
        hd_link_pause(&e->link);
    return len < 2 ? len : 2;
}

static void a_paused_link_keeps_and_does_not_read(void)
{
    struct end e;

    begin(&e);
    e.take = pause_after_two;
    say(&e, "abcdef");
    CU_ASSERT(got_is(&e, "ab"));
    say(&e, "gh");
    CU_ASSERT_EQUAL(e.calls, 1);
    CU_ASSERT_EQUAL(e.link.in_len, 4); /* "gh" is still the kernel's */
    hd_link_resume(&e.link);
    turn(&e);
    CU_ASSERT(got_is(&e, "abcd"));
    hd_link_resume(&e.link);
    turn(&e);
    hd_link_resume(&e.link);
    turn(&e);
    CU_ASSERT(got_is(&e, "abcdefgh"));
    finish(&e);
}

static size_t pause_and_resume(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    hd_link_pause(&e->link);
    hd_link_resume(&e->link);
    return len ? 1 : 0;
}

static void resuming_inside_on_data_loses_nothing(void)
{
    struct end e;

    begin(&e);
    e.take = pause_and_resume;
    say(&e, "abcdef");
    CU_ASSERT(got_is(&e, "abcdef"));
    finish(&e);
}

static size_t resume_without_progress(struct end *e, const uint8_t *data, size_t len)
{
    (void)data;
    hd_link_pause(&e->link);
    hd_link_resume(&e->link);
    return e->calls > 3 ? len : 0;
}

static void resuming_without_progress_does_not_spin(void)
{
    struct end e;

    begin(&e);
    e.take = resume_without_progress;
    say(&e, "abc");
    CU_ASSERT_EQUAL(e.calls, 1);
    for (int i = 0; i < 5; i++) {
        hd_io_retry(&e.io);
        turn(&e);
    }
    CU_ASSERT(got_is(&e, "abc"));
    finish(&e);
}

static void a_paused_link_hears_of_the_end_only_where_it_asked(void)
{
    struct end e;

    begin(&e);
    hd_link_pause(&e.link);
    close(e.peer);
    e.peer = -1;
    turn(&e);
    CU_ASSERT_EQUAL(e.ended, 0);
    hd_link_resume(&e.link);
    turn(&e);
    CU_ASSERT_EQUAL(e.ended, 1);
    finish(&e);

    begin(&e);
    e.link.watch_end = 1;
    hd_link_pause(&e.link);
    close(e.peer);
    e.peer = -1;
    turn(&e);
    CU_ASSERT_EQUAL(e.ended, 1);
    finish(&e);
}

/* --- sending
 * -------------------------------------------------------------------------------------------------- */

static void drink(struct end *e, uint8_t *into, size_t *len, size_t max)
{
    ssize_t n;

    while (max && (n = read(e->peer, into + *len, max < 65536 ? max : 65536)) > 0) {
        *len += (size_t)n;
        max -= (size_t)n;
    }
    turn(e);
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

/* `joined`: one buffer in adjoining pieces, which become one slice; else buffers of their own. */
static void fill(struct end *e, size_t total, size_t step, int joined)
{
    struct hd_buf *b = joined ? hd_buf_new(&e->io.bufs, (uint32_t)total) : NULL;
    size_t at = 0;

    while (at < total) {
        uint32_t n = (uint32_t)(total - at < step ? total - at : step);
        struct hd_buf *one = joined ? b : hd_buf_new(&e->io.bufs, n);
        uint8_t *p = joined ? b->data + at : one->data;

        for (uint32_t i = 0; i < n; i++)
            p[i] = pattern(at + i);
        CU_ASSERT_EQUAL(hd_link_send(&e->link, one, p, n), HD_OK);
        if (!joined)
            hd_buf_drop(one);
        at += n;
    }
    hd_buf_drop(b);
}

static void back_pressure(size_t step, int joined)
{
    struct end e;
    size_t total = 3 * MB, len = 0;
    uint8_t *back = malloc(total);
    int right = 1;

    begin(&e);
    fill(&e, total, step, joined);
    CU_ASSERT(e.link.high);
    turn(&e);
    CU_ASSERT(e.link.blocked);
    CU_ASSERT_EQUAL(e.drained, 0);
    drink(&e, back, &len, 1 * MB);
    CU_ASSERT_EQUAL(e.drained, 0);
    while (len < total)
        drink(&e, back, &len, total - len);
    CU_ASSERT_EQUAL(e.drained, 1);
    CU_ASSERT_EQUAL(e.link.high, 0);
    CU_ASSERT_EQUAL(e.link.out_count, 0);
    CU_ASSERT_PTR_EQUAL(e.link.out, e.link.few);
    for (size_t i = 0; i < total; i++)
        right &= back[i] == pattern(i);
    CU_ASSERT(right);
    finish(&e);
    free(back);
}

static void many_slices_wait_for_a_slow_reader(void)
{
    back_pressure(10007, 0);
}

static void joined_slices_count_for_back_pressure(void)
{
    back_pressure(4099, 1);
}

static void copies_are_joined_too(void)
{
    struct end e;
    size_t total = 0, len = 0;
    uint8_t *back = malloc(2 * MB);

    begin(&e);
    for (int i = 0; total < MB; i++) {
        uint8_t text[40];

        memset(text, i, sizeof(text));
        CU_ASSERT_EQUAL(hd_link_send_copy(&e.link, text, sizeof(text)), HD_OK);
        total += sizeof(text);
    }
    CU_ASSERT(e.link.high);
    CU_ASSERT(e.link.out_count < 2 * MB / HD_BUF_SMALL);
    while (len < total)
        drink(&e, back, &len, total - len);
    for (size_t i = 0; i < total; i++)
        if (back[i] != (uint8_t)(i / 40))
            CU_FAIL("a byte is wrong");
    CU_ASSERT_EQUAL(e.drained, 1);
    finish(&e);
    free(back);
}

/* What arrived is sent on while the next read is under way: the scratch buffer must not be written over. */
static size_t echo(struct end *e, const uint8_t *data, size_t len)
{
    CU_ASSERT_EQUAL(hd_link_send(&e->link, hd_link_buf(&e->link), data, (uint32_t)len), HD_OK);
    return len;
}

static void slices_of_what_was_read_stay_as_they_were(void)
{
    struct end e;
    size_t total = 2 * MB, sent = 0, len = 0;
    uint8_t *bytes = malloc(total), *back = malloc(total);

    for (size_t i = 0; i < total; i++)
        bytes[i] = pattern(i);
    begin(&e);
    e.take = echo;
    while (sent < total) { /* nobody reads the echo meanwhile, as long as the socket takes it */
        ssize_t n = write(e.peer, bytes + sent, total - sent < 3001 ? total - sent : 3001);

        if (n > 0)
            sent += (size_t)n;
        turn(&e);
    }
    while (len < total)
        drink(&e, back, &len, total - len);
    CU_ASSERT(!memcmp(bytes, back, total));
    finish(&e);
    free(bytes);
    free(back);
}

/* --- ends
 * ----------------------------------------------------------------------------------------------------- */

static void closing_inside_callbacks(void)
{
    struct end e;
    uint8_t *back = malloc(2 * MB);
    size_t len = 0;

    begin(&e);
    e.close_in = 1;
    say(&e, "abc");
    CU_ASSERT_EQUAL(e.released, 1);
    finish(&e);

    begin(&e);
    e.close_in = 2;
    fill(&e, MB, 5000, 0);
    for (int i = 0; i < 100 && !e.released; i++)
        drink(&e, back, &len, 50000);
    CU_ASSERT_EQUAL(e.drained, 1);
    CU_ASSERT_EQUAL(e.released, 1);
    finish(&e);

    begin(&e);
    e.close_in = 3;
    close(e.peer);
    e.peer = -1;
    turn(&e);
    CU_ASSERT_EQUAL(e.error, 0);
    CU_ASSERT_EQUAL(e.released, 1);
    finish(&e);
    free(back);
}

/* The last words of a peer that takes nothing more are heard. */
static void what_was_said_before_the_end_is_read(void)
{
    struct end e;

    begin(&e);
    CU_ASSERT_EQUAL(write(e.peer, "last words", 10), 10);
    close(e.peer);
    e.peer = -1;
    fill(&e, 2 * MB, 10000, 0);
    hd_io_flush(&e.io); /* fails, before anything was read */
    CU_ASSERT_EQUAL(e.ended, 0);
    CU_ASSERT_EQUAL(e.link.out_count, 0);
    CU_ASSERT_EQUAL(e.drained, 1); /* whoever feeds it need not wait */
    turn(&e);
    CU_ASSERT(got_is(&e, "last words"));
    CU_ASSERT_EQUAL(e.ended, 1);
    CU_ASSERT_EQUAL(hd_link_send_copy(&e.link, "x", 1), HD_OK);
    CU_ASSERT_EQUAL(e.link.out_count, 0);
    finish(&e);
}

/* --- bounds
 * --------------------------------------------------------------------------------------------------- */

static void a_link_without_buffers_waits_for_them(void)
{
    struct end e;
    struct hd_buf *all[8];
    int n = 0;

    begin_limited(&e, 4 * HD_BUF_STANDARD);
    e.take = take_fours;
    say(&e, "abcde");
    CU_ASSERT_EQUAL(e.link.in_len, 1);
    while ((all[n] = hd_buf_new(&e.io.bufs, HD_BUF_STANDARD)))
        n++;
    e.link.want = HD_BUF_SMALL + 1; /* does not fit where the leftovers are */
    say(&e, "fgh");
    CU_ASSERT(got_is(&e, "abcd"));
    CU_ASSERT(!hd_list_empty(&e.io.starved));
    hd_io_retry(&e.io);
    turn(&e);
    CU_ASSERT(!hd_list_empty(&e.io.starved));
    hd_buf_drop(all[--n]);
    e.link.want = 0;
    hd_io_retry(&e.io);
    turn(&e);
    CU_ASSERT(got_is(&e, "abcdefgh"));
    CU_ASSERT(hd_list_empty(&e.io.starved));
    while (n)
        hd_buf_drop(all[--n]);
    finish(&e);
}

static void closing_a_link_that_waits_for_buffers(void)
{
    struct end e;
    struct hd_buf *all[8];
    int n = 0;

    begin_limited(&e, 2 * HD_BUF_STANDARD);
    while ((all[n] = hd_buf_new(&e.io.bufs, HD_BUF_STANDARD)))
        n++;
    hd_buf_drop(hd_buf_hold(e.io.scratch));
    hd_buf_hold(e.io.scratch); /* as if slices of it waited somewhere */
    say(&e, "abc");
    CU_ASSERT_EQUAL(e.calls, 0);
    CU_ASSERT(!hd_list_empty(&e.io.starved));
    hd_link_close(&e.link, on_released);
    CU_ASSERT(hd_list_empty(&e.io.starved));
    hd_buf_drop(e.io.scratch);
    while (n)
        hd_buf_drop(all[--n]);
    finish(&e);
}

/* Whatever allocation fails: the owner hears of the end, or its call says so, and nothing leaks. */
static void one_failure(void *arg)
{
    struct end e;
    int code = HD_OK;
    struct hd_buf *b;

    (void)arg;
    memset(&e, 0, sizeof(e));
    if (hd_loop_init(&e.loop))
        return;
    if (hd_io_init(&e.io, &e.loop, MB)) {
        hd_loop_close(&e.loop);
        hd_bufs_close(&e.io.bufs);
        return;
    }
    {
        int fd[2];

        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        CU_ASSERT_EQUAL_FATAL(hd_link_init(&e.link, &e.io, fd[0], &ops), HD_OK);
        e.peer = fd[1];
    }
    e.take = take_fours;
    say(&e, "ab");
    say(&e, "cdefg");
    b = hd_buf_new(&e.io.bufs, 20000);
    for (uint32_t i = 0; b && !code && i < 10; i++)
        code = hd_link_send(&e.link, b, b->data + 2 * i, 1);
    hd_buf_drop(b);
    if (!code)
        code = hd_link_send_copy(&e.link, "abc", 3);
    turn(&e);
    if (!code && b && !e.ended) {
        char back[64];

        CU_ASSERT_EQUAL(read(e.peer, back, sizeof(back)), 13);
        CU_ASSERT(got_is(&e, "abcd"));
    }
    if (e.ended)
        CU_ASSERT_EQUAL(e.error, ENOMEM);
    finish(&e);
}

static void failing_allocations(void)
{
    int n = unit_each_alloc_failure(one_failure, NULL);

    CU_ASSERT(!unit_can_fail_alloc() || n >= 4);
}

/* --- moving
 * --------------------------------------------------------------------------------------------------- */

static void on_detached(struct hd_link *l)
{
    end_of(l)->detached = 1;
}

static void a_quiet_link_moves_to_another_loop(void)
{
    struct end e;
    struct hd_loop other;
    struct hd_io io;

    begin(&e);
    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&other), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_io_init(&io, &other, MB), HD_OK);
    e.take = take_fours;
    say(&e, "abcde");
    CU_ASSERT(!hd_link_quiet(&e.link)); /* leftovers */
    say(&e, "fgh");
    CU_ASSERT(hd_link_quiet(&e.link));
    hd_link_detach(&e.link, on_detached);
    CU_ASSERT_EQUAL(write(e.peer, "ijkl", 4), 4);
    turn(&e);
    CU_ASSERT_EQUAL(e.detached, 1);
    CU_ASSERT(got_is(&e, "abcdefgh"));
    CU_ASSERT_EQUAL(hd_link_attach(&e.link, &io), HD_OK);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&other);
    CU_ASSERT(got_is(&e, "abcdefghijkl"));
    hd_link_close(&e.link, on_released);
    for (int i = 0; i < 4; i++)
        hd_loop_turn_awake(&other);
    hd_loop_close(&other);
    hd_io_close(&io);
    finish(&e);
}

UNIT_MAIN("io_link", {"bytes arrive one by one", bytes_arrive_one_by_one},
          {"leftovers are joined with what follows", leftovers_are_joined},
          {"nothing is offered below want", nothing_is_offered_below_want},
          {"a message larger than any buffer is gathered", a_message_larger_than_any_buffer_is_gathered},
          {"what is not taken grows by buffers", what_is_not_taken_grows_by_buffers},
          {"a paused link keeps and does not read", a_paused_link_keeps_and_does_not_read},
          {"resuming inside on_data loses nothing", resuming_inside_on_data_loses_nothing},
          {"resuming without progress does not spin", resuming_without_progress_does_not_spin},
          {"a paused link and the end", a_paused_link_hears_of_the_end_only_where_it_asked},
          {"many slices wait for a slow reader", many_slices_wait_for_a_slow_reader},
          {"joined slices count for back-pressure", joined_slices_count_for_back_pressure},
          {"copies are joined too", copies_are_joined_too},
          {"slices of what was read stay as they were", slices_of_what_was_read_stay_as_they_were},
          {"closing inside callbacks", closing_inside_callbacks},
          {"what was said before the end is read", what_was_said_before_the_end_is_read},
          {"a link without buffers waits for them", a_link_without_buffers_waits_for_them},
          {"closing a link that waits for buffers", closing_a_link_that_waits_for_buffers},
          {"failing allocations", failing_allocations},
          {"a quiet link moves to another loop", a_quiet_link_moves_to_another_loop})
