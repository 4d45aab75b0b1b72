/* kpl.h - the user records of an aggregate as the Kinesis Producer Library packs them.
 *
 * An aggregate is four magic bytes, a protobuf message (two tables of keys, and records that hold
 * their data and indexes into those tables) and the MD5 of the message.
 *
 *   if (kpl_is_aggregate(data))           the magic bytes, which no text begins with
 *       if (!kpl_open(&k, data, &why))    damaged; `why` is a sentence that lives for ever
 *       while (kpl_next(&k, &user)) ...   the data of each user record, in the aggregate's order
 *
 * kpl_open looks at everything before it says yes: the checksum, each length, each index. So all
 * user records come, or none. The data borrows from the aggregate, whose bytes must stay; nothing
 * is allocated, and the cost is linear. Keys are not given: a reader that has the data does not
 * need them. Fields that this reader does not know are passed over, as protobuf wants it.
 */
#ifndef LIB_KPL_H
#define LIB_KPL_H

#include "lib/base.h"

struct kpl {
    struct str message;
    size_t at; /* of the next field in it */
};

bool kpl_is_aggregate(struct str data);
bool kpl_open(struct kpl *k, struct str data, const char **why);
bool kpl_next(struct kpl *k, struct str *user);

#endif
