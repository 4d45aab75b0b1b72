/* spool.c - `tailrace spool check|dump|repair FILE`: what is in a spool, while nobody uses it.
 *
 * The happy path: the file is locked, its newer state says where delivery had got to, and the
 * records from there on are counted, or printed, or copied into a new spool.
 *
 * How it fails: what is damaged is passed over and told, as the daemon would do it; pages that
 * cannot be read count as damaged. repair changes nothing before it is confirmed; the new spool is
 * made beside the old one, is whole and on the disk before it gets the name, and the old one stays
 * under another. Only a spool whose header and its copy are both gone, or of a newer version, is
 * left to a person. */
#include "daemon/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "daemon/spoolfile.h"
#include "daemon/transfer.h"
#include "lib/base64.h"
#include "lib/client.h"
#include "lib/json.h"

#define BAD          1 /* damaged; or not done */
#define NEW_SUFFIX   ".new"
#define OLD_SUFFIX   ".damaged"
#define COPY_BYTES   (1 * MIB)
#define LINE_MAX_ALL (64 * MIB)

static const char usage[] = "usage: tailrace spool check FILE\n"
                            "       tailrace spool dump [--json] FILE\n"
                            "       tailrace spool repair [--yes] FILE\n";

static const char help[] =
    "\n"
    "Looks into the spool of a stream (STATE_DIR/spool/STREAM.spool) while tailraced does not use\n"
    "it: the log of records that came through sockets.\n"
    "\n"
    "  check    tells what waits in it to be delivered, and what is damaged\n"
    "  dump     prints the records that wait, a line each; what is damaged is told on stderr\n"
    "  repair   makes a spool of the good records that wait; the old one is kept as FILE.damaged\n"
    "\n"
    "      --json          dump: an object a line, with position, kind, key, and data as base64\n"
    "  -y, --yes           repair: do not ask; needed without a terminal\n"
    "      --help, --version\n"
    "\n"
    "Exit codes: 0 all is good, or repaired; 1 it is damaged, or not repaired; 64 wrong usage, 66 "
    "it\n"
    "cannot be read, or is not a spool, or of a newer version, 73 the new one cannot be made, 75 "
    "it\n"
    "is in use.\n";

enum verb { VERB_CHECK, VERB_DUMP, VERB_REPAIR };

struct spooling {
    enum verb verb;
    bool json, yes;
    const char *path;
    char *dir;        /* of the path */
    const char *name; /* in it */
    int dir_fd, fd;
    struct spoollog log;
    struct spoolread reader;
    struct spoollog_state state;
    struct spool_report report;
    uint64_t end, size; /* size: what the records take in a spool */
    uint64_t dead;      /* of them, dead letters */
    uint64_t missing;   /* bytes by which the file is too short */
    bool header_damaged, state_lost;
    struct buf line;
    bool failed; /* writing a record */
    /* the new spool */
    int new_fd;
    struct spoollog new_log;
    uint64_t new_end;
    char *block; /* COPY_BYTES that go into it together, or one larger record */
    size_t block_n, block_cap;
};

/* ---- opening ---- */

/* What is missing at the end of the file is told once, and reads as zeros. */
static bool read_file(void *ctx, uint64_t place, char *to, size_t n, struct err *e)
{
    const struct spooling *s = ctx;
    memset(to, 0, n);
    if (transfer_pread(s->fd, place, to, n) || errno == ENODATA)
        return true;
    err_set(e, ERR_IO, "cannot read at %" PRIu64 ": %s", place, strerror(errno));
    return false;
}

static int complain(const struct spooling *s, const char *text)
{
    fprintf(stderr, "tailrace: %s: %s\n", s->path, text);
    return EX_NOINPUT;
}

static int split_path(struct spooling *s)
{
    const char *slash = strrchr(s->path, '/');
    s->name = slash != NULL ? slash + 1 : s->path;
    s->dir = slash == NULL      ? strdup(".")
             : slash == s->path ? strdup("/")
                                : strndup(s->path, (size_t)(slash - s->path));
    if (s->dir == NULL)
        return EX_OSERR;
    s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->dir_fd >= 0 ? 0 : complain(s, strerror(errno));
}

static int read_state(struct spooling *s)
{
    struct err e;
    struct spoollog log;
    char header[SPOOLLOG_HEADER_BYTES];
    s->header_damaged = !transfer_pread(s->fd, 0, header, sizeof header) ||
                        spoollog_get_header(&log, (struct str){header, sizeof header}, NULL) != 0;
    if (!spoolread_init(&s->reader, &s->log, read_file, s, SPOOLREAD_WINDOW))
        return EX_OSERR;
    s->reader.passes_errors = true;
    if (spoolread_state(&s->reader, &s->state, &s->state_lost, &e) == 0)
        return 0;
    return complain(s, e.text);
}

