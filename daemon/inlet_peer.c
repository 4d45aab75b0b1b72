/* The names of users and groups in a source's options, looked up. The numbers are kept until the
 * next reload; a name that nobody has is an error, so that a typing error lets nobody in. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#include "daemon/inlet_in.h"

#define RECORD_BYTES (64 * KIB) /* of an entry; groups can have many members */

static int find_user(const char *name, uid_t *uid, struct err *e)
{
    struct passwd entry, *found = NULL;
    char *room = malloc(RECORD_BYTES);
    int rc = room != NULL ? getpwnam_r(name, &entry, room, RECORD_BYTES, &found) : ENOMEM;
    if (found != NULL)
        *uid = entry.pw_uid;
    free(room);
    if (found != NULL)
        return 0;
    return err_set(e, ERR_MISSING, "there is no user \"%.64s\"%s%s", name, rc ? ": " : "",
                   rc ? strerror(rc) : "");
}

static int find_group(const char *name, gid_t *gid, struct err *e)
{
    struct group entry, *found = NULL;
    char *room = malloc(RECORD_BYTES);
    int rc = room != NULL ? getgrnam_r(name, &entry, room, RECORD_BYTES, &found) : ENOMEM;
    if (found != NULL)
        *gid = entry.gr_gid;
    free(room);
    if (found != NULL)
        return 0;
    return err_set(e, ERR_MISSING, "there is no group \"%.64s\"%s%s", name, rc ? ": " : "",
                   rc ? strerror(rc) : "");
}

static int find_file_owner(struct inlet_names *n, const struct config_socket *c, struct err *e)
{
    uint32_t id;
    int rc = 0;
    n->owner = (uid_t)-1;
    n->group = (gid_t)-1;
    if (c->owner != NULL && config_read_id(c->owner, &id))
        n->owner = id;
    else if (c->owner != NULL)
        rc = find_user(c->owner, &n->owner, e);
    if (rc == 0 && c->group != NULL && config_read_id(c->group, &id))
        n->group = id;
    else if (rc == 0 && c->group != NULL)
        rc = find_group(c->group, &n->group, e);
    return rc;
}

static int find_allowed(struct inlet_names *n, const struct config_allow *a, struct err *e)
{
    n->uids = calloc(a->uids_n + a->users_n + 1, sizeof *n->uids);
    n->gids = calloc(a->gids_n + a->groups_n + 1, sizeof *n->gids);
    if (n->uids == NULL || n->gids == NULL)
        return err_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < a->uids_n; i++)
        n->uids[n->uids_n++] = a->uids[i];
    for (size_t i = 0; i < a->gids_n; i++)
        n->gids[n->gids_n++] = a->gids[i];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < a->users_n; i++)
        rc = find_user(a->users[i], &n->uids[n->uids_n++], e);
    for (size_t i = 0; rc == 0 && i < a->groups_n; i++)
        rc = find_group(a->groups[i], &n->gids[n->gids_n++], e);
    return rc;
}

int inlet_names_find(struct inlet_names *n, const struct config_socket *c, struct err *e)
{
    *n = (struct inlet_names){0};
    int rc = find_file_owner(n, c, e);
    if (rc == 0)
        rc = find_allowed(n, &c->allow, e);
    if (rc != 0)
        inlet_names_release(n);
    return rc;
}

void inlet_names_release(struct inlet_names *n)
{
    free(n->uids);
    free(n->gids);
    *n = (struct inlet_names){0};
}
