/* profile.h - the AWS shared config and credentials files, parsed from memory.
 *
 * profile_get looks one key up in one profile of one file's text. In a credentials file a profile
 * is the section [NAME]; in a config file it is [profile NAME], or [default] (also [profile
 * default], which wins) for the default. `key = value`; keys compare without case; blanks around
 * both are trimmed; lines starting with # or ; are comments, and so is what follows " #" or " ;"
 * in a value; indented lines are nested settings and are skipped; a repeated section or key: the
 * last one wins. A line that is none of these, or longer than PROFILE_LINE_MAX, is skipped, not an
 * error: the file belongs to other tools too. The result borrows from `text`; p is NULL when there
 * is no such key. profile_exists tells a missing profile from a missing key.
 */
#ifndef LIB_PROFILE_H
#define LIB_PROFILE_H

#include "lib/base.h"

#define PROFILE_LINE_MAX 16384 /* session tokens are long; a line past this is no setting */

enum profile_file { PROFILE_CONFIG, PROFILE_CREDENTIALS };

struct str profile_get(struct str text, enum profile_file kind, const char *profile,
                       const char *key);
bool profile_exists(struct str text, enum profile_file kind, const char *profile);

#endif
