#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/logformats.h"

/* A line and its fields in order, NULL where there is none. No fields at all: not of the format. */
struct row {
    const char *line;
    bool fits;
    const char *fields[LOGFORMAT_FIELDS_MAX];
};

static void check(enum logformat f, const struct row *row)
{
    struct str values[LOGFORMAT_FIELDS_MAX];
    size_t n, line_n = strlen(row->line);
    const char *const *names = logformat_names(f, &n);
    char *line = malloc(line_n + 1); /* exact, so that a sanitizer sees a read too far */
    memcpy(line, row->line, line_n);
    bool fits = logformat_parse(f, (struct str){line, line_n}, values);
    if (fits != row->fits)
        fail_msg("%s: %s", row->line, fits ? "is taken" : "is refused");
    for (size_t i = 0; fits && i < n; i++) {
        const char *want = row->fields[i];
        bool same = want == NULL ? values[i].p == NULL
                                 : values[i].p != NULL && str_eq(values[i], str_of(want));
        if (!same)
            fail_msg("%s: %s is %.*s, wanted %s", row->line, names[i], (int)values[i].n,
                     values[i].p != NULL ? values[i].p : "", want != NULL ? want : "nothing");
    }
    free(line);
}

#define CHECK(f, rows)                                                                             \
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)                                                   \
    check(f, &rows[i])

static void access_logs_in_the_common_format(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /apache_pb.gif HTTP/1.0\" 200 2326",
         true,
         {"127.0.0.1", NULL, "frank", "10/Oct/2000:13:55:36 -0700", "GET /apache_pb.gif HTTP/1.0",
          "200", "2326"}},
        {"2001:db8::7 - - [23/Nov/2026:05:06:07 +0000] \"HEAD / HTTP/2.0\" 304 -",
         true,
         {"2001:db8::7", NULL, NULL, "23/Nov/2026:05:06:07 +0000", "HEAD / HTTP/2.0", "304", NULL}},
        {"h id u [t] \"-\" 408 0", true, {"h", "id", "u", "t", NULL, "408", "0"}},
        {"h - - [t] \"\" 400 150", true, {"h", NULL, NULL, "t", "", "400", "150"}},
        {"h - - [t] \"GET /a\\\"b\\\\\" 200 1",
         true,
         {"h", NULL, NULL, "t", "GET /a\\\"b\\\\", "200", "1"}},
        {"h - - [t] \"GET /\\\\\\\" x\" 200 1",
         true,
         {"h", NULL, NULL, "t", "GET /\\\\\\\" x", "200", "1"}},
        {"h - - [t] \"GET /a\"b HTTP/1.1\" 200 1",
         true,
         {"h", NULL, NULL, "t", "GET /a\"b HTTP/1.1", "200", "1"}},
        {"h - - [t] \"\\x16\\x03\\x01\" 400 226",
         true,
         {"h", NULL, NULL, "t", "\\x16\\x03\\x01", "400", "226"}},
        {"h - - [t] \"GET / HTTP/1.1\" - 12 0.003 upstream",
         true,
         {"h", NULL, NULL, "t", "GET / HTTP/1.1", NULL, "12"}},
        {"h - - [t] \"GET / HTTP/1.1\" 200 1 \"-\" \"curl\"",
         true,
         {"h", NULL, NULL, "t", "GET / HTTP/1.1", "200", "1"}},
        {"h - - [t] \"\xff\xfe\" 200 1", true, {"h", NULL, NULL, "t", "\xff\xfe", "200", "1"}},
        /* A virtual host in front would shift every field. */
        {"www:443 127.0.0.1 - - [t] \"GET /\" 200 1", false, {0}},
        {"h - - [t] \"GET /\" 200", false, {0}},
        {"h - - [t] \"GET /\" 200 12kB", false, {0}},
        {"h - - [t] \"GET /\" ok 12", false, {0}},
        {"h - - [t] \"GET / 200 1", false, {0}},
        {"h - - [t] \"GET /\\\" 200 1", false, {0}},
        {"h - - [t \"GET /\" 200 1", false, {0}},
        {"h - - [] \"GET /\" 200 1", false, {0}},
        {"h - - t \"GET /\" 200 1", false, {0}},
        {" - - [t] \"GET /\" 200 1", false, {0}},
        {"h  - [t] \"GET /\" 200 1", false, {0}},
        {"just words", false, {0}},
        {"h", false, {0}},
        {"\"", false, {0}},
        {"", false, {0}},
    };
    CHECK(LOGFORMAT_COMMON, rows);
}

