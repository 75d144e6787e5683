/*
 * Links over socket pairs, by each engine: what an owner sees must not depend on which one runs. Where
 * io_uring cannot be had, its cases check that the refusal gives a reason and leaves libuv in place.
 */
#include "unit.h"

#include "base/alloc.h"
#include "io/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define POOL  (64u << 20)
#define LARGE (3u << 20)

struct side {
    struct hd_loop loop;
    struct hd_io io;
    struct hd_loop_timer tick; /* so that no turn sleeps for long */
};

struct peer {
    struct hd_link link;
    int far; /* the other end of the pair, read and written by hand */
    uint8_t *got;
    size_t got_len;
    size_t need; /* asks for so many bytes at once */
    int calls, drained, ended, error, released;
    int close_on_data, pause_on_data;
    int keep; /* holds the buffers of what it gets */
    int kept_count;
    struct hd_buf *kept[200];
};

static struct side here, there;
static int use_uring;

static void on_tick(struct hd_loop_timer *t)
{
    (void)t;
}

static int open_side(struct side *s, size_t limit)
{
    struct hd_error err = HD_ERROR_INIT;

    CU_ASSERT_EQUAL_FATAL(hd_loop_init(&s->loop), HD_OK);
    CU_ASSERT_EQUAL_FATAL(hd_io_init(&s->io, &s->loop, limit), HD_OK);
    hd_loop_timer_init(&s->loop, &s->tick, on_tick);
    hd_loop_timer_start(&s->tick, 1, 1);
    if (use_uring && hd_io_use_uring(&s->io, &err)) {
        CU_ASSERT(err.text[0] != 0);
        CU_ASSERT_STRING_EQUAL(hd_io_engine(&s->io), "uv");
        return 0;
    }
    CU_ASSERT_STRING_EQUAL(hd_io_engine(&s->io), use_uring ? "uring" : "uv");
    return 1;
}

static void close_side(struct side *s)
{
    hd_loop_timer_close(&s->tick, NULL);
    hd_loop_close(&s->loop);
    hd_io_close(&s->io);
}

static struct peer *peer_of(struct hd_link *l)
{
    return HD_CONTAINER_OF(l, struct peer, link);
}

static void on_released(struct hd_link *l)
{
    peer_of(l)->released++;
}

static size_t on_data(struct hd_link *l, const uint8_t *data, size_t len)
{
    struct peer *p = peer_of(l);

    p->calls++;
    if (p->close_on_data) {
        hd_link_close(l, on_released);
        return len;
    }
    if (len < p->need) {
        l->want = (uint32_t)p->need;
        return 0;
    }
    CU_ASSERT_FATAL(p->got_len + len <= LARGE);
    memcpy(p->got + p->got_len, data, len);
    p->got_len += len;
    if (p->keep && p->kept_count < 200)
        p->kept[p->kept_count++] = hd_buf_hold(hd_link_buf(l));
    if (p->pause_on_data)
        hd_link_pause(l);
    return len;
}

static void on_drained(struct hd_link *l)
{
    peer_of(l)->drained++;
}

static void on_end(struct hd_link *l, int error)
{
    peer_of(l)->ended++;
    peer_of(l)->error = error;
}

static const struct hd_link_ops ops = {on_data, on_drained, on_end};

static void open_peer(struct peer *p, struct side *s)
{
    int fds[2];

    memset(p, 0, sizeof(*p));
    p->got = malloc(LARGE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p->got);
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    p->far = fds[1];
    CU_ASSERT_EQUAL_FATAL(hd_link_init(&p->link, &s->io, fds[0], &ops), HD_OK);
}

static void turns(struct side *s, int n)
{
    while (n--)
        hd_loop_turn(&s->loop);
}

static void close_peer(struct peer *p, struct side *s)
{
    if (!p->link.closed)
        hd_link_close(&p->link, on_released);
    while (!p->released)
        hd_loop_turn(&s->loop);
    CU_ASSERT_EQUAL(p->released, 1);
    if (p->far >= 0)
        close(p->far);
    free(p->got);
}

static void say(const struct peer *p, const char *text)
{
    CU_ASSERT_EQUAL(write(p->far, text, strlen(text)), (ssize_t)strlen(text));
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

/* Writes as much of the pattern as the socket takes; returns where it stands now. */
static size_t pour(const struct peer *p, size_t at, size_t end)
{
    uint8_t block[4096];

    while (at < end) {
        size_t n = end - at < sizeof(block) ? end - at : sizeof(block);
        ssize_t done;

        for (size_t i = 0; i < n; i++)
            block[i] = pattern(at + i);
        done = write(p->far, block, n);
        if (done < 0)
            break;
        at += (size_t)done;
    }
    return at;
}

static int is_pattern(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != pattern(i))
            return 0;
    return 1;
}

