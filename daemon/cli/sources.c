/* sources.c - `tailrace sources`: every followed file, and how far it is.
 *
 * The rows come from the daemon, or, when it does not run, from the checkpoint and a look at the
 * files; then a table with totals, or JSON lines, is made of them. From the checkpoint, what is
 * gone and was delivered is left out, and the time behind is the time since the position last
 * moved: nobody has seen when the bytes came.
 */
#include "daemon/cli/cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>

#include "daemon/cli/talk.h"
#include "lib/json.h"

#define FIGURES_N      5
#define CELL_BYTES_MAX 32

static const char usage[] = "usage: tailrace sources [OPTION]...\n";

static const char help[] =
    "\n"
    "Lists each followed file and each socket: source, path, state, size, bytes read and\n"
    "delivered, and how far delivery is behind, in bytes and in time (the age of the oldest byte\n"
    "not delivered).\n"
    "\n"
    "      --json          a JSON object a line\n" TALK_HELP "      --help, --version\n"
    "\n"
    "States: following; rotated (its name is gone, it is read to its end); paused (the stream's\n"
    "memory is full); waiting (for room in the dead letters); done (--once). When tailraced does\n"
    "not run, from the checkpoint: stopped, or gone (not at its path any more).\n"
    "A socket's bytes are those of its stream's spool; it is listening, full (its clients wait)\n"
    "or failed (the spool's disk).\n"
    "Exit codes: 0 listed, 64 wrong usage, 66 the configuration or the state directory cannot be\n"
    "read, 78 the configuration is not good.\n";

struct row {
    char *source, *path, *state;
    uint64_t size, read, delivered, behind_ms;
    size_t files; /* a total; 0: a file */
};

struct listing {
    struct talk talk;
    bool json, live, failed;
    struct row *rows;
    size_t n, cap;
    struct buf streams; /* the daemon's lines on streams, as they came */
    uint64_t missing_bytes, missing_files;
};

/* ---- rows ---- */

static uint64_t behind(const struct row *r)
{
    return r->size > r->delivered ? r->size - r->delivered : 0;
}

static void row_free(struct row *r)
{
    free(r->source);
    free(r->path);
    free(r->state);
}

/* Takes over the row. */
static void add(struct listing *l, struct row r)
{
    bool whole = r.source != NULL && r.path != NULL && r.state != NULL;
    if (whole && l->n == l->cap) {
        size_t cap = l->cap > 0 ? 2 * l->cap : 64;
        struct row *rows = realloc(l->rows, cap * sizeof *rows);
        whole = rows != NULL;
        if (whole) {
            l->rows = rows;
            l->cap = cap;
        }
    }
    if (whole)
        l->rows[l->n++] = r;
    else
        row_free(&r);
    l->failed |= !whole;
}

static void take_stream(struct listing *l, const struct json_t *line)
{
    char *text = talk_dump(line);
    if (text != NULL)
        buf_printf(&l->streams, "%s\n", text);
    free(text);
    l->missing_bytes += talk_number(line, "missing_bytes");
    l->missing_files += talk_number(line, "missing_files");
}

static void on_line(void *ctx, const struct json_t *line)
{
    struct listing *l = ctx;
    if (!talk_has(line, "source")) {
        take_stream(l, line);
        return;
    }
    struct row r = {.source = strdup(talk_text(line, "source")),
                    .path = talk_path(line),
                    .state = strdup(talk_text(line, "state")),
                    .size = talk_number(line, "size"),
                    .read = talk_number(line, "read"),
                    .delivered = talk_number(line, "delivered")};
    r.behind_ms = behind(&r) > 0 ? talk_number(line, "behind_ms") : 0;
    add(l, r);
}

static void add_checkpointed(struct listing *l, const char *source, const struct checkpoint_file *f)
{
    struct stat st;
    bool there = stat(f->path, &st) == 0 && st.st_ino == f->at.inode;
    struct row r = {.size = there ? (uint64_t)st.st_size : f->size,
                    .read = f->at.offset,
                    .delivered = f->at.offset};
    if (!there && behind(&r) == 0)
        return;
    uint64_t now_s = (uint64_t)time(NULL);
    r.source = strdup(source);
    r.path = strdup(f->path);
    r.state = strdup(there ? "stopped" : "gone");
    r.behind_ms = behind(&r) > 0 && now_s > f->seen_s ? (now_s - f->seen_s) * 1000 : 0;
    add(l, r);
}

