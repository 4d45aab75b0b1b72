/* profile.c - the AWS shared files, one line at a time.
 *
 * The happy path: each line is a section, an assignment or nothing; a section says whether the
 * following assignments are the profile's; the last assignment of the key wins. A first walk finds
 * out whether the profile is there, and under which of its spellings: [profile default] makes
 * [default] of a config file count for nothing.
 *
 * How it fails: it does not. A line that makes no sense is skipped. A section line that makes no
 * sense ends the section before it, so that its settings are given to nobody.
 */
#include "lib/profile.h"

enum line_kind { LINE_NOTHING, LINE_SECTION, LINE_SETTING };

struct line {
    enum line_kind kind;
    struct str name; /* what stands between [ and ], or the key */
    struct str value;
};

enum spelling { NOT_OURS, BARE, WITH_WORD }; /* [NAME], [profile NAME] */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static struct str trimmed(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = (struct str){s.p + 1, s.n - 1};
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Cuts at a # or ; that follows a blank or opens the value; others are data. */
static struct str without_comment(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] == '#' || s.p[i] == ';') && (i == 0 || is_blank(s.p[i - 1])))
            return (struct str){s.p, i};
    return s;
}

static struct line read_line(struct str s)
{
    static const struct line nothing = {LINE_NOTHING, {"", 0}, {"", 0}};
    if (s.n > 0 && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        struct str name = {s.p + 1, end ? (size_t)(end - s.p) - 1 : 0};
        return (struct line){LINE_SECTION, trimmed(name), {"", 0}};
    }
    if (s.n == 0 || s.n > PROFILE_LINE_MAX || is_blank(s.p[0]) || s.p[0] == '#' || s.p[0] == ';')
        return nothing;
    const char *equals = memchr(s.p, '=', s.n);
    if (equals == NULL || equals == s.p)
        return nothing;
    size_t key_n = (size_t)(equals - s.p);
    struct str value = {equals + 1, s.n - key_n - 1};
    return (struct line){LINE_SETTING, trimmed((struct str){s.p, key_n}),
                         trimmed(without_comment(value))};
}

static bool next_line(struct str *rest, struct line *line)
{
    if (rest->n == 0)
        return false;
    const char *end = memchr(rest->p, '\n', rest->n);
    size_t n = end ? (size_t)(end - rest->p) : rest->n;
    *line = read_line((struct str){rest->p, n});
    n += end ? 1 : 0;
    *rest = (struct str){rest->p + n, rest->n - n};
    return true;
}

/* "profile NAME" -> NAME, quotes around it taken off; an empty str if the word is not there. */
static struct str after_word(struct str section)
{
    static const struct str word = {"profile", 7};
    if (section.n <= word.n || memcmp(section.p, word.p, word.n) != 0 ||
        !is_blank(section.p[word.n]))
        return (struct str){section.p, 0};
    struct str name = trimmed((struct str){section.p + word.n, section.n - word.n});
    bool quoted =
        name.n >= 2 && (name.p[0] == '"' || name.p[0] == '\'') && name.p[name.n - 1] == name.p[0];
    return quoted ? (struct str){name.p + 1, name.n - 2} : name;
}

static enum spelling section_spelling(struct str section, enum profile_file kind,
                                      struct str profile)
{
    if (profile.n == 0)
        return NOT_OURS;
    bool bare = kind == PROFILE_CREDENTIALS || str_eq(profile, STR("default"));
    if (bare && str_eq(section, profile))
        return BARE;
    if (kind == PROFILE_CONFIG && str_eq(after_word(section), profile))
        return WITH_WORD;
    return NOT_OURS;
}

static struct str without_mark(struct str text)
{
    bool mark = text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0;
    return mark ? (struct str){text.p + 3, text.n - 3} : text;
}

/* The spelling whose sections count, or NOT_OURS when the profile is missing. */
static enum spelling find_profile(struct str text, enum profile_file kind, struct str profile)
{
    enum spelling best = NOT_OURS;
    struct line line;
    while (next_line(&text, &line)) {
        enum spelling s =
            line.kind == LINE_SECTION ? section_spelling(line.name, kind, profile) : NOT_OURS;
        if (s > best)
            best = s;
    }
    return best;
}

bool profile_exists(struct str text, enum profile_file kind, const char *profile)
{
    return find_profile(without_mark(text), kind, str_of(profile)) != NOT_OURS;
}

static bool same_key(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

struct str profile_get(struct str text, enum profile_file kind, const char *profile,
                       const char *key)
{
    struct str found = {NULL, 0}, name = str_of(profile), wanted = str_of(key);
    text = without_mark(text);
    enum spelling spelling = find_profile(text, kind, name);
    bool ours = false;
    struct line line;
    while (spelling != NOT_OURS && next_line(&text, &line)) {
        if (line.kind == LINE_SECTION)
            ours = section_spelling(line.name, kind, name) == spelling;
        else if (line.kind == LINE_SETTING && ours && same_key(line.name, wanted))
            found = line.value;
    }
    return found;
}
