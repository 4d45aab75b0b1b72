/* rewind.c - `tailrace rewind SOURCE|FILE`: send data again, or skip it.
 *
 * The happy path: the positions in question are gathered, each file is opened and found to be the
 * one that its position speaks of, the new place is moved back to the beginning of the line it is
 * in, everything is said aloud and confirmed, and then done: by the daemon, or, when it does not
 * run, in the checkpoint, under the state directory's lock.
 *
 * How it fails: nothing is changed before everything has been looked at and confirmed. Without the
 * daemon all changes are one write of the checkpoint. With it, each file is a request of its own;
 * one that is refused is told and the others are done. Root writes in the state directory as its
 * owner: what it left there as root, the daemon could not read.
 */
#include "daemon/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "daemon/checkpoint.h"
#include "daemon/cli/known.h"
#include "daemon/statedir.h"

#define LINE_BYTES_MAX MIB /* no line is longer than max_record may be */

#define NOT_DONE  1
#define NOT_KNOWN 2

static const char usage[] =
    "usage: tailrace rewind [OPTION]... SOURCE|FILE [--to beginning|end|OFFSET]\n";

static const char help[] =
    "\n"
    "Sets the place from which a file, or every file of a source, is delivered: back, and the "
    "data\n"
    "from there on is sent again; or forward, and the data up to there is never sent. What has a\n"
    "slash in it is a file (./NAME for one in this directory).\n"
    "\n"
    "      --to PLACE      beginning (the default), end, or an offset in bytes (of a FILE)\n"
    "  -y, --yes           do not ask; needed without a terminal, and to skip data\n" TALK_HELP
    "      --help, --version\n"
    "\n"
    "A place inside a line is moved back to the line's beginning. tailraced may be running (it is\n"
    "asked over its control socket) or not (its checkpoint is changed).\n"
    "Exit codes: 0 done, 1 not done (all or a part; not confirmed), 2 no such source, or no "
    "source\n"
    "follows the file, 64 wrong usage, 66 a file, the configuration or the state directory cannot\n"
    "be read, 75 tailraced runs and has no control socket, 78 the configuration is not good.\n";

enum place { TO_BEGINNING, TO_END, TO_OFFSET };

/* One position that is to change. */
struct change {
    char *source, *path;
    struct position from;
    struct target target;
    uint64_t to;
    struct checkpoint_file *entry; /* in the checkpoint, when that is what is changed */
};

struct rewinding {
    struct talk talk;
    bool live, yes;
    const char *what; /* a source or a file */
    enum place place;
    uint64_t offset;
    struct change *all;
    size_t n;
    size_t passed_over; /* files that could not be looked at */
    bool nomem;
    struct statedir statedir;
    struct checkpoint checkpoint;
};

/* ---- gathering ---- */

static void add(struct rewinding *r, struct change c)
{
    struct change *all = realloc(r->all, (r->n + 1) * sizeof *all);
    if (all != NULL)
        r->all = all;
    if (all != NULL && c.source != NULL && c.path != NULL) {
        all[r->n++] = c;
        return;
    }
    r->nomem = true;
    free(c.source);
    free(c.path);
    if (c.target.path != NULL)
        target_close(&c.target);
}

static bool is_file_name(const struct rewinding *r)
{
    return strchr(r->what, '/') != NULL;
}

/* One file of the source, from the daemon's list; which file it is, is seen later. */
static void on_followed(void *ctx, const struct json_t *line)
{
    struct rewinding *r = ctx;
    if (strcmp(talk_text(line, "source"), r->what) != 0)
        return;
    add(r, (struct change){.source = strdup(r->what),
                           .path = talk_path(line),
                           .from = {.device = talk_number(line, "device"),
                                    .inode = talk_number(line, "inode"),
                                    .offset = talk_number(line, "delivered")}});
}

static struct checkpoint_file *find_entry(struct rewinding *r, const struct known *k)
{
    for (size_t i = 0; i < r->checkpoint.sources_n; i++) {
        struct checkpoint_source *s = &r->checkpoint.sources[i];
        for (size_t j = 0; strcmp(s->name, k->source) == 0 && j < s->files_n; j++)
            if (s->files[j].at.inode == k->at.inode && s->files[j].at.offset == k->at.offset &&
                strcmp(s->files[j].path, k->path) == 0)
                return &s->files[j];
    }
    return NULL;
}

