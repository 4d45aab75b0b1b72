/* kinesis.c - one signed request at a time, over one curl easy handle.
 *
 * The happy path of a call: the request is printed as JSON, signed at the moment of sending,
 * posted, and the answer parsed. The handle is kept, and with it the connection.
 *
 * How it fails. Whatever went wrong becomes one of the results of kinesis.h and a sentence: curl's
 * own words when there was no answer, the service's when there was. A certificate that does not fit
 * will not fit the next time either, so that is final. Pressing Ctrl-C interrupts a transfer
 * through curl's progress callback, which it calls at least once a second.
 */
#include "daemon/cli/kinesis.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/creds.h"
#include "lib/backoff.h"
#include "lib/endpoint.h"
#include "lib/reply.h"
#include "lib/sign.h"

#define TARGET         "Kinesis_20131202."
#define HEADERS_MAX    12
#define LINE_MAX_BYTES (1 * MIB) /* a header line; session tokens have no published bound */
#define TRIES_UNPROVEN 6         /* about two seconds in all: the endpoint may simply be wrong */
#define TRIES_PROVEN   14        /* over a minute: a restart or a failover may be under way */
#define SLEEP_STEP_MS  200       /* how late a signal may be noticed */

struct kinesis {
    CURL *curl;
    char curl_error[CURL_ERROR_SIZE];
    struct endpoint endpoint;
    char *region;
    const char *profile;
    struct creds creds;
    struct sign_key key;
    struct rng rng;
    const volatile sig_atomic_t *stop;
    struct buf answer;
    bool proven;   /* has answered well before */
    bool reloaded; /* the credentials, since the last good answer */
};

struct now kinesis_now(void)
{
    struct timespec mono, wall;
    clock_gettime(CLOCK_MONOTONIC, &mono);
    clock_gettime(CLOCK_REALTIME, &wall);
    return (struct now){
        .mono_ms = (uint64_t)mono.tv_sec * 1000 + (uint64_t)mono.tv_nsec / 1000000,
        .wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000,
    };
}

bool kinesis_sleep(struct kinesis *k, uint64_t ms)
{
    while (ms > 0 && !*k->stop) {
        uint64_t step = min_u64(ms, SLEEP_STEP_MS);
        struct timespec t = {.tv_sec = 0, .tv_nsec = (long)step * 1000000};
        nanosleep(&t, NULL);
        ms -= step;
    }
    return !*k->stop;
}

uint64_t kinesis_pause_ms(struct kinesis *k, enum kinesis_result failure, unsigned tries)
{
    if (tries > (k->proven ? TRIES_PROVEN : TRIES_UNPROVEN))
        return 0;
    uint64_t base =
        failure == KINESIS_THROTTLED ? BACKOFF_THROTTLE_BASE_MS : BACKOFF_TRANSIENT_BASE_MS;
    return backoff_ms(&k->rng, base, BACKOFF_CAP_MS, tries > 0 ? tries - 1 : 0, 1, 1);
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static int find_region(struct kinesis *k, const struct kinesis_options *o, struct err *e)
{
    const char *named = o->region;
    if (named == NULL)
        named = variable("AWS_REGION");
    if (named == NULL)
        named = variable("AWS_DEFAULT_REGION");
    k->region = named != NULL ? strdup(named) : creds_setting(o->profile, "region");
    if (k->region != NULL)
        return 0;
    return err_set(e, ERR_MISSING, "no region: say --region or set AWS_REGION");
}

static int find_endpoint(struct kinesis *k, const struct kinesis_options *o, struct err *e)
{
    const char *ignore = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), *url = o->endpoint;
    if (url == NULL && (ignore == NULL || strcmp(ignore, "true") != 0)) {
        url = variable("AWS_ENDPOINT_URL_KINESIS");
        if (url == NULL)
            url = variable("AWS_ENDPOINT_URL");
    }
    /* Also checks the region, which is signed even when the endpoint is given. */
    int rc = endpoint_default(&k->endpoint, "kinesis", k->region, e);
    return rc == 0 && url != NULL ? endpoint_parse(&k->endpoint, url, e) : rc;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct kinesis *k = ctx;
    buf_put(&k->answer, bytes, size * n);
    return k->answer.failed ? 0 : size * n;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct kinesis *k = ctx;
    return *k->stop ? 1 : 0;
}

