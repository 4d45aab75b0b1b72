/* cli.h - the subcommands of `tailrace`, one file each.
 *
 * Each gets its own arguments, argv[0] being the subcommand's name, and returns the exit code: 0
 * for success, 1 when the answer is no, or one of sysexits.h (64 wrong usage, 65 bad input, 66 an
 * input that cannot be read, 69 a service that cannot be reached, 74 an output that cannot be
 * written, 75 try again later, 76 a peer that does not keep to the protocol). They
 * print results on stdout and complaints on stderr, and know --help and --version. cli_finish is
 * for their last line: their exit code, unless the output could not be written.
 */
#ifndef DAEMON_CLI_CLI_H
#define DAEMON_CLI_CLI_H

int cli_check(int argc, char **argv);
int cli_cat(int argc, char **argv);
int cli_shipped(int argc, char **argv);
int cli_sources(int argc, char **argv);
int cli_rewind(int argc, char **argv);
int cli_spool(int argc, char **argv);
int cli_push(int argc, char **argv);

int cli_finish(int code);

#endif
