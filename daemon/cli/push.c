/* push.c - `tailrace push [FILE...]`: lines to a source's socket.
 *
 * The happy path: the socket's path is told, or the configuration has one source that it can be;
 * the pusher takes the lines of the files and sends them; with --ack it returns when all of them
 * are acknowledged, and the exit code is 0 only then.
 *
 * How it fails: lines that the daemon refuses are told with their place, and counted (65). A daemon
 * that is away is waited for; when nothing has moved for too long the exit code is 75, and the last
 * word says up to which line all is acknowledged, so that the rest can be sent later.
 */
#include "daemon/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/cli/pusher.h"
#include "daemon/cli/talk.h"
#include "daemon/progress.h"
#include "lib/schema.h"

#define TIMEOUT_MS  60000
#define TOLD_SECOND 20 /* refused lines are told, at most */
#define FILES_MAX   1000000

static const char usage[] = "usage: tailrace push [OPTION]... [FILE]...\n";

static const char help[] =
    "\n"
    "Sends the lines of the files, or of standard input (also -), to a source that listens on a\n"
    "stream socket. Empty lines are nothing.\n"
    "\n"
    "  -s, --socket PATH   the socket; without it the configuration is asked\n"
    "  -c, --config FILE   the daemon's configuration (default: " TALK_CONFIG ")\n"
    "  -n, --source NAME   the source, if the configuration has several\n"
    "  -a, --ack           wait until all is acknowledged; what is not is sent again when the\n"
    "                      daemon has been away\n"
    "  -l, --length32      a length before each line instead of a line end behind it\n"
    "  -t, --timeout TIME  give up when nothing has moved for so long (default: 60s)\n"
    "  -q, --quiet         no progress bar, and no word about waiting\n"
    "      --help, --version\n"
    "\n"
    "Exit codes: 0 all is written and taken, with --ack acknowledged; 64 wrong usage, 65 lines "
    "were\n"
    "refused, 66 a file or the configuration cannot be read, 69 the socket cannot be connected "
    "to,\n"
    "75 given up for now, 76 what answers is not tailraced, 78 the configuration is not good.\n";

struct push {
    const char *socket_option, *config_path, *source;
    char *path;
    bool quiet, length32;
    struct pusher pusher;
    struct progress progress;
    uint64_t bytes; /* of all files; 0 if that cannot be known */
    bool endless;
    uint64_t too_long;
    uint64_t told_ms, told_n, untold; /* refused lines, since told_ms; ever */
};

/* ---- what is told meanwhile ---- */

/* The bar is drawn again by itself. */
static void clear_bar(const struct push *p)
{
    if (p->progress.on)
        fputs("\r\033[K", stderr);
}

static void tell_refused(struct push *p, struct window_place place, struct str reason)
{
    uint64_t now_ms = talk_now_ms();
    if (now_ms - p->told_ms >= 1000) {
        p->told_ms = now_ms;
        p->told_n = 0;
    }
    if (p->told_n++ >= TOLD_SECOND) {
        p->untold++;
        return;
    }
    clear_bar(p);
    fprintf(stderr, "%s:%" PRIu64 ": ", lines_name(&p->pusher.lines, place.file), place.line);
    for (size_t i = 0; i < reason.n; i++)
        fputc((unsigned char)reason.p[i] < ' ' || reason.p[i] == '\177' ? '?' : reason.p[i],
              stderr);
    fputc('\n', stderr);
}

static void on_bad(void *ctx, struct window_place place, struct str reason)
{
    tell_refused(ctx, place, reason);
}

static void on_too_long(void *ctx, struct window_place place)
{
    struct push *p = ctx;
    p->too_long++;
    tell_refused(p, place, STR("longer than 16 MiB: not sent"));
}

static void on_note(void *ctx, const char *sentence)
{
    struct push *p = ctx;
    if (p->quiet)
        return;
    clear_bar(p);
    fprintf(stderr, "tailrace push: %s\n", sentence);
}

static void show(struct push *p, uint64_t now_ms, bool last)
{
    const struct window *w = &p->pusher.window;
    const struct lines *l = &p->pusher.lines;
    const struct progress_facts facts = {
        .files = l->n,
        .files_done = w->n > 0 ? w->frames[w->first % WINDOW_FRAMES_MAX].file : l->at.file,
        .bytes = p->bytes,
        .bytes_done = last && w->n == 0 ? p->bytes : w->kept,
        .records_done = w->first,
        .endless = p->endless,
    };
    progress_show(&p->progress, now_ms, &facts, last);
}

static uint64_t on_turn(void *ctx, uint64_t now_ms)
{
    struct push *p = ctx;
    show(p, now_ms, false);
    return progress_due(&p->progress);
}

