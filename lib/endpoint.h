/* endpoint.h - where a service lives, and what an endpoint URL says.
 *
 * endpoint_default writes the service's own URL for a region
 * ("https://kinesis.us-east-1.amazonaws.com"), with the suffix of the region's partition (cn-*,
 * us-iso-*, us-isob-*, eu-isoe-*, us-isof-*, eusc-*). endpoint_parse takes apart an http:// or
 * https:// URL with a host (a name, an IPv4 address or [IPv6]) and an optional port and an
 * optional trailing "/"; user names, paths, queries and fragments are refused. `host` in the
 * result is what the Host header must say: the port is part of it unless it is the scheme's
 * default. Strings are written into the struct; nothing is allocated. Source: botocore's endpoint
 * rule sets for kinesis and firehose.
 */
#ifndef LIB_ENDPOINT_H
#define LIB_ENDPOINT_H

#include "lib/base.h"
#include "lib/err.h"

#define ENDPOINT_URL_MAX 320

struct endpoint {
    char url[ENDPOINT_URL_MAX];  /* scheme://host[:port]/ */
    char host[ENDPOINT_URL_MAX]; /* as in the Host header */
    bool tls;
};

int endpoint_default(struct endpoint *ep, const char *service, const char *region, struct err *e);
int endpoint_parse(struct endpoint *ep, const char *url, struct err *e);
/* The region inside arn:aws*:kinesis:REGION:ACCOUNT:stream/NAME, or an empty str. */
struct str endpoint_arn_region(struct str arn);

#endif
