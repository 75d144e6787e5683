/* The table of one worker; see table.h. Never publishes, and never reads another worker's. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static uint32_t slots_for(uint32_t max)
{
    uint32_t n = 64;

    while (n < 2 * max)
        n *= 2;
    return n;
}

static uint32_t slot_of(const struct stmts_table *t, uint64_t fingerprint, const struct stmts_who *who)
{
    uint64_t h = fingerprint ^ ((uint64_t)(who - t->whos) * UINT64_C(0x9E3779B97F4A7C15));

    return (uint32_t)(h ^ (h >> 32)) & t->mask;
}

/* Puts entry number `index` into the first free slot of its chain. */
static void place(struct stmts_table *t, uint32_t index)
{
    const struct stmts_entry *e = t->entries[index];
    uint32_t i = slot_of(t, e->fingerprint, e->who);

    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = index + 1;
}

int32_t stmts_table_resize(struct stmts_table *t, uint32_t max)
{
    uint32_t room = max > t->count ? max : t->count;
    uint32_t n = slots_for(room);
    uint32_t *slots = calloc(n, sizeof(*slots));
    struct stmts_entry **entries = slots ? calloc(room ? room : 1, sizeof(struct stmts_entry *)) : NULL;

    if (!entries) {
        free(slots);
        return HD_ENOMEM;
    }
    if (t->count)
        memcpy(entries, t->entries, t->count * sizeof(struct stmts_entry *));
    free(t->slots);
    free(t->entries);
    t->slots = slots;
    t->entries = entries;
    t->mask = n - 1;
    t->max = max;
    for (uint32_t i = 0; i < t->count; i++)
        place(t, i);
    return HD_OK;
}

static int32_t init_whos(struct stmts_table *t, uint32_t max)
{
    t->who_max = max;
    t->who_mask = slots_for(max) - 1;
    t->whos = calloc((size_t)max + STMTS_DATABASES + 1, sizeof(*t->whos));
    t->who_slots = calloc((size_t)t->who_mask + 1, sizeof(*t->who_slots));
    return t->whos && t->who_slots ? HD_OK : HD_ENOMEM;
}

int32_t stmts_table_init(struct stmts_table *t, uint32_t max, uint32_t who_max)
{
    memset(t, 0, sizeof(*t));
    memcpy(t->dbs[STMTS_DATABASES].name, "other", 6);
    t->dbs[STMTS_DATABASES].len = 5;
    if (init_whos(t, who_max) == HD_OK && stmts_table_resize(t, max) == HD_OK)
        return HD_OK;
    free(t->whos);
    free(t->who_slots);
    return HD_ENOMEM;
}

static void entry_free(struct stmts_entry *e)
{
    stmts_sketch_clear(&e->sketch);
    stmts_text_unref(e->text);
    free(e->states);
    free(e);
}

void stmts_table_reset(struct stmts_table *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        entry_free(t->entries[i]);
    stmts_sketch_clear(&t->other.sketch);
    free(t->other.states);
    memset(&t->other, 0, sizeof(t->other));
    memset(t->slots, 0, ((size_t)t->mask + 1) * sizeof(*t->slots));
    t->count = 0;
    t->changes = NULL;
    t->generation++;
    t->epoch++;
}

void stmts_table_free(struct stmts_table *t)
{
    stmts_table_reset(t);
    free(t->slots);
    free(t->entries);
    free(t->whos);
    free(t->who_slots);
    t->slots = NULL;
    t->entries = NULL;
    t->whos = NULL;
    t->who_slots = NULL;
}

static struct hd_str cut(struct hd_str s)
{
    if (s.len >= HD_EVENT_NAME)
        s.len = HD_EVENT_NAME - 1;
    return s;
}

static int same(const char *name, uint32_t len, struct hd_str s)
{
    return len == s.len && (!len || memcmp(name, s.ptr, len) == 0);
}

static struct stmts_db *db_of(struct stmts_table *t, struct hd_str name)
{
    struct stmts_db *db;

    for (uint32_t i = 0; i < t->db_count; i++)
        if (same(t->dbs[i].name, t->dbs[i].len, name))
            return &t->dbs[i];
    if (t->db_count == STMTS_DATABASES)
        return &t->dbs[STMTS_DATABASES];
    db = &t->dbs[t->db_count++];
    memset(db, 0, sizeof(*db));
    if (name.len)
        memcpy(db->name, name.ptr, name.len);
    db->len = (uint32_t)name.len;
    return db;
}