/* ---- the last word ---- */

static void tell_how_far(const struct push *p)
{
    const struct pusher *u = &p->pusher;
    const struct window *w = &u->window;
    fprintf(stderr, "tailrace push: %s; ", u->why.text);
    if (w->last.line == 0)
        fprintf(stderr, "no line is %s\n", u->ack ? "acknowledged" : "written");
    else
        fprintf(stderr, "%" PRIu64 " line%s %s, up to %s:%" PRIu64 "%s\n", w->first,
                w->first == 1 ? " is" : "s are", u->ack ? "acknowledged" : "written",
                lines_name(&u->lines, w->last.file), w->last.line,
                u->ack ? "" : "; whether they have arrived is not known");
}

static int tell_end(const struct push *p, enum pusher_end end)
{
    const struct pusher *u = &p->pusher;
    uint64_t refused = u->window.bad + p->too_long;
    if (end == PUSHER_NOMEM)
        fputs("tailrace push: out of memory\n", stderr);
    else if (end != PUSHER_DONE)
        tell_how_far(p);
    if (u->input_failed)
        fprintf(stderr, "tailrace push: %s\n", u->input_why.text);
    if (refused > 0)
        fprintf(stderr, "tailrace push: %" PRIu64 " of %" PRIu64 " lines refused%s\n", refused,
                u->window.first + u->window.n + p->too_long,
                p->untold > 0 ? ", not all of them named here" : "");
    switch (end) {
    case PUSHER_ON:
    case PUSHER_DONE:
        break;
    case PUSHER_GAVE_UP:
        return EX_TEMPFAIL;
    case PUSHER_SHUT_OUT:
        return EX_UNAVAILABLE;
    case PUSHER_NONSENSE:
        return EX_PROTOCOL;
    case PUSHER_NOMEM:
        return EX_OSERR;
    }
    return u->input_failed ? EX_NOINPUT : refused > 0 ? EX_DATAERR : 0;
}

/* ---- which socket ---- */

static bool is_meant(const struct push *p, const struct config_source *s)
{
    if (p->source != NULL)
        return strcmp(s->name, p->source) == 0;
    if (s->socket.path == NULL)
        return false;
    return p->socket_option != NULL ? strcmp(s->socket.path, p->socket_option) == 0
                                    : !s->socket.datagram;
}

static int tell_several(const struct push *p, const struct config *c)
{
    fprintf(stderr, "tailrace push: %s has several sources with a stream socket:\n",
            p->config_path);
    for (size_t i = 0; i < c->sources_n; i++)
        if (is_meant(p, &c->sources[i]))
            fprintf(stderr, "  --source %-20s %s\n", c->sources[i].name, c->sources[i].socket.path);
    return EX_USAGE;
}

static int tell_none(const struct push *p)
{
    if (p->source != NULL)
        fprintf(stderr, "tailrace push: %s has no source %s\n", p->config_path, p->source);
    else if (p->socket_option != NULL)
        fprintf(stderr, "tailrace push: %s has no source with the socket %s\n", p->config_path,
                p->socket_option);
    else
        fprintf(stderr, "tailrace push: %s has no source with a stream socket\n", p->config_path);
    return p->source != NULL || p->socket_option != NULL ? EX_USAGE : EX_CONFIG;
}

static int tell_unfit(const char *source, const char *why)
{
    fprintf(stderr, "tailrace push: source %s %s\n", source, why);
    return EX_USAGE;
}

static int take_source(struct push *p, const struct config_source *s)
{
    const struct config_socket *socket = &s->socket;
    if (socket->path == NULL)
        return tell_unfit(s->name, "follows files; it has no socket");
    if (socket->datagram)
        return tell_unfit(s->name, "takes datagrams, which push does not send: see logger(1), -u");
    if (p->pusher.ack && socket->ack == ACK_NONE)
        return tell_unfit(s->name, "does not acknowledge (ack: none), so there is no --ack");
    if (p->length32 && socket->framing != FRAMING_LENGTH32)
        return tell_unfit(s->name, "has framing: newline, so there is no --length32");
    p->length32 = socket->framing == FRAMING_LENGTH32;
    p->path = strdup(socket->path);
    return p->path != NULL ? 0 : EX_OSERR;
}

static int ask_config(struct push *p)
{
    if (p->config_path == NULL)
        p->config_path = TALK_CONFIG;
    struct talk talk = {.config_path = p->config_path};
    int code = talk_init(&talk);
    const struct config *c = talk.config;
    const struct config_source *found = NULL;
    size_t n = 0;
    for (size_t i = 0; code == 0 && i < c->sources_n; i++) {
        if (!is_meant(p, &c->sources[i]))
            continue;
        found = &c->sources[i];
        n++;
    }
    if (code == 0)
        code = n == 0 ? tell_none(p) : n > 1 ? tell_several(p, c) : take_source(p, found);
    talk_release(&talk);
    return code;
}