static void access_logs_in_the_combined_format(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 2326 "
         "\"http://www.example.com/start.html\" \"Mozilla/4.08 [en] (Win98; I ;Nav)\"",
         true,
         {"127.0.0.1", NULL, "frank", "10/Oct/2000:13:55:36 -0700", "GET / HTTP/1.0", "200", "2326",
          "http://www.example.com/start.html", "Mozilla/4.08 [en] (Win98; I ;Nav)"}},
        {"::1 - - [t] \"GET / HTTP/1.1\" 200 - \"-\" \"-\"",
         true,
         {"::1", NULL, NULL, "t", "GET / HTTP/1.1", "200", NULL, NULL, NULL}},
        {"h - - [t] \"r\" 200 5 \"\" \"\"", true, {"h", NULL, NULL, "t", "r", "200", "5", "", ""}},
        {"h - - [t] \"r\" 200 5 \"a \\\" b\" \"x\\\\\" \"10.0.0.9\" 0.004",
         true,
         {"h", NULL, NULL, "t", "r", "200", "5", "a \\\" b", "x\\\\"}},
        {"h - - [t] \"r\" 200 5 \"-\" \"he said \"hi\"there\"",
         true,
         {"h", NULL, NULL, "t", "r", "200", "5", NULL, "he said \"hi\"there"}},
        {"h - - [t] \"r\" 200 5", false, {0}},
        {"h - - [t] \"r\" 200 5 \"-\"", false, {0}},
        {"h - - [t] \"r\" 200 5 - -", false, {0}},
        {"h - - [t] \"r\" 200 5 \"-\" \"open", false, {0}},
        {"h - - [t] \"r\" 200 5 \"-\"\"-\"", false, {0}},
    };
    CHECK(LOGFORMAT_COMBINED, rows);
}

static void apache_s_error_log_old_and_new(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4328636416] "
         "[client 72.15.99.187] File does not exist: /usr/local/apache2/htdocs/favicon.ico",
         true,
         {"Fri Sep 09 10:42:29.902022 2011", "core", "error", "35708", "4328636416", "72.15.99.187",
          "File does not exist: /usr/local/apache2/htdocs/favicon.ico"}},
        {"[Wed Oct 11 14:32:52 2000] [error] [client 127.0.0.1] client denied by server "
         "configuration: /export/home/live/ap/htdocs/test",
         true,
         {"Wed Oct 11 14:32:52 2000", NULL, "error", NULL, NULL, "127.0.0.1",
          "client denied by server configuration: /export/home/live/ap/htdocs/test"}},
        {"[t] [mpm_event:notice] [pid 12] AH00489: Apache/2.4.57 (Debian) configured",
         true,
         {"t", "mpm_event", "notice", "12", NULL, NULL,
          "AH00489: Apache/2.4.57 (Debian) configured"}},
        {"[t] [:error] [pid 9] [client [2001:db8::1]:5060] PHP Notice",
         true,
         {"t", NULL, "error", "9", NULL, "[2001:db8::1", ":5060] PHP Notice"}},
        {"[t] [ssl:warn] [pid 9:tid 8] [client 2001:db8::1:5060] AH01909",
         true,
         {"t", "ssl", "warn", "9", "8", "2001:db8::1:5060", "AH01909"}},
        {"[t] [core:error] [pid 1:tid 2] (13)Permission denied: [client 10.0.0.1:80] AH00035: no",
         true,
         {"t", "core", "error", "1", "2", "10.0.0.1:80",
          "(13)Permission denied: [client 10.0.0.1:80] AH00035: no"}},
        /* What a visitor makes appear in a message is not the client. */
        {"[t] [core:error] [pid 1] script: [client 6.6.6.6] not found",
         true,
         {"t", "core", "error", "1", NULL, NULL, "script: [client 6.6.6.6] not found"}},
        {"[t] [core:trace8] x", true, {"t", "core", "trace8", NULL, NULL, NULL, "x"}},
        {"[t] [-:error] x", true, {"t", NULL, "error", NULL, NULL, NULL, "x"}},
        {"[t] [error]", true, {"t", NULL, "error", NULL, NULL, NULL, ""}},
        {"[t] [error] [client ] x", true, {"t", NULL, "error", NULL, NULL, NULL, "[client ] x"}},
        {"[t] [error] [client x", true, {"t", NULL, "error", NULL, NULL, NULL, "[client x"}},
        {"[t] [Core Error] x", false, {0}},
        {"[t] [core:] x", false, {0}},
        {"[t] [error]x", false, {0}},
        {"[t] x", false, {0}},
        {"[t]", false, {0}},
        {"[] [error] x", false, {0}},
        {"2026/11/23 05:06:07 [error] 12#12: *1 open() failed", false, {0}},
    };
    CHECK(LOGFORMAT_APACHE_ERROR, rows);
}