/* Every position in the file that was named. */
static int gather_file(struct rewinding *r)
{
    struct target named;
    struct known_set set;
    struct err e;
    if (!target_open(&named, r->what))
        return EX_NOINPUT;
    int rc = known_ask(&r->talk, &named, &set, &e);
    target_close(&named);
    if (rc != 0) {
        fprintf(stderr, "tailrace: %s\n", e.text);
        return EX_NOINPUT;
    }
    for (size_t i = 0; i < set.n && set.live == r->live; i++) {
        const struct known *k = &set.all[i];
        struct checkpoint_file *entry = r->live ? NULL : find_entry(r, k);
        if (r->live ? !k->followed : entry == NULL)
            continue;
        add(r, (struct change){.source = strdup(k->source),
                               .path = strdup(r->what),
                               .from = k->at,
                               .entry = entry});
    }
    known_release(&set);
    return 0;
}

static int gather_source(struct rewinding *r)
{
    if (r->live) {
        struct err e;
        int rc = talk_ask(&r->talk, "{\"do\":\"sources\"}", on_followed, r, &e);
        if (rc != 0)
            fprintf(stderr, "tailrace: %s\n", e.text);
        return rc == 0 ? 0 : NOT_DONE;
    }
    for (size_t i = 0; i < r->checkpoint.sources_n; i++) {
        struct checkpoint_source *s = &r->checkpoint.sources[i];
        for (size_t k = 0; strcmp(s->name, r->what) == 0 && k < s->files_n; k++)
            add(r, (struct change){.source = strdup(s->name),
                                   .path = strdup(s->files[k].path),
                                   .from = s->files[k].at,
                                   .entry = &s->files[k]});
    }
    return 0;
}

/* ---- looking ---- */

/* The beginning of the line that the offset is in. A carriage return ends a line only where there
 * is no line feed at all; in UTF-16 (little endian) a line feed has a zero byte behind it. */
static uint64_t line_begin(const struct target *t, uint64_t offset)
{
    size_t n = (size_t)min_u64(offset, LINE_BYTES_MAX);
    char *bytes = malloc(n + 1);
    uint64_t begin = offset;
    if (bytes != NULL && n > 0 && pread(t->fd, bytes, n, (off_t)(offset - n)) == (ssize_t)n) {
        const char *end = memrchr(bytes, '\n', n);
        if (end == NULL)
            end = memrchr(bytes, '\r', n);
        if (end != NULL)
            begin = offset - n + (size_t)(end - bytes) + 1;
        else if (n == offset)
            begin = 0;
        if (end != NULL && begin % 2 == 1 && begin < offset && end[1] == '\0')
            begin++;
    }
    free(bytes);
    return begin;
}

/* Opens the file and finds its new place. False: not this one. */
static bool look_at(struct rewinding *r, struct change *c)
{
    struct target t;
    if (!target_open(&t, c->path))
        return false;
    bool ours = r->live ? t.inode == c->from.inode && t.device == c->from.device
                        : known_is(t.fd, t.inode, &c->from);
    if (!ours) {
        fprintf(stderr, "tailrace: %s: another file is there now\n", c->path);
        target_close(&t);
        return false;
    }
    c->target = t;
    c->to = r->place == TO_BEGINNING ? 0 : r->place == TO_END ? t.size : r->offset;
    return true;
}

/* Each change that can be made has its file open afterwards, the others are gone. */
static int look_at_all(struct rewinding *r)
{
    size_t kept = 0;
    int code = 0;
    for (size_t i = 0; i < r->n; i++) {
        struct change *c = &r->all[i];
        if (!look_at(r, c)) {
            free(c->source);
            free(c->path);
            r->passed_over++;
            continue;
        }
        if (c->to > c->target.size) {
            fprintf(stderr, "tailrace: %s has %" PRIu64 " bytes: the offset is 0 to %" PRIu64 "\n",
                    c->path, c->target.size, c->target.size);
            code = EX_USAGE;
        } else {
            c->to = line_begin(&c->target, c->to);
        }
        r->all[kept++] = *c;
    }
    r->n = kept;
    return code;
}

/* ---- asking ---- */

static bool is_forward(const struct change *c)
{
    return c->to > c->from.offset;
}

