/*
 * The command registry; see commands.h.
 *
 * A call is one object from the asking to the answer. Two hold it: the asker, until `done` has run, and the
 * handler, until it has answered or finished. A pending call stands in one process-wide list, so that a
 * finish that comes twice, or after its call is over, is recognised by the list and dropped.
 */
#include "plug/commands_parts.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/strbuf.h"
#include "base/thread.h"
#include "base/units.h"
#include "plug/result.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SWEEP_MS     1000
#define CALL_SECONDS 600 /* a command that has not finished by then never will */

/* What a call is waiting for. Only `advance` changes it. */
enum stage {
    STAGE_ASKED,    /* on its way to the control thread, or parsed there */
    STAGE_CALLED,   /* the handler has it */
    STAGE_ANSWERED, /* the handler is done with it */
    STAGE_ORPHANED, /* the asker was answered, the handler still has it */
};

struct hd_command_call {
    hd_result result; /* first: the handler's handle is the call */
    struct hd_post post;
    struct hd_list node; /* in hd_commands.calls */
    struct hd_list live; /* in `under_way` or `pending` */
    struct hd_commands *commands;
    struct hd_loop *asker; /* NULL: the control thread asked */
    struct hd_arena arena;
    char *text;
    size_t len;
    const char *user;
    hd_command_done *done; /* NULL: the asker is gone */
    void *arg;
    const void *owner;
    char name[HD_COMMAND_BYTES];
    enum stage stage;
    uint64_t deadline_ns;
    int code;
    struct hd_error err;
};

/* Calls that are on their way to the control thread, and those whose handlers may still finish them. */
static pthread_mutex_t pending_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hd_list under_way = {&under_way, &under_way};
static struct hd_list pending = {&pending, &pending};

/* --- the registry -----------------------------------------------------------------------------------------
 */

static void free_command(struct hd_command *cmd)
{
    hd_free(cmd->usage);
    hd_free(cmd->doc);
    hd_free(cmd);
}

/* The number of words in a name, 0 when it is not one. */
static size_t name_words(const char *name)
{
    size_t words = 1;

    if (!name[0] || strlen(name) >= HD_COMMAND_BYTES)
        return 0;
    for (const char *p = name; *p; p++) {
        if (*p == ' ' && (p == name || p[1] == ' ' || !p[1]))
            return 0;
        if (*p == ' ')
            words++;
        else if (!isupper((unsigned char)*p) && !isdigit((unsigned char)*p) && *p != '_' && *p != '-')
            return 0;
    }
    return words <= HD_COMMAND_WORDS ? words : 0;
}

static struct hd_command *make_command(const char *name, const char *usage, const char *doc)
{
    struct hd_command *cmd = hd_calloc(1, sizeof(*cmd));

    if (!cmd)
        return NULL;
    cmd->usage = hd_strdup(usage ? usage : "");
    cmd->doc = hd_strdup(doc ? doc : "");
    if (!cmd->usage || !cmd->doc) {
        free_command(cmd);
        return NULL;
    }
    memcpy(cmd->name, name, strlen(name));
    return cmd;
}

/* Of commands of one name that of the lowest rank is found. */
enum rank { RANK_HOST, RANK_PLUGIN, RANK_ALIAS };

static enum rank rank_of(const void *owner, uint32_t flags)
{
    return flags & HD_CMDF_ALIAS ? RANK_ALIAS : owner ? RANK_PLUGIN : RANK_HOST;
}

/* Where a command of that name is put; NULL: the name is taken. The host brings some of its own when plugins
 * run already: theirs give way. */
static struct hd_command **place_of(struct hd_commands *c, const char *name, enum rank rank)
{
    struct hd_command **at = &c->first;

