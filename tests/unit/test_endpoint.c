#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "lib/endpoint.h"

static void every_partition_has_its_suffix(void **state)
{
    (void)state;
    static const struct {
        const char *service, *region, *url;
    } rows[] = {
        {"kinesis", "us-east-1", "https://kinesis.us-east-1.amazonaws.com/"},
        {"firehose", "eu-west-3", "https://firehose.eu-west-3.amazonaws.com/"},
        {"kinesis", "us-gov-west-1", "https://kinesis.us-gov-west-1.amazonaws.com/"},
        {"kinesis", "cn-north-1", "https://kinesis.cn-north-1.amazonaws.com.cn/"},
        {"kinesis", "us-iso-east-1", "https://kinesis.us-iso-east-1.c2s.ic.gov/"},
        {"kinesis", "us-isob-east-1", "https://kinesis.us-isob-east-1.sc2s.sgov.gov/"},
        {"kinesis", "eu-isoe-west-1", "https://kinesis.eu-isoe-west-1.cloud.adc-e.uk/"},
        {"kinesis", "us-isof-south-1", "https://kinesis.us-isof-south-1.csp.hci.ic.gov/"},
        {"kinesis", "eusc-de-east-1", "https://kinesis.eusc-de-east-1.amazonaws.eu/"},
        {"kinesis", "mars-north-1", "https://kinesis.mars-north-1.amazonaws.com/"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct endpoint ep;
        assert_int_equal(endpoint_default(&ep, rows[i].service, rows[i].region, NULL), 0);
        assert_string_equal(ep.url, rows[i].url);
        assert_true(ep.tls);
        assert_int_equal(strlen(ep.host) + strlen("https:///"), strlen(ep.url));
        assert_memory_equal(ep.host, ep.url + strlen("https://"), strlen(ep.host));
    }
}

static void a_region_that_is_none_is_refused_and_nothing_is_written(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        NULL,
        "US-EAST-1",
        "us east",
        "us.east",
        "-us",
        "us-",
        "us/east",
        "1us",
        "us-east-1\n",
        "evil.example.com/",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct endpoint ep = {.url = "kept"};
        struct err e = {0};
        assert_int_equal(endpoint_default(&ep, "kinesis", bad[i], &e), ERR_SYNTAX);
        assert_string_equal(ep.url, "kept");
        assert_non_null(strstr(e.text, "region"));
    }
}

static void good_urls_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *given, *url, *host;
        bool tls;
    } rows[] = {
        {"http://127.0.0.1:4567", "http://127.0.0.1:4567/", "127.0.0.1:4567", false},
        {"http://127.0.0.1:4567/", "http://127.0.0.1:4567/", "127.0.0.1:4567", false},
        {"http://localhost", "http://localhost/", "localhost", false},
        {"http://localhost:80", "http://localhost/", "localhost", false},
        {"https://localhost:443/", "https://localhost/", "localhost", true},
        {"http://localhost:443", "http://localhost:443/", "localhost:443", false},
        {"https://localhost:80", "https://localhost:80/", "localhost:80", true},
        {"HTTPS://Kinesis.US-East-1.AmazonAWS.com", "https://kinesis.us-east-1.amazonaws.com/",
         "kinesis.us-east-1.amazonaws.com", true},
        {"http://[::1]:4567", "http://[::1]:4567/", "[::1]:4567", false},
        {"https://[FE80::1]/", "https://[fe80::1]/", "[fe80::1]", true},
        {"http://[::ffff:127.0.0.1]:1", "http://[::ffff:127.0.0.1]:1/", "[::ffff:127.0.0.1]:1",
         false},
        {"http://my_host-1:65535", "http://my_host-1:65535/", "my_host-1:65535", false},
        {"http://a:00080", "http://a/", "a", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct endpoint ep;
        assert_int_equal(endpoint_parse(&ep, rows[i].given, NULL), 0);
        assert_string_equal(ep.url, rows[i].url);
        assert_string_equal(ep.host, rows[i].host);
        assert_int_equal(ep.tls, rows[i].tls);
        struct endpoint again;
        assert_int_equal(endpoint_parse(&again, ep.url, NULL), 0);
        assert_string_equal(again.url, ep.url);
    }
}