static bool is_configured(const struct talk *talk, const char *source)
{
    if (talk->config == NULL)
        return true;
    for (size_t i = 0; i < talk->config->sources_n; i++)
        if (strcmp(talk->config->sources[i].name, source) == 0)
            return true;
    return false;
}

static int from_checkpoint(struct listing *l, struct err *e)
{
    struct checkpoint c;
    int rc = talk_checkpoint(&l->talk, &c, e);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < c.sources_n; i++)
        for (size_t k = 0; k < c.sources[i].files_n && is_configured(&l->talk, c.sources[i].name);
             k++)
            add_checkpointed(l, c.sources[i].name, &c.sources[i].files[k]);
    checkpoint_release(&c);
    return 0;
}

static void forget(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        row_free(&l->rows[i]);
    l->n = 0;
    buf_reset(&l->streams);
}

static int gather(struct listing *l, struct err *e)
{
    int rc = talk_connect(&l->talk, e);
    if (rc == 0)
        rc = talk_ask(&l->talk, "{\"do\":\"sources\"}", on_line, l, e);
    l->live = rc == 0;
    if (rc != 0) {
        forget(l);
        rc = from_checkpoint(l, e);
    }
    if (rc == 0 && (l->failed || l->streams.failed))
        rc = err_set(e, ERR_NOMEM, "memory ran out");
    return rc;
}

static int by_source(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = strcmp(x->source, y->source);
    return order != 0 ? order : strcmp(x->path, y->path);
}

/* Behind the rows of the files, one for each source; the rows are in order. */
static void add_totals(struct listing *l)
{
    size_t files_n = l->n;
    for (size_t i = 0; i < files_n; i++) {
        const struct row r = l->rows[i];
        if (i == 0 || strcmp(l->rows[i - 1].source, r.source) != 0)
            add(l, (struct row){
                       .source = strdup(r.source), .path = strdup("total"), .state = strdup("")});
        struct row *total = &l->rows[l->n - 1];
        if (l->failed)
            return;
        total->files++;
        total->size += r.size;
        total->read += r.read;
        total->delivered += r.delivered < r.size ? r.delivered : r.size;
        total->behind_ms = r.behind_ms > total->behind_ms ? r.behind_ms : total->behind_ms;
    }
}

/* ---- as JSON ---- */

static void put_json_row(struct buf *b, const struct row *r)
{
    buf_puts(b, r->files > 0 ? "{\"total\":" : "{\"source\":");
    json_put_string(b, str_of(r->source));
    if (r->files > 0) {
        buf_printf(b, ",\"files\":%zu", r->files);
    } else {
        buf_puts(b, ",\"path\":");
        json_put_string(b, str_of(r->path));
        buf_puts(b, ",\"state\":");
        json_put_string(b, str_of(r->state));
    }
    buf_printf(b,
               ",\"size\":%" PRIu64 ",\"read\":%" PRIu64 ",\"delivered\":%" PRIu64
               ",\"behind\":%" PRIu64 ",\"behind_ms\":%" PRIu64 "}\n",
               r->size, r->read, r->delivered, behind(r), r->behind_ms);
}

static void print_json(struct listing *l)
{
    struct buf line;
    buf_init(&line, MIB);
    for (size_t i = 0; i < l->n; i++) {
        buf_reset(&line);
        put_json_row(&line, &l->rows[i]);
        fwrite(line.p, 1, line.n, stdout);
    }
    buf_release(&line);
    if (l->streams.n > 0)
        fwrite(l->streams.p, 1, l->streams.n, stdout);
}

/* ---- as a table ---- */

