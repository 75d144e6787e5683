/*
 * Connecting to servers and cancelling on them, off the workers: libpq resolves names, connects and
 * authenticates in a thread of a small pool, and the finished connection is handed to the worker's loop.
 * Cancels go the same way, since libpq's cancel blocks.
 */
#ifndef HD_SESSION_CONNECT_H
#define HD_SESSION_CONNECT_H

#include <libpq-fe.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/loop.h"
#include "wire/scram.h"

struct hd_connector;

/* What a cancel needs: where the server is, and the key that it gave. */
struct hd_cancel_key {
    struct sockaddr_storage address;
    socklen_t address_len; /* 0: not known, libpq must do it */
    uint32_t pid, key;
};

/* What a client's proof and the verifier show of a password, enough to log in where the same verifier is
 * kept. */
struct hd_scram_keys {
    uint8_t client_key[HD_SCRAM_KEY_LEN];
    uint8_t server_key[HD_SCRAM_KEY_LEN];
};

/* A connection to be made. Whoever asks allocates it and frees it in `done`. */
struct hd_connect {
    /* asked */
    const char *keywords[16]; /* as for PQconnectdbParams, NULL-terminated; the first is "dbname" with a
                                 conninfo */
    const char *values[16];
    const struct hd_scram_keys *keys; /* instead of a password; NULL: libpq does all */
    const char *question;             /* a Query to be sent when it is made, or NULL */
    uint64_t timeout_ms;
    struct hd_loop *loop; /* where done runs */
    void (*done)(struct hd_connect *c);
    /* answered */
    PGconn *conn;         /* connected and idle, or NULL */
    PGresult *answers[2]; /* the first ones to the question; NULL: there were fewer. The asker's to clear */
    struct hd_cancel_key key;
    char sqlstate[6];  /* of the failure; empty: it never reached a server */
    char message[400]; /* of the failure, one line; no password in it */
    /* the connector's own */
    struct hd_post post;
    struct hd_connect *next;
};

/* A cancel to be sent: to a server, or to another host that has its session. */
struct hd_cancel_job {
    PGcancel *cancel; /* taken over; NULL: the packet goes to the address */
    struct sockaddr_storage address;
    socklen_t address_len;
    const void *packet; /* lives until done */
    size_t packet_len;
    struct hd_loop *loop;
    void (*done)(struct hd_cancel_job *c);
    int sent;      /* answered: it is on its way */
    int confirmed; /* ... and the other side has closed, as it does when it has dealt with it */
    struct hd_post post;
    struct hd_cancel_job *next;
};

/* At most `threads` at a time, some of which are for cancels alone; they come and go with the work. NULL: no
 * memory. */
struct hd_connector *hd_connector_new(int threads);
/* Gives up what is under way and waits for the threads. Every done has been posted by then. */
void hd_connector_free(struct hd_connector *c);

/* Why a node of that conninfo cannot be logged in to by keys; NULL: it can. */
const char *hd_connect_keys_refuse(const char *conninfo);

void hd_connector_connect(struct hd_connector *c, struct hd_connect *req);   /* [any] */
void hd_connector_cancel(struct hd_connector *c, struct hd_cancel_job *job); /* [any] */

#endif
