/* tailraced - the daemon's door: arguments, configuration, service, exit code. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "daemon/log.h"
#include "daemon/readfile.h"
#include "daemon/service.h"
#include "lib/schema.h"
#include "lib/yaml.h"

static const char usage[] =
    "usage: tailraced [--once [--timeout DURATION]] -c FILE\n"
    "\n"
    "Follows files and delivers their records to Amazon Kinesis.\n"
    "\n"
    "  -c, --config FILE     the configuration, see tailrace.yaml(5)\n"
    "      --once            deliver what is there now, then end\n"
    "      --timeout TIME    with --once: give up after this long (such as 5m), exit 75\n"
    "      --help            this text\n"
    "      --version         the version\n";

struct arguments {
    struct service_options options;
    bool help, version;
};

static int parse_timeout(const char *text, uint64_t *timeout_ms)
{
    static const struct schema_row row = {.type = OPTION_DURATION,
                                          .size = sizeof(uint64_t),
                                          .min = 1,
                                          .max = (uint64_t)30 * 24 * 3600 * 1000};
    struct err e;
    if (option_set(&row, timeout_ms, text, &e) == 0)
        return 0;
    return fprintf(stderr, "tailraced: --timeout: %s\n", e.text);
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},  {"once", no_argument, NULL, 'o'},
        {"timeout", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},       {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (c == 'c')
            a->options.config_path = optarg;
        else if (c == 'o')
            a->options.once = true;
        else if (c == 't' && parse_timeout(optarg, &a->options.once_timeout_ms) != 0)
            return -1;
        else if (c == 'h')
            a->help = true;
        else if (c == 'v')
            a->version = true;
        else if (c == '?')
            return -1;
    }
    if (a->help || a->version)
        return 0;
    if (optind < argc)
        return fprintf(stderr, "tailraced: unexpected argument '%s'\n", argv[optind]);
    if (a->options.config_path == NULL)
        return fprintf(stderr, "tailraced: -c FILE is needed\n");
    if (a->options.once_timeout_ms > 0 && !a->options.once)
        return fprintf(stderr, "tailraced: --timeout goes with --once\n");
    return 0;
}

/* A followed file is an open one, and the usual soft limit is no more than 1024. */
static void raise_open_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* where it fails, the old limit is good enough to start */
}

static void tell_line(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s\n", line);
}

static struct config *load_config(const char *path, int *exit_code)
{
    struct buf text;
    struct err e;
    struct config *c = NULL;
    buf_init(&text, YAML_BYTES_MAX + 1);
    if (readfile(path, YAML_BYTES_MAX, &text, &e) != 0) {
        fprintf(stderr, "tailraced: %s\n", e.text);
        *exit_code = EXIT_NO_INPUT;
    } else {
        c = config_build_with(path, buf_str(&text), &readfile_mappings, tell_line, NULL);
        *exit_code = EXIT_CONFIG;
    }
    buf_release(&text);
    return c;
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    if (parse_arguments(argc, argv, &a) != 0) {
        fputs(usage, stderr);
        return EXIT_USAGE_ERROR;
    }
    if (a.help || a.version) {
        fputs(a.help ? usage : "tailraced " TAILRACE_VERSION "\n", stdout);
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    raise_open_files();
    int exit_code;
    struct config *config = load_config(a.options.config_path, &exit_code);
    if (config == NULL)
        return exit_code;
    log_init(config->log_level);
    struct err e = {0};
    struct service *s = service_new(config, &a.options, &exit_code, &e);
    if (s == NULL) {
        log_error(log_msg("cannot start"), log_s("why", e.text));
        return exit_code;
    }
    return service_run(s);
}