static void syslog_with_and_without_its_parts(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"Nov 23 05:06:07 web-1 sshd[812]: Accepted publickey for deploy",
         true,
         {"Nov 23 05:06:07", "web-1", "sshd", "812", "Accepted publickey for deploy", NULL}},
        {"<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8",
         true,
         {"Oct 11 22:14:15", "mymachine", "su", NULL, "'su root' failed for lonvick on /dev/pts/8",
          "34"}},
        {"<13>Nov  3 05:06:07 root: hello there",
         true,
         {"Nov  3 05:06:07", NULL, "root", NULL, "hello there", "13"}},
        {"<13>Nov  3 05:06:07 backup[77]: done",
         true,
         {"Nov  3 05:06:07", NULL, "backup", "77", "done", "13"}},
        {"<1.6>Nov 3 05:06:07 h cron: x", true, {"Nov 3 05:06:07", "h", "cron", NULL, "x", "1.6"}},
        {"2026-11-23T05:06:07.123456+01:00 h systemd[1]: Started.",
         true,
         {"2026-11-23T05:06:07.123456+01:00", "h", "systemd", "1", "Started.", NULL}},
        {"Nov 23 05:06:07 h kernel: [    0.000000] Linux version 6.1",
         true,
         {"Nov 23 05:06:07", "h", "kernel", NULL, "[    0.000000] Linux version 6.1", NULL}},
        {"Nov 23 05:06:07 h last message repeated 2 times",
         true,
         {"Nov 23 05:06:07", "h", NULL, NULL, "last message repeated 2 times", NULL}},
        {"Nov 23 05:06:07 h postfix/smtpd[9]: NOQUEUE: reject",
         true,
         {"Nov 23 05:06:07", "h", "postfix/smtpd", "9", "NOQUEUE: reject", NULL}},
        {"Nov 23 05:06:07 h app[9] no colon",
         true,
         {"Nov 23 05:06:07", "h", "app", "9", "no colon", NULL}},
        {"Nov 23 05:06:07 h app[]: empty",
         true,
         {"Nov 23 05:06:07", "h", "app", NULL, "empty", NULL}},
        {"Nov 23 05:06:07 h perl::mod: x",
         true,
         {"Nov 23 05:06:07", "h", "perl::mod", NULL, "x", NULL}},
        {"Nov 23 05:06:07 h tag:", true, {"Nov 23 05:06:07", "h", "tag", NULL, "", NULL}},
        {"Nov 23 05:06:07 2001:db8::1 tag: x",
         true,
         {"Nov 23 05:06:07", "2001:db8::1", "tag", NULL, "x", NULL}},
        {"Nov 23 05:06:07 h [weird] : x",
         true,
         {"Nov 23 05:06:07", "h", NULL, NULL, "[weird] : x", NULL}},
        {"Nov 23 05:06:07 h app[a b]: x",
         true,
         {"Nov 23 05:06:07", "h", NULL, NULL, "app[a b]: x", NULL}},
        {"Nov 23 05:06:07 h app[1]x: y",
         true,
         {"Nov 23 05:06:07", "h", NULL, NULL, "app[1]x: y", NULL}},
        {"Nov 23 05:06:07 - app: x", true, {"Nov 23 05:06:07", NULL, "app", NULL, "x", NULL}},
        {"Nov 23 05:06:07 h", true, {"Nov 23 05:06:07", "h", NULL, NULL, "", NULL}},
        {"Nov 23 05:06:07", false, {0}},
        {"Nov 23 05:06:07 ", false, {0}},
        {"Nov 23 05:06:07  h x", false, {0}},
        {"Nov 23 5:06:07 h x", false, {0}},
        {"Foo 23 05:06:07 h x", false, {0}},
        {"nov 23 05:06:07 h x", false, {0}},
        {"<abc>Nov 23 05:06:07 h x", false, {0}},
        {"<123456>Nov 23 05:06:07 h x", false, {0}},
        {"<>Nov 23 05:06:07 h x", false, {0}},
        {"<13Nov 23 05:06:07 h x", false, {0}},
        {"<13>", false, {0}},
        {"just words, no time", false, {0}},
        {"2026-11-23", false, {0}},
    };
    CHECK(LOGFORMAT_SYSLOG, rows);
}

