/* Each test points stderr at a pipe, logs, and reads what arrived. */
#include "tests/uv/uvtest.h"

#include "daemon/log.h"
#include "lib/json.h"

struct capture {
    int read_fd, saved_fd;
    char text[3 * LOG_LINE_MAX];
};

static void capture_begin(struct capture *c)
{
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    fflush(stderr);
    c->saved_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    assert_true(c->saved_fd >= 0);
    assert_int_equal(dup2(p[1], STDERR_FILENO), STDERR_FILENO);
    close(p[1]);
    c->read_fd = p[0];
}

static const char *capture_end(struct capture *c)
{
    dup2(c->saved_fd, STDERR_FILENO);
    close(c->saved_fd);
    ssize_t n = read(c->read_fd, c->text, sizeof c->text - 1);
    c->text[n > 0 ? n : 0] = '\0';
    close(c->read_fd);
    return c->text;
}

/* The line without its time, which is checked for its form. */
static const char *without_time(const char *line)
{
    static const char FORM[] = "time=dddd-dd-ddTdd:dd:dd.dddZ ";
    for (size_t i = 0; i < sizeof FORM - 1; i++) {
        if (FORM[i] == 'd')
            assert_true(line[i] >= '0' && line[i] <= '9');
        else if (line[i] != FORM[i] && !(FORM[i] == 't' && line[i] == 't'))
            fail_msg("no time at the start of: %s", line);
    }
    return line + sizeof FORM - 1;
}

static void a_line_is_time_level_and_fields(void **state)
{
    (void)state;
    struct capture c;
    capture_begin(&c);
    log_init(LOG_INFO);
    log_info(log_msg("file opened"), log_s("path", "/var/log/a>"), log_u("size", UINT64_MAX),
             log_i("delta", INT64_MIN));
    assert_string_equal(without_time(capture_end(&c)),
                        "level=info msg=\"file opened\" path=/var/log/a> "
                        "size=18446744073709551615 delta=-9223372036854775808\n");
}

static void lines_above_the_level_are_not_written(void **state)
{
    (void)state;
    struct capture c;
    capture_begin(&c);
    log_init(LOG_WARN);
    log_info(log_msg("quiet"));
    log_debug(log_msg("quiet"));
    log_warn(log_msg("w"));
    log_error(log_msg("e"));
    log_set_level(LOG_DEBUG);
    log_debug(log_msg("d"));
    const char *text = capture_end(&c);
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, "level=warn msg=w\n"));
    assert_non_null(strstr(text, "level=error msg=e\n"));
    assert_non_null(strstr(text, "level=debug msg=d\n"));
}

static void check_value(struct str value, const char *expected)
{
    struct capture c;
    char line[512];
    snprintf(line, sizeof line, "level=info v=%s\n", expected);
    capture_begin(&c);
    log_info(log_str("v", value));
    assert_string_equal(without_time(capture_end(&c)), line);
}

static void a_hostile_value_cannot_forge_a_line(void **state)
{
    (void)state;
    log_init(LOG_INFO);
    check_value(STR(""), "\"\"");
    check_value(STR("plain-1.2/x:y"), "plain-1.2/x:y");
    check_value(STR("a b"), "\"a b\"");
    check_value(STR("a=b"), "\"a=b\"");
    check_value(STR("a\\b"), "\"a\\\\b\"");
    check_value(STR("x\" level=error \""), "\"x\\\" level=error \\\"\"");
    check_value(STR("x\nlevel=error\r\t"), "\"x\\nlevel=error\\r\\t\"");
    check_value(STR("\0\x1b[2J\x7f"), "\"\\x00\\x1b[2J\\x7f\"");
    check_value(STR("<3>x"), "<3>x");
    check_value(STR("x> next=1"), "\"x> next=1\"");
}

static void utf8_stays_readable_and_what_is_not_is_escaped(void **state)
{
    (void)state;
    log_init(LOG_INFO);
    check_value(STR("/srv/Gr\xc3\xbc\xc3\x9f"
                    "e"),
                "\"/srv/Gr\xc3\xbc\xc3\x9f"
                "e\"");
    check_value(STR("\xf0\x9f\x98\x80"), "\"\xf0\x9f\x98\x80\"");
    check_value(STR("\xff\xc3"), "\"\\xff\\xc3\"");
    check_value(STR("\xc0\x8a"), "\"\\xc0\\x8a\""); /* overlong line feed */
    check_value(STR("\xc2\x9b"
                    "31m"),
                "\"\\xc2\\x9b31m\"");                        /* C1: control sequence introducer */
    check_value(STR("\xe2\x80\xa8"), "\"\\xe2\\x80\\xa8\""); /* line separator */
    check_value(STR("\xe2\x80\xae"
                    "gpj"),
                "\"\\xe2\\x80\\xaegpj\"");                     /* right-to-left override */
    check_value(STR("\xef\xbb\xbfx"), "\"\\xef\\xbb\\xbfx\""); /* a byte order mark: invisible */
    check_value(STR("\xe2\x82\xac"), "\"\xe2\x82\xac\"");
}