static uint32_t hash_of(struct hd_str database, struct hd_str user)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (uint64_t i = 0; i < database.len; i++)
        h = (h ^ (unsigned char)database.ptr[i]) * UINT64_C(0x100000001b3);
    h = (h ^ 0xff) * UINT64_C(0x100000001b3);
    for (uint64_t i = 0; i < user.len; i++)
        h = (h ^ (unsigned char)user.ptr[i]) * UINT64_C(0x100000001b3);
    return (uint32_t)(h ^ (h >> 32));
}

/* All users of a database past the bound. */
static struct stmts_who *others_of(struct stmts_table *t, struct stmts_db *db)
{
    static const char other[] = "other";
    struct stmts_who *who = &t->whos[t->who_max + (uint32_t)(db - t->dbs)];

    if (!who->db) {
        who->db = db;
        who->database_len = db->len;
        who->user_len = sizeof(other) - 1;
        memcpy(who->database, db->name, sizeof(who->database));
        memcpy(who->user, other, sizeof(other));
    }
    return who;
}

struct stmts_who *stmts_table_who(struct stmts_table *t, struct hd_str database, struct hd_str user)
{
    struct stmts_who *who;
    uint32_t i;

    database = cut(database);
    user = cut(user);
    for (i = hash_of(database, user) & t->who_mask; t->who_slots[i]; i = (i + 1) & t->who_mask) {
        who = &t->whos[t->who_slots[i] - 1];
        if (same(who->database, who->database_len, database) && same(who->user, who->user_len, user))
            return who;
    }
    if (t->who_count == t->who_max)
        return others_of(t, db_of(t, database));
    t->who_slots[i] = t->who_count + 1;
    who = &t->whos[t->who_count++];
    who->db = db_of(t, database);
    who->database_len = (uint32_t)database.len;
    who->user_len = (uint32_t)user.len;
    if (database.len)
        memcpy(who->database, database.ptr, database.len);
    if (user.len)
        memcpy(who->user, user.ptr, user.len);
    return who;
}

struct stmts_entry *stmts_table_find(struct stmts_table *t, uint64_t fingerprint, const struct stmts_who *who)
{
    for (uint32_t i = slot_of(t, fingerprint, who); t->slots[i]; i = (i + 1) & t->mask) {
        struct stmts_entry *e = t->entries[t->slots[i] - 1];

        if (e->fingerprint == fingerprint && e->who == who)
            return e;
    }
    return NULL;
}

/* Cuts at `max` bytes, but not within a UTF-8 sequence. */
static struct stmts_text *text_new(struct hd_str from, uint32_t max)
{
    size_t len = from.len < max ? (size_t)from.len : max;
    struct stmts_text *text;

    while (len < from.len && len > 0 && ((unsigned char)from.ptr[len] & 0xC0) == 0x80)
        len--;
    text = malloc(sizeof(*text) + len);
    if (!text)
        return NULL;
    atomic_init(&text->refs, 1);
    text->len = (uint32_t)len;
    if (len)
        memcpy(text->bytes, from.ptr, len);
    return text;
}

struct stmts_entry *stmts_table_add(struct stmts_table *t, uint64_t fingerprint, struct stmts_who *who,
                                    struct hd_str text, uint32_t text_length)
{
    struct stmts_entry *e = t->count < t->max ? calloc(1, sizeof(*e)) : NULL;

    if (!e)
        return NULL;
    e->fingerprint = fingerprint;
    e->who = who;
    e->text = text_new(text, text_length);
    t->entries[t->count] = e;
    place(t, t->count++);
    return e;
}

static void sums_count(struct stmts_sums *s, const struct hd_outcome *o)
{
    s->min_ns = !s->calls || o->total_ns < s->min_ns ? o->total_ns : s->min_ns;
    s->max_ns = o->total_ns > s->max_ns ? o->total_ns : s->max_ns;
    s->calls++;
    s->errors += o->failed != 0;
    s->rows += o->rows;
    s->bytes += o->bytes;
    s->total_ns += o->total_ns;
    s->queue_ns += o->queue_ns;
    s->server_ns += o->answered_by || o->queue_ns > o->total_ns ? 0 : o->total_ns - o->queue_ns;
    s->first_ns += o->first_ns;
    s->firsts += o->first_ns != 0;
    s->answered += o->answered_by != 0;
}

