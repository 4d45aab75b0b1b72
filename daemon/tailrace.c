/* tailrace.c - the command-line tool's door: finds the subcommand and steps aside. */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "daemon/cli/cli.h"
#include "lib/base.h"
#include "lib/schema.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *sentence;
};

static const struct command commands[] = {
    {"check", cli_check, "check a configuration file"},
    {"cat", cli_cat, "read a stream and print its records"},
    {"shipped", cli_shipped, "tell whether files are delivered"},
    {"sources", cli_sources, "list the followed files and how far they are"},
    {"rewind", cli_rewind, "send a file again, or skip what is left of it"},
    {"spool", cli_spool, "look into a spool, repair a damaged one"},
    {"push", cli_push, "send lines to a source's socket"},
};

/* A full disk or a closed pipe shows only when the last bytes go out. */
int cli_finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    perror("tailrace: cannot write the output");
    return EX_IOERR;
}

static void print_usage(FILE *to)
{
    fputs("usage: tailrace COMMAND [ARGUMENTS]\n", to);
}

static int print_help(void)
{
    print_usage(stdout);
    puts("");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].sentence);
    puts("\n  --help     this text; after a command, that command's\n"
         "  --version  the version");
    return fflush(stdout) == 0 ? 0 : EX_IOERR;
}

static int refuse(const char *word)
{
    const struct command *nearest = &commands[0];
    for (size_t i = 1; i < ARRAY_LEN(commands); i++)
        if (edit_distance(commands[i].name, word) < edit_distance(nearest->name, word))
            nearest = &commands[i];
    fprintf(stderr, "tailrace: unknown command \"%s\"; the nearest known one is %s\n", word,
            nearest->name);
    print_usage(stderr);
    return EX_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EX_USAGE;
    }
    const char *word = argv[1];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return print_help();
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("tailrace %s\n", TAILRACE_VERSION);
        return fflush(stdout) == 0 ? 0 : EX_IOERR;
    }
    return refuse(word);
}