static size_t logged_with_value_of(size_t n, char fill, struct capture *c)
{
    static char value[2 * LOG_LINE_MAX];
    memset(value, fill, n);
    capture_begin(c);
    log_info(log_str("v", (struct str){value, n}), log_s("after", "x"));
    const char *text = capture_end(c);
    size_t len = strlen(text);
    assert_true(len > 0 && len <= LOG_LINE_MAX);
    assert_true(strchr(text, '\n') == text + len - 1);
    return len;
}

static void a_line_that_is_too_long_is_cut_and_marked(void **state)
{
    (void)state;
    struct capture c;
    log_init(LOG_INFO);
    unsigned cut_n = 0, whole_n = 0;
    /* Every length around the edge, for plain, quoted and escaped values. */
    static const char FILLS[] = {'a', ' ', '\n', '\x01'};
    static const size_t COSTS[] = {1, 1, 2, 4};
    for (size_t k = 0; k < sizeof FILLS; k++) {
        size_t edge = LOG_LINE_MAX / COSTS[k];
        for (size_t n = edge - 90; n < edge + 5; n++) {
            logged_with_value_of(n, FILLS[k], &c);
            const char *mark = strstr(c.text, " cut=true\n");
            bool whole = strstr(c.text, " after=x\n") != NULL;
            assert_true(whole == (mark == NULL));
            if (mark != NULL && k > 0)
                assert_true(mark[-1] == '"' || strstr(c.text, " after= cut=true\n") != NULL);
            cut_n += mark != NULL;
            whole_n += whole;
        }
    }
    assert_true(cut_n > 20 && whole_n > 20);
    size_t len = logged_with_value_of(2 * LOG_LINE_MAX, 'a', &c);
    assert_true(len >= LOG_LINE_MAX - 2); /* cut late, not early */
}

static void the_journal_gets_priorities_and_no_time(void **state)
{
    (void)state;
    struct capture c;
    struct stat st;
    capture_begin(&c);
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    char text[64];
    snprintf(text, sizeof text, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", text, 1);
    log_init(LOG_DEBUG);
    log_error(log_msg("a"));
    log_warn(log_msg("b"));
    log_info(log_msg("c"));
    log_debug(log_msg("d"));
    unsetenv("JOURNAL_STREAM");
    assert_string_equal(capture_end(&c), "<3>level=error msg=a\n<4>level=warn msg=b\n"
                                         "<6>level=info msg=c\n<7>level=debug msg=d\n");
}

static void another_processes_journal_stream_is_not_ours(void **state)
{
    (void)state;
    struct capture c;
    capture_begin(&c);
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_init(LOG_INFO);
    log_info(log_msg("a"));
    unsetenv("JOURNAL_STREAM");
    assert_string_equal(without_time(capture_end(&c)), "level=info msg=a\n");
}

static void a_full_stderr_loses_lines_but_does_not_wait(void **state)
{
    (void)state;
    struct capture c;
    capture_begin(&c);
    log_init(LOG_INFO);
    for (unsigned i = 0; i < 5000; i++) /* a pipe holds 64 KiB; it is non-blocking here */
        log_info(log_msg("the same again and again"), log_u("i", i));
    assert_non_null(strstr(capture_end(&c), "i=0\n"));
}

static void a_repeated_complaint_is_held_back_and_counted(void **state)
{
    (void)state;
    struct log_limit l = {0};
    uint64_t held = 99;
    assert_true(log_limit(&l, 1000, 60000, &held));
    assert_int_equal(held, 0);
    held = 99;
    assert_false(log_limit(&l, 1001, 60000, &held));
    assert_false(log_limit(&l, 60999, 60000, &held));
    assert_int_equal(held, 99); /* untouched when the line may not be written */
    assert_true(log_limit(&l, 61000, 60000, &held));
    assert_int_equal(held, 2);
    assert_true(log_limit(&l, 200000, 60000, &held));
    assert_int_equal(held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UVTEST(a_line_is_time_level_and_fields),
        UVTEST(lines_above_the_level_are_not_written),
        UVTEST(a_hostile_value_cannot_forge_a_line),
        UVTEST(utf8_stays_readable_and_what_is_not_is_escaped),
        UVTEST(a_line_that_is_too_long_is_cut_and_marked),
        UVTEST(the_journal_gets_priorities_and_no_time),
        UVTEST(another_processes_journal_stream_is_not_ours),
        UVTEST(a_full_stderr_loses_lines_but_does_not_wait),
        UVTEST(a_repeated_complaint_is_held_back_and_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
