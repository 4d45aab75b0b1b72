#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/profile.h"

static void assert_value(const char *text, enum profile_file kind, const char *profile,
                         const char *key, const char *want)
{
    struct str got = profile_get(str_of(text), kind, profile, key);
    if (want == NULL ? got.p != NULL : got.p == NULL || !str_eq(got, str_of(want)))
        fail_msg("[%s] %s is \"%.*s\", wanted %s in:\n%s", profile, key, (int)got.n,
                 got.p ? got.p : "", want ? want : "nothing", text);
}

static const char credentials[] = "# keys\n"
                                  "[default]\n"
                                  "aws_access_key_id = AKID\n"
                                  "aws_secret_access_key=a/b+c=\n"
                                  "\n"
                                  "[other]\r\n"
                                  "AWS_Access_Key_Id\t=\tOTHER\t\r\n"
                                  "; done\n";

static void a_credentials_file_names_profiles_bare(void **state)
{
    (void)state;
    assert_value(credentials, PROFILE_CREDENTIALS, "default", "aws_access_key_id", "AKID");
    assert_value(credentials, PROFILE_CREDENTIALS, "other", "aws_access_key_id", "OTHER");
    assert_value(credentials, PROFILE_CREDENTIALS, "other", "aws_secret_access_key", NULL);
    assert_value(credentials, PROFILE_CREDENTIALS, "none", "aws_access_key_id", NULL);
    assert_value("[profile a]\nk=v\n", PROFILE_CREDENTIALS, "a", "k", NULL);
    assert_value("[ a ]\nk=v", PROFILE_CREDENTIALS, "a", "k", "v");
}

static void a_config_file_says_the_word_profile(void **state)
{
    (void)state;
    assert_value("[profile a]\nregion = x\n", PROFILE_CONFIG, "a", "region", "x");
    assert_value("[profile \t a  ]\nregion = x\n", PROFILE_CONFIG, "a", "region", "x");
    assert_value("[profile \"a b\"]\nregion = x\n", PROFILE_CONFIG, "a b", "region", "x");
    assert_value("[profile 'a']\nregion = x\n", PROFILE_CONFIG, "a", "region", "x");
    assert_value("[a]\nregion = x\n", PROFILE_CONFIG, "a", "region", NULL);
    assert_value("[profilea]\nregion = x\n", PROFILE_CONFIG, "a", "region", NULL);
    assert_value("[profile]\nregion = x\n", PROFILE_CONFIG, "profile", "region", NULL);
    assert_value("[sso-session a]\nregion = x\n", PROFILE_CONFIG, "a", "region", NULL);
    assert_value("[default]\nregion = x\n", PROFILE_CONFIG, "default", "region", "x");
}

static void profile_default_makes_default_count_for_nothing(void **state)
{
    (void)state;
    static const char bare_last[] = "[profile default]\na=1\n[default]\na=2\nb=2\n";
    static const char bare_first[] = "[default]\na=2\nb=2\n[profile default]\na=1\n";
    assert_value(bare_last, PROFILE_CONFIG, "default", "a", "1");
    assert_value(bare_last, PROFILE_CONFIG, "default", "b", NULL);
    assert_value(bare_first, PROFILE_CONFIG, "default", "a", "1");
    assert_value(bare_first, PROFILE_CONFIG, "default", "b", NULL);
    assert_value(bare_first, PROFILE_CREDENTIALS, "default", "b", "2");
}

static void comments_need_a_blank_before_them(void **state)
{
    (void)state;
    assert_value("[a]\nk = v # c\n", PROFILE_CREDENTIALS, "a", "k", "v");
    assert_value("[a]\nk = v\t;c\n", PROFILE_CREDENTIALS, "a", "k", "v");
    assert_value("[a]\nk = v#1;2\n", PROFILE_CREDENTIALS, "a", "k", "v#1;2");
    assert_value("[a]\nk = # all of it\n", PROFILE_CREDENTIALS, "a", "k", "");
    assert_value("[a] # c\nk = v\n", PROFILE_CREDENTIALS, "a", "k", "v");
    assert_value("[a]\n#k = v\n;k = v\n", PROFILE_CREDENTIALS, "a", "k", NULL);
}

