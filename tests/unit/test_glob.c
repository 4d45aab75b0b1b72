#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/glob.h"
#include "lib/rng.h"

static struct glob *made(const char *pattern, char *const *excludes, size_t n)
{
    struct err e;
    struct glob *g = glob_new(pattern, excludes, n, &e);
    if (g == NULL)
        fail_msg("%s: %s", pattern, e.text);
    return g;
}

static bool matches(const char *pattern, const char *path)
{
    struct glob *g = made(pattern, NULL, 0);
    bool yes = glob_match(g, path);
    assert_false(glob_excluded(g, path));
    glob_free(g);
    return yes;
}

#define YES(pattern, path) assert_true(matches(pattern, path))
#define NO(pattern, path)  assert_false(matches(pattern, path))

static void a_plain_path_matches_itself(void **state)
{
    (void)state;
    YES("/a", "/a");
    YES("/var/log/app.log", "/var/log/app.log");
    NO("/var/log/app.log", "/var/log/app_log");
    NO("/var/log/app.log", "/var/log/app.log.1");
    NO("/var/log/app.log", "/var/log");
    NO("/var/log", "/var/log/app.log");
    NO("/a", "a");
    NO("/a", "");
    NO("/a", "/");
    NO("/a", "/a/");
    NO("/a/b", "/a//b");
    NO("/a/b", "//a/b");
    YES("/.hidden", "/.hidden");
}

static void wildcards_stay_within_a_component(void **state)
{
    (void)state;
    YES("/l/*.log", "/l/a.log");
    YES("/l/a*", "/l/a");
    NO("/l/*.log", "/l/x/a.log");
    NO("/*", "/l/a");
    YES("/?/?", "/a/b");
    NO("/a?b", "/a/b");
    YES("/l/*-*.[0-9]", "/l/a-b-c.7");
    YES("/l/[!a]x", "/l/bx");
    YES("/l/[^a]x", "/l/bx");
    NO("/l/[!a]x", "/l/ax");
    YES("/l/[]x]", "/l/]");
    YES("/l/[!]x]", "/l/y");
    YES("/l/[[:digit:]]", "/l/4");
    YES("/l/[a\\]]", "/l/]");
    YES("/l/a**b", "/l/a12b"); /* two stars that are not a component are two stars */
    NO("/l/a**b", "/l/a/b");
}

static void a_leading_dot_must_be_matched_by_a_dot(void **state)
{
    (void)state;
    NO("/l/*", "/l/.a");
    NO("/l/?a", "/l/.a");
    NO("/l/[.]a", "/l/.a");
    YES("/l/.*", "/l/.a");
    YES("/l/a*", "/l/a.b");
    NO("/*/a", "/.l/a");
}

static void two_stars_are_any_number_of_directories(void **state)
{
    (void)state;
    YES("/l/**/a", "/l/a");
    YES("/l/**/a", "/l/x/a");
    YES("/l/**/a", "/l/x/y/z/a");
    YES("/l/**/a", "/l/a/a");
    YES("/l/**/a", "/l/a/b/a");
    NO("/l/**/a", "/l/x/b");
    NO("/l/**/a", "/l/a/b");
    NO("/l/**/a", "/m/a");
    YES("/**/*.log", "/a.log");
    YES("/**/*.log", "/x/y/a.log");
    YES("/**/a/**/b", "/a/b");
    YES("/**/a/**/b", "/x/a/y/a/z/b");
    NO("/**/a/**/b", "/x/b");
    YES("/**/**/a", "/a");
    YES("/**/a/b/**/c", "/a/x/a/b/y/c");
    YES("/l/**/x/*", "/l/x/x/x/f");
}

static void hidden_directories_are_not_entered_by_two_stars(void **state)
{
    (void)state;
    NO("/l/**/a", "/l/.git/a");
    NO("/l/**/a", "/l/x/.git/y/a");
    YES("/l/**/.git/a", "/l/x/.git/a");
    YES("/l/**/.a", "/l/x/.a");
    YES("/l/.git/**/a", "/l/.git/x/a");
    NO("/l/**/.h/**/a", "/l/.h/x/.h/a");
    NO("/l/**/*/a", "/l/.h/x/a");
}