static void tell(const struct change *c)
{
    uint64_t from = c->from.offset;
    printf("%s (source %s): ", c->path, c->source);
    if (c->to == from)
        printf("is at %" PRIu64 " already\n", from);
    else if (is_forward(c))
        printf("from %" PRIu64 " on to %" PRIu64 ": %" PRIu64
               " bytes are SKIPPED, they will never be sent\n",
               from, c->to, c->to - from);
    else
        printf("from %" PRIu64 " back to %" PRIu64 ": %" PRIu64 " bytes will be sent again\n", from,
               c->to, from - c->to);
}

static bool confirm(const struct rewinding *r)
{
    bool forward = false, change = false;
    for (size_t i = 0; i < r->n; i++) {
        tell(&r->all[i]);
        forward |= is_forward(&r->all[i]);
        change |= r->all[i].to != r->all[i].from.offset;
    }
    fflush(stdout);
    if (r->yes || !change)
        return true;
    if (forward || !isatty(STDIN_FILENO)) {
        fprintf(stderr, "tailrace: nothing is done: %s needs --yes\n",
                forward ? "skipping data" : "without a terminal, this");
        return false;
    }
    char line[16] = "";
    fprintf(stderr, "Do it? [y/N] ");
    bool yes = fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
    if (!yes)
        fprintf(stderr, "tailrace: nothing is done\n");
    return yes;
}

/* ---- doing: with the daemon ---- */

static void on_done(void *ctx, const struct json_t *line)
{
    struct change *c = ctx;
    c->to = talk_number(line, "offset");
}

static int do_live(struct rewinding *r)
{
    int code = 0;
    for (size_t i = 0; i < r->n; i++) {
        struct change *c = &r->all[i];
        char request[512];
        struct err e;
        if (c->to == c->from.offset)
            continue;
        snprintf(request, sizeof request,
                 "{\"do\":\"rewind\",\"source\":\"%.*s\",\"device\":\"%" PRIu64
                 "\",\"inode\":\"%" PRIu64 "\",\"offset\":%" PRIu64 "}",
                 CONFIG_NAME_MAX, c->source, c->target.device, c->target.inode, c->to);
        int rc = r->talk.fd >= 0 ? talk_ask(&r->talk, request, on_done, c, &e)
                                 : err_set(&e, ERR_MISSING, "tailraced has gone away");
        if (rc != 0) {
            fprintf(stderr, "tailrace: %s: %s\n", c->path, e.text);
            code = NOT_DONE;
        }
    }
    return code;
}

/* ---- doing: in the checkpoint ---- */

static bool take_fingerprint(const struct change *c, uint64_t end, size_t n, struct fingerprint *f)
{
    char bytes[FINGERPRINT_MAX];
    if (n > 0 && pread(c->target.fd, bytes, n, (off_t)(end - n)) != (ssize_t)n)
        return false;
    *f = fingerprint_of(bytes, n);
    return true;
}

static bool change_entry(const struct change *c)
{
    struct position at = {.device = c->target.device, .inode = c->target.inode, .offset = c->to};
    size_t n = (size_t)min_u64(c->to, FINGERPRINT_MAX);
    size_t head_n = n > c->from.head.n ? n : c->from.head.n;
    if (!take_fingerprint(c, c->to, n, &at.tail) || !take_fingerprint(c, head_n, head_n, &at.head))
        return false;
    c->entry->at = at;
    c->entry->size = c->target.size;
    c->entry->seen_s = (uint64_t)time(NULL);
    return true;
}

/* In the state directory, root is its owner; back_to_root ends that. */
static void become_owner(const struct rewinding *r)
{
    struct stat st;
    if (geteuid() == 0 && stat(r->talk.state_dir, &st) == 0 && st.st_uid != 0 &&
        (setegid(st.st_gid) != 0 || seteuid(st.st_uid) != 0))
        perror("tailrace: cannot become the owner of the state directory");
}

static void back_to_root(void)
{
    if (getuid() == 0 && (seteuid(0) != 0 || setegid(getgid()) != 0))
        perror("tailrace");
}

static int do_in_checkpoint(struct rewinding *r)
{
    struct err e;
    for (size_t i = 0; i < r->n; i++) {
        if (r->all[i].to == r->all[i].from.offset || change_entry(&r->all[i]))
            continue;
        fprintf(stderr, "tailrace: %s cannot be read; nothing is done\n", r->all[i].path);
        return EX_NOINPUT;
    }
    become_owner(r);
    int rc = checkpoint_write(r->statedir.dir_fd, &r->checkpoint, &e);
    back_to_root();
    if (rc != 0)
        fprintf(stderr, "tailrace: %s\n", e.text);
    return rc == 0 ? 0 : NOT_DONE;
}

