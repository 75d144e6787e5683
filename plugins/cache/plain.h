/*
 * Plain keys: bytes that commands and plugins keep in the cache's stores, apart from answers. What each call
 * does is done on one worker, which the key chooses: so stores are asked where they may be, what is said of
 * one key stays in order, and nothing here needs a lock.
 */
#ifndef CACHE_PLAIN_H
#define CACHE_PLAIN_H

#include <howdah/howdah.h>
#include <stdatomic.h>

struct cache;
struct cache_conf;

#define CACHE_LOAD_BUCKETS 64

enum cache_plain_kind { CACHE_PLAIN_GET, CACHE_PLAIN_SET, CACHE_PLAIN_ERASE, CACHE_PLAIN_LOAD };

/* What a value is checked by: the epochs of its key's group and of all tags, in stores of this process. */
struct cache_plain_head {
    uint64_t magic;
    uint64_t nonce; /* of the instance whose epochs they are; 0: in a shared store, where there are none */
    uint64_t epochs[2]; /* or generations */
};

/* A generation that was told of a short time ago; see plain_shared.c. */
struct cache_plain_known {
    uint64_t hash; /* of its name */
    uint64_t generation;
    uint64_t until_ns;
};

#define CACHE_PLAIN_KNOWN 64

/* A call under way; one worker's at a time. */
struct cache_plain_call {
    struct cache_plain_call *next; /* among those who wait for a load */
    struct cache *cache;
    enum cache_plain_kind kind;
    uint32_t tier; /* that is being asked */
    uint64_t ttl_ms;
    uint64_t hash;
    uint64_t key_len, value_len;
    void (*got)(void *arg, int32_t code, struct hd_str value);
    void (*done)(void *arg, int32_t code);
    void *arg;
    void (*loader)(void *arg, struct hd_str key, uint64_t handle);
    void *loader_arg;
    /* In a shared store: */
    uint64_t generations[2]; /* of all, and of its group */
    uint32_t asked;          /* how many of them */
    int32_t known;           /* they are */
    uint64_t round;          /* the worker's, when that was asked */
    char bytes[]; /* the key as stores have it, then the value, then room for a generation's name */
};

/* A load under way; its first waiter has its key. */
struct cache_plain_load {
    struct cache_plain_load *next; /* in its bucket */
    uint64_t handle;
    uint64_t began_ns;
    uint64_t until_ns;
    struct cache_plain_head head; /* as it was when it began */
    int32_t superseded;           /* its key was set or erased meanwhile */
    uint32_t reserved;
    struct cache_plain_call *first, **last;
};

/* A worker's part; only its thread touches it. */
struct cache_plain_worker {
    struct cache *cache;
    uint32_t index;
    uint32_t loads;
    uint64_t begun;  /* loads, ever */
    hd_timer *timer; /* while there are loads */
    struct cache_plain_load *buckets[CACHE_LOAD_BUCKETS];
    uint64_t round; /* how often all that is known was forgotten */
    struct cache_plain_known known[CACHE_PLAIN_KNOWN];
};

struct cache_plain {
    uint32_t worker_count;
    uint32_t shared; /* bits of the tiers that keys are in */
    struct cache_plain_worker *workers;
    _Atomic uint32_t calls; /* under way, and one for the plugin itself while it runs */
    _Atomic int32_t stopping;
    _Atomic uint64_t max_calls, max_key_bytes, max_value_bytes, load_timeout_ms, ttl_ms;
    int64_t hits, misses, loads, refused, under_way; /* metrics */
};

extern const struct hd_cache_v1 cache_service;

/* [control], these three. Stores are known. */
int32_t cache_plain_start(struct cache *self, const struct cache_conf *conf, struct hd_error *err);
void cache_plain_reload(struct cache *self, const struct cache_conf *conf);
/* HD_OK; HD_PENDING: cache_part_ended() will be called. */
int32_t cache_plain_stop(struct cache *self);
void cache_plain_free(struct cache *self);

/* Registers CACHE SET, GET and DELETE. [control] */
int32_t cache_plain_commands(struct cache *self, struct hd_error *err);

/* The part of CACHE INVALIDATE PATTERN that is for keys in a shared store. [control] */
int32_t cache_plain_invalidate(struct cache *self, const struct hd_call *call, struct hd_error *err);

/* Ends the keys of a shared store that the pattern matches, and maybe more. HD_OK: there is none, so nothing
 * is to be done. HD_PENDING: done(arg, code) comes on a worker. Else an error. [any] */
int32_t cache_plain_end_like(struct cache *self, const char *pattern, void (*done)(void *arg, int32_t code),
                             void *arg);

/* --- between the parts of it: [worker] --- */

struct cache_plain_worker *cache_plain_worker_of(const struct cache_plain_call *call);
/* Finds the generations of the call's key, where its store is shared; then cache_plain_go_on(). */
void cache_plain_generations(struct cache_plain_call *call);
void cache_plain_go_on(struct cache_plain_call *call);
/* Bytes that the name of a generation of this key has. */
uint64_t cache_plain_room(struct hd_str key);

/* The end of a call; frees it. */
void cache_plain_finish(struct cache_plain_call *call, int32_t code, struct hd_str value);
/* The key as the caller has it. */
struct hd_str cache_plain_name(const struct cache_plain_call *call);
struct hd_cache_key cache_plain_key(const struct cache_plain_call *call);
/* What a value of the key would have now. */
struct cache_plain_head cache_plain_head(struct cache *self, const struct cache_plain_call *call);
/* Keeps it in the tiers; HD_OK in one at least. */
int32_t cache_plain_put(const struct cache_plain_call *call, const struct cache_plain_head *head,
                        struct hd_str value, uint64_t cost_ns);

/* Not found: loads, or waits for who does. */
void cache_plain_miss(struct cache_plain_worker *w, struct cache_plain_call *call);
/* The key is being set or erased. */
void cache_plain_supersede(struct cache_plain_worker *w, const struct cache_plain_call *call);
int32_t cache_plain_loaded(void *self, uint64_t handle, int32_t code, struct hd_str value);
/* Drops all loads; whoever waits has gone. */
void cache_plain_drop_loads(struct cache_plain_worker *w);
/* One more call under way, of which there is no bound; and one less. [any] */
void cache_plain_hold(struct cache *self);
void cache_plain_leave(struct cache *self);

#endif
