/* cat.c - `tailrace cat STREAM`: what is in a stream, on stdout.
 *
 * The happy path: list the shards, read them in turn, print each record, wait a little, again;
 * until a signal, --limit, --until-idle, or a reader of ours who has gone away.
 *
 * How it fails: one sentence on stderr and exit code 1. What was printed before is whole records.
 */
#include "daemon/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#include "daemon/cli/shards.h"
#include "lib/base64.h"
#include "lib/endpoint.h"
#include "lib/json.h"

#define UNTIL_IDLE_MS  3000
#define POLL_MS        1000
#define POLL_MIN_MS    200
#define SECONDS_MAX    86400.0
#define LINE_MAX_BYTES (96 * MIB) /* one record as JSON; escapes make it longer than its data */

static const char usage[] = "usage: tailrace cat [OPTION]... STREAM\n";

static const char help[] =
    "\n"
    "Prints the records of a Kinesis data stream (a name or an ARN), all shards, and follows.\n"
    "\n"
    "  --from start|latest     where to begin (default: start)\n"
    "  --until-idle[=SECONDS]  end when nothing more has come for so long (default: 3)\n"
    "  --limit N               end after N records\n"
    "  --json                  a JSON object a line: shard, sequence, partition_key, arrival, and\n"
    "                          data, or data_base64 when the record is not UTF-8\n"
    "  --region REGION         default: the ARN's, AWS_REGION, AWS_DEFAULT_REGION, the profile's\n"
    "  --endpoint URL          default: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL, the region's\n"
    "  --profile NAME          of the shared AWS files; default: the keys in the environment,\n"
    "                          then AWS_PROFILE, then \"default\"\n"
    "  --ca-bundle FILE        certificates to trust; default: AWS_CA_BUNDLE, the system's\n"
    "  --connect-timeout SECONDS  to reach the service (default: 5)\n"
    "  --timeout SECONDS          for one whole request (default: 30)\n"
    "  --help, --version\n"
    "\n"
    "Without --json a record's data is printed as it is, and a line end if it has none.\n"
    "Exit codes: 0 done or interrupted, 1 an error, 64 wrong usage.\n";

struct options {
    struct kinesis_options kinesis;
    const char *stream;
    bool latest, json, until_idle;
    uint64_t until_idle_ms, limit; /* limit 0: none */
};

struct printer {
    bool json;
    uint64_t left; /* of --limit; UINT64_MAX when there is none */
    uint64_t printed;
    int error; /* why stdout does not take any more; 0: it does */
    struct buf line;
};

static volatile sig_atomic_t stop;
static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
    stop = 1;
}

static void catch_signals(void)
{
    struct sigaction stopping = {.sa_handler = on_signal}, ignoring = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &stopping, NULL);
    sigaction(SIGTERM, &stopping, NULL);
    sigaction(SIGPIPE, &ignoring, NULL); /* the write says so, too */
}

static bool is_utf8(struct str s)
{
    size_t bad, n;
    for (size_t i = 0; i < s.n; i += n)
        if ((n = json_utf8_len(s.p + i, s.n - i, &bad)) == 0)
            return false;
    return true;
}

static void put_arrival(struct buf *b, double arrival)
{
    char text[40];
    struct tm tm;
    /* Also false for NaN; past 9999 strftime's year would need more room. */
    bool sane = arrival > 0 && arrival < 253402300800.0;
    time_t seconds = sane ? (time_t)arrival : 0;
    if (!sane || gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        buf_puts(b, "null");
        return;
    }
    unsigned ms = (unsigned)((arrival - (double)seconds) * 1000 + 0.5);
    buf_printf(b, "\"%s.%03uZ\"", text, ms > 999 ? 999 : ms);
}

static void put_json(struct buf *b, const struct shards_record *r)
{
    buf_puts(b, "{\"shard\":");
    json_put_string(b, str_of(r->shard));
    buf_puts(b, ",\"sequence\":");
    json_put_string(b, str_of(r->sequence));
    buf_puts(b, ",\"partition_key\":");
    if (r->partition_key.p != NULL)
        json_put_string(b, r->partition_key);
    else
        buf_puts(b, "null");
    buf_puts(b, ",\"arrival\":");
    put_arrival(b, r->arrival);
    if (is_utf8(r->data)) {
        buf_puts(b, ",\"data\":");
        json_put_string(b, r->data);
    } else {
        buf_puts(b, ",\"data_base64\":\"");
        char *to = buf_reserve(b, base64_size(r->data.n));
        if (to != NULL) {
            base64_encode(to, r->data.p, r->data.n);
            buf_commit(b, base64_size(r->data.n));
        }
        buf_putc(b, '"');
    }
    buf_puts(b, "}\n");
}