/* --- the cases ---------------------------------------------------------------------------------------------
 */

static void split_reads(void)
{
    struct peer p;

    open_peer(&p, &here);
    p.need = 6;
    say(&p, "ab");
    turns(&here, 3);
    CU_ASSERT_EQUAL(p.calls, 1);
    say(&p, "cd");
    turns(&here, 3);
    CU_ASSERT_EQUAL(p.calls, 1); /* still fewer than it wants */
    say(&p, "efgh");
    turns(&here, 3);
    CU_ASSERT_EQUAL(p.got_len, 8);
    CU_ASSERT_NSTRING_EQUAL(p.got, "abcdefgh", 8);
    close_peer(&p, &here);
}

static void pause_and_resume(void)
{
    struct peer p;
    size_t at = 0;

    open_peer(&p, &here);
    hd_link_pause(&p.link);
    for (int i = 0; i < 20; i++) {
        at = pour(&p, at, LARGE);
        turns(&here, 2);
    }
    CU_ASSERT_EQUAL(p.got_len, 0);
    CU_ASSERT(at < LARGE); /* it is the peer who waits */
    CU_ASSERT(p.link.in_len < 1u << 20);
    hd_link_resume(&p.link);
    while (p.got_len < LARGE) {
        at = pour(&p, at, LARGE);
        hd_loop_turn(&here.loop);
    }
    CU_ASSERT(is_pattern(p.got, LARGE));
    close_peer(&p, &here);
}

static void pause_in_callback(void)
{
    struct peer p;
    size_t at = 0;

    open_peer(&p, &here);
    p.pause_on_data = 1;
    while (p.got_len < LARGE / 2) {
        at = pour(&p, at, LARGE / 2);
        turns(&here, 2);
        hd_link_resume(&p.link);
    }
    CU_ASSERT(is_pattern(p.got, LARGE / 2));
    close_peer(&p, &here);
}

static void queue_pattern(struct peer *p, size_t len)
{
    for (size_t at = 0; at < len; at += 1000) {
        uint8_t block[1000];
        size_t n = len - at < sizeof(block) ? len - at : sizeof(block);

        for (size_t i = 0; i < n; i++)
            block[i] = pattern(at + i);
        CU_ASSERT_EQUAL(hd_link_send_copy(&p->link, block, n), HD_OK);
    }
}

static void big_write(struct peer *p)
{
    queue_pattern(p, LARGE);
    turns(&here, 5);
    CU_ASSERT(p->link.high);
    CU_ASSERT(hd_link_unsent(&p->link));
    p->got_len = 0;
    while (p->got_len < LARGE) {
        ssize_t n = read(p->far, p->got + p->got_len, LARGE - p->got_len);

        if (n > 0)
            p->got_len += (size_t)n;
        hd_loop_turn(&here.loop);
    }
    CU_ASSERT(is_pattern(p->got, LARGE));
    turns(&here, 2);
    CU_ASSERT(hd_link_quiet(&p->link));
}

static void big_writes(void)
{
    struct peer p;

    open_peer(&p, &here);
    big_write(&p);
    CU_ASSERT_EQUAL(p.drained, 1);
    big_write(&p);
    CU_ASSERT_EQUAL(p.drained, 2);
    close_peer(&p, &here);
}

/* A read that fills its buffer to the last byte says nothing of what is behind it. */
static void exact_reads(void)
{
    struct peer p;
    size_t at;

    open_peer(&p, &here);
    at = pour(&p, 0, HD_BUF_STANDARD);
    CU_ASSERT_EQUAL_FATAL(at, HD_BUF_STANDARD);
    turns(&here, 3);
    CU_ASSERT_EQUAL(p.got_len, HD_BUF_STANDARD);
    at = pour(&p, at, 2 * HD_BUF_STANDARD);
    at = pour(&p, at, 2 * HD_BUF_STANDARD + 1);
    turns(&here, 4);
    CU_ASSERT_EQUAL(p.got_len, at);
    pour(&p, at, at + HD_BUF_STANDARD - 1);
    close(p.far);
    p.far = -1;
    turns(&here, 4);
    CU_ASSERT_EQUAL(p.got_len, 3 * HD_BUF_STANDARD);
    CU_ASSERT(is_pattern(p.got, p.got_len));
    CU_ASSERT_EQUAL(p.ended, 1);
    close_peer(&p, &here);
}

