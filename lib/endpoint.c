/* endpoint.c - where a service lives.
 *
 * The happy path of endpoint_parse: scheme, host, optional port, optional "/", end; each piece
 * takes its bytes off the front of a str and checks them, and the URL is then written anew from the
 * checked pieces. So what later goes to curl and into the signed Host header is our own text, in
 * lower case and without a default port: both sides must agree on it, or every signature would be
 * refused.
 *
 * How it fails: ERR_SYNTAX or ERR_RANGE with a sentence; the struct is then left as it was.
 */
#include "lib/endpoint.h"

#include <stdio.h>

#define HOST_MAX   253 /* DNS */
#define REGION_MAX 63

/* A region belongs to the partition whose prefix it has; the last row takes the rest. */
static const struct {
    const char *prefix, *suffix;
} partitions[] = {
    {"cn-", "amazonaws.com.cn"},    {"us-iso-", "c2s.ic.gov"},      {"us-isob-", "sc2s.sgov.gov"},
    {"eu-isoe-", "cloud.adc-e.uk"}, {"us-isof-", "csp.hci.ic.gov"}, {"eu-isof-", "csp.hci.ic.gov"},
    {"eusc-", "amazonaws.eu"},      {"", "amazonaws.com"},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_alnum(char c)
{
    return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_region(struct str s)
{
    if (s.n == 0 || s.n > REGION_MAX || !is_lower(s.p[0]) || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_lower(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-')
            return false;
    return true;
}

static bool has_prefix(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static void write_endpoint(struct endpoint *ep, bool tls, const char *host, unsigned port)
{
    struct endpoint made = {.tls = tls};
    if (port == (tls ? 443u : 80u))
        snprintf(made.host, sizeof made.host, "%s", host);
    else
        snprintf(made.host, sizeof made.host, "%s:%u", host, port);
    snprintf(made.url, sizeof made.url, "%s://%.300s/", tls ? "https" : "http", made.host);
    *ep = made;
}

int endpoint_default(struct endpoint *ep, const char *service, const char *region, struct err *e)
{
    struct str r = str_of(region);
    if (!is_region(r))
        return err_set(e, ERR_SYNTAX, "\"%.64s\" is not the name of a region",
                       region ? region : "");
    size_t i = 0;
    while (!has_prefix(r, partitions[i].prefix))
        i++;
    char host[HOST_MAX + 1];
    int n = snprintf(host, sizeof host, "%s.%s.%s", service, region, partitions[i].suffix);
    if (n < 0 || (size_t)n >= sizeof host)
        return err_set(e, ERR_RANGE, "the name of service %.64s is too long", service);
    write_endpoint(ep, true, host, 443);
    return 0;
}

static bool take_scheme(struct str *s, bool *tls)
{
    static const struct str schemes[] = {{"http://", 7}, {"https://", 8}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t n = 0;
        while (n < schemes[i].n && n < s->n && lower(s->p[n]) == schemes[i].p[n])
            n++;
        if (n == schemes[i].n) {
            *s = (struct str){s->p + n, s->n - n};
            *tls = i == 1;
            return true;
        }
    }
    return false;
}

/* Labels of letters, digits, '-' and '_', joined by single dots; an IPv4 address is one such name.
 */
static bool is_host_name(struct str s)
{
    size_t label = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.' ? label == 0 : !is_alnum(c) && c != '_' && (c != '-' || label == 0))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return label > 0 && s.n <= HOST_MAX;
}

/* Not a full check, only one that keeps everything but an address out of the header; whether it is
 * an address, the resolver says. */
static bool is_bracketed_address(struct str s)
{
    unsigned colons = 0;
    if (s.n < 4 || s.n > 47 || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return false;
    for (size_t i = 1; i + 1 < s.n; i++) {
        char c = lower(s.p[i]);
        if (c == ':')
            colons++;
        else if (!is_digit(c) && !(c >= 'a' && c <= 'f') && c != '.')
            return false;
    }
    return colons >= 2 && colons <= 7;
}

/* Takes "host" or "[address]" off the front, in lower case. */
static bool take_host(struct str *s, char host[HOST_MAX + 1])
{
    size_t n = 0;
    bool bracket = s->n > 0 && s->p[0] == '[';
    while (n < s->n && s->p[n] != '/' && (bracket || s->p[n] != ':')) {
        n++;
        if (bracket && s->p[n - 1] == ']')
            break;
    }
    struct str h = {s->p, n};
    if (bracket ? !is_bracketed_address(h) : !is_host_name(h))
        return false;
    for (size_t i = 0; i < n; i++)
        host[i] = lower(h.p[i]);
    host[n] = '\0';
    *s = (struct str){s->p + n, s->n - n};
    return true;
}

static bool take_port(struct str *s, unsigned *port)
{
    if (s->n == 0 || s->p[0] != ':')
        return true;
    unsigned value = 0;
    size_t n = 1;
    for (; n < s->n && n <= 6 && is_digit(s->p[n]); n++)
        value = value * 10 + (unsigned)(s->p[n] - '0');
    if (n == 1 || value == 0 || value > 65535)
        return false;
    *port = value;
    *s = (struct str){s->p + n, s->n - n};
    return true;
}

int endpoint_parse(struct endpoint *ep, const char *url, struct err *e)
{
    struct str s = str_of(url ? url : "");
    char host[HOST_MAX + 1];
    bool tls;
    if (memchr(s.p, '@', s.n) != NULL) /* without the text: it may hold a password */
        return err_set(e, ERR_SYNTAX, "an endpoint may not hold a user name");
    if (!take_scheme(&s, &tls))
        return err_set(e, ERR_SYNTAX, "\"%.100s\" does not start with http:// or https://", url);
    if (!take_host(&s, host))
        return err_set(e, ERR_SYNTAX, "\"%.100s\" has no valid host name", url);
    unsigned port = tls ? 443 : 80;
    if (!take_port(&s, &port))
        return err_set(e, ERR_RANGE, "\"%.100s\" has no valid port: it is 1 to 65535", url);
    if (s.n > 0 && !(s.n == 1 && s.p[0] == '/'))
        return err_set(e, ERR_SYNTAX,
                       "\"%.100s\" has more than a host and a port: no path, query or fragment",
                       url);
    write_endpoint(ep, tls, host, port);
    return 0;
}

/* The part up to the next ':'; *rest moves past the colon. An empty part when there is none. */
static struct str take_part(struct str *rest)
{
    const char *colon = rest->n > 0 ? memchr(rest->p, ':', rest->n) : NULL;
    if (colon == NULL)
        return (struct str){rest->p, 0};
    struct str part = {rest->p, (size_t)(colon - rest->p)};
    *rest = (struct str){colon + 1, rest->n - part.n - 1};
    return part;
}

static bool is_account(struct str s)
{
    size_t digits = 0;
    while (digits < s.n && is_digit(s.p[digits]))
        digits++;
    return digits == 12 && s.n == 12;
}

static bool is_stream(struct str s)
{
    if (!has_prefix(s, "stream/") || s.n < 8 || s.n > 7 + 128)
        return false;
    for (size_t i = 7; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '.' && s.p[i] != '-')
            return false;
    return true;
}

struct str endpoint_arn_region(struct str arn)
{
    static const struct str none = {"", 0};
    struct str rest = arn;
    struct str scheme = take_part(&rest), partition = take_part(&rest), service = take_part(&rest);
    struct str region = take_part(&rest), account = take_part(&rest);
    bool good = str_eq(scheme, STR("arn")) && has_prefix(partition, "aws") &&
                is_region(partition) && str_eq(service, STR("kinesis")) && is_region(region) &&
                is_account(account) && is_stream(rest);
    return good ? region : none;
}
