/* bootstrap - the Lambda function that Firehose calls, as its own runtime.
 *
 * The happy path: the mapping beside the program is read and compiled; then, for ever, an event is
 * fetched from the runtime API, transformed (lib/transform.h), and its answer given. The
 * environment may be frozen between an answer and the next event, so that wait has no limit.
 *
 * How it fails: without a good mapping the API is told so, and the process ends. A record that
 * cannot be shaped fails alone, inside the answer. An event that is none is an error of its
 * invocation. If the API itself fails, the process ends, and Lambda starts another.
 *
 * What went wrong is said in one line an event at most, with counts, and never with data.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "daemon/lambda.h"
#include "daemon/log.h"
#include "daemon/readfile.h"
#include "lib/transform.h"
#include "lib/yaml.h"

#define PATH_BYTES 4096

struct function {
    struct lambda api;
    struct config *config;
    struct transform *transform;
    struct buf answer;
    char complaint[1024]; /* the first about the mapping */
};

static void on_complaint(void *ctx, const char *line)
{
    struct function *f = ctx;
    if (f->complaint[0] == '\0')
        snprintf(f->complaint, sizeof f->complaint, "%s", line);
    log_error(log_msg("mapping"), log_s("what", line));
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : otherwise;
}

static bool load_mapping(struct function *f, const char *path)
{
    struct buf text;
    struct err e;
    buf_init(&text, YAML_BYTES_MAX + 1);
    if (readfile(path, YAML_BYTES_MAX, &text, &e) != 0)
        on_complaint(f, e.text);
    else
        f->config = config_build_mapping(path, buf_str(&text), on_complaint, f);
    buf_release(&text);
    if (f->config == NULL)
        return false;
    const char *host = env_or("AWS_LAMBDA_FUNCTION_NAME", "lambda");
    f->transform = transform_new(f->config->sources, host, TRANSFORM_ANSWER_MAX, &e);
    if (f->transform == NULL) {
        char line[PATH_BYTES + ERR_TEXT_MAX + 8];
        snprintf(line, sizeof line, "%s: %s", path, e.text);
        on_complaint(f, line);
    }
    return f->transform != NULL;
}

static void say_result(const struct lambda_event *event, const struct transform_done *d)
{
    const struct stats *s = &d->stats;
    uint64_t odd = s->bad_values + s->bytes_replaced + s->ragged_rows + s->no_match +
                   s->add_skipped + d->mixed;
    if (d->failed > 0)
        log_warn(log_msg("records failed"), log_s("request", event->id),
                 log_u("records", d->records), log_u("failed", d->failed),
                 log_u("no_room", d->no_room), log_str("record", d->why_id), log_s("why", d->why));
    else if (odd > 0)
        log_info(log_msg("odd records"), log_s("request", event->id), log_u("records", d->records),
                 log_u("bad_values", s->bad_values), log_u("bytes_replaced", s->bytes_replaced),
                 log_u("ragged_rows", s->ragged_rows), log_u("no_match", s->no_match),
                 log_u("add_skipped", s->add_skipped), log_u("mixed_partitions", d->mixed));
}

static const char *error_type(int code)
{
    return code == ERR_NOMEM   ? "Function.OutOfMemory"
           : code == ERR_RANGE ? "Function.AnswerTooLarge"
                               : "Function.NotAnEvent";
}

/* A refusal is of this one event; it may be too late for an error as well. */
static bool give_error(struct function *f, const struct lambda_event *event, const char *type,
                       const char *why)
{
    struct err e = {0};
    log_error(log_msg("invocation failed"), log_s("request", event->id), log_s("type", type),
              log_s("why", why));
    int rc = lambda_error(&f->api, event, type, why, &e);
    if (rc != 0)
        log_error(log_msg("runtime API"), log_s("why", e.text));
    return rc == 0 || rc == LAMBDA_REFUSED;
}

static bool handle(struct function *f, const struct lambda_event *event)
{
    struct transform_done done;
    struct err e;
    int rc = transform_event(f->transform, event->body, &f->answer, &done, &e);
    if (rc != 0)
        return give_error(f, event, error_type(rc), e.text);
    say_result(event, &done);
    rc = lambda_answer(&f->api, event, buf_str(&f->answer), &e);
    if (rc == LAMBDA_REFUSED)
        return give_error(f, event, "Function.AnswerRefused", e.text);
    if (rc != 0)
        log_error(log_msg("runtime API"), log_s("why", e.text));
    return rc == 0;
}

static bool turn(struct function *f)
{
    struct lambda_event event;
    struct err e;
    int rc = lambda_next(&f->api, &event, &e);
    if (rc == LAMBDA_TOO_LARGE)
        return give_error(f, &event, "Function.EventTooLarge", e.text);
    if (rc != 0)
        log_error(log_msg("runtime API"), log_s("why", e.text));
    return rc == 0 && handle(f, &event);
}

static int run(struct function *f)
{
    char path[PATH_BYTES];
    struct err e;
    snprintf(path, sizeof path, "%s/mapping.yaml", env_or("LAMBDA_TASK_ROOT", "."));
    if (load_mapping(f, env_or("TAILRACE_MAPPING", path))) {
        while (turn(f))
            ;
        return EX_UNAVAILABLE;
    }
    if (lambda_init_error(&f->api, "Runtime.BadMapping", f->complaint, &e) != 0)
        log_error(log_msg("runtime API"), log_s("why", e.text));
    return EX_CONFIG;
}

int main(void)
{
    static struct function f;
    struct err e;
    signal(SIGPIPE, SIG_IGN);
    /* A static program cannot load modules, so libcrypto shall not find a file that names any. */
    setenv("OPENSSL_CONF", "/dev/null", 1);
    log_init(LOG_INFO);
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (api == NULL) {
        fputs("bootstrap: AWS_LAMBDA_RUNTIME_API is not set: Lambda starts this, not a person\n",
              stderr);
        return EX_USAGE;
    }
    buf_init(&f.answer, TRANSFORM_ANSWER_MAX);
    if (lambda_open(&f.api, api, &e) != 0) {
        log_error(log_msg("AWS_LAMBDA_RUNTIME_API"), log_s("why", e.text));
        return EX_USAGE;
    }
    int code = run(&f);
    lambda_close(&f.api);
    transform_free(f.transform);
    config_free(f.config);
    buf_release(&f.answer);
    return code;
}
