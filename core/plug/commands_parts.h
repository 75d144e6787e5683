/*
 * The inside of the command registry, which commands.c (calls), commands_find.c (which command a line
 * means) and commands_gone.c (those that there were) share. [control]
 */
#ifndef HD_PLUG_COMMANDS_PARTS_H
#define HD_PLUG_COMMANDS_PARTS_H

#include "base/list.h"
#include "plug/commands.h"
#include "plug/words.h"

#define HD_COMMAND_WORDS 3
#define HD_COMMAND_BYTES 64

struct hd_command {
    struct hd_command *next;
    const void *owner;
    char name[HD_COMMAND_BYTES];
    char *usage, *doc;
    size_t words; /* in the name */
    uint32_t flags;
    hd_command_fn *fn;
    void *arg;
};

struct hd_commands {
    struct hd_loop *control;
    struct hd_command *first; /* by name; of one name the host's come first, aliases last */
    struct hd_list gone;      /* of plugins that have stopped */
    uint32_t gone_count;
    struct hd_list calls;       /* under way: asked and not answered */
    struct hd_loop_timer sweep; /* runs while calls are under way */
    int sweeping;
};

/* The next by name; NULL: none. What gives way to another command of its name is passed over. */
const struct hd_command *hd_command_next(const struct hd_command *cmd);
/* The command whose name has the most words of this line; NULL: none. */
const struct hd_command *hd_command_find(const struct hd_commands *c, const struct hd_words *w);
/* Says that there is none, and what may have been meant. Returns HD_ENOENT. */
int hd_command_refuse_unknown(const struct hd_commands *c, const struct hd_words *w, struct hd_error *err);
/* A command whose usage names no argument takes none. HD_OK or HD_EINVAL. */
int hd_command_refuse_arguments(const struct hd_command *cmd, const struct hd_words *w, struct hd_error *err);
/* For HD_CMDF_RAW: makes what stands in the line behind a name of so many words one argument, or none.
 * `whole`: all of the line could be taken apart. HD_OK or HD_ENOMEM. */
int hd_command_take_rest(size_t name, const char *line, size_t len, int whole, struct hd_words *w,
                         struct hd_arena *arena, struct hd_error *err);

/* A plugin that stopped had a command of that name; and there is one of that name again. */
void hd_commands_note_gone(struct hd_commands *c, const char *name, const char *plugin);
void hd_commands_note_back(struct hd_commands *c, const char *name);
void hd_commands_forget_gone(struct hd_commands *c);

#endif