static void flush_by_hand(void)
{
    struct peer p;
    char text[8];

    open_peer(&p, &here);
    CU_ASSERT_EQUAL(hd_link_send_copy(&p.link, "last", 4), HD_OK);
    hd_link_flush(&p.link);
    CU_ASSERT_EQUAL(read(p.far, text, sizeof(text)), 4);
    CU_ASSERT(!hd_link_unsent(&p.link));
    close_peer(&p, &here);
}

static void ends(void)
{
    struct peer p, q;

    open_peer(&p, &here);
    open_peer(&q, &here);
    hd_link_pause(&p.link);
    q.link.watch_end = 1;
    hd_link_pause(&q.link);
    turns(&here, 2);
    say(&p, "bye");
    close(p.far);
    close(q.far);
    p.far = q.far = -1;
    turns(&here, 5);
    CU_ASSERT_EQUAL(p.ended, 0);
    CU_ASSERT_EQUAL(q.ended, 1);
    hd_link_resume(&p.link);
    turns(&here, 5);
    CU_ASSERT_EQUAL(p.got_len, 3);
    CU_ASSERT_EQUAL(p.ended, 1);
    CU_ASSERT_EQUAL(p.error, 0);
    close_peer(&p, &here);
    close_peer(&q, &here);
}

/* Bytes that wait do not hide the end from who asked to hear of it. */
static void end_behind_bytes(void)
{
    struct peer p;

    open_peer(&p, &here);
    p.link.watch_end = 1;
    hd_link_pause(&p.link);
    say(&p, "one");
    turns(&here, 3);
    say(&p, "two");
    turns(&here, 3);
    CU_ASSERT_EQUAL(p.ended, 0);
    close(p.far);
    p.far = -1;
    turns(&here, 5);
    CU_ASSERT_EQUAL(p.ended, 1);
    CU_ASSERT_EQUAL(p.got_len, 0);
    close_peer(&p, &here);
}

/* The end came before somebody asked to hear of it. */
static void late_watch(void)
{
    struct peer p;

    open_peer(&p, &here);
    hd_link_pause(&p.link);
    close(p.far);
    p.far = -1;
    turns(&here, 5);
    CU_ASSERT_EQUAL(p.ended, 0);
    p.link.watch_end = 1;
    hd_link_pause(&p.link);
    turns(&here, 3);
    CU_ASSERT_EQUAL(p.ended, 1);
    close_peer(&p, &here);
}

static void close_in_callback(void)
{
    struct peer p;

    open_peer(&p, &here);
    queue_pattern(&p, LARGE / 2); /* more than the socket takes: a send is under way */
    turns(&here, 2);
    p.close_on_data = 1;
    say(&p, "x");
    while (!p.released)
        hd_loop_turn(&here.loop);
    CU_ASSERT_EQUAL(p.calls, 1);
    CU_ASSERT_EQUAL(p.ended, 0);
    close_peer(&p, &here);
}

/* A descriptor's number comes back at once: nothing of the old link may touch the new one. */
static void reused_descriptor(void)
{
    for (int i = 0; i < 50; i++) {
        struct peer p, q;

        open_peer(&p, &here);
        CU_ASSERT_EQUAL(hd_link_send_copy(&p.link, "old", 3), HD_OK);
        if (i & 1)
            turns(&here, 1);
        hd_link_close(&p.link, on_released);
        open_peer(&q, &here);
        CU_ASSERT_EQUAL(hd_link_send_copy(&q.link, "new", 3), HD_OK);
        say(&q, "hello");
        turns(&here, 3);
        CU_ASSERT_EQUAL(q.got_len, 5);
        CU_ASSERT_EQUAL(read(q.far, q.got, 100), 3);
        CU_ASSERT_NSTRING_EQUAL(q.got, "new", 3);
        close_peer(&p, &here);
        close_peer(&q, &here);
    }
}

static void moving(void)
{
    struct peer p;

    open_peer(&p, &here);
    say(&p, "one ");
    turns(&here, 3);
    CU_ASSERT(hd_link_quiet(&p.link));
    hd_link_detach(&p.link, on_released);
    say(&p, "two ");
    while (!p.released)
        hd_loop_turn(&here.loop);
    p.released = 0;
    CU_ASSERT_EQUAL(p.got_len, 4);
    CU_ASSERT_EQUAL(hd_link_attach(&p.link, &there.io), HD_OK);
    turns(&there, 2);
    hd_io_retry(&there.io);
    say(&p, "three");
    turns(&there, 3);
    CU_ASSERT_EQUAL(p.got_len, 13);
    CU_ASSERT_NSTRING_EQUAL(p.got, "one two three", 13);
    CU_ASSERT_EQUAL(hd_link_send_copy(&p.link, "back", 4), HD_OK);
    turns(&there, 2);
    CU_ASSERT_EQUAL(read(p.far, p.got, 100), 4);
    close_peer(&p, &there);
}