static int open_spool(struct spooling *s)
{
    struct err e;
    struct stat st;
    int code = split_path(s);
    if (code != 0)
        return code;
    s->fd = spoolfile_find(s->dir_fd, s->name, true, &s->log, &e);
    if (s->fd < 0) {
        complain(s, e.text);
        return s->fd == ERR_BUSY ? EX_TEMPFAIL : EX_NOINPUT;
    }
    uint64_t whole = SPOOLLOG_DATA_PLACE + s->log.capacity;
    if (fstat(s->fd, &st) == 0 && (uint64_t)st.st_size < whole)
        s->missing = whole - (uint64_t)st.st_size;
    return read_state(s);
}

/* Walks over all that waits; `each` may be NULL. */
static int survey(struct spooling *s, spoolread_each_fn *each)
{
    struct err e;
    s->reader.unreadable_pages = 0;
    if (spoolread_survey(&s->reader, &s->state, each, s, &s->report, &s->end, &e) == 0)
        return 0;
    return complain(s, e.text);
}

static bool is_good(const struct spooling *s)
{
    const struct spool_report *r = &s->report;
    return r->damaged_places == 0 && r->cut_bytes == 0 && s->missing == 0 &&
           s->reader.unreadable_pages == 0 && !s->state_lost && !s->header_damaged;
}

static void count(struct spooling *s, const struct spoolread_item *item)
{
    s->size += item->record.size;
    s->dead += item->record.kind == SPOOLLOG_DEAD;
}

/* ---- telling ---- */

static void tell_waiting(const struct spooling *s)
{
    printf("%s: %" PRIu64 " records wait, %" PRIu64 " bytes", s->path, s->report.records,
           s->report.bytes);
    if (s->dead > 0)
        printf("; %" PRIu64 " of them are dead letters", s->dead);
    printf("\n");
}

static void tell_damage(const struct spooling *s, FILE *to)
{
    const struct spool_report *r = &s->report;
    if (s->header_damaged)
        fprintf(to, "%s: its header is damaged; there is a copy\n", s->path);
    if (s->state_lost)
        fprintf(to,
                "%s: both copies of its state are damaged: all records found count as waiting\n",
                s->path);
    if (s->missing > 0)
        fprintf(to, "%s: the file is cut short by %" PRIu64 " bytes\n", s->path, s->missing);
    if (s->reader.unreadable_pages > 0)
        fprintf(to, "%s: %" PRIu64 " pages cannot be read\n", s->path, s->reader.unreadable_pages);
    if (r->damaged_places > 0)
        fprintf(to, "%s: %" PRIu64 " bytes are damaged, in %" PRIu64 " places\n", s->path,
                r->damaged_bytes, r->damaged_places);
    if (r->cut_bytes > 0)
        fprintf(to, "%s: behind the last good record %" PRIu64 " bytes are damaged\n", s->path,
                r->cut_bytes);
}

static void on_checked(void *ctx, enum spoolread_found found, const struct spoolread_item *item)
{
    struct spooling *s = ctx;
    if (found == SPOOLREAD_DAMAGE)
        printf("%s: position %" PRIu64 ": %" PRIu64 " damaged bytes\n", s->path, item->begin,
               item->end - item->begin);
    else
        count(s, item);
}

static int check(struct spooling *s)
{
    int code = survey(s, on_checked);
    if (code != 0)
        return code;
    tell_waiting(s);
    printf("%s: room for %" PRIu64 " bytes, of which %" PRIu64 " are used\n", s->path,
           s->log.capacity, s->end - s->state.saved);
    tell_damage(s, stdout);
    return is_good(s) ? 0 : BAD;
}

/* ---- dump ---- */

static void put_member(struct buf *b, const char *name, struct str value)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_string(b, value);
}

/* A dead letter of a client's says its source and the reason (client.h). */
static void put_key(struct buf *b, const struct spoollog_record *rec)
{
    struct str source, reason;
    if (rec->kind != SPOOLLOG_DEAD || !client_dead_key(rec->key, &source, &reason)) {
        put_member(b, rec->kind == SPOOLLOG_DEAD ? "reason" : "key", rec->key);
        return;
    }
    put_member(b, "source", source);
    put_member(b, "reason", reason);
}

