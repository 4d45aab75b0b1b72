/* creds.h - where the AWS keys come from: the environment, then the shared files with a profile.
 *
 * creds_load looks, in this order, at AWS_ACCESS_KEY_ID + AWS_SECRET_ACCESS_KEY (+
 * AWS_SESSION_TOKEN), then at the credentials file (AWS_SHARED_CREDENTIALS_FILE, or
 * ~/.aws/credentials), then at the config file (AWS_CONFIG_FILE, or ~/.aws/config), both for the
 * profile named in the configuration, or AWS_PROFILE, or "default". When the configuration names a
 * profile, the environment is passed over. A place that has only one half of a pair of keys is an
 * error, not passed over: the keys of two places do not belong together. Files are read again on
 * every load, so keys that were rotated on disk are found. They are read blocking, and at most
 * CREDS_FILE_MAX bytes; only regular files. Keys and tokens hold printable ASCII only: they go into
 * header lines.
 *
 * On failure the struct is left as it was and err says what was looked for, never a value. Every
 * copy of a secret, the files' text included, is wiped before it is freed.
 *
 * creds_setting looks another key up, such as "region", in the same profile of the config file and
 * then of the credentials file. The result is the caller's to free; NULL if there is none.
 */
#ifndef DAEMON_CREDS_H
#define DAEMON_CREDS_H

#include "lib/err.h"
#include "lib/sign.h"

#define CREDS_FILE_MAX (1 * MIB)

struct creds {
    char *access_key_id, *secret_access_key, *session_token;
    const char *origin; /* "environment", "credentials file", "config file"; a literal */
};

void creds_init(struct creds *c);
int creds_load(struct creds *c, const char *profile, struct err *e);
void creds_release(struct creds *c);
struct sign_credentials creds_view(const struct creds *c);
char *creds_setting(const char *profile, const char *key);

#endif
