/*
 * howdahd: the host's program.
 */
#include "host/cli.h"
#include "io/tls.h"

int main(int argc, char **argv)
{
    struct hd_cli cli;

    hd_tls_count_memory();
    cli = hd_cli_parse(argc, argv);
    return hd_cli_run(&cli);
}