    while (*at && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    for (; *at && strcmp((*at)->name, name) == 0; at = &(*at)->next) {
        enum rank there = rank_of((*at)->owner, (*at)->flags);

        if (there == rank || (there < rank && rank != RANK_ALIAS))
            return NULL;
        if (there > rank)
            break;
    }
    return at;
}

/* Is it a plugin's command that the new one takes the name of, and not a short name, which may be lost? */
static int takes_name(const struct hd_command *cmd)
{
    return cmd->next && strcmp(cmd->next->name, cmd->name) == 0 && !(cmd->next->flags & HD_CMDF_ALIAS);
}

int hd_commands_add(struct hd_commands *c, const void *owner, const char *name, const char *usage,
                    const char *doc, uint32_t flags, hd_command_fn *fn, void *arg, struct hd_error *err)
{
    struct hd_command **at = place_of(c, name, rank_of(owner, flags)), *cmd;
    size_t words = name_words(name);

    if (!words)
        return hd_fail(err, HD_EINVAL, "\"%.80s\" is no command's name: one to three upper-case words", name);
    if (!at)
        return hd_fail(err, HD_EEXIST, "there is a command %s already", name);
    cmd = make_command(name, usage, doc);
    if (!cmd)
        return hd_fail(err, HD_ENOMEM, "no memory for the command %s", name);
    cmd->owner = owner;
    cmd->words = words;
    cmd->flags = flags;
    cmd->fn = fn;
    cmd->arg = arg;
    cmd->next = *at;
    *at = cmd;
    if (takes_name(cmd))
        hd_log(HD_LOG_WARNING, "a plugin's command gives way to the host's of that name",
               HD_KV("command", name));
    hd_commands_note_back(c, name);
    return HD_OK;
}

/* --- a call's life ----------------------------------------------------------------------------------------
 */

static void free_call(struct hd_command_call *call)
{
    hd_result_clear(&call->result);
    hd_arena_free(&call->arena);
    hd_free(call);
}

/* Moves a call to its next stage, and in and out of the list of those that may be finished. Returns the stage
 * before, with nothing changed where the step is not allowed. */
static enum stage advance(struct hd_command_call *call, enum stage to)
{
    static const unsigned allowed[] = {
        [STAGE_ASKED] = 1u << STAGE_CALLED | 1u << STAGE_ANSWERED,
        [STAGE_CALLED] = 1u << STAGE_ANSWERED | 1u << STAGE_ORPHANED,
        [STAGE_ANSWERED] = 0,
        [STAGE_ORPHANED] = 0,
    };
    enum stage from;