static void bad_urls_are_refused_and_nothing_is_written(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        NULL,
        "localhost:4567",
        "ftp://localhost",
        "http:/localhost",
        "http://",
        "https:///",
        "http://:4567",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:999999",
        "http://a:9999999999999999999999",
        "http://a:-1",
        "http://a:4x",
        "http://a/path",
        "http://a//",
        "http://a?x=1",
        "http://a/?x=1",
        "http://a#f",
        "http://user@a",
        "http://user:secret@a/",
        "http://a b",
        "http://a\r\nX-Evil: 1",
        "http://-a",
        "http://a..b",
        "http://.a",
        "http://a.",
        "http://\xc3\xa9.example",
        "http://[::1",
        "http://[]",
        "http://[127.0.0.1]",
        "http://[::1]x",
        "http://[::g]",
        "http://[fe80::1%eth0]",
        "http://[1:2:3:4:5:6:7:8:9]",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct endpoint ep = {.url = "kept"};
        struct err e = {0};
        int rc = endpoint_parse(&ep, bad[i], &e);
        if (rc == 0)
            fail_msg("\"%s\" was accepted", bad[i]);
        assert_int_equal(rc, e.code);
        assert_string_equal(ep.url, "kept");
        assert_null(strstr(e.text, "secret"));
    }
}

/* Appends `n` times `piece`. */
static void add(char *url, size_t cap, unsigned n, const char *piece)
{
    for (size_t at = strlen(url); n > 0 && at < cap; n--)
        at += (size_t)snprintf(url + at, cap - at, "%s", piece);
}

static void hosts_and_labels_have_their_longest(void **state)
{
    (void)state;
    char url[400] = "http://";
    struct endpoint ep;
    add(url, sizeof url, 63, "a");
    assert_int_equal(endpoint_parse(&ep, url, NULL), 0);
    add(url, sizeof url, 1, "a");
    assert_int_equal(endpoint_parse(&ep, url, NULL), ERR_SYNTAX);

    snprintf(url, sizeof url, "https://");
    add(url, sizeof url, 126, "a.");
    add(url, sizeof url, 1, "b:65535"); /* 253 bytes of name */
    assert_int_equal(endpoint_parse(&ep, url, NULL), 0);
    assert_int_equal(strlen(ep.host), 253 + 6);
    assert_int_equal(strlen(ep.url), 8 + 253 + 6 + 1);
    snprintf(url, sizeof url, "https://a");
    add(url, sizeof url, 127, ".a");
    assert_int_equal(endpoint_parse(&ep, url, NULL), ERR_SYNTAX);
}

static void assert_arn_region(const char *arn, const char *region)
{
    struct str got = endpoint_arn_region(str_of(arn));
    if (!str_eq(got, str_of(region)))
        fail_msg("%s gives \"%.*s\", wanted \"%s\"", arn, (int)got.n, got.p, region);
}

static void the_region_of_a_stream_arn_is_found(void **state)
{
    (void)state;
    assert_arn_region("arn:aws:kinesis:us-east-1:123456789012:stream/crimes", "us-east-1");
    assert_arn_region("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b-c_D9", "cn-north-1");
    assert_arn_region("arn:aws-us-gov:kinesis:us-gov-west-1:000000000000:stream/x",
                      "us-gov-west-1");
}

static void what_is_no_stream_arn_has_no_region(void **state)
{
    (void)state;
    assert_arn_region("", "");
    assert_arn_region("crimes", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:123456789012:stream/", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:123456789012:table/crimes", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:123456789012:stream/a/consumer/b:1", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:12345678901:stream/crimes", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:1234567890123:stream/crimes", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:12345678901x:stream/crimes", "");
    assert_arn_region("arn:aws:kinesis::123456789012:stream/crimes", "");
    assert_arn_region("arn:aws:kinesis:US-EAST-1:123456789012:stream/crimes", "");
    assert_arn_region("arn:aws:firehose:us-east-1:123456789012:stream/crimes", "");
    assert_arn_region("arn:gcp:kinesis:us-east-1:123456789012:stream/crimes", "");
    assert_arn_region("urn:aws:kinesis:us-east-1:123456789012:stream/crimes", "");
    assert_arn_region("arn:aws:kinesis:us-east-1", "");
    assert_arn_region("arn:aws:kinesis:us-east-1:123456789012:stream/a b", "");
    struct str null_text = endpoint_arn_region((struct str){NULL, 0});
    assert_int_equal(null_text.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_partition_has_its_suffix),
        cmocka_unit_test(a_region_that_is_none_is_refused_and_nothing_is_written),
        cmocka_unit_test(good_urls_are_taken_apart),
        cmocka_unit_test(bad_urls_are_refused_and_nothing_is_written),
        cmocka_unit_test(hosts_and_labels_have_their_longest),
        cmocka_unit_test(the_region_of_a_stream_arn_is_found),
        cmocka_unit_test(what_is_no_stream_arn_has_no_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