static void braces_are_alternatives(void **state)
{
    (void)state;
    YES("/l/{a,b}.log", "/l/a.log");
    YES("/l/{a,b}.log", "/l/b.log");
    NO("/l/{a,b}.log", "/l/c.log");
    NO("/l/{a,b}.log", "/l/{a,b}.log");
    YES("/l/a{,.1}", "/l/a");
    YES("/l/a{,.1}", "/l/a.1");
    YES("/l/{a,b{c,d}e,}f", "/l/bdef");
    YES("/l/{a,b{c,d}e,}f", "/l/f");
    NO("/l/{a,b{c,d}e,}f", "/l/be");
    YES("/{a/b,c}/d", "/a/b/d");
    YES("/{a/b,c}/d", "/c/d");
    YES("/l/{*.log,**/x}", "/l/a/b/x");
    YES("/l/{a}", "/l/a");
    YES("/l/a,b", "/l/a,b");
    YES("/l/a}", "/l/a}");
    YES("/l{,/m}/a", "/l/a");
    YES("/l{,/m}/a", "/l/m/a");
}

static void a_backslash_takes_a_character_as_it_is(void **state)
{
    (void)state;
    YES("/l/\\*", "/l/*");
    NO("/l/\\*", "/l/a");
    YES("/l/\\{a,b\\}", "/l/{a,b}");
    YES("/l/{a\\,b,c}", "/l/a,b");
    YES("/l/{a\\,b,c}", "/l/c");
    YES("/l/{a\\},b}", "/l/a}");
    YES("/l/\\[a", "/l/[a");
    YES("/l/\\[*", "/l/[ab");
    YES("/l/\\\\", "/l/\\");
    YES("/l/\\\\[a]", "/l/\\a");
    YES("/l/\\a\\b", "/l/ab");
    YES("/\\**/a", "/*xy/a"); /* not the component ** */
    NO("/\\**/a", "/*xy/z/a");
}

static bool stays(const char *exclude, const char *path)
{
    char *excludes[] = {(char *)(uintptr_t)exclude};
    struct glob *g = made("/l/{**/*,**/.*,.*/*}", excludes, 1);
    bool yes = glob_match(g, path);
    assert_int_equal(glob_excluded(g, path), !yes);
    glob_free(g);
    return yes;
}

static void exclusions_without_a_slash_speak_of_the_last_component(void **state)
{
    (void)state;
    assert_false(stays("*.gz", "/l/a.gz"));
    assert_false(stays("*.gz", "/l/x/a.gz"));
    assert_true(stays("*.gz", "/l/x.gz/a"));
    assert_true(stays("*.gz", "/l/a"));
    assert_false(stays("a", "/l/x/a"));
    assert_false(stays("{*.gz,*.xz}", "/l/a.xz"));
    assert_true(stays("l", "/l/a"));
}

static void exclusions_with_a_slash_speak_of_the_whole_path(void **state)
{
    (void)state;
    assert_false(stays("/l/old/*", "/l/old/a"));
    assert_true(stays("/l/old/*", "/l/old/x/a"));
    assert_false(stays("/l/old/**", "/l/old/x/a"));
    assert_false(stays("/l/old/**", "/l/old/a"));
    assert_true(stays("/l/old/**", "/l/older"));
    assert_true(stays("/l/old/**", "/l/old"));
    assert_false(stays("/l/x/.*", "/l/x/.h"));
    assert_false(stays("**", "/l/a"));
    assert_false(stays("/l/**/tmp/**", "/l/x/tmp/y/a"));
    assert_false(stays("/l/.old/**", "/l/.old/a"));
    assert_false(stays("/l/**", "/l/.old/a"));
    assert_false(stays("/l/**", "/l/x/.a"));
    assert_true(stays("/a", "/l/a"));
    assert_true(stays("/a", "/l/x/a"));
    assert_false(stays("/l/a", "/l/a"));
    assert_false(stays("**/a", "/l/x/a"));
    assert_false(stays("{/l/a,*.gz}", "/l/a"));
    assert_true(stays("{/l/a,*.gz}", "/l/x/a"));
    assert_false(stays("{/l/a,*.gz}", "/l/x/a.gz"));
}