    pthread_mutex_lock(&pending_lock);
    from = call->stage;
    if (allowed[from] & 1u << to) {
        call->stage = to;
        if (to != STAGE_ORPHANED)
            hd_list_remove(&call->live);
        if (to == STAGE_CALLED)
            hd_list_push_back(&pending, &call->live);
    }
    pthread_mutex_unlock(&pending_lock);
    return from;
}

/* The asker's hold ends. The handler's may live on. */
static void release_asker(struct hd_command_call *call)
{
    int last;

    pthread_mutex_lock(&pending_lock);
    call->done = NULL;
    call->commands = NULL;
    last = call->stage != STAGE_ORPHANED;
    pthread_mutex_unlock(&pending_lock);
    if (last)
        free_call(call);
}

/* Tells the asker, on its own thread. */
static void answer(struct hd_command_call *call)
{
    if (call->done)
        call->done(call->arg, call->code == HD_OK ? &call->result : NULL, call->name, call->code, &call->err);
    release_asker(call);
}

static void on_answer(struct hd_post *post)
{
    answer(HD_CONTAINER_OF(post, struct hd_command_call, post));
}

/* What was asked is answered; the asker's loop hears it. */
static void deliver(struct hd_command_call *call)
{
    hd_list_remove(&call->node);
    if (!call->asker) {
        answer(call);
        return;
    }
    call->post.fn = on_answer;
    hd_loop_post(call->asker, &call->post);
}

/* The handler is done: what it left is checked and handed on. */
static void conclude(struct hd_command_call *call)
{
    if (call->code == HD_OK)
        call->code = hd_result_seal(&call->result, &call->err);
    if (call->code != HD_OK && !call->err.text[0])
        hd_fail(&call->err, call->code, "the command failed: %s", hd_code_name(call->code));
    deliver(call);
}

static void on_finished(struct hd_post *post)
{
    conclude(HD_CONTAINER_OF(post, struct hd_command_call, post));
}

/* Is it a call that a finish is expected of? The pointer may be of one that is gone. */
static int is_pending(const hd_result *r)
{
    HD_LIST_EACH(n, &pending)
    {
        if (&HD_LIST_ITEM(n, struct hd_command_call, live)->result == r)
            return 1;
    }
    return 0;
}

static void copy_error(struct hd_command_call *call, int code, const struct hd_error *err)
{
    call->code = code;
    if (code != HD_OK && err && err->text[0])
        hd_fail(&call->err, code, "%s", err->text);
}

void hd_result_finish(hd_result *r, int32_t code, const struct hd_error *err)
{
    struct hd_command_call *call = (struct hd_command_call *)r;
    int known, orphan = 0, gone = 0;

    pthread_mutex_lock(&pending_lock);
    known = is_pending(r);
    if (known) {
        hd_list_remove(&call->live);
        orphan = call->stage == STAGE_ORPHANED;
        gone = orphan && !call->commands;
        call->stage = STAGE_ANSWERED;
    }
    pthread_mutex_unlock(&pending_lock);
    if (!known) {
        hd_log(HD_LOG_WARNING, "a command was finished twice or too late");
        return;
    }
    if (gone)
        free_call(call);
    if (orphan)
        return;
    copy_error(call, code > HD_OK ? HD_EFAIL : code, err);
    call->post.fn = on_finished;
    hd_loop_post(call->commands->control, &call->post);
}

/* The asker is not to wait any longer for what a handler has. */
static void give_up(struct hd_command_call *call, int code, const char *why)
{
    if (advance(call, STAGE_ORPHANED) != STAGE_CALLED)
        return; /* its answer is on the way */
    call->code = code;
    hd_fail(&call->err, code, "%s: %s", call->name, why);
    deliver(call);
}

static void on_sweep(struct hd_loop_timer *t)
{
    struct hd_commands *c = HD_CONTAINER_OF(t, struct hd_commands, sweep);
    uint64_t now = hd_now_ns();

    HD_LIST_EACH(n, &c->calls)
    {
        struct hd_command_call *call = HD_LIST_ITEM(n, struct hd_command_call, node);

        if (now >= call->deadline_ns)
            give_up(call, HD_ETIMEOUT, "it has not finished in ten minutes");
    }
    if (hd_list_empty(&c->calls)) {
        hd_loop_timer_stop(t);
        c->sweeping = 0;
    }
}

/* Looks at pending calls from time to time while there are any. */
static void start_sweep(struct hd_commands *c)
{
    if (c->sweeping)
        return;
    hd_loop_timer_start(&c->sweep, SWEEP_MS, SWEEP_MS);
    c->sweeping = 1;
}

/* --- finding and calling ----------------------------------------------------------------------------------
 */

/* Hands the call to the command's handler and takes what it says. */
static void invoke(struct hd_command_call *call, const struct hd_command *cmd, const struct hd_words *w)
{
    struct hd_call asked = {.size = sizeof(asked),
                            .arg_count = (uint32_t)(w->count - cmd->words),
                            .args = w->word + cmd->words,
                            .user = {call->user, strlen(call->user)},
                            .result = &call->result};
    struct hd_commands *c = call->commands;
    struct hd_error err = HD_ERROR_INIT;
    enum stage from;
    int code;

    call->owner = cmd->owner;
    call->deadline_ns = hd_now_ns() + (uint64_t)CALL_SECONDS * 1000000000u;
    advance(call, STAGE_CALLED);
    /* From here on another thread may finish it: only its return tells whose it is. */
    code = cmd->fn(cmd->arg, &asked, &err);
    if (code == HD_PENDING) {
        start_sweep(c);
        return;
    }
    from = advance(call, STAGE_ANSWERED);
    if (from == STAGE_ORPHANED)
        hd_result_finish(&call->result, code, &err); /* its asker was told meanwhile */
    if (from != STAGE_CALLED)
        return; /* or it was finished as well: that answer is on the way */
    copy_error(call, code > HD_OK ? HD_EFAIL : code, &err);
    conclude(call);
}

/* Parses and runs a call. [control] */
static void run(struct hd_command_call *call)
{
    struct hd_commands *c = call->commands;
    struct hd_words words;
    const struct hd_command *cmd;

    hd_list_push_back(&c->calls, &call->node);
    call->code = hd_words_parse(&words, &call->arena, call->text, call->len, &call->err);
    cmd = hd_command_find(c, &words);
    if (cmd && (cmd->flags & HD_CMDF_RAW))
        call->code = hd_command_take_rest(cmd->words, call->text, call->len, !call->code, &words,
                                          &call->arena, &call->err);
    else if (call->code)
        cmd = NULL;
    else if (words.count)
        call->code = cmd ? hd_command_refuse_arguments(cmd, &words, &call->err)
                         : hd_command_refuse_unknown(c, &words, &call->err);
    if (cmd)
        memcpy(call->name, cmd->name, sizeof(call->name));
    if (cmd && !call->code) {
        invoke(call, cmd, &words);
        return;
    }
    advance(call, STAGE_ANSWERED);
    conclude(call);
}

static void on_asked(struct hd_post *post)
{
    run(HD_CONTAINER_OF(post, struct hd_command_call, post));
}

static struct hd_command_call *make_call(struct hd_commands *c, struct hd_loop *asker, const char *text,
                                         size_t len, const char *user, hd_command_done *done, void *arg)
{
    struct hd_command_call *call = hd_calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    hd_result_init(&call->result);
    hd_list_init(&call->node);
    hd_list_init(&call->live);
    call->commands = c;
    call->asker = asker;
    call->done = done;
    call->arg = arg;
    call->err = (struct hd_error)HD_ERROR_INIT;
    call->len = len;
    call->text = hd_arena_strndup(&call->arena, text, len);
    call->user = hd_arena_strdup(&call->arena, user ? user : "");
    if (!call->text || !call->user) {
        free_call(call);
        return NULL;
    }
    return call;
}

/* The call that run() must not forget to mention: it is NULL once the call has been answered. */
struct running {
    hd_command_done *done;
    void *arg;
    int over;
};

static void on_ran(void *arg, const hd_result *result, const char *name, int code, const struct hd_error *err)
{
    struct running *r = arg;

    r->over = 1;
    if (r->done)
        r->done(r->arg, result, name, code, err);
}

struct hd_command_call *hd_commands_call(struct hd_commands *c, const char *text, size_t len,
                                         const char *user, hd_command_done *done, void *arg)
{
    struct running r = {done, arg, 0};
    struct hd_command_call *call = make_call(c, NULL, text, len, user, on_ran, &r);
    struct hd_error err = HD_ERROR_INIT;

    HD_ASSERT(hd_loop_current() == c->control);
    if (!call) {
        done(arg, NULL, "", hd_fail(&err, HD_ENOMEM, "no memory for the command"), &err);
        return NULL;
    }
    run(call);
    if (r.over)
        return NULL;
    /* It is pending, and nothing is answered before the loop comes round. */
    call->done = done;
    call->arg = arg;
    return call;
}

struct hd_command_call *hd_commands_call_from(struct hd_commands *c, struct hd_loop *loop, const char *text,
                                              size_t len, const char *user, hd_command_done *done, void *arg)
{
    struct hd_command_call *call = make_call(c, loop, text, len, user, done, arg);

    if (!call)
        return NULL;
    pthread_mutex_lock(&pending_lock);
    hd_list_push_back(&under_way, &call->live);
    pthread_mutex_unlock(&pending_lock);
    call->post.fn = on_asked;
    hd_loop_post(c->control, &call->post);
    return call;
}

void hd_command_forget(struct hd_command_call *call)
{
    call->done = NULL;
}

int hd_arg_is(const struct hd_call *call, uint32_t i, const char *word)
{
    return i < call->arg_count && call->args[i].len == strlen(word) &&
           strncasecmp(call->args[i].ptr, word, call->args[i].len) == 0;
}

/* --- owners -----------------------------------------------------------------------------------------------
 */

static void give_up_owner(struct hd_commands *c, const void *owner, const char *why)
{
    HD_LIST_EACH(n, &c->calls)
    {
        struct hd_command_call *call = HD_LIST_ITEM(n, struct hd_command_call, node);

        if (!owner || call->owner == owner)
            give_up(call, HD_ECANCELLED, why);
    }
}

/* The asker's thread is gone: the control thread ends the call in its place, and tells nobody. */
static void take_over(struct hd_command_call *call, const struct hd_loop *loop)
{
    if (call->asker != loop)
        return;
    call->asker = NULL;
    call->done = NULL;
}

void hd_commands_drop_loop(struct hd_commands *c, const struct hd_loop *loop)
{
    pthread_mutex_lock(&pending_lock);
    HD_LIST_EACH(n, &under_way)
    take_over(HD_LIST_ITEM(n, struct hd_command_call, live), loop);
    pthread_mutex_unlock(&pending_lock);
    HD_LIST_EACH(n, &c->calls)
    take_over(HD_LIST_ITEM(n, struct hd_command_call, node), loop);
}

void hd_commands_drop_owner(struct hd_commands *c, const void *owner, const char *plugin)
{
    for (struct hd_command **at = &c->first; *at;) {
        struct hd_command *cmd = *at;

        if (cmd->owner != owner) {
            at = &cmd->next;
            continue;
        }
        *at = cmd->next;
        if (plugin)
            hd_commands_note_gone(c, cmd->name, plugin);
        free_command(cmd);
    }
    if (owner)
        give_up_owner(c, owner, "the plugin stopped");
}

/* --- HELP -------------------------------------------------------------------------------------------------
 */

static int32_t show_help(void *arg, const struct hd_call *call, struct hd_error *err)
{
    const struct hd_commands *c = arg;

    (void)err;
    hd_result_columns(call->result, "command", HD_COL_TEXT, "arguments", HD_COL_TEXT, "description",
                      HD_COL_TEXT, NULL);
    for (const struct hd_command *cmd = c->first; cmd; cmd = hd_command_next(cmd)) {
        if (call->arg_count && strncasecmp(cmd->name, call->args[0].ptr, call->args[0].len) != 0)
            continue;
        hd_result_cstr(call->result, cmd->name);
        hd_result_cstr(call->result, cmd->usage);
        hd_result_cstr(call->result, cmd->doc);
    }
    return HD_OK;
}

static int add_help(struct hd_commands *c, struct hd_error *err)
{
    static const char *const names[] = {"HELP", "SHOW HELP"};
    int code = HD_OK;

    for (size_t i = 0; !code && i < HD_ARRAY_LEN(names); i++)
        code = hd_commands_add(c, NULL, names[i], "[WORD]", "The commands, or those that begin with a word",
                               HD_CMDF_READ_ONLY, show_help, c, err);
    return code;
}

/* --- start and end -----------------------------------------------------------------------------------------
 */

static void on_sweep_closed(struct hd_loop_timer *t)
{
    hd_free(HD_CONTAINER_OF(t, struct hd_commands, sweep));
}

void hd_commands_free(struct hd_commands *c)
{
    struct hd_list *n;

    if (!c)
        return;
    give_up_owner(c, NULL, "the host stops");
    while ((n = hd_list_pop_front(&c->calls)))
        ; /* their answers are on the way and need nothing of us */
    while (c->first) {
        struct hd_command *next = c->first->next;

        free_command(c->first);
        c->first = next;
    }
    hd_commands_forget_gone(c);
    hd_loop_timer_close(&c->sweep, on_sweep_closed);
}

struct hd_commands *hd_commands_new(struct hd_loop *control)
{
    struct hd_commands *c = hd_calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->control = control;
    hd_list_init(&c->calls);
    hd_list_init(&c->gone);
    hd_loop_timer_init(control, &c->sweep, on_sweep);
    if (add_help(c, NULL)) {
        hd_commands_free(c);
        return NULL;
    }
    return c;
}
