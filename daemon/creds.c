/* creds.c - the AWS keys, from the environment or the shared files.
 *
 * The happy path: one place after the other is asked; the first that has an access key id gives all
 * three values, and they replace the old ones.
 *
 * How it fails. A place without keys notes in a few words why (no such file, no such profile), and
 * the next is asked; when none has any, these notes are the message. Half a pair, or a value that
 * cannot stand in a header, is an error at once: it is what the operator meant us to use.
 */
#include "daemon/creds.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/readfile.h"
#include "lib/profile.h"

enum found { FOUND, NOT_HERE, BROKEN };

struct place {
    enum profile_file kind;
    const char *origin, *variable, *home_path;
};

static const struct place credentials_place = {PROFILE_CREDENTIALS, "credentials file",
                                               "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"};
static const struct place config_place = {PROFILE_CONFIG, "config file", "AWS_CONFIG_FILE",
                                          ".aws/config"};

void creds_init(struct creds *c)
{
    *c = (struct creds){0};
}

static void wipe_free(char *secret)
{
    if (secret != NULL)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void creds_release(struct creds *c)
{
    wipe_free(c->access_key_id);
    wipe_free(c->secret_access_key);
    wipe_free(c->session_token);
    creds_init(c);
}

struct sign_credentials creds_view(const struct creds *c)
{
    return (struct sign_credentials){.access_key_id = c->access_key_id,
                                     .secret_access_key = c->secret_access_key,
                                     .session_token = c->session_token};
}

/* An empty variable is as good as none. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static const char *profile_or_default(const char *profile)
{
    if (profile == NULL)
        profile = variable("AWS_PROFILE");
    return profile != NULL ? profile : "default";
}

static bool is_header_text(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return true;
}

static char *copy_of(struct str s)
{
    char *p = malloc(s.n + 1);
    if (p != NULL) {
        memcpy(p, s.p, s.n);
        p[s.n] = '\0';
    }
    return p;
}

/* All three or nothing. `where` names the place in messages. */
static enum found take_keys(struct creds *c, const char *where, const char *origin, struct str id,
                            struct str secret, struct str token, struct err *e)
{
    if (id.n == 0 && secret.n == 0)
        return NOT_HERE;
    if (id.n == 0 || secret.n == 0) {
        err_set(e, ERR_MISSING, "%s has %s but no %s", where,
                id.n == 0 ? "a secret access key" : "an access key id",
                id.n == 0 ? "access key id" : "secret access key");
        return BROKEN;
    }
    if (!is_header_text(id) || !is_header_text(secret) || !is_header_text(token)) {
        err_set(e, ERR_SYNTAX, "the keys in %s hold a character that no key has", where);
        return BROKEN;
    }
    struct creds made = {.access_key_id = copy_of(id),
                         .secret_access_key = copy_of(secret),
                         .session_token = token.n > 0 ? copy_of(token) : NULL,
                         .origin = origin};
    if (made.access_key_id == NULL || made.secret_access_key == NULL ||
        (token.n > 0 && made.session_token == NULL)) {
        creds_release(&made);
        err_set(e, ERR_NOMEM, "out of memory");
        return BROKEN;
    }
    creds_release(c);
    *c = made;
    return FOUND;
}

static enum found from_environment(struct creds *c, struct err *e)
{
    return take_keys(c, "the environment", "environment", str_of(variable("AWS_ACCESS_KEY_ID")),
                     str_of(variable("AWS_SECRET_ACCESS_KEY")),
                     str_of(variable("AWS_SESSION_TOKEN")), e);
}

/* The file's path, false when there is no telling (no HOME). */
static bool place_path(const struct place *at, char path[PATH_MAX])
{
    const char *named = variable(at->variable), *home = variable("HOME");
    int n;
    if (named != NULL && strncmp(named, "~/", 2) != 0)
        n = snprintf(path, PATH_MAX, "%s", named);
    else if (home != NULL)
        n = snprintf(path, PATH_MAX, "%s/%s", home, named ? named + 2 : at->home_path);
    else
        return false;
    return n > 0 && n < PATH_MAX;
}

/* Also writes `note`: the path, and why there are no keys. */
static enum found from_file(struct creds *c, const struct place *at, const char *profile,
                            struct err *note, struct err *e)
{
    char path[PATH_MAX];
    if (!place_path(at, path)) {
        err_set(note, ERR_MISSING, "the %s: HOME and %s are not set", at->origin, at->variable);
        return NOT_HERE;
    }
    struct buf b;
    buf_init(&b, 0);
    enum found found = NOT_HERE;
    if (readfile(path, CREDS_FILE_MAX, &b, note) == 0) {
        struct str text = buf_str(&b);
        char where[200];
        snprintf(where, sizeof where, "profile \"%.60s\" in %.100s", profile, path);
        found = take_keys(c, where, at->origin,
                          profile_get(text, at->kind, profile, "aws_access_key_id"),
                          profile_get(text, at->kind, profile, "aws_secret_access_key"),
                          profile_get(text, at->kind, profile, "aws_session_token"), e);
        bool there = profile_exists(text, at->kind, profile);
        err_set(note, ERR_MISSING, "%s: %s", path,
                there ? "no keys in the profile" : "no such profile");
    }
    buf_wipe_release(&b);
    return found;
}

int creds_load(struct creds *c, const char *profile, struct err *e)
{
    struct err broken, credentials_note, config_note;
    bool environment = profile == NULL;
    const char *name = profile_or_default(profile);
    enum found found = environment ? from_environment(c, &broken) : NOT_HERE;
    if (found == NOT_HERE)
        found = from_file(c, &credentials_place, name, &credentials_note, &broken);
    if (found == NOT_HERE)
        found = from_file(c, &config_place, name, &config_note, &broken);
    if (found == FOUND)
        return 0;
    if (found == BROKEN)
        return err_set(e, broken.code, "%s", broken.text);
    return err_set(e, ERR_MISSING,
                   "no AWS credentials: looked for %sprofile \"%.60s\" (%.170s; %.170s)",
                   environment ? "AWS_ACCESS_KEY_ID in the environment, then for " : "", name,
                   credentials_note.text, config_note.text);
}

static char *setting_in(const struct place *at, const char *profile, const char *key)
{
    char path[PATH_MAX];
    struct buf b;
    buf_init(&b, 0);
    if (!place_path(at, path) || readfile(path, CREDS_FILE_MAX, &b, NULL) != 0)
        return NULL;
    struct str value = profile_get(buf_str(&b), at->kind, profile, key);
    char *copy = value.n > 0 ? copy_of(value) : NULL;
    buf_wipe_release(&b);
    return copy;
}

char *creds_setting(const char *profile, const char *key)
{
    const char *name = profile_or_default(profile);
    char *value = setting_in(&config_place, name, key);
    return value != NULL ? value : setting_in(&credentials_place, name, key);
}