static int find_socket(struct push *p)
{
    if (p->socket_option == NULL || p->config_path != NULL)
        return ask_config(p);
    const char *here = strchr(p->socket_option, '/') != NULL ? "" : "./";
    return asprintf(&p->path, "%s%s", here, p->socket_option) >= 0 ? 0 : EX_OSERR;
}

/* ---- the work ---- */

static int look_at_files(struct push *p, char *const *paths, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        bool in = strcmp(paths[i], "-") == 0;
        if (in ? fstat(STDIN_FILENO, &st) != 0
               : stat(paths[i], &st) != 0 || access(paths[i], R_OK) != 0) {
            fprintf(stderr, "tailrace push: %s: %s\n", paths[i], strerror(errno));
            return EX_NOINPUT;
        }
        if (S_ISREG(st.st_mode))
            p->bytes += (uint64_t)st.st_size;
        else
            p->endless = true;
    }
    return 0;
}

static int run(struct push *p, char *const *paths, size_t n)
{
    static char dash[] = "-", *const standard_input[] = {dash};
    if (n == 0) {
        paths = standard_input;
        n = 1;
    }
    int code = n > FILES_MAX ? EX_USAGE : find_socket(p);
    if (code == 0)
        code = look_at_files(p, paths, n);
    if (code != 0)
        return code;
    struct pusher *u = &p->pusher;
    u->path = p->path;
    u->ops = (struct pusher_ops){.ctx = p, .bad = on_bad, .note = on_note, .turn = on_turn};
    bool ready = window_init(&u->window, p->length32);
    ready = lines_init(&u->lines, paths, (unsigned)n, on_too_long, p) && ready;
    progress_init(&p->progress, talk_now_ms());
    p->progress.on = p->progress.on && !p->quiet;
    enum pusher_end end = ready ? pusher_run(u) : PUSHER_NOMEM;
    show(p, talk_now_ms(), true);
    code = tell_end(p, end);
    lines_release(&u->lines);
    window_release(&u->window);
    return code;
}

/* ---- arguments ---- */

static int parse_timeout(const char *text, uint64_t *timeout_ms)
{
    static const struct schema_row row = {.type = OPTION_DURATION,
                                          .size = sizeof(uint64_t),
                                          .min = 1,
                                          .max = (uint64_t)30 * 24 * 3600 * 1000};
    struct err e;
    if (option_set(&row, timeout_ms, text, &e) == 0)
        return 0;
    fprintf(stderr, "tailrace push: --timeout: %s\n", e.text);
    return -1;
}

/* False: not an option, or not a good one. */
static bool take_option(struct push *p, int option)
{
    switch (option) {
    case 's':
        p->socket_option = optarg;
        return true;
    case 'c':
        p->config_path = optarg;
        return true;
    case 'n':
        p->source = optarg;
        return true;
    case 'a':
        p->pusher.ack = true;
        return true;
    case 'l':
        p->length32 = true;
        return true;
    case 'q':
        p->quiet = true;
        return true;
    case 't':
        return parse_timeout(optarg, &p->pusher.timeout_ms) == 0;
    default:
        return false;
    }
}

/* 0, -1 for wrong usage, 1 when help or version was asked for and given. */
static int parse(struct push *p, int argc, char **argv)
{
    static const struct option longs[] = {
        {"socket", required_argument, NULL, 's'}, {"config", required_argument, NULL, 'c'},
        {"source", required_argument, NULL, 'n'}, {"ack", no_argument, NULL, 'a'},
        {"length32", no_argument, NULL, 'l'},     {"timeout", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0},
    };
    for (int c; (c = getopt_long(argc, argv, "s:c:n:alt:qhV", longs, NULL)) != -1;) {
        if (c == 'h')
            return printf("%s%s", usage, help) > 0;
        if (c == 'V')
            return printf("tailrace %s\n", TAILRACE_VERSION) > 0;
        if (!take_option(p, c))
            return -1;
    }
    if (p->socket_option == NULL || p->source == NULL)
        return 0;
    fputs("tailrace push: --socket or --source, not both\n", stderr);
    return -1;
}

int cli_push(int argc, char **argv)
{
    static char name[] = "tailrace push"; /* getopt's complaints begin with it */
    static struct push p = {.pusher.timeout_ms = TIMEOUT_MS};
    argv[0] = name;
    int parsed = parse(&p, argc, argv);
    if (parsed < 0) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    int code = parsed == 0 ? run(&p, argv + optind, (size_t)(argc - optind)) : 0;
    free(p.path);
    return cli_finish(code);
}
