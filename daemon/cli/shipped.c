/* shipped.c - `tailrace shipped FILE...`: is every record of these files settled?
 *
 * The happy path: each file is opened, the daemon (or the checkpoint) is asked for its positions,
 * and a file is shipped when every source that knows it is delivered up to the file's size and the
 * checkpoint says so too: then nobody will want to read it again, whatever happens. With --wait
 * the question is asked again until the answer is yes, or time is up.
 *
 * How it fails: no is an answer (1), "nobody follows it" another (2); a file that cannot be opened
 * is 66. Of several files the worst counts. The size is looked at after the positions were: what is
 * appended in between makes a no out of a yes, never the other way round.
 */
#include "daemon/cli/cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/cli/known.h"
#include "daemon/cli/letters.h"
#include "lib/schema.h"

#define PACE_FIRST_MS  50
#define PACE_MS        500
#define UNKNOWN_MS     5000 /* with --wait: a new file is found by then */
#define LINE_BYTES_MAX (1 * MIB)

#define NOT_YET   1
#define NOT_KNOWN 2

static const char usage[] = "usage: tailrace shipped [OPTION]... FILE...\n";

static const char help[] =
    "\n"
    "Tells whether every record of each file has been accepted by the service. Dead letters and\n"
    "lines dropped by on_no_match count as settled, and are printed.\n"
    "\n"
    "  -w, --wait          until all are shipped\n"
    "  -t, --timeout TIME  with --wait: give up after so long, such as 5m\n"
    "  -q, --quiet         only the exit code, and what keeps it from being answered\n" TALK_HELP
    "      --help, --version\n"
    "\n"
    "A file is known by its inode and its content, so it may have been renamed. When tailraced "
    "does\n"
    "not run, the last checkpoint answers. A last line without a line end is not shipped.\n"
    "Exit codes: 0 all are shipped, 1 not yet, 2 a file that no source follows, 64 wrong usage,\n"
    "66 a file, the configuration or the state directory cannot be read, 78 the configuration is\n"
    "not good.\n";

struct shipped {
    struct talk talk;
    bool wait, quiet;
    uint64_t timeout_ms; /* 0: none */
    struct target *targets;
    size_t targets_n;
};

/* ---- one file ---- */

static void tell_letter(void *ctx, uint64_t offset, uint64_t size, const char *reason)
{
    (void)ctx;
    printf("  dead letter: offset %" PRIu64 ", %" PRIu64 " bytes: %s\n", offset, size, reason);
}

static void tell_shipped(const struct shipped *s, const struct target *t,
                         const struct known_set *set)
{
    printf("%s: shipped, %" PRIu64 " bytes\n", t->path, t->size);
    for (size_t i = 0; i < set->n; i++) {
        const char *source = set->all[i].source;
        if (set->all[i].dropped > 0)
            printf("  %" PRIu64 " lines dropped by on_no_match of source %s, since tailraced has "
                   "followed it\n",
                   set->all[i].dropped, source);
        size_t n = letters_tell(s->talk.state_dir, source, t->inode, tell_letter, NULL);
        if (n > LETTERS_TOLD_MAX)
            printf("  and %zu more dead letters\n", n - LETTERS_TOLD_MAX);
        if (n > 0)
            printf("  %zu dead letter%s of source %s: %s/dead-letter/%s.jsonl\n", n,
                   n == 1 ? "" : "s", source, s->talk.state_dir, source);
    }
}

/* Whether what is left is one line without its end. */
static bool is_unfinished(const struct target *t, uint64_t offset)
{
    char bytes[16 * KIB];
    uint64_t left = t->size - offset;
    if (left > LINE_BYTES_MAX)
        return false;
    for (uint64_t at = offset; at < t->size;) {
        size_t want = (size_t)min_u64(sizeof bytes, t->size - at);
        ssize_t n = pread(t->fd, bytes, want, (off_t)at);
        if (n <= 0 || memchr(bytes, '\n', (size_t)n) != NULL)
            return false;
        at += (uint64_t)n;
    }
    return true;
}

static void tell_not_yet(const struct target *t, const struct known *k, bool live)
{
    uint64_t size = t->size, at = k->at.offset;
    printf("%s: not shipped: source %s: ", t->path, k->source);
    if (at > size) {
        printf("it is shorter than what was delivered of it, %" PRIu64 " bytes\n", at);
        return;
    }
    printf("%" PRIu64 " of %" PRIu64 " bytes are delivered", at, size);
    if (at == size)
        printf(", and not in a checkpoint yet");
    else if (is_unfinished(t, at))
        printf("; the last line has no line end");
    else if (live && k->in_ring > 0)
        printf("; %" PRIu64 " record%s on the way", k->in_ring, k->in_ring == 1 ? "" : "s");
    else if (live && !k->followed)
        printf("; it is not followed any more");
    printf("%s\n", live ? "" : " (tailraced is not running)");
}

