/*
 * howdahd's command line.
 */
#ifndef HD_HOST_CLI_H
#define HD_HOST_CLI_H

enum hd_cli_action {
    HD_CLI_RUN,
    HD_CLI_CHECK,
    HD_CLI_DUMP,
    HD_CLI_SAMPLE,
    HD_CLI_VERSION,
    HD_CLI_HELP,
    HD_CLI_WRONG
};

struct hd_cli {
    enum hd_cli_action action;
    const char *config; /* file or folder */
    const char *kind;   /* of the sample; "" is all of the host's */
    int background;
};

/* Parses the arguments; what is wrong with them has been said on stderr when the action is HD_CLI_WRONG. */
struct hd_cli hd_cli_parse(int argc, char **argv);
/* Does what the command line asks for; returns the exit code: 0, 1 for a failure, 2 for a wrong command line.
 */
int hd_cli_run(const struct hd_cli *cli);

#endif