/* More links speak at once, and more is said, than there are buffers to receive into. */
static void many_at_once(void)
{
    enum { COUNT = 300 };
    static struct peer p[COUNT];

    for (int i = 0; i < COUNT; i++)
        open_peer(&p[i], &here);
    turns(&here, 2);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++)
            (void)pour(&p[i], (size_t)round * 40000, (size_t)(round + 1) * 40000);
        turns(&here, 20);
    }
    for (int i = 0; i < COUNT; i++) {
        CU_ASSERT_EQUAL(p[i].got_len, 120000);
        CU_ASSERT(is_pattern(p[i].got, p[i].got_len));
        close_peer(&p[i], &here);
    }
}

/* The pool is at its bound, because the owner keeps all that it gets: reading stops, and goes on with the
 * room. */
static void starving(void)
{
    struct side small;
    struct peer p;
    size_t at = 0;

    if (open_side(&small, 1u << 20)) {
        open_peer(&p, &small);
        p.keep = 1;
        for (int i = 0; i < 500 && hd_list_empty(&small.io.starved); i++) {
            at = pour(&p, at, LARGE);
            hd_loop_turn(&small.loop);
        }
        CU_ASSERT(!hd_list_empty(&small.io.starved));
        CU_ASSERT(p.got_len < LARGE);
        CU_ASSERT_EQUAL(p.ended, 0);
        p.keep = 0;
        while (p.kept_count)
            hd_buf_drop(p.kept[--p.kept_count]);
        for (int i = 0; i < 5000 && p.got_len < LARGE; i++) {
            at = pour(&p, at, LARGE);
            hd_io_retry(&small.io);
            hd_loop_turn(&small.loop);
        }
        CU_ASSERT_EQUAL(p.got_len, LARGE);
        CU_ASSERT(is_pattern(p.got, LARGE));
        close_peer(&p, &small);
    }
    close_side(&small);
}

/* --- both engines ------------------------------------------------------------------------------------------
 */

static void with(int uring, void (*fn)(void))
{
    int can_here, can_there;

    use_uring = uring;
    can_here = open_side(&here, POOL);
    can_there = open_side(&there, POOL);
    if (can_here && can_there)
        fn();
    close_side(&there);
    close_side(&here);
}

#define CASE(name)                                                                                           \
    static void name##_uv(void)                                                                              \
    {                                                                                                        \
        with(0, name);                                                                                       \
    }                                                                                                        \
    static void name##_uring(void)                                                                           \
    {                                                                                                        \
        with(1, name);                                                                                       \
    }
CASE(split_reads)
CASE(pause_and_resume)
CASE(pause_in_callback)
CASE(big_writes)
CASE(exact_reads)
CASE(flush_by_hand)
CASE(ends)
CASE(end_behind_bytes)
CASE(late_watch)
CASE(close_in_callback)
CASE(reused_descriptor)
CASE(moving)
CASE(many_at_once)
CASE(starving)

#define BOTH(name, text)                                                                                     \
    {text ", uv", name##_uv},                                                                                \
    {                                                                                                        \
        text ", uring", name##_uring                                                                         \
    }

UNIT_MAIN("io_engines", BOTH(split_reads, "bytes in pieces are joined until there are enough"),
          BOTH(pause_and_resume, "a paused link keeps little, and gets all when it goes on"),
          BOTH(pause_in_callback, "an owner may pause in on_data again and again"),
          BOTH(big_writes, "what the peer does not read waits, and on_drained tells"),
          BOTH(exact_reads, "a read that fills its buffer is followed by another"),
          BOTH(flush_by_hand, "a flush sends at once"),
          BOTH(ends, "an end waits for a resume, unless it is watched"),
          BOTH(end_behind_bytes, "a watched end is heard behind bytes that wait"),
          BOTH(late_watch, "an end is heard that came before it was watched for"),
          BOTH(close_in_callback, "a link is closed in on_data while it sends"),
          BOTH(reused_descriptor, "a descriptor that is used again carries nothing old"),
          BOTH(moving, "a link moves, and loses nothing on the way"),
          BOTH(many_at_once, "more links speak than there are buffers"),
          BOTH(starving, "a pool at its bound stops reading and nothing else"))