/* 0, NOT_YET, NOT_KNOWN or an exit code; `tell` only when it is the last word. */
static int look_at(struct shipped *s, struct target *t, bool tell)
{
    struct known_set set;
    struct err e;
    if (known_ask(&s->talk, t, &set, &e) != 0) {
        fprintf(stderr, "tailrace: %s\n", e.text);
        return EX_NOINPUT;
    }
    int code = set.n == 0 || !target_refresh(t) ? NOT_KNOWN : 0;
    for (size_t i = 0; i < set.n; i++) {
        const struct known *k = &set.all[i];
        if (k->at.offset == t->size && k->saved)
            continue;
        code = NOT_YET;
        if (tell)
            tell_not_yet(t, k, set.live);
    }
    if (tell && code == NOT_KNOWN)
        printf("%s: no source follows it%s\n", t->path,
               set.live ? "" : ", as far as the checkpoint says (tailraced is not running)");
    if (tell && code == 0)
        tell_shipped(s, t, &set);
    known_release(&set);
    return code;
}

/* ---- all files ---- */

static int look_at_all(struct shipped *s, bool tell)
{
    int worst = 0;
    known_forget(&s->talk);
    for (size_t i = 0; i < s->targets_n; i++) {
        int code = look_at(s, &s->targets[i], tell);
        worst = code > worst ? code : worst;
    }
    return worst;
}

/* Until all are shipped, time is up, or something is wrong that waiting does not mend. */
static void wait_for_all(struct shipped *s)
{
    uint64_t begun_ms = talk_now_ms(), pace_ms = PACE_FIRST_MS;
    for (;;) {
        int code = look_at_all(s, false);
        uint64_t past_ms = talk_now_ms() - begun_ms;
        bool hope = code == NOT_YET || (code == NOT_KNOWN && past_ms < UNKNOWN_MS);
        if (!hope || (s->timeout_ms > 0 && past_ms >= s->timeout_ms))
            return;
        uint64_t left_ms = s->timeout_ms > 0 ? s->timeout_ms - past_ms : UINT64_MAX;
        talk_sleep(min_u64(pace_ms, left_ms));
        pace_ms = min_u64(pace_ms * 2, PACE_MS);
    }
}

static int run(struct shipped *s, char **paths, size_t n)
{
    int code = talk_init(&s->talk);
    if (code != 0)
        return code;
    s->targets = calloc(n, sizeof *s->targets);
    if (s->targets == NULL)
        return EX_OSERR;
    for (size_t i = 0; i < n; i++) {
        if (target_open(&s->targets[s->targets_n], paths[i]))
            s->targets_n++;
        else
            code = EX_NOINPUT;
    }
    if (s->wait && code == 0)
        wait_for_all(s);
    int answer = look_at_all(s, !s->quiet);
    return answer > code ? answer : code;
}

static void release(struct shipped *s)
{
    for (size_t i = 0; i < s->targets_n; i++)
        target_close(&s->targets[i]);
    free(s->targets);
    talk_release(&s->talk);
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
    fprintf(stderr, "tailrace shipped: --timeout: %s\n", e.text);
    return -1;
}

/* 0, -1 for wrong usage, 1 when help or version was asked for and given. */
static int parse(struct shipped *s, int argc, char **argv)
{
    static const struct option longs[] = {
        {"wait", no_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 't'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        TALK_OPTIONS,
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "wt:qc:hV", longs, NULL)) != -1;) {
        if (c == 'w')
            s->wait = true;
        else if (c == 'q')
            s->quiet = true;
        else if (c == 'h')
            return printf("%s%s", usage, help) > 0;
        else if (c == 'V')
            return printf("tailrace %s\n", TAILRACE_VERSION) > 0;
        else if (c == '?' || (c == 't' && parse_timeout(optarg, &s->timeout_ms) != 0))
            return -1;
        else if (c != 't')
            talk_option(&s->talk, c, optarg);
    }
    if (optind < argc && (s->timeout_ms == 0 || s->wait))
        return 0;
    if (optind < argc)
        fputs("tailrace shipped: --timeout goes with --wait\n", stderr);
    return -1;
}

int cli_shipped(int argc, char **argv)
{
    static char name[] = "tailrace shipped"; /* getopt's complaints begin with it */
    struct shipped s = {0};
    argv[0] = name;
    int parsed = parse(&s, argc, argv);
    if (parsed < 0) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    int code = 0;
    if (parsed == 0) {
        code = run(&s, argv + optind, (size_t)(argc - optind));
        release(&s);
    }
    return cli_finish(code);
}