static void nested_settings_are_skipped(void **state)
{
    (void)state;
    static const char text[] = "[a]\ns3 =\n  region = nested\n\tk = nested\nregion = top\n";
    assert_value(text, PROFILE_CREDENTIALS, "a", "region", "top");
    assert_value(text, PROFILE_CREDENTIALS, "a", "k", NULL);
    assert_value(text, PROFILE_CREDENTIALS, "a", "s3", "");
}

static void the_last_one_wins(void **state)
{
    (void)state;
    static const char text[] = "[a]\nk=1\nk=2\n[b]\nk=9\n[a]\nK=3\nl=4\n";
    assert_value(text, PROFILE_CREDENTIALS, "a", "k", "3");
    assert_value(text, PROFILE_CREDENTIALS, "a", "l", "4");
    assert_value(text, PROFILE_CREDENTIALS, "b", "k", "9");
}

static void nonsense_is_skipped_and_a_broken_section_belongs_to_nobody(void **state)
{
    (void)state;
    assert_value("[a]\nno equals\n= no key\n\x01\x02\nk=v\n", PROFILE_CREDENTIALS, "a", "k", "v");
    assert_value("[a]\nk=v\n[b\nk=w\nl=1\n", PROFILE_CREDENTIALS, "a", "k", "v");
    assert_value("[a]\nk=v\n[b\nl=1\n", PROFILE_CREDENTIALS, "a", "l", NULL);
    assert_value("k=before\n", PROFILE_CREDENTIALS, "", "k", NULL);
    assert_value("[]\nk=v\n", PROFILE_CREDENTIALS, "", "k", NULL);
    assert_value("\xEF\xBB\xBF[a]\nk=v\n", PROFILE_CREDENTIALS, "a", "k", "v");
    assert_value("[a]\nk=v=w==\n", PROFILE_CREDENTIALS, "a", "k", "v=w==");
    assert_value("", PROFILE_CREDENTIALS, "a", "k", NULL);
    struct str got = profile_get((struct str){NULL, 0}, PROFILE_CONFIG, "default", "k");
    assert_null(got.p);
}

static void a_line_past_the_limit_is_no_setting(void **state)
{
    (void)state;
    char *text = malloc(PROFILE_LINE_MAX + 64);
    assert_non_null(text);
    for (size_t over = 0; over <= 1; over++) {
        size_t n = (size_t)snprintf(text, 64, "[a]\nk=");
        memset(text + n, 'x', PROFILE_LINE_MAX - 2 + over);
        n += PROFILE_LINE_MAX - 2 + over;
        n += (size_t)snprintf(text + n, 32, "\nl=1\n");
        struct str t = {text, n};
        struct str got = profile_get(t, PROFILE_CREDENTIALS, "a", "k");
        if (over)
            assert_null(got.p);
        else
            assert_int_equal(got.n, PROFILE_LINE_MAX - 2);
        assert_int_equal(profile_get(t, PROFILE_CREDENTIALS, "a", "l").n, 1);
    }
    free(text);
}

static void a_missing_profile_differs_from_a_missing_key(void **state)
{
    (void)state;
    struct str t = str_of(credentials);
    assert_true(profile_exists(t, PROFILE_CREDENTIALS, "other"));
    assert_false(profile_exists(t, PROFILE_CREDENTIALS, "othe"));
    assert_false(profile_exists(t, PROFILE_CONFIG, "other"));
    assert_true(profile_exists(t, PROFILE_CONFIG, "default"));
    assert_true(profile_exists(str_of("[profile x]"), PROFILE_CONFIG, "x"));
    assert_false(profile_exists(str_of(""), PROFILE_CONFIG, "default"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_credentials_file_names_profiles_bare),
        cmocka_unit_test(a_config_file_says_the_word_profile),
        cmocka_unit_test(profile_default_makes_default_count_for_nothing),
        cmocka_unit_test(comments_need_a_blank_before_them),
        cmocka_unit_test(nested_settings_are_skipped),
        cmocka_unit_test(the_last_one_wins),
        cmocka_unit_test(nonsense_is_skipped_and_a_broken_section_belongs_to_nobody),
        cmocka_unit_test(a_line_past_the_limit_is_no_setting),
        cmocka_unit_test(a_missing_profile_differs_from_a_missing_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
