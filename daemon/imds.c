/* Three requests on one connection: PUT for a token, then GET for each value with the token as a
 * header. The first that fails ends it, so that a machine without the service waits once.
 */
#include "daemon/imds.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/buf.h"

#define ANSWER_MAX (4 * KIB)
#define BASE_MAX   384
#define URL_MAX    512

struct asking {
    CURL *curl;
    char base[BASE_MAX];
    struct buf answer;
    char error[CURL_ERROR_SIZE];
};

static size_t on_body(char *p, size_t size, size_t n, void *asking)
{
    struct buf *answer = &((struct asking *)asking)->answer;
    buf_put(answer, p, size * n);
    return answer->failed ? 0 : size * n;
}

static bool is_set(const char *name, const char *value)
{
    const char *text = getenv(name);
    return text != NULL && strcasecmp(text, value) == 0;
}

static int find_base(char base[BASE_MAX], struct err *e)
{
    if (is_set("AWS_EC2_METADATA_DISABLED", "true"))
        return err_set(e, ERR_MISSING, "AWS_EC2_METADATA_DISABLED is set");
    const char *url = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (url == NULL || url[0] == '\0')
        url = is_set("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6") ? "http://[fd00:ec2::254]"
                                                                       : "http://169.254.169.254";
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    if (n >= BASE_MAX)
        return err_set(e, ERR_RANGE, "AWS_EC2_METADATA_SERVICE_ENDPOINT is too long");
    memcpy(base, url, n);
    base[n] = '\0';
    return 0;
}

static int set_up(struct asking *a, struct err *e)
{
    a->curl = curl_easy_init();
    if (a->curl == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    CURLcode rc = curl_easy_setopt(a->curl, CURLOPT_PROXY, "");
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(a->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (rc != CURLE_OK)
        return err_set(e, ERR_NOMEM, "curl could not be set up: %s", curl_easy_strerror(rc));
    curl_easy_setopt(a->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(a->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)IMDS_TIMEOUT_MS);
    curl_easy_setopt(a->curl, CURLOPT_TIMEOUT_MS, (long)IMDS_TIMEOUT_MS);
    curl_easy_setopt(a->curl, CURLOPT_ERRORBUFFER, a->error);
    curl_easy_setopt(a->curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(a->curl, CURLOPT_WRITEDATA, a);
    return 0;
}

/* One request; its answer's text is checked to be short and without anything strange. */
static int ask(struct asking *a, const char *path, const char *method, char *header,
               const char **text, struct err *e)
{
    char url[URL_MAX];
    struct curl_slist headers = {.data = header};
    long status = 0;
    snprintf(url, sizeof url, "%s/latest/%s", a->base, path);
    buf_reset(&a->answer);
    a->error[0] = '\0';
    CURLcode rc = curl_easy_setopt(a->curl, CURLOPT_URL, url);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(a->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, &headers);
    if (rc == CURLE_OK)
        rc = curl_easy_perform(a->curl);
    curl_easy_setopt(a->curl, CURLOPT_HTTPHEADER, NULL);
    if (rc != CURLE_OK)
        return err_set(e, ERR_IO, "%s %.300s: %.150s", method, url,
                       a->error[0] != '\0' ? a->error : curl_easy_strerror(rc));
    curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return err_set(e, ERR_IO, "%s %.300s: HTTP status %ld", method, url, status);
    *text = buf_cstr(&a->answer);
    if (*text == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < a->answer.n; i++)
        if (a->answer.p[i] <= ' ' || a->answer.p[i] > '~')
            return err_set(e, ERR_SYNTAX, "%s %.300s: not an answer of the service", method, url);
    return 0;
}

static int ask_value(struct asking *a, const char *path, char *token, char value[IMDS_VALUE_MAX],
                     struct err *e)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
    const char *text;
    int rc = ask(a, path, "GET", token, &text, e);
    if (rc != 0)
        return rc;
    size_t n = strlen(text);
    if (n == 0 || n >= IMDS_VALUE_MAX || strspn(text, allowed) != n)
        return err_set(e, ERR_SYNTAX, "%s/latest/%s: not an answer of the service", a->base, path);
    memcpy(value, text, n + 1);
    return 0;
}

static int ask_all(struct asking *a, struct imds *m, struct err *e)
{
    char ttl[] = "x-aws-ec2-metadata-token-ttl-seconds: 60";
    char token[ANSWER_MAX + 64];
    const char *text;
    int rc = ask(a, "api/token", "PUT", ttl, &text, e);
    if (rc != 0)
        return rc;
    snprintf(token, sizeof token, "x-aws-ec2-metadata-token: %s", text);
    rc = ask_value(a, "meta-data/instance-id", token, m->instance_id, e);
    if (rc == 0)
        rc = ask_value(a, "meta-data/placement/availability-zone", token, m->availability_zone, e);
    return rc;
}

int imds_load(struct imds *m, struct err *e)
{
    struct asking a = {0};
    struct imds found = {0};
    int rc = find_base(a.base, e);
    if (rc != 0)
        return rc;
    buf_init(&a.answer, ANSWER_MAX);
    rc = set_up(&a, e);
    if (rc == 0)
        rc = ask_all(&a, &found, e);
    if (rc == 0)
        *m = found;
    curl_easy_cleanup(a.curl);
    buf_wipe_release(&a.answer);
    return rc;
}