static void put_json(struct buf *b, const struct spoolread_item *item)
{
    const struct spoollog_record *rec = &item->record;
    buf_printf(b, "{\"position\":%" PRIu64 ",\"kind\":\"%s\"", item->begin,
               rec->kind == SPOOLLOG_DEAD ? "dead" : "data");
    put_key(b, rec);
    buf_puts(b, ",\"data\":\"");
    size_t n = base64_size(rec->data.n);
    char *to = buf_reserve(b, n + 1);
    if (to != NULL) {
        base64_encode(to, rec->data.p, rec->data.n);
        buf_commit(b, n);
    }
    buf_puts(b, "\"}\n");
}

static void on_dumped(void *ctx, enum spoolread_found found, const struct spoolread_item *item)
{
    struct spooling *s = ctx;
    if (found == SPOOLREAD_DAMAGE) {
        fprintf(stderr, "tailrace: %s: position %" PRIu64 ": %" PRIu64 " damaged bytes\n", s->path,
                item->begin, item->end - item->begin);
        return;
    }
    buf_reset(&s->line);
    if (s->json) {
        put_json(&s->line, item);
    } else {
        buf_put(&s->line, item->record.data.p, item->record.data.n);
        buf_putc(&s->line, '\n');
    }
    s->failed |= s->line.failed;
    fwrite(s->line.p, 1, s->line.n, stdout);
}

static int dump(struct spooling *s)
{
    int code = survey(s, on_dumped);
    if (code != 0)
        return code;
    fflush(stdout);
    tell_damage(s, stderr);
    return s->failed ? EX_OSERR : is_good(s) ? 0 : BAD;
}

/* ---- repair ---- */

static void flush_block(struct spooling *s)
{
    if (!s->failed && !transfer_pwrite(s->new_fd, SPOOLLOG_DATA_PLACE + s->new_end - s->block_n,
                                       (struct str){s->block, s->block_n}))
        s->failed = true;
    s->block_n = 0;
}

static void on_counted(void *ctx, enum spoolread_found found, const struct spoolread_item *item)
{
    if (found == SPOOLREAD_RECORD)
        count(ctx, item);
}

static void on_copied(void *ctx, enum spoolread_found found, const struct spoolread_item *item)
{
    struct spooling *s = ctx;
    size_t n = item->record.size;
    if (found != SPOOLREAD_RECORD || s->failed)
        return;
    if (s->block_cap - s->block_n < n)
        flush_block(s);
    if (s->block_cap < n) {
        free(s->block);
        s->block = malloc(n);
        s->block_cap = s->block != NULL ? n : 0;
    }
    s->failed |= s->block == NULL;
    if (s->failed)
        return;
    spoollog_put_record(&s->new_log, s->new_end, &item->record, s->block + s->block_n);
    s->block_n += n;
    s->new_end += n;
}

/* Returns the step that failed, with errno set. */
static const char *fill_new(struct spooling *s)
{
    char bytes[SPOOLLOG_STATE_BYTES];
    struct stat old;
    s->block = malloc(COPY_BYTES);
    s->block_cap = COPY_BYTES;
    errno = ENOMEM;
    if (s->block == NULL || survey(s, on_copied) != 0)
        return "copy the records";
    flush_block(s);
    if (s->failed)
        return "copy the records";
    const struct spoollog_state state = {.generation = 1, .written = s->new_end, .clean = true};
    spoollog_put_state(&s->new_log, &state, bytes);
    if (!transfer_pwrite(s->new_fd, spoollog_state_place(1), (struct str){bytes, sizeof bytes}))
        return "write to it";
    /* What root makes here, the daemon must be able to use. */
    if (fstat(s->fd, &old) != 0 || fchown(s->new_fd, old.st_uid, old.st_gid) != 0)
        return "give it its owner";
    return fsync(s->new_fd) == 0 ? NULL : "sync it";
}

/* The old one gets its second name first: at every moment FILE is one of the two. */
static const char *exchange(struct spooling *s, const char *new_name, const char *old_name)
{
    if (linkat(s->dir_fd, s->name, s->dir_fd, old_name, 0) != 0)
        return "keep the old one";
    if (renameat(s->dir_fd, new_name, s->dir_fd, s->name) != 0) {
        int error_number = errno;
        unlinkat(s->dir_fd, old_name, 0);
        errno = error_number;
        return "rename it";
    }
    return fsync(s->dir_fd) == 0 || errno == EINVAL ? NULL : "sync the directory";
}