static int make_curl(struct kinesis *k, const struct kinesis_options *o, struct err *e)
{
    k->curl = curl_easy_init();
    if (k->curl == NULL)
        return err_set(e, ERR_NOMEM, "curl could not be started");
    const char *ca = o->ca_bundle != NULL ? o->ca_bundle : variable("AWS_CA_BUNDLE");
    CURLcode rc = curl_easy_setopt(k->curl, CURLOPT_URL, k->endpoint.url);
    if (rc == CURLE_OK && ca != NULL)
        rc = curl_easy_setopt(k->curl, CURLOPT_CAINFO, ca);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(k->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (rc != CURLE_OK)
        return err_set(e, ERR_NOMEM, "curl could not be set up: %s", curl_easy_strerror(rc));
    curl_easy_setopt(k->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(k->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(k->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_timeout_ms);
    curl_easy_setopt(k->curl, CURLOPT_TIMEOUT_MS, (long)o->total_timeout_ms);
    curl_easy_setopt(k->curl, CURLOPT_ERRORBUFFER, k->curl_error);
    curl_easy_setopt(k->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(k->curl, CURLOPT_WRITEDATA, k);
    curl_easy_setopt(k->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(k->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(k->curl, CURLOPT_XFERINFODATA, k);
    curl_easy_setopt(k->curl, CURLOPT_USERAGENT, "tailrace/" TAILRACE_VERSION);
    return 0;
}

struct kinesis *kinesis_new(const struct kinesis_options *o, const volatile sig_atomic_t *stop,
                            struct err *e)
{
    struct kinesis *k = calloc(1, sizeof *k);
    if (k == NULL) {
        err_set(e, ERR_NOMEM, "memory ran out");
        return NULL;
    }
    k->stop = stop;
    k->profile = o->profile;
    creds_init(&k->creds);
    sign_key_init(&k->key);
    buf_init(&k->answer, KINESIS_ANSWER_MAX);
    struct now now = kinesis_now();
    rng_seed(&k->rng, now.wall_ms ^ (now.mono_ms << 20));
    if (find_region(k, o, e) == 0 && find_endpoint(k, o, e) == 0 &&
        creds_load(&k->creds, k->profile, e) == 0 && make_curl(k, o, e) == 0)
        return k;
    kinesis_free(k);
    return NULL;
}

void kinesis_free(struct kinesis *k)
{
    if (k == NULL)
        return;
    if (k->curl != NULL)
        curl_easy_cleanup(k->curl);
    creds_release(&k->creds);
    sign_key_wipe(&k->key);
    buf_release(&k->answer);
    free(k->region);
    free(k);
}

/* Appends "Name: value" to the list; a NULL list stays NULL once something failed. */
static bool add_line(struct curl_slist **lines, struct str name, struct str value)
{
    struct buf line;
    buf_init(&line, LINE_MAX_BYTES);
    buf_reserve(&line, name.n + value.n + 3);
    buf_put(&line, name.p, name.n);
    buf_puts(&line, ": ");
    buf_put(&line, value.p, value.n);
    const char *text = buf_cstr(&line);
    struct curl_slist *longer = text != NULL ? curl_slist_append(*lines, text) : NULL;
    if (longer != NULL)
        *lines = longer;
    buf_wipe_release(&line);
    return longer != NULL;
}

static bool add_lines(struct curl_slist **lines, const struct sign_header *headers, size_t n,
                      struct str authorization)
{
    bool good = add_line(lines, STR("Authorization"), authorization);
    for (size_t i = 0; good && i < n; i++)
        good = add_line(lines, headers[i].name, headers[i].value);
    return good && add_line(lines, STR("Expect"), STR("")); /* one round trip less */
}

/* The header lines of a signed request, NULL when memory ran out. */
static struct curl_slist *signed_headers(struct kinesis *k, const char *operation, struct str body)
{
    char date[SIGN_DATE_SIZE], target[128];
    uint8_t digest[SHA256_SIZE];
    struct sign_credentials c = creds_view(&k->creds);
    struct buf authorization;
    buf_init(&authorization, LINE_MAX_BYTES);
    sign_date(kinesis_now().wall_ms, date);
    snprintf(target, sizeof target, TARGET "%s", operation);
    hash_sha256(body.p, body.n, digest);
    struct sign_header headers[HEADERS_MAX] = {
        {STR("Content-Type"), STR("application/x-amz-json-1.1")},
        {STR("Host"), str_of(k->endpoint.host)},
        {STR("X-Amz-Date"), str_of(date)},
        {STR("X-Amz-Target"), str_of(target)},
        {STR("X-Amz-Security-Token"), str_of(c.session_token)},
    };
    struct sign_request r = {.method = "POST",
                             .path = "/",
                             .query = "",
                             .headers = headers,
                             .headers_n = c.session_token != NULL ? 5 : 4,
                             .body_sha256 = digest,
                             .region = k->region,
                             .service = "kinesis",
                             .amz_date = date};
    struct curl_slist *lines = NULL;
    if (sign_v4(&k->key, &c, &r, &authorization) != 0 ||
        !add_lines(&lines, headers, r.headers_n, buf_str(&authorization))) {
        curl_slist_free_all(lines);
        lines = NULL;
    }
    buf_release(&authorization);
    return lines;
}

static enum kinesis_result judge_curl(struct kinesis *k, CURLcode rc, struct err *e)
{
    if (*k->stop)
        return KINESIS_STOPPED;
    const char *why = k->curl_error[0] != '\0' ? k->curl_error : curl_easy_strerror(rc);
    if (k->answer.failed)
        why = "the answer is larger than this program takes";
    err_set(e, ERR_IO, "no answer from %s: %s", k->endpoint.url, why);
    bool final = k->answer.failed || rc == CURLE_PEER_FAILED_VERIFICATION ||
                 rc == CURLE_SSL_CACERT_BADFILE || rc == CURLE_URL_MALFORMAT;
    return final ? KINESIS_FAILED : KINESIS_TRANSIENT;
}

static enum kinesis_result judge_error(struct kinesis *k, const char *operation, int status,
                                       struct err *e)
{
    struct reply r;
    reply_read(&r, status, buf_str(&k->answer), 0, NULL);
    err_set(e, ERR_IO, "%s answered %s with %d %s%s%s", k->endpoint.url, operation, status, r.code,
            r.message[0] != '\0' ? ": " : "", r.message);
    if (strcmp(r.code, "ExpiredIteratorException") == 0)
        return KINESIS_EXPIRED;
    if (r.kind == REPLY_THROTTLED)
        return KINESIS_THROTTLED;
    if (r.kind == REPLY_TRANSIENT)
        return KINESIS_TRANSIENT;
    if (r.credentials && !k->reloaded && creds_load(&k->creds, k->profile, NULL) == 0) {
        k->reloaded = true;
        return KINESIS_TRANSIENT;
    }
    return KINESIS_FAILED;
}

static enum kinesis_result judge(struct kinesis *k, const char *operation, json_t **answer,
                                 struct err *e)
{
    long status = 0;
    curl_easy_getinfo(k->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return judge_error(k, operation, (int)status, e);
    json_t *j = json_loadb(k->answer.p, k->answer.n, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(j)) {
        json_decref(j);
        err_set(e, ERR_SYNTAX, "%s answered %s with something that is not JSON", k->endpoint.url,
                operation);
        return KINESIS_TRANSIENT;
    }
    k->proven = true;
    k->reloaded = false;
    *answer = j;
    return KINESIS_OK;
}

static enum kinesis_result post(struct kinesis *k, const char *operation, struct str body,
                                json_t **answer, struct err *e)
{
    struct curl_slist *headers = signed_headers(k, operation, body);
    if (headers == NULL) {
        err_set(e, ERR_NOMEM, "memory ran out");
        return KINESIS_FAILED;
    }
    buf_reset(&k->answer);
    k->curl_error[0] = '\0';
    curl_easy_setopt(k->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(k->curl, CURLOPT_POSTFIELDS, body.p);
    curl_easy_setopt(k->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
    CURLcode rc = curl_easy_perform(k->curl);
    curl_easy_setopt(k->curl, CURLOPT_HTTPHEADER, NULL);
    curl_easy_setopt(k->curl, CURLOPT_POSTFIELDS, NULL);
    curl_slist_free_all(headers);
    return rc == CURLE_OK ? judge(k, operation, answer, e) : judge_curl(k, rc, e);
}

enum kinesis_result kinesis_call(struct kinesis *k, const char *operation, const json_t *request,
                                 json_t **answer, struct err *e)
{
    char *body = json_dumps(request, JSON_COMPACT);
    if (body == NULL) {
        err_set(e, ERR_NOMEM, "memory ran out");
        return KINESIS_FAILED;
    }
    enum kinesis_result result = post(k, operation, str_of(body), answer, e);
    free(body);
    return result;
}

enum kinesis_result kinesis_insist(struct kinesis *k, const char *operation, const json_t *request,
                                   json_t **answer, struct err *e)
{
    for (unsigned tries = 1;; tries++) {
        enum kinesis_result r = kinesis_call(k, operation, request, answer, e);
        if (r != KINESIS_THROTTLED && r != KINESIS_TRANSIENT)
            return r;
        uint64_t pause = kinesis_pause_ms(k, r, tries);
        if (pause == 0)
            return KINESIS_FAILED;
        if (!kinesis_sleep(k, pause))
            return KINESIS_STOPPED;
    }
}
