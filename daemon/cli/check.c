/* check.c - `tailrace check FILE`: is this configuration good? Or this mapping?
 *
 * The file is read and built exactly as the daemon, or the Lambda function, does it. Every
 * complaint goes to stderr, one line each, and the exit code is 1; a good file gets one line on
 * stdout. `--print-options` lists what the schema knows, for people and for scripts.
 */
#include "daemon/cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "daemon/readfile.h"
#include "lib/config.h"
#include "lib/schema.h"
#include "lib/yaml.h"

static const char usage[] = "usage: tailrace check [--mapping] FILE\n"
                            "       tailrace check --print-options\n";

static const char help[] =
    "\n"
    "Checks a configuration file and tells everything that is wrong with it.\n"
    "\n"
    "  --mapping        the file is a mapping, which a source names or the Lambda function has\n"
    "  --print-options  list every option: where it belongs, type, default, bounds\n"
    "  --help           this text\n"
    "  --version        the version\n"
    "\n"
    "Exit codes: 0 good, 1 not good, 64 wrong usage, 66 the file cannot be read.\n";

static void tell_stderr(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static int print_options(void)
{
    struct buf line;
    buf_init(&line, 4 * KIB);
    for (size_t i = 0; i < schema_n; i++) {
        const struct schema_row *o = &schema[i];
        buf_reset(&line);
        buf_printf(&line, "%s %s: ", scope_name(o->scope), o->name);
        option_print_type(o, &line);
        if (o->required)
            buf_puts(&line, "; required");
        if (o->fallback != NULL)
            buf_printf(&line, "; default %s", o->fallback);
        if (o->max != 0 && o->type != OPTION_TEXT)
            buf_puts(&line, "; ");
        option_print_bounds(o, &line);
        buf_printf(&line, "; %s\n    %s\n", o->restart ? "restart" : "live", o->sentence);
        fwrite(line.p, 1, line.n, stdout);
    }
    bool failed = line.failed;
    buf_release(&line);
    if (failed)
        fprintf(stderr, "tailrace: memory ran out\n");
    return failed ? EX_OSERR : cli_finish(0);
}

static int check_file(const char *path, bool is_mapping)
{
    struct buf text;
    struct err e;
    buf_init(&text, 0);
    if (readfile(path, YAML_BYTES_MAX, &text, &e) != 0) {
        fprintf(stderr, "tailrace: cannot read %s\n", e.text);
        return EX_NOINPUT;
    }
    struct str all = buf_str(&text);
    struct config *c = is_mapping
                           ? config_build_mapping(path, all, tell_stderr, NULL)
                           : config_build_with(path, all, &readfile_mappings, tell_stderr, NULL);
    buf_release(&text);
    if (c == NULL)
        return 1;
    if (is_mapping)
        printf("%s: ok\n", path);
    else
        printf("%s: ok, %zu stream%s, %zu source%s\n", path, c->streams_n,
               c->streams_n == 1 ? "" : "s", c->sources_n, c->sources_n == 1 ? "" : "s");
    config_free(c);
    return cli_finish(0);
}

enum { OPT_HELP = 256, OPT_VERSION, OPT_PRINT_OPTIONS, OPT_MAPPING };

int cli_check(int argc, char **argv)
{
    static char name[] = "tailrace check"; /* getopt's complaints begin with it */
    static const struct option longs[] = {
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {"print-options", no_argument, NULL, OPT_PRINT_OPTIONS},
        {"mapping", no_argument, NULL, OPT_MAPPING},
        {0},
    };
    argv[0] = name;
    bool print = false, is_mapping = false;
    for (int c; (c = getopt_long(argc, argv, "hV", longs, NULL)) != -1;) {
        switch (c) {
        case 'h':
        case OPT_HELP:
            printf("%s%s", usage, help);
            return cli_finish(0);
        case 'V':
        case OPT_VERSION:
            printf("tailrace %s\n", TAILRACE_VERSION);
            return cli_finish(0);
        case OPT_PRINT_OPTIONS:
            print = true;
            break;
        case OPT_MAPPING:
            is_mapping = true;
            break;
        default:
            fputs(usage, stderr);
            return EX_USAGE;
        }
    }
    if (argc - optind != (print ? 0 : 1) || (print && is_mapping)) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    return print ? print_options() : check_file(argv[optind], is_mapping);
}