static void format_time(char to[CELL_BYTES_MAX], uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (ms == 0)
        snprintf(to, CELL_BYTES_MAX, "-");
    else if (ms < 10000)
        snprintf(to, CELL_BYTES_MAX, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
    else if (s < 60)
        snprintf(to, CELL_BYTES_MAX, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(to, CELL_BYTES_MAX, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
    else
        snprintf(to, CELL_BYTES_MAX, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
}

static void format_figures(char to[FIGURES_N][CELL_BYTES_MAX], const struct row *r)
{
    const uint64_t figures[] = {r->size, r->read, r->delivered, behind(r)};
    for (size_t i = 0; i < ARRAY_LEN(figures); i++)
        snprintf(to[i], CELL_BYTES_MAX, "%" PRIu64, figures[i]);
    format_time(to[FIGURES_N - 1], r->behind_ms);
}

/* A file's name may hold what a terminal obeys. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

static int widest(int width, const char *text)
{
    return (int)strlen(text) > width ? (int)strlen(text) : width;
}

struct widths {
    int source, path, state, figures[FIGURES_N];
};

static const struct row titles = {
    .source = (char[]){"SOURCE"}, .path = (char[]){"PATH"}, .state = (char[]){"STATE"}};
static const char *const figure_titles[FIGURES_N] = {"SIZE", "READ", "DELIVERED", "BEHIND", "TIME"};

static void print_line(const struct widths *w, const struct row *r, const char *const *figures)
{
    printf("%-*s  %-*s  %-*s", w->source, r->source, w->path, r->path, w->state, r->state);
    for (size_t i = 0; i < FIGURES_N; i++)
        printf("  %*s", w->figures[i], figures[i]);
    putchar('\n');
}

static struct widths measure(const struct listing *l)
{
    struct widths w = {.source = 6, .path = 4, .state = 5};
    for (size_t i = 0; i < FIGURES_N; i++)
        w.figures[i] = (int)strlen(figure_titles[i]);
    for (size_t i = 0; i < l->n; i++) {
        const struct row *r = &l->rows[i];
        char figures[FIGURES_N][CELL_BYTES_MAX];
        format_figures(figures, r);
        w.source = widest(w.source, r->source);
        w.path = widest(w.path, r->path);
        w.state = widest(w.state, r->state);
        for (size_t k = 0; k < FIGURES_N; k++)
            w.figures[k] = widest(w.figures[k], figures[k]);
    }
    return w;
}

static void print_table(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        make_printable(l->rows[i].source);
        make_printable(l->rows[i].path);
        make_printable(l->rows[i].state);
    }
    const struct widths w = measure(l);
    print_line(&w, &titles, figure_titles);
    for (size_t i = 0; i < l->n; i++) {
        char figures[FIGURES_N][CELL_BYTES_MAX];
        format_figures(figures, &l->rows[i]);
        print_line(
            &w, &l->rows[i],
            (const char *const[]){figures[0], figures[1], figures[2], figures[3], figures[4]});
    }
    if (l->missing_bytes > 0 || l->missing_files > 0)
        printf("missing: %" PRIu64 " bytes, %" PRIu64 " files could not be read before they were "
               "gone, since tailraced was started\n",
               l->missing_bytes, l->missing_files);
    if (!l->live)
        printf("tailraced is not running: this is from the checkpoint\n");
}

/* ---- the command ---- */

static int run(struct listing *l)
{
    struct err e;
    int code = talk_init(&l->talk);
    if (code != 0)
        return code;
    buf_init(&l->streams, MIB);
    if (gather(l, &e) != 0) {
        fprintf(stderr, "tailrace: %s\n", e.text);
        return EX_NOINPUT;
    }
    if (l->n > 0)
        qsort(l->rows, l->n, sizeof *l->rows, by_source);
    add_totals(l);
    if (l->json)
        print_json(l);
    else
        print_table(l);
    return l->failed ? EX_OSERR : 0;
}

static void release(struct listing *l)
{
    forget(l);
    free(l->rows);
    buf_release(&l->streams);
    talk_release(&l->talk);
}

/* 0, -1 for wrong usage, 1 when help or version was asked for and given. */
static int parse(struct listing *l, int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        TALK_OPTIONS,
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "c:hV", longs, NULL)) != -1;) {
        if (c == 'j')
            l->json = true;
        else if (c == 'h')
            return printf("%s%s", usage, help) > 0;
        else if (c == 'V')
            return printf("tailrace %s\n", TAILRACE_VERSION) > 0;
        else if (!talk_option(&l->talk, c, optarg))
            return -1;
    }
    return optind == argc ? 0 : -1;
}

int cli_sources(int argc, char **argv)
{
    static char name[] = "tailrace sources"; /* getopt's complaints begin with it */
    struct listing l = {0};
    argv[0] = name;
    int parsed = parse(&l, argc, argv);
    if (parsed < 0) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    int code = 0;
    if (parsed == 0) {
        code = run(&l);
        release(&l);
    }
    return cli_finish(code);
}