static bool on_record(void *ctx, const struct shards_record *r)
{
    struct printer *p = ctx;
    struct str out = r->data;
    bool ended = out.n > 0 && out.p[out.n - 1] == '\n';
    if (p->json) {
        buf_reset(&p->line);
        put_json(&p->line, r);
        out = buf_str(&p->line);
        ended = true;
    }
    errno = 0;
    if (p->line.failed)
        p->error = ENOMEM;
    else if (fwrite(out.p, 1, out.n, stdout) != out.n || (!ended && putchar('\n') == EOF))
        p->error = errno != 0 ? errno : EIO;
    if (p->error != 0)
        return false;
    p->printed++;
    return --p->left > 0 && !stop;
}

static bool flush(struct printer *p)
{
    errno = 0;
    if (p->error == 0 && fflush(stdout) != 0)
        p->error = errno != 0 ? errno : EIO;
    return p->error == 0;
}

/* Nothing is due. False when it is time to end. */
static bool wait_a_little(struct shards *s, struct printer *p, const struct options *o,
                          const struct shard *next)
{
    uint64_t now_ms = kinesis_now().mono_ms, until_ms = s->list_due_ms;
    if (next != NULL)
        until_ms = min_u64(until_ms, next->due_ms);
    if (o->until_idle)
        until_ms = min_u64(until_ms, now_ms + POLL_MIN_MS);
    return flush(p) && kinesis_sleep(s->k, until_ms > now_ms ? until_ms - now_ms : 1);
}

/* True when all shards were idle for long enough, and listing them again brings no other. */
static bool idle_for_good(struct shards *s, const struct options *o, enum kinesis_result *r,
                          struct err *e)
{
    if (!o->until_idle || !shards_idle(s, kinesis_now().mono_ms, o->until_idle_ms))
        return false;
    size_t known = s->n;
    *r = shards_list(s, e);
    return *r == KINESIS_OK && s->n == known;
}

/* Reads and prints until something ends it; the result is OK, STOPPED or FAILED. */
static enum kinesis_result follow(struct shards *s, struct printer *p, const struct options *o,
                                  struct err *e)
{
    enum kinesis_result r = KINESIS_OK;
    while (!stop) {
        uint64_t now_ms = kinesis_now().mono_ms;
        if (shards_list_due(s, now_ms) && (r = shards_list(s, e)) != KINESIS_OK)
            return r;
        struct shard *next = shards_next(s);
        if (next != NULL && next->due_ms <= now_ms) {
            unsigned limit = p->left > 10000 ? 10000 : (unsigned)p->left;
            r = shards_read(s, next, limit, on_record, p, e);
        } else if (idle_for_good(s, o, &r, e)) {
            return KINESIS_OK;
        } else if (r == KINESIS_OK && !wait_a_little(s, p, o, next)) {
            return KINESIS_STOPPED;
        }
        if (r != KINESIS_OK)
            return r;
    }
    return KINESIS_STOPPED;
}

static int finish(struct printer *p, enum kinesis_result r, const struct err *e)
{
    flush(p);
    bool broken = p->error != 0 && p->error != EPIPE && !(p->error == EINTR && stop);
    if (broken) {
        fprintf(stderr, "tailrace cat: cannot write: %s\n", strerror(p->error));
        return 1;
    }
    if (r == KINESIS_FAILED) {
        fprintf(stderr, "tailrace cat: %s\n", e->text);
        return 1;
    }
    return stop && p->printed == 0 ? 128 + stop_signal : 0;
}

static int run(const struct options *o)
{
    struct err e = {0};
    struct kinesis *k = kinesis_new(&o->kinesis, &stop, &e);
    if (k == NULL) {
        fprintf(stderr, "tailrace cat: %s\n", e.text);
        return 1;
    }
    struct printer p = {.json = o->json, .left = o->limit > 0 ? o->limit : UINT64_MAX};
    struct shards s;
    uint64_t poll_ms = POLL_MS;
    if (o->until_idle && o->until_idle_ms / 3 < poll_ms)
        poll_ms = o->until_idle_ms / 3 > POLL_MIN_MS ? o->until_idle_ms / 3 : POLL_MIN_MS;
    buf_init(&p.line, LINE_MAX_BYTES);
    shards_init(&s, k, o->stream, o->latest, poll_ms);
    enum kinesis_result r = follow(&s, &p, o, &e);
    int code = finish(&p, r, &e);
    shards_release(&s);
    buf_release(&p.line);
    kinesis_free(k);
    return code;
}

