/* The credentials chain over real files in a directory of its own, with an environment of its own.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "daemon/creds.h"

struct world {
    char home[64], credentials[128], config[128];
    struct creds c;
    struct err e;
};

static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",       "AWS_SESSION_TOKEN",
    "AWS_PROFILE",       "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE",
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        unsetenv(variables[i]);
    snprintf(w->home, sizeof w->home, "/tmp/test_creds.XXXXXX");
    assert_non_null(mkdtemp(w->home));
    snprintf(w->credentials, sizeof w->credentials, "%s/.aws", w->home);
    assert_int_equal(mkdir(w->credentials, 0700), 0);
    snprintf(w->credentials, sizeof w->credentials, "%s/.aws/credentials", w->home);
    snprintf(w->config, sizeof w->config, "%s/.aws/config", w->home);
    setenv("HOME", w->home, 1);
    creds_init(&w->c);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char path[128];
    creds_release(&w->c);
    unlink(w->credentials);
    rmdir(w->credentials);
    unlink(w->config);
    snprintf(path, sizeof path, "%s/.aws", w->home);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(w->home), 0);
    free(w);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void assert_keys(struct world *w, const char *profile, const char *id, const char *secret,
                        const char *token, const char *origin)
{
    if (creds_load(&w->c, profile, &w->e) != 0)
        fail_msg("%s", w->e.text);
    assert_string_equal(w->c.access_key_id, id);
    assert_string_equal(w->c.secret_access_key, secret);
    if (token == NULL)
        assert_null(w->c.session_token);
    else
        assert_string_equal(w->c.session_token, token);
    assert_string_equal(w->c.origin, origin);
    struct sign_credentials view = creds_view(&w->c);
    assert_ptr_equal(view.secret_access_key, w->c.secret_access_key);
}

/* Loading fails with a message that holds `word`, holds no secret, and the old keys stay. */
static void assert_no_keys(struct world *w, const char *profile, const char *word)
{
    struct creds before = w->c;
    w->e = (struct err){0};
    int rc = creds_load(&w->c, profile, &w->e);
    assert_true(rc < 0);
    assert_int_equal(rc, w->e.code);
    if (strstr(w->e.text, word) == NULL)
        fail_msg("\"%s\" does not hold \"%s\"", w->e.text, word);
    assert_null(strstr(w->e.text, "SECRET"));
    assert_memory_equal(&before, &w->c, sizeof before);
}

static void the_environment_comes_first(void **state)
{
    struct world *w = *state;
    put(w->credentials, "[default]\naws_access_key_id=F\naws_secret_access_key=FSECRET\n");
    setenv("AWS_ACCESS_KEY_ID", "E", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "ESECRET", 1);
    assert_keys(w, NULL, "E", "ESECRET", NULL, "environment");
    setenv("AWS_SESSION_TOKEN", "T", 1);
    assert_keys(w, NULL, "E", "ESECRET", "T", "environment");
    setenv("AWS_SESSION_TOKEN", "", 1);
    assert_keys(w, NULL, "E", "ESECRET", NULL, "environment");
}

static void a_profile_in_the_configuration_passes_the_environment_over(void **state)
{
    struct world *w = *state;
    put(w->credentials, "[p]\naws_access_key_id=F\naws_secret_access_key=FSECRET\n");
    setenv("AWS_ACCESS_KEY_ID", "E", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "ESECRET", 1);
    assert_keys(w, "p", "F", "FSECRET", NULL, "credentials file");
    assert_no_keys(w, "q", "no such profile");
}

static void the_credentials_file_comes_before_the_config_file(void **state)
{
    struct world *w = *state;
    put(w->credentials, "[default]\naws_access_key_id=A\naws_secret_access_key=ASECRET\n"
                        "aws_session_token=AT\n");
    put(w->config, "[default]\naws_access_key_id=B\naws_secret_access_key=BSECRET\n"
                   "[profile p]\naws_access_key_id=C\naws_secret_access_key=CSECRET\n");
    assert_keys(w, NULL, "A", "ASECRET", "AT", "credentials file");
    assert_keys(w, "p", "C", "CSECRET", NULL, "config file");
    setenv("AWS_PROFILE", "p", 1);
    assert_keys(w, NULL, "C", "CSECRET", NULL, "config file");
    assert_int_equal(unlink(w->credentials), 0);
    assert_keys(w, "default", "B", "BSECRET", NULL, "config file");
}

static void files_named_by_variables_are_read_instead(void **state)
{
    struct world *w = *state;
    put(w->config, "[default]\naws_access_key_id=B\naws_secret_access_key=BSECRET\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", w->config, 1);
    setenv("AWS_CONFIG_FILE", "/nonexistent/config", 1);
    assert_keys(w, NULL, "B", "BSECRET", NULL, "credentials file");
    setenv("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/config", 1);
    assert_keys(w, NULL, "B", "BSECRET", NULL, "credentials file");
}