static int make_new(struct spooling *s, const char *new_name, const char *old_name)
{
    struct err e;
    s->new_fd = spoolfile_make(s->dir_fd, new_name, s->log.capacity, &s->new_log, &e);
    if (s->new_fd < 0) {
        fprintf(stderr, "tailrace: %s%s: %s\n", s->path, NEW_SUFFIX, e.text);
        return EX_CANTCREAT;
    }
    const char *step = fill_new(s);
    if (step == NULL)
        step = exchange(s, new_name, old_name);
    if (step == NULL)
        return 0;
    fprintf(stderr, "tailrace: %s%s: cannot %s: %s\n", s->path, NEW_SUFFIX, step, strerror(errno));
    unlinkat(s->dir_fd, new_name, 0); /* not there any more when the last step failed */
    return EX_CANTCREAT;
}

static bool confirm(const struct spooling *s)
{
    tell_waiting(s);
    tell_damage(s, stdout);
    printf("%s: a new spool will have these records; this one becomes %s%s\n", s->path, s->path,
           OLD_SUFFIX);
    fflush(stdout);
    if (s->yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "tailrace: nothing is done: without a terminal, this needs --yes\n");
        return false;
    }
    char line[16] = "";
    fprintf(stderr, "Do it? [y/N] ");
    bool yes = fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
    if (!yes)
        fprintf(stderr, "tailrace: nothing is done\n");
    return yes;
}

static int repair(struct spooling *s)
{
    char new_name[NAME_MAX + 1], old_name[NAME_MAX + 1];
    int n = snprintf(new_name, sizeof new_name, "%s%s", s->name, NEW_SUFFIX);
    int m = snprintf(old_name, sizeof old_name, "%s%s", s->name, OLD_SUFFIX);
    if (n >= (int)sizeof new_name || m >= (int)sizeof old_name)
        return complain(s, "its name is too long");
    int code = survey(s, on_counted);
    if (code != 0)
        return code;
    if (is_good(s)) {
        printf("%s: nothing is damaged\n", s->path);
        return 0;
    }
    if (faccessat(s->dir_fd, old_name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        fprintf(stderr, "tailrace: %s%s is in the way: move it\n", s->path, OLD_SUFFIX);
        return BAD;
    }
    if (!confirm(s))
        return BAD;
    uint64_t records = s->report.records;
    code = make_new(s, new_name, old_name);
    if (code == 0)
        printf("%s: repaired, with %" PRIu64 " records\n", s->path, records);
    return code;
}

/* ---- arguments ---- */

static bool parse_verb(struct spooling *s, const char *word)
{
    static const char *const verbs[] = {"check", "dump", "repair"};
    for (unsigned i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(word, verbs[i]) == 0) {
            s->verb = (enum verb)i;
            return true;
        }
    fprintf(stderr, "tailrace spool: %s: expected check, dump or repair\n", word);
    return false;
}

/* 0, -1 for wrong usage, 1 when help or version was asked for and given. */
static int parse(struct spooling *s, int argc, char **argv)
{
    static const struct option longs[] = {
        {"json", no_argument, NULL, 'j'},
        {"yes", no_argument, NULL, 'y'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "yhV", longs, NULL)) != -1;) {
        if (c == 'h')
            return printf("%s%s", usage, help) > 0;
        if (c == 'V')
            return printf("tailrace %s\n", TAILRACE_VERSION) > 0;
        if (c != 'y' && c != 'j')
            return -1;
        *(c == 'y' ? &s->yes : &s->json) = true;
    }
    if (argc - optind != 2 || !parse_verb(s, argv[optind]))
        return -1;
    s->path = argv[optind + 1];
    return (s->json && s->verb != VERB_DUMP) || (s->yes && s->verb != VERB_REPAIR) ? -1 : 0;
}

static int run(struct spooling *s)
{
    int code = open_spool(s);
    if (code != 0)
        return code;
    return s->verb == VERB_CHECK ? check(s) : s->verb == VERB_DUMP ? dump(s) : repair(s);
}

static void release(struct spooling *s)
{
    const int fds[] = {s->new_fd, s->fd, s->dir_fd};
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    spoolread_release(&s->reader);
    buf_release(&s->line);
    free(s->block);
    free(s->dir);
}

int cli_spool(int argc, char **argv)
{
    static char name[] = "tailrace spool"; /* getopt's complaints begin with it */
    struct spooling s = {.dir_fd = -1, .fd = -1, .new_fd = -1};
    buf_init(&s.line, LINE_MAX_ALL);
    argv[0] = name;
    int parsed = parse(&s, argc, argv);
    if (parsed < 0) {
        fputs(usage, stderr);
        return EX_USAGE;
    }
    int code = parsed == 0 ? run(&s) : 0;
    release(&s);
    return cli_finish(code);
}