static void syslog_as_rfc_5424_has_it(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed",
         true,
         {"34", "1", "2003-10-11T22:14:15.003Z", "mymachine.example.com", "su", NULL, "ID47", NULL,
          "'su root' failed"}},
        {"<165>1 2003-10-11T22:14:15.003Z m evntslog - ID47 [exampleSDID@32473 iut=\"3\" "
         "eventSource=\"App\"][examplePriority@32473 class=\"high\"]",
         true,
         {"165", "1", "2003-10-11T22:14:15.003Z", "m", "evntslog", NULL, "ID47",
          "[exampleSDID@32473 iut=\"3\" eventSource=\"App\"][examplePriority@32473 class=\"high\"]",
          NULL}},
        {"<0>1 - - - - - -", true, {"0", "1", NULL, NULL, NULL, NULL, NULL, NULL, NULL}},
        {"<0>1 - - - - - - ", true, {"0", "1", NULL, NULL, NULL, NULL, NULL, NULL, ""}},
        {"<0>1 - - - - - - \xef\xbb\xbfm\xc3\xbcr",
         true,
         {"0", "1", NULL, NULL, NULL, NULL, NULL, NULL, "m\xc3\xbcr"}},
        {"<0>1 - - - 77 - [a] [b] x",
         true,
         {"0", "1", NULL, NULL, NULL, "77", NULL, "[a]", "[b] x"}},
        {"<0>1 - - - - - [a b=\"\\\"\\]\\\\ \\n\"] x",
         true,
         {"0", "1", NULL, NULL, NULL, NULL, NULL, "[a b=\"\\\"\\]\\\\ \\n\"]", "x"}},
        {"<0>1 - - - - - [a b=\"]\"] x",
         true,
         {"0", "1", NULL, NULL, NULL, NULL, NULL, "[a b=\"]\"]", "x"}},
        {"<0>1 - - - - - -x", false, {0}},
        {"<0>1 - - - - - [a b=\"c] x", false, {0}},
        {"<0>1 - - - - - [a b=c] x", false, {0}},
        {"<0>1 - - - - - [a b] x", false, {0}},
        {"<0>1 - - - - - [] x", false, {0}},
        {"<0>1 - - - - - [a", false, {0}},
        {"<0>1 - - - - - [a b=\"\\", false, {0}},
        {"<0>1 - - - - - x", false, {0}},
        {"<0>1 - - - - -", false, {0}},
        {"<0>0 - - - - - -", false, {0}},
        {"<0>- - - - - - -", false, {0}},
        {"<0> 1 - - - - - -", false, {0}},
        {"<1234>1 - - - - - -", false, {0}},
        {"<x>1 - - - - - -", false, {0}},
        {"1 - - - - - -", false, {0}},
        {"<34>Oct 11 22:14:15 mymachine su: x", false, {0}},
    };
    CHECK(LOGFORMAT_SYSLOG_RFC5424, rows);
}