static void rotated_keys_are_found_by_the_next_load(void **state)
{
    struct world *w = *state;
    put(w->credentials, "[default]\naws_access_key_id=A\naws_secret_access_key=ASECRET\n");
    assert_keys(w, NULL, "A", "ASECRET", NULL, "credentials file");
    put(w->credentials, "[default]\naws_access_key_id=B\naws_secret_access_key=BSECRET\n");
    assert_keys(w, NULL, "B", "BSECRET", NULL, "credentials file");
}

static void nothing_anywhere_says_where_it_looked(void **state)
{
    struct world *w = *state;
    assert_no_keys(w, NULL, "AWS_ACCESS_KEY_ID in the environment");
    assert_no_keys(w, NULL, w->credentials);
    assert_no_keys(w, NULL, w->config);
    assert_no_keys(w, NULL, "No such file or directory");
    put(w->credentials, "[default]\nregion=x\n");
    assert_no_keys(w, NULL, "no keys in the profile");
    unsetenv("HOME");
    assert_no_keys(w, NULL, "HOME");
    setenv("HOME", w->home, 1);
}

static void half_a_pair_is_an_error_and_not_passed_over(void **state)
{
    struct world *w = *state;
    put(w->config, "[default]\naws_access_key_id=B\naws_secret_access_key=BSECRET\n");
    assert_keys(w, NULL, "B", "BSECRET", NULL, "config file");
    put(w->credentials, "[default]\naws_access_key_id=A\n");
    assert_no_keys(w, NULL, "no secret access key");
    put(w->credentials, "[default]\naws_secret_access_key=ASECRET\n");
    assert_no_keys(w, NULL, "no access key id");
    setenv("AWS_SECRET_ACCESS_KEY", "ESECRET", 1);
    assert_no_keys(w, NULL, "the environment has a secret access key but no access key id");
}

static void keys_that_would_break_a_header_line_are_refused(void **state)
{
    struct world *w = *state;
    setenv("AWS_ACCESS_KEY_ID", "E\r\nX-Evil: 1", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "ESECRET", 1);
    assert_no_keys(w, NULL, "character");
    setenv("AWS_ACCESS_KEY_ID", "E", 1);
    setenv("AWS_SESSION_TOKEN", "a\x7f", 1);
    assert_no_keys(w, NULL, "character");
    setenv("AWS_SESSION_TOKEN", "\xc3\xa9", 1);
    assert_no_keys(w, NULL, "character");
}

static void only_regular_files_of_a_sane_size_are_read(void **state)
{
    struct world *w = *state;
    assert_int_equal(mkfifo(w->credentials, 0600), 0);
    assert_no_keys(w, NULL, "not a regular file");
    assert_int_equal(unlink(w->credentials), 0);
    assert_int_equal(mkdir(w->credentials, 0700), 0);
    assert_no_keys(w, NULL, "is a directory");
    assert_int_equal(rmdir(w->credentials), 0);
    put(w->credentials, "");
    assert_no_keys(w, NULL, "no such profile");
    assert_int_equal(truncate(w->credentials, (off_t)CREDS_FILE_MAX + 1), 0);
    assert_no_keys(w, NULL, "is larger than");
    assert_int_equal(truncate(w->credentials, (off_t)CREDS_FILE_MAX), 0);
    assert_no_keys(w, NULL, "no such profile");
}

static void a_setting_is_looked_up_in_config_then_credentials(void **state)
{
    struct world *w = *state;
    assert_null(creds_setting(NULL, "region"));
    put(w->credentials, "[default]\nregion=cred\noutput=x\n");
    put(w->config, "[default]\nregion = conf\n[profile p]\nregion = other\n");
    char *got = creds_setting(NULL, "region");
    assert_string_equal(got, "conf");
    free(got);
    got = creds_setting("p", "region");
    assert_string_equal(got, "other");
    free(got);
    got = creds_setting(NULL, "output");
    assert_string_equal(got, "x");
    free(got);
    assert_null(creds_setting("p", "output"));
}

static void releasing_twice_is_harmless(void **state)
{
    struct world *w = *state;
    setenv("AWS_ACCESS_KEY_ID", "E", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "ESECRET", 1);
    assert_keys(w, NULL, "E", "ESECRET", NULL, "environment");
    creds_release(&w->c);
    assert_null(w->c.secret_access_key);
    creds_release(&w->c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_environment_comes_first),
        TEST(a_profile_in_the_configuration_passes_the_environment_over),
        TEST(the_credentials_file_comes_before_the_config_file),
        TEST(files_named_by_variables_are_read_instead),
        TEST(rotated_keys_are_found_by_the_next_load),
        TEST(nothing_anywhere_says_where_it_looked),
        TEST(half_a_pair_is_an_error_and_not_passed_over),
        TEST(keys_that_would_break_a_header_line_are_refused),
        TEST(only_regular_files_of_a_sane_size_are_read),
        TEST(a_setting_is_looked_up_in_config_then_credentials),
        TEST(releasing_twice_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