/* ---- the command ---- */

/* The daemon, or else the lock and the checkpoint. */
static int open_state(struct rewinding *r)
{
    struct err why, e;
    int connected = talk_connect(&r->talk, &why);
    r->live = connected == 0;
    if (r->live)
        return 0;
    become_owner(r);
    int rc = statedir_open(&r->statedir, r->talk.state_dir, &e);
    back_to_root();
    if (rc == 0)
        rc = talk_checkpoint(&r->talk, &r->checkpoint, &e);
    if (rc == 0)
        return 0;
    fprintf(stderr, "tailrace: %s\n", e.text);
    if (rc == ERR_BUSY)
        fprintf(stderr, "tailrace: and it cannot be asked: %s\n", why.text);
    return rc == ERR_BUSY ? EX_TEMPFAIL : EX_NOINPUT;
}

static int run(struct rewinding *r)
{
    int code = talk_init(&r->talk);
    if (code == 0)
        code = open_state(r);
    if (code == 0)
        code = is_file_name(r) ? gather_file(r) : gather_source(r);
    if (code == 0 && r->n == 0 && !r->nomem) {
        fprintf(stderr, "tailrace: %s: %s\n", r->what,
                is_file_name(r) ? "no source follows it" : "no such source, or it has no files");
        code = NOT_KNOWN;
    }
    if (code == 0 && r->nomem)
        code = EX_OSERR;
    if (code == 0)
        code = look_at_all(r);
    if (code != 0)
        return code;
    if (r->n == 0 || !confirm(r))
        return NOT_DONE;
    code = r->live ? do_live(r) : do_in_checkpoint(r);
    return code == 0 && r->passed_over > 0 && is_file_name(r) ? NOT_DONE : code;
}

static void release(struct rewinding *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->all[i].source);
        free(r->all[i].path);
        if (r->all[i].target.path != NULL)
            target_close(&r->all[i].target);
    }
    free(r->all);
    checkpoint_release(&r->checkpoint);
    statedir_close(&r->statedir);
    talk_release(&r->talk);
}

/* ---- arguments ---- */

static int parse_place(struct rewinding *r, const char *text)
{
    char *end;
    if (strcmp(text, "beginning") == 0 || strcmp(text, "end") == 0) {
        r->place = text[0] == 'b' ? TO_BEGINNING : TO_END;
        return 0;
    }
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n > INT64_MAX) {
        fprintf(stderr, "tailrace rewind: --to %s: expected beginning, end or an offset\n", text);
        return -1;
    }
    r->place = TO_OFFSET;
    r->offset = n;
    return 0;
}

/* 0, -1 for wrong usage, 1 when help or version was asked for and given. */
static int parse(struct rewinding *r, int argc, char **argv)
{
    static const struct option longs[] = {
        {"to", required_argument, NULL, 't'}, {"yes", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, 'h'},     TALK_OPTIONS,
        {"version", no_argument, NULL, 'V'},  {0},
    };
    for (int c; (c = getopt_long(argc, argv, "yc:hV", longs, NULL)) != -1;) {
        if (c == 'y')
            r->yes = true;
        else if (c == 'h')
            return printf("%s%s", usage, help) > 0;
        else if (c == 'V')
            return printf("tailrace %s\n", TAILRACE_VERSION) > 0;
        else if (c == 't' && parse_place(r, optarg) != 0)
            return -1;
        else if (c != 't' && !talk_option(&r->talk, c, optarg))
            return -1;
    }
    if (argc - optind != 1)
        return -1;
    r->what = argv[optind];
    if (r->place != TO_OFFSET || is_file_name(r))
        return 0;
    fputs("tailrace rewind: an offset goes with a FILE (./NAME for one in this directory)\n",
          stderr);
    return -1;
}

int cli_rewind(int argc, char **argv)
{
    static char name[] = "tailrace rewind"; /* getopt's complaints begin with it */
    struct rewinding r = {.statedir = {-1, -1}};
    argv[0] = name;
    int parsed = parse(&r, argc, argv);
    if (parsed < 0) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    int code = 0;
    if (parsed == 0) {
        code = run(&r);
        release(&r);
    }
    return cli_finish(code);
}