/* Every beginning of a good line, each in memory of exactly its size. */
static void a_line_may_end_anywhere(void **state)
{
    (void)state;
    static const char *const lines[LOGFORMATS_N] = {
        "h - - [t] \"GET /\\\" x\" 200 1",
        "h - - [t] \"r\" 200 5 \"a \\\" b\" \"x\\\\\" more",
        "[t] [core:error] [pid 1:tid 2] (13)Permission denied: [client 10.0.0.1:80] AH00035: no",
        "<1.6>Nov 23 05:06:07 h perl::mod[12]: x",
        "<165>1 2003-10-11T22:14:15.003Z m e p i [a@1 b=\"\\]\"][c d=\"\"] \xef\xbb\xbfm",
    };
    for (size_t f = 0; f < LOGFORMATS_N; f++) {
        for (size_t n = 0; n <= strlen(lines[f]); n++) {
            struct str values[LOGFORMAT_FIELDS_MAX];
            size_t names_n;
            char *line = malloc(n + 1);
            memcpy(line, lines[f], n);
            bool fits = logformat_parse((enum logformat)f, (struct str){line, n}, values);
            logformat_names((enum logformat)f, &names_n);
            for (size_t i = 0; fits && i < names_n; i++)
                if (values[i].p != NULL)
                    assert_true(values[i].p >= line && values[i].p + values[i].n <= line + n);
            assert_true(fits || n < strlen(lines[f]));
            free(line);
        }
    }
}

/* A megabyte of what might be looked through again and again. */
static void a_long_line_costs_by_its_length(void **state)
{
    (void)state;
    static const char *const heads[LOGFORMATS_N] = {"h - - [t] \"", "h - - [t] \"", "[t] [error] (",
                                                    "Nov 23 05:06:07 h ", "<1>1 - - - - - ["};
    static const char *const fills[] = {"\"", "\\", "\\\"", "[", "]", ": [client ", "a[", ":"};
    size_t n = MIB;
    char *line = malloc(n);
    for (size_t f = 0; f < LOGFORMATS_N; f++) {
        for (size_t k = 0; k < ARRAY_LEN(fills); k++) {
            size_t head_n = strlen(heads[f]), fill_n = strlen(fills[k]);
            memcpy(line, heads[f], head_n);
            for (size_t at = head_n; at < n; at++)
                line[at] = fills[k][(at - head_n) % fill_n];
            struct str values[LOGFORMAT_FIELDS_MAX];
            bool fits = logformat_parse((enum logformat)f, (struct str){line, n}, values);
            bool all_message = f == LOGFORMAT_SYSLOG || f == LOGFORMAT_APACHE_ERROR;
            assert_int_equal(fits, all_message);
        }
    }
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_logs_in_the_common_format),
        cmocka_unit_test(access_logs_in_the_combined_format),
        cmocka_unit_test(apache_s_error_log_old_and_new),
        cmocka_unit_test(syslog_with_and_without_its_parts),
        cmocka_unit_test(syslog_as_rfc_5424_has_it),
        cmocka_unit_test(a_line_may_end_anywhere),
        cmocka_unit_test(a_long_line_costs_by_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