void stmts_states_add(struct stmts_states *s, const char *sqlstate, uint64_t count)
{
    uint32_t i = 0;

    while (i < s->count && memcmp(s->at[i].sqlstate, sqlstate, 5) != 0)
        i++;
    if (i == s->count && s->count <= HD_STATS_STATES) {
        s->count++;
        if (i < HD_STATS_STATES)
            memcpy(s->at[i].sqlstate, sqlstate, 5);
    }
    if (i > HD_STATS_STATES)
        i = HD_STATS_STATES;
    s->at[i].count += count;
}

static void count_failure(struct stmts_entry *e, const char *sqlstate)
{
    if (!e->states)
        e->states = calloc(1, sizeof(*e->states));
    if (e->states)
        stmts_states_add(e->states, sqlstate, 1);
}

static void fold(struct stmts_entry *into, const struct stmts_entry *e)
{
    stmts_sums_add(&into->all, &e->all);
    stmts_sketch_merge(&into->sketch, &e->sketch);
    if (e->states && !into->states)
        into->states = calloc(1, sizeof(*into->states));
    for (uint32_t i = 0; e->states && into->states && i < e->states->count; i++)
        stmts_states_add(into->states, e->states->at[i].sqlstate, e->states->at[i].count);
}

static void move_news(struct stmts_table *t, struct stmts_entry *e)
{
    struct stmts_entry **at = &t->changes;

    while (*at != e)
        at = &(*at)->change;
    *at = e->change;
    if (!t->other.news.calls) {
        t->other.change = t->changes;
        t->changes = &t->other;
    }
    stmts_sums_add(&t->other.news, &e->news);
}

uint32_t stmts_table_forget(struct stmts_table *t, uint32_t max,
                            int (*goes)(const void *arg, const struct stmts_entry *e), const void *arg)
{
    uint32_t kept = 0, gone = 0;

    for (uint32_t i = 0; i < t->count; i++) {
        struct stmts_entry *e = t->entries[i];

        if (gone == max || !goes(arg, e)) {
            t->entries[kept++] = e;
            continue;
        }
        if (e->news.calls)
            move_news(t, e);
        fold(&t->other, e);
        entry_free(e);
        gone++;
    }
    if (!gone)
        return 0;
    t->count = kept;
    t->epoch++;
    memset(t->slots, 0, ((size_t)t->mask + 1) * sizeof(*t->slots));
    for (uint32_t i = 0; i < kept; i++)
        place(t, i);
    return gone;
}

void stmts_table_count(struct stmts_table *t, struct stmts_entry *e, const struct hd_outcome *o)
{
    if (!e->news.calls) {
        e->change = t->changes;
        t->changes = e;
    }
    sums_count(&e->all, o);
    sums_count(&e->news, o);
    stmts_sketch_add(&e->sketch, o->total_ns);
    if (o->failed)
        count_failure(e, o->sqlstate);
}

void stmts_sums_add(struct stmts_sums *to, const struct stmts_sums *from)
{
    if (!from->calls)
        return;
    to->min_ns = !to->calls || from->min_ns < to->min_ns ? from->min_ns : to->min_ns;
    to->max_ns = from->max_ns > to->max_ns ? from->max_ns : to->max_ns;
    to->calls += from->calls;
    to->errors += from->errors;
    to->rows += from->rows;
    to->bytes += from->bytes;
    to->total_ns += from->total_ns;
    to->queue_ns += from->queue_ns;
    to->server_ns += from->server_ns;
    to->first_ns += from->first_ns;
    to->firsts += from->firsts;
    to->answered += from->answered;
}

struct stmts_text *stmts_text_ref(struct stmts_text *text)
{
    if (text)
        atomic_fetch_add_explicit(&text->refs, 1, memory_order_relaxed);
    return text;
}

void stmts_text_unref(struct stmts_text *text)
{
    if (text && atomic_fetch_sub_explicit(&text->refs, 1, memory_order_acq_rel) == 1)
        free(text);
}