static bool parse_seconds(const char *text, uint64_t *ms)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= SECONDS_MAX))
        return false;
    *ms = (uint64_t)(seconds * 1000);
    return true;
}

/* A limit of time: 0 would mean none to curl, so it is refused. */
static bool parse_timeout(const char *text, uint64_t *ms)
{
    return parse_seconds(text, ms) && *ms > 0;
}

static bool parse_count(const char *text, uint64_t *count)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n == 0)
        return false;
    *count = n;
    return true;
}

static bool parse_from(const char *text, bool *latest)
{
    *latest = strcmp(text, "latest") == 0;
    return *latest || strcmp(text, "start") == 0;
}

static bool is_stream_name(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= 128 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

enum {
    OPT_FROM = 256,
    OPT_UNTIL_IDLE,
    OPT_LIMIT,
    OPT_JSON,
    OPT_REGION,
    OPT_ENDPOINT,
    OPT_PROFILE,
    OPT_CA_BUNDLE,
    OPT_CONNECT_TIMEOUT,
    OPT_TIMEOUT,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"from", required_argument, NULL, OPT_FROM},
    {"until-idle", optional_argument, NULL, OPT_UNTIL_IDLE},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"json", no_argument, NULL, OPT_JSON},
    {"region", required_argument, NULL, OPT_REGION},
    {"endpoint", required_argument, NULL, OPT_ENDPOINT},
    {"profile", required_argument, NULL, OPT_PROFILE},
    {"ca-bundle", required_argument, NULL, OPT_CA_BUNDLE},
    {"connect-timeout", required_argument, NULL, OPT_CONNECT_TIMEOUT},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

/* False when the option's value is no good. */
static bool take_option(struct options *o, int option)
{
    switch (option) {
    case OPT_FROM:
        return parse_from(optarg, &o->latest);
    case OPT_UNTIL_IDLE:
        o->until_idle = true;
        return optarg == NULL || parse_seconds(optarg, &o->until_idle_ms);
    case OPT_LIMIT:
        return parse_count(optarg, &o->limit);
    case OPT_JSON:
        o->json = true;
        return true;
    case OPT_REGION:
        o->kinesis.region = optarg;
        return true;
    case OPT_ENDPOINT:
        o->kinesis.endpoint = optarg;
        return true;
    case OPT_PROFILE:
        o->kinesis.profile = optarg;
        return true;
    case OPT_CA_BUNDLE:
        o->kinesis.ca_bundle = optarg;
        return true;
    case OPT_CONNECT_TIMEOUT:
        return parse_timeout(optarg, &o->kinesis.connect_timeout_ms);
    case OPT_TIMEOUT:
        return parse_timeout(optarg, &o->kinesis.total_timeout_ms);
    default:
        return false;
    }
}

static int complain(const char *what, const char *value)
{
    fprintf(stderr, "tailrace cat: %s%s%s\n%s", what, value != NULL ? ": " : "",
            value != NULL ? value : "", usage);
    return EX_USAGE;
}

static int run_on_stream(struct options *o)
{
    struct str region = endpoint_arn_region(str_of(o->stream));
    char copy[64];
    if (region.n == 0 && !is_stream_name(o->stream))
        return complain("neither a stream's name nor its ARN", o->stream);
    if (region.n > 0 && o->kinesis.region == NULL) {
        snprintf(copy, sizeof copy, "%.*s", (int)region.n, region.p);
        o->kinesis.region = copy;
    }
    catch_signals();
    return run(o);
}

int cli_cat(int argc, char **argv)
{
    static char name[] = "tailrace cat"; /* getopt's complaints begin with it */
    struct options o = {.until_idle_ms = UNTIL_IDLE_MS,
                        .kinesis = {.connect_timeout_ms = 5000, .total_timeout_ms = 30000}};
    argv[0] = name;
    for (int c, at = -1; (c = getopt_long(argc, argv, "h", long_options, &at)) != -1; at = -1) {
        if (c == 'h' || c == OPT_HELP)
            return printf("%s%s", usage, help) < 0 || fflush(stdout) != 0;
        if (c == OPT_VERSION)
            return printf("tailrace %s\n", TAILRACE_VERSION) < 0 || fflush(stdout) != 0;
        if (c == '?') {
            fputs(usage, stderr);
            return EX_USAGE;
        }
        if (!take_option(&o, c))
            return complain("a bad value for an option", at >= 0 ? long_options[at].name : NULL);
    }
    if (argc - optind != 1)
        return complain("give one stream", NULL);
    o.stream = argv[optind];
    return run_on_stream(&o);
}