static void any_of_several_exclusions_will_do(void **state)
{
    (void)state;
    char *excludes[] = {(char[]){"*.gz"}, (char[]){"/l/tmp/**"}, (char[]){"debug*"}};
    struct glob *g = made("/l/**/*", excludes, ARRAY_LEN(excludes));
    assert_true(glob_match(g, "/l/a"));
    assert_false(glob_match(g, "/l/x/a.gz"));
    assert_false(glob_match(g, "/l/tmp/a"));
    assert_false(glob_match(g, "/l/debug.log"));
    assert_false(glob_match(g, "/m/a"));
    assert_true(glob_excluded(g, "/m/a.gz")); /* whether the pattern matches it or not */
    glob_free(g);
}

static void assert_refused(const char *pattern, const char *exclude, int code, const char *says)
{
    char *excludes[] = {(char *)(uintptr_t)exclude};
    struct err e = {0};
    struct glob *g = glob_new(pattern, excludes, exclude != NULL, &e);
    if (g != NULL || e.code != code || strstr(e.text, says) == NULL)
        fail_msg("%s, %s: %s %d \"%s\"", pattern, exclude, g != NULL ? "taken" : "refused", e.code,
                 e.text);
}

static void what_makes_no_sense_is_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const refused[][2] = {
        {"a", "absolute"},
        {"", "absolute"},
        {"*/a", "absolute"},
        {"{/a,/b}", "absolute"},
        {"/", "empty component"},
        {"/a/", "empty component"},
        {"/a//b", "empty component"},
        {"//a", "empty component"},
        {"/a/{,b}", "empty component"},
        {"/{,a}/b", "empty component"},
        {"/a{b", "'{'"},
        {"/a{b{c}", "'{'"},
        {"/a\\}{b\\}", "'{'"},
        {"/a/**", "**"},
        {"/**", "**"},
        {"/a/{b,**}", "**"},
        {"/a[b", "'['"},
        {"/a[b/c]", "'['"},
        {"/a[]", "'['"},
        {"/a[!]", "'['"},
        {"/a[", "'['"},
        {"/a[[:digit:]", "'['"},
        {"/a[b\\]", "'['"},
        {"/a\\", "backslash"},
        {"/a\\/b", "backslash"},
    };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_refused(refused[i][0], NULL, ERR_SYNTAX, refused[i][1]);
    assert_refused("/a", "", ERR_SYNTAX, "empty component");
    assert_refused("/a", "b{", ERR_SYNTAX, "'{'");
    assert_refused("/a", "b[", ERR_SYNTAX, "'['");
    assert_refused("/a", "/b//c", ERR_SYNTAX, "empty component");
}

static char *repeated(const char *first, const char *more, unsigned n)
{
    size_t head = strlen(first), size = strlen(more);
    char *text = malloc(head + n * size + 1);
    assert_non_null(text);
    memcpy(text, first, head);
    for (unsigned i = 0; i < n; i++)
        memcpy(text + head + i * size, more, size);
    text[head + n * size] = '\0';
    return text;
}

static void limits_are_kept(void **state)
{
    (void)state;
    static const struct {
        const char *first, *more;
        unsigned fits;
        int code;
        const char *says;
    } limits[] = {
        {"", "/a", GLOB_COMPONENTS_MAX, ERR_SYNTAX, "too many components"},
        {"/a", "a", GLOB_PATTERN_MAX - 3, ERR_RANGE, "longer than 4095"},
        {"/a", "{a,b}", 8, ERR_RANGE, "more than 256 alternatives"},
        {"/a", "{b}", GLOB_BRACES_MAX, ERR_RANGE, "more than 64 braces"},
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        char *fits = repeated(limits[i].first, limits[i].more, limits[i].fits);
        char *not = repeated(limits[i].first, limits[i].more, limits[i].fits + 1);
        glob_free(made(fits, NULL, 0));
        assert_refused(not, NULL, limits[i].code, limits[i].says);
        assert_refused("/a", not, limits[i].code, limits[i].says);
        free(fits);
        free(not);
    }
    char *name = repeated("/", "n", 255), *long_name = repeated("/", "n", 256);
    YES("/*", name);
    NO("/*", long_name);
    free(name);
    free(long_name);
    glob_free(NULL);
}

static void a_walk_is_told_what_comes_next(void **state)
{
    (void)state;
    struct glob *g = made("/a\\*/{b*,c}/**/d", NULL, 0);
    assert_int_equal(g->n, 2);
    const struct glob_alternative *a = &g->alternatives[0];
    assert_int_equal(a->n, 4);
    assert_int_equal(a->components[0].kind, GLOB_LITERAL);
    assert_string_equal(a->components[0].text, "a*");
    assert_int_equal(a->components[1].kind, GLOB_WILD);
    assert_true(glob_component_match(&a->components[1], "bx"));
    assert_false(glob_component_match(&a->components[1], "c"));
    assert_int_equal(a->components[2].kind, GLOB_DEEP);
    assert_true(glob_component_match(&a->components[2], "any"));
    assert_false(glob_component_match(&a->components[2], ".any"));
    assert_int_equal(g->alternatives[1].components[1].kind, GLOB_LITERAL);
    assert_true(glob_component_match(&g->alternatives[1].components[1], "c"));
    assert_false(glob_component_match(&g->alternatives[1].components[1], "cc"));
    glob_free(g);
}

/* Many stars against a name that almost matches: the time must not double with each of them. */
static void many_stars_do_not_take_forever(void **state)
{
    (void)state;
    char *stars = repeated("/", "*a", 100), *name = repeated("/", "a", 250);
    YES(stars, name);
    name[250] = 'b';
    char *almost = repeated(stars, "c", 1);
    NO(almost, name);
    char *deep = repeated("", "/**/a", 30), *path = repeated("", "/a", 2000);
    YES(deep, path);
    path[3999] = 'b';
    NO(deep, path);
    free(stars);
    free(almost);
    free(name);
    free(deep);
    free(path);
}

/* ---- against a reference that tries everything ---- */

static bool one_of(const char **pattern, char c)
{
    const char *p = *pattern + 1;
    bool negated = *p == '!', found = false;
    for (p += negated; *p != ']'; p++)
        found |= *p == c;
    *pattern = p;
    return found != negated;
}

static bool slow_name(const char *p, const char *name, bool first)
{
    if (*p == '\0' || *name == '\0')
        return *name == '\0' && p[strspn(p, "*")] == '\0';
    bool dot = first && *name == '.';
    if (*p == '*')
        return !dot && (slow_name(p + 1, name, false) || slow_name(p, name + 1, false));
    if (*p == '?')
        return !dot && slow_name(p + 1, name + 1, false);
    if (*p == '[')
        return one_of(&p, *name) && !dot && slow_name(p + 1, name + 1, false);
    p += *p == '\\';
    return *p == *name && slow_name(p + 1, name + 1, false);
}

/* Both begin with a slash, or are at their ends. */
static bool slow_path(const char *p, const char *path)
{
    if (*p == '\0' || *path == '\0')
        return *p == *path;
    size_t pn = 1 + strcspn(p + 1, "/"), n = 1 + strcspn(path + 1, "/");
    if (strncmp(p, "/**", 3) == 0 && pn == 3)
        return slow_path(p + pn, path) || (path[1] != '.' && slow_path(p, path + n));
    char *component = strndup(p + 1, pn - 1), *name = strndup(path + 1, n - 1);
    bool yes = slow_name(component, name, true) && slow_path(p + pn, path + n);
    free(component);
    free(name);
    return yes;
}

/* Nothing in the generated patterns nests or has braces behind backslashes. */
static bool slow_match(const char *pattern, const char *path)
{
    const char *open = strchr(pattern, '{');
    if (open == NULL)
        return slow_path(pattern, path);
    const char *close = strchr(open, '}');
    bool yes = false;
    for (const char *at = open; at != close;) {
        size_t n = strcspn(at + 1, ",}");
        char joined[200];
        snprintf(joined, sizeof joined, "%.*s%.*s%s", (int)(open - pattern), pattern, (int)n,
                 at + 1, close + 1);
        yes |= slow_match(joined, path);
        at += 1 + n;
    }
    return yes;
}

/* The first four parts begin with a slash: one of them comes first. */
static void join(struct rng *r, char *to, size_t size, unsigned n_max, const char *const *parts,
                 size_t parts_n)
{
    size_t at = (size_t)snprintf(to, size, "%s", parts[rng_below(r, 4)]);
    for (uint64_t n = rng_below(r, n_max); n > 0; n--)
        at += (size_t)snprintf(to + at, size - at, "%s", parts[rng_below(r, parts_n)]);
}

static void random_patterns_match_what_a_slow_reference_says(void **state)
{
    (void)state;
    static const char *const pattern_parts[] = {
        "/a", "/b",    "/*",    "/**",   "/.*",     "/.a",     "/?",       "/[ab]*", "/**/",
        "a",  "*",     ".",     "[!a]",  "\\a",     "\\*",     "{a,b}",    "{,a}",   "{a/b,*}",
        "/",  "/**/a", "/**/b", "{/,a}", "{*a,.*}", "/**/**/", "{/**,/a}", "b*",     "/*/**/*",
    };
    static const char *const path_parts[] = {"/a", "/b", "/.a", "/ab", "a", "b", ".", "/c"};
    struct rng r;
    rng_seed(&r, 3);
    unsigned taken = 0, matched = 0;
    for (unsigned round = 0; round < 40000; round++) {
        char pattern[120], path[80];
        join(&r, pattern, sizeof pattern, 6, pattern_parts, ARRAY_LEN(pattern_parts));
        struct glob *g = glob_new(pattern, NULL, 0, NULL);
        if (g == NULL)
            continue;
        taken++;
        for (unsigned i = 0; i < 10; i++) {
            join(&r, path, sizeof path, 8, path_parts, ARRAY_LEN(path_parts));
            bool yes = glob_match(g, path);
            matched += yes;
            if (yes != slow_match(pattern, path))
                fail_msg("%s and %s: %s", pattern, path, yes ? "yes" : "no");
        }
        glob_free(g);
    }
    assert_true(taken > 10000 && matched > 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_path_matches_itself),
        cmocka_unit_test(wildcards_stay_within_a_component),
        cmocka_unit_test(a_leading_dot_must_be_matched_by_a_dot),
        cmocka_unit_test(two_stars_are_any_number_of_directories),
        cmocka_unit_test(hidden_directories_are_not_entered_by_two_stars),
        cmocka_unit_test(braces_are_alternatives),
        cmocka_unit_test(a_backslash_takes_a_character_as_it_is),
        cmocka_unit_test(exclusions_without_a_slash_speak_of_the_last_component),
        cmocka_unit_test(exclusions_with_a_slash_speak_of_the_whole_path),
        cmocka_unit_test(any_of_several_exclusions_will_do),
        cmocka_unit_test(what_makes_no_sense_is_refused_with_a_sentence),
        cmocka_unit_test(limits_are_kept),
        cmocka_unit_test(a_walk_is_told_what_comes_next),
        cmocka_unit_test(many_stars_do_not_take_forever),
        cmocka_unit_test(random_patterns_match_what_a_slow_reference_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
